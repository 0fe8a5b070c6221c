"""Every reading of one run: what they are, in which order they are taken, each within its own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .analysis.hash_chains import HashLoad, chain_limit, hash_load
from .deadline import TimeBudget
from .host import Host
from .model import Counters, Instant, KernelLog, Missing, NotLoaded, Reading, Sample, Table
from .namedtuples import NamedTuple
from .readers import cpu_counters, kernel_log, kernel_version, slabinfo, sysctl_values

NOT_READ = Missing('not read', chosen=True)
#: what every run reads, by the name that --require takes: a field of Snapshot
READINGS: Mapping[str, str] = {'usage': 'table', 'counters': 'counters', 'kernel-log': 'kernel_log'}


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
    #: entries of all network namespaces together, about; they share one hash table
    all_entries: int | Missing = NOT_READ
    #: `uname -r`, and the upstream stable release of this kernel; '' if they are not known
    release: str = ''
    stable: str = ''
    #: SO_NETNS_COOKIE, where the namespace was entered and is not the initial one
    cookie: int | None = None
    #: entries, from the file of the counters, where the sysctls are hidden and `table` is Missing
    counted: int | None = None
    #: nothing is tracked, and there is no device but loopback: as with PrivateNetwork=yes of a unit
    cut_off: bool = False

    @property
    def network(self) -> Missing | None:
        """Why the table is not that of the host, where it is not."""
        if not self.cut_off:
            return None
        return Missing('only lo here: PrivateNetwork=yes?',
                       'the table of this network namespace is seen, not the one of the host')

    def readings(self) -> Iterator[Reading]:
        """What every run reads."""
        for name, field in READINGS.items():
            # no table, no counters
            if name != 'counters' or not isinstance(self.table, NotLoaded):
                yield Reading(name, getattr(self, field))

    def sample(self) -> Sample | Missing:
        """The part that the history keeps, or why there is nothing to keep."""
        if isinstance(self.boot_id, Missing):
            return self.boot_id
        if isinstance(self.netns, Missing):
            return self.netns
        if isinstance(self.table, Missing) and self.counted is not None and isinstance(self.counters, Counters):
            return Sample(self.at, self.boot_id, self.netns, self.counted, 0, None, self.counters)
        if not isinstance(self.table, Table):
            return Missing('no connection tracking table')
        buckets = None if isinstance(self.table.buckets, Missing) else self.table.buckets
        counters = None if isinstance(self.counters, Missing) else self.counters
        return Sample(self.at, self.boot_id, self.netns, self.table.entries, self.table.maximum, buckets, counters,
                      self.cookie)


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
                f'{host.procfs} shows the network of this container only',
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
    cookie = None
    # the initial namespace needs none: its inode is given to no other in the same boot
    if not initial and isinstance(table, Table) and host.is_this_kernel():
        from .readers import netns_cookie  # _socket: 1 ms of start-up

        cookie = netns_cookie.read()
    snapshot = Snapshot(at, host.boot_id(), host.netns(), initial, table, counters, NOT_READ, cookie=cookie,
                        counted=entries,
                        cut_off=not initial and isinstance(table, Table) and not table.entries and _is_cut_off(host))
    with budget():
        return _with_hash_table(snapshot, host)


def snapshot_of_other(own: Snapshot, netns: int, table: Table, counters: Counters | Missing,
                      cookie: int | None, log: KernelLog | Missing) -> Snapshot:
    """That of another namespace of the same kernel, read in the same run: every field of Snapshot, in its order.

    log: with its own lines; what is one for all namespaces is taken from `own`: the time, the kernel, the hash table
    (since 4.7).
    """
    return Snapshot(own.at, own.boot_id, netns, False, table, counters, log, own.all_entries, own.release, own.stable,
                    cookie)


def _is_cut_off(host: Host) -> bool:
    from .readers import devices  # only in another namespace than the host's

    return devices.is_cut_off(host)


def _with_hash_table(snapshot: Snapshot, host: Host) -> Snapshot:
    """The same with the entries of all namespaces, where the kernel limits the length of hash chains."""
    release = kernel_version.read_release(host)
    limit = chain_limit(release)
    if not isinstance(snapshot.table, Table) or limit.entries_per_bucket is None:
        return snapshot._replace(release=release)
    # only where the limit depends on it
    stable = kernel_version.read_stable(host) if limit.unless else ''
    return snapshot._replace(release=release, stable=stable, all_entries=slabinfo.read_entries(host))


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


def hash_of(snapshot: Snapshot) -> HashLoad | None:
    """The load of the hash table: of all namespaces where they can be counted, else of this one."""
    table = snapshot.table
    if not isinstance(table, Table) or isinstance(table.buckets, Missing):
        return None
    everywhere = 0 if isinstance(snapshot.all_entries, Missing) else snapshot.all_entries
    return hash_load(max(table.entries, everywhere), table.buckets, bool(everywhere),
                     chain_limit(snapshot.release, snapshot.stable))
