"""Netlink: root of any user namespace may send to the sockets in its network namespace; only the kernel is believed."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator

import laboratory
import pytest
from netlink_wire import Wire

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, Missing
from check_conntrack_lib.netns import enter, read_other
from check_conntrack_lib.netns.discover import Namespace
from check_conntrack_lib.readers import ctnetlink, netlink

STATS = ctnetlink.IPCTNL_MSG_CT_GET_STATS_CPU
NOBODY_PORT = 4242


def row(drop: int, cpu: int = 0) -> bytes:
    return struct.pack('!BBH', 0, 0, cpu) + struct.pack('=HH', 8, 10) + struct.pack('!I', drop)


def message(kind: int, sequence: int, payload: bytes) -> bytes:
    return struct.pack('=IHHII', 16 + len(payload), kind, 2, sequence, 0) + payload + bytes(-len(payload) % 4)


def counters(script: Callable[[int], Iterator[tuple[bytes, int]]]) -> Counters | Missing:
    return ctnetlink.read_cpu_stats(Wire(script))  # type: ignore[arg-type]


def test_what_another_process_sent_is_dropped() -> None:
    def script(sequence: int) -> Iterator[tuple[bytes, int]]:
        forged = message(STATS, sequence, row(2_000_000)) + message(netlink.NLMSG_DONE, sequence, bytes(4))
        yield forged, NOBODY_PORT
        yield b'\0' * 7, NOBODY_PORT
        yield message(netlink.NLMSG_ERROR, sequence, struct.pack('=i', -1)), NOBODY_PORT
        yield message(STATS, sequence, row(7)), 0
        yield forged, NOBODY_PORT
        yield message(netlink.NLMSG_DONE, sequence, bytes(4)), 0

    assert counters(script) == Counters({'drop': (7,)}, 'ctnetlink')


def test_answers_to_another_question_are_dropped() -> None:
    def script(sequence: int) -> Iterator[tuple[bytes, int]]:
        for other in (0, 1, sequence ^ 1):
            yield message(STATS, other, row(2_000_000)) + message(netlink.NLMSG_DONE, other, bytes(4)), 0
        yield message(STATS, sequence, row(7)) + message(netlink.NLMSG_DONE, sequence, bytes(4)), 0

    assert counters(script) == Counters({'drop': (7,)}, 'ctnetlink')


def test_sequence_numbers_are_not_known_before() -> None:
    seen = []

    def script(sequence: int) -> Iterator[tuple[bytes, int]]:
        seen.append(sequence)
        yield message(netlink.NLMSG_DONE, sequence, bytes(4)), 0

    for _ in range(8):
        counters(script)
    assert len(set(seen)) > 4


def test_noise_without_end_and_silence_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 0.01)
    monkeypatch.setattr(netlink.time, 'monotonic', lambda: next(clock))
    noise = counters(lambda sequence: itertools.repeat((message(STATS, sequence, row(1)), NOBODY_PORT)))
    silence = counters(lambda _: iter(()))
    endless = counters(lambda sequence: ((message(STATS, sequence, row(1, cpu)), 0) for cpu in itertools.count()))
    for answer in (noise, silence, endless):
        assert isinstance(answer, Missing)
        assert 'no whole answer within 2 s' in answer.why


@pytest.fixture
def lab() -> Iterator[laboratory.Namespace]:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    with laboratory.namespace() as made:
        yield made


@pytest.mark.kernel
def test_the_kernel_refuses_what_others_send(lab: laboratory.Namespace) -> None:
    with lab.in_netns(), netlink.open_socket() as opened, \
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER) as other:
        port = opened.getsockname()[0]
        assert port not in (0, os.getpid())
        with pytest.raises(ConnectionRefusedError):
            other.sendto(message(STATS, 1, row(2_000_000)), (port, 0))
        assert isinstance(ctnetlink.read_cpu_stats(opened), Counters)


@pytest.mark.kernel
def test_counters_of_another_namespace_are_read_with_no_signal_held_back(
        lab: laboratory.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ctnetlink.read_cpu_stats
    held = []

    def recorded(opened: socket.socket | None = None) -> Counters | Missing:
        held.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return read(opened)

    monkeypatch.setattr(ctnetlink, 'read_cpu_stats', recorded)
    began = os.stat('/proc/thread-self/ns/net').st_ino
    seen = read_other.read(Host(), Namespace(lab.inode, path=lab.path), stat_file=False, enter=True)
    assert isinstance(seen, read_other.OtherTable)
    assert isinstance(seen.counters, Counters)
    assert held == [set()]
    assert os.stat('/proc/thread-self/ns/net').st_ino == began


@pytest.mark.kernel
def test_a_thread_that_cannot_return_reads_nothing_more(lab: laboratory.Namespace,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def setns(_handle: int) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(12, 'Cannot allocate memory')

    monkeypatch.setattr(enter, '_setns', setns)
    for read in (lambda: read_other.read(Host(), Namespace(lab.inode, path=lab.path), True, True),
                 lambda: enter.run_in_netns(Host(), lab.path, time.monotonic)):
        calls.clear()
        with pytest.raises(enter.NotReturned, match='Cannot allocate memory'):
            read()
    # or is told that it is back, and is not
    monkeypatch.setattr(enter, '_setns', lambda handle: None)
    monkeypatch.setattr(enter, '_own', lambda _host: next(own))
    own = iter(['/proc/self/ns/net', lab.path])
    with pytest.raises(enter.NotReturned, match='not in the own'):
        enter.run_in_netns(Host(), '/proc/self/ns/net', time.monotonic)
