"""A simulated connection tracking table: entries by state, early drop, refusal at the maximum, counters, log lines.

It moves in steps, by numbers of entries and not one by one. What it leaves out: refused packets are not sent again.
Expired entries are gone within some seconds, as on a busy host, where lookups meet them before the garbage collection.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import NamedTuple

from check_conntrack_lib.counters import COUNTERS
from check_conntrack_lib.model import Counters, KernelLog, LogLine, Suppressed

WRAP = 1 << 32
CPUS = 4
#: buckets that one attempt to evict looks at (NF_CT_EVICTION_RANGE)
EVICTION_RANGE = 8
#: lines that all network code may log in so many seconds (net_ratelimit_state)
BURST, LOG_INTERVAL = 10, 5.0
#: lines that the kernel's ring holds: 128 KiB
RING = 1700
#: expired entries are gone at every multiple of so many seconds
REAPED = 5.0


class Kernel(NamedTuple):
    """What differs between kernels."""

    #: the shortest and the longest chain that is refused; (0, 0): none is
    chains: tuple[int, int] = (50, 79)
    #: seconds between two passes of the garbage collection
    collects: float = 60.0
    columns: tuple[str, ...] = tuple(COUNTERS)
    #: the log names namespaces
    names: bool = False


LINUX_5_4 = Kernel((0, 0), 16.0, tuple(name for name in COUNTERS if name not in ('chaintoolong', 'clash_resolve')))
LINUX_5_15 = Kernel((8, 31), 120.0)
LINUX_6_1 = Kernel()
LINUX_6_18 = Kernel(names=True)


class Stage(NamedTuple):
    """A state that an entry is in for so many seconds: its timeout, or a mean while there is traffic."""

    seconds: float
    assured: bool
    fixed: bool = True
    #: the garbage collection of a full table may take it, though assured
    closing: bool = False


#: the states that an entry of each kind goes through
KINDS: Mapping[str, tuple[Stage, ...]] = {
    'tcp': (Stage(300.0, True, fixed=False), Stage(120.0, True, closing=True)),
    'stream': (Stage(60.0, True, fixed=False), Stage(120.0, True)),
    'dns': (Stage(30.0, False),),
    'lost syn': (Stage(120.0, False),),
    'syn flood': (Stage(60.0, False),),
    'udp scan': (Stage(30.0, False),),
    'health check': (Stage(10.0, True, closing=True),),
    'dead client': (Stage(432000.0, True),),
}
#: seconds that an entry of each kind is in the table
LIVES = {kind: sum(stage.seconds for stage in stages) for kind, stages in KINDS.items()}


class Herd:
    """The entries in one state of one kind."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.size = 0
        #: (when they expire, how many), for a fixed time
        self.cohorts: deque[tuple[float, int]] = deque()

    def add(self, number: int, expire: float) -> None:
        self.size += number
        if self.stage.fixed and number:
            if self.cohorts and self.cohorts[-1][0] == expire:
                number += self.cohorts.pop()[1]
            self.cohorts.append((expire, number))

    def leave(self, now: float, step: float, random: Random) -> int:
        """Takes out those whose time is over."""
        if not self.stage.fixed:
            gone = min(self.size, drawn(self.size * -math.expm1(-step / self.stage.seconds), random))
        else:
            gone = 0
            while self.cohorts and self.cohorts[0][0] <= now:
                gone += self.cohorts.popleft()[1]
        self.size -= gone
        return gone

    def kill(self, number: int) -> None:
        """Takes out that many, whatever their time."""
        number = min(number, self.size)
        left, before = self.size - number, self.size
        kept: deque[tuple[float, int]] = deque()
        running = given = 0
        for expire, size in self.cohorts:
            running += size
            share = running * left // before - given
            given += share
            if share:
                kept.append((expire, share))
        self.cohorts = kept
        self.size = left


def drawn(mean: float, random: Random) -> int:
    """A random whole number about that mean, as arrivals are (Poisson)."""
    if mean <= 0:
        return 0
    if mean > 30:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    number, product, floor = 0, random.random(), math.exp(-mean)
    while product > floor:
        number += 1
        product *= random.random()
    return number


@cache
def refused_share(tenths: int, shortest: int, longest: int) -> float:
    """The share of new flows that meet a chain too long, at so many tenths of an entry a bucket.

    Each entry is in two chains, of Poisson length; the limit is drawn anew for each new flow, and one more is accepted
    (`chainlen++ > max_chainlen` counts what it has passed).
    """
    mean = 2 * tenths / 10
    if not mean or not longest:
        return 0.0
    term, below, longer = math.exp(-mean), 0.0, []
    for length in range(longest + 2):
        below += term
        term *= mean / (length + 1)
        longer += [max(0.0, 1 - below)] if length > shortest else []
    return 1 - sum((1 - over) ** 2 for over in longer) / len(longer)


