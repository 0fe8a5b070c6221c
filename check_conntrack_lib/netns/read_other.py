"""The table of another network namespace: how full it is, and its counters.

A process shows its namespace's counters to everyone (/proc/<pid>/net/stat/nf_conntrack, ct_cpu_seq_show), and `entries`
in there is the count. Without a process, or on a kernel without that file, only root can look: from within.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial

from ..host import GONE, Host
from ..model import Counters, Missing
from ..namedtuples import NamedTuple
from ..readers import cpu_counters, netns_cookie, sysctl_values
from .discover import Namespace, parse_link
from .enter import NEEDS_ROOT, returning

VANISHED = Missing('vanished')
#: namespaces that are entered one after another: a few milliseconds, for which signals wait
ENTERED_AT_ONCE = 50


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
    """One namespace's (see `read_all`)."""
    return next(answer for _namespace, answer in read_all(host, (namespace,), stat_file, enter))


def read_all(host: Host, namespaces: Iterable[Namespace], stat_file: bool,
             enter: bool) -> Iterator[tuple[Namespace, OtherTable | Missing]]:
    """Each one's entries and counters, in order; VANISHED for one that is no more.

    stat_file: does this kernel have one? enter: may this thread go there (host is this kernel)?
    Raises TimeoutError, which must end the reading of all namespaces.
    """
    inside: list[Namespace] = []
    for namespace in namespaces:
        answer = _from_outside(host, namespace, stat_file, enter)
        if answer is None and stat_file:
            # to leave and to return costs as much as the reading: many are entered in between
            inside.append(namespace)
            if len(inside) < ENTERED_AT_ONCE:
                continue
        yield from _from_within(host, inside)
        inside = []
        if answer is not None or not stat_file:
            yield namespace, answer or _through_netlink(host, namespace)
    yield from _from_within(host, inside)


def _from_outside(host: Host, namespace: Namespace, stat_file: bool, enter: bool) -> OtherTable | Missing | None:
    """What is known without entering it; None: that is to be tried."""
    try:
        answer = _through_a_process(host, namespace) if stat_file else None
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        return Missing.because(error, 'network namespace')
    if answer:
        return answer
    if not (namespace.path or (namespace.pids and not stat_file)):
        return VANISHED
    return None if enter else Missing('not of this kernel')


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


def _from_within(host: Host, namespaces: Sequence[Namespace]) -> list[tuple[Namespace, OtherTable | Missing]]:
    """The stat file as this thread sees it in each of them."""
    if not namespaces:
        return []
    with returning(host) as enter:
        file = f'thread-self/{cpu_counters.FILE}' if host.exists('thread-self') else cpu_counters.FILE
        return [(one, _unless_gone(partial(_inside, host, one, enter, file))) for one in namespaces]


def _inside(host: Host, namespace: Namespace, enter: Callable[[str, int | None], bool],
            file: str) -> OtherTable | Missing:
    """Enters it and stays. Raises OSError, ValueError."""
    if not enter(namespace.path, namespace.inode):
        return VANISHED
    table = parse(host.read(file))
    return OtherTable(table.entries, table.counters, netns_cookie.read())


def _through_netlink(host: Host, namespace: Namespace) -> OtherTable | Missing:
    """Where the kernel has no stat file: its counters are asked through a socket, with no signal held back."""
    for path in [namespace.path] if namespace.path else [host.path(f'{pid}/ns/net') for pid in namespace.pids]:
        answer = _unless_gone(partial(_ask, host, path, namespace.inode))
        if answer != VANISHED:
            return answer
    return VANISHED


def _ask(host: Host, path: str, inode: int) -> OtherTable | Missing:
    """Raises OSError, ValueError."""
    from ..readers import ctnetlink, netlink  # only where the kernel has no stat file

    with returning(host) as enter:
        if not enter(path, inode):
            return VANISHED
        text = host.read(sysctl_values.COUNT)
        opened, cookie = netlink.open_socket(), netns_cookie.read()
    with opened:
        return OtherTable(sysctl_values.parse(text), ctnetlink.read_cpu_stats(opened), cookie)


def _unless_gone(work: Callable[[], OtherTable | Missing]) -> OtherTable | Missing:
    """What `work` gives, or why it raised OSError or ValueError. Raises TimeoutError."""
    try:
        return work()
    except TimeoutError:
        raise
    except (FileNotFoundError, ProcessLookupError):
        return VANISHED
    except PermissionError:
        return NEEDS_ROOT
    except (OSError, ValueError) as error:
        # a name that was removed leaves a plain file for a moment
        removed = getattr(error, 'errno', None) == errno.EINVAL
        return VANISHED if removed else Missing.because(error, 'network namespace')
