"""One look at the machine: which readers, in what order, each with its share of the time."""

from __future__ import annotations

from .deadline import TimeBudget
from .host import Host
from .model import Counters, Missing, Snapshot, Table
from .readers import cpu_counters, kernel_log, sysctl_values

NOT_READ = Missing('not read', chosen=True)


def take_snapshot(host: Host, budget: TimeBudget) -> Snapshot:
    """Reads everything but the kernel log, each source failing alone.

    share: bounds the time of one reading.
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
    """The same with the kernel log of the last `span` seconds; choice: see `kernlog.read`."""
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
