"""New connections as the kernel reports them: group NEW of ctnetlink (net/netfilter/nf_conntrack_netlink.c).

One socket joins the group and has room for one event: what finds no room is counted in the socket's drop counter, so
all connections are counted while hardly one is read. A second socket keeps one event in N at random: a sample of the
connections. Neither ever sets NETLINK_BROADCAST_ERROR: with it, DESTROY events that find no room keep dead entries in
the table. Both need CAP_NET_ADMIN, and cost the kernel some microseconds for each new connection while they are open.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType

from ..flow import Flow
from ..host import Host
from ..model import Missing
from ..namedtuples import NamedTuple
from . import ctnetlink, sysctl_values
from .netlink import NETLINK_NETFILTER, RECEIVED, messages

# include/uapi/linux/netfilter/nfnetlink_compat.h, linux/netlink.h, asm-generic/socket.h, linux/sock_diag.h
NFNLGRP_CONNTRACK_NEW = 1
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_MEMINFO = 26, 33, 55
SK_MEMINFO_DROPS = 8
#: 0: the kernel reports no events; 1: always; 2: while somebody listens (since 5.19)
EVENTS = 'net/netfilter/nf_conntrack_events'
#: bytes: each event takes 1280 of it
SAMPLE_BUFFER = 8 << 20
#: events that are read of a sample at most; shares out of 1000 are right to 3 points
MOST_EVENTS, WANTED = 6000, 1000
LARGEST_STEP = 1 << 15
NETLINK_FILE = 'net/netlink'
_MEMINFO = struct.Struct('=9I')
_INSTRUCTION = struct.Struct('=HBBI')


class NewConnections(NamedTuple):
    """New connections of `seconds` in one network namespace."""

    seconds: float
    #: exact; entries that user space created are among them
    connections: int
    #: a random sample of the last part of that time, as they were when they began
    flows: tuple[Flow, ...] = ()

    @property
    def rate(self) -> float:
        """Connections per second."""
        return self.connections / self.seconds if self.seconds > 0 else 0.0


class Listener:
    """Counts the new connections of this thread's network namespace from its making until `close`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError; PermissionError without CAP_NET_ADMIN."""
        self._clock = clock
        # both are made now: this thread may be in another namespace later
        self._socket, self._sample = _socket(), _socket()
        self._sampling = False
        self._count = 0
        try:
            _join(self._socket, 1, 1)
            self._began = clock()
            self._last = _drops(self._socket)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()
        self._sample.close()

    def count(self) -> int:
        """New connections up to now. Raises OSError."""
        # those in the queue are few, but a rate of one in a minute would be none without them
        self._count += sum(1 for _payload in _received(self._socket))
        drops = _drops(self._socket)
        # 32 bits
        self._count += (drops - self._last) % (1 << 32)
        self._last = drops
        return self._count

    def seconds(self) -> float:
        """Since it was made."""
        return self._clock() - self._began

    def start_sample(self, seconds: float) -> None:
        """Keeps some of the events of the next `seconds`, one in so many as the rate up to now demands."""
        expected = self.count() / max(self.seconds(), 0.001) * seconds
        _join(self._sample, one_in(expected), SAMPLE_BUFFER)
        self._sampling = True

    def finish(self) -> NewConnections:
        """What was counted and sampled; closes it. Raises OSError, or ValueError for a damaged event."""
        try:
            counted = NewConnections(self.seconds(), self.count())
            if self._sampling:
                counted = counted._replace(flows=tuple(ctnetlink.parse_flows(_received(self._sample, MOST_EVENTS))))
            return counted
        finally:
            self.close()


def open_listener(host: Host) -> Listener | Missing:
    """A listener, or why new connections cannot be counted."""
    if not host.is_this_kernel():
        return Missing('new connections are counted of the running kernel only', chosen=True)
    setting = sysctl_values.read_values(host, [EVENTS])
    if not setting:
        return Missing(f'no {host.path("sys/" + EVENTS)}', 'this kernel is built without CONFIG_NF_CONNTRACK_EVENTS')
    if not setting[EVENTS]:
        return Missing('nf_conntrack_events is 0: the kernel does not report new connections',
                       'sudo sysctl -w net.netfilter.nf_conntrack_events=1')
    # it loads nf_conntrack_netlink where that is not loaded yet, and waits for it: joining the group would not wait
    known = ctnetlink.read_cpu_stats()
    if isinstance(known, Missing):
        return known
    try:
        return Listener()
    except PermissionError:
        return ctnetlink.NEEDS_ROOT
    except (OSError, ValueError) as error:
        return Missing.because(error, 'new connections')


