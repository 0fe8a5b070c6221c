"""Deadlines: what hangs is seen, a slow or busy machine is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails where this takes ten times as long as it may."""
    began = time.monotonic()
    yield
    spent = time.monotonic() - began
    assert spent < 10 * seconds, f'{spent:.1f} s instead of at most {seconds} s'
