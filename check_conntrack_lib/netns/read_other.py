"""The table of another network namespace: how full it is, and its counters.

A process shows its namespace's counters to everyone (/proc/<pid>/net/stat/nf_conntrack, ct_cpu_seq_show), and `entries`
in there is the count. Without a process, or on a kernel without that file, only root can look: from within.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache

from ..host import GONE, Host
from ..model import Counters, Missing
from ..namedtuples import NamedTuple
from ..readers import cpu_counters, netns_cookie, sysctl_values
from .discover import Namespace, parse_link
from .enter import NEEDS_ROOT, in_netns

VANISHED = Missing('vanished')


class OtherTable(NamedTuple):
    """What is read of another namespace."""

    #: in its table
    entries: int
    counters: Counters | Missing
    #: SO_NETNS_COOKIE, if it was entered
    cookie: int | None = None


@lru_cache(64)
def parse(text: str) -> OtherTable:
    """The stat file's text. Remembered: all idle namespaces have the same. Raises ValueError."""
    return OtherTable(cpu_counters.parse_entries(text), cpu_counters.parse(text))


def read(host: Host, namespace: Namespace, stat_file: bool, enter: bool) -> OtherTable | Missing:
    """Its table's entries and counters; VANISHED when it is no more.

    stat_file: does this kernel have one? enter: may this thread go there (host is this kernel)?
    Raises TimeoutError, which must end the reading of all namespaces.
    """
    try:
        answer = _through_a_process(host, namespace) if stat_file else None
        if answer:
            return answer
        paths = [namespace.path] if namespace.path else [] if stat_file else \
            [host.path(f'{pid}/ns/net') for pid in namespace.pids]
        if not paths:
            return VANISHED
        return _from_within(host, paths, namespace, stat_file) if enter else Missing('not of this kernel')
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        return Missing.because(error, 'network namespace')


def _through_a_process(host: Host, namespace: Namespace) -> OtherTable | None:
    for pid in namespace.pids:
        try:
            table = parse(host.read(f'{pid}/{cpu_counters.FILE}'))
            # another process may have got its number
            if not namespace.own_inode or parse_link(os.readlink(host.path(f'{pid}/ns/net'))) == namespace.inode:
                return table
        except GONE:
            continue
    return None


def _from_within(host: Host, paths: list[str], namespace: Namespace, stat_file: bool) -> OtherTable | Missing:
    for path in paths:
        try:
            if os.stat(path).st_ino != namespace.inode:
                continue
            return _inside(host, path, stat_file)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            return NEEDS_ROOT
        except OSError as error:
            # a name that was removed leaves a plain file for a moment
            if error.errno != errno.EINVAL:
                raise
    return VANISHED


def _inside(host: Host, path: str, stat_file: bool) -> OtherTable:
    if stat_file:
        with in_netns(host, path):
            name = f'thread-self/{cpu_counters.FILE}'
            text = host.read(name if host.exists(name) else cpu_counters.FILE)
            cookie = netns_cookie.read()
        return parse(text)._replace(cookie=cookie)
    from ..readers import ctnetlink, netlink  # only where the kernel has no stat file

    with in_netns(host, path):
        text = host.read(sysctl_values.COUNT)
        opened, cookie = netlink.open_socket(), netns_cookie.read()
    with opened:
        return OtherTable(sysctl_values.parse(text), ctnetlink.read_cpu_stats(opened), cookie)
