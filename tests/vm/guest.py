"""The whole machine as a laboratory: the initial namespace's table, the module itself, and clashes to order."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import laboratory

ROOT = Path(__file__).resolve().parents[2]
#: by history, of the monotonic clock
_last_run: dict[object, float] = {}
NETFILTER = Path('/proc/sys/net/netfilter')
#: those that use nf_conntrack, and itself; each after those that use it
MODULES = ('xt_conntrack', 'nft_ct', 'nft_nat', 'nft_flow_offload', 'nf_flow_table_inet', 'nf_flow_table', 'nft_queue',
           'nfnetlink_queue', 'nft_chain_nat', 'nf_nat', 'nf_conntrack_netlink', 'nf_conntrack')


def run(*argv: object, netns: str = '', fine: bool = True) -> str:
    """What a command printed; it must end with 0, unless fine is False."""
    words = [*(('ip', 'netns', 'exec', netns) if netns else ()), *map(str, argv)]
    done = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or not fine, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def check(history: object, *options: object, netns: str = '') -> tuple[int, str]:
    """The check's exit status and output. By emulation beside other work it may take longer than its 10 s."""
    # two runs within a second have no rates
    if history in _last_run:
        time.sleep(max(0.0, _last_run[history] + 1.1 - time.monotonic()))
    said = status_of(sys.executable, 'check_conntrack.py', '--timeout', 60, '--history', history, *options, netns=netns)
    _last_run[history] = time.monotonic()
    return said


def doctor(*arguments: object, netns: str = '') -> tuple[int, str]:
    return status_of(sys.executable, '-m', 'check_conntrack_lib', *arguments, netns=netns)


def status_of(*argv: object, netns: str = '') -> tuple[int, str]:
    words = [*(('ip', 'netns', 'exec', netns) if netns else ()), *map(str, argv)]
    done = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120)
    print(f'$ {" ".join(words)}\n{done.stdout}-> {done.returncode}')
    return done.returncode, done.stdout


def kernel() -> tuple[int, int]:
    """(6, 12) of '6.12.117+deb13-amd64'."""
    match = re.match(r'(\d+)\.(\d+)', os.uname().release)
    assert match
    return int(match[1]), int(match[2])


def unload() -> None:
    """Takes the module away, as an iptables service with IPTABLES_MODULES_UNLOAD does when it is restarted."""
    run('nft', 'flush', 'ruleset', fine=False)
    if not laboratory.has_nftables():
        run('iptables-legacy', '-F')
    if NETFILTER.joinpath('nf_conntrack_count').exists():
        run('conntrack', '-F', fine=False)
    end = time.monotonic() + 60
    while Path('/sys/module/nf_conntrack').exists():
        for module in MODULES:
            run('rmmod', module, fine=False)
        assert time.monotonic() < end, run('lsmod', fine=False)


def load() -> laboratory.Namespace:
    """Loads the module; the table of the initial namespace, which then tracks its loopback traffic."""
    run('modprobe', 'nf_conntrack')
    # loads nf_conntrack_netlink: by emulation that may take longer than the 2 s that a check waits for an answer
    run('conntrack', '-S')
    laboratory.switch_on_tracking()
    made = object.__new__(laboratory.Namespace)
    made.name, made.path = 'the initial one', '/proc/self/ns/net'
    made._flows, made._targets = itertools.count(), itertools.count(2)
    return made


def sysctl(name: str, value: int | None = None) -> int:
    file = NETFILTER / f'nf_conntrack_{name}'
    if value is not None:
        # max: the one below /proc/sys/net/netfilter is read-only outside of the initial namespace only
        file.write_text(f'{value}\n')
    return int(file.read_text())


def counter(namespace: laboratory.Namespace, name: str) -> int:
    """Of all CPUs, by netlink: Ubuntu's kernels have no /proc/net/stat/nf_conntrack."""
    return sum(map(int, re.findall(rf'\b{name}=(\d+)', run('conntrack', '-S', netns=namespace.name))))


