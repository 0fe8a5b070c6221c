"""No reader takes more than it should, whatever a file, a device or a socket gives: each limit at its real value."""

from __future__ import annotations

import socket
import stat
import struct
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import (
    ctnetlink,
    ctnetlink_events,
    ethtool,
    journal,
    kernel_log,
    log_tail,
    monitoring_sockets,
    netlink,
    proc_conntrack,
    syslog_call,
)

SAMPLE = Path(__file__).parents[1] / 'samples/host-6.18/ctnetlink.txt'
TCP4 = bytes.fromhex(next(line.split()[1] for line in SAMPLE.read_text().splitlines() if line.startswith('tcp4 ')))


def clock(monkeypatch: pytest.MonkeyPatch, module: Any, *times: float) -> None:
    monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=iter(times).__next__))


@pytest.mark.parametrize(('lines', 'size', 'overrun'), [
    (4096, 8192, False), (4097, 8192, True), (99_999, 30, False), (100_000, 30, True)])
def test_the_journal_is_read_for_32_mib_or_100000_lines(lines: int, size: int, overrun: bool) -> None:
    given = iter([b'x' * size] * lines)
    asked: set[int] = set()

    def readline(most: int) -> bytes:
        asked.add(most)
        return next(given, b'')

    assert journal._journal_lines(readline) == ([], overrun)
    assert asked == {8192}


@pytest.mark.slow
def test_a_device_gives_no_more_records_than_the_largest_ring_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(kernel_log.os, 'read', lambda _handle, size: [sizes.append(size), b'6,1,1,-;x\n'][1])
    assert kernel_log._device_records(7, None).overrun
    assert len(sizes) == 1 << 18
    assert set(sizes) == {8192}


def test_the_end_of_a_device_is_no_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for record in (b'6,0,1,-;x\n', b'6,1,1,-;x\n'):
        given = iter([record, b'', record])
        monkeypatch.setattr(kernel_log.os, 'read', lambda *_, given=given: next(given))
        found = kernel_log._device_records(7, None)
        assert (found.oldest, found.newest, found.overrun, next(given)) == (record, record, False, record)


@pytest.mark.parametrize(('size', 'first'), [(4 << 20, b'6,1,1,-;x'), ((4 << 20) + 1, b'6,2,1,-;x')])
def test_a_log_file_is_read_for_its_last_4_mib(tmp_path: Path, size: int, first: bytes) -> None:
    lines = b'6,1,1,-;x\n6,2,1,-;x\n'
    (tmp_path / 'log').write_bytes(lines + b' ' * (size - len(lines)))
    with (tmp_path / 'log').open('rb') as file:
        assert kernel_log._file_records(file.fileno()).oldest == first


@pytest.mark.parametrize(('kind', 'device', 'is_one'), [
    (stat.S_IFCHR, (1, 11), True), (stat.S_IFCHR, (1, 10), False), (stat.S_IFCHR, (2, 11), False),
    (stat.S_IFCHR, (1, 3), False), (stat.S_IFBLK, (1, 11), False), (stat.S_IFIFO, (1, 11), False)])
def test_the_kernel_s_log_by_its_number(kind: int, device: tuple[int, int], is_one: bool) -> None:
    status: Any = SimpleNamespace(st_mode=kind | 0o600, st_rdev=kernel_log.os.makedev(*device))
    assert kernel_log.is_kernel_log(status, '/dev/kmsg') is is_one


@pytest.mark.parametrize(('size', 'text'), [(5, b'12345'), (0, b''), (-1, b'')])
def test_the_kernel_writes_no_more_than_was_asked_for(monkeypatch: pytest.MonkeyPatch, size: int, text: bytes) -> None:
    import _ctypes

    asked: list[Any] = []

    def called(_function: int, arguments: tuple[Any, ...]) -> int:
        asked.append((arguments[0], len(arguments[1]), arguments[2]))
        return size

    monkeypatch.setattr(_ctypes, 'call_cdeclfunction', called)
    # what the kernel would have written there
    monkeypatch.setattr(syslog_call, 'bytes', lambda number: b'12345'.ljust(number, b'\0'), raising=False)
    assert syslog_call.read_tail(1 << 16) == text
    assert asked == [(3, 1 << 16, 1 << 16)]