class SimulatedTable:
    """One namespace's table."""

    def __init__(self, maximum: int, buckets: int, kernel: Kernel, random: Random, counted: int = 0) -> None:
        self.maximum, self.buckets, self.kernel, self.random = maximum, buckets, kernel, random
        self.herds = {kind: [Herd(stage) for stage in stages] for kind, stages in KINDS.items()}
        self.counters = {name: [counted] * CPUS for name in kernel.columns}
        self.failed = False
        self.collected = 0.0

    @property
    def entries(self) -> int:
        return sum(herd.size for herds in self.herds.values() for herd in herds)

    def count(self, name: str, number: int) -> None:
        """Adds to a counter, spread over the CPUs."""
        if number and name in self.counters:
            row, first = self.counters[name], self.random.randrange(CPUS)
            for k in range(CPUS):
                row[first - k] = (row[first - k] + number // CPUS + (k < number % CPUS)) % WRAP

    def fill(self, rates: Mapping[str, float], now: float) -> None:
        """The entries that these rates of new flows a second lead to in the long run."""
        for kind, rate in rates.items():
            for herd in self.herds[kind]:
                whole, parts = round(rate * herd.stage.seconds), 60 if herd.stage.fixed else 1
                for part in range(1, parts + 1):
                    herd.add(whole * part // parts - whole * (part - 1) // parts,
                             self._expiry(now + herd.stage.seconds * part / parts))

    def step(self, now: float, step: float, rates: Mapping[str, float]) -> tuple[int, int]:
        """Moves on by `step` seconds to `now`: (packets refused as the table is full, as a chain is too long)."""
        for herds in self.herds.values():
            moving = 0
            for herd in herds:
                leaving = herd.leave(now, step, self.random)
                herd.add(moving, self._expiry(now + herd.stage.seconds))
                moving = leaving
        new = {kind: drawn(rate * step, self.random) for kind, rate in rates.items()}
        number, entries = sum(new.values()), self.entries
        chain = drawn(number * refused_share(10 * entries // self.buckets, *self.kernel.chains), self.random)
        chain = min(chain, number)
        self.count('chaintoolong', chain)
        self.count('insert_failed', chain)
        full = self._make_room(number - chain - (self.maximum - entries))
        for kind, one in new.items():
            herd = self.herds[kind][0]
            herd.add(one - one * (chain + full) // max(number, 1), self._expiry(now + herd.stage.seconds))
        if now - self.collected >= self.kernel.collects:
            self.collected = now
            self._collect()
        return full, chain

    def _expiry(self, moment: float) -> float:
        return math.ceil(moment / REAPED) * REAPED

    def _make_room(self, over: int) -> int:
        """Evicts for so many new flows too many; returns how many are refused."""
        if over <= 0:
            return 0
        entries = max(1, self.entries)
        weak = [herd for herds in self.herds.values() for herd in herds if not herd.stage.assured and herd.size]
        evictable = sum(herd.size for herd in weak)
        chain = 2 * entries / self.buckets
        share = evictable / entries
        found = -math.expm1(-share * chain * EVICTION_RANGE)
        # of the first bucket that has one, all are evicted
        each = share * chain / -math.expm1(-share * chain) if share else 1.0
        attempts = over / (found * each + 1 - found)
        evicted = min(evictable, over - min(over, drawn(attempts * (1 - found), self.random)))
        refused = over - evicted
        for herd in weak:
            herd.kill(round(evicted * herd.size / evictable))
        self.count('early_drop', evicted)
        self.count('drop', refused)
        self.failed = self.failed or refused > 0
        return refused

    def _collect(self) -> None:
        """After a refusal a pass takes unassured and closing entries until the table is below 95 %."""
        surplus = self.entries - self.maximum // 100 * 95
        if self.failed and surplus > 0:
            herds = [h for hs in self.herds.values() for h in hs if h.size and (h.stage.closing or not h.stage.assured)]
            total = sum(herd.size for herd in herds)
            for herd in herds:
                herd.kill(math.ceil(min(surplus, total) * herd.size / total))
        self.failed = False

    def readings(self) -> Counters:
        return Counters({name: tuple(row) for name, row in self.counters.items()}, 'simulated')


class SimulatedLog:
    """The kernel log of one boot: rate-limited, and telling what it left out only when it speaks again."""

    def __init__(self) -> None:
        self.lines: deque[LogLine] = deque(maxlen=RING)
        self.suppressed: deque[Suppressed] = deque(maxlen=RING)
        self.begin, self.printed, self.missed = -LOG_INTERVAL, 0, 0

    def refuse(self, now: float, packets: int, netns: int | None) -> None:
        if now - self.begin >= LOG_INTERVAL:
            if self.missed:
                self.suppressed.append(Suppressed(now, self.missed))
            self.begin, self.printed, self.missed = now, 0, 0
        printed = min(packets, BURST - self.printed)
        self.lines.extend([LogLine(now, netns)] * printed)
        self.printed += printed
        self.missed += packets - printed

    def readings(self) -> KernelLog:
        return KernelLog('simulated', tuple(self.lines), tuple(self.suppressed))
