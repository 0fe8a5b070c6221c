"""A gateway with source NAT between clients and a server: three namespaces, two links, real traffic.

The clients are 10.88.1.0/24 and 10.88.2.0/24, the server is 10.99.0.2, the gateway's outer address 10.99.0.1.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator

import laboratory
from laboratory import Namespace

SERVER, OUTER = '10.99.0.2', '10.99.0.1'
_numbers = itertools.count(1)


class Gateway:
    """The three, and what is sent through them."""

    def __init__(self, rule: str, client: Namespace, gateway: Namespace, server: Namespace) -> None:
        self.client, self.gateway, self.server = client, gateway, server
        ends = [f'{end}{os.getpid() % 10000}x{next(_numbers)}' for end in ('c', 'i', 'o', 's')]
        for (one, first), (other, second) in (((client, ends[0]), (gateway, ends[1])),
                                              ((gateway, ends[2]), (server, ends[3]))):
            _run(f'ip link add {first} netns {one.name} type veth peer name {second} netns {other.name}')
        for made, end, address in zip((client, gateway, gateway, server), ends,
                                      ('10.88.0.2/24', '10.88.0.1/24', f'{OUTER}/24', f'{SERVER}/24')):
            made.do(f'ip address add {address} dev {end}')
            made.do(f'ip link set {end} up')
        client.do('ip route add default via 10.88.0.1')
        client.do('ip route add local 10.88.1.0/24 dev lo')
        client.do('ip route add local 10.88.2.0/24 dev lo')
        gateway.do('ip route add 10.88.0.0/16 via 10.88.0.2')
        gateway.do('sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_udp_timeout=600 '
                   'net.netfilter.nf_conntrack_tcp_timeout_syn_sent=600')
        self.inner, self.outer = ends[1], ends[2]
        # the server says nothing: neither answers nor errors
        server.do('nft add table ip mute')
        server.do("nft add chain ip mute input '{ type filter hook input priority 0; }'")
        server.do("nft 'add rule ip mute input meta l4proto { tcp, udp } drop'")
        gateway.do('nft add table ip nat')
        gateway.do("nft add chain ip nat post '{ type nat hook postrouting priority 100; }'")
        gateway.do("nft add chain ip nat pre '{ type nat hook prerouting priority -100; }'")
        self.add_rule(rule)
        # the neighbours are known from then on, and the first packets are not lost
        client.run(['ping', '-c', '1', '-W', '2', SERVER])
        gateway.drain()

    def add_rule(self, rule: str, chain: str = 'post') -> None:
        match = f'oifname {self.outer} ' if chain == 'post' else ''
        self.gateway.do(f"nft 'add rule ip nat {chain} {match}{rule}'")

    def open(self, number: int, port: int, protocol: str = 'udp', target: str = SERVER, seed: int = 1,
             sports: tuple[int, int] = (32768, 60999), sources: int = 500) -> int:
        """Opens so many connections, each from a random client and port; says how many packets were sent."""
        dice = random.Random(seed)
        kind = socket.SOCK_DGRAM if protocol == 'udp' else socket.SOCK_STREAM
        used: set[tuple[str, int]] = set()
        with self.client.in_netns():
            while len(used) < number:
                which = dice.randrange(sources)
                end = f'10.88.{1 + which // 250}.{1 + which % 250}', dice.randint(*sports)
                if end in used:
                    continue
                used.add(end)
                with socket.socket(socket.AF_INET, kind) as one, contextlib.suppress(BlockingIOError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    one.setblocking(False)
                    one.bind(end)
                    one.connect((target, port))
                    if protocol == 'udp':
                        one.send(b'x')
                if not len(used) % 500:
                    # the queue of packets of a virtual link is short
                    time.sleep(0.002)
        return number


@contextlib.contextmanager
def gateway(rule: str, name: str = '') -> Iterator[Gateway]:
    """A gateway with this nft rule, such as 'masquerade', for as long as the with statement lasts."""
    made = [laboratory.namespace(f'{name}{which}' if name else None) for which in ('client', 'gateway', 'server')]
    with made[0] as client, made[1] as router, made[2] as server:
        yield Gateway(rule, client, router, server)


def _run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, timeout=30)
