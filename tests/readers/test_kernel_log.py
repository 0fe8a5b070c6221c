"""Kernel log records: every historic form, from a device, a file and the journal."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from check_conntrack_lib.deadline import OutOfTime
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import BOOT, Instant, KernelLog, LogLine, LogMemory, Missing, Suppressed
from check_conntrack_lib.readers import followed_log, journal, kernel_log, syslog_call
from check_conntrack_lib.readers.followed_log import FollowedLog
from check_conntrack_lib.readers.journal import parse_journal_line
from check_conntrack_lib.readers.kernel_lines import KernelLine, parse_record, summarize
from check_conntrack_lib.readers.log_clock import memory_of
from check_conntrack_lib.readers.syslog_call import has_none_since, read_tail

SAMPLES = Path(__file__).parents[1] / 'samples'


def forms() -> list[str]:
    lines = (SAMPLES / 'kmsg-forms.txt').read_text().splitlines()
    return [line.split(' | ')[0].strip() for line in lines if not line.startswith('#')]


@pytest.mark.parametrize('text', forms())
def test_every_form(text: str) -> None:
    log = summarize([KernelLine(1.0, text)], 'test')
    assert bool(log.table_full) == ('table full' in text and 'expectation' not in text)
    numbers = re.findall(r'(\d+) (?:callbacks|messages) suppressed', text)
    assert [s.messages for s in log.suppressed] == [int(n) for n in numbers]


def test_namespace_is_named() -> None:
    text = 'nf_conntrack: nf_conntrack: table full in netns 4026532246, dropping packet'
    assert summarize([KernelLine(2.5, text)], 'test').table_full == (LogLine(2.5, 4026532246),)


@pytest.mark.parametrize('text', [
    'nf_conntrack: expectation table full',
    'myapp: nf_conntrack: table full, dropping packet',
    'nf_conntrack: table full, dropping packet of mine',
    'nf_conntrack: nf_conntrack: nf_conntrack: table full, dropping packet',
    # line breaks and other characters as /dev/kmsg escapes them
    'x\\x0a4,1,1,-;nf_conntrack: table full, dropping packet',
    'nf_conntrack: table full, dropping packet\\x0a KEY=value',
    'nf_conntrack: table full, dropping packet|usage=1%',
    ' nf_conntrack: table full, dropping packet',
    'nf_conntrack: table full in netns 4026531833\\x00, dropping packet',
])
def test_what_only_looks_like_it(text: str) -> None:
    assert summarize([KernelLine(1.0, text)], 'test').table_full == ()


@pytest.mark.parametrize(('record', 'expected'), [
    (b'4,358,2888433806,-;nf_conntrack: x\n', KernelLine(2888.433806, 'nf_conntrack: x')),
    (b'4,358,2888433806,-,caller=T123;text;with;semicolons\n KEY=v\n', KernelLine(2888.433806, 'text;with;semicolons')),
    (b'12,390,1000000,-;a user wrote this to /dev/kmsg\n', None),
    (b'30,390,1000000,-;systemd[1]: x\n', None),
    (b' SUBSYSTEM=net\n', None),
    (b'', None),
    (b'4,358\n', None),
    (b'4,358,x,-;t\n', None),
    (b'-4,358,1,-;t\n', None),
    (b'4,358,99999999999999999999999,-;t\n', None),
])
def test_records(record: bytes, expected: KernelLine | None) -> None:
    assert parse_record(record) == expected


@pytest.mark.parametrize(('sample', 'lines', 'netns'), [
    ('vm-5.4.0-ubuntu2004/A-kmsg.txt', 20, None), ('vm-5.10.257-debian11/A-kmsg.txt', 20, None),
    ('vm-5.15.0-ubuntu2204/A-kmsg.txt', 20, None), ('uml-6.1/B-kmsg.txt', 20, None),
    ('vm-6.12.107-debian13/B-kmsg.txt', 20, None), ('vm-6.12.107-debian13/expect-kmsg.txt', 0, None),
    ('host-6.18/kmsg.txt', 30, 4026532246),
])
def test_captured_logs(sample: str, lines: int, netns: int | None) -> None:
    log = kernel_log.read(Host(), str(SAMPLES / sample), float('inf'))
    assert isinstance(log, KernelLog)
    assert len(log.table_full) == lines
    assert {line.netns for line in log.table_full} <= {netns}


def test_only_the_look_back_is_judged_but_an_old_line_tells_of_the_kernel(tmp_path: Path) -> None:
    line = '4,1,{}000000,-;nf_conntrack: nf_conntrack: table full{}, dropping packet\n'
    (tmp_path / 'log').write_text(line.format(100, ' in netns 7') + line.format(200, '') + line.format(300, ''))
    log = kernel_log.read_records(str(tmp_path / 'log'), 200.0)
    assert isinstance(log, KernelLog)
    assert (log.table_full, log.names_namespaces) == ((LogLine(200.0), LogLine(300.0)), True)
    assert kernel_log.read_records(str(tmp_path / 'log'), 301.0) == log._replace(table_full=())
    assert log.complete_since == 100.0


def test_what_a_user_wrote_tells_nothing_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / 'log').write_text('12,1,9000000,-;nf_conntrack: nf_conntrack: table full in netns 7, dropping packet\n')
    assert kernel_log.read_records(str(tmp_path / 'log'), 0.0) == KernelLog(
        f'{tmp_path}/log', complete_since=9.0, sequence=1)


def test_file_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_log, 'FILE_TAIL', 200)
    line = '4,1,{}000000,-;nf_conntrack: table full, dropping packet\n'
    (tmp_path / 'log').write_text(''.join(line.format(k) for k in range(100)))
    log = kernel_log.read(Host(), str(tmp_path / 'log'), float('inf'))
    assert isinstance(log, KernelLog)
    assert [full.stamp for full in log.table_full] == [97.0, 98.0, 99.0]


class Device:
    """A kmsg device as os.read shows it: one record a read, or an error."""

    def __init__(self, *answers: bytes | OSError) -> None:
        self.answers = list(answers)

    def read(self, _handle: int, _size: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


def as_device(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a FIFO stand for the device."""
    os.mkfifo(path)
    monkeypatch.setattr(kernel_log, 'is_kernel_log', lambda _status, _path: True)


