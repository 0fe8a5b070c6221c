"""Standard output and error of both commands, where they are closed, full, or nobody reads them."""

from __future__ import annotations

import contextlib
import os


def discard(descriptor: int) -> None:
    """Sends what is still buffered for a descriptor to /dev/null: it would fail again when the interpreter ends."""
    # without /dev/null it stays as it is
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        if null != descriptor:
            os.close(null)
