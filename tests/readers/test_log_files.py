"""Moments in files of the kernel log: every form, every zone, and what is no moment."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator

import pytest

from check_conntrack_lib.model import Instant
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