def test_device_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """EPIPE: older records are gone; EINVAL: one record was skipped; EAGAIN: the end."""
    full = b'4,1,1000000,-;nf_conntrack: table full, dropping packet\n'
    device = Device(full, BrokenPipeError(32, 'overrun'), OSError(22, 'too long'), full, BlockingIOError(11, 'end'))
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log.os, 'read', device.read)
    log = kernel_log.read_records(str(tmp_path / 'device'), 0.0)
    assert isinstance(log, KernelLog)
    assert len(log.table_full) == 2
    assert log.overrun


def test_other_device_error_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log.os, 'read', Device(OSError(5, 'Input/output error')).read)
    log = kernel_log.read_records(str(tmp_path / 'device'), 0.0)
    assert log == Missing(f'{tmp_path}/device: Input/output error')


def test_a_storm_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log, 'MOST_RECORDS', 50)
    monkeypatch.setattr(kernel_log.os, 'read', lambda _handle, _size: b'4,1,1,-;noise\n')
    assert isinstance(kernel_log.read_records(str(tmp_path / 'device'), 0.0), KernelLog)


def test_fifo_without_writer_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'fifo')
    answer: list[object] = []
    fifo = str(tmp_path / 'fifo')
    thread = threading.Thread(target=lambda: answer.append(kernel_log.read_records(fifo, 0.0)), daemon=True)
    thread.start()
    thread.join(5)
    assert answer == [Missing(f"{fifo} is not the kernel's log", kernel_log.NOT_THE_LOG)]


def test_no_file() -> None:
    assert kernel_log.read(Host(), '/nonexistent', 300) == Missing('/nonexistent: No such file or directory')
    assert kernel_log.read(Host(), 'off', 300) == Missing('switched off', chosen=True)


