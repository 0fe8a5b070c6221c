"""Kernel log records: every historic form, from a device, a file and the journal."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from check_conntrack_lib.deadline import OutOfTime
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import BOOT, Instant, KernelLog, LogLine, LogMemory, Missing, Suppressed
from check_conntrack_lib.readers import followed_log, journal, kernel_log
from check_conntrack_lib.readers.followed_log import FollowedLog
from check_conntrack_lib.readers.journal import parse_journal_line
from check_conntrack_lib.readers.kernel_lines import KernelLine, parse_record, summarize

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
