"""One entry of the connection tracking table, and the numbers that describe it."""

from __future__ import annotations

from .namedtuples import NamedTuple

# enum ip_conntrack_status of include/uapi/linux/netfilter/nf_conntrack_common.h
SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
OFFLOAD, HW_OFFLOAD = 1 << 14, 1 << 15

#: protocols that code names
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
#: protocols that the kernel knows by name (net/netfilter/nf_conntrack_proto.c), and others that are met
PROTOCOLS = {1: 'icmp', 2: 'igmp', 4: 'ipip', 6: 'tcp', 17: 'udp', 33: 'dccp', 41: 'ipv6', 47: 'gre', 50: 'esp',
             51: 'ah', 58: 'icmpv6', 89: 'ospf', 112: 'vrrp', 132: 'sctp', 136: 'udplite'}
#: protocols whose entries have ports, by the names of nft and iptables
PORTED = {TCP: 'tcp', UDP: 'udp', 33: 'dccp', 132: 'sctp', 136: 'udplite'}
#: fields of Flow that are there where nf_conntrack_acct is 1: all of them or none
ACCOUNTED = ('orig_packets', 'orig_bytes', 'reply_packets', 'reply_bytes')
#: states by their numbers in netlink: enum tcp_conntrack, ct_dccp_states, sctp_conntrack
STATES = {
    6: ('NONE', 'SYN_SENT', 'SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'CLOSE_WAIT', 'LAST_ACK', 'TIME_WAIT', 'CLOSE',
        'SYN_SENT2'),
    33: ('NONE', 'REQUEST', 'RESPOND', 'PARTOPEN', 'OPEN', 'CLOSEREQ', 'CLOSING', 'TIMEWAIT', 'IGNORE', 'INVALID'),
    132: ('NONE', 'CLOSED', 'COOKIE_WAIT', 'COOKIE_ECHOED', 'ESTABLISHED', 'SHUTDOWN_SENT', 'SHUTDOWN_RECD',
          'SHUTDOWN_ACK_SENT', 'HEARTBEAT_SENT', 'HEARTBEAT_ACKED'),
}


def address_text(address: bytes) -> str:
    """'192.0.2.1' or '2001:db8::1' of 4 or 16 bytes; '' of none."""
    if not address:
        return ''
    import socket  # 2 ms of start-up, and not needed by every run

    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


class ReplyTuple(NamedTuple):
    """The answers of all flows to one server through one address: no two of them may come to the same port.

    That makes it the pool of ports of source NAT (net/netfilter/nf_nat_core.c).
    """

    protocol: int
    #: the server that is really reached, after destination NAT: 4 or 16 bytes
    server: bytes
    port: int
    #: where the answers go to: with source NAT, an address of the gateway
    address: bytes


class Flow(NamedTuple):
    """One entry of the table, seen in the direction of its first packet."""

    #: IP protocol number
    protocol: int
    #: name of the TCP, SCTP or DCCP state; '' for other protocols, and for TCP while it is offloaded
    state: str
    #: bits of enum ip_conntrack_status
    status: int
    #: seconds left; None: offloaded, the flowtable keeps the time
    timeout: int | None
    #: addresses: 4 or 16 bytes
    src: bytes
    dst: bytes
    #: 0: the protocol has no ports
    sport: int
    #: the responder's port, before NAT
    dport: int
    #: addresses of the answers: with NAT, whom the flow really reaches, and what it is hidden behind
    reply_src: bytes
    reply_dst: bytes
    #: the conntrack zone, also where it counts for one direction only (CTA_ZONE, CTA_TUPLE_ZONE); 0: none was set
    zone: int = 0
    #: ports of the answers; with source NAT, the second is the port that the flow was given
    reply_sport: int = 0
    reply_dport: int = 0
    #: packets and bytes of each direction since the entry was made; None: made while nf_conntrack_acct was 0
    orig_packets: int | None = None
    orig_bytes: int | None = None
    reply_packets: int | None = None
    reply_bytes: int | None = None

    @property
    def replied(self) -> bool:
        return bool(self.status & SEEN_REPLY)

    @property
    def assured(self) -> bool:
        """Not evicted to make room for a new entry."""
        return bool(self.status & ASSURED)

    @property
    def snat(self) -> bool:
        return bool(self.status & SRC_NAT)

    @property
    def dnat(self) -> bool:
        return bool(self.status & DST_NAT)

    @property
    def pool(self) -> ReplyTuple:
        """The pool that this flow's port is from."""
        return ReplyTuple(self.protocol, self.reply_src, self.reply_sport, self.reply_dst)

    @property
    def offloaded(self) -> bool:
        """Forwarded by a flowtable, past the rules (in software or in hardware)."""
        return bool(self.status & (OFFLOAD | HW_OFFLOAD))
