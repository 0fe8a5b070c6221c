"""How a namespace is distinguished from the one that had its inode before, and the name that it keeps over restarts."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..history.identity import Identify
from ..host import GONE, Host
from ..model import Instant, Sample
from ..readers import process_stat
from . import discover, names
from .discover import Namespace

#: clock ticks a second (USER_HZ): the same on every Linux
TICKS = 100
#: the start of a process is rounded down to a tick, the time of a file to 10 ms
ROUNDED = 0.02


def identify(host: Host, namespaces: Sequence[Namespace], initial: int | None) -> Identify:
    """For samples of these namespaces; initial: the inode of the initial one, if known."""
    by_inode = {one.inode: one for one in namespaces}

    def existed(sample: Sample, uptime: float) -> bool:
        one = by_inode.get(sample.netns)
        # of the initial one, and of what is no more, nothing can be said against it
        return one is None or sample.netns == initial or one.initial or _existed(host, one, uptime, sample.at)

    def name(sample: Sample) -> str:
        one = by_inode.get(sample.netns)
        return names.HOST if sample.netns == initial else names.name_of(host, one).lasting if one else ''

    return Identify(existed, name)


def identify_own(host: Host) -> Identify:
    """For samples of the one namespace that host shows, not the initial one; looked up only when it is needed."""
    def looked_up() -> Identify:
        own = host.netns()
        try:
            found = [one for one in discover.find(host).namespaces if one.inode == own]
        except (OSError, ValueError):
            found = []
        return identify(host, found, None)

    return Identify(lambda sample, uptime: looked_up().existed(sample, uptime), lambda sample: looked_up().name(sample))


def _existed(host: Host, namespace: Namespace, uptime: float, now: Instant) -> bool:
    """Was one of its processes, or else the file it is bound to, there at this uptime? True where neither tells."""
    known = False
    for pid in namespace.pids:
        started = process_stat.read(host, pid, process_stat.START_TIME)
        if started is None:
            continue
        known = True
        if started / TICKS + ROUNDED <= uptime:
            return True
    if namespace.path:
        try:
            # a file of nsfs is made when the namespace is first bound or looked at
            age = now.wall - os.stat(namespace.path).st_ctime
        except GONE:
            return not known
        # a clock that was set back tells nothing
        return (not known and age < 0) or age >= now.uptime - uptime + ROUNDED
    return not known
