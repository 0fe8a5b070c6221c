"""What is read of the history file beside the query and recording of a run (`database.query_and_record`)."""

from __future__ import annotations

import os

from ..defaults import PATIENCE
from ..model import NOTHING_READ, LogMemory, Point, Sample
from . import identity, log_memory
from .database import BrokenFile, RefusedFile, open_database, sqlite3
from .queries import HistoryQuery, points_before


def last_seen(path: str, words: tuple[str, ...], patience: float) -> dict[str, tuple[str, float]]:
    """Of words that stand for no namespace now: the recorded name, and when it was recorded last (wall time)."""
    try:
        with open_database(path, patience) as database:
            return {word: seen for word in words for seen in [identity.last_seen(database, word)] if seen}
    except (OSError, sqlite3.Error, BrokenFile, RefusedFile):
        return {}


def read_log_memory(path: str, boot_id: str, source: str, patience: float = PATIENCE) -> LogMemory | None:
    """What is remembered of a kernel log; None also where the file cannot be read, which `query_and_record` tells."""
    if not os.path.exists(path):
        return NOTHING_READ
    try:
        with open_database(path, patience) as database:
            return log_memory.read_memory(database, boot_id, source) or NOTHING_READ
    except (BrokenFile, RefusedFile, OSError, sqlite3.Error):
        return None


def points(path: str, now: Sample, query: HistoryQuery, patience: float) -> tuple[Point, ...]:
    """Earlier counts of a namespace that got none with its history; none also where the file cannot be read."""
    try:
        with open_database(path, patience) as database:
            return points_before(database, now, query)
    except (OSError, sqlite3.Error, BrokenFile, RefusedFile):
        return ()
