"""The simulation: a machine with its tables, clocks and log, and the services that check it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from check_conntrack_lib.model import Instant, Table
from check_conntrack_lib.snapshot import Snapshot

from .judges import Judge
from .scheduler import Service, after, pause
from .table import LINUX_6_1, Kernel, SimulatedLog, SimulatedTable, drawn

#: midnight of a Monday
BEGIN = 1_800_230_400.0
UPTIME = 86400.0
INITIAL = 4026531840
MAXIMUM = 262144
#: a counter that wraps after a few hundred packets
WRAP_NEAR = (1 << 32) - 500

#: seconds since the begin -> new flows a second of each kind
Load = Callable[[float], Mapping[str, float]]


class Scenario(NamedTuple):
    """What happens, and what is expected of the check. Times in seconds since the begin."""

    name: str
    what: str
    seconds: float
    #: one for each namespace, the initial one first
    loads: tuple[Callable[[Random], Load], ...]
    #: (first, last) moment of the trouble: an alert outside is a false one; () when there is none
    trouble: tuple[float, ...] = ()
    #: packets lost a second by clashes that could not be solved, and inserts that failed without loss
    clashes: tuple[float, float] = (0.0, 0.0)
    maximum: int = MAXIMUM
    buckets: int = MAXIMUM
    kernel: Kernel = LINUX_6_1
    step: float = 5.0
    #: what the counters begin with on each CPU
    counted: int = 0
    #: (when, 'reboot' | 'reload' | 'suspend' | 'double'): suspended for two hours, the maximum doubled
    events: tuple[tuple[float, str], ...] = ()
    check_interval: float = 60.0
    #: (from, to) without checks
    unchecked: tuple[float, ...] = ()
    #: a run by hand every so many seconds
    manual: float = 0.0
    #: seconds between the first hard alert and the first packet lost, at least
    lead: float | None = None
    #: targets that today's defaults are known to miss
    known: tuple[str, ...] = ()


class Course(NamedTuple):
    """How it went: what was lost, and what each judge's service was after each check."""

    #: (when, packets): full tables and chains too long
    lost: list[tuple[float, int]]
    evicted: int
    peak: float
    checks: Mapping[str, list[tuple[float, Service]]]
    #: (when, state, signals) at every change
    changes: Mapping[str, list[tuple[float, Service, str]]]


class Machine:
    """A host: its clocks, its log and its tables."""

    def __init__(self, scenario: Scenario, random: Random) -> None:
        self.scenario, self.random = scenario, random
        self.boot, self.booted, self.suspended = 0, -UPTIME, 0.0
        self.log = SimulatedLog()
        self.tables = [self._table(scenario.counted) for _ in scenario.loads]

    def _table(self, counted: int = 0) -> SimulatedTable:
        s = self.scenario
        return SimulatedTable(s.maximum, s.buckets, s.kernel, self.random, counted)

    def happen(self, event: str, now: float) -> None:
        if event in ('reboot', 'reload'):
            self.tables = [self._table() for _ in self.tables]
        if event == 'reboot':
            self.boot, self.booted, self.suspended = self.boot + 1, now - 60.0, 0.0
            self.log = SimulatedLog()
        if event == 'suspend':
            self.suspended += 7200.0
        if event == 'double':
            for table in self.tables:
                table.maximum *= 2

    def clock(self, now: float) -> Instant:
        asleep = self.suspended
        return Instant(BEGIN + now + asleep, now - self.booted + asleep, now - self.booted)

    def step(self, now: float, step: float, loads: list[Load]) -> int:
        """Moves on to `now`; returns the packets that full tables and chains too long have cost."""
        lost = 0
        for place, (table, load) in enumerate(zip(self.tables, loads)):
            full, chain = table.step(now, step, load(now))
            netns = INITIAL + place if place and self.scenario.kernel.names else None
            if full:
                self.log.refuse(self.clock(now).monotonic, full, netns)
            lost += full + chain
        unsolved, solved = (drawn(rate * step, self.random) for rate in self.scenario.clashes)
        self.tables[0].count('insert_failed', unsolved + solved)
        self.tables[0].count('drop', unsolved)
        return lost

    def snapshots(self, now: float) -> list[Snapshot]:
        log = self.log.readings()
        return [Snapshot(self.clock(now), f'00000000-{self.boot:04}', INITIAL + place, place == 0,
                         Table(table.entries, table.maximum, table.buckets), table.readings(), log)
                for place, table in enumerate(self.tables)]


def run(scenario: Scenario, judges: Mapping[str, Judge], seed: int = 1) -> Course:
    """The same course of things, checked by each of the judges on a schedule of its own."""
    random = Random(f'{seed} {scenario.name}')
    machine = Machine(scenario, random)
    loads = [make(random) for make in scenario.loads]
    for table, load in zip(machine.tables, loads):
        table.fill(load(0.0), 0.0)
    services = {name: Service() for name in judges}
    # somewhere within the first minute, as a scheduler spreads its checks; the same for all
    first = scenario.step * (1 + random.randrange(int(60 // scenario.step)))
    due = dict.fromkeys(judges, first)
    by_hand = scenario.manual or float('inf')
    course = Course([], 0, 0.0, {name: [] for name in judges}, {name: [] for name in judges})
    peak = 0.0
    events = sorted(scenario.events)
    for number in range(1, int(scenario.seconds / scenario.step) + 1):
        now = number * scenario.step
        while events and events[0][0] <= now:
            machine.happen(events.pop(0)[1], now)
        lost = machine.step(now, scenario.step, loads)
        if lost:
            course.lost.append((now, lost))
        peak = max(peak, *(table.entries / table.maximum for table in machine.tables))
        checking = [name for name in judges if due[name] <= now]
        if scenario.unchecked and scenario.unchecked[0] <= now < scenario.unchecked[1]:
            checking = []
        if now >= by_hand:
            by_hand += scenario.manual
            for judge in judges.values():
                judge(machine.snapshots(now))
        for name in checking:
            state, signals = judges[name](machine.snapshots(now))
            before, services[name] = services[name], after(services[name], state)
            due[name] = now + pause(services[name], scenario.check_interval)
            course.checks[name].append((now, services[name]))
            if before != services[name]:
                course.changes[name].append((now, services[name], signals))
    evicted = sum(table.readings().total('early_drop') for table in machine.tables)
    return course._replace(peak=100 * peak, evicted=evicted)