JOURNALCTL = """#!/bin/sh
case "$*" in
*--reverse*) ;;
*) {first}; exit;;
esac
echo "$@" > "{log}"
{body}
"""
#: the kernel's first message, as a journal that has all of the boot gives it
WHOLE = "echo '1795000000.000000 gw1 kernel: Linux version 6.12.107'"


def journalctl(tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch, first: str = WHOLE) -> None:
    program = tmp_path / 'journalctl'
    program.write_text(JOURNALCTL.format(log=tmp_path / 'asked', body=body, first=first))
    program.chmod(0o755)
    monkeypatch.setattr(journal, 'JOURNALCTL', (str(program),))
    monkeypatch.setattr(kernel_log, 'DEVICE', '/nonexistent/kmsg')


def test_journal_serves_where_the_device_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Host().clock()
    line = f'{now.wall - 10:.6f} gw1 kernel: nf_conntrack: nf_conntrack: table full, dropping packet'
    journalctl(tmp_path, f"echo '{line}'; echo '{line}x'; echo '-- No entries --'", monkeypatch)
    log = kernel_log.read(Host(), 'auto', 300)
    assert isinstance(log, KernelLog)
    assert log.source == 'journal'
    assert [round(now.monotonic - full.stamp) for full in log.table_full] == [10]
    asked = (tmp_path / 'asked').read_text().split()
    assert asked[:3] == ['--dmesg', '--boot=0', 'SYSLOG_FACILITY=0']
    assert asked[3] in (f'--since=@{now.wall - 300:.0f}', f'--since=@{now.wall - 299:.0f}')


@pytest.mark.parametrize(('body', 'why'), [
    ("echo 'Hint: You are currently not seeing messages from other users and the system.' >&2",
     'needs root or group systemd-journal'),
    ("echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
     'needs root or group systemd-journal'),
    ("echo 'Failed to open: Bad message' >&2; exit 1", 'journalctl: Failed to open: Bad message'),
    ('exit 7', 'journalctl: exit 7'),
])
def test_journal_that_may_not_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, why: str) -> None:
    journalctl(tmp_path, body, monkeypatch)
    log = kernel_log.read(Host(), 'journal', 300)
    assert isinstance(log, Missing)
    assert log.why == why


def test_the_newest_lines_of_the_journal_are_asked_for_and_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, 'MOST_LINES', 3)
    now = Host().clock()
    for lines, overrun in ((2, False), (3, True), (9, True)):
        text = ''.join(f'{now.wall - age:.6f} gw1 kernel: nf_conntrack: table full, dropping packet\\n'
                       for age in range(1, lines + 1))
        journalctl(tmp_path, f"printf '{text}'", monkeypatch)
        log = kernel_log.read(Host(), 'journal', 300)
        assert isinstance(log, KernelLog)
        # oldest first, as the device gives them
        assert [round(now.monotonic - full.stamp) for full in log.table_full] == [3, 2, 1][-lines:]
        assert log.overrun is overrun
        asked = (tmp_path / 'asked').read_text().split()
        # without --reverse, --lines would give the oldest ones
        assert {'--reverse', '--lines=3'} <= set(asked)


def test_a_storm_in_the_journal_that_is_parsed_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget of one reading is over while its lines are parsed: that reading is missing, not the run's result."""
    def late(_line: str, _offset: float) -> None:
        raise OutOfTime('no answer within 2 s')

    journalctl(tmp_path, "echo '1795000000.000000 gw1 kernel: nf_conntrack: table full, dropping packet'", monkeypatch)
    monkeypatch.setattr(journal, 'parse_journal_line', late)
    log = kernel_log.read(Host(), 'journal', 300)
    assert isinstance(log, Missing)
    assert 'no answer within 2 s' in log.why


