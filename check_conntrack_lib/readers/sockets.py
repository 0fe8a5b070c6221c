"""Which local processes own the sockets of flows, by psutil where it is installed; and whether an address is local."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import suppress

from ..formatting import clean_name
from ..host import Host
from ..model import Missing
from ..namedtuples import NamedTuple

MOST_OWNERS = 3


class Owner(NamedTuple):
    """A process and how many sockets of the kind asked for it holds."""

    name: str
    pid: int
    sockets: int


def is_local(address: str) -> bool:
    """Is this one of the host's own addresses? Only those can be bound to; nothing is sent."""
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def owners(destination: str = '', port: int | None = None) -> tuple[Owner, ...] | Missing:
    """The processes with most connected sockets to this destination and port ('' and None: to any)."""
    try:
        import psutil
    except ImportError:
        return Missing('python3-psutil not installed')
    sockets: Counter[int] = Counter()
    try:
        for connection in psutil.net_connections(kind='inet'):
            remote = connection.raddr
            if connection.pid and remote and destination in ('', remote.ip) and port in (None, remote.port):
                sockets[connection.pid] += 1
    except (OSError, psutil.Error) as error:
        return Missing.because(error, 'sockets')
    found = []
    for pid, count in sockets.most_common(MOST_OWNERS):
        with suppress(OSError, ValueError):  # it ended meanwhile
            # not psutil's name, which reads the command line, too: that may lie in memory that never answers
            found.append(Owner(clean_name(Host().read(f'{pid}/comm').rstrip('\n'), 32), pid, count))
    return tuple(found)
