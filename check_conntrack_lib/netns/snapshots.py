"""A snapshot of each namespace, beginning with the own one, which `snapshot.take_snapshot` has read before."""

from __future__ import annotations

from ..deadline import TimeBudget
from ..host import Host
from ..model import KernelLog, LogLine, Missing, Table
from ..namedtuples import NamedTuple
from ..readers import cpu_counters
from ..snapshot import Snapshot, snapshot_of_other
from . import discover, names, read_other
from .discover import Found, Namespace
from .enter import NEEDS_ROOT
from .names import Name
from .selection import select

ALL = 'all'
#: why nothing is known of the namespaces of others
INVISIBLE = 'others are hidden (hidepid): needs root'


class NamespaceSnapshot(NamedTuple):
    """One namespace and its readings. Its kernel log has the lines that name it."""

    namespace: Namespace
    snapshot: Snapshot


class NamespaceSnapshots(NamedTuple):
    """All namespaces that were asked for."""

    seen: tuple[NamespaceSnapshot, ...]
    #: why some could not be looked into, and how many; one that vanished meanwhile is not among them
    unseen: dict[Missing, int]
    #: processes of which this user cannot tell the namespace
    hidden: int = 0
    #: names in /run/netns that lead to no namespace from here
    stale: tuple[str, ...] = ()
    #: the directory of names, where this user may not look into it
    closed: str = ''
    #: words of --netns that mean no namespace here
    unknown: tuple[str, ...] = ()
    #: namespaces named by programs that were not entered, and are most likely the same as some seen by their processes
    same: int = 0
    #: log lines that name none of them
    unattributed: KernelLog | Missing = Missing('no log', chosen=True)
    #: these lines do not name their namespace (before 6.17): any may be meant
    nameless: bool = False
    #: this user is not shown the processes of others
    invisible: bool = False


def read_snapshots(host: Host, own: Snapshot, wanted: tuple[str, ...], budget: TimeBudget) -> NamespaceSnapshots:
    """Looks into the namespaces that `wanted` names, in this thread, which comes back each time.

    wanted: ('all',) or words for `selection.select`; own: the snapshot of the namespace that host shows;
    budget: bounds the time of it all: what was not reached by then is unseen.
    """
    everything = wanted == (ALL,)
    progress = _Progress(own, everything)
    found = Found(())
    unknown: tuple[str, ...] = ()
    try:
        with budget():
            found = discover.find(host)
            chosen, unknown = _choose(host, found, wanted)
            progress.left = len(chosen)
            stat_file, enter = host.exists(cpu_counters.FILE), host.is_this_kernel()
            if everything and enter:
                chosen += tuple(discover.held_by_descriptor(host, _only_in_log(own, found)))
                progress.left = len(chosen)
            for one in chosen:
                progress.read(host, one, stat_file, enter)
    except (OSError, ValueError) as error:
        progress.unseen[Missing.because(error, 'network namespaces')] = progress.left or 1
    seen, unseen, not_entered = progress.seen(), progress.unseen, progress.not_entered
    # whose links this user may not read are not known by their own inode: a name of CNI and they are most likely one
    same = min(not_entered, sum(not one.namespace.own_inode for one in seen))
    if not_entered > same:
        unseen[NEEDS_ROOT] = unseen.get(NEEDS_ROOT, 0) + not_entered - same
    stale = tuple(name for name in found.stale if everything or name in unknown)
    # what is hidden from this user matters only where all are wanted
    hiding = found if everything else Found(())
    return _with_lines(NamespaceSnapshots(seen, unseen, hiding.hidden, stale, hiding.closed, unknown, same,
                                          invisible=hiding.invisible), own)


