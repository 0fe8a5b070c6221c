"""The name by which a network namespace is printed.

The name is that of the container of its first process, never of one that entered later (`nsenter`), however low its
pid. The owner of a container can give it any name: it is always printed as a container's.
"""

from __future__ import annotations

import os
import re

from ..formatting import clean_name
from ..host import GONE, Host
from ..namedtuples import NamedTuple
from ..readers import process_stat
from . import cgroup, kubernetes, owner, runtimes
from .cgroup import Cgroup
from .discover import Namespace
from .runtimes import Container

#: processes of a namespace that are looked at: enough for any pod; others of a container are its first one's children
MOST_PROCESSES = 200
#: digits of an id that are shown, as `docker ps` and `podman ps` do
SHOWN = 12
#: programs that only hold the namespaces of a pod
HOLDERS = ('pause', 'catatonit')
#: words with another meaning for --netns
RESERVED = ('host', 'current', 'all')
HOST = 'host'
#: of the first process that is seen here, where that is not the host's: LXC, a container that runs the check itself
THIS_CONTAINER = 'this container'


class Name(NamedTuple):
    """What a namespace is called."""

    #: as it is printed
    title: str
    #: the same over restarts; '' for what is only known by a number
    lasting: str = ''
    #: 'NAMESPACE/NAME' of a Kubernetes pod, the name of podman's
    pod: str = ''
    #: of the container that gave the name
    container: str = ''
    #: who chose these, if not root; and was it the root of a container?
    uid: int = 0
    nested: bool = False


class _Process(NamedTuple):
    """A process whose container or unit may give the name."""

    pid: int
    cgroup: Cgroup
    #: the first of a process namespace of its own
    first: bool
    #: its parent is in this network namespace, too
    child: bool
    #: clock ticks since boot; 0: not known
    started: int
    parent: int


def name_of(host: Host, namespace: Namespace) -> Name:
    """Its name. Reads some small files of its processes."""
    if namespace.initial:
        return Name(HOST, HOST)
    own = clean_name(namespace.name)
    if own in RESERVED:
        own = f'network namespace {own}'
    if namespace.name and not namespace.machine_made:
        return Name(own, own)
    processes = _processes(host, namespace)
    contained = [one for one in processes if one.cgroup.container]
    if contained:
        found = _describe(host, namespace, contained[0])
        if not (found.name or found.pod):
            # a pod without a name: a program that works says more than one that holds the namespaces
            working = (one for one in contained if _command(host, one.pid) not in HOLDERS)
            first = next(working, contained[0])
            return _of_container(host, first, _describe(host, namespace, first))
        return _of_container(host, contained[0], found)
    for one in processes:
        if not one.child:
            found = _describe(host, namespace, one)
            if found.runtime or found.pod:
                return _of_container(host, one, found)
    if own and namespace.named:
        return Name(own, own)
    return _of_process(host, processes, namespace)


def steady_pid(host: Host, namespace: Namespace) -> int | None:
    """The process that stays in it the longest, by all that is known: the first of its container, else the oldest.

    Not this one, which is gone when what it printed is pasted.
    """
    return next((one.pid for one in _processes(host, namespace) if one.pid != os.getpid()), None)


def containers(host: Host, namespace: Namespace) -> list[Container]:
    """Every container with a process in it, first the one that gives the name."""
    found: dict[tuple[str, int], Container] = {}
    for one in _processes(host, namespace):
        # of another user's with the same id
        key = one.cgroup.container, cgroup.maker(host, one.cgroup)
        if one.cgroup.container and key not in found:
            found[key] = _describe(host, namespace, one)
        elif not one.cgroup.container and not one.child:
            described = _describe(host, namespace, one)
            if described.runtime:
                found.setdefault((described.id or described.name, described.uid), described)
    return list(found.values())


def _processes(host: Host, namespace: Namespace) -> list[_Process]:
    """Those that may give the name, in this order: in a container, the first there, the parent outside, the oldest."""
    pids = set(namespace.pids)
    found = []
    for pid in _oldest(host, namespace.pids):
        try:
            status = host.read(f'{pid}/status')
        except GONE:
            if not _command(host, pid):
                continue  # it ended meanwhile
            status = ''
        started = process_stat.read(host, pid, process_stat.START_TIME) or 0
        inner = re.search(r'^NSpid:\s*(.*)$', status, re.MULTILINE)
        numbers = inner[1].split() if inner else []
        parent = re.search(r'^PPid:\s*(\d+)', status, re.MULTILINE)
        above = int(parent[1]) if parent else 0
        found.append(_Process(pid, cgroup.read(host, pid), len(numbers) > 1 and numbers[-1] == '1', above in pids,
                              started, above))
    return sorted(found, key=lambda one: (not one.cgroup.container, not one.first, one.child, one.started, one.pid))


