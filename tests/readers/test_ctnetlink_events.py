"""The listener's pure parts: the filter, the size of a sample, and the drop counter's file."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import ctnetlink_events
from check_conntrack_lib.readers.ctnetlink_events import NewConnections, one_in, parse_drops, random_filter

SAMPLES = Path(__file__).parents[1] / 'samples'
FILE = """sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000000000000 12  4294962993 00000001 2304     0        0     2        99998    21407
0000000000000000 0   0          00000000 0        0        0     2        0        8
"""


@pytest.mark.parametrize(('expected', 'step'), [
    (0, 1), (1999, 1), (2000, 2), (20_000, 16), (50_000, 32), (1e9, 1 << 15)])
def test_a_sample_has_at_least_a_thousand_events_where_there_are_as_many(expected, step):
    assert one_in(expected) == step
    assert expected / step >= 1000 or step == 1


def run(program, random):
    """A classic BPF machine of the three instructions that there are."""
    code = [struct.unpack_from('=HBBI', program, at) for at in range(0, len(program), 8)]
    at, a = 0, None
    while True:
        operation, true, false, k = code[at]
        at += 1
        if operation == 0x20:
            assert k == 0xFFFFF038
            a = random
        elif operation == 0x45:
            at += true if a & k else false
        else:
            assert operation == 0x06
            return k


@pytest.mark.slow
@pytest.mark.parametrize('step', [2, 64, 1 << 15])
def test_the_filter_keeps_one_in_a_power_of_two(step):
    kept = [run(random_filter(step), random) for random in range(4 * step)]
    assert [bool(length) for length in kept].count(True) == 4
    assert set(kept) == {0, 0xFFFFFFFF}


def test_the_filter_as_the_kernel_takes_it():
    """sock_filter: a load of the random number, a jump over one instruction where a bit is set, and two returns."""
    assert random_filter(64) == b''.join(struct.pack('=HBBI', *one) for one in (
        (0x20, 0, 0, 0xFFFFF038), (0x45, 0, 1, 63), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)))


def test_drops_by_inode():
    assert parse_drops(FILE, 21407) == 99998


@pytest.mark.parametrize('text', [FILE.replace('21407', '1'), 'sk Eth\n1 2\n', ' \n'])
def test_a_socket_that_is_not_in_the_file(text):
    with pytest.raises(ValueError, match='not in'):
        parse_drops(text, 21407)


def test_rates():
    assert NewConnections(0.5, 1000).rate == 2000
    assert NewConnections(0.0, 0).rate == 0


def test_a_captured_host_is_not_listened_to(tmp_path):
    got = ctnetlink_events.open_listener(Host(str(tmp_path)))
    assert isinstance(got, Missing)
    assert got.why == 'new connections are counted of the running kernel only'


@pytest.mark.parametrize(('before', 'after'), [(10, 25), ((1 << 32) - 5, 10)])
def test_the_drop_counter_wraps(monkeypatch, before, after):
    drops = iter([before, after, after])

    class Quiet:
        def recvfrom(self, _size):
            raise BlockingIOError

        def close(self):
            pass

    monkeypatch.setattr(ctnetlink_events, '_socket', Quiet)
    monkeypatch.setattr(ctnetlink_events, '_join', lambda *_: None)
    monkeypatch.setattr(ctnetlink_events, '_drops', lambda _socket: next(drops))
    heard = ctnetlink_events.Listener()
    assert [heard.count(), heard.count()] == [15, 15]


def test_what_a_process_sends_into_the_group_is_no_event(monkeypatch):
    """Only the kernel has port 0."""
    event = struct.pack('=IHHII', 20, 0x100, 0, 0, 0) + bytes(4)
    waiting = [(event, (4711, 1)), (event, (0, 1)), (struct.pack('=IHHII', 20, 0x102, 0, 0, 0) + bytes(4), (0, 1))]

    class Socket:
        def recvfrom(self, _size):
            if not waiting:
                raise BlockingIOError
            return waiting.pop(0)

        def close(self):
            pass

    monkeypatch.setattr(ctnetlink_events, '_socket', Socket)
    monkeypatch.setattr(ctnetlink_events, '_join', lambda *_: None)
    monkeypatch.setattr(ctnetlink_events, '_drops', lambda _socket: 0)
    assert ctnetlink_events.Listener().count() == 1


class Group:
    """A socket in the group: what was set on it, its drop counter, the events that wait."""

    def __init__(self):
        self.options, self.bound, self.closed = [], None, False
        self.drops, self.waiting = 0, []

    def setsockopt(self, *option):
        # before bind: no event gets in without a limit and a filter
        assert self.bound is None
        self.options.append(option)

    def getsockopt(self, level, name, size):
        assert (level, name, size) == (socket.SOL_SOCKET, 55, 36)
        return struct.pack('=9I', *range(8), self.drops)

    def bind(self, address):
        self.bound = address

    def recvfrom(self, _size):
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0), (0, 1)

    def close(self):
        self.closed = True


@pytest.fixture
def groups(monkeypatch):
    """The two sockets of a listener: one counts, one samples."""
    made = [Group(), Group()]
    monkeypatch.setattr(ctnetlink_events, '_socket', iter(made).__next__)
    return made


def message():
    payload = bytes.fromhex(next(line.split()[1] for line in (SAMPLES / 'host-6.18/ctnetlink.txt').read_text()
                                 .splitlines() if line.startswith('tcp4 ')))
    return struct.pack('=IHHII', 16 + len(payload), 0x100, 0, 0, 0) + payload


def test_one_socket_counts_and_has_room_for_one_event(groups):
    groups[0].drops = 3
    heard = ctnetlink_events.Listener(iter([10.0, 12.0, 14.0]).__next__)
    assert groups[0].options == [(270, 5, 1), (socket.SOL_SOCKET, socket.SO_RCVBUF, 1)]
    assert (groups[0].bound, groups[1].bound) == ((0, 1), None)
    groups[0].drops, groups[0].waiting = 9, [message(), message()]
    assert heard.count() == 2 + 6
    assert heard.seconds() == 2.0
    assert heard.finish() == NewConnections(4.0, 8)
    assert [group.closed for group in groups] == [True, True]


def test_the_other_samples_by_the_rate_up_to_now(groups):
    # 8000 in 2 s: 16,000 are expected in 4 s, of which one in 16 or 1000 are wanted
    heard = ctnetlink_events.Listener(iter([10.0, 12.0, 12.0, 16.0]).__next__)
    groups[0].drops = 8000
    ctnetlink_events.start_sample(heard, 6.0)
    assert groups[1].options[:2] == [(270, 5, 1), (socket.SOL_SOCKET, 33, 8 << 20)]
    level, name, program = groups[1].options[2]
    assert (level, name, len(program)) == (socket.SOL_SOCKET, 26, 16)
    assert struct.unpack('@HP', program)[0] == 4
    assert groups[1].bound == (0, 1)
    groups[1].waiting = [message()] * 2
    found = heard.finish()
    assert (found.seconds, found.connections, len(found.flows)) == (6.0, 8000, 2)


def test_the_filter_is_the_one_for_that_rate(groups, monkeypatch):
    steps = []
    monkeypatch.setattr(ctnetlink_events, 'random_filter', lambda step: steps.append(step) or random_filter(step))
    heard = ctnetlink_events.Listener(iter([10.0, 12.0, 12.0]).__next__)
    groups[0].drops = 8000
    ctnetlink_events.start_sample(heard, 6.0)
    assert steps == [16]


def test_few_events_are_all_kept(groups):
    heard = ctnetlink_events.Listener(iter([10.0, 10.0, 10.0]).__next__)
    ctnetlink_events.start_sample(heard, 1.0)
    assert [option[1] for option in groups[1].options] == [5, 33]
    assert groups[1].bound


def test_a_sample_that_cannot_be_taken_counts_all_the_same(groups, monkeypatch):
    heard = ctnetlink_events.Listener(iter([10.0, 11.0, 12.0, 13.0]).__next__)

    def refused(*_):
        raise OSError(105, 'No buffer space available')

    monkeypatch.setattr(groups[1], 'setsockopt', refused)
    ctnetlink_events.start_sample(heard, 6.0)
    groups[0].drops = 5
    assert ctnetlink_events.finish(heard) == NewConnections(3.0, 5)


def test_a_counter_that_cannot_be_read_is_said(groups, monkeypatch):
    heard = ctnetlink_events.Listener(iter([10.0, 11.0, 12.0]).__next__)
    assert ctnetlink_events.count(heard) == NewConnections(1.0, 0)
    monkeypatch.setattr(ctnetlink_events, '_drops', lambda _: parse_drops('sk', 1))
    for ask in (ctnetlink_events.count, ctnetlink_events.finish):
        monkeypatch.setattr(heard, '_clock', lambda: 12.0)
        assert ask(heard) == Missing('new connections: the socket is not in /proc/net/netlink')
    assert groups[0].closed


def test_a_listener_that_cannot_join_leaves_no_socket(groups, monkeypatch):
    monkeypatch.setattr(ctnetlink_events, '_drops', lambda _: parse_drops('sk', 1))
    with pytest.raises(ValueError, match='not in'):
        ctnetlink_events.Listener()
    assert [group.closed for group in groups] == [True, True]


def test_at_most_so_many_of_a_flood_are_read(groups):
    heard = ctnetlink_events.Listener()
    groups[0].waiting = [message()] * 100
    assert heard.count() == 64


@pytest.mark.parametrize(('setting', 'known', 'why'), [
    (None, None, 'no /proc/sys/net/netfilter/nf_conntrack_events'),
    (0, None, 'nf_conntrack_events is 0: the kernel does not report new connections'),
    (2, Missing('needs root'), 'needs root'),
])
def test_why_nothing_is_counted(monkeypatch, setting, known, why):
    monkeypatch.setattr(ctnetlink_events.sysctl_values, 'read_values',
                        lambda _host, names: {} if setting is None else {names[0]: setting})
    monkeypatch.setattr(ctnetlink_events.ctnetlink, 'read_cpu_stats', lambda: known)
    assert ctnetlink_events.open_listener(Host()).why == why


@pytest.mark.parametrize(('error', 'answer'), [
    (PermissionError(1, 'Operation not permitted'), ctnetlink_events.ctnetlink.NEEDS_ROOT),
    (OSError(24, 'Too many open files'), Missing('new connections: Too many open files'))])
def test_a_socket_that_cannot_be_had(monkeypatch, error, answer):
    def refused():
        raise error

    monkeypatch.setattr(ctnetlink_events.sysctl_values, 'read_values', lambda _host, names: {names[0]: 2})
    monkeypatch.setattr(ctnetlink_events.ctnetlink, 'read_cpu_stats', lambda: None)
    monkeypatch.setattr(ctnetlink_events, '_socket', refused)
    assert ctnetlink_events.open_listener(Host()) == answer


def test_older_kernels_have_the_drops_in_proc_only(groups, monkeypatch, tmp_path):
    monkeypatch.setattr(groups[0], 'getsockopt', lambda *_: b'')
    monkeypatch.setattr(groups[0], 'fileno', lambda: 0, raising=False)
    (tmp_path / 'netlink').write_text(FILE.replace('21407', str(os.fstat(0).st_ino)))
    monkeypatch.setattr('builtins.open', lambda path, **_: Path.open(tmp_path / path.rpartition('/')[2]))
    assert ctnetlink_events._drops(groups[0]) == 99998


@pytest.mark.parametrize(('until', 'seconds'), [(5.0, 3.0), (2.0, 0.0), (1.0, 0.0)])
def test_how_long_a_sample_is_kept(until, seconds):
    asked = []
    ctnetlink_events.start_sample(SimpleNamespace(seconds=lambda: 2.0, start_sample=asked.append), until)
    assert asked == [seconds]
