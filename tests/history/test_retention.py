"""The upkeep, step by step on a file in memory: what each run deletes, and what stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import pytest
from recorder_samples import DAY, sample

from check_conntrack_lib.history import retention
from check_conntrack_lib.history.codec import counters_to_text
from check_conntrack_lib.history.database import SCHEMA
from check_conntrack_lib.history.retention import apply_retention, make_room
from check_conntrack_lib.model import Instant, Sample

NOW = Instant(1e9 + 100 * DAY, 100 * DAY, 0.0)
MOST_SECONDS = retention.MOST_SECONDS


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    monkeypatch.setattr(retention, 'MOST_SECONDS', 3600)
    made = sqlite3.connect(':memory:', isolation_level=None)
    made.executescript(SCHEMA)
    made.execute("INSERT INTO boot VALUES (1, 'b'), (2, 'other')")
    return made


def put(database: sqlite3.Connection, samples: Iterable[Sample], boot: int = 1) -> None:
    database.executemany('INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?)', [
        (one.at.wall, boot, one.netns, one.at.uptime, one.entries, one.maximum, one.buckets,
         counters_to_text(one.counters)) for one in samples])


def ages(database: sqlite3.Connection, table: str = 'sample', where: str = 'true') -> list[float]:
    """Seconds before NOW, by the clock of the boot."""
    return [NOW.uptime - uptime for uptime, in
            database.execute(f'SELECT uptime FROM {table} WHERE {where} ORDER BY uptime DESC')]


def aged(seconds: float, entries: int = 50, drop: int = 0, netns: int = 1) -> Sample:
    return sample(NOW.uptime - seconds, entries, drop, netns=netns)


def done(database: sqlite3.Connection) -> list[int]:
    """Parts whose turn was now."""
    return [part for part, in database.execute('SELECT part FROM upkeep WHERE done = ? ORDER BY part', (NOW.wall,))]


def test_what_is_too_old_goes(database: sqlite3.Connection) -> None:
    put(database, [aged(14 * DAY + 1), aged(14 * DAY), aged(60)])
    # of this boot the age is that by uptime: the clock was set forward here, and back there
    put(database, [aged(0)._replace(at=Instant(NOW.wall - 20 * DAY, NOW.uptime - 14 * DAY + 700, 0.0))])
    put(database, [aged(5)._replace(at=Instant(NOW.wall - 14 * DAY - 1, NOW.uptime - 5, 0.0))], boot=2)
    apply_retention(database, NOW, 1, 14)
    assert ages(database) == [60, 14 * DAY - 700, 14 * DAY]
    assert database.execute('SELECT boot_id FROM boot').fetchall() == [('b',)], 'a boot without a row is dropped'


def counts(database: sqlite3.Connection) -> dict[int, int]:
    return dict(database.execute('SELECT boot, count(*) FROM sample GROUP BY boot'))


def test_a_clock_in_2100_erases_nothing(database: sqlite3.Connection) -> None:
    """The battery of a clock that is empty, or somebody's date: rows of earlier boots are not 74 years old."""
    hours = [3600.0 * k for k in range(100)]
    put(database, [sample(ago)._replace(at=Instant(NOW.wall - ago, ago, 0.0)) for ago in hours], boot=2)
    for minute in range(30):
        at = Instant(4.1e9 + 60 * minute, 60.0 * minute, 0.0)
        put(database, [sample(0)._replace(at=at)])
        apply_retention(database, at, 1, 14)
    assert counts(database) == {1: 30, 2: 100}
    # it is right again: what is dated 2100 stays as long as anything else
    at = Instant(NOW.wall + 3600, 3600.0, 0.0)
    put(database, [sample(0)._replace(at=at)])
    apply_retention(database, at, 1, 14)
    assert counts(database) == {1: 31, 2: 100}
    at = Instant(NOW.wall + 15 * DAY, 15 * DAY, 0.0)
    apply_retention(database, at, 1, 14)
    assert counts(database) == {}
    # the same of an earlier boot
    put(database, [sample(0)._replace(at=Instant(4.1e9, 5 * DAY, 0.0))], boot=2)
    put(database, [sample(0)._replace(at=Instant(4.1e9, DAY * 13.5, 0.0))])
    apply_retention(database, at._replace(wall=at.wall + 1200, uptime=14 * DAY - 1), 1, 14)
    assert counts(database) == {1: 1, 2: 1}
    apply_retention(database, at._replace(wall=at.wall + 2400, uptime=14 * DAY + 1), 1, 14)
    assert counts(database) == {1: 1}