def test_the_rest_of_an_endless_line_is_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = '1795000000.000000 gw1 kernel: nf_conntrack: table full, dropping packet'
    monkeypatch.setattr(journal, 'RECORD_SIZE', 80)
    journalctl(tmp_path, f"printf '%080d%s\\n%s\\n' 0 '{line}' '{line}'", monkeypatch)
    log = kernel_log.read(Host(), 'journal', 300)
    assert isinstance(log, KernelLog)
    assert len(log.table_full) == 1


def test_journal_lines() -> None:
    for host in ('vm ', ''):
        assert parse_journal_line(f'1795179478.289000 {host}kernel: nf_conntrack: x', -1795176589.5) == KernelLine(
            pytest.approx(2888.789, abs=1e-3), 'nf_conntrack: x')
    assert parse_journal_line('1795179478.289000 vm sshd[1]: kernel: nf_conntrack: x', 0) is None
    assert parse_journal_line('nonsense', 0) is None


TAIL = b'<6>[ 2640.000001] eth0: link up\n<4>[ 2999.500000][  T123] nf_conntrack: other\n'


@pytest.mark.parametrize(('text', 'since', 'expected'), [
    (TAIL, 2700.001, True),
    # it does not reach back so far, by clocks that differ
    (TAIL, 2700.0, False),
    (TAIL + b'<4>[ 2999.500000] nf_conntrack: nf_conntrack: table full, dropping packet\n', 2900.0, False),
    (TAIL + b'<4>[ 2999.500000] net_ratelimit: 3 callbacks suppressed\n', 2900.0, False),
    # the storm of an hour ago
    (b'<4>[ 2640.000001] nf_conntrack: nf_conntrack: table full, dropping packet\n' * 9 + TAIL, 2800.0, True),
    (b'<4>[ 2640.000001] nf_conntrack: nf_conntrack: table full, dropping packet\n' * 9 + TAIL, 2700.0, False),
    # nobody can hide a line of now behind one with another time
    (b'<4>[ 2640.000001] eth0\n<4>[ 2990.000000] nf_conntrack: table full, dropping packet\n'
     b'<4>[ 2641.000000] nf_conntrack: table full, dropping packet\n', 2800.0, False),
    (b'<4>[ 2640.000001] eth0\ntable full\n', 2800.0, False),
    # printk.time=0, and where the call cannot be made
    (b'<6>eth0: link up\n', 2900.0, False),
    (b'', 2900.0, False),
])
def test_the_tail_of_the_log_shows_that_there_is_nothing(
        monkeypatch: pytest.MonkeyPatch, text: bytes, since: float, expected: bool) -> None:
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: text)
    assert has_none_since(since, kernel_log.MARKERS) is expected


@pytest.mark.parametrize(('rate', 'end', 'expected', 'sizes'), [
    (1, b'noise', True, [1 << 16]),
    (1, b'table full', False, [1 << 16]),
    # a gateway that logs packets writes 64 KiB within a minute
    (10, b'noise', True, [1 << 16, 1 << 18]),
    (10, b'table full', False, [1 << 16, 1 << 18]),
    (30, b'noise', False, [1 << 16, 1 << 18]),
    # all of a short log
    (0, b'noise', False, [1 << 16]),
])
def test_a_longer_tail_where_the_first_one_is_too_young(
        monkeypatch: pytest.MonkeyPatch, rate: int, end: bytes, expected: bool, sizes: list[int]) -> None:
    asked: list[int] = []

    def tail(size: int) -> bytes:
        asked.append(size)
        lines = [b'<4>[%5d.000000] %s\n' % (9000 - k // (rate or 1), b'n' * 61)
                 for k in range(size // 80 if rate else 9)]
        return b''.join(reversed(lines)) + b'<4>[ 9000.000000] %s\n' % end

    monkeypatch.setattr(syslog_call, 'read_tail', tail)
    assert has_none_since(8880.0, kernel_log.MARKERS) is expected
    assert asked == sizes


def long_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tail: bytes, number: int = 4000,
             lost: int = 1) -> list[int]:
    """A device with so many records, 1 s apart, the last of them of a full table; counts the reads.

    lost: how many of this boot the ring no longer has.
    """
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'device'))
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: tail)
    reads: list[int] = []

    def read(_handle: int, _size: int) -> bytes:
        reads.append(len(reads))
        if len(reads) > number:
            raise BlockingIOError
        text = 'nf_conntrack: table full, dropping packet' if len(reads) == number else 'noise'
        return b'4,%d,%d,-;%s\n' % (len(reads) - 1 + lost, len(reads) * 1_000_000, text.encode())
    monkeypatch.setattr(kernel_log.os, 'read', read)
    return reads


