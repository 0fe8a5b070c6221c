"""The machine that is read: its /proc, which may be mounted elsewhere, its clocks, boot id and network namespace."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable

from .model import Instant, Missing
from .namedtuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar('T')

#: bytes: no conntrack file of /proc that is read whole is larger, not even with 8192 possible CPUs
LARGEST = 4 << 20
#: errors of reading a process that ended meanwhile or is another user's; not OSError, which would take in OutOfTime
GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError, PermissionError, ValueError)
CAP_NET_ADMIN = 12
#: inode of the root of every proc file system (include/linux/proc_ns.h)
PROC_ROOT_INO = 1
#: the per-CPU counters (readers.cpu_counters): a file with another inode in each network namespace, for all to see
STAT = 'net/stat/nf_conntrack'
#: where the driver of AWS's network interfaces lists the devices that it runs, below /sys
ENA_DEVICES = 'bus/pci/drivers/ena'


def system_clock() -> Instant:
    """This moment on three clocks of the kernel."""
    return Instant(
        time.time(),
        time.clock_gettime(time.CLOCK_BOOTTIME),
        time.clock_gettime(time.CLOCK_MONOTONIC),
    )


class Host(NamedTuple):
    """A machine, seen through a proc file system that need not be mounted at /proc."""

    procfs: str = '/proc'
    clock: Callable[[], Instant] = system_clock

    def path(self, name: str) -> str:
        """Where a file of /proc is here."""
        # os.path.join takes three times as long, of which thousands of namespaces make something
        return self.procfs + name if self.procfs.endswith('/') else f'{self.procfs}/{name}'

    def read(self, name: str) -> str:
        """Text of a file of /proc of at most LARGEST bytes. Raises OSError, or ValueError when it is larger."""
        # without O_NONBLOCK a FIFO in the place of the file would hold the check for ever
        handle = os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK)
        parts: list[bytes] = []
        try:
            size = 0
            while True:
                part = os.read(handle, 1 << 16)
                if not part:
                    return b''.join(parts).decode('ascii', 'replace')
                parts.append(part)
                size += len(part)
                if size > LARGEST:
                    raise ValueError(f'larger than {LARGEST} bytes')
        finally:
            os.close(handle)

    def read_parsed(self, name: str, parse: Callable[[str], T]) -> T | Missing:
        """What `parse` makes of a file of /proc; Missing where it cannot be read, or `parse` raises ValueError."""
        try:
            return parse(self.read(name))
        except (OSError, ValueError) as error:
            return Missing.because(error, self.path(name))

    def exists(self, name: str) -> bool:
        return os.path.exists(self.path(name))

    def boot_id(self) -> str | Missing:
        """The kernel's random id of this boot (drivers/char/random.c)."""
        try:
            text = self.read('sys/kernel/random/boot_id').strip()
        except (OSError, ValueError) as error:
            return Missing.because(error, 'boot id')
        # no regular expression on every run's way: each costs a fifth of a millisecond to compile
        sound = 8 <= len(text) <= 64 and text[0] != '-' and not text.strip('0123456789abcdef-')
        return text if sound else Missing('boot id: not an id')

    def netns(self) -> int | Missing:
        """Inode of the network namespace that this process reads (fs/nsfs.c)."""
        try:
            # the link's text, not its target: it also reads in a copy of a /proc tree
            target = os.readlink(self.path('self/ns/net'))
        except OSError as error:
            if error.errno != errno.EINVAL:
                return Missing.because(error, 'network namespace')
            # a copy of a tree on a file system without links has its text in a file
            target = self.read_line('self/ns/net')
        inode = target[len('net:['):-1]
        if target != f'net:[{inode}]' or not (inode.isascii() and inode.isdecimal() and len(inode) <= 18):
            return Missing('network namespace: unreadable link')
        return int(inode)

    def read_line(self, name: str) -> str:
        """Text of a file of one line, without the line's end; '' where it cannot be read."""
        try:
            return self.read(name).strip()
        except (OSError, ValueError):
            return ''

    def hides_processes(self) -> bool:
        """Is this user not shown the processes of others (proc's hidepid, ProtectProc= of a unit)?

        Each PID namespace has a process 1. With hidepid=1 (noaccess) its directory is there, but nothing below it.
        """
        try:
            # the root of a true proc file system, not of a captured tree
            return os.stat(self.procfs).st_ino == PROC_ROOT_INO and not self.exists('1/comm')
        except OSError:
            return False

    def root(self) -> str:
        """Where the root directory of the machine is whose /proc this is: as its first process sees it."""
        # never this process's own for another /proc: a captured one, or the host's in a container
        return '/' if self.procfs == '/proc' else self.path('1/root')

    def may_administer_network(self) -> bool:
        """Has this process CAP_NET_ADMIN (fs/proc/array.c: CapEff)?"""
        try:
            match = re.search(r'^CapEff:\s*([0-9a-f]{1,16})$', self.read('self/status'), re.MULTILINE)
        except (OSError, ValueError):
            return False
        return bool(match and int(match[1], 16) >> CAP_NET_ADMIN & 1)

    def shows_own_network_only(self) -> bool:
        """Was another host's /proc named, whose sys/net shows this process's own network namespace all the same?

        The kernel fills /proc/sys/net for the process that reads (fs/proc/proc_sysctl.c, net/sysctl_net.c).
        """
        if os.path.abspath(self.procfs) == '/proc':
            return False
        here = self._replace(procfs='/proc')
        try:
            # a captured tree shows what is in it
            live = os.stat(self.procfs).st_ino == PROC_ROOT_INO and self.boot_id() == here.boot_id()
        except OSError:
            return False
        if not live:
            return False
        for name, identity in (('ns/net', os.readlink), (STAT, _inode)):
            try:
                return identity(self.path(f'1/{name}')) != identity(here.path(f'self/{name}'))
            except OSError:
                continue  # only root may see the link, and not every kernel has the file
        return not self.exists('sys/net/nf_conntrack_max')  # shown in the initial namespace only

    def is_this_kernel(self) -> bool:
        """Does procfs show the namespace that this process's own system calls reach?"""
        here = self._replace(procfs='/proc')
        # the initial namespace has the same inode on most hosts
        return self.procfs == '/proc' or (
            not isinstance(self.netns(), Missing) and (self.netns(), self.boot_id()) == (here.netns(), here.boot_id())
        )


def _inode(path: str) -> str:
    return str(os.stat(path).st_ino)
