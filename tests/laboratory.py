"""A laboratory for the tests: network namespaces with tracking tables of their own, filled to order.

All traffic stays on the loopback device of a namespace made here. The one thing written outside of those is
nf_conntrack_max, which is one for all (net/netfilter/nf_conntrack_core.c); `maximum` puts it back.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import functools
import ipaddress
import itertools
import os
import pwd
import shlex
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import isolation

COUNT = Path('/proc/sys/net/netfilter/nf_conntrack_count')
MAXIMUM = Path(isolation.true_path('nf_conntrack_max'))
LOCK = '/run/check_conntrack-laboratory.lock'
CHAIN = 'chain {0} {{ type filter hook {0} priority 0; ct state new counter; }};'
RULES = f'table inet lab {{ {CHAIN.format("input")} {CHAIN.format("output")} }}'

PROTOCOLS = {'icmp': 1, 'tcp': 6, 'udp': 17, 'gre': 47, 'icmpv6': 58, 'sctp': 132, 'udplite': 136}
PORTED = {6, 17, 47, 132, 136}
ECHO = {1: (4, 8, 0), 58: (7, 128, 129)}  # CTA_PROTO_ICMP*_ID, type of request, of reply
STATES = {
    6: 'NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2',
    132: 'NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD SHUTDOWN_ACK_SENT '
         'HEARTBEAT_SENT',
}
SEEN_REPLY, ASSURED, CONFIRMED = 0x2, 0x4, 0x8
CT_NEW, CT_DELETE = 0x100, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
REQUEST, ACK, EXCL, CREATE = 0x1, 0x4, 0x200, 0x400
NESTED = 0x8000
BATCH = 6000  # messages in one send, about 1 MB

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)
_living: dict[str, Namespace] = {}
_turn = threading.RLock()
_before: list[str] = []
os.register_at_fork(after_in_child=_living.clear)  # what a forked child inherits is not its own to remove


class Flow(NamedTuple):
    """One entry, as ctnetlink creates it (nf_conntrack_netlink.c, ctnetlink_create_conntrack).

    proto is a name or a number. icmp and icmpv6 are echoes with sport as their id, the ports of gre are its
    keys, a protocol without a tracker has none. state None is ESTABLISHED for tcp and sctp. snat and dnat are
    addresses: the kernel works out the reply tuple (with another port if this one is taken) and sets SRC_NAT
    or DST_NAT itself. It does not take from user space: OFFLOAD, HW_OFFLOAD, SEQ_ADJUST, TEMPLATE, UNTRACKED
    and the NAT bits (silently left out, IPS_UNCHANGEABLE_MASK), EXPECTED and DYING (EBUSY), start times.
    """

    proto: str | int = 'tcp'
    src: str = '10.0.0.1'
    dst: str = '10.0.0.2'
    sport: int = 40000
    dport: int = 443
    state: str | None = None
    timeout: int = 86400
    assured: bool = True
    seen_reply: bool = True
    zone: int | None = None
    snat: str | None = None
    dnat: str | None = None

    @property
    def number(self) -> int:
        return PROTOCOLS[self.proto] if isinstance(self.proto, str) else self.proto


class Flood(NamedTuple):
    """Datagrams that the kernel took, and those that it refused with EPERM."""

    sent: int
    refused: int


class Namespace:
    """A network namespace with lo up, and rules without which nothing is tracked (since 4.10)."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f'ctlab-{os.getpid()}-{next(_numbers)}'
        self.path = f'/run/netns/{self.name}'
        self._flows, self._targets = itertools.count(), itertools.count(2)
        _tool('ip', 'netns', 'add', self.name)
        _living[self.name] = self
        try:
            _tool('ip', '-netns', self.name, 'link', 'set', 'lo', 'up')
            switch_on_tracking('ip', 'netns', 'exec', self.name)
            self.inode = os.stat(self.path).st_ino
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove it; the kernel frees its entries later, in the background (net_namespace.c, cleanup_net)."""
        if _living.pop(self.name, None):
            _tool('ip', 'netns', 'del', self.name)

    def run(self, argv: Sequence[str], user: str | None = None, env: Mapping[str, str] | None = None,
            timeout: float = 60, **kw: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as `user` with that user's ids and no groups; the rest is subprocess.run's."""
        command = [_which('ip'), 'netns', 'exec', self.name]
        if user is not None:
            ids = pwd.getpwnam(user)
            command += [_which('setpriv'), f'--reuid={ids.pw_uid}', f'--regid={ids.pw_gid}', '--clear-groups']
        if not kw.keys() & {'stdout', 'stderr', 'capture_output'}:
            kw['capture_output'] = True
        return subprocess.run([*command, *argv], env=env, timeout=timeout, text=True, **kw)

    def do(self, command: str) -> None:
        """Run a command, as a shell's words, that must succeed."""
        _tool('ip', 'netns', 'exec', self.name, *shlex.split(command))

    @contextlib.contextmanager
    def in_netns(self) -> Iterator[None]:
        """Put the calling thread into it. Read /proc/thread-self/net there: /proc/net is the main one's."""
        with open('/proc/thread-self/ns/net') as outside, open(self.path) as inside:
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(outside.fileno())

    def fill(self, flows: Iterable[Flow]) -> int:
        """Create these entries and say how many; OSError if some were refused (EEXIST, or ENOMEM: full)."""
        total, rest = 0, iter(flows)
        while batch := [_message(flow) for flow in itertools.islice(rest, BATCH)]:
            self._send(batch)
            total += len(batch)
        return total

    def fill_to(self, count: int) -> None:
        """Bring the count to exactly this (drain if above) with assured ESTABLISHED tcp flows for 5 days."""
        if self.count() > count:
            self.drain()
        numbers = itertools.islice(self._flows, max(0, count - self.count()))
        self.fill(Flow('tcp', f'100.64.{n // 12800000}.{n // 50000 % 256}', '198.18.0.1', 10000 + n % 50000,
                       timeout=432000) for n in numbers)
        if self.count() != count:
            raise RuntimeError(f'{self.name} has {self.count()} entries, not {count}: what else fills it?')

    def drain(self) -> None:
        """Empty the table of this namespace (ctnetlink_flush_conntrack)."""
        self._send([struct.pack('=LHHLLBBH', 20, CT_DELETE, REQUEST, 0, 0, 0, 0, 0)])

    def _send(self, batch: list[bytes]) -> None:
        with self.in_netns():
            channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
        with channel:
            channel.setsockopt(socket.SOL_SOCKET, 32, 4 << 20)  # SO_SNDBUFFORCE
            channel.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE, for as many refusals
            channel.setsockopt(270, 10, 1)  # SOL_NETLINK, NETLINK_CAP_ACK
            channel.settimeout(60)
            # refusals are always answered, and in order; the last message asks for an answer in any case
            messages = bytearray().join(batch)
            flags, = struct.unpack_from('=H', batch[-1], 6)
            struct.pack_into('=HL', messages, len(messages) - len(batch[-1]) + 6, flags | ACK, 1)
            channel.send(messages)
            refused: Counter[int] = Counter()
            sequence = 0
            while sequence != 1:
                _, _, _, sequence, _, error = struct.unpack_from('=LHHLLi', channel.recv(4096))
                refused[-error] += 1
        del refused[0]
        for number, times in refused.most_common(1):
            raise OSError(number, f'{os.strerror(number)}, {times} of {len(batch)} entries in {self.name}')

    def count(self) -> int:
        """nf_conntrack_count: the reading thread's namespace decides whose it is."""
        with self.in_netns():
            return int(COUNT.read_text())

    def cpu_stats(self) -> dict[str, int]:
        """The counters of all CPUs, added up, by the header's names (nf_conntrack_standalone.c).

        Without `entries`, which is no counter. FileNotFoundError where CONFIG_NF_CONNTRACK_PROCFS is off.
        """
        with self.in_netns(), open('/proc/thread-self/net/stat/nf_conntrack') as file:
            header, *rows = (line.split() for line in file)
        columns = zip(header, zip(*rows))
        return {name: sum(int(row, 16) for row in column) for name, column in columns if name != 'entries'}

    def flood(self, refused: int, port_base: int = 20000, limit: int = 500_000, seconds: float = 20) -> Flood:
        """Send datagrams over lo, each a new flow (another 127/8 address), until that many were refused.

        The kernel rather evicts unassured entries (early_drop), so fill the table with assured ones.
        Gives up after `limit` datagrams or `seconds`. Uses the UDP ports port_base and the one above.
        """
        sent, lost, end = 0, 0, time.monotonic() + seconds
        with self.in_netns():
            sender, sink = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with sender, sink:
            sender.bind(('127.0.0.1', port_base))
            sink.bind(('', port_base + 1))  # else each one is answered by an ICMP error
            while lost < refused and sent + lost < limit and time.monotonic() < end:
                target = socket.inet_ntoa((0x7f000000 + next(self._targets)).to_bytes(4, 'big'))
                try:
                    sender.sendto(b'', (target, port_base + 1))
                    sent += 1
                except PermissionError:
                    lost += 1
        return Flood(sent, lost)


