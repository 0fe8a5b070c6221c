"""Netlink framing (net/netlink/af_netlink.c, include/uapi/linux/netlink.h): dumps, messages, attributes.

Offsets instead of slices, and bytes instead of memoryviews, since a dump may have a million messages.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Generator, Iterator

# include/uapi/linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
#: NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags in the type field
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
#: the kernel fills at most 32 KiB of what a reader of a dump offers
RECEIVED = 1 << 16

HEADER = struct.Struct('=IHHII')
NFGENMSG = struct.Struct('!BBH')
ATTRIBUTE = struct.Struct('=HH')
_LENGTH_AND_TYPE = struct.Struct('=IH')
_ERRNO = struct.Struct('=i')


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each netlink message in one datagram. Raises ValueError for a damaged one."""
    position, end = 0, len(datagram)
    while position < end:
        if end - position < HEADER.size:
            raise ValueError('cut netlink header')
        length, kind = _LENGTH_AND_TYPE.unpack_from(datagram, position)
        if not HEADER.size <= length <= end - position:
            raise ValueError('netlink message with a wrong length')
        yield kind, datagram[position + HEADER.size:position + length]
        position += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nest(kind: int, *inside: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b''.join(inside))


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type without flags, start, end) of the value of each attribute in that part of the data.

    Raises ValueError for a damaged one.
    """
    while end - start >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if not ATTRIBUTE.size <= length <= end - start:
            raise ValueError('attribute with a wrong length')
        yield kind & NLA_TYPE_MASK, start + ATTRIBUTE.size, start + length
        start += (length + 3) & ~3


def dump(request: int, answers: int, until: float | None = None, protocol: int = NETLINK_NETFILTER,
         wanted: bytes = b'', family: int = socket.AF_UNSPEC) -> Generator[bytes, None, None]:
    """Payloads of type `answers` that one dump request gets in this thread's namespace.

    Ends early, and the kernel's work with it, when the time on CLOCK_MONOTONIC is `until`, or when it is closed.
    wanted: attributes that the kernel shall filter by, which an older one skips; family: AF_INET6 and the like.
    """
    # the kernel goes through its table inside recv, for one datagram at a time: it never waits for anything
    # struct nfgenmsg; rtnetlink takes its first byte, too (struct rtgenmsg)
    body = NFGENMSG.pack(family, 0, 0) + wanted
    header = HEADER.pack(HEADER.size + len(body), request, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as netlink:
        netlink.bind((0, 0))
        netlink.send(header + body)
        while until is None or time.monotonic() < until:
            for kind, payload in messages(netlink.recv(RECEIVED)):
                if kind == answers:
                    yield payload
                elif kind in (NLMSG_DONE, NLMSG_ERROR):
                    _raise_error(payload)
                    if kind == NLMSG_DONE:
                        return


def _raise_error(payload: bytes) -> None:
    """Both kinds begin with an error number, 0 when all is well."""
    if len(payload) < _ERRNO.size:
        raise ValueError('cut netlink error')
    number = -_ERRNO.unpack_from(payload)[0]
    if number:
        raise OSError(number, os.strerror(number))
