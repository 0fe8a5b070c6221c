"""ctnetlink over NETLINK_NETFILTER (net/netfilter/nf_conntrack_netlink.c); needs CAP_NET_ADMIN for every message.

Attributes that this module does not name are skipped on purpose: the kernel adds some with every generation.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from ..model import COUNTERS, Counters, Missing

# include/uapi/linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h, linux/netlink.h
NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET_STATS_CPU = 4
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
#: NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags in the type field
NLA_TYPE_MASK = 0x3FFF

#: CTA_STATS_* of enum ctattr_stats_cpu
CPU_STATS = {
    4: 'invalid',
    9: 'insert_failed',
    10: 'drop',
    11: 'early_drop',
    12: 'icmp_error',
    13: 'search_restart',
    14: 'clash_resolve',
    15: 'chain_too_long',
}
assert set(CPU_STATS.values()) <= set(COUNTERS)

_HEADER = struct.Struct('=IHHII')
_NFGENMSG = struct.Struct('!BBH')
_ATTRIBUTE = struct.Struct('=HH')
_ERRNO = struct.Struct('=i')
_BE32 = struct.Struct('!I')


def messages(datagram: bytes) -> Iterator[tuple[int, memoryview]]:
    """(type, payload) of each netlink message in one datagram. Raises ValueError for a damaged one."""
    view = memoryview(datagram)
    while view:
        if len(view) < _HEADER.size:
            raise ValueError('cut netlink header')
        length, kind, _flags, _seq, _pid = _HEADER.unpack_from(view)
        if not _HEADER.size <= length <= len(view):
            raise ValueError('netlink message with a wrong length')
        yield kind, view[_HEADER.size:length]
        view = view[(length + 3) & ~3:]


def attributes(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type without flags, payload) of each attribute. Raises ValueError for a damaged one."""
    while len(view) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(view)
        if not _ATTRIBUTE.size <= length <= len(view):
            raise ValueError('attribute with a wrong length')
        yield kind & NLA_TYPE_MASK, view[_ATTRIBUTE.size:length]
        view = view[(length + 3) & ~3:]


def parse_cpu_stats(payload: memoryview) -> tuple[int, dict[str, int]]:
    """(CPU number, counters) of one IPCTNL_MSG_CT_GET_STATS_CPU message."""
    if len(payload) < _NFGENMSG.size:
        raise ValueError('cut nfgenmsg')
    _family, _version, cpu = _NFGENMSG.unpack_from(payload)
    counters = {}
    for kind, value in attributes(payload[_NFGENMSG.size:]):
        if kind in CPU_STATS and len(value) == _BE32.size:
            counters[CPU_STATS[kind]] = _BE32.unpack(value)[0]
    return cpu, counters


def combine_cpu_stats(rows: dict[int, dict[str, int]]) -> Counters:
    """Rows by CPU number, in CPU order. Raises ValueError when there is nothing to judge."""
    if not rows or not all('drop' in row for row in rows.values()):
        raise ValueError('no drop counter in the answer')
    cpus = sorted(rows)
    names = [name for name in COUNTERS if all(name in row for row in rows.values())]
    return Counters({name: tuple(rows[cpu][name] for cpu in cpus) for name in names}, 'ctnetlink')


def read_cpu_stats() -> Counters | Missing:
    """The counters of this process's own namespace (`conntrack -S`)."""
    try:
        kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS_CPU
        return combine_cpu_stats(dict(parse_cpu_stats(payload) for payload in _dump(kind)))
    except PermissionError:
        return Missing('needs root', 'ctnetlink answers only with CAP_NET_ADMIN: run the check by sudo')
    except (OSError, ValueError) as error:
        return Missing.because(error, 'ctnetlink')


def _dump(kind: int) -> Iterator[memoryview]:
    """Payloads of the answers to one dump request of this process's namespace."""
    body = _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0)
    request = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as netlink:
        netlink.bind((0, 0))
        netlink.send(request)
        while True:
            for answer, payload in messages(netlink.recv(1 << 16)):
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    _raise_error(payload)
                elif answer == kind:
                    yield payload


def _raise_error(payload: memoryview) -> None:
    if len(payload) < _ERRNO.size:
        raise ValueError('cut netlink error')
    number = -_ERRNO.unpack_from(payload)[0]
    if number:
        raise OSError(number, os.strerror(number))
