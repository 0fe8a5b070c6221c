"""Samples for the recorder, and what is in its file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.model import Counters, Instant, Sample

LOOK = HistoryQuery(300, 900, comparable)
DAY = 86400.0


def sample(uptime: float, entries: int = 5, drop: int = 0, *, boot: str = 'b', netns: int = 1,
           wall: float | None = None) -> Sample:
    counters = Counters({'drop': (drop, 0), 'invalid': (0, 0)}, 'test')
    at = Instant(1e9 + uptime if wall is None else wall, uptime, uptime)
    return Sample(at, boot, netns, entries, 100, 64, counters)


def rows(path: Path, query: str = 'SELECT count(*) FROM sample') -> int:
    with sqlite3.connect(path) as database:
        value: int = database.execute(query).fetchone()[0]
    return value