@contextlib.contextmanager
def named(number: int) -> Iterator[list[str]]:
    """So many namespaces made at once by ip netns; without rules nothing is tracked in them."""
    names = [f'ctfleet-{os.getpid()}-{k}' for k in range(number)]

    def batch(verb: str) -> None:
        subprocess.run(['ip', '-force', '-batch', '-'], input=''.join(f'netns {verb} {name}\n' for name in names),
                       text=True, capture_output=True, check=False, timeout=60)

    batch('add')
    try:
        yield names
    finally:
        batch('del')


@contextlib.contextmanager
def namespace(name: str | None = None) -> Iterator[Namespace]:
    """A Namespace for as long as the with statement lasts."""
    made = Namespace(name)
    try:
        yield made
    finally:
        made.close()


def mixed_flows(count: int, shares: Mapping[Flow, float]) -> Iterator[Flow]:
    """Exactly `count` unique flows in shares like {Flow('tcp', '10.1.0.0/16'): 3, Flow('udp', dport=53): 1}.

    src may be a network, whose addresses get equal parts; each has the source ports from 1024 up.
    """
    begin, sofar, used = 0, 0.0, Counter[Flow]()
    for pattern, share in shares.items():
        sofar += share
        end = round(count * sofar / sum(shares.values()))
        network = ipaddress.ip_network(pattern.src)
        ports = 64512 if pattern.number in ECHO or pattern.number in PORTED - {47} else 1
        # entries that differ only in what is no part of the tuple must not get the same tuples
        key = Flow(pattern.number, pattern.src, pattern.dst, 0, pattern.dport, zone=pattern.zone)
        first = used[key]
        used[key] += end - begin
        begin = end
        if used[key] > network.num_addresses * ports:
            raise ValueError(f'{pattern.src} is too small for {used[key]} flows')
        for number in range(first, used[key]):
            port, host = divmod(number, network.num_addresses)
            yield Flow(pattern.proto, str(network.network_address + host), pattern.dst,
                       1024 + port if ports > 1 else pattern.sport, *pattern[4:])


