"""Namespaces of their own for a whole test run by root: what else is on the machine is neither seen nor changed.

Mounts, processes and network are the run's own, so are /run/netns and a /dev/kmsg without a line in it. Shared with the
machine stay nf_conntrack_max, for which runs take turns (laboratory.maximum), and the true kernel log (KERNEL_LOG).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: the directory by which the machine's own files stay within reach
MARK = 'CHECK_CONNTRACK_ISOLATED'
NEW_MOUNTS, NEW_PROCESSES, NEW_NETWORK = 0x20000, 0x20000000, 0x40000000  # CLONE_NEW*
BIND, RECURSIVE, PRIVATE, DETACH = 0x1000, 0x4000, 0x40000, 2  # MS_*, MNT_DETACH
PR_SET_PDEATHSIG = 1
NETNS = '/run/netns'
#: their names in that directory
FILES = {'nf_conntrack_max': '/proc/sys/net/netfilter/nf_conntrack_max', 'kmsg': '/dev/kmsg',
         'net': '/proc/self/ns/net'}
_libc = ctypes.CDLL(None, use_errno=True)


def isolated() -> bool:
    return MARK in os.environ


def true_path(name: str) -> str:
    """The machine's own file: one of FILES."""
    return os.path.join(os.environ[MARK], name) if isolated() else FILES[name]


def enter() -> int | None:
    """None in the process that is to run the tests; in the one that waits for it, the tests' exit status.

    Does nothing for other users than root, and where root may not do this.
    """
    # a guest (benchmarks/kernels.py) is separate as it is
    if os.geteuid() or isolated() or os.environ.get('CHECK_CONNTRACK_GUEST') or _libc.unshare(NEW_PROCESSES):
        return None
    directory = tempfile.mkdtemp(prefix='check_conntrack-tests-')
    sys.stdout.flush()
    sys.stderr.flush()
    first = os.fork()
    if first:
        try:
            return _status_of(first)
        finally:
            os.rmdir(directory)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _separate(directory)
    os.environ[MARK] = directory
    tests = os.fork()
    if tests:
        # the first process of the namespace; all others end with it
        os._exit(_status_of(tests))
    return None


def _status_of(child: int) -> int:
    """Waits for this child; other processes that became children of this one are collected."""
    # Ctrl-C is for the tests, which are in the same process group
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _separate(directory: str) -> None:
    _unshare(NEW_MOUNTS)
    _mount('none', '/', '', RECURSIVE | PRIVATE)
    _mount('tmpfs', directory, 'tmpfs')
    _mount('proc', '/proc', 'proc')
    # by these alone other namespaces are held and found
    for line in Path('/proc/self/mountinfo').read_text().splitlines():
        if ' - nsfs ' in line:
            _libc.umount2(line.split()[4].encode(), DETACH)
    for name, path in FILES.items():
        if os.path.exists(path):
            Path(directory, name).touch()
            _mount(path, f'{directory}/{name}', '', BIND)
    os.makedirs(NETNS, exist_ok=True)
    _mount('tmpfs', NETNS, 'tmpfs')
    Path(directory, 'no-line').touch(0o600)
    if os.path.exists(FILES['kmsg']):
        _mount(f'{directory}/no-line', FILES['kmsg'], '', BIND)
    _unshare(NEW_NETWORK)
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
        # with lo alone the check says that nothing leads out
        subprocess.run(['ip', 'link', 'add', 'out', 'type', 'bridge'], check=False, stderr=subprocess.DEVNULL)


def _unshare(flag: int) -> None:
    if _libc.unshare(flag):
        raise OSError(ctypes.get_errno(), 'unshare: ' + os.strerror(ctypes.get_errno()))


def _mount(source: str, target: str, kind: str, flags: int = 0) -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, None):
        raise OSError(ctypes.get_errno(), f'mount {target}: ' + os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def true_network() -> Iterator[None]:
    """The calling thread in the machine's network, for what has to be downloaded."""
    with open(true_path('net')) as true, open('/proc/thread-self/ns/net') as own:
        if isolated():
            _libc.setns(true.fileno(), NEW_NETWORK)
        try:
            yield
        finally:
            if isolated():
                _libc.setns(own.fileno(), NEW_NETWORK)