def start_sample(listener: Listener, until: float) -> None:
    """Keeps some of the events from now until this many seconds after the listener was made; none if that fails."""
    with suppress(OSError, ValueError):  # it counts all the same
        listener.start_sample(max(0.0, until - listener.seconds()))


def count(listener: Listener) -> NewConnections | Missing:
    """What it counted up to now; it goes on."""
    try:
        return NewConnections(listener.seconds(), listener.count())
    except (OSError, ValueError) as error:
        return Missing.because(error, 'new connections')


def finish(listener: Listener) -> NewConnections | Missing:
    """What it counted and sampled; closes it."""
    try:
        return listener.finish()
    except (OSError, ValueError) as error:
        return Missing.because(error, 'new connections')


def one_in(expected: float) -> int:
    """The power of two that leaves at least WANTED of so many events, if there are as many."""
    step = 1
    while step < LARGEST_STEP and expected / (2 * step) >= WANTED:
        step *= 2
    return step


def random_filter(step: int) -> bytes:
    """A classic BPF program that keeps one message in `step`, a power of two, at random (linux/filter.h)."""
    return b''.join(_INSTRUCTION.pack(*instruction) for instruction in (
        (0x20, 0, 0, 0xFFFFF000 + 56),  # BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM
        (0x45, 0, 1, step - 1),         # BPF_JMP | BPF_JSET | BPF_K
        (0x06, 0, 0, 0),                # BPF_RET: drop, which no drop counter counts
        (0x06, 0, 0, 0xFFFFFFFF),       # BPF_RET: keep
    ))


def parse_drops(text: str, inode: int) -> int:
    """The column Drops of /proc/net/netlink in the row of a socket. Raises ValueError."""
    header, *rows = (line.split() for line in text.splitlines())
    for row in rows:
        values = dict(zip(header, row))
        if values.get('Inode') == str(inode):
            return int(values['Drops'])
    raise ValueError('the socket is not in /proc/net/netlink')


def _socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                         NETLINK_NETFILTER)


def _join(one: socket.socket, step: int, room: int) -> None:
    """Joins the group NEW and keeps one event in `step`; room: bytes of the receive buffer."""
    # what does not fit is counted all the same; without it each overflow is an error of recv
    one.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
    one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE if room > 1 else socket.SO_RCVBUF, room)
    if step > 1:
        program = array('B', random_filter(step))
        # struct sock_fprog; before bind: no event gets in unfiltered
        one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                       struct.pack('@HP', len(program) // _INSTRUCTION.size, program.buffer_info()[0]))
    one.bind((0, 1 << (NFNLGRP_CONNTRACK_NEW - 1)))


def _received(one: socket.socket, most: int = 64) -> Iterator[bytes]:
    """Payloads of the events that wait, at most so many. Raises OSError, ValueError."""
    for _ in range(most):
        try:
            datagram, sender = one.recvfrom(RECEIVED)
        except BlockingIOError:
            return
        # only the kernel has port 0: what a process sends into the group is no event
        if sender[0] == 0:
            yield from (payload for kind, payload in messages(datagram) if kind == ctnetlink.IPCTNL_MSG_CT_NEW)


def _drops(one: socket.socket) -> int:
    """The socket's drop counter. Raises OSError, ValueError."""
    try:
        memory = one.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
    except OSError:
        memory = b''
    if len(memory) == _MEMINFO.size:
        drops: int = _MEMINFO.unpack(memory)[SK_MEMINFO_DROPS]
        return drops
    # older kernels have it only here; of this thread's namespace
    with open(f'/proc/thread-self/{NETLINK_FILE}', encoding='ascii') as file:
        return parse_drops(file.read(), os.fstat(one.fileno()).st_ino)
