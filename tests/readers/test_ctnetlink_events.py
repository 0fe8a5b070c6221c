"""The listener's pure parts: the filter, the size of a sample, and the drop counter's file."""

from __future__ import annotations

import struct

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import ctnetlink_events
from check_conntrack_lib.readers.ctnetlink_events import NewConnections, one_in, parse_drops, random_filter

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


@pytest.mark.parametrize('step', [2, 64, 1 << 15])
def test_the_filter_keeps_one_in_a_power_of_two(step):
    kept = [run(random_filter(step), random) for random in range(4 * step)]
    assert [bool(length) for length in kept].count(True) == 4
    assert set(kept) == {0, 0xFFFFFFFF}


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