def test_clocks_differ_by_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    for begin, since, known in ((b'<6>[   40.000000]', 100.0, True), (b'<6>[   40.000001]', 100.0, False),
                                (b'<123>[     999999999999.000000]', 1e12 + 60, True)):
        monkeypatch.setattr(syslog_call, 'read_tail', lambda _size, begin=begin: begin + b' x\n')
        assert log_tail.has_none_since(since, ()) is known


def test_20000_sockets_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = struct.pack('=IHHII', 88, 20, 2, 1, 0) + bytes([2]) + bytes(71)
    end = struct.pack('=IHHII', 20, 3, 2, 1, 0) + bytes(4)

    class Kernel:
        def __init__(self, *_: int) -> None:
            self.waiting = iter([answer * 199] + [answer] * 19_800 + [answer * 9, end])

        def __enter__(self) -> Kernel:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def bind(self, _address: tuple[int, int]) -> None:
            pass

        def send(self, _request: bytes) -> None:
            pass

        def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
            assert size == 1 << 16
            return next(self.waiting), (0, 0)

    monkeypatch.setattr(monitoring_sockets.socket, 'socket', Kernel)
    # one less than 20,000 after the first two: the next datagram is the last
    assert sum(1 for _ in monitoring_sockets.sockets(6, 2)) == 2 * (19_999 + 9)


@pytest.mark.parametrize(('number', 'taken'), [(1 << 14, True), ((1 << 14) + 1, False)])
def test_a_driver_has_at_most_16384_statistics(number: int, taken: bool) -> None:
    def call(_name: str, structure: Any) -> None:
        command, = struct.unpack_from('=I', structure)
        if command == 0x37:
            struct.pack_into('=QI', structure, 8, 2, number)
        elif command == 0x1B:
            assert len(structure) == 12 + 2 * number * 32
            struct.pack_into('=32s', structure, 12, b'x' * 32)
            struct.pack_into('=32s', structure, 12 + 32, b'y' * 31)
            struct.pack_into('=32s', structure, 12 + 32 * (number - 1), b'last')
        else:
            assert len(structure) == 8 + 2 * number * 8
            struct.pack_into('=QQ', structure, 8, 5, 6)
            struct.pack_into('=Q', structure, 8 * number, 7)

    if taken:
        assert ethtool.statistics('eth0', call) == {'x' * 32: 5, 'y' * 31: 6, '': 0, 'last': 7}
    else:
        with pytest.raises(ValueError, match=f'^{number} statistics$'):
            ethtool.statistics('eth0', call)


@pytest.mark.parametrize(('mask', 'number'), [(0, 5), (2, 0), (0, 0)])
def test_a_driver_without_statistics_is_asked_once(mask: int, number: int) -> None:
    asked: list[str] = []

    def call(name: str, structure: Any) -> None:
        asked.append(name)
        struct.pack_into('=QI', structure, 8, mask, number)

    assert ethtool.statistics('eth0', call) == {}
    assert asked == ['eth0']


