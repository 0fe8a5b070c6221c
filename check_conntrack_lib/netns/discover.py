"""Network namespaces (fs/nsfs.c, net/core/net_namespace.c): which there are, each once, and what each is called.

Named ones are files in /run/netns; the others live as long as a process is in them. What a link of /proc/<pid>/ns
shows needs ptrace rights; without them the inode of /proc/<pid>/net/stat/nf_conntrack, another in each namespace, tells
them apart, where the kernel has that file. The kernel gives inodes of dead namespaces to new ones, within minutes.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ..formatting import clean
from ..host import GONE, Host
from ..model import Missing
from ..namedtuples import NamedTuple
from ..readers import cpu_counters
from . import names as container_names

#: `ip netns` and most container networks; docker. Docker's names are no names that anybody knows.
NAMED, DOCKER = 'run/netns', 'run/docker/netns'
#: what container networks call namespaces (CNI, podman)
_MACHINE_MADE = re.compile(r'(?:cni|netns|cnitest)-[0-9a-f-]{20,}')
#: processes remembered of each namespace: the first may end while it is read
MOST_PIDS = 3
#: holds a Kubernetes pod's namespace, and does nothing else
HOLDER = 'pause'


class Namespace(NamedTuple):
    """A network namespace, and the ways to it."""

    inode: int
    #: is `inode` the namespace's own, which the kernel log names? Else it is its stat file's.
    own_inode: bool = True
    #: as `ip netns` names it
    name: str = ''
    #: a file to enter it by
    path: str = ''
    #: some of its processes, the lowest first
    pids: tuple[int, ...] = ()


class Found(NamedTuple):
    """The namespaces of a host."""

    namespaces: tuple[Namespace, ...]
    #: processes of which this user cannot tell the namespace
    hidden: int = 0
    #: files among the named ones that lead to no namespace
    stale: int = 0
    #: the directory of names, where this user may not look into it
    closed: str = ''


def find(host: Host) -> Found:
    """Every namespace that has a name or a process, the one that host shows first. Raises OSError."""
    ways: dict[tuple[bool, int], Namespace] = {}
    own = host.netns()
    own_table = _inode(host.path(cpu_counters.FILE))
    if not isinstance(own, Missing):
        ways[True, own] = Namespace(own)
    hidden = stale = 0
    closed = ''
    # in a container with the host's /proc, its files are there, too, or reached through the host's first process
    roots = ['/'] if host.is_this_kernel() else []
    if host.procfs != '/proc':
        roots.append(host.path('1/root'))
    for root in roots:
        try:
            stale += _add_named(host, os.path.join(root, NAMED), ways)
        except PermissionError:
            closed = os.path.join(root, NAMED)
        with suppress(PermissionError):  # open to root only; nearly all of them have a process
            stale += _add_named(host, os.path.join(root, DOCKER), ways)
    pids: dict[tuple[bool, int], list[int]] = {}
    for pid in _pids(host):
        key: tuple[bool, int] | None
        try:
            key = True, parse_link(os.readlink(host.path(f'{pid}/ns/net')))
        except PermissionError:
            inode = _inode(host.path(f'{pid}/{cpu_counters.FILE}')) if own_table else None
            hidden += not own_table
            key = None if inode is None else \
                (True, own) if inode == own_table and not isinstance(own, Missing) else (False, inode)
        except GONE:
            key = None  # ended meanwhile
        if key is not None:
            known = pids.setdefault(key, [])
            if len(known) < MOST_PIDS:
                known.append(pid)
    for key, some in pids.items():
        ways[key] = ways.get(key, Namespace(key[1], key[0]))._replace(pids=tuple(some))
    return Found(tuple(ways.values()), hidden, stale, closed)


def parse_link(text: str) -> int:
    """The inode in 'net:[4026531840]'. Raises ValueError."""
    match = re.fullmatch(r'net:\[([0-9]{1,18})\]', text)
    if not match:
        raise ValueError('no network namespace')
    return int(match[1])


def title(host: Host, namespace: Namespace) -> str:
    """What people call it: a name, a container with a process, a process."""
    if namespace.name and not (namespace.pids and _MACHINE_MADE.fullmatch(namespace.name)):
        return clean(namespace.name, 60)
    processes = [(pid, command) for pid in namespace.pids for command in [_command(host, pid)] if command]
    if not processes:
        return clean(namespace.name, 60) or (f'network namespace {namespace.inode}' if namespace.own_inode
                                             else 'a network namespace')
    pid, command = next((one for one in processes if one[1] != HOLDER), processes[0])
    container = container_names.read(host, pid)
    process = f'{command} (pid {pid})'
    return f'container {container_names.shown(container)} ({command}, pid {pid})' if container else process


def select(host: Host, namespaces: tuple[Namespace, ...], wanted: tuple[str, ...]) -> dict[str, list[Namespace]]:
    """Those that each word means: a name, 'current', a container's name or first digits, an inode.

    namespaces: the one that host shows is the first.
    """
    selected = {word: [one for one in namespaces if one.name == word] for word in wanted}
    if 'current' in selected:
        selected['current'] = list(namespaces[:1])
    if not all(selected.values()):
        contained = [(one, container_names.read(host, one.pids[-1])) for one in namespaces if one.pids]
        for word in wanted:
            selected[word] = selected[word] \
                or [one for one, container in contained if container and _means(word, container)] \
                or [one for one in namespaces if word == str(one.inode)]
    return selected


def _means(word: str, container: str) -> bool:
    return word == container or (len(word) >= 4 and len(container) == 64 and container.startswith(word))


def _add_named(host: Host, place: str, ways: dict[tuple[bool, int], Namespace]) -> int:
    """Adds the namespaces of a directory; returns how many of its files lead to none. Raises PermissionError."""
    device = _device(host.path('self/ns/net'))
    stale = 0
    try:
        names = sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return 0  # nobody has named one
    for name in names:
        path = os.path.join(place, name)
        try:
            status = os.stat(path)
        except GONE:
            continue  # removed meanwhile
        if status.st_dev != device:
            stale += 1
            continue
        known = ways.get((True, status.st_ino), Namespace(status.st_ino))
        ways[True, status.st_ino] = known._replace(
            path=known.path or path, name=known.name or (name if place.endswith(NAMED) else ''))
    return stale


def _pids(host: Host) -> list[int]:
    return sorted(int(name) for name in os.listdir(host.procfs) if name.isdecimal())


def _command(host: Host, pid: int) -> str:
    try:
        return clean(host.read(f'{pid}/comm').rstrip('\n'), 40)
    except GONE:
        return ''


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except GONE:
        return None


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except GONE:
        return None