class Held:
    """Packets that an nftables rule sends to queue 5 are held until they are let go (nfnetlink_queue.c)."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
        self._netlink.bind((0, 0))
        self._netlink.settimeout(30)
        # NFQNL_CFG_CMD_BIND for IPv4, then NFQNL_COPY_PACKET of 64 bytes
        self._configure(struct.pack('=HHBBH', 8, 1, 1, 0, 0))
        self._configure(struct.pack('=HHIB3x', 9, 2, socket.htonl(64), 2))

    def _configure(self, body: bytes) -> None:
        self._netlink.send(self._message(2, 5, body))
        error, = struct.unpack_from('=i', self._netlink.recv(65536), 16)
        if error:
            raise OSError(-error, os.strerror(-error))

    @staticmethod
    def _message(kind: int, flags: int, body: bytes) -> bytes:
        head = struct.pack('=BBH', 2, 0, socket.htons(5))
        return struct.pack('=LHHLL', 16 + len(head) + len(body), 3 << 8 | kind, flags, 1, 0) + head + body

    def let_go(self, number: int) -> None:
        """Accepts so many packets, once all of them are there."""
        packets: list[int] = []
        while len(packets) < number:
            data = self._netlink.recv(1 << 20)
            while len(data) >= 20:
                length, = struct.unpack_from('=L', data)
                rest = data[20:length]
                while len(rest) >= 4:
                    size, kind = struct.unpack_from('=HH', rest)
                    if kind & 0x3fff == 1:  # NFQA_PACKET_HDR
                        packets.append(struct.unpack_from('!L', rest, 4)[0])
                    rest = rest[(size + 3) & ~3:]
                data = data[(length + 3) & ~3:]
        for packet in packets:
            # NFQA_VERDICT_HDR: NF_ACCEPT
            self._netlink.send(self._message(1, 1, struct.pack('=HHLL', 12, 2, socket.htonl(1), socket.htonl(packet))))


CLASH_RULES = """table ip clash {
    chain po { type nat hook postrouting priority 100; udp dport 9 snat to 10.77.0.1:5000; };
    chain hold { type filter hook postrouting priority 150; udp dport 9 queue num 5; };
}"""


def clash(namespace: laboratory.Namespace, flows: int) -> int:
    """So many flows that NAT gives one tuple, all held before they are confirmed: all but one are lost."""
    run('modprobe', '-a', 'nfnetlink_queue', 'nft_queue', 'nft_chain_nat')
    run('ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'lo', netns=namespace.name)
    run('nft', CLASH_RULES, netns=namespace.name)
    with namespace.in_netns():
        held = Held()
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
    for number, sender in enumerate(senders):
        sender.bind(('127.0.0.1', 6000 + number))
        with contextlib.suppress(OSError):
            sender.sendto(b'x', ('127.0.0.1', 9))
    held.let_go(flows)
    end = time.monotonic() + 30
    while counter(namespace, 'insert_failed') < flows - 1 and time.monotonic() < end:
        time.sleep(0.1)
    return counter(namespace, 'insert_failed')


@contextlib.contextmanager
def buckets(number: int) -> Iterator[None]:
    """So many buckets of the one hash table of all namespaces."""
    before = sysctl('buckets')
    sysctl('buckets', number)
    try:
        yield
    finally:
        sysctl('buckets', before)


GATEWAY = """
ip link add c0 netns guest-c type veth peer name rc netns guest-r
ip link add s0 netns guest-s type veth peer name rs netns guest-r
ip -n guest-c addr add 10.1.0.2/24 dev c0; ip -n guest-r addr add 10.1.0.1/24 dev rc
ip -n guest-s addr add 10.2.0.2/24 dev s0; ip -n guest-r addr add 10.2.0.1/24 dev rs
for end in c:c0 r:rc r:rs s:s0; do ip -n guest-${end%:*} link set ${end#*:} up; done
ip -n guest-c route add default via 10.1.0.1; ip -n guest-s route add default via 10.2.0.1
ip netns exec guest-r sysctl -qw net.ipv4.ip_forward=1
"""
FLOWTABLE = """table inet fast {
    flowtable ft { hook ingress priority 0; devices = { rc, rs }; };
    chain forward {
        type filter hook forward priority 0; meta l4proto { tcp, udp } flow add @ft; ct state new counter;
    };
    chain input { type filter hook input priority 0; ct state new counter; };
}"""


class Gateway:
    """Client, router and server; the router forwards by a flowtable. All connections stay open until the end."""

    def __init__(self, tcp: int, udp: int) -> None:
        run('modprobe', '-a', 'nf_flow_table', 'nft_flow_offload', 'nf_flow_table_inet')
        self.ends = contextlib.ExitStack()
        client, self.router, server = (self.ends.enter_context(laboratory.namespace(f'guest-{end}')) for end in 'crs')
        # the laboratory's own rules track in every namespace: here the router alone
        for end in (client, server):
            run('nft', 'flush', 'ruleset', netns=end.name)
        run('bash', '-ec', GATEWAY)
        run('nft', FLOWTABLE, netns=self.router.name)
        with self.router.in_netns():
            # an emulated machine may take more than 30 s for a command; 5.4 and 5.10 have no such settings
            for path in Path('/proc/sys/net/netfilter').glob('nf_flowtable_*_timeout'):
                path.write_text('600')
        with server.in_netns():
            listener = socket.create_server(('', 443), backlog=200)
            self._answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._answers.bind(('', 5000))
        with client.in_netns():
            self._tcp = [(socket.create_connection(('10.2.0.2', 443), timeout=30), listener.accept()[0])
                         for _ in range(tcp)]
            self._udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(udp)]
            self.strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
        for _ in range(3):
            self.talk()

    def talk(self) -> None:
        """A packet each way on every connection: a flowtable gives back what is silent for 30 s."""
        for one, other in self._tcp:
            one.sendall(b'x')
            other.recv(100)
            other.sendall(b'y')
            one.recv(100)
        for sender in self._udp:
            sender.settimeout(30)
            sender.sendto(b'q', ('10.2.0.2', 5000))
            self._answers.settimeout(30)
            self._answers.sendto(b'a', self._answers.recvfrom(100)[1])
            sender.recv(100)

    def close(self) -> None:
        for namespace in ('guest-r',):
            run('nft', 'flush', 'ruleset', netns=namespace, fine=False)
        self.ends.close()