@pytest.mark.parametrize(('lost', 'read', 'since'), [(0, kernel_log.LONG_LOG, BOOT), (1, kernel_log.FULL_RING, 1.0)])
def test_a_long_log_without_news_is_not_read_to_its_end(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lost: int, read: int, since: float) -> None:
    """10,000 records to find nothing took more than all the rest of a check; a full ring is known to be long."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n<6>[ 4000.000000] noise\n', lost=lost)
    log = kernel_log.read_records(kernel_log.DEVICE, 3700.0)
    assert log == KernelLog(kernel_log.DEVICE, complete_since=since)
    assert len(reads) == read
    # which record is the newest is not known then: what is remembered stays as it is
    assert memory_of(log, 4000.0, 3600.0) is None


@pytest.mark.parametrize(('ring', 'interval', 'all_read'), [(190, 120, 12), (250, 120, 6), (400, 120, 6),
                                                              (4000, 120, 0), (190, 60, 6), (250, 170, 12)])
def test_a_ring_that_turns_over_has_no_gap_between_two_runs(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ring: int, interval: int, all_read: int) -> None:
    """What a run found to be empty it does not remember: the next one must still have it, or this one reads it all."""
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'device'))
    memory, now, position, reads = None, 10_000, 0, 0

    def read(_handle: int, _size: int) -> bytes:
        nonlocal position
        position += 1
        if position > ring:
            raise BlockingIOError
        stamp = now - ring + position
        return b'4,%d,%d000000,-;noise\n' % (stamp, stamp)

    monkeypatch.setattr(kernel_log.os, 'read', read)
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: b'<4>[%5d.000000] noise\n' % (now - ring + 1))
    for _run in range(12):
        position = 0
        log = kernel_log.read_records(kernel_log.DEVICE, now - 300, Instant(1.8e9, now, now), memory)
        assert isinstance(log, KernelLog)
        assert memory is None or log.complete_since <= max(now - 300, 10_000 - ring + 1)
        reads += position > 1
        memory = memory_of(log, now, 3600.0) or memory
        now += interval
    assert reads == all_read


def test_what_was_not_read_since_the_last_run_is_not_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The log's clock may be behind: the tail must go back to the last run, on its own clock."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n')
    now = Instant(1.8e9, 5000.0, 5000.0)
    log = kernel_log.read_records(kernel_log.DEVICE, 4700.0, now, LogMemory(3900, 4650.0, 1740.0, BOOT))
    assert isinstance(log, KernelLog)
    assert len(reads) == 4001
    assert [line.stamp for line in log.table_full] == [5000.0]


def test_what_the_last_run_has_read_is_no_news(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line of the last five minutes that is remembered does not have the whole log read again and again."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n<4>[ 4000.000000] table full\n')
    memory = LogMemory(4000, 4100.0, 0.0, BOOT, table_full=(LogLine(4000.0),))
    log = kernel_log.read_records(kernel_log.DEVICE, 3900.0, Instant(1.8e9, 4160.0, 4160.0), memory)
    assert isinstance(log, KernelLog)
    assert (len(reads), log.sequence, log.table_full) == (1, None, (LogLine(4000.0),))


@pytest.mark.parametrize('wrong', [
    {'read': 4100.5}, {'offset': -1e9}, {'offset': float('nan')}, {'table_full': (LogLine(4050.5),)},
    {'suppressed': (Suppressed(float('inf'), 7),)}])
def test_a_memory_of_the_future_hides_nothing(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Of a damaged history: the rest of the log would be taken for old, and not be read until the next boot."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n<4>[ 4000.000000] table full\n')
    memory = LogMemory(3998, 4050.0, 0.0, BOOT)._replace(**wrong)
    log = kernel_log.read_records(kernel_log.DEVICE, 3900.0, Instant(1.8e9, 4100.0, 4100.0), memory)
    assert isinstance(log, KernelLog)
    assert (len(reads), log.table_full) == (4001, (LogLine(4000.0),))


def test_where_there_was_news_just_now_the_tail_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reads = long_log(monkeypatch, tmp_path, b'')
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: pytest.fail('it has news: see what is remembered'))
    memory = LogMemory(3999, 4050.0, 0.0, BOOT, suppressed=(Suppressed(4000.0, 7),))
    log = kernel_log.read_records(kernel_log.DEVICE, 3900.0, Instant(1.8e9, 4060.0, 4060.0), memory)
    assert isinstance(log, KernelLog)
    assert (len(reads), log.sequence, log.suppressed) == (4001, 4000, (Suppressed(4000.0, 7),))
    assert log.table_full == (LogLine(4060.0),)  # the log has a clock of its own: as young as it may be


@pytest.mark.parametrize('tail', [
    b'<6>[ 3000.000000] noise\n<4>[ 4000.000000] nf_conntrack: table full, dropping packet\n',
    b'<6>[ 3690.000000] noise\n',
    b'',
], ids=['news', 'too short', 'no call'])
def test_a_long_log_is_read_whenever_there_may_be_news(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tail: bytes) -> None:
    reads = long_log(monkeypatch, tmp_path, tail)
    log = kernel_log.read_records(kernel_log.DEVICE, 3700.0)
    assert isinstance(log, KernelLog)
    assert [line.stamp for line in log.table_full] == [4000.0]
    assert len(reads) == 4001


def test_the_tail_of_another_log_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n')
    monkeypatch.setattr(kernel_log, 'DEVICE', '/dev/kmsg')
    log = kernel_log.read_records(str(tmp_path / 'device'), 3700.0)
    assert isinstance(log, KernelLog)
    assert len(log.table_full) == 1


def test_the_call_is_made_for_real() -> None:
    """As root at least: the text begins with a whole line."""
    text = read_tail(1 << 16)
    if os.geteuid() and not text:
        pytest.skip('kernel.dmesg_restrict')
    assert text[:1] == b'<'
    assert len(text) <= 1 << 16
    assert text.endswith(b'\n')


def test_a_program_that_stays_reads_only_what_is_new(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And forgets what is older than the look-back; a missed record is said for as long as it matters."""
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'device'))
    # a pipe has no end to go to
    monkeypatch.setattr(kernel_log.os, 'lseek', lambda *_: 0)
    full = b'4,1,%d000000,-;nf_conntrack: table full, dropping packet\n'
    left: list[bytes | None] = [full % 900, full % 990]
    reads: list[int] = []

    def read(_handle: int, _size: int) -> bytes:
        reads.append(1)
        if not left:
            raise BlockingIOError
        record = left.pop(0)
        if record is None:
            raise BrokenPipeError
        return record
    monkeypatch.setattr(kernel_log.os, 'read', read)
    now = [1000.0]
    host = Host('/proc', lambda: Instant(1e9, now[0], now[0]))
    kept = FollowedLog()

    def stamps() -> tuple[list[float], bool, int]:
        reads.clear()
        log = kept.read(host, 'kmsg', 300.0)
        assert isinstance(log, KernelLog)
        return [line.stamp for line in log.table_full], log.overrun, len(reads)
    assert stamps() == ([900, 990], False, 3)
    now[0] = 1100.0
    # what came between opening and reading comes twice
    left[:] = [full % 990, full % 1050]
    assert stamps() == ([900, 990, 1050], False, 3)
    now[0] = 1210.0
    left[:] = [None, full % 1200]
    assert stamps() == ([990, 1050, 1200], True, 3)
    now[0] = 1511.0
    assert stamps() == ([], False, 1)
    kept.close()


