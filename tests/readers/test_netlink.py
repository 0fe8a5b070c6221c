"""The framing: what the kernel sends is taken apart, what is damaged is refused, and nothing runs for ever."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
