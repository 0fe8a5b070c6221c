"""/proc/stat: how much of each CPU's time goes to softirqs, where packets are worked on (fs/proc/stat.c)."""

from __future__ import annotations

from collections.abc import Mapping

from ..host import Host
from ..model import Missing
from ..namedtuples import NamedTuple

FILE = 'stat'
#: the columns after the CPU's name: user nice system idle iowait irq softirq steal; what follows is in `user` already
COLUMNS, SOFTIRQ = 8, 6


class CpuTime(NamedTuple):
    """One CPU's time since boot, in clock ticks (USER_HZ)."""

    #: ksoftirqd included
    softirq: int
    total: int


def parse(text: str) -> dict[int, CpuTime]:
    """By CPU number. Raises ValueError for a text that is not this file."""
    found = {}
    for line in text.splitlines():
        name, *words = line.split() or ['']
        if name.startswith('cpu') and name[3:].isdecimal():
            if len(words) < COLUMNS or not all(word.isdecimal() for word in words[:COLUMNS]):
                raise ValueError('not a line of CPU times')
            ticks = [int(word) for word in words[:COLUMNS]]
            found[int(name[3:])] = CpuTime(ticks[SOFTIRQ], sum(ticks))
    if not found:
        raise ValueError('no CPU')
    return found


def read(host: Host) -> dict[int, CpuTime] | Missing:
    """By CPU number."""
    return host.read_parsed(FILE, parse)


def shares(before: Mapping[int, CpuTime], after: Mapping[int, CpuTime]) -> dict[int, float]:
    """The share of softirqs, 0 to 1, of the time between two readings, of each CPU that was there both times."""
    found = {}
    for cpu in sorted(before.keys() & after.keys()):
        span = after[cpu].total - before[cpu].total
        if span > 0:
            # a CPU that sleeps may count a tick back
            found[cpu] = min(1.0, max(0, after[cpu].softirq - before[cpu].softirq) / span)
    return found
