"""This host's own addresses, by rtnetlink (RTM_GETADDR: net/ipv4/devinet.c, net/ipv6/addrconf.c); anyone may ask."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ..model import Missing
from .netlink import NETLINK_ROUTE, attributes, dump

# include/uapi/linux/rtnetlink.h, if_addr.h
RTM_NEWADDR, RTM_GETADDR = 20, 22
IFA_ADDRESS, IFA_LOCAL = 1, 2
#: family, prefix length, flags, scope, index of the device
IFADDRMSG = struct.Struct('=BBBBI')


def parse(payloads: Iterable[bytes]) -> frozenset[bytes]:
    """Addresses of 4 or 16 bytes out of RTM_NEWADDR messages. Raises ValueError for a damaged one."""
    found = set()
    for payload in payloads:
        if len(payload) < IFADDRMSG.size:
            raise ValueError('cut ifaddrmsg')
        values = {kind: payload[start:end] for kind, start, end in attributes(payload, IFADDRMSG.size, len(payload))}
        # where an IPv4 link has a peer, IFA_ADDRESS is the peer's
        own = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS)
        if own:
            found.add(own)
    return frozenset(found)


def read() -> frozenset[bytes] | Missing:
    """Those of this thread's network namespace."""
    try:
        return parse(dump(RTM_GETADDR, RTM_NEWADDR, protocol=NETLINK_ROUTE))
    except (OSError, ValueError) as error:
        return Missing.because(error, 'addresses')
