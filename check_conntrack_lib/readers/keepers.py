"""Who else sets conntrack's values on this host: programs that do so when they start, and the walls of a container."""

from __future__ import annotations

import os
import re

from ..formatting import clean
from ..host import Host
from ..namedtuples import NamedTuple

#: programs that contain kube-proxy, by the name that the kernel shows (at most 15 characters)
PROGRAMS = {'kube-proxy': 'kube-proxy', 'k3s-server': 'k3s', 'k3s-agent': 'k3s', 'k3s': 'k3s', 'rke2': 'rke2',
            'kubelite': 'MicroK8s', 'k0s': 'k0s'}
#: what a container runtime leaves in its containers
MARKS = {'.dockerenv': 'docker', 'run/.containerenv': 'podman', 'run/systemd/container': 'a container'}
RUNTIMES = re.compile(r'kubepods|docker|containerd|libpod|lxc')


class SysctlSetter(NamedTuple):
    """A running program that sets nf_conntrack_max and timeouts by itself."""

    name: str
    pid: int
    #: its --conntrack-* arguments, as they were given
    settings: tuple[str, ...]


def parse_cmdline(text: str) -> tuple[str, ...]:
    """The --conntrack-* arguments of a /proc/PID/cmdline, each with its value."""
    found = []
    words = text.split('\0')
    for place, word in enumerate(words):
        if 'conntrack-' in word and word.startswith('-'):
            apart = '=' not in word and place + 1 < len(words) and words[place + 1][:1] not in ('-', '')
            found.append(clean(f'{word}={words[place + 1]}' if apart else word, 80))
    return tuple(found)


def read(host: Host) -> tuple[SysctlSetter, ...]:
    """Those that host shows; a process that hides, or ends while it is looked at, is none."""
    try:
        pids = sorted(int(name) for name in os.listdir(host.procfs) if name.isdecimal())
    except OSError:
        return ()
    found = []
    for pid in pids:
        try:
            name = PROGRAMS.get(host.read(f'{pid}/comm').strip())
            if name:
                found.append(SysctlSetter(name, pid, parse_cmdline(host.read(f'{pid}/cmdline'))))
        except (OSError, ValueError):
            continue
    return tuple(found)


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