@contextlib.contextmanager
def maximum(value: int) -> Iterator[None]:
    """Set the global nf_conntrack_max for the moment; other threads and processes wait for their turn."""
    with _turn, contextlib.ExitStack() as stack:
        if not _before:
            stack.enter_context(_alone())
        _before.append(MAXIMUM.read_text())
        try:
            MAXIMUM.write_text(str(value))
            yield
        finally:
            MAXIMUM.write_text(_before.pop())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with open(LOCK, 'a+') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        left = file.read()
        if left:  # its writer was killed before it could put this back
            MAXIMUM.write_text(left)
        else:
            file.write(MAXIMUM.read_text())
            file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@functools.lru_cache(None)
def why_not() -> str:
    """Why there can be no laboratory here, in one line, for a skip; '' if there can."""
    if os.geteuid():
        return 'not root'
    for tool in ('ip', 'nft', 'setpriv'):
        if not shutil.which(tool):
            return f'no {tool}'
    try:
        with namespace() as made:
            made.fill_to(1)
    except (OSError, RuntimeError) as error:
        return f'no namespace with connection tracking: {str(error).splitlines()[0]}'
    return '' if os.access(MAXIMUM, os.W_OK) else f'{MAXIMUM} is not writable'


@functools.lru_cache(1 << 17)
def _address(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ':' in text else socket.AF_INET, text)


def _message(flow: Flow) -> bytes:
    proto, src, dst, sport, dport, *kind = flow
    return _template(':' in src, proto, *kind) % {
        b's': _address(src), b'd': _address(dst),
        b'p': sport.to_bytes(2, 'big'), b'q': dport.to_bytes(2, 'big')}


