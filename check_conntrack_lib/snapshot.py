"""Every reading of one run: what they are, in which order they are taken, each within its own time."""

from __future__ import annotations

from collections.abc import Iterator

from .deadline import TimeBudget
from .host import Host
from .model import Counters, Instant, KernelLog, Missing, NotLoaded, Reading, Sample, Table
from .namedtuples import NamedTuple
from .readers import cpu_counters, kernel_log, sysctl_values

NOT_READ = Missing('not read', chosen=True)


class Snapshot(NamedTuple):
    """Every reading of one run: a value, or Missing with its reason."""

    at: Instant
    boot_id: str | Missing
    netns: int | Missing
    #: this is the initial namespace (only it has /proc/sys/net/nf_conntrack_max)
    initial: bool
    table: Table | NotLoaded | Missing
    counters: Counters | Missing
    kernel_log: KernelLog | Missing

    def readings(self) -> Iterator[Reading]:
        """What every run reads."""
        yield Reading('usage', self.table)
        if not isinstance(self.table, NotLoaded):
            yield Reading('counters', self.counters)
        yield Reading('kernel-log', self.kernel_log)

    def sample(self) -> Sample | Missing:
        """The part that the history keeps, or why there is nothing to keep."""
        if isinstance(self.boot_id, Missing):
            return self.boot_id
        if isinstance(self.netns, Missing):
            return self.netns
        if not isinstance(self.table, Table):
            return Missing('no connection tracking table')
        buckets = None if isinstance(self.table.buckets, Missing) else self.table.buckets
        counters = None if isinstance(self.counters, Missing) else self.counters
        return Sample(self.at, self.boot_id, self.netns, self.table.entries, self.table.maximum, buckets, counters)


def take_snapshot(host: Host, budget: TimeBudget) -> Snapshot:
    """Reads everything but the kernel log, each source failing alone.

    budget: bounds the time of one reading.
    """
    at = host.clock()
    with budget():
        table = sysctl_values.read(host)
    counters: Counters | Missing = Missing('no connection tracking table', chosen=True)
    # ctnetlink would load the module: nothing is asked of a kernel that does not track
    if isinstance(table, Table):
        with budget():
            counters = _counters(host)
    initial = sysctl_values.is_initial_namespace(host)
    return Snapshot(at, host.boot_id(), host.netns(), initial, table, counters, NOT_READ)


def with_log(snapshot: Snapshot, host: Host, choice: str, span: float, budget: TimeBudget) -> Snapshot:
    """The same with the kernel log of the last `span` seconds; choice: see `kernel_log.read`."""
    with budget():
        return snapshot._replace(kernel_log=kernel_log.read(host, choice, span))


def _counters(host: Host) -> Counters | Missing:
    counters = cpu_counters.read(host)
    if isinstance(counters, Counters) or not host.is_this_kernel():
        return counters
    from .readers import ctnetlink  # only where the kernel has no stat file: socket costs 2 ms of start-up

    answer = ctnetlink.read_cpu_stats()
    if isinstance(answer, Missing):
        return answer._replace(remedy=f'{counters.why}; {answer.remedy or answer.why}')
    return answer
