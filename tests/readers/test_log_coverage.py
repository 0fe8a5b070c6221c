"""A kernel log says what it covers: whose log it is, how far back it goes, and what an earlier run has read of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_kernel_log import journalctl

from check_conntrack_lib.analysis.losses import log_evidence
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import BOOT, Instant, KernelLog, LogLine, LogMemory, Missing, Suppressed
from check_conntrack_lib.readers import followed_log, kernel_log, log_files
from check_conntrack_lib.readers.log_clock import completed, learn_offset, memory_of

NOW = Instant(1_795_000_000.0, 10_000.0, 10_000.0)
FULL = 'nf_conntrack: nf_conntrack: table full, dropping packet'


def record(sequence: int, stamp: float, text: str = 'br0: port 1(veth0) entered disabled state') -> str:
    return f'4,{sequence},{stamp * 1e6:.0f},-;{text}\n'


def read(path: Path, span: float = 300, memory: LogMemory | None = None, at: Instant = NOW) -> KernelLog:
    log = kernel_log.read(Host(clock=lambda: at), str(path), span, memory)
    assert isinstance(log, KernelLog), log
    return log


@pytest.mark.parametrize('other', ['/dev/null', '/dev/zero', '/dev/tty'])
def test_another_device_under_the_name_is_not_the_kernels_log(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []
    true_open = os.open

    def noted(path: str, how: int) -> int:
        opened.append((path, how))
        return true_open(path, how)

    monkeypatch.setattr(kernel_log, 'DEVICE', other)
    monkeypatch.setattr(kernel_log.os, 'open', noted)
    log = kernel_log.read(Host(), 'kmsg', 300)
    assert isinstance(log, Missing)
    assert log.why == f"{other} is not the kernel's log"
    assert followed_log.FollowedLog().read(Host(), 'kmsg', 300) == log
    # a terminal that is only opened may become this process's own: O_PATH does not open it
    assert set(opened) == {(other, os.O_PATH)}


def test_a_file_in_the_place_of_the_device_is_not_the_kernels_log(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'kmsg').write_text(record(0, 1))
    monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'kmsg'))
    log = kernel_log.read(Host(), 'kmsg', 300)
    assert isinstance(log, Missing)
    assert "is not the kernel's log" in log.why


def test_the_journal_serves_where_the_device_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journalctl(tmp_path, 'true', monkeypatch)
    monkeypatch.setattr(kernel_log, 'DEVICE', '/dev/null')
    log = kernel_log.read(Host(), 'auto', 300)
    assert isinstance(log, KernelLog)
    assert (log.source, log.complete_since) == ('journal', BOOT)


def test_a_journal_without_kernel_messages_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journalctl(tmp_path, 'true', monkeypatch, first='true')
    log = kernel_log.read(Host(), 'journal', 300)
    assert isinstance(log, Missing)
    assert log.why == 'the journal has no kernel messages'


def test_a_journal_that_was_rotated_goes_back_to_its_first_message(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journalctl(tmp_path, 'true', monkeypatch, first=f"echo '{NOW.wall - 70:.6f} gw1 kernel: eth0: link up'")
    log = kernel_log.read(Host(clock=lambda: NOW), 'journal', 300)
    assert isinstance(log, KernelLog)
    assert log.complete_since == pytest.approx(NOW.monotonic - 70)


def test_a_ring_that_turned_over_covers_what_is_left(tmp_path: Path) -> None:
    (tmp_path / 'log').write_text(record(1249, 9940) + record(1250, 9990))
    log = read(tmp_path / 'log')
    assert log.complete_since == 9940
    found = log_evidence(log, NOW.monotonic, 300, 1, True)
    assert (found.partial, found.can_hide, found.covered) == (True, True, 60)
    # who has dropped nothing had no line of its own
    assert not log_evidence(log, NOW.monotonic, 300, 1, True, without_drops=400).can_hide


def test_the_first_record_of_the_boot_covers_all(tmp_path: Path) -> None:
    (tmp_path / 'log').write_text(record(0, 9940) + record(1, 9990))
    assert read(tmp_path / 'log').complete_since == BOOT


def test_the_journal_has_what_the_ring_has_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Host().clock()
    newer, older = (f'{now.wall - age:.6f} gw1 kernel: {FULL}' for age in (5, 200))
    journalctl(tmp_path, f"echo '{newer}'; echo '{older}'", monkeypatch)
    (tmp_path / 'ring').write_text(record(1249, now.monotonic - 60) + record(1250, now.monotonic - 5, FULL))
    monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'ring'))
    monkeypatch.setattr(kernel_log, 'is_kernel_log', lambda _status, _path: True)
    log = kernel_log.read(Host(), 'auto', 300)
    assert isinstance(log, KernelLog)
    # the newer line is in both, and counted once
    assert [round(now.monotonic - line.stamp) for line in log.table_full] == [200, 5]
    assert log.complete_since == BOOT


def test_what_was_read_before_is_remembered(tmp_path: Path) -> None:
    (tmp_path / 'log').write_text(record(0, 10, 'Linux version 6.18') + record(7, 9950, FULL))
    memory = memory_of(read(tmp_path / 'log'), NOW.monotonic, 3600)
    later = Instant(NOW.wall + 60, 10_060, 10_060)
    (tmp_path / 'log').write_text(record(8, 10_050) + record(9, 10_055, FULL))
    log = read(tmp_path / 'log', memory=memory, at=later)
    assert [line.stamp for line in log.table_full] == [9950, 10_055]
    assert log.complete_since == BOOT
    # a record between the two runs was overwritten: the log goes back to what is left
    (tmp_path / 'log').write_text(record(12, 10_050) + record(13, 10_055, FULL))
    log = read(tmp_path / 'log', memory=memory, at=later)
    assert log.complete_since == 10_050
    assert len(log.table_full) == 2


def test_a_record_is_new_by_its_number_whatever_its_stamp_says(tmp_path: Path) -> None:
    behind = 1740.0
    (tmp_path / 'log').write_text(record(0, 0, 'Linux version 6.18') + record(119, NOW.monotonic - behind - 60))
    memory = memory_of(read(tmp_path / 'log'), NOW.monotonic, 3600)
    later = Instant(NOW.wall + 300, 10_300, 10_300)
    with (tmp_path / 'log').open('a') as file:
        file.write(record(120, later.monotonic - behind - 20, FULL))
    log = read(tmp_path / 'log', memory=memory, at=later)
    assert [NOW.monotonic <= line.stamp <= later.monotonic for line in log.table_full] == [True]
    # and the same record is not new a second time
    again = Instant(NOW.wall + 900, 10_900, 10_900)
    assert read(tmp_path / 'log', memory=memory_of(log, later.monotonic, 3600), at=again).table_full == ()


def test_a_stamp_later_than_now_shows_the_offset(tmp_path: Path) -> None:
    (tmp_path / 'log').write_text(record(5, NOW.monotonic + 1700, FULL) + record(6, NOW.monotonic + 1740))
    log = read(tmp_path / 'log')
    assert log.offset == -1740
    assert [line.stamp for line in log.table_full] == [NOW.monotonic - 40]


@pytest.mark.parametrize(('known', 'fresh', 'newest', 'learnt'), [
    (0.0, [], 9_990, 0.0),
    (0.0, [9_700], 9_990, 10.0),     # written after 9,900: the clock is behind by more than 200, or not at all known
    (250.0, [9_700], 9_700, 250.0),  # between what is possible: kept
    (900.0, [9_700], 9_700, 300.0),  # later than now
])
def test_the_offset_is_learnt_between_two_runs(known: float, fresh: list[float], newest: float,
                                               learnt: float) -> None:
    memory = LogMemory(5, 9_900.0, known, BOOT)
    assert learn_offset(known, memory, 10_000.0, 6 if fresh else 5, newest, fresh) == learnt


def test_another_log_under_the_same_name_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / 'log').write_text(record(3, 9_990, FULL))
    assert len(read(tmp_path / 'log', memory=LogMemory(500, 9_999.0, 0.0, BOOT)).table_full) == 1


def test_of_what_is_remembered_the_window_counts(tmp_path: Path) -> None:
    stamps = (NOW.monotonic - 301, NOW.monotonic - 300, NOW.monotonic - 20)
    memory = LogMemory(2, 9_999.0, 0.0, BOOT, table_full=tuple(LogLine(at) for at in stamps),
                       suppressed=tuple(Suppressed(at, 7) for at in stamps))
    (tmp_path / 'log').write_text(record(3, 9_999, 'x'))
    log = read(tmp_path / 'log', memory=memory)
    assert [one.stamp for one in log.table_full] == list(stamps[1:])
    assert [one.stamp for one in log.suppressed] == list(stamps[1:])


@pytest.mark.parametrize('line', [
    f'[ 9990.962423] {FULL}', f'<4>[ 9990.962423] {FULL}', f'kern  :warn  : [ 9990.962423] {FULL}',
    f'[ 9990.962423] gw1 kernel: {FULL}', f'{NOW.wall - 10:.6f} gw1 kernel: {FULL}',
    f'Nov 18 12:26:30 gw1 kernel: [  12.5] {FULL}', f'Nov 18 12:26:30 gw1 kernel: {FULL}.',
    f'2026-11-18T12:26:30.5+00:00 gw1 kernel: {FULL}', f'2026-11-18T13:26:30+0100 gw1 kernel: {FULL}',
    f'2026-11-18T12:26:30,962423+00:00 {FULL}', f'[Wed Nov 18 12:26:30 2026] {FULL}',
])
def test_files_of_a_logger(line: str, tmp_path: Path) -> None:
    now = Instant(1_795_004_800.0, NOW.uptime, NOW.monotonic) if ' 12:26:30' in line or 'T1' in line else NOW
    (tmp_path / 'log').write_text(line + '\n')
    log = kernel_log.read(Host(clock=lambda: now), str(tmp_path / 'log'), 300)
    assert isinstance(log, KernelLog), log
    assert [round(now.monotonic - full.stamp) for full in log.table_full] in ([9], [10])
    assert log.complete_since == log.table_full[0].stamp


@pytest.mark.parametrize('text', ['', 'hello\nworld\n', 'Feb 31 25:00:00 gw1 kernel: x\n',
                                  '2026-11-18T12:26:30+00:00 gw1 sshd[1]: kernel: x\n'])
def test_a_file_without_a_kernel_line_is_not_checked(text: str, tmp_path: Path) -> None:
    (tmp_path / 'log').write_text(text)
    assert isinstance(kernel_log.read(Host(), str(tmp_path / 'log'), 300), Missing)


def test_no_line_of_another_program_is_the_kernels() -> None:
    assert log_files.parse_line(f'Nov 18 12:26:30 gw1 evil: {FULL}', NOW) is None
    assert log_files.parse_line(f'2026-11-18T12:26:30.5+00:00 gw1 evil: {FULL}', NOW) is None


def test_the_file_that_takes_lines_away_is_never_read() -> None:
    if not os.path.exists('/proc/kmsg'):
        pytest.skip('this kernel has no /proc/kmsg')
    log = kernel_log.read(Host(), '/proc/kmsg', 300)
    assert isinstance(log, Missing)
    assert log.why == '/proc/kmsg is not read'


def test_root_without_the_capability_is_not_told_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(kernel_log, 'is_kernel_log', lambda _status, _path: True)
    monkeypatch.setattr(kernel_log, 'DEVICE', '/dev/null')
    monkeypatch.setattr(kernel_log.os, 'open', refused)
    for user, why in ((0, 'needs CAP_SYSLOG'), (1000, 'needs root')):
        monkeypatch.setattr(kernel_log.os, 'geteuid', lambda user=user: user)
        log = kernel_log.read(Host(), 'kmsg', 300)
        assert isinstance(log, Missing)
        assert log.why == why


@pytest.mark.parametrize(('device', 'journal'), [(True, False), (False, True), (False, False)])
def test_one_source_that_names_namespaces_is_enough(device: bool, journal: bool) -> None:
    log = KernelLog('device', names_namespaces=device, complete_since=9_000.0)
    assert completed(log, KernelLog('journal', names_namespaces=journal)).names_namespaces is (device or journal)
