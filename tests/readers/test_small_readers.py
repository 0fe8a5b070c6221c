"""What small readers ask the kernel, and what they make of answers that are none."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant, KernelLog, LogLine, Missing, Suppressed
from check_conntrack_lib.readers import (
    addresses,
    ctnetlink,
    followed_log,
    kernel_version,
    meminfo,
    netlink,
    netns_addresses,
    root_files,
)
from check_conntrack_lib.readers.followed_log import FollowedLog
from check_conntrack_lib.readers.kernel_lines import head_of, parse_record
from check_conntrack_lib.readers.log_clock import completed, learn_offset, memory_of


def test_own_addresses_are_asked_of_rtnetlink(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def dump(*given: int, **more: int) -> list[bytes]:
        asked.append((*given, more))
        return [struct.pack('=BBBBI', 2, 8, 0, 254, 1) + struct.pack('=HH', 8, 2) + socket.inet_aton('127.0.0.1')]

    monkeypatch.setattr(addresses, 'dump', dump)
    assert addresses.read() == {socket.inet_aton('127.0.0.1')}
    # include/uapi/linux/rtnetlink.h: RTM_GETADDR, RTM_NEWADDR; NETLINK_ROUTE
    assert asked == [(22, 20, {'protocol': 0})]

    def refused(*_: int, **__: int) -> None:
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(addresses, 'dump', refused)
    found = addresses.read()
    assert isinstance(found, Missing)
    assert found.why == 'addresses: Operation not permitted'


def test_addresses_of_a_process_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    net = tmp_path / '7/net'
    net.mkdir(parents=True)
    host = Host(str(tmp_path))
    assert netns_addresses.read(host, 7) == set()
    (net / 'if_inet6').write_text(f'{"fd" + "0" * 29}2 02 40 00 80 eth0\nnonsense\n{"fd" + "0" * 29}3 02 40 00\n')
    assert netns_addresses.read(host, 7) == {'fd00::2'}
    (net / 'fib_trie').write_text('|-- 10.0.0.1\n/32 host LOCAL\n|-- 10.0.0.2\n/31 host LOCAL\n')
    assert netns_addresses.read(host, 7) == {'fd00::2', '10.0.0.1'}
    assert netns_addresses.read(host, 8) == set()


@pytest.mark.parametrize(('text', 'free', 'total'), [
    ('MemAvailable: 999999999999999 kB', 999999999999999 * 1024, None),
    ('MemAvailable: 9999999999999999 kB', None, None), ('MemTotal: 999999999999999 kB', None, 999999999999999 * 1024),
    ('MemTotal: 9999999999999999 kB', None, None), ('xMemTotal: 5 kB\nMemAvailable: 5 MB', None, None)])
def test_memory(tmp_path: Path, text: str, free: int | None, total: int | None) -> None:
    (tmp_path / 'meminfo').write_text(text)
    found = meminfo.read(Host(str(tmp_path)))
    assert found == free if free else isinstance(found, Missing)
    assert meminfo.read_total(Host(str(tmp_path))) == total


def test_a_kernel_that_does_not_say_its_release(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    assert (kernel_version.read_release(host), kernel_version.read_stable(host)) == ('', '')


def test_the_shortest_messages() -> None:
    """Of headers alone."""
    assert ctnetlink.parse_cpu_stats(struct.pack('!BBH', 2, 0, 7)) == (7, {})
    with pytest.raises(ValueError, match='cut nfgenmsg'):
        ctnetlink.parse_cpu_stats(bytes(3))
    with pytest.raises(ValueError, match='an entry without a tuple'):
        ctnetlink.find_layout(bytes(4))
    with pytest.raises(ValueError, match='cut nfgenmsg'):
        ctnetlink.find_layout(bytes(3))
    assert addresses.parse([bytes(8)]) == frozenset()
    with pytest.raises(ValueError, match='cut ifaddrmsg'):
        addresses.parse([bytes(7)])
    netlink._raise_error(bytes(4))
    with pytest.raises(ValueError, match='cut netlink error'):
        netlink._raise_error(bytes(3))
    with pytest.raises(FileNotFoundError, match='No such file or directory'):
        netlink._raise_error(struct.pack('=i', -2))
    assert list(netlink.messages(struct.pack('=IHHII', 16, 5, 0, 0, 0))) == [(5, b'')]
    assert list(netlink.attributes(struct.pack('=HH', 4, 5), 0, 4)) == [(5, 4, 4)]
    assert list(netlink.attributes(struct.pack('=HH', 4, 5), 0, 3)) == []


@pytest.mark.parametrize(('record', 'head'), [
    (b'4,358,2888433806,-;x', (358, 2888.433806)), (b'4,0,0,-;x', (0, 0.0)), (b'30,7,1000000;x', (7, 1.0)),
    (b'4294967295,999999999999999999,5,-;x', (999999999999999999, 0.000005)), (b'x', (-1, 0.0)), (b'', (-1, 0.0)),
    (b'4,9223372036854775807,5,-;x', (-1, 0.0)),
    (b'4,1', (-1, 0.0)), (b'12345678901,1,5,-;x', (-1, 0.0))])
def test_heads_of_records(record: bytes, head: tuple[int, float]) -> None:
    assert head_of(record) == head


def test_the_stamp_of_a_record_is_in_microseconds() -> None:
    line = parse_record(b'4,1,1,-;text')
    assert line
    assert line.stamp == 1e-6


LOG = KernelLog('/dev/kmsg', (LogLine(100.0), LogLine(200.0)), (Suppressed(150.0, 3),), complete_since=100.0,
                sequence=9, offset=0.5)


def test_the_journal_s_lines_stand_before_the_device_s() -> None:
    kept = KernelLog('journal', (LogLine(50.0, 7), LogLine(100.0), LogLine(120.0)), (Suppressed(99.9, 1),
                                                                                  Suppressed(100.0, 2)),
                     names_namespaces=True, complete_since=10.0)
    found = completed(LOG._replace(table_full=(LogLine(99.0), *LOG.table_full)), kept)
    assert found.table_full == (LogLine(50.0, 7), LogLine(100.0), LogLine(200.0))
    assert found.suppressed == (Suppressed(99.9, 1), Suppressed(150.0, 3))
    assert (found.names_namespaces, found.complete_since, found.source) == (True, 10.0, '/dev/kmsg')
    assert completed(LOG, kept._replace(complete_since=100.0)) is LOG
    assert completed(LOG, kept._replace(complete_since=101.0)) is LOG


@pytest.mark.parametrize(('longest', 'full', 'suppressed'), [(100, (200.0,), ()), (150, (200.0,), (150.0,)),
                                                             (200, (100.0, 200.0), (150.0,))])
def test_what_is_remembered_of_a_log(longest: float, full: tuple[float, ...], suppressed: tuple[float, ...]) -> None:
    found = memory_of(LOG, 300.0, longest)
    assert found
    assert (found.sequence, found.read, found.offset, found.complete_since) == (9, 300.0, 0.5, 100.0)
    assert tuple(line.stamp for line in found.table_full) == full
    assert tuple(line.stamp for line in found.suppressed) == suppressed
    assert memory_of(Missing('x'), 300.0, longest) is None
    assert memory_of(LOG._replace(sequence=None), 300.0, longest) is None


@pytest.mark.parametrize(('offset', 'last', 'newest', 'fresh', 'learnt'), [
    # it may be anything from 10 to 20: between the last run, at 500, and now, at 600
    (15.0, 9, 580.0, (490.0,), 15.0), (10.0, 9, 580.0, (490.0,), 10.0), (20.0, 9, 580.0, (490.0,), 20.0),
    (9.9, 9, 580.0, (490.0,), 20.0), (20.1, 9, 580.0, (490.0,), 20.0),
    # nothing new since then: no lower bound
    (-900.0, 8, 580.0, (), -900.0), (20.1, 8, 580.0, (), 20.0)])
def test_the_clock_of_the_log(offset: float, last: int, newest: float, fresh: tuple[float, ...],
                              learnt: float) -> None:
    memory = memory_of(LOG._replace(sequence=8), 500.0, 0.0)
    assert learn_offset(offset, memory, 600.0, last, newest, fresh) == learnt
    assert learn_offset(offset, None, 600.0, last, newest, ()) == min(offset, 20.0)


def test_a_log_that_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the device a descriptor is kept, of nothing else; what cannot be read lets it go."""
    (tmp_path / 'device').write_text('')
    monkeypatch.setattr(followed_log.kernel_log, 'DEVICE', str(tmp_path / 'device'))
    monkeypatch.setattr(followed_log.kernel_log, 'open_log', lambda path: (os.open(path, os.O_RDONLY), False))
    answers: list[Any] = []
    monkeypatch.setattr(followed_log.kernel_log, 'read', lambda *_: answers.pop(0))
    host = Host(str(tmp_path), lambda: Instant(1e9, 1000.0, 1000.0))
    before = os.listdir('/proc/self/fd')
    kept = FollowedLog()
    for choice, log in (('auto', LOG), ('journal', LOG._replace(source=str(tmp_path / 'device'))),
                        ('kmsg', Missing('x'))):
        answers.append(log)
        assert kept.read(host, choice, 300.0) is log
        assert os.listdir('/proc/self/fd') == before
    device = LOG._replace(source=str(tmp_path / 'device'), overrun=True, table_full=(LogLine(700.0),),
                          suppressed=(Suppressed(699.9, 1),))
    answers.append(device)
    assert kept.read(host, 'auto', 300.0) is device
    new = KernelLog('', (LogLine(900.0, 5),), (Suppressed(900.0, 2),), names_namespaces=True)
    monkeypatch.setattr(followed_log.kernel_log, 'read_new', lambda *_: (new, False))
    found = kept.read(host, 'auto', 300.0)
    assert isinstance(found, KernelLog)
    assert found.table_full == (LogLine(700.0), LogLine(900.0, 5))
    assert (found.suppressed, found.overrun, found.names_namespaces) == ((Suppressed(900.0, 2),), True, True)

    def refused(*_: object) -> None:
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr(followed_log.kernel_log, 'read_new', refused)
    failed = kept.read(host, 'auto', 300.0)
    assert isinstance(failed, Missing)
    assert failed.why == f'{tmp_path}/device: Input/output error'
    assert os.listdir('/proc/self/fd') == before
    # then it begins again
    answers.append(LOG)
    assert kept.read(host, 'auto', 300.0) is LOG


def test_no_end_to_go_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'fifo')
    before = os.listdir('/proc/self/fd')
    assert followed_log._open_at_end(str(tmp_path / 'fifo')) is None
    assert os.listdir('/proc/self/fd') == before


def test_forty_links_below_another_root(tmp_path: Path) -> None:
    (tmp_path / 'real').write_text('text')
    for k in range(41):
        (tmp_path / f'x{k}').symlink_to(f'x{k + 1}' if k < 40 else 'real')
    assert root_files.inside(str(tmp_path), 'x1') == f'{tmp_path}/real'
    with pytest.raises(OSError, match='Too many levels of symbolic links'):
        root_files.inside(str(tmp_path), 'x0')
    assert root_files.read_text(str(tmp_path), 'x0') == ''
