"""One look at the machine: which readers, in what order, each with its share of the time."""

from __future__ import annotations

from collections.abc import Callable

from .analysis.hash_chains import chain_limit
from .deadline import TimeBudget
from .host import Host
from .model import Counters, KernelLog, Missing, Snapshot, Table
from .readers import cpu_counters, kernel_log, kernel_version, slabinfo, sysctl_values

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
    snapshot = Snapshot(at, host.boot_id(), host.netns(), initial, table, counters, NOT_READ)
    with budget():
        return _with_hash_table(snapshot, host)


def _with_hash_table(snapshot: Snapshot, host: Host) -> Snapshot:
    """The same with what tells how full the hash table of all namespaces is, where the kernel has a limit for that."""
    release = kernel_version.read_release(host)
    if not isinstance(snapshot.table, Table) or chain_limit(release).entries_per_bucket is None:
        return snapshot._replace(release=release)
    return snapshot._replace(release=release, stable=kernel_version.read_stable(host),
                             all_entries=slabinfo.read_entries(host))


def with_log(snapshot: Snapshot, host: Host, choice: str, span: float, budget: TimeBudget,
             read: Callable[[Host, str, float], KernelLog | Missing] = kernel_log.read) -> Snapshot:
    """The same with the kernel log of the last `span` seconds; choice: see `kernel_log.read`."""
    with budget():
        return snapshot._replace(kernel_log=read(host, choice, span))


def _counters(host: Host) -> Counters | Missing:
    counters = cpu_counters.read(host)
    if isinstance(counters, Counters) or not host.is_this_kernel():
        return counters
    from .readers import ctnetlink  # only where the kernel has no stat file: socket costs 2 ms of start-up

    answer = ctnetlink.read_cpu_stats()
    if isinstance(answer, Missing):
        return answer._replace(remedy=f'{counters.why}; {answer.remedy or answer.why}')
    return answer
