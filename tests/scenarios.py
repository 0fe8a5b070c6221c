"""The hosts of tests/hosts: a captured /proc tree, kernel log records, and what was recorded before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.analysis.profile import summarize
from check_conntrack_lib.history import database, profiles
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, Instant, Missing, Sample
from check_conntrack_lib.readers import proc_conntrack

HOSTS = Path(__file__).parent / 'hosts'
WALL = 1_795_000_000.0


class Scenario(NamedTuple):
    name: str
    says: str
    argv: list[str]
    uptime: float
    history: list[dict[str, Any]]

    @property
    def directory(self) -> Path:
        return HOSTS / self.name

    def clock(self) -> Instant:
        return Instant(WALL, self.uptime, self.uptime)


def load(name: str) -> Scenario:
    return Scenario(name, **json.loads((HOSTS / name / 'scenario.json').read_text()))


def names() -> list[str]:
    return sorted(path.name for path in HOSTS.iterdir())


def record(scenario: Scenario, path: Path) -> None:
    """Lets the recorder live through the scenario's past."""
    host = Host(str(scenario.directory / 'proc'))
    boot_id, netns = host.boot_id(), host.netns()
    assert not isinstance(boot_id, Missing)
    assert not isinstance(netns, Missing)
    for past in scenario.history:
        ago = past['ago']
        counters = past['counters'] and Counters({name: tuple(v) for name, v in past['counters'].items()})
        sample = Sample(
            Instant(WALL - ago, scenario.uptime - ago, scenario.uptime - ago), past.get('boot_id', boot_id),
            past.get('netns', netns), past['entries'], 262144, 262144, counters)
        answer = database.query_and_record(str(path), sample, HistoryQuery(300, 900, comparable), 14)
        assert not isinstance(answer, Missing), answer
        assert not answer.unwritten
        if past.get('baseline'):
            flows = proc_conntrack.parse((scenario.directory / 'baseline').read_text().splitlines())
            profiles.record(str(path), sample, summarize(flows, past['entries']), quiet=True, patience=1)