class _Progress:
    """What was read before the time was up."""

    def __init__(self, own: Snapshot, everything: bool) -> None:
        self._own = own
        #: of the own one, which is always seen where all are wanted, else only when it is reached
        self._first: NamespaceSnapshot | None = None
        if everything:
            self._first = NamespaceSnapshot(Namespace(own.netns if isinstance(own.netns, int) else 0), own)
        self._others: list[NamespaceSnapshot] = []
        #: see `NamespaceSnapshots`
        self.unseen: dict[Missing, int] = {}
        #: names of programs that only root can enter
        self.not_entered = 0
        #: namespaces that are still to be read
        self.left = 0

    def seen(self) -> tuple[NamespaceSnapshot, ...]:
        """Those that were read, the own one first."""
        return (*([self._first] if self._first else []), *self._others)

    def read(self, host: Host, namespace: Namespace, stat_file: bool, enter: bool) -> None:
        """Reads one more; stat_file, enter: see `read_other.read`. Raises TimeoutError."""
        own = self._own
        if namespace.own_inode and namespace.inode == own.netns:
            self._first = NamespaceSnapshot(namespace, own)
        elif isinstance(own.table, Table):
            other = read_other.read(host, namespace, stat_file, enter)
            if not isinstance(other, Missing):
                table = Table(other.entries, own.table.maximum, own.table.buckets)
                self._others.append(NamespaceSnapshot(namespace, snapshot_of_other(
                    own, namespace.inode, table, other.counters, other.cookie)))
            elif other == NEEDS_ROOT and namespace.machine_made and not namespace.pids:
                self.not_entered += 1
            elif other != read_other.VANISHED:
                self.unseen[other] = self.unseen.get(other, 0) + 1
        self.left -= 1


def _choose(host: Host, found: Found, wanted: tuple[str, ...]) -> tuple[tuple[Namespace, ...], tuple[str, ...]]:
    """The namespaces that are wanted, each once, and the words that mean none."""
    if wanted == (ALL,):
        return found.namespaces, ()
    selected = select(host, found.namespaces, wanted)
    chosen = tuple(dict.fromkeys(one for means in selected.values() for one in means))
    return chosen, tuple(word for word, means in selected.items() if not means)


def _only_in_log(own: Snapshot, found: Found) -> set[int]:
    """Namespaces that the kernel log names and that nothing leads to: an open file may hold them."""
    if isinstance(own.kernel_log, Missing):
        return set()
    known = {one.inode for one in found.namespaces if one.own_inode}
    return {line.netns for line in own.kernel_log.table_full if line.netns is not None} - known


def name_of(host: Host, seen: NamespaceSnapshot, own: Snapshot) -> Name:
    """What people call it; the initial namespace, in which the check usually runs, is the host."""
    if seen.namespace.inode == own.netns and own.initial:
        return Name(names.HOST, names.HOST)
    return names.name_of(host, seen.namespace)


def _with_lines(all_read: NamespaceSnapshots, own: Snapshot) -> NamespaceSnapshots:
    """Gives each namespace the log lines that name it.

    A kernel that names namespaces (6.17 and later) names all but the initial one. A line of an older kernel may be of
    any: those are left to `assess`, as are lines for a namespace that was not looked into.
    """
    log = own.kernel_log
    if isinstance(log, Missing):
        return all_read
    if not log.table_full:
        return all_read._replace(unattributed=log)
    initial = own.netns if own.initial and isinstance(own.netns, int) else None
    owners: dict[int, list[LogLine]] = {one.namespace.inode: [] for one in all_read.seen if one.namespace.own_inode}
    unattributed = []
    for line in log.table_full:
        owner = line.netns if line.netns is not None else initial if log.names_namespaces else None
        if owner is not None and owner in owners:
            owners[owner].append(line)
        else:
            unattributed.append(line)
    seen = tuple(
        one._replace(snapshot=one.snapshot._replace(
            kernel_log=log._replace(table_full=tuple(owners.get(one.namespace.inode, ())))))
        for one in all_read.seen)
    return all_read._replace(seen=seen, unattributed=log._replace(table_full=tuple(unattributed)),
                         nameless=bool(unattributed) and not log.names_namespaces)