def _oldest(host: Host, pids: tuple[int, ...]) -> list[int]:
    """At most MOST_PROCESSES: numbers of processes are given again from the lowest, by whoever starts many."""
    if len(pids) <= MOST_PROCESSES:
        return list(pids)
    started = {pid: process_stat.read(host, pid, process_stat.START_TIME) for pid in pids}
    return sorted(pids, key=lambda pid: (started[pid] is None, started[pid], pid))[:MOST_PROCESSES]


def _describe(host: Host, namespace: Namespace, process: _Process) -> Container:
    found = runtimes.describe(host, process.pid, process.cgroup)
    made_by = _uid(host, namespace, process)
    if found.uid and made_by == 0 and process.cgroup.container:
        # root's container: what a user inside of it calls a process of his says nothing
        found = runtimes.of_cgroup(process.cgroup)
    if not found.pod and process.cgroup.pod_uid:
        found = found._replace(pod=kubernetes.pod_of_uid(host, process.cgroup.pod_uid))
    # whoever may make cgroups below his own, or give his processes titles, can name a container as root's are
    return found if found.uid else found._replace(uid=made_by)


def _of_container(host: Host, process: _Process, found: Container) -> Name:
    title = title_of(found)
    if found.pod or found.name:
        return Name(title, title, clean_name(found.pod, 120), clean_name(found.name), found.uid, found.nested)
    who = found.who
    runtime = f'{who}, ' if who else ''
    bare = title_of(Container(found.id))
    return Name(f'{bare} ({runtime}{_command(host, process.pid)}, pid {process.pid})',
                title_of(found._replace(runtime='')), '', clean_name(found.id[:SHOWN]), found.uid, found.nested)


def title_of(one: Container) -> str:
    """How a container is called."""
    if one.pod:
        # of Kubernetes' pods the runtime says nothing
        who = (one._replace(runtime='') if '/' in one.pod else one).who
        return f'pod {clean_name(one.pod, 120)}' + (f' ({who})' if who else '')
    who = one.who
    return f'container {clean_name(one.name) or clean_name(one.id[:SHOWN])}' + (f' ({who})' if who else '')


def _of_process(host: Host, processes: list[_Process], namespace: Namespace) -> Name:
    if 1 in namespace.pids:
        # a system's units share it: none of them says whose it is
        return Name(THIS_CONTAINER, THIS_CONTAINER)
    units = [one for one in processes if one.cgroup.unit and one.parent <= 1]
    if units:
        uid = _uid(host, namespace, units[0])
        name = f'unit {clean_name(units[0].cgroup.unit)}' + (f' (uid {uid})' if uid else '')
        return Name(name, name)
    for one in processes:
        # a runtime without a manager gives its container a process namespace and a directory of the cgroups
        if one.first and one.cgroup.leaf and not one.cgroup.leaf.endswith(('.scope', '.slice', '.service')) \
                and one.cgroup.leaf not in ('payload', 'init') and one.parent <= 1:
            container = Container(name=one.cgroup.leaf, uid=_uid(host, namespace, one))
            name = title_of(container)
            return Name(name, name, '', clean_name(container.name), container.uid)
    for one in processes:
        command = _command(host, one.pid)
        if command:
            return Name(f'{command} (pid {one.pid})')
    if namespace.path and not namespace.machine_made:
        return Name(clean_name(namespace.name, 120))
    if namespace.path:
        held = re.search(r'/(\d+)/fd/\d+$', namespace.path)
        if held:
            return Name(f'network namespace {namespace.inode} (held open by {_command(host, int(held[1]))}, '
                        f'pid {held[1]})')
        return Name(clean_name(namespace.name, 120))
    return Name(f'network namespace {namespace.inode}' if namespace.own_inode else 'a network namespace')


def _uid(host: Host, namespace: Namespace, process: _Process) -> int:
    """Who made the namespace, or could choose the process's cgroup, if not root."""
    return owner.uid_of(host, namespace) or cgroup.maker(host, process.cgroup)


def _command(host: Host, pid: int) -> str:
    try:
        return clean_name(host.read(f'{pid}/comm').rstrip('\n'), 40)
    except GONE:
        return ''
