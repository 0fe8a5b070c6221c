"""Network namespaces (fs/nsfs.c, net/core/net_namespace.c): all that there are, and what leads to each.

Some are bound to a file, which the mount table lists; the others live as long as a process is in them, a descriptor or
a socket of them is open. What a link of /proc/<pid>/ns shows needs ptrace rights; without them the inode of
/proc/<pid>/net/stat/nf_conntrack, another in each namespace, tells them apart, where the kernel has that file.
The kernel gives inodes of dead namespaces to new ones at once.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress

from ..deadline import suppress_unreadable
from ..host import GONE, Host
from ..model import Missing
from ..namedtuples import NamedTuple
from ..readers import cpu_counters, process_stat
from . import mounts

#: the directory in which `ip netns` and most container networks bind them
NETNS_DIRECTORY = 'run/netns'
#: names that container networks give (CNI, podman; CRI-O: a bare UUID), and docker in a directory of its own
_MACHINE_MADE = r'(?:(?:cni|netns|cnitest)-)?[0-9a-f]{8}-[0-9a-f-]{20,}'
_DOCKER = r'[0-9a-f]{12}'
#: flag of a process that is the kernel's own (include/linux/sched.h)
_PF_KTHREAD = 0x00200000
#: seconds that `ip netns add` takes between the file and the mount, on a busy host
MOMENT = 0.01
#: (is it the namespace's own inode? else its stat file's, the inode)
_Key = tuple[bool, int]


class Namespace(NamedTuple):
    """A network namespace, and what leads to it."""

    inode: int
    #: is `inode` the namespace's own, as in the kernel log? Else it is that of its stat file.
    own_inode: bool = True
    #: as `ip netns` or docker names it
    name: str = ''
    #: a file to enter it by
    path: str = ''
    #: its processes, the lowest first
    pids: tuple[int, ...] = ()
    #: the initial one of this kernel
    initial: bool = False

    @property
    def machine_made(self) -> bool:
        """Is its name one that a program made, which nobody knows?"""
        return bool(re.fullmatch(_MACHINE_MADE, self.name)) or not self.named

    @property
    def named(self) -> bool:
        """Does its name stand for it in /run/netns, or was it given by docker itself?"""
        return bool(self.name) and not (re.fullmatch(_DOCKER, self.name) and 'docker' in self.path)


class Found(NamedTuple):
    """The namespaces of a host."""

    namespaces: tuple[Namespace, ...]
    #: processes of which this user cannot tell the namespace
    hidden: int = 0
    #: names in /run/netns that lead to no namespace from here: left over, or bound in another mount namespace
    stale: tuple[str, ...] = ()
    #: the directory of names, where this user may not look into it
    closed: str = ''
    #: this user is not shown the processes of others
    invisible: bool = False


def find(host: Host) -> Found:
    """Every namespace that is bound to a file or has a process, the one that host shows first. Raises OSError."""
    by_key: dict[_Key, Namespace] = {}
    own = host.netns()
    own_table = _inode(host.path(cpu_counters.FILE))
    if not isinstance(own, Missing):
        by_key[True, own] = Namespace(own)
    stale_paths: list[str] = []
    closed = ''
    for root, pid in _roots(host):
        for inode, path in mounts.parse_netns(mounts.read(host, pid)):
            _add_bound(by_key, inode, root, path)
        try:
            stale_paths += _add_unbound_names(os.path.join(root, NETNS_DIRECTORY), by_key)
        except PermissionError:
            closed = closed or os.path.join(root, NETNS_DIRECTORY)
    pids, hidden = _processes(host, own, own_table)
    for key, some in pids.items():
        by_key[key] = by_key.get(key, Namespace(key[1], key[0]))._replace(
            pids=tuple(some), initial=2 in some and _is_kernel_thread(host, 2))
    # a namespace that is just being made or removed is a plain file for a moment
    for _ in range(2):
        stale_paths = [path for path in stale_paths if _leads_nowhere(path)]
        if stale_paths:
            time.sleep(MOMENT)
    stale = tuple(dict.fromkeys(os.path.basename(path) for path in stale_paths if _leads_nowhere(path)))
    return Found(tuple(by_key.values()), hidden, stale, closed, host.hides_processes())


def held_by_descriptor(host: Host, inodes: set[int]) -> list[Namespace]:
    """Those that an open file of a process holds: every descriptor is looked at. Raises TimeoutError."""
    found: dict[int, Namespace] = {}
    # mostly there is none to look for
    for pid in _pids(host) if inodes else ():
        try:
            handles = os.listdir(host.path(f'{pid}/fd'))
        except GONE:
            continue
        for handle in handles:
            path = host.path(f'{pid}/fd/{handle}')
            with suppress(*GONE):
                inode = parse_link(os.readlink(path))
                if inode in inodes:
                    found.setdefault(inode, Namespace(inode, path=path))
    return list(found.values())


def parse_link(text: str) -> int:
    """The inode in 'net:[4026531840]'. Raises ValueError."""
    digits = text[5:-1]
    if text != f'net:[{digits}]' or not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise ValueError('no network namespace')
    return int(digits)


def _roots(host: Host) -> list[tuple[str, int | str]]:
    """Root directories whose mounts are looked at, each with a process that has it."""
    roots: list[tuple[str, int | str]] = [('/', 'self')] if host.is_this_kernel() else []
    if host.procfs != '/proc' or _mounts_of(host, 1) not in (None, _mounts_of(host, 'self')):
        # in a container with the host's processes, the host's files are reached through the first of them
        roots.append((host.path('1/root'), 1))
    return roots


def _mounts_of(host: Host, pid: int | str) -> str | None:
    try:
        return os.readlink(host.path(f'{pid}/ns/mnt'))
    except GONE:
        return None


def _add_bound(by_key: dict[_Key, Namespace], inode: int, root: str, path: str) -> None:
    known = by_key.get((True, inode))
    directory, _, name = path.rpartition('/')
    by_ip_netns = directory in ('/run/netns', '/var/run/netns')
    # the file that `ip netns` shows is the one that people know; of others the newest, which lies above older mounts
    if known and not by_ip_netns and os.path.dirname(known.path).endswith(NETNS_DIRECTORY):
        return
    shown = name if by_ip_netns or directory.endswith('/netns') else path
    by_key[True, inode] = Namespace(inode, name=shown, path=os.path.join(root, path.lstrip('/')))


def _add_unbound_names(place: str, by_key: dict[_Key, Namespace]) -> list[str]:
    """Names in a directory that are not in the mount table: adds those that are links to a namespace, returns the
    paths of the others.

    Whatever is wrong with one name costs that name only. Raises PermissionError, OutOfTime.
    """
    bound = {one.path for one in by_key.values()}
    device = _nsfs_device()
    stale_paths = []
    for name in _listed(place):
        path = os.path.join(place, name)
        if path in bound:
            continue
        status = None
        with suppress_unreadable():
            status = os.stat(path)
        if status is None or status.st_dev != device:
            stale_paths.append(path)
            continue
        known = by_key.get((True, status.st_ino), Namespace(status.st_ino))
        by_key[True, status.st_ino] = known._replace(path=known.path or path, name=known.name or name)
    return stale_paths


def _leads_nowhere(path: str) -> bool:
    """Is the name still there, and still no namespace? Raises OutOfTime."""
    with suppress_unreadable():
        return os.stat(path).st_dev != _nsfs_device()
    return os.path.lexists(path)


def _listed(place: str) -> list[str]:
    try:
        return sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return []  # nobody has named one


def _nsfs_device() -> int | None:
    try:
        return os.stat('/proc/self/ns/net').st_dev
    except OSError:
        return None


def _processes(host: Host, own: int | Missing, own_table: int | None) -> tuple[dict[_Key, list[int]], int]:
    """Processes by namespace, each namespace once; and how many could not be told apart."""
    pids: dict[_Key, list[int]] = {}
    hidden = 0
    for pid in _pids(host):
        try:
            key = True, parse_link(os.readlink(host.path(f'{pid}/ns/net')))
        except PermissionError:
            inode = _inode(host.path(f'{pid}/{cpu_counters.FILE}')) if own_table else None
            hidden += not own_table
            if inode is None:
                continue
            key = (True, own) if inode == own_table and not isinstance(own, Missing) else (False, inode)
        except GONE:
            continue  # ended meanwhile
        pids.setdefault(key, []).append(pid)
    return (pids if all(own_inode for own_inode, _inode in pids) else _merged(host, pids)), hidden


def _merged(host: Host, pids: dict[_Key, list[int]]) -> dict[_Key, list[int]]:
    """A process whose link can be read tells which namespace the stat file of the others belongs to."""
    merged = {key: some for key, some in pids.items() if key[0]}
    stat_files: dict[int | None, _Key] = {}
    for key, some in merged.items():
        stat_files.setdefault(next(filter(None, (_inode(host.path(f'{pid}/{cpu_counters.FILE}')) for pid in some[:3])),
                                   None), key)
    for key, some in pids.items():
        if not key[0]:
            owner = stat_files.get(key[1], key)
            merged[owner] = sorted(merged.get(owner, []) + some)
    return merged


def _is_kernel_thread(host: Host, pid: int) -> bool:
    """Kernel threads are in the initial namespace; no program can set their flag."""
    return bool((process_stat.read(host, pid, process_stat.FLAGS) or 0) & _PF_KTHREAD)


def _pids(host: Host) -> list[int]:
    return sorted(int(name) for name in os.listdir(host.procfs) if name.isdecimal())


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except GONE:
        return None
