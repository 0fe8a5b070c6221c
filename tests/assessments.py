"""Assessments of one namespace as a test wants them, without a host."""

from __future__ import annotations

from typing import Any

from check_conntrack_lib.analysis.losses import LogEvidence, Losses
from check_conntrack_lib.assessment import Assessment
from check_conntrack_lib.model import Counters, History, Instant, Missing, Table
from check_conntrack_lib.snapshot import Snapshot

#: 2026-11-25 12:00 UTC
NOON = 1795608000.0
QUIET = LogEvidence(300, (), {}, 0)
THREE_QUARTERS = Table(75_000, 100_000, 65_536)


def assessment(table: Any = THREE_QUARTERS, **known: Any) -> Assessment:
    """Of the initial namespace at NOON; known: fields of Assessment."""
    snapshot = Snapshot(Instant(NOON, 5000, 5000), 'b', 1, True, table, Counters({'drop': (0,)}), Missing('not read'))
    return Assessment(**{'snapshot': snapshot, 'history': History(), 'history_file': '', 'losses': None,
                         'forecast': None, 'log': QUIET, **known})


def lost(span: float = 600, across: str = '', **packets: int) -> Losses:
    return Losses(span, {'drop': 0, **packets}, across)


def logged(*ages: float) -> LogEvidence:
    return QUIET._replace(ages=ages)
