"""The hosts of tests/hosts: a captured /proc tree, kernel log records, and in scenario.txt what was recorded before.

The first line of scenario.txt says what the host shows; then, one a line:

    options --netns all -v
    past 900-60 entries=146098+3210 drop=10,0 early_drop=0+2,0 netns=4026532246

'past' is a sample a minute (or 'past 900-60/300' one in five) from so many to so many seconds ago; a number may be
constant, grow by a step with each sample (146098+3210), or be another in each (196568|196648|196608, over and over).
A counter has a number for each CPU, one that is not named is 0. 'counters=5.4' has those of that kernel,
'counters=none' none. 'netns' and 'boot_id' are those of the tree if they are not named, 'maximum' is 262144;
'baseline=600' records a profile in so many seconds, too.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.history import database, profiles
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, Instant, Missing, Sample
from check_conntrack_lib.readers import proc_conntrack

HOSTS = Path(__file__).parent / 'hosts'
MEMORY = '/dev/shm'
WALL = 1_795_000_000.0


#: what kernels count, on two CPUs
COUNTERS = {
    '6.18': ('drop', 'early_drop', 'insert_failed', 'chaintoolong', 'clash_resolve', 'invalid', 'icmp_error',
             'search_restart'),
    '5.4': ('drop', 'early_drop', 'insert_failed', 'invalid', 'icmp_error', 'search_restart'),
}


class Past(NamedTuple):
    """One sample of the past; None where the tree's own is meant."""

    ago: float
    entries: int
    counters: dict[str, tuple[int, ...]] | None
    netns: int | None = None
    boot_id: str | None = None
    baseline: bool = False
    maximum: int = 262144


class Scenario(NamedTuple):
    name: str
    says: str
    argv: list[str]
    history: list[Past]
    uptime: float = 864000.0

    @property
    def directory(self) -> Path:
        return HOSTS / self.name

    def clock(self) -> Instant:
        return Instant(WALL, self.uptime, self.uptime)


def load(name: str) -> Scenario:
    return parse(name, (HOSTS / name / 'scenario.txt').read_text())


def parse(name: str, text: str) -> Scenario:
    says, *lines = text.splitlines()
    argv: list[str] = []
    history: list[Past] = []
    for kind, rest in (line.split(None, 1) for line in lines):
        if kind == 'options':
            argv = shlex.split(rest)
        elif kind == 'past':
            history += _pasts(*rest.split())
        else:
            raise ValueError(f'{name}: neither options nor past: {kind}')
    # the recorder had them in this order; at the same time that of the lines
    return Scenario(name, says, argv, sorted(history, key=lambda past: -past.ago))


def _pasts(span: str, *words: str) -> Iterator[Past]:
    times, _, step = span.partition('/')
    first, last = map(int, times.split('-'))
    given = dict(word.split('=', 1) for word in words)
    entries, netns, boot_id = given.pop('entries'), given.pop('netns', None), given.pop('boot_id', None)
    maximum = int(given.pop('maximum', 262144))
    kernel, baseline = given.pop('counters', '6.18'), int(given.pop('baseline', 0))
    for k, ago in enumerate(range(first, last - 1, -int(step or 60))):
        counters = None if kernel == 'none' else {
            name: tuple(_number(one, k) for one in given.get(name, '0,0').split(',')) for name in COUNTERS[kernel]}
        yield Past(ago, _number(entries, k), counters, int(netns) if netns else None, boot_id,
                   bool(baseline) and ago % baseline == 0, maximum)
    unknown = given.keys() - set(COUNTERS.get(kernel, ()))
    if unknown:
        raise ValueError(f'no counters: {unknown}')


def _number(text: str, k: int) -> int:
    several = text.split('|')
    begin, _, step = several[k % len(several)].partition('+')
    return int(begin) + k * int(step or 0)


def names() -> list[str]:
    return sorted(path.name for path in HOSTS.iterdir())


#: files of histories by what they are made of: several tests look at one host
_recorded: dict[tuple[str, float, str], bytes] = {}


def record(scenario: Scenario, path: Path) -> None:
    """Lets the recorder live through the scenario's past."""
    if not scenario.history:
        return
    key = scenario.name, scenario.uptime, repr(scenario.history)
    if key not in _recorded:
        _recorded[key] = _record(scenario)
    path.write_bytes(_recorded[key])


def _record(scenario: Scenario) -> bytes:
    host = Host(str(scenario.directory / 'proc'))
    boot_id, netns = host.boot_id(), host.netns()
    assert not isinstance(boot_id, Missing)
    assert not isinstance(netns, Missing)
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as directory:
        # on a disk each of these transactions would be waited for
        quick = os.path.join(directory, 'history.sqlite')
        for past in scenario.history:
            sample = Sample(
                Instant(WALL - past.ago, scenario.uptime - past.ago, scenario.uptime - past.ago),
                past.boot_id or boot_id, past.netns or netns, past.entries, past.maximum, 262144,
                None if past.counters is None else Counters(past.counters))
            answer = database.query_and_record(quick, sample, HistoryQuery(300, 900, comparable), 14)
            assert not isinstance(answer, Missing), answer
            assert not answer.unwritten
            if past.baseline:
                flows = proc_conntrack.parse((scenario.directory / 'baseline').read_text().splitlines())
                profiles.record(quick, sample, summarize(flows, past.entries), quiet=True, patience=1)
        return Path(quick).read_bytes()
