"""How much work SQLite does, counted: unlike a clock, the count is the same on a slow or busy machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from check_conntrack_lib.history import database


class Steps:
    """Loops and jumps of SQLite's virtual machine."""

    count = 0

    def one_more(self) -> int:
        self.count += 1
        return 0


@contextmanager
def counted_steps() -> Iterator[Steps]:
    """Counts the work on all connections that are opened meanwhile."""
    steps, connect = Steps(), sqlite3.connect

    def counted_connect(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.set_progress_handler(steps.one_more, 1)
        return connection  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        for module in (sqlite3, database.sqlite3):
            patch.setattr(module, 'connect', counted_connect)
        yield steps