def test_what_is_kept_begins_at_the_end(tmp_path):
    (tmp_path / 'log').write_text('a line\n')
    handle = followed_log._open_at_end(str(tmp_path / 'log'))
    assert os.lseek(handle, 0, os.SEEK_CUR) == len('a line\n')
    os.close(handle)
    assert followed_log._open_at_end(str(tmp_path / 'none')) is None


FULL = 'nf_conntrack: nf_conntrack: table full, dropping packet'


def read_at(path: Path, records: list[tuple[int, float, str]], monotonic: float = 600.0, since: float = 300.0,
            memory: LogMemory | None = None) -> KernelLog:
    path.write_text(''.join(f'4,{number},{stamp * 1e6:.0f},-;{text}\n' for number, stamp, text in records))
    found = kernel_log.read_records(str(path), since, Instant(1e9, monotonic, monotonic), memory)
    assert isinstance(found, KernelLog)
    return found


def test_a_clock_of_the_log_that_is_ahead(tmp_path: Path) -> None:
    found = read_at(tmp_path / 'log', [(5, 500.0, 'x'), (6, 606.0, FULL), (7, 610.0, 'y')])
    assert (found.offset, found.complete_since, found.sequence) == (-10.0, 490.0, 7)
    assert found.table_full == (LogLine(596.0),)
    # the first record of the boot is there: it goes back to the beginning
    assert read_at(tmp_path / 'log', [(0, 500.0, 'x'), (1, 610.0, FULL)]).complete_since == BOOT