def test_a_clock_that_stays_there_for_a_day_is_believed(database: sqlite3.Connection) -> None:
    put(database, [sample(0)._replace(at=Instant(NOW.wall, 5000.0, 0.0))], boot=2)
    for hour in range(50):
        at = Instant(4.1e9 + 3600 * hour, 3600.0 * hour, 0.0)
        put(database, [sample(0)._replace(at=at)])
        apply_retention(database, at, 1, 14)
        assert counts(database).get(2, 0) == (hour < 25), hour


def test_after_a_month_without_power_nothing_goes_at_once(database: sqlite3.Connection) -> None:
    put(database, [sample(0)._replace(at=Instant(NOW.wall - 30 * DAY, 5000.0, 0.0))], boot=2)
    apply_retention(database, NOW._replace(uptime=60.0), 1, 14)
    assert counts(database) == {2: 1}
    put(database, [sample(0)._replace(at=Instant(NOW.wall - 1.5 * DAY, 60.0, 0.0))])
    apply_retention(database, Instant(NOW.wall + 1200, 1.5 * DAY, 0.0), 1, 14)
    assert counts(database) == {1: 1}


def test_of_each_ten_minutes_of_before_the_fullest_stays(database: sqlite3.Connection) -> None:
    # uptimes of whole slots: 100 days are a multiple of 600 s
    put(database, [aged(DAY + 600 - k * 60, entries=50 + (k % 7) * 5 + 10 * (k == 4), drop=k) for k in range(20)])
    apply_retention(database, NOW, 1, 14)
    assert ages(database, where=f'uptime < {NOW.uptime - DAY}') == [DAY + 600 - 240]
    assert len(ages(database, where=f'uptime >= {NOW.uptime - DAY}')) == 10


def test_of_two_as_full_the_earlier_stays(database: sqlite3.Connection) -> None:
    put(database, [aged(DAY + 600, drop=1), aged(DAY + 300, drop=2)])
    apply_retention(database, NOW, 1, 14)
    assert ages(database) == [DAY + 600]


def test_of_each_hour_of_before_one_profile_stays(database: sqlite3.Connection) -> None:
    put(database, [aged(DAY + 3600)])
    for seconds in (DAY + 3600, DAY + 1800, DAY + 1, DAY, 60, 30):
        database.execute('INSERT INTO profile VALUES (?, 1, 1, ?, 1, ?)',
                         (NOW.wall - seconds, NOW.uptime - seconds, ''))
    apply_retention(database, NOW, 1, 14)
    assert ages(database, 'profile') == [30, 60, DAY, DAY + 3600]


@pytest.mark.parametrize(('entries', 'maximum', 'kept'), [(0, 100, 3), (1, 101, 3), (1, 100, 4), (5, 100, 4)])
def test_a_nearly_empty_table_that_does_not_change_says_nothing(database: sqlite3.Connection, entries: int,
                                                                maximum: int, kept: int) -> None:
    # an hour and a minute ago: between two that are the same
    put(database, [aged(seconds, entries)._replace(maximum=maximum) for seconds in (3720, 3660, 3599, 60)])
    apply_retention(database, NOW, 1, 14)
    assert len(ages(database)) == kept


@pytest.mark.parametrize('change', [{'entries': 1}, {'maximum': 2000}, {'buckets': 9}, {'counters': None}])
@pytest.mark.parametrize('place', [0, 2])
def test_a_change_before_or_behind_is_kept(database: sqlite3.Connection, change: dict[str, int], place: int) -> None:
    three = [aged(seconds, 0)._replace(maximum=1000) for seconds in (4000, 3900, 3800)]
    three[place] = three[place]._replace(**change)  # type: ignore[arg-type]
    put(database, three)
    apply_retention(database, NOW, 1, 14)
    assert len(ages(database)) == 3


def test_one_an_hour_is_kept(database: sqlite3.Connection) -> None:
    put(database, [aged(9000, 0), aged(9000 - 3600, 0), aged(60, 0)])
    apply_retention(database, NOW, 1, 14)
    assert len(ages(database)) == 3


