"""Netlink framing (net/netlink/af_netlink.c, include/uapi/linux/netlink.h): dumps, messages, attributes.

Offsets instead of slices, and bytes instead of memoryviews, since a dump may have a million messages. Root of a user
namespace may send to every socket in its network namespace: only what the kernel sent as an answer counts.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Generator, Iterator
from contextlib import suppress

# include/uapi/linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
#: NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags in the type field
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
#: the kernel fills at most 32 KiB of what a reader of a dump offers
RECEIVED = 1 << 16
#: seconds for a dump that is wanted whole: the kernel never waits for anything, so it takes milliseconds
LONGEST = 2.0
#: ports that are tried before the kernel chooses
TRIES = 4

HEADER = struct.Struct('=IHHII')
NFGENMSG = struct.Struct('!BBH')
ATTRIBUTE = struct.Struct('=HH')
_LENGTH_TYPE_SEQUENCE = struct.Struct('=IHxxI')
_ERRNO = struct.Struct('=i')


def messages(datagram: bytes, sequence: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each netlink message in one datagram, or of those with that sequence number.

    Raises ValueError for a damaged one.
    """
    position, end = 0, len(datagram)
    while position < end:
        if end - position < HEADER.size:
            raise ValueError('cut netlink header')
        length, kind, number = _LENGTH_TYPE_SEQUENCE.unpack_from(datagram, position)
        if not HEADER.size <= length <= end - position:
            raise ValueError('netlink message with a wrong length')
        if sequence is None or number == sequence:
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


def open_socket(protocol: int = NETLINK_NETFILTER) -> socket.socket:
    """A socket to the kernel in this thread's namespace, where it stays wherever the thread goes. Raises OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        for _ in range(TRIES):
            with suppress(OSError):
                # not the process's id, which the kernel takes by itself and everybody knows
                opened.bind((int.from_bytes(os.urandom(4), 'little') | 1, 0))
                break
        # from then on the kernel refuses what others send (netlink_getsockbyportid)
        opened.connect((0, 0))
    except BaseException:
        opened.close()
        raise
    return opened


def dump(request: int, answers: int, until: float | None = None, protocol: int = NETLINK_NETFILTER,
         opened: socket.socket | None = None, longest: float = LONGEST, wanted: bytes = b'',
         family: int = socket.AF_UNSPEC) -> Generator[bytes, None, None]:
    """Payloads of type `answers` that one dump request gets in this thread's namespace, or in that of `opened`.

    Ends early, and the kernel's work with it, when the time on CLOCK_MONOTONIC is `until`, or when it is closed.
    Without `until` it is whole, or raises TimeoutError after `longest` seconds.
    wanted: attributes that the kernel shall filter by, which an older one skips; family: AF_INET and the like.
    """
    end = time.monotonic() + longest if until is None else until
    # struct nfgenmsg; rtnetlink takes its first byte, too (struct rtgenmsg)
    body = NFGENMSG.pack(family, 0, 0) + wanted
    sequence = int.from_bytes(os.urandom(4), 'little')
    header = HEADER.pack(HEADER.size + len(body), request, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0)
    with opened or open_socket(protocol) as netlink:
        netlink.send(header + body)
        left = end - time.monotonic()
        while left > 0:
            netlink.settimeout(left)
            try:
                datagram, sender = netlink.recvfrom(RECEIVED)
            except socket.timeout:  # before Python 3.10 not yet TimeoutError
                break
            # the kernel's port is 0
            for kind, payload in messages(datagram, sequence) if sender[0] == 0 else ():
                if kind == answers:
                    yield payload
                elif kind in (NLMSG_DONE, NLMSG_ERROR):
                    _raise_error(payload)
                    if kind == NLMSG_DONE:
                        return
            left = end - time.monotonic()
    if until is None:
        raise TimeoutError(f'no whole answer within {longest:g} s')


def _raise_error(payload: bytes) -> None:
    """Both kinds begin with an error number, 0 when all is well."""
    if len(payload) < _ERRNO.size:
        raise ValueError('cut netlink error')
    number = -_ERRNO.unpack_from(payload)[0]
    if number:
        # no error has a number of more digits, and strerror takes no larger one than an int
        raise OSError(number, os.strerror(number) if abs(number) < 1 << 31 else 'unknown error')
