"""One look at the machine: which readers, in what order, each with its share of the time."""

from __future__ import annotations

from .deadline import TimeBudget
from .host import Host
from .model import Counters, LogMemory, Missing, Snapshot, Table
from .readers import cpu_counters, kernel_log, sysctl_values

NOT_READ = Missing('not read', chosen=True)


def take_snapshot(host: Host, budget: TimeBudget, own_network: bool = False) -> Snapshot:
    """Reads everything but the kernel log, each source failing alone.

    budget: bounds the time of one reading; own_network: the namespace of this process is meant, whatever /proc is
    named.
    """
    at = host.clock()
    entries: int | None = None
    counters: Counters | Missing = Missing('no connection tracking table', chosen=True)
    with budget():
        if not own_network and host.shows_own_network_only():
            return Snapshot(at, host.boot_id(), host.netns(), False, Missing(
                f"{host.procfs} shows this container's own network, not the host's",
                'run the check in the network of the host: docker run --network host, hostNetwork: true, or '
                'nsenter -t 1 -n'), counters, NOT_READ)
        table = sysctl_values.read(host)
    # ctnetlink would load the module: nothing is asked of a kernel that does not track
    if isinstance(table, Table):
        with budget():
            counters = _counters(host)
    elif isinstance(table, Missing) and host.exists(cpu_counters.FILE):
        # the sysctls are hidden: what was lost can be judged all the same
        with budget():
            counters, entries = cpu_counters.read(host), cpu_counters.read_entries(host)
    initial = sysctl_values.is_initial_namespace(host)
    return Snapshot(at, host.boot_id(), host.netns(), initial, table, counters, NOT_READ, entries)


def with_log(snapshot: Snapshot, host: Host, choice: str, span: float, budget: TimeBudget,
             memory: LogMemory | None = None) -> Snapshot:
    """The same with the kernel log of the last `span` seconds; choice, memory: see `kernel_log.read`."""
    with budget():
        return snapshot._replace(kernel_log=kernel_log.read(host, choice, span, memory))


def _counters(host: Host) -> Counters | Missing:
    counters = cpu_counters.read(host)
    if isinstance(counters, Counters) or not host.is_this_kernel():
        return counters
    from .readers import ctnetlink  # only where the kernel has no stat file: socket costs 2 ms of start-up

    answer = ctnetlink.read_cpu_stats()
    if isinstance(answer, Missing):
        return answer._replace(remedy=f'{counters.why}; {answer.remedy or answer.why}')
    return answer
