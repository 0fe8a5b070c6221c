"""/proc/<pid>/cgroup: the container, pod and unit that a process runs in (kernel/cgroup/cgroup.c, proc_cgroup_show).

A line is 'hierarchy:controllers:path', one a hierarchy of cgroup v1, '0::path' of v2. Every runtime has its own way to
put a container's id or name into the path. A process cannot change its own path without the right to write to cgroupfs.
"""

from __future__ import annotations

import os
import re

from ..deadline import suppress_unreadable
from ..host import Host
from ..namedtuples import NamedTuple

#: docker, containerd, CRI-O, podman, kubepods, ECS: the last 64 hexadecimal digits
_ID = r'(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])'
#: a runtime's own process beside the container, by whole names of directories
_MONITOR = r'(?:^|/)(?:conmon(?:[-/]|$)|(?:crio|libpod)-conmon-|lxc\.monitor[./])|/supervisor$'
#: lxc and systemd-nspawn name their containers
_NAMED = (
    r'/(?:lxc(?:\.payload)?[./](?P<lxc>[^/]+)'
    r'|systemd-nspawn@(?P<nspawn>[^/]+)\.service'
    # libvirt's machines have a kind and a number before the name: one of qemu's is no container
    r'|machine-lxc\\x2d\d+\\x2d(?P<libvirt>[^/]+)\.scope'
    r'|machine-(?!(?:qemu|ch|lxc)\\x2d\d+\\x2d)(?P<machine>[^/]+)\.scope)')
#: what runs them, nspawn else
_RUNTIMES = {'lxc': 'lxc', 'libvirt': 'libvirt'}
#: kubelet: the pod's UID, in a slice's name with '_' for '-'; of a static pod a hash
_POD = r'[/-]pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:[./]|$)'
_UNIT = r'/([^/]+\.service)(?:/|$)'
#: podman's pods have ids of the same kind
_BEFORE_POD_ID = ('libpod_pod_', 'libpod_parent/')
#: where cgroup file systems are mounted (file-hierarchy(7), systemd's cgroup-compat-debug)
MOUNTED = '/sys/fs/cgroup'
_ESCAPED = r'\\x([0-9a-f]{2})'


class Cgroup(NamedTuple):
    """What the cgroup paths of a process tell; '' for what they do not."""

    #: the whole id, or the name
    container: str = ''
    #: of Kubernetes, with '-'
    pod_uid: str = ''
    #: of systemd, such as nginx.service
    unit: str = ''
    #: the last directory: the id that a runtime without a manager was given
    leaf: str = ''
    #: lxc, libvirt or nspawn, where `container` is a name
    runtime: str = ''
    #: inside another container, whose root chose the name
    nested: bool = False
    #: the directory in which that of the name was made, below each place where its hierarchy may be mounted
    above: tuple[str, ...] = ()


NONE = Cgroup()


def parse(text: str) -> Cgroup:
    """What the text of a cgroup file tells: of a container the first hierarchy that names one."""
    leaf = unit = ''
    above: tuple[str, ...] = ()
    for line in text.splitlines():
        controllers, _, path = line.partition(':')[2].partition(':')
        if re.search(_MONITOR, path):
            continue
        pod = re.search(_POD, path)
        pod_uid = pod[1].replace('_', '-') if pod else ''
        ids, match = list(re.finditer(_ID, path)), re.search(_NAMED, path)
        if ids:
            last = ids[-1]
            nested = bool(match and match.start() < last.start()) or any(
                one[0] != last[0] and not path[:one.start()].endswith(_BEFORE_POD_ID) for one in ids)
            return Cgroup(last[0], pod_uid, nested=nested, above=_above(controllers, path, last.start()))
        if match:
            name = re.sub(_ESCAPED, lambda hexadecimal: chr(int(hexadecimal[1], 16)), match[match.lastgroup or 0])
            return Cgroup(name, runtime=_RUNTIMES.get(match.lastgroup or '', 'nspawn'),
                          above=_above(controllers, path, match.start(match.lastgroup or 0)))
        units = [name for name in re.finditer(_UNIT, path) if not name[1].startswith('user@')]
        if units and not unit:
            unit, above = units[-1][1], _above(controllers, path, units[-1].start(1))
        leaf = leaf or path.rpartition('/')[2]
        above = above or _above(controllers, path, len(path))
    return Cgroup(unit=unit, leaf=leaf, above=above)


def _above(controllers: str, path: str, name: int) -> tuple[str, ...]:
    """name: where in the path the name begins."""
    directory = path[:path.rfind('/', 0, name)]
    if '..' in directory.split('/'):
        return ()  # outside of what this process's cgroup namespace shows
    hierarchies = ('', '/unified') if not controllers else (f'/{controllers.rpartition("name=")[2]}',)
    return tuple(f'{MOUNTED}{one}{directory}' for one in hierarchies)


def maker(host: Host, cgroup: Cgroup) -> int:
    """The user who could choose the name: the owner of the directory above. 0 for root, or where it cannot be told."""
    for directory in cgroup.above if host.is_this_kernel() else ():
        with suppress_unreadable():
            return os.stat(directory).st_uid
    return 0


def read(host: Host, pid: int) -> Cgroup:
    """Of a process; NONE also where it cannot be read."""
    # it may have ended meanwhile, or its owner has made a path that is longer than the kernel prints
    with suppress_unreadable():
        return parse(host.read(f'{pid}/cgroup'))
    return NONE


def is_id(container: str) -> bool:
    """Is it an id, not a name?"""
    return bool(re.fullmatch(_ID, container))
