"""A snapshot of each namespace, beginning with the own one, which `snapshot.take_snapshot` has read before."""

from __future__ import annotations

from collections.abc import Sequence

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
from .read_other import OtherTable
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
            progress.read(host, chosen, stat_file, enter)
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
    log = own.kernel_log if isinstance(own.kernel_log, Missing) else _unattributed(own.kernel_log, seen)
    return NamespaceSnapshots(
        seen, unseen, hiding.hidden, stale, hiding.closed, unknown, same, log,
        nameless=isinstance(log, KernelLog) and bool(log.table_full) and not log.names_namespaces,
        invisible=hiding.invisible)


class _Progress:
    """What was read before the time was up."""

    def __init__(self, own: Snapshot, everything: bool) -> None:
        self._own = own
        self._lines = _lines_by_owner(own)
        #: the log without a line, as most have it
        self._quiet = own.kernel_log if isinstance(own.kernel_log, Missing) else \
            own.kernel_log._replace(table_full=())
        #: of the own one, which is always seen where all are wanted, else only when it is reached
        self._first: NamespaceSnapshot | None = None
        if everything:
            self._first = self._with_own(Namespace(own.netns if isinstance(own.netns, int) else 0))
        self._others: list[NamespaceSnapshot] = []
        #: by the number of entries: most are the same
        self._tables: dict[int, Table] = {}
        #: see `NamespaceSnapshots`
        self.unseen: dict[Missing, int] = {}
        #: names of programs that only root can enter
        self.not_entered = 0
        #: namespaces that are still to be read
        self.left = 0

    def seen(self) -> tuple[NamespaceSnapshot, ...]:
        """Those that were read, the own one first."""
        return (*([self._first] if self._first else []), *self._others)

    def read(self, host: Host, namespaces: Sequence[Namespace], stat_file: bool, enter: bool) -> None:
        """Reads each; stat_file, enter: see `read_other.read_all`. Raises TimeoutError."""
        own, others = self._own, []
        for one in namespaces:
            if one.own_inode and one.inode == own.netns:
                self._first = self._with_own(one)
            elif isinstance(own.table, Table):
                others.append(one)
        self.left = len(others)
        for one, other in read_other.read_all(host, others, stat_file, enter):
            self._add(one, other)
            self.left -= 1

    def _add(self, namespace: Namespace, other: OtherTable | Missing) -> None:
        own = self._own
        if not isinstance(other, Missing):
            table = self._tables.get(other.entries)
            if table is None and isinstance(own.table, Table):
                table = self._tables[other.entries] = Table(other.entries, own.table.maximum, own.table.buckets)
            if table:
                self._others.append(NamespaceSnapshot(namespace, snapshot_of_other(
                    own, namespace.inode, table, other.counters, other.cookie, self._log_of(namespace))))
        elif other == NEEDS_ROOT and namespace.machine_made and not namespace.pids:
            self.not_entered += 1
        elif other != read_other.VANISHED:
            self.unseen[other] = self.unseen.get(other, 0) + 1

    def _with_own(self, namespace: Namespace) -> NamespaceSnapshot:
        return NamespaceSnapshot(namespace, self._own._replace(kernel_log=self._log_of(namespace)))

    def _log_of(self, namespace: Namespace) -> KernelLog | Missing:
        """The log with the lines that are this one's only."""
        lines = self._lines.get(namespace.inode) if namespace.own_inode else None
        return self._quiet._replace(table_full=tuple(lines)) if lines and isinstance(self._quiet, KernelLog) \
            else self._quiet


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


def _lines_by_owner(own: Snapshot) -> dict[int | None, list[LogLine]]:
    """The log lines by the inode of the namespace that they are of; None: that is not known.

    A kernel that names namespaces (6.17 and later) names all but the initial one. A line of an older kernel may be of
    any: those are left to `assess`, as are lines for a namespace that was not looked into.
    """
    owners: dict[int | None, list[LogLine]] = {}
    log = own.kernel_log
    if not isinstance(log, Missing):
        initial = own.netns if own.initial and isinstance(own.netns, int) and log.names_namespaces else None
        for line in log.table_full:
            owners.setdefault(line.netns if line.netns is not None else initial, []).append(line)
    return owners


def _unattributed(log: KernelLog, seen: Sequence[NamespaceSnapshot]) -> KernelLog:
    """The log with the lines that were given to none of them."""
    given = {line for one in seen if isinstance(one.snapshot.kernel_log, KernelLog)
             for line in one.snapshot.kernel_log.table_full}
    return log._replace(table_full=tuple(line for line in log.table_full if line not in given))
