"""Moments in files of the kernel log: every form, every zone, and what is no moment."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator

import pytest

from check_conntrack_lib.model import Instant, KernelLog, Missing
from check_conntrack_lib.readers import kernel_lines, log_files

#: 2026-11-25 23:40:00 UTC
NOW = Instant(calendar.timegm((2026, 11, 25, 23, 40, 0)), 5000.0, 4000.0)


def seconds_ago(line: str, now: Instant = NOW) -> float | None:
    found = log_files.parse_line(line, now)
    return None if found is None else now.monotonic - found.stamp


@pytest.mark.parametrize(('zone', 'time_there'), [
    ('Z', '2026-11-25T23:30:00'), ('+00:00', '2026-11-25T23:30:00'), ('-00:00', '2026-11-25T23:30:00'),
    ('+01:00', '2026-11-26T00:30:00'), ('+0530', '2026-11-26T05:00:00'), ('+14:00', '2026-11-26T13:30:00'),
    ('-05:00', '2026-11-25T18:30:00'), ('-0800', '2026-11-25T15:30:00'), ('-03:30', '2026-11-25T20:00:00'),
    ('-00:30', '2026-11-25T23:00:00')])
def test_every_zone_is_the_same_moment(zone: str, time_there: str) -> None:
    assert seconds_ago(f'{time_there}{zone} gw1 kernel: text') == 600


@pytest.fixture
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv('TZ', 'CET-1CEST,M3.5.0,M10.5.0/3')
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures('_berlin')
@pytest.mark.parametrize(('line', 'ago'), [
    # dates without a zone are this host's
    ('[Thu Nov 26 00:30:00 2026] text', 600), ('Nov 26 00:30:00 gw1 kernel: text', 600),
    ('2026-11-26T00:30:00.500000 gw1 kernel: text', 599.5), ('2026-11-26 00:30:00 kernel: text', 600),
    # in summer time
    ('[Sun Jul 26 01:40:00 2026] text', 123 * 86400),
])
def test_dates_without_a_zone(line: str, ago: float) -> None:
    assert seconds_ago(line) == ago


def test_the_other_forms() -> None:
    assert seconds_ago('[ 3400.250000] text') == 599.75
    assert seconds_ago(f'{NOW.wall - 600:.6f} gw1 kernel: text') == 600
    assert seconds_ago('2026-11-25T23:30:00,250000+00:00 text') == 599.75


@pytest.mark.parametrize(('date', 'year'), [('Nov 25', 2026), ('Nov 26', 2026), ('Nov 27', 2025), ('Dec 31', 2025)])
def test_a_date_without_a_year_is_the_last_of_its_kind(date: str, year: int) -> None:
    then = calendar.timegm(time.strptime(f'{year} {date} 23:30:00', '%Y %b %d %H:%M:%S'))
    assert seconds_ago(f'{date} 23:30:00 gw1 kernel: text') == NOW.wall - then


def test_a_day_ahead_is_a_clock_that_was_set() -> None:
    assert seconds_ago('Nov 26 23:40:00 gw1 kernel: text') == -86400
    assert seconds_ago('Nov 26 23:40:01 gw1 kernel: text') == 364 * 86400 - 1


@pytest.mark.parametrize('moment', ['2026-00-25T23:30:00', '2026-13-25T23:30:00', '2026-11-00T23:30:00',
                                    '2026-11-32T23:30:00', '2026-11-25T24:30:00', '2026-11-25T23:60:00',
                                    '2026-11-25T23:30:61'])
def test_no_moment(moment: str) -> None:
    assert seconds_ago(f'{moment}+00:00 gw1 kernel: text') is None


@pytest.mark.parametrize('moment', ['2026-01-31T00:00:00', '2026-12-01T23:59:60'])
def test_the_first_and_the_last_of_each(moment: str) -> None:
    assert seconds_ago(f'{moment}+00:00 gw1 kernel: text') is not None
    assert seconds_ago(f'[Mon {time.strftime("%b", (2026, int(moment[5:7]), 1, 0, 0, 0, 0, 0, 0))} 01 00:00:00 2026] '
                       'text') is not None
    assert seconds_ago('[Mon Foo 01 00:00:00 2026] text') is None


@pytest.mark.parametrize(('text', 'matters'), [
    (b'nf_conntrack: table full, dropping packet', True), (b'net_ratelimit: 5 callbacks suppressed', True),
    (b'eth0: link is up', False), (b'', False)])
def test_only_what_may_matter_is_parsed(text: bytes, matters: bool) -> None:
    assert kernel_lines.may_matter(text) is matters


FULL = 'nf_conntrack: nf_conntrack: table full, dropping packet'


@pytest.mark.parametrize('line', [
    # CONFIG_PRINTK_CALLER: who logged it
    '[ 3400.000000][  T123] {}', '[ 3400.000000] [    C1] {}', '<4>[ 3400.000000][  T123] {}',
    'Nov 25 23:30:00 gw1 kernel: [ 3400.000000][  T123] {}', '2026-11-25T23:30:00+00:00 gw1 kernel: [T123] {}',
    # RFC 5424
    '<4>1 2026-11-25T23:30:00.0Z gw1 kernel - - - {}',
    '2026-11-25T23:30:00Z gw1 kernel - - [a b="c"] [ 3400.000000] {}',
    # busybox, OpenWrt
    'Nov 25 23:30:00 gw1 kern.warn kernel: [ 3400.000000] {}',
    'Wed Nov 25 23:30:00 2026 kern.warn kernel: [ 3400.000000] {}',
    # journalctl -o short-precise, short-full, short-delta; dmesg -d
    'Nov 25 23:30:00.000000 gw1 kernel: {}', 'Wed 2026-11-25 23:30:00 UTC gw1 kernel: {}',
    '[ 3400.000000 <    0.000001 >] gw1 kernel: {}', '[ 3400.000000 <    0.000001>] {}',
    # rsyslog with $RepeatedMsgReduction
    'Nov 25 23:30:00 gw1 kernel: message repeated 30 times: [ [ 3400.000000] {}]',
    'Nov 25 23:30:00 gw1 kernel: message repeated 30 times: [ {}]',
    '<4>Nov 25 23:30:00 gw1 kernel: {}', 'Nov 25 23:30:00 gw1 kernel:[ 3400.000000] {}',
    'Nov 25 23:30:00 gw1 kernel:  {} '])
def test_what_loggers_put_around_the_text(line: str) -> None:
    found = log_files.parse_line(line.format(FULL), NOW)
    assert found is not None
    assert (NOW.monotonic - found.stamp, found.text) == (600, FULL)


@pytest.mark.usefixtures('_berlin')
@pytest.mark.parametrize(('now', 'line', 'ago'), [
    # summer time ends at 01:00 UTC: 02:39:50 comes twice, and 02:59:50 was there only once at 01:10
    ((2026, 10, 25, 0, 40), 'Oct 25 02:39:50', 10), ((2026, 10, 25, 1, 40), 'Oct 25 02:39:50', 10),
    ((2026, 10, 25, 1, 10), 'Oct 25 02:59:50', 610), ((2026, 3, 29, 1, 0), 'Mar 29 01:59:50', 10),
    ((2026, 10, 25, 1, 40), 'Sun 2026-10-25 02:39:50 CET', 10),
    ((2026, 12, 31, 23, 0), 'Dec 31 23:59:50', 10), ((2026, 12, 31, 22, 59), 'Jan  1 00:00:05', -65)])
def test_the_hour_that_comes_twice_and_the_turn_of_the_year(now: tuple[int, ...], line: str, ago: float) -> None:
    assert seconds_ago(f'{line} gw1 kernel: text', Instant(calendar.timegm((*now, 0)), 5e6, 4e6)) == ago


def read(*lines: str) -> KernelLog | Missing:
    return log_files.read_lines([line.format(FULL).encode() for line in lines], 'file', NOW.monotonic - 300, NOW)


def test_a_line_that_syslog_says_was_repeated() -> None:
    log = read('Nov 25 23:20:00 gw1 kernel: {}', 'Nov 25 23:39:00 gw1 last message repeated 30 times',
               'Nov 25 23:39:30 gw1 kernel: last message repeated 7 times', 'Nov 25 23:39:40 gw1 sshd[7]: hello',
               'Nov 25 23:39:50 gw1 last message repeated 2 times')
    assert isinstance(log, KernelLog)
    assert [NOW.monotonic - line.stamp for line in log.table_full] == [60, 30]


@pytest.mark.parametrize('line', [
    '{}', '[Nov25 23:39] {}', '2026/11/25 23:39:50 gw1 kernel: {}', 'Nov 25 23:39:50 [kernel] {}',
    'Nov 25 23:39:50 gw1 kernel[0]: {}', 'Nov 25 23:39:50 gw1 kernel: kernel: {}',
    '{{"_TRANSPORT": "kernel", "MESSAGE": "{}"}}'])
def test_table_full_lines_that_nothing_here_reads_are_not_checked(line: str) -> None:
    log = read('Nov 25 23:20:00 gw1 kernel: eth0: link is up', line)
    assert isinstance(log, Missing)
    assert log.why == 'file: "table full" lines in a form that is not known'
    # unless they are old, or others tell enough
    assert isinstance(read('Nov 25 23:20:00 gw1 kernel: x', line, 'Nov 25 23:30:00 gw1 kernel: x'), KernelLog)
    assert isinstance(read('Nov 25 23:39:40 gw1 kernel: {}', line), KernelLog)


@pytest.mark.parametrize('line', ['Nov 25 23:39:50 gw1 bob: {}', '2026-11-25T23:39:50Z gw1 bob[7]: kernel: x {}',
                                  'Nov 25 23:39:50 gw1 sudo: root : COMMAND=/bin/echo {}'])
def test_another_programs_line_with_these_words_is_nothing(line: str) -> None:
    log = read('Nov 25 23:20:00 gw1 kernel: eth0: link is up', line)
    assert isinstance(log, KernelLog)
    assert not log.table_full
