"""The framing: what the kernel sends is taken apart, what is damaged is refused, and nothing runs for ever."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netlink_wire import Wire

from check_conntrack_lib.readers import netlink
from check_conntrack_lib.readers.netlink import attributes, messages


def message(kind, payload=b'', length=None):
    header = struct.pack('=IHHII', 16 + len(payload) if length is None else length, kind, 2, 1, 0)
    return header + payload + bytes(-len(payload) % 4)


def attribute(kind, value=b'', length=None):
    header = struct.pack('=HH', 4 + len(value) if length is None else length, kind)
    return header + value + bytes(-len(value) % 4)


def test_messages_of_one_datagram_each_padded_to_four_bytes():
    datagram = message(0x100, b'abcde') + message(3, bytes(4))
    assert list(messages(datagram)) == [(0x100, b'abcde'), (3, bytes(4))]


def test_an_empty_datagram_has_no_messages():
    assert list(messages(b'')) == []


@pytest.mark.parametrize('datagram', [
    b'\0' * 15,
    message(3)[:-1],
    message(3, length=0),
    message(3, length=15),
    message(3, length=17),
    message(3, length=0xFFFFFFFF),
    message(0x100, b'abcd') + b'\x10',
])
def test_damaged_messages(datagram):
    with pytest.raises(ValueError, match='netlink'):
        list(messages(datagram))


def test_attributes_lose_their_flags():
    data = attribute(0x8001, b'abc') + attribute(0x4002, b'') + attribute(3, b'd')
    assert [(kind, data[start:end]) for kind, start, end in attributes(data, 0, len(data))] == [
        (1, b'abc'), (2, b''), (3, b'd')]


def test_attributes_of_a_part():
    data = b'xxxx' + attribute(1, b'abcd') + b'yyyy'
    assert list(attributes(data, 4, 12)) == [(1, 8, 12)]


@pytest.mark.parametrize('length', [0, 3, 9, 0xFFFF])
def test_damaged_attributes(length):
    data = attribute(1, b'abcd', length)
    with pytest.raises(ValueError, match='attribute'):
        list(attributes(data, 0, len(data)))


@given(st.binary(max_size=200))
def test_no_bytes_make_messages_endless(data):
    try:
        found = list(messages(data))
    except ValueError:
        return
    assert len(found) <= len(data) / 16


@given(st.binary(max_size=200))
def test_no_bytes_make_attributes_endless(data):
    try:
        found = list(attributes(data, 0, len(data)))
    except ValueError:
        return
    assert len(found) <= len(data) / 4
    assert all(4 <= start <= end <= len(data) for _kind, start, end in found)


def test_an_attribute_and_a_nest_as_the_kernel_reads_them():
    assert netlink.attribute(5, b'abc') == struct.pack('=HH', 7, 5) + b'abc\0'
    assert netlink.attribute(5, b'abcd') == struct.pack('=HH', 8, 5) + b'abcd'
    assert netlink.nest(2, netlink.attribute(1, b'x'), netlink.attribute(3, b'')) == struct.pack(
        '=HH', 16, 0x8002) + struct.pack('=HH', 5, 1) + b'x\0\0\0' + struct.pack('=HH', 4, 3)


class Opened:
    """A socket that refuses its first addresses."""

    def __init__(self, *made, refused=0, unreachable=False):
        assert made == (socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 12)
        self.refused, self.unreachable = refused, unreachable
        self.bound, self.connected, self.closed = [], None, False

    def bind(self, address):
        self.bound.append(address)
        if len(self.bound) <= self.refused:
            raise OSError(98, 'Address already in use')

    def connect(self, address):
        if self.unreachable:
            raise OSError(1, 'Operation not permitted')
        self.connected = address

    def close(self):
        self.closed = True


@pytest.mark.parametrize(('refused', 'tries'), [(0, 1), (2, 3), (9, 4)])
def test_a_socket_has_a_port_that_nobody_knows_and_hears_the_kernel_only(monkeypatch, refused, tries):
    monkeypatch.setattr(netlink.socket, 'socket', lambda *made: Opened(*made, refused=refused))
    numbers = iter(range(0, 80, 2))
    monkeypatch.setattr(netlink.os, 'urandom', lambda size: next(numbers).to_bytes(size, 'little'))
    opened = netlink.open_socket()
    assert opened.bound == [(2 * k + 1, 0) for k in range(tries)]
    assert opened.connected == (0, 0)
    assert not opened.closed


def test_a_socket_that_cannot_be_connected_is_closed(monkeypatch):
    made = []

    def opened(*of):
        made.append(Opened(*of, unreachable=True))
        return made[0]

    monkeypatch.setattr(netlink.socket, 'socket', opened)
    with pytest.raises(OSError, match='not permitted'):
        netlink.open_socket()
    assert made[0].closed


class Asked(Wire):
    """Keeps the question."""

    def send(self, request):
        super().send(request)
        self.request = request


def answer(kind, sequence, payload):
    return struct.pack('=IHHII', 16 + len(payload), kind, 2, sequence, 0) + payload


def test_a_dump_is_whole_up_to_its_end():
    def script(sequence):
        yield answer(0x100, sequence, b'abcd') + answer(0x104, sequence, b'efgh'), 0
        yield answer(2, sequence, bytes(4)), 0  # an acknowledgement: no error, no end
        yield answer(0x100, sequence, b'ijkl') + answer(3, sequence, bytes(4)) + answer(0x100, sequence, b'mnop'), 0

    wire = Asked(script)
    assert list(netlink.dump(0x101, 0x100, opened=wire, wanted=b'wxyz', family=2)) == [b'abcd', b'ijkl']
    assert struct.unpack('=IHH', wire.request[:8]) == (24, 0x101, 0x301)
    assert wire.request[16:] == b'\2\0\0\0wxyz'


@pytest.mark.parametrize('kind', [2, 3])
def test_the_kernel_s_error_is_raised(kind):
    def script(sequence):
        yield answer(kind, sequence, struct.pack('=i', -1)), 0

    with pytest.raises(PermissionError, match='Operation not permitted'):
        list(netlink.dump(0x101, 0x100, opened=Wire(script)))


def test_a_dump_with_an_end_is_as_much_as_came(monkeypatch):
    clock = iter([10.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(netlink.time, 'monotonic', lambda: next(clock))

    def script(sequence):
        while True:
            yield answer(0x100, sequence, b'abcd'), 0

    wire = Wire(script)
    assert list(netlink.dump(0x101, 0x100, until=12.0, opened=wire)) == [b'abcd'] * 2
    assert wire.timeout == 1.0
    clock = iter([10.0, 11.5, 12.5, 13.0])
    with pytest.raises(TimeoutError, match=r'no whole answer within 2\.5 s'):
        list(netlink.dump(0x101, 0x100, longest=2.5, opened=wire))


@pytest.mark.parametrize('number', [-(1 << 31), (1 << 31) - 1, -1, 1, -524, -99999, 5])
def test_an_error_with_any_number(number):
    with pytest.raises(OSError, match=r'.') as caught:
        netlink._raise_error(struct.pack('=i', number))
    assert caught.value.errno == -number
    netlink._raise_error(bytes(4))
    with pytest.raises(ValueError, match='cut'):
        netlink._raise_error(bytes(3))
