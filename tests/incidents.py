"""Facts of an incident as a test wants them: a table with room, of which nothing else is known."""

from __future__ import annotations

from typing import Any

from check_conntrack_lib.analysis.hash_chains import ChainLimit
from check_conntrack_lib.analysis.incident import IncidentFacts
from check_conntrack_lib.model import Missing, Table

TIMEOUTS = {'tcp_timeout_time_wait': 120, 'tcp_timeout_established': 432000, 'udp_timeout': 30,
            'tcp_timeout_syn_sent': 120}


def facts(entries: int = 100, maximum: int = 1000, **known: Any) -> IncidentFacts:
    return IncidentFacts('gw1', Table(entries, maximum, 1024), True, None, None, False, None, (), {}, {}, frozenset(),
                         0.0, (), TIMEOUTS, (), Missing('no'), 1 << 30, ChainLimit(16.0), frozenset(), frozenset(),
                         True)._replace(**known)
