"""sock_diag: the question and the answers to the byte, whose sockets they are, and whom the host's own files name."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import monitoring_sockets
from check_conntrack_lib.readers.monitoring_sockets import MonitoringWays, Socket, Way, is_address, parse

V4, V6 = socket.AF_INET, socket.AF_INET6
LISTENING, CONNECTED, UDP = 1 << 10, 1 << 1, 1 << 7


def answer(family: int, port: int, remote: str, remote_port: int, inode: int) -> bytes:
    """struct inet_diag_msg."""
    ends = struct.pack('!HH16s16s', port, remote_port, b'', socket.inet_pton(family, remote))
    return bytes([family, 0, 0, 0]) + ends + bytes(12) + struct.pack('=IIIII', 0, 0, 0, 0, inode)


def message(kind: int, payload: bytes = b'') -> bytes:
    return struct.pack('=IHHII', 16 + len(payload), kind, 2, 1, 0) + payload


@pytest.mark.parametrize(('family', 'remote', 'text'), [
    (V4, '192.0.2.7', '192.0.2.7'), (V6, '2001:db8::7', '2001:db8::7'), (V6, '::ffff:192.0.2.7', '192.0.2.7')])
def test_an_answer(family: int, remote: str, text: str) -> None:
    payload = answer(family, 22, remote, 40000, 4711)
    assert parse(payload, 6) == Socket(6, 22, text, 40000, 4711)
    with pytest.raises(ValueError, match='cut'):
        parse(payload[:-1], 6)


class Kernel:
    """A sock_diag socket: what it was asked, and what it answers."""

    asked: list[bytes]
    answers: list[tuple[bytes, int]]

    def __init__(self, *made: int) -> None:
        assert made == (socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4)
        self.waiting = list(self.answers)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def bind(self, address: tuple[int, int]) -> None:
        assert address == (0, 0)

    def send(self, request: bytes) -> None:
        self.asked.append(request)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        datagram, sender = self.waiting.pop(0)
        return datagram, (sender, 0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> type[Kernel]:
    Kernel.asked = []
    monkeypatch.setattr(monitoring_sockets.socket, 'socket', Kernel)
    return Kernel


def test_the_question_and_who_may_answer_it(kernel: type[Kernel]) -> None:
    one, other = (answer(V4, 22, '192.0.2.7', port, port) for port in (1, 2))
    kernel.answers = [(message(20, other), 4711), (message(20, one) + message(99, other), 0), (message(3, bytes(4)), 0)]
    assert list(monitoring_sockets.sockets(6, LISTENING, 22, 33)) == [Socket(6, 22, '192.0.2.7', 1, 1)] * 2
    for family, asked in zip((V4, V6), kernel.asked):
        assert struct.unpack('=IHHII', asked[:16]) == (72, 20, 0x301, 1, 0)
        assert asked[16:24] == struct.pack('=BBBxI', family, 6, 0, LISTENING)
        assert asked[24:28] == struct.pack('!HH', 22, 33)
        assert asked[28:] == bytes(44)
    list(monitoring_sockets.sockets(17, UDP))
    assert kernel.asked[-1][24:] == bytes(48)


def test_an_error_ends_it_and_so_do_too_many(kernel: type[Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.answers = [(message(2, bytes(4)), 0)]
    assert list(monitoring_sockets.sockets(6, LISTENING)) == []
    kernel.answers = [(message(20, answer(V4, 22, '192.0.2.7', 1, 1)), 0)] * 9
    monkeypatch.setattr(monitoring_sockets, 'MOST', 3)
    assert len(list(monitoring_sockets.sockets(6, LISTENING))) == 2 * 3


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """sshd on another port, a node_exporter that systemd holds the socket for, an agent with its master, a shell."""
    for pid, name, links in ((100, 'sshd', ['socket:[7]', '/dev/null', 'socket:[99]']), (200, 'bash', ['socket:[8]']),
                             (300, 'icinga2', ['socket:[9]'])):
        (tmp_path / f'{pid}/fd').mkdir(parents=True)
        (tmp_path / f'{pid}/comm').write_text(name + '\n')
        for number, link in enumerate(links):
            (tmp_path / f'{pid}/fd/{number}').symlink_to(link)
    (tmp_path / '400').mkdir()
    (tmp_path / 'self').mkdir()
    held = {
        (6, LISTENING): [Socket(6, 2222, '::', 0, 7), Socket(6, 8080, '::', 0, 8), Socket(6, 5665, '::', 0, 9),
                         Socket(6, 9100, '::', 0, 10), Socket(6, 12345, '::', 0, 11)],
        (17, UDP): [Socket(17, 161, '::', 0, 12), Socket(17, 53, '::', 0, 13)],
        (6, CONNECTED, 'to', 5665): [Socket(6, 40000, '192.0.2.10', 5665, 20), Socket(6, 40001, '127.0.0.1', 5665, 21)],
        (6, CONNECTED, 2222): [Socket(6, 2222, '198.51.100.4', 50000, 30), Socket(6, 2222, '::1', 50001, 31)],
        (6, CONNECTED, 5665): [Socket(6, 5665, '192.0.2.10', 50000, 32)],
        (6, CONNECTED, 161): [Socket(6, 161, '203.0.113.9', 50000, 33)],
    }

    def sockets(protocol: int, states: int, port: int = 0, remote_port: int = 0) -> Iterator[Socket]:
        key = (protocol, states, *((port,) if port else ('to', remote_port) if remote_port else ()))
        yield from held.get(key, ())

    monkeypatch.setattr(monitoring_sockets, 'sockets', sockets)
    return Host(str(tmp_path))


def test_the_ways_of_the_monitoring(host: Host, tmp_path: Path) -> None:
    (tmp_path / '1/root/etc/nagios').mkdir(parents=True)
    (tmp_path / '1/root/etc/nagios/nrpe.cfg').write_text(
        '# allowed_hosts=10.9.9.9\n allowed_hosts = 127.0.0.1,::1, 192.0.2.11 ,monitoring.example,192.0.2.0/24\n')
    assert monitoring_sockets.read(host) == MonitoringWays(
        (Way('SSH', 6, 2222), Way('Icinga agent', 6, 5665), Way('Icinga agent', 6, 5665, True),
         Way('node_exporter', 6, 9100), Way('SNMP', 17, 161)),
        ('192.0.2.0/24', '192.0.2.10', '192.0.2.11'), ('198.51.100.4',))


@pytest.mark.parametrize(('protocol', 'port', 'name'), [
    (6, 22, 'SSH'), (6, 5666, 'NRPE'), (6, 5665, 'Icinga agent'), (17, 161, 'SNMP'), (6, 9100, 'node_exporter'),
    (6, 9318, 'conntrack-doctor export'), (6, 10050, 'Zabbix agent'), (6, 6556, 'Checkmk agent')])
def test_ports_of_the_monitoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, port: int,
                                 name: str) -> None:
    """Whoever holds the socket."""
    held = {(protocol, LISTENING if protocol == 6 else UDP): [Socket(protocol, port, '::', 0, 7)]}
    monkeypatch.setattr(monitoring_sockets, 'sockets', lambda *asked, **_: held.get(asked, ()))
    assert monitoring_sockets.read(Host(str(tmp_path))) == MonitoringWays((Way(name, protocol, port),), ())


@pytest.mark.parametrize('came_in', [
    Socket(6, 2222, '203.0.113.66', 5665, 40), Socket(6, 40002, '203.0.113.66', 5665, 0)],
                         ids=['to a port that root serves', 'not accepted yet'])
def test_who_connects_from_the_agents_port_is_no_master(host: Host, monkeypatch: pytest.MonkeyPatch,
                                                        came_in: Socket) -> None:
    """Any stranger can choose his port: the rules of --lifeline had let him through."""
    held = monitoring_sockets.sockets

    def sockets(protocol: int, states: int, port: int = 0, remote_port: int = 0) -> Iterator[Socket]:
        yield from held(protocol, states, port, remote_port)
        if remote_port == 5665:
            yield came_in

    monkeypatch.setattr(monitoring_sockets, 'sockets', sockets)
    ways = monitoring_sockets.read(host)
    assert isinstance(ways, MonitoringWays)
    assert ways.addresses == ('192.0.2.10',)
    assert '203.0.113.66' in ways.connected


def test_without_an_answer_of_the_kernel(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> Iterator[Socket]:
        raise PermissionError(1, 'Operation not permitted')
        yield

    monkeypatch.setattr(monitoring_sockets, 'sockets', refused)
    assert monitoring_sockets.read(host) == Missing('sockets: Operation not permitted')


@pytest.mark.parametrize(('text', 'is_one'), [
    ('192.0.2.1', True), ('192.0.2.0/32', True), ('192.0.2.0/33', False), ('2001:db8::1', True), ('::/128', True),
    ('::/129', False), ('192.0.2.0/', False), ('192.0.2.0/0', True), ('192.0.2.0/0024', False),
    ('192.0.2.0/\u0663', False),
    ('192.0.2.0/-1', False), ('host.example', False), ('', False), ('192.0.2', False), ('::1%eth0', False)])
def test_addresses_and_networks(text: str, is_one: bool) -> None:
    assert is_address(text) is is_one