REMEMBERED = LogMemory(7, 550.0, -10.0, 200.0, True, (LogLine(299.9), LogLine(300.0), LogLine(540.0, 5)),
                       (Suppressed(299.9, 1), Suppressed(310.0, 2)))


def test_what_was_read_before_is_not_read_again(tmp_path: Path) -> None:
    records = [(6, 500.0, FULL), (7, 545.0, FULL), (8, 562.0, FULL), (9, 605.0, f'{FULL[:-17]} in netns 5{FULL[-17:]}')]
    found = read_at(tmp_path / 'log', records, memory=REMEMBERED)
    assert found.table_full == (LogLine(300.0), LogLine(540.0, 5), LogLine(552.0), LogLine(595.0, 5))
    assert found.suppressed == (Suppressed(310.0, 2),)
    assert (found.offset, found.sequence, found.complete_since, found.names_namespaces) == (-10.0, 9, 200.0, True)
    # records are missing between what was read and what is there
    assert read_at(tmp_path / 'log', records[2:], memory=REMEMBERED).complete_since == 200.0
    assert read_at(tmp_path / 'log', records[3:], memory=REMEMBERED).complete_since == 595.0
    # no line is older than that run nor younger than now, whatever the log's clock says
    early = read_at(tmp_path / 'log', [(8, 556.0, FULL), (9, 700.0, FULL)], memory=REMEMBERED)
    assert [line.stamp for line in early.table_full[2:]] == [550.0, 600.0]


def test_another_log_under_the_same_name(tmp_path: Path) -> None:
    found = read_at(tmp_path / 'log', [(3, 500.0, FULL)], memory=REMEMBERED)
    assert (found.table_full, found.offset, found.complete_since) == ((LogLine(500.0),), 0.0, 500.0)
    assert not found.names_namespaces
    # the same number is the same log
    assert read_at(tmp_path / 'log', [(7, 500.0, FULL)], memory=REMEMBERED).table_full == REMEMBERED.table_full[1:]


@pytest.mark.parametrize(('choice', 'source'), [
    ('off', ''), ('journal', ''), ('auto', '/dev/kmsg'), ('kmsg', '/dev/kmsg'), ('/var/log/../log/x', '/var/log/x')])
def test_which_source_is_remembered(choice: str, source: str) -> None:
    assert kernel_log.remembered_source(choice) == source
