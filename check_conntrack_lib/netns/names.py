"""/proc/<pid>/cgroup: the container that a process runs in (kernel/cgroup/cgroup.c, proc_cgroup_show).

A line is 'hierarchy:controllers:path', one a hierarchy of cgroup v1, '0::path' of v2. Every runtime has its own way to
put a container's id or name into the path.
"""

from __future__ import annotations

import re

from ..formatting import clean
from ..host import GONE, Host

#: docker, containerd, CRI-O, podman, kubepods, ECS: the last 64 hexadecimal digits; a monitor is not in the container
_ID = re.compile(r'(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])')
_MONITOR = re.compile(r'conmon|lxc\.monitor|/supervisor$')
#: lxc and systemd-nspawn name their containers
_NAMED = re.compile(
    r'/(?:lxc(?:\.payload)?[./](?P<lxc>[^/]+)'
    r'|systemd-nspawn@(?P<nspawn>[^/]+)\.service'
    r'|machine-(?P<machine>[^/]+)\.scope)')
_ESCAPED = re.compile(r'\\x([0-9a-f]{2})')
#: digits of an id that are shown: enough for `docker inspect`, `crictl inspect`
SHOWN = 6


def parse(text: str) -> str:
    """The container's whole id, or its name; '' for a process of none."""
    for line in text.splitlines():
        path = line.partition(':')[2].partition(':')[2]
        if _MONITOR.search(path):
            continue
        ids = _ID.findall(path)
        if ids:
            return str(ids[-1])
        match = _NAMED.search(path)
        if match:
            name = next(group for group in match.groups() if group)
            return _ESCAPED.sub(lambda hexadecimal: chr(int(hexadecimal[1], 16)), name)
    return ''


def read(host: Host, pid: int) -> str:
    """The container of a process; '' also when it cannot be told."""
    try:
        return parse(host.read(f'{pid}/cgroup'))
    except GONE:
        return ''


def shown(container: str) -> str:
    """An id shortened, a name made harmless."""
    return container[:SHOWN] if _ID.fullmatch(container) else clean(container, 60)
