"""ctnetlink over NETLINK_NETFILTER (net/netfilter/nf_conntrack_netlink.c); needs CAP_NET_ADMIN for every message.

Attributes that this module does not name are skipped on purpose: the kernel adds some with every generation. A
caller reads nf_conntrack_count first: where that is absent, a request by root would load the modules.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

from ..counters import COUNTERS
from ..flow import ACCOUNTED, PORTED, STATES, Flow, ReplyTuple
from ..model import Counters, Missing
from ..namedtuples import NamedTuple
from .netlink import ATTRIBUTE, NETLINK_NETFILTER, NFGENMSG, attribute, attributes, dump, nest

# include/uapi/linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_NEW = NFNL_SUBSYS_CTNETLINK << 8
IPCTNL_MSG_CT_GET = IPCTNL_MSG_CT_NEW | 1
IPCTNL_MSG_CT_GET_STATS_CPU = IPCTNL_MSG_CT_NEW | 4
#: of a dump: CTA_FILTER, whose CTA_FILTER_REPLY_FLAGS say which parts of CTA_TUPLE_REPLY count
CTA_FILTER = 25
CTA_FILTER_IP_SRC, CTA_FILTER_IP_DST, CTA_FILTER_PROTO_NUM, CTA_FILTER_SRC_PORT = 1, 2, 8, 16
NEEDS_ROOT = Missing('needs root', 'ctnetlink answers only with CAP_NET_ADMIN: run the check with sudo')

#: names by CTA_STATS_*
CPU_STATS = {counter.attribute: name for name, counter in COUNTERS.items()}

#: CTA_* that hold attributes, by their path from the message's top
NESTS = {(1,), (1, 1), (1, 2), (2,), (2, 1), (2, 2), (4,), (4, 1), (4, 2), (4, 3), (9,), (10,)}
#: the field of Flow that an attribute holds, and its format
FIELDS = {
    (1, 1, 1): ('src', '4s'),       # CTA_TUPLE_ORIG, CTA_TUPLE_IP, CTA_IP_V4_SRC
    (1, 1, 2): ('dst', '4s'),
    (1, 1, 3): ('src', '16s'),
    (1, 1, 4): ('dst', '16s'),
    (1, 2, 1): ('protocol', 'B'),   # CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_NUM
    (1, 2, 2): ('sport', 'H'),
    (1, 2, 3): ('dport', 'H'),
    (1, 3): ('zone', 'H'),          # CTA_TUPLE_ORIG, CTA_TUPLE_ZONE: a zone of this direction only
    (2, 3): ('zone', 'H'),          # an entry has one zone: for this direction, the other, or both (18)
    (2, 1, 1): ('reply_src', '4s'),
    (2, 1, 2): ('reply_dst', '4s'),
    (2, 1, 3): ('reply_src', '16s'),
    (2, 1, 4): ('reply_dst', '16s'),
    (2, 2, 2): ('reply_sport', 'H'),
    (2, 2, 3): ('reply_dport', 'H'),
    (3,): ('status', 'I'),
    (4, 1, 1): ('state', 'B'),      # CTA_PROTOINFO_TCP, _DCCP, _SCTP and their _STATE
    (4, 2, 1): ('state', 'B'),
    (4, 3, 1): ('state', 'B'),
    (7,): ('timeout', 'I'),
    (9, 1): ('orig_packets', 'Q'),  # CTA_COUNTERS_ORIG, CTA_COUNTERS_PACKETS: with nf_conntrack_acct=1
    (9, 2): ('orig_bytes', 'Q'),
    (10, 1): ('reply_packets', 'Q'),
    (10, 2): ('reply_bytes', 'Q'),
    (18,): ('zone', 'H'),
}
PORTS = ('sport', 'dport', 'reply_sport', 'reply_dport')
#: fields of few values: they belong to the layout
KINDS = ('protocol', 'state', 'status')
#: seconds for a dump of all entries of a table
LONGEST = 300.0
#: layouts that are remembered; a table has a few dozen
MOST_LAYOUTS = 4096
#: of messages of a length that was not met before
NOTHING_KNOWN: Mapping[int, dict[int, Layout]] = {}

_BE32 = struct.Struct('!I')
_T = TypeVar('_T')


class Layout(NamedTuple):
    """How to decode the messages that have the same bits under a mask."""

    #: what must be the same: the headers of all attributes, and the values of KINDS
    mask: int
    #: from the message to the fields of many values, in the message's order
    unpack: Callable[[bytes], tuple[Any, ...]]
    #: the values that all these messages share: KINDS, and what is absent
    constants: tuple[Any, ...]
    #: from the two together to the fields in Flow's order
    arrange: Callable[[tuple[Any, ...]], tuple[Any, ...]]


def parse_flows(payloads: Iterable[bytes]) -> Iterator[Flow]:
    """The entries in IPCTNL_MSG_CT_NEW messages. Raises ValueError for a damaged one.

    To go through the attributes of every message would take three times as long as all the rest. Of a million
    messages nearly all have their attributes in the same places as some earlier one: the first of its layout is gone
    through, the others are compared and unpacked in one step each.
    """
    # by the message's length: each mask with the layouts by what it leaves of the message
    layouts: dict[int, dict[int, dict[int, Layout]]] = {}
    number, new, remembered = int.from_bytes, tuple.__new__, 0
    for payload in payloads:
        bits = number(payload, 'little')
        for mask, known in layouts.get(len(payload), NOTHING_KNOWN).items():
            layout = known.get(bits & mask)
            if layout:
                break
        else:
            layout = find_layout(payload)
            if remembered < MOST_LAYOUTS:
                remembered += 1
                layouts.setdefault(len(payload), {}).setdefault(layout.mask, {})[bits & layout.mask] = layout
        yield new(Flow, layout.arrange(layout.unpack(payload) + layout.constants))


def find_layout(payload: bytes) -> Layout:
    """The layout of one message, by all its attributes. Raises ValueError if they are damaged or no entry's."""
    if len(payload) < NFGENMSG.size:
        raise ValueError('cut nfgenmsg')
    mask = bytearray(len(payload))
    places: dict[str, tuple[int, str]] = {}
    for path, start, end in _leaves(payload, (), NFGENMSG.size, len(payload), mask):
        if path in FIELDS:
            name, code = FIELDS[path]
            if end - start != struct.calcsize('!' + code):
                raise ValueError(f'{name} of {end - start} bytes')
            places[name] = start, code
    if not {'src', 'dst', 'protocol'} <= places.keys():
        raise ValueError('an entry without a tuple')
    values: dict[str, Any] = {'state': '', 'status': 0, 'timeout': None, 'zone': 0, 'sport': 0, 'dport': 0,
                              'reply_src': b'', 'reply_dst': b'', 'reply_sport': 0, 'reply_dport': 0,
                              'orig_packets': None, 'orig_bytes': None, 'reply_packets': None, 'reply_bytes': None}
    for name in KINDS:
        if name in places:
            start, code = places.pop(name)
            mask[start:start + struct.calcsize('!' + code)] = b'\xff' * struct.calcsize('!' + code)
            values[name], = struct.unpack_from('!' + code, payload, start)
    if values['state'] != '':
        values['state'] = _state(values['protocol'], values['state'])
    if values['protocol'] not in PORTED:
        # GRE's keys come as ports
        for name in PORTS:
            places.pop(name, None)
    if any(name not in places for name in ACCOUNTED):
        # the kernel sends all four or none
        for name in ACCOUNTED:
            places.pop(name, None)
    order = sorted(places, key=lambda name: places[name][0])
    steps, position = '!', 0
    for name in order:
        start, code = places[name]
        steps += f'{start - position}x{code}'
        position = start + struct.calcsize('!' + code)
    absent = [name for name in Flow._fields if name not in places]
    return Layout(int.from_bytes(mask, 'little'), struct.Struct(steps).unpack_from,
                  tuple(values[name] for name in absent),
                  itemgetter(*map([*order, *absent].index, Flow._fields)))


