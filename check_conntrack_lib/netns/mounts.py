"""/proc/<pid>/mountinfo: files that network namespaces are bound to (fs/proc_namespace.c, show_mountinfo).

'286 27 0:4 net:[4026532551] /run/netns/blue rw - nsfs nsfs rw': all may read it, also where the directory is closed,
and whatever directory a container runtime is configured to use. A mount of another mount namespace is not there.
"""

from __future__ import annotations

import os
import re

from ..deadline import suppress_unreadable
from ..host import Host
from ..namedtuples import NamedTuple

#: bytes: no mount table is larger; a node with hundreds of pods has 2 MB
LARGEST = 1 << 25
_ESCAPE = r'\\([0-7]{3})'


class Mount(NamedTuple):
    """One mount: 'major:minor', the directory of that file system that it shows, and where."""

    device: str
    root: str
    point: str


def parse_netns(text: str) -> list[tuple[int, str]]:
    """(inode, path) of each network namespace that is bound to a file, in order of the mounts."""
    found = []
    for line in text.split('\n'):
        if ' - nsfs ' in line:
            words = line.split(' ', 5)
            if len(words) == 6 and words[3].startswith('net:[') and words[3][5:-1].isdecimal():
                found.append((int(words[3][5:-1]), _unescaped(words[4])))
    return found


def parse(text: str) -> list[Mount]:
    """Every mount."""
    found = []
    for line in text.split('\n'):
        words = line.split(' ', 5)
        if len(words) == 6:
            found.append(Mount(words[2], _unescaped(words[3]), _unescaped(words[4])))
    return found


def read(host: Host, pid: int | str) -> str:
    """The mount table of a process, larger than `Host.read` takes; '' when it cannot be had."""
    with suppress_unreadable():  # the process may end while it is read
        return _read(host.path(f'{pid}/mountinfo')).decode('utf-8', 'surrogateescape')
    return ''


def _read(path: str) -> bytes:
    """The whole file, or its first LARGEST bytes and the rest of that read. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        parts: list[bytes] = []
        size = 0
        while size < LARGEST:
            part = os.read(handle, 1 << 16)
            if not part:
                break
            parts.append(part)
            size += len(part)
        return b''.join(parts)
    finally:
        os.close(handle)


def outside(mounts: list[Mount], device: str, inner: str) -> str:
    """The path at which a host with these mounts has the directory `inner` of a file system; '' if it has not."""
    for mount in mounts:
        if mount.device == device and (inner + '/').startswith(mount.root.rstrip('/') + '/'):
            return mount.point.rstrip('/') + inner[len(mount.root.rstrip('/')):]
    return ''


def _unescaped(text: str) -> str:
    return re.sub(_ESCAPE, lambda octal: chr(int(octal[1], 8)), text) if '\\' in text else text
