"""/proc/PID: which programs of the host's own run here (fs/proc/array.c, base.c), and whether this is a container.

Any user may name a process kubelet, and a container may run a keepalived that is not this host's. A program counts
only if it is root's and in no container: in the namespaces of the first process, and in no container's cgroup.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress

from ..host import Host
from ..namedtuples import NamedTuple

#: programs that contain kube-proxy, by the name that the kernel shows (at most 15 characters)
SETTERS = {'kube-proxy': 'kube-proxy', 'k3s-server': 'k3s', 'k3s-agent': 'k3s', 'k3s': 'k3s', 'rke2': 'rke2',
           'kubelite': 'MicroK8s', 'k0s': 'k0s'}
#: on the node of a host's own kubelet, kube-proxy mostly runs in a pod: it counts by its name, its arguments do not
KUBELET, KUBE_PROXY = 'kubelet', 'kube-proxy'
#: what a container runtime leaves in its containers
MARKS = {'.dockerenv': 'docker', 'run/.containerenv': 'podman', 'run/systemd/container': 'a container'}
RUNTIMES = re.compile(r'kubepods|docker|containerd|libpod|lxc')
#: the namespaces of this kind must be the first process's
NAMESPACES = ('pid', 'mnt', 'user')
#: the cgroup of a container, unlike that of a runtime's own service
_CONTAINED = re.compile(r'kubepods|/docker[-/]|cri-containerd|crio-|libpod|/lxc[./]|/machine-|systemd-nspawn@'
                        r'|[0-9a-f]{64}')
_UIDS = re.compile(r'^Uid:\t0\t0\t0\t0$', re.MULTILINE)
_PIDS = re.compile(r'^NSpid:\t\d+$', re.MULTILINE)
#: an argument that is printed: nothing else of a command line is
_ARGUMENT = re.compile(r'--conntrack-[a-z-]{1,60}=[0-9a-z.]{1,20}')


class SysctlSetter(NamedTuple):
    """A running program that sets nf_conntrack_max and timeouts by itself."""

    name: str
    pid: int
    #: its --conntrack-* arguments, as '--name=value'
    settings: tuple[str, ...]


def parse_cmdline(text: str) -> tuple[str, ...]:
    """The --conntrack-* arguments of a /proc/PID/cmdline that have a value of a known shape."""
    words = text.split('\0')
    given = [word if '=' in word else f'{word}={value}' for word, value in zip(words, [*words[1:], ''])
             if word.startswith('--conntrack-')]
    return tuple(word for word in given if _ARGUMENT.fullmatch(word))


def read_setters(host: Host) -> tuple[SysctlSetter, ...]:
    """Those that host shows; a process that is hidden, or ends meanwhile, is left out."""
    found, in_pods, kubelet = [], [], False
    for pid, name, own in _named(host, (*SETTERS, KUBELET)):
        kubelet |= own and name == KUBELET
        if name == KUBE_PROXY and not own:
            in_pods.append(SysctlSetter(name, pid, ()))
        elif own and name in SETTERS:
            with suppress(OSError, ValueError):
                found.append(SysctlSetter(SETTERS[name], pid, parse_cmdline(host.read(f'{pid}/cmdline'))))
    return tuple(found or in_pods[:1] if kubelet else found)


def read_running(host: Host, names: Collection[str]) -> frozenset[str]:
    """Those of the names (at most 15 characters, as the kernel shows them) that run on host."""
    return frozenset(name for _pid, name, own in _named(host, names) if own)


def read_container(host: Host) -> str:
    """The kind of container that host is in; '' for none that shows."""
    for mark, kind in MARKS.items():
        if os.path.exists(os.path.join(host.root(), mark)):
            return kind
    try:
        runtime = RUNTIMES.search(host.read('1/cgroup'))
    except (OSError, ValueError):
        return ''
    return runtime[0] if runtime else ''


def _named(host: Host, names: Collection[str]) -> Iterator[tuple[int, str, bool]]:
    """(pid, name, is it the host's own?) of the processes of these names."""
    try:
        pids = sorted(int(name) for name in os.listdir(host.procfs) if name.isdecimal())
    except OSError:
        return
    for pid in pids:
        try:
            name = host.read(f'{pid}/comm').rstrip('\n')
            if name in names:
                yield pid, name, is_hosts_own(host, pid)
        except (OSError, ValueError):
            pass  # it ended meanwhile


def is_hosts_own(host: Host, pid: int, kinds: Collection[str] = NAMESPACES, monitor: bool = False) -> bool:
    """Is it root's, in no container, and in the host's own namespaces of these kinds? Raises OSError, ValueError.

    monitor: a container's monitor counts, too, though it is in the container's cgroup.
    """
    status = host.read(f'{pid}/status')
    if not (_UIDS.search(status) and _PIDS.search(status)):
        return False
    if not monitor and _CONTAINED.search(host.read(f'{pid}/cgroup')):
        return False
    try:
        return all(os.readlink(host.path(f'{pid}/ns/{kind}')) == _hosts(host, kind) for kind in kinds)
    except PermissionError:
        # only root sees these of root's processes; to be one, and to have no second pid, is not to be had otherwise
        return os.geteuid() != 0


def _hosts(host: Host, kind: str) -> str:
    """The host's namespace of that kind. Raises OSError."""
    try:
        return os.readlink(host.path(f'1/ns/{kind}'))
    except PermissionError:
        # a root with fewer capabilities than the first process: what this process is in
        return os.readlink(host.path(f'self/ns/{kind}'))
