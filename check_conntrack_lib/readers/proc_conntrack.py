"""/proc/net/nf_conntrack: the entries as text (ct_seq_show, net/netfilter/nf_conntrack_standalone.c).

Below 6.18 the kernel walks the table again for every 4 KiB that are read, so only the first lines are ever read, and
only where ctnetlink does not answer. Fields come and go with protocol, kernel and its options: a line is parsed by
token, never by position.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import TypeVar

from ..flow import ACCOUNTED, ASSURED, CONFIRMED, DST_NAT, HW_OFFLOAD, OFFLOAD, PORTED, SEEN_REPLY, SRC_NAT, TCP, Flow
from ..host import Host
from ..model import Missing

FILE = 'net/nf_conntrack'
#: no line is longer; what is, is not this file
LONGEST_LINE = 4096
_T = TypeVar('_T')


def parse_line(line: str) -> Flow:
    """One entry. Raises ValueError for a line that is none."""
    words = line.split()
    if len(words) < 6 or not words[1].isdecimal():
        raise ValueError('not a line of nf_conntrack')
    protocol = _number(words[3], 255)
    rest = words[4:]
    # an offloaded entry has no timeout, and a TCP one no state
    timeout = _number(rest.pop(0), (1 << 63) - 1) if rest[0].isdecimal() else None
    state = rest.pop(0) if '=' not in rest[0] and not rest[0].startswith('[') else ''
    # it is printed: what is no name of a state must not get so far
    if state and not (state.isascii() and state.replace('_', '').isalnum()):
        raise ValueError('not a state')
    original, reply, flags = _directions(rest)
    src, dst, reply_src, reply_dst = (_address(way[end]) for way in (original, reply) for end in ('src', 'dst'))
    sport, dport, reply_sport, reply_dport = (_number(way.get(end, '0'), 0xFFFF) if protocol in PORTED else 0
                                              for way in (original, reply) for end in ('sport', 'dport'))
    status = _status(protocol, flags)
    # the file does not tell NAT, but the answers come from and go to other ends then
    if (reply_dst, reply_dport) != (src, sport):
        status |= SRC_NAT
    if (reply_src, reply_sport) != (dst, dport):
        status |= DST_NAT
    zone = _number(original.get('zone-orig') or reply.get('zone-reply') or reply.get('zone', '0'), 0xFFFF)
    counted = [_number(way[what], (1 << 64) - 1) for way in (original, reply) for what in ('packets', 'bytes')
               if what in way]
    # all four or none
    counters = counted if len(counted) == len(ACCOUNTED) else [None] * len(ACCOUNTED)
    return Flow(protocol, state, status, timeout, src, dst, sport, dport, reply_src, reply_dst, zone,
                reply_sport, reply_dport, *counters)


def _directions(words: Iterable[str]) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """The NAME=VALUE words of the original and of the reply direction, and the words without a value.

    What follows the second direction (mark, zone) is among its words. Raises ValueError for a line without both.
    """
    original: dict[str, str] = {}
    reply: dict[str, str] = {}
    flags = set()
    way: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition('=')
        # each direction begins with its source
        if name == 'src':
            way = reply if original else original
        if equals:
            way.setdefault(name, value)
        else:
            flags.add(word)
    if not {'src', 'dst'} <= original.keys() & reply.keys():
        raise ValueError('a line without two directions')
    return original, reply, flags


def _status(protocol: int, flags: Collection[str]) -> int:
    """The bits of enum ip_conntrack_status that a line's words stand for."""
    status = CONFIRMED
    if '[UNREPLIED]' not in flags:
        status |= SEEN_REPLY
    if '[OFFLOAD]' in flags or '[HW_OFFLOAD]' in flags:
        status |= HW_OFFLOAD | OFFLOAD if '[HW_OFFLOAD]' in flags else OFFLOAD
        if protocol == TCP:
            # the kernel prints one of the three words only; one that is not assured is spared for being offloaded (5.x)
            status |= ASSURED
    if '[ASSURED]' in flags:
        status |= ASSURED
    return status


def parse(lines: Iterable[str]) -> Iterator[Flow]:
    """The entries of the file's lines. Raises ValueError for a line that is no entry."""
    return (parse_line(line) for line in lines if line.strip())


def read_flows(host: Host, use: Callable[[Iterator[Flow]], _T], most: int,
               until: float | None = None) -> _T | Missing:
    """What `use` makes of the first `most` entries, read until then on CLOCK_MONOTONIC."""
    path = host.path(FILE)
    try:
        with closing(_lines(path, until)) as lines:
            return use(islice(parse(lines), most))
    except FileNotFoundError:
        return Missing(f'no {path}', 'this kernel is built without CONFIG_NF_CONNTRACK_PROCFS')
    except PermissionError:
        return Missing('needs root', f'{path} is for root')
    except (OSError, ValueError) as error:
        return Missing.because(error, path)


def _lines(path: str, until: float | None) -> Generator[str, None, None]:
    # O_NONBLOCK: a FIFO in the place of the file would hold the check for ever
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        # runtimes cover files of /proc with /dev/null or an empty file, which is no table without entries
        if not stat.S_ISREG(status.st_mode) or status.st_dev != os.stat(os.path.dirname(path)).st_dev:
            raise ValueError('something else is mounted over it')
        rest = b''
        while until is None or time.monotonic() < until:
            part = os.read(handle, LONGEST_LINE)
            *lines, rest = (rest + part).split(b'\n')
            for line in lines:
                yield line.decode('ascii', 'replace')
            if len(rest) > LONGEST_LINE:
                raise ValueError('a line without an end')
            if not part:
                if rest:
                    raise ValueError('cut line')
                return
    finally:
        os.close(handle)


def _number(digits: str, largest: int) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20 and int(digits) <= largest):
        raise ValueError('not a number')
    return int(digits)


def _address(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ':' in text else socket.AF_INET, text)
    except OSError as error:
        raise ValueError('not an address') from error
