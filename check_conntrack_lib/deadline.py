"""One alarm for a run, and within its time a shorter one for each reading that may get stuck.

Where the kernel holds the main thread so that no alarm gets through (FUSE, NFS, memory that another process has
locked), a second thread ends the process: what ends it is let through.
"""

from __future__ import annotations

import _thread
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType

from .formatting import duration

#: what bounds the time of one reading, such as `Deadline.budget`
TimeBudget = Callable[[], AbstractContextManager[None]]

#: what the modules of a package do, for the message of a timeout; '{}' is the module's name in words
ACTIVITIES = {'readers': 'reading {}', 'history': 'using the history file', 'netns': 'reading network namespaces'}

#: seconds from the end of the time until the second thread acts
GRACE = 1.0


class OutOfTime(TimeoutError):
    """A reading used up its time. An OSError, so that each reader turns it into Missing at its border."""


class suppress_unreadable:
    """As contextlib.suppress of OSError, ValueError and the others given, but OutOfTime goes through.

    For what is left out where it cannot be read, in the middle of a reading whose time is bounded as a whole.
    """

    def __init__(self, *others: type[Exception]) -> None:
        self._suppressed: tuple[type[Exception], ...] = (OSError, ValueError, *others)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> bool:
        return isinstance(error, self._suppressed) and not isinstance(error, OutOfTime)


class Deadline:
    """Raises OutOfTime in the main thread, wherever it is, when the time is up.

    The kernel's real-time timer (setitimer) is this object's alone from `start` to `stop`.
    """

    def __init__(self, seconds: float, last_resort: Callable[[Deadline], None] | None = None) -> None:
        """last_resort: what the second thread does when the main thread cannot be reached; it must end the process."""
        self._last_resort = last_resort
        self._over: _thread.LockType | None = None
        #: held by the thread that prints
        self.output = _thread.allocate_lock()
        self._began = time.monotonic()
        #: seconds for the whole run
        self.limit = seconds
        self._armed = seconds
        self._running = False
        self._before: object = None
        self._blocked = False
        #: what the alarm interrupted, such as 'reading /proc/net/stat/nf_conntrack'; '' where that has no name
        self.doing = ''

    def start(self) -> None:
        """Sets the alarm, and starts the second thread if there is a last resort."""
        self._before = signal.signal(signal.SIGALRM, self._on_alarm)
        self._running = True
        # a caller's mask is inherited, and would hold back the alarm for ever
        self._blocked = signal.SIGALRM in signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        self._arm(self.left())
        if self._last_resort:
            self._start_second_thread(self._last_resort)

    def stop(self) -> None:
        """Takes the alarm back; signals are handled as before."""
        self._running = False
        if self._over:
            self._over.release()
            self._over = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)  # type: ignore[arg-type]
        if self._blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})

    def extend_to(self, seconds: float) -> None:
        """Sets another limit, counted from the same start."""
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

    def _start_second_thread(self, last_resort: Callable[[Deadline], None]) -> None:
        over = _thread.allocate_lock()
        over.acquire()
        main = _thread.get_ident()

        def wait() -> None:
            # the end may be moved meanwhile
            while not over.acquire(timeout=GRACE / 2):
                if time.monotonic() > self._began + self.limit + GRACE:
                    self.doing = _doing(sys._current_frames().get(main))
                    last_resort(self)

        if start_thread(wait):
            self._over = over

    def _arm(self, seconds: float) -> None:
        self._armed = seconds
        # 0 would switch the timer off
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))

    def _on_alarm(self, _signal: int, frame: FrameType | None) -> None:
        self.doing = _doing(frame)
        # if C code ignores the exception, the next alarm comes soon
        signal.setitimer(signal.ITIMER_REAL, 0.25)
        raise OutOfTime(f'no answer within {duration(self._armed)}')


def start_thread(function: Callable[[], None]) -> bool:
    """A thread that no exit waits for; False where there is no memory for one, or this user may have no more."""
    # signals go to the main thread: its system calls are to be interrupted
    held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM, signal.SIGTERM, signal.SIGINT))
    try:
        _thread.start_new_thread(function, ())
    except _thread.error:
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return True


def _doing(frame: FrameType | None) -> str:
    """What the interrupted code was doing, by the innermost module of this package that reads something."""
    while frame is not None:
        module = frame.f_globals.get('__name__', '')
        if module == f'{__package__}.host' and frame.f_code.co_name == 'read':
            return f'reading {frame.f_locals["self"].path(frame.f_locals["name"])}'
        for package, what in ACTIVITIES.items():
            if module.startswith(f'{__package__}.{package}.'):
                return what.format(module.rpartition('.')[2].replace('_', ' '))
        frame = frame.f_back
    return ''
