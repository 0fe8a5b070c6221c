"""setns(2): this thread in another network namespace for a moment (kernel/nsproxy.c); needs CAP_SYS_ADMIN."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from ..host import Host
from ..model import Missing
from ..namedtuples import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes
    from socket import socket
    from typing import TypeVar

    _T = TypeVar('_T')

CLONE_NEWNET = 0x40000000
NEEDS_ROOT = Missing('needs root', 'entering a namespace needs CAP_SYS_ADMIN: run it with sudo')
#: signals whose handlers raise an exception
_SIGNALS = (signal.SIGALRM, signal.SIGTERM, signal.SIGINT)


class NotReturned(RuntimeError):
    """This thread is left in another namespace: whatever it reads from now on would be of the wrong one."""


@contextmanager
def in_netns(host: Host, path: str) -> Iterator[None]:
    """What runs inside is in the namespace of that file; it must be short, or bound its own time.

    There /proc/sys/net, sockets and /proc/thread-self/net are the namespace's. Raises OSError when it cannot enter,
    NotReturned, which no reader catches, when it cannot leave.
    """
    with returning(host) as enter:
        enter(path, None)
        yield


@contextmanager
def returning(host: Host) -> Iterator[Callable[[str, int | None], bool]]:
    """Gives `enter_netns`, to enter namespaces one after another: the thread returns once, to the one that it was in.

    What runs inside must be short, as with `in_netns`. Signals wait until then: an exception between two steps of the
    way could leave it there. Raises NotReturned.
    """
    left = False

    def enter(path: str, inode: int | None) -> bool:
        nonlocal left
        entered = enter_netns(path, inode)
        left = left or entered
        return entered

    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # a signal that came before raises here, in the own namespace
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        home = os.open(_own(host), os.O_RDONLY)
        try:
            try:
                yield enter
            finally:
                # who has no right to enter needs none to return
                if left:
                    _return(host, home)
        finally:
            os.close(home)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def open_netlink(host: Host, path: str) -> socket | Missing:
    """A socket of the namespace of that file: what takes longer is asked through it, with no signal held back."""
    from ..readers.netlink import open_socket  # only where flows or counters of another namespace are read

    return run_in_netns(host, path, open_socket)


def run_in_netns(host: Host, path: str, work: Callable[[], _T]) -> _T | Missing:
    """What `work` gives in the namespace of that file; it must bound its own time (see `in_netns`)."""
    try:
        with in_netns(host, path):
            return work()
    except PermissionError:
        return NEEDS_ROOT
    except OSError as error:
        return Missing.because(error, 'network namespace')


def enter_netns(path: str, inode: int | None = None) -> bool:
    """Puts this thread into the namespace of that file and leaves it there. Raises OSError.

    inode: False, and the thread stays, if the file is of another namespace than this one.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if inode is not None and os.fstat(handle).st_ino != inode:
            return False
        _setns(handle)
        return True
    finally:
        os.close(handle)


def _own(host: Host) -> str:
    # without thread-self (before 3.17) only the main thread can come
    own = host.path('thread-self/ns/net')
    return own if os.path.exists(own) else host.path('self/ns/net')


def _return(host: Host, home: int) -> None:
    """Puts this thread back into the namespace that the handle `home` is of. Raises NotReturned."""
    try:
        _setns(home)
        here = os.stat(_own(host))
    except OSError as error:
        raise NotReturned(f'cannot return to the own network namespace: {error.strerror}') from error
    if here.st_ino != os.fstat(home).st_ino:
        raise NotReturned('not in the own network namespace again')


def _setns(handle: int) -> None:
    if hasattr(os, 'setns'):
        os.setns(handle, CLONE_NEWNET)
        return
    if _libc().setns(handle, CLONE_NEWNET):
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # before Python 3.12; 3 ms of start-up

    return ctypes.CDLL(None, use_errno=True)