@functools.lru_cache(4096)
def _template(six: bool, *kind: Any) -> bytes:
    """The message for one kind of flow, a bytes format: encoding each anew takes ten times as long."""
    flow = Flow(kind[0], '', '', 0, 0, *kind[1:])
    size, family = (16, socket.AF_INET6) if six else (4, socket.AF_INET)
    # stand-ins of the right length, no byte of which is in the rest of the tuples
    src, dst, sport, dport = b'\xf1' * size, b'\xf2' * size, b'\xf3' * 2, b'\xf4' * 2
    there = back = _attr(1, bytes([flow.number]))
    if flow.number in PORTED:
        there, back = there + _attr(2, sport) + _attr(3, dport), back + _attr(2, dport) + _attr(3, sport)
    elif flow.number in ECHO:
        first, request, reply = ECHO[flow.number]
        there, back = (there + _attr(first, sport) + _attr(first + 1, bytes([echo])) + _attr(first + 2, b'\0')
                       for echo in (request, reply))
    source, target = (3, 4) if six else (1, 2)
    tuples = b''.join(
        _nest(kind, _nest(1, _attr(source, one), _attr(target, other)), _nest(2, ports))
        for kind, one, other, ports in ((1, src, dst, there), (2, dst, src, back)))
    status = CONFIRMED | ASSURED * flow.assured | SEEN_REPLY * flow.seen_reply
    rest = _attr(3, struct.pack('!L', status)) + _attr(7, struct.pack('!L', flow.timeout))
    if flow.number not in STATES:
        if flow.state is not None:
            raise ValueError(f'{flow.proto} has no states')
    else:
        state = _attr(1, bytes([STATES[flow.number].split().index(flow.state or 'ESTABLISHED')]))
        # sctp's is taken only with both verification tags
        tags = (_attr(2, b'tag1'), _attr(3, b'tag2'))
        rest += _nest(4, _nest(1, state) if flow.number == 6 else _nest(3, state, *tags))
    if flow.zone is not None:
        rest += _attr(18, struct.pack('!H', flow.zone))
    for number, text in ((6, flow.snat), (13, flow.dnat)):  # CTA_NAT_SRC, CTA_NAT_DST
        if text:
            first, last = (4, 5) if six else (1, 2)
            rest += _nest(number, _attr(first, _address(text)), _attr(last, _address(text)))
    length, flags = 20 + len(tuples + rest), REQUEST | CREATE | EXCL
    head = struct.pack('=LHHLLBBH', length, CT_NEW, flags, 0, 0, family, 0, 0)
    for name, stand_in in ((b's', src), (b'd', dst), (b'p', sport), (b'q', dport)):
        tuples = tuples.replace(stand_in, b'%%(%b)b' % name)
    return head.replace(b'%', b'%%') + tuples + rest.replace(b'%', b'%%')


def _attr(kind: int, value: bytes) -> bytes:
    return struct.pack('=HH', 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nest(kind: int, *attributes: bytes) -> bytes:
    return _attr(kind | NESTED, b''.join(attributes))


def _which(tool: str) -> str:
    return shutil.which(tool) or tool


def switch_on_tracking(*enter: str) -> None:
    """Rules that ask for the state, in the namespace that the command `enter` leads to."""
    if has_nftables():
        _tool(*enter, 'nft', '-f', '-', text=RULES)
        return
    for chain in ('INPUT', 'OUTPUT'):
        _tool(*enter, 'iptables-legacy', '-A', chain, '-m', 'conntrack', '--ctstate', 'NEW')


@functools.cache
def has_nftables() -> bool:
    """User-mode Linux has nf_tables for bridges alone."""
    rules = 'add table inet has_nftables; add chain inet has_nftables c { type filter hook input priority 0; }'
    return subprocess.run([_which('nft'), '-c', rules], capture_output=True, timeout=60).returncode == 0


def _tool(*argv: str, text: str = '') -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f'{" ".join(argv)}: {done.stderr.strip()}')


def _setns(handle: int) -> None:
    if _libc.setns(handle, 0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), 'setns: ' + os.strerror(ctypes.get_errno()))


@atexit.register
def _leave() -> None:
    if _before:
        MAXIMUM.write_text(_before[0])
    for made in list(_living.values()):
        made.close()