@pytest.mark.slow
def test_4096_layouts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is found anew each time."""
    found: list[bytes] = []
    find = ctnetlink.find_layout
    monkeypatch.setattr(ctnetlink, 'find_layout', lambda payload: found.append(payload) or find(payload))
    payloads = [TCP4 + struct.pack('=HH', 4, 1000 + number) for number in range(4097)]
    assert sum(1 for _ in ctnetlink.parse_flows([*payloads, *payloads[4090:]])) == 4104
    assert found == [*payloads, payloads[4096]]


def test_6000_events_of_a_sample_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    event = struct.pack('=IHHII', 16 + len(TCP4), 0x100, 0, 0, 0) + TCP4
    monkeypatch.setattr(ctnetlink_events, '_drops', lambda _socket: 0)
    quiet: Any = SimpleNamespace(setsockopt=lambda *_: None, bind=lambda _to: None, close=lambda: None,
                                 recvfrom=lambda size: (_ for _ in ()).throw(BlockingIOError))
    flood: Any = SimpleNamespace(**vars(quiet))
    flood.recvfrom = {1 << 16: (event, (0, 1))}.__getitem__
    monkeypatch.setattr(ctnetlink_events, '_socket', iter([quiet, flood]).__next__)
    heard = ctnetlink_events.Listener(count(10).__next__)
    heard.start_sample(1.0)
    assert len(heard.finish().flows) == 6000


@pytest.mark.parametrize(('until', 'why'), [(None, 'no whole answer within 2 s'), (12.0, '')])
def test_a_dump_has_2_seconds(monkeypatch: pytest.MonkeyPatch, until: float | None, why: str) -> None:
    timeouts: list[float] = []
    wire: Any = SimpleNamespace(send=lambda _request: None, settimeout=timeouts.append)
    wire.recvfrom = lambda _size: (_ for _ in ()).throw(socket.timeout('timed out'))
    opened: Any = type('Opened', (), {'__enter__': lambda _self: wire, '__exit__': lambda *_: None})()
    clock(monkeypatch, netlink, *([10.0] if until is None else []), 10.5)
    if why:
        with pytest.raises(TimeoutError, match=f'^{why}$'):
            list(netlink.dump(1, 2, until, opened=opened))
    else:
        assert list(netlink.dump(1, 2, until, opened=opened)) == []
    assert timeouts == [1.5]


@pytest.mark.parametrize(('size', 'why'), [
    (4096, 'not a line of nf_conntrack'), (4097, 'a line without an end')])
def test_no_line_of_the_table_is_longer_than_4096(tmp_path: Path, size: int, why: str) -> None:
    (tmp_path / 'net').mkdir()
    (tmp_path / 'net/nf_conntrack').write_text('x' * size + '\n' * (size <= 4096))
    found = proc_conntrack.read_flows(Host(str(tmp_path)), list, 9)
    assert isinstance(found, Missing)
    assert found.why.endswith(f': {why}')


WAY = 'src=127.0.0.1 dst=127.0.0.1'


@pytest.mark.parametrize(('line', 'last', 'first_refused'), [
    ('ipv4 2 udp {} 27 W W use=2', 255, 256), ('ipv4 2 udp 17 {} W W use=2', (1 << 63) - 1, 1 << 63),
    ('ipv4 2 udp 17 27 W sport={} dport=2 W sport=2 dport=1', 65535, 65536),
    ('ipv4 2 udp 17 27 W sport=1 dport=2 W sport=2 dport={}', 65535, 65536),
    ('ipv4 2 udp 17 27 W W zone={}', 65535, 65536), ('ipv4 2 udp 17 27 W zone-orig={} W', 65535, 65536),
    ('ipv4 2 udp 17 27 W packets={} bytes=1 W packets=1 bytes=1', (1 << 64) - 1, 1 << 64),
    ('ipv4 2 udp 17 27 W packets=1 bytes=1 W packets=1 bytes={}', (1 << 64) - 1, 1 << 64),
    ('ipv4 2 udp 17 27 W W zone={}', '0' * 20, '0' * 21)])
def test_numbers_of_an_entry(line: str, last: object, first_refused: object) -> None:
    assert proc_conntrack.parse_line(line.replace('W', WAY).format(last))
    with pytest.raises(ValueError, match='not a number'):
        proc_conntrack.parse_line(line.replace('W', WAY).format(first_refused))


@pytest.mark.parametrize(('line', 'why'), [
    (f'ipv4 x udp 17 27 {WAY} {WAY}', 'not a line of nf_conntrack'),
    ('ipv4 2 udp 17 27', 'not a line of nf_conntrack'), ('ipv4 2 udp 17 27 x', 'a line without two directions'),
    (f'ipv4 2 udp 17 27 {WAY}', 'a line without two directions'),
    (f'ipv4 2 tcp 6 27 A-B {WAY} {WAY}', 'not a state'), (f'ipv4 2 tcp 6 27 É {WAY} {WAY}', 'not a state'),
    (f'ipv4 2 udp 17 27 {WAY} src=1 dst=2', 'not an address')])
def test_what_is_wrong_with_an_entry(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=f'^{why}$'):
        proc_conntrack.parse_line(line)