def _leaves(payload: bytes, path: tuple[int, ...], start: int, end: int,
            mask: bytearray) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """(path, start, end) of each attribute that is no nest; marks the headers of all in the mask."""
    for kind, first, last in attributes(payload, start, end):
        mask[first - ATTRIBUTE.size:first] = b'\xff' * ATTRIBUTE.size
        if (*path, kind) in NESTS:
            yield from _leaves(payload, (*path, kind), first, last, mask)
        else:
            yield (*path, kind), first, last


def _state(protocol: int, number: int) -> str:
    names = STATES.get(protocol, ())
    return names[number] if number < len(names) else f'STATE_{number}'


def read_flows(use: Callable[[Iterator[Flow]], _T], most: int | None = None,
               until: float | None = None, opened: socket.socket | None = None,
               pool: ReplyTuple | None = None) -> _T | Missing:
    """What `use` makes of the first `most` entries, read until then on CLOCK_MONOTONIC, or of all.

    opened: a socket of the namespace, if it is another than this thread's.

    The kernel goes through its table in the order of a hash with a random key: the first entries are a random sample.
    Reading also removes the expired entries that it meets. pool: only entries with these answers.
    """
    wanted, family = (filter_by(pool), socket.AF_INET) if pool and len(pool.server) == 4 else (b'', socket.AF_UNSPEC)
    try:
        with closing(dump(IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_NEW, until, NETLINK_NETFILTER, opened, LONGEST, wanted,
                          family)) as payloads:
            flows = parse_flows(payloads)
            # kernels before 5.8 skip the filter
            return use(islice(flows if pool is None else (flow for flow in flows if flow.pool == pool), most))
    except PermissionError:
        return NEEDS_ROOT
    except (OSError, ValueError) as error:
        return Missing.because(error, 'ctnetlink')


