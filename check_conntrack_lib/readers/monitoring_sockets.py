"""How the monitoring reaches this host: ports that its agents listen on, connections to a master (sock_diag(7)).

Sources: net/ipv4/inet_diag.c, include/uapi/linux/inet_diag.h. Sockets of this process's network namespace only.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator

from ..host import GONE, Host
from ..model import Missing
from ..namedtuples import NamedTuple
from .netlink import HEADER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RECEIVED, messages

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
#: states of a socket as bits (include/net/tcp_states.h): UNCONNECTED is TCP_CLOSE, that of a UDP socket without a peer
ESTABLISHED, UNCONNECTED, LISTEN = 1 << 1, 1 << 7, 1 << 10
#: inet_diag_req_v2: family, protocol, extensions, padding, states, then inet_diag_sockid: ports first
REQUEST = struct.Struct('=BBBxI')
SOCKID = struct.Struct('!HH16s16s')
#: inet_diag_msg: four bytes, the sockid of 48 bytes, expires, two queues, uid, inode
OWNER_AT, MESSAGE = 4 + 48 + 12, 4 + 48 + 20
#: sockets looked at: a busy host has a million
MOST = 20_000

#: programs of the monitoring, by the name that the kernel shows (at most 15 characters)
PROGRAMS = {'sshd': 'SSH', 'nrpe': 'NRPE', 'icinga2': 'Icinga agent', 'snmpd': 'SNMP', 'node_exporter': 'node_exporter',
            'conntrack-docto': 'conntrack-doctor export', 'zabbix_agentd': 'Zabbix agent',
            'zabbix_agent2': 'Zabbix agent', 'cmk-agent-ctl': 'Checkmk agent'}
#: their ports, for sockets that systemd holds for them, by protocol and port
PORTS = {(6, 22): 'SSH', (6, 5666): 'NRPE', (6, 5665): 'Icinga agent', (17, 161): 'SNMP', (6, 9100): 'node_exporter',
         (6, 9318): 'conntrack-doctor export', (6, 10050): 'Zabbix agent', (6, 6556): 'Checkmk agent'}
AGENT_PORT = 5665
#: users that run an agent
USERS = ('nagios', 'icinga')
NRPE_FILES = ('etc/nagios/nrpe.cfg', 'etc/nrpe.cfg', 'usr/local/nagios/etc/nrpe.cfg')


class Socket(NamedTuple):
    """One socket: IP protocol, local port, remote address as text and port, inode, user."""

    protocol: int
    port: int
    remote: str
    remote_port: int
    inode: int
    uid: int = 0


class Way(NamedTuple):
    """One way of the monitoring to this host, or of this host to it."""

    name: str
    #: IP protocol
    protocol: int
    port: int
    #: this host opens the connection, to that port of the monitoring
    outgoing: bool = False


class MonitoringWays(NamedTuple):
    """The monitoring of this host, as its sockets and its configuration show it."""

    ways: tuple[Way, ...]
    #: addresses of the monitoring, as this host's own configuration and connections name them
    addresses: tuple[str, ...]
    #: addresses that are connected to these ports now: anybody may be
    connected: tuple[str, ...] = ()


def parse(payload: bytes, protocol: int) -> Socket:
    """An inet_diag_msg. Raises ValueError for a cut one."""
    if len(payload) < MESSAGE:
        raise ValueError('cut inet_diag_msg')
    port, remote_port, _source, remote = SOCKID.unpack_from(payload, 4)
    uid, inode = struct.unpack_from('=II', payload, OWNER_AT)
    if payload[0] == socket.AF_INET:
        text = socket.inet_ntop(socket.AF_INET, remote[:4])
    else:
        text = socket.inet_ntop(socket.AF_INET6, remote).removeprefix('::ffff:')
    return Socket(protocol, port, text, remote_port, inode, uid)


def sockets(protocol: int, states: int, port: int = 0, remote_port: int = 0) -> Iterator[Socket]:
    """Those in these states, of one local or remote port or of any. Raises OSError, ValueError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        body = REQUEST.pack(family, protocol, 0, states) + SOCKID.pack(port, remote_port, b'', b'') + bytes(12)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as netlink:
            netlink.bind((0, 0))
            header = HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
            netlink.send(header + body)
            yield from (parse(payload, protocol) for payload in _answers(netlink))


