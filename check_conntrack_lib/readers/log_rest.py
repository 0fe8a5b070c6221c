"""Has the rest of the running kernel's log anything new? Two calls show it without reading record by record.

In both the kernel goes over the whole ring (`syslog_call`): once for the size, twice for the end of the text.
"""

from __future__ import annotations

from ..model import Instant, LogMemory, LogRing
from .kernel_lines import MARKERS
from .log_clock import may_stay_unread, tail_since

#: A full ring, whose oldest record is not the first of this boot, is long: the first record is enough to know it. In
#: others reading so many records takes as long as the calls.
FULL_RING, LONG_LOG = 1, 256
#: bytes: where less is unread, a logger takes it from /proc/kmsg, and what it takes could make up for what is new
LEAST_UNREAD = 1 << 15


class RestOfLog:
    """Of one reading of /dev/kmsg: what comes after the records that are read already.

    since: on CLOCK_MONOTONIC; memory: what an earlier run of this boot has read.
    """

    #: after so many records `has_nothing_new` is asked
    asked_after = FULL_RING, LONG_LOG

    def __init__(self, since: float, memory: LogMemory | None, now: Instant | None) -> None:
        offset = memory.offset if memory else 0.0
        self._memory = memory
        # all on the log's clock
        self._since = memory.read - offset if memory else since
        self._tail_since = tail_since(since, memory)
        self._now = now.monotonic - offset if now else since
        self._done = False
        #: as it was before the rest was read; None: not looked at
        self.ring: LogRing | None = None

    def has_nothing_new(self, read: int, oldest: int, stamp: float) -> bool:
        """Is no line about full tables newer than those remembered, or than `since`? Not known: False.

        read: how many records are read; oldest, stamp: number and time of the first of them.
        """
        known = self._memory.ring if self._memory else None
        comparable = known is not None and (known.unread or 0) >= LEAST_UNREAD
        long = oldest > 0 or read >= LONG_LOG
        if self._done or not (long or comparable):
            return False
        self._done = long
        if self._memory and not self.ring:
            self.ring = _ring_now(oldest, known)
        if not may_stay_unread((oldest, stamp), self._since, self._now):
            return False
        if comparable and self.ring == known:
            return True
        if not long or self._tail_since is None:
            return False
        from .log_tail import has_none_since  # only where the size shows nothing

        return has_none_since(self._tail_since, MARKERS)


def _ring_now(oldest: int, known: LogRing | None) -> LogRing:
    """The size is asked for where the next run can compare it: not in a ring whose records are new in each run."""
    if known and known.unread == 0:
        return known  # refused, or taken by a logger
    if known and oldest and known.unread and known.unread < LEAST_UNREAD:
        return known  # a small ring
    if known and known.oldest != oldest:
        return LogRing(oldest, None)
    from . import syslog_call  # only where it is needed

    return LogRing(oldest, syslog_call.size_unread())