@pytest.mark.parametrize(('oldest', 'others', 'parts'), [
    (600, 500, [3]), (599, 500, []), (1300, 1199, [3]), (1300, 1200, list(range(10))),
    # the clock was set back
    (-600, 0, [3]), (-599, 0, [])])
def test_one_part_a_run_and_more_after_a_pause(database: sqlite3.Connection, oldest: float, others: float,
                                               parts: list[int]) -> None:
    database.execute('UPDATE upkeep SET done = ?', (NOW.wall - others,))
    database.execute('UPDATE upkeep SET done = ? WHERE part = 3', (NOW.wall - oldest,))
    before = database.execute('SELECT part, done FROM upkeep').fetchall()
    apply_retention(database, NOW, 1, 14)
    after = database.execute('SELECT part, done FROM upkeep').fetchall()
    assert after == [(part, NOW.wall if part in parts else done) for part, done in before]


def test_no_further_part_is_begun_after_a_while(database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, 'MOST_SECONDS', MOST_SECONDS)
    clock = iter([0.0, 0.05, 0.051, 99.0])
    monkeypatch.setattr(retention.time, 'monotonic', lambda: next(clock))
    apply_retention(database, NOW, 1, 14)
    assert len(done(database)) == 2


def test_a_file_without_upkeep_is_none_of_ours(database: sqlite3.Connection) -> None:
    database.execute('DELETE FROM upkeep')
    with pytest.raises(ValueError, match='no upkeep'):
        apply_retention(database, NOW, 1, 14)


@pytest.mark.parametrize(('boot', 'left'), [(1, 5), (2, 0)])
def test_a_namespace_that_is_gone_is_dropped_a_little_at_a_time(database: sqlite3.Connection, boot: int,
                                                                left: int) -> None:
    database.execute('UPDATE upkeep SET done = ?', (NOW.wall,))
    put(database, [aged(2 * DAY + k, netns=7) for k in range(55)] + [aged(60, netns=7)] * 5, boot)
    database.execute('INSERT INTO gone VALUES (?, 7)', (boot,))
    database.execute('INSERT INTO profile VALUES (?, ?, 7, ?, 1, ?)',
                     (NOW.wall - 2 * DAY, boot, NOW.uptime - 2 * DAY, ''))
    apply_retention(database, NOW, 1, 14)
    assert len(ages(database)) == 10
    assert len(ages(database, 'profile')) == 1
    apply_retention(database, NOW, 1, 14)
    assert len(ages(database)) == left
    assert ages(database, 'profile') == []
    assert database.execute('SELECT * FROM gone').fetchall() == []
    apply_retention(database, NOW, 1, 14)
    assert len(ages(database)) == left


def size(database: sqlite3.Connection) -> int:
    pages, free, page = (database.execute(f'PRAGMA {name}').fetchone()[0]
                         for name in ('page_count', 'freelist_count', 'page_size'))
    return int((pages - free) * page)


def test_all_have_room(database: sqlite3.Connection) -> None:
    now = [sample(1, netns=k) for k in range(2001)]
    largest = size(database) * 8 // 7 + 1
    assert make_room(database, 1, now[:2000], largest) == (now[:2000], '')
    assert make_room(database, 1, now, largest) == (now[:2000], '2000 of 2001 namespaces are recorded')


def test_a_full_file_keeps_its_own_namespaces(database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, 'EVICTED_ROWS', 30)
    put(database, [aged(1000 + k, netns=k % 20) for k in range(100)])
    put(database, [aged(5000, netns=0)], boot=2)
    now = [sample(1, netns=k) for k in range(20)]
    largest = (size(database) - 1) * 8 // 7
    assert make_room(database, 1, now, largest) == (
        now[:8], 'full (0 MiB), the oldest samples of other namespaces make room; 8 of 20 namespaces are recorded')
    assert len(ages(database)) == 71
    assert len(ages(database, where='netns < 8 AND boot = 1')) == 40
    assert len(ages(database, where='netns >= 8')) == 31, 'the oldest are gone, of another boot, too'
    assert max(ages(database, where='netns >= 8')) < 1060
    assert make_room(database, 1, now, (3 << 20) - 1)[1] == ''
    monkeypatch.setattr(retention, 'NEARLY_FULL', 0)
    assert make_room(database, 1, now, 3 << 20)[1].startswith('full (3 MiB)')
