"""One alarm for a run, and a smaller share of it for each reading that may get stuck."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from .formatting import duration

#: what bounds the time of one reading, such as `Deadline.budget`
TimeBudget = Callable[[], AbstractContextManager[None]]


#: what is waited for in a module that is not named after it
_NAMES = {'history': 'history', 'netns': 'network namespaces', 'sockets': 'owners of sockets',
          'proc_conntrack': 'list of entries', 'ctnetlink': 'ctnetlink', 'netlink': 'ctnetlink'}


class OutOfTime(TimeoutError):
    """A reading used up its share. An OSError, so that each reader turns it into Missing at its border."""

    #: 'kernel log', 'history' ...; '' when it is not known
    waited_for = ''


class Deadline:
    """Raises OutOfTime in the main thread, wherever it is, when the time is up.

    The kernel's real-time timer (setitimer) is this object's alone from `start` to `stop`.
    """

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        #: seconds for the whole run
        self.limit = seconds
        self._armed = seconds
        self._running = False
        self._before: object = None
        self._blocked = False

    def start(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        self._running = True
        # a caller's mask is inherited, and would hold back the alarm for ever
        self._blocked = signal.SIGALRM in signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        self._arm(self.left())

    def stop(self) -> None:
        self._running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)  # type: ignore[arg-type]
        if self._blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})

    def extend_to(self, seconds: float) -> None:
        """Counts the limit anew, still from the same beginning."""
        self.limit = seconds
        self._arm(self.left())

    def left(self) -> float:
        """Seconds until the end, never negative."""
        return max(0.0, self._began + self.limit - time.monotonic())

    @contextmanager
    def budget(self, most: float = 2.0) -> Iterator[None]:
        """Gives what runs inside at most `most` seconds, and at most a third of what is left."""
        if not self._running:
            yield
            return
        self._arm(min(most, self.left() / 3))
        try:
            yield
        finally:
            self._arm(self.left())

    def _arm(self, seconds: float) -> None:
        self._armed = seconds
        # 0 would switch the timer off
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))

    def _ring(self, _signal: int, frame: FrameType | None) -> None:
        # should a C call have swallowed this one, the next comes soon
        signal.setitimer(signal.ITIMER_REAL, 0.25)
        error = OutOfTime(f'no answer within {duration(self._armed)}')
        error.waited_for = _reading(frame)
        raise error


def _reading(frame: FrameType | None) -> str:
    """The reading that a frame is in, by the module that does it."""
    while frame is not None:
        parts = str(frame.f_globals.get('__name__', '')).split('.')
        if parts[0] == __package__ and len(parts) > 2 and parts[1] in ('readers', 'history', 'netns'):
            name = parts[2] if parts[1] == 'readers' else parts[1]
            return _NAMES.get(name, name.replace('_', ' '))
        frame = frame.f_back
    return ''