def _answers(netlink: socket.socket) -> Iterator[bytes]:
    """Payloads of one dump, until it ends or there are MOST. Raises OSError, ValueError."""
    seen, done = 0, False
    while not done and seen < MOST:
        data, sender = netlink.recvfrom(RECEIVED)
        if sender[0] != 0:
            continue  # only the kernel answers
        for kind, payload in messages(data):
            done = done or kind in (NLMSG_DONE, NLMSG_ERROR)
            if kind == SOCK_DIAG_BY_FAMILY:
                seen += 1
                yield payload


def read(host: Host) -> MonitoringWays | Missing:
    """The ways in use in this process's namespace, and the addresses that this host itself names as its monitoring."""
    try:
        listening = [*sockets(6, LISTEN), *(one for one in sockets(17, UNCONNECTED) if (17, one.port) in PORTS)]
        owners = _owners(host, {one.inode for one in listening})
        ways = {Way(name, one.protocol, one.port)
                for one in listening for name in [owners.get(one.inode) or PORTS.get((one.protocol, one.port))] if name}
        to_masters = [one for one in sockets(6, ESTABLISHED, remote_port=AGENT_PORT) if not _is_loopback(one.remote)]
        users = _monitoring_users(host)
        # anybody can connect to such a port somewhere; or from such a port to this host, to a service of root's
        served = {one.port for one in listening if one.protocol == 6}
        masters = {one.remote for one in to_masters if one.uid in users and one.inode and one.port not in served}
        peers = {one.remote for way in ways if way.protocol == 6
                 for one in sockets(6, ESTABLISHED, port=way.port) if not _is_loopback(one.remote)}
    except (OSError, ValueError) as error:
        return Missing.because(error, 'sockets')
    if masters:
        ways.add(Way('Icinga agent', 6, AGENT_PORT, outgoing=True))
    named = {*masters, *_allowed_hosts(host)}
    peers |= {one.remote for one in to_masters}
    return MonitoringWays(tuple(sorted(ways, key=lambda way: (way.protocol, way.port, way.outgoing))),
                          tuple(sorted(named)), tuple(sorted(peers - named)))


def _owners(host: Host, inodes: set[int]) -> dict[int, str]:
    """The name of the program by the inode of its socket, of PROGRAMS only; only root sees sockets of other users."""
    owners = {}
    for pid in (name for name in os.listdir(host.procfs) if name.isdecimal()):
        try:
            name = PROGRAMS.get(host.read(f'{pid}/comm').strip())
            links = [os.readlink(host.path(f'{pid}/fd/{handle}')) for handle in os.listdir(host.path(f'{pid}/fd'))] \
                if name else []
        except GONE:
            continue
        for link in links:
            match = re.fullmatch(r'socket:\[(\d{1,18})\]', link)
            if name and match and int(match[1]) in inodes:
                owners[int(match[1])] = name
    return owners


def _monitoring_users(host: Host) -> set[int]:
    """Root, and the users of the monitoring in the host's own /etc/passwd: asking LDAP needs new connections."""
    try:
        with open(os.path.join(host.root(), 'etc/passwd'), encoding='utf-8', errors='replace') as file:
            text = file.read(1 << 20)
    except OSError:
        text = ''
    return {0, *(int(uid) for uid in re.findall(rf'^(?:{"|".join(USERS)}):[^:\n]*:(\d{{1,10}}):', text, re.MULTILINE))}


def _allowed_hosts(host: Host) -> set[str]:
    """The addresses and networks in NRPE's allowed_hosts; names are left out."""
    found: set[str] = set()
    for path in NRPE_FILES:
        try:
            with open(os.path.join(host.root(), path), encoding='utf-8', errors='replace') as file:
                text = file.read(1 << 18)
        except OSError:
            continue
        for line in re.findall(r'^\s*allowed_hosts\s*=\s*(.*)$', text, re.MULTILINE):
            found.update(word for word in (word.strip() for word in line.split(','))
                         if is_address(word) and not _is_loopback(word))
    return found


def is_address(text: str) -> bool:
    """An IPv4 or IPv6 address, or a network with the length of its prefix?"""
    address, slash, length = text.partition('/')
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except (OSError, ValueError):
        return False
    return not slash or (length.isascii() and length.isdecimal() and len(length) <= 3
                         and int(length) <= (128 if ':' in address else 32))


def _is_loopback(address: str) -> bool:
    return address.startswith('127.') or address == '::1'