def filter_by(pool: ReplyTuple) -> bytes:
    """The attributes by which the kernel filters a dump (ctnetlink_alloc_filter, since 5.8): IPv4 only.

    With an IPv6 address it sends all the others (ctnetlink_filter_match_tuple, up to 7.1 at least).
    """
    flags = CTA_FILTER_IP_SRC | CTA_FILTER_IP_DST | CTA_FILTER_PROTO_NUM | CTA_FILTER_SRC_PORT
    ends = nest(1, attribute(1, pool.server), attribute(2, pool.address))
    ports = nest(2, attribute(1, bytes([pool.protocol])), attribute(2, pool.port.to_bytes(2, 'big')))
    return nest(2, ends, ports) + nest(CTA_FILTER, attribute(2, flags.to_bytes(4, sys.byteorder)))


def parse_cpu_stats(payload: bytes) -> tuple[int, dict[str, int]]:
    """(CPU number, counters) of one IPCTNL_MSG_CT_GET_STATS_CPU message."""
    if len(payload) < NFGENMSG.size:
        raise ValueError('cut nfgenmsg')
    _family, _version, cpu = NFGENMSG.unpack_from(payload)
    counters = {}
    for kind, start, end in attributes(payload, NFGENMSG.size, len(payload)):
        if kind in CPU_STATS and end - start == _BE32.size:
            counters[CPU_STATS[kind]], = _BE32.unpack_from(payload, start)
    return cpu, counters


def combine_cpu_stats(rows: dict[int, dict[str, int]]) -> Counters:
    """Rows by CPU number, in CPU order. Raises ValueError when there is nothing to judge."""
    if not rows or not all('drop' in row for row in rows.values()):
        raise ValueError('no drop counter in the answer')
    cpus = sorted(rows)
    names = [name for name in COUNTERS if all(name in row for row in rows.values())]
    return Counters({name: tuple(rows[cpu][name] for cpu in cpus) for name in names}, 'ctnetlink')


def read_cpu_stats(opened: socket.socket | None = None) -> Counters | Missing:
    """The counters of this thread's namespace, or of the one that the socket is of (`conntrack -S`)."""
    try:
        kind = IPCTNL_MSG_CT_GET_STATS_CPU
        return combine_cpu_stats(dict(parse_cpu_stats(payload) for payload in dump(kind, kind, opened=opened)))
    except PermissionError:
        return NEEDS_ROOT
    except (OSError, ValueError) as error:
        return Missing.because(error, 'ctnetlink')
