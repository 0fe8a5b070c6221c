"""What the history answers, question by question, on a file in memory: bounds of time, bases, cuts, points."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

import pytest
from recorder_samples import LOOK, sample

from check_conntrack_lib.analysis.losses import comparable, dropped_between, moved
from check_conntrack_lib.history import profiles, recent
from check_conntrack_lib.history.codec import counters_to_text
from check_conntrack_lib.history.database import SCHEMA
from check_conntrack_lib.history.profile_json import to_json
from check_conntrack_lib.history.profiles import EMPTY, Baseline, baseline_before
from check_conntrack_lib.history.queries import HistoryQuery, history_before
from check_conntrack_lib.history.recent import RecentQuery
from check_conntrack_lib.model import History, Missing, Point, Sample


@pytest.fixture
def database() -> sqlite3.Connection:
    made = sqlite3.connect(':memory:', isolation_level=None)
    made.executescript(SCHEMA)
    return made


def put(database: sqlite3.Connection, samples: Iterable[Sample]) -> None:
    for one in samples:
        database.execute('INSERT OR IGNORE INTO boot (boot_id) VALUES (?)', (one.boot_id,))
        database.execute('INSERT INTO sample SELECT ?, id, ?, ?, ?, ?, ?, ? FROM boot WHERE boot_id = ?',
                         (one.at.wall, one.netns, one.at.uptime, one.entries, one.maximum, one.buckets,
                          counters_to_text(one.counters), one.boot_id))


def put_profile(database: sqlite3.Connection, uptime: float, entries: int, quiet: bool = True, text: str = '') -> None:
    database.execute("INSERT INTO profile SELECT ?, id, 1, ?, ?, ? FROM boot WHERE boot_id = 'b'",
                     (1e9 + uptime, uptime, quiet, text or to_json(EMPTY._replace(entries=entries))))


def uptimes(*samples: Sample | None) -> list[float | None]:
    return [one and one.at.uptime for one in samples]


@pytest.mark.parametrize(('before', 'base'), [
    ([], None), ([999.1], None), ([999], 999), ([400, 600, 700, 701, 900], 700), ([701, 900], 701), ([10], 10)])
def test_the_base(database: sqlite3.Connection, before: list[float], base: float | None) -> None:
    put(database, (sample(uptime) for uptime in before))
    found = history_before(database, sample(1000), LOOK)
    assert uptimes(found.base) == [base]
    assert found.first_run is (not before)


MOVED = HistoryQuery(300, 900, comparable, moved=moved)


@pytest.mark.parametrize(('old', 'inside', 'now', 'base'), [
    # (uptime, drop) of the last sample a window old, and of the one inside the window
    ((401, 0), (800, 0), 5, 401), ((399, 0), (800, 0), 5, 800), ((399, 0), (800, 5), 5, 399),
    ((399, 0), (800, 5), 9, 800), ((399, 0), (999.5, 0), 5, 399), ((399, 0), (700.1, 0), 5, 700.1)])
def test_a_base_that_is_much_older(database: sqlite3.Connection, old: tuple[float, int], inside: tuple[float, int],
                                   now: int, base: float) -> None:
    put(database, [sample(old[0], drop=old[1]), sample(inside[0], drop=inside[1])])
    assert uptimes(history_before(database, sample(1000, drop=now), MOVED).base) == [base]


def test_no_base_older_than_a_day_where_there_is_one_inside(database: sqlite3.Connection) -> None:
    put(database, [sample(1000), sample(87_300, drop=5)])
    assert uptimes(history_before(database, sample(87_400, drop=5), MOVED).base) == [1000]
    assert uptimes(history_before(database, sample(87_401, drop=5), MOVED).base) == [87_300]


def test_a_reset_in_the_window_is_a_cut(database: sqlite3.Connection) -> None:
    put(database, [sample(600, drop=1), sample(750, drop=4), sample(800, drop=0), sample(900, drop=2)])
    found = history_before(database, sample(1000, drop=3), LOOK)
    assert [uptimes(*cut) for cut in found.before_resets] == [[600, 750]]
    assert found.base
    assert (found.base.at.uptime, found.base.counters and found.base.counters.total('drop')) == (750, 0)
    now_reset = history_before(database, sample(1000, drop=1), LOOK)
    assert [uptimes(*cut) for cut in now_reset.before_resets] == [[600, 750], [750, 900]]
    assert now_reset.base
    assert now_reset.base.at.uptime == 900


def test_a_single_sample_before_a_reset_is_no_cut(database: sqlite3.Connection) -> None:
    put(database, [sample(700, drop=9), sample(800, drop=1)])
    assert history_before(database, sample(1000, drop=2), LOOK).before_resets == ()


def test_a_sample_without_counters_is_passed_over(database: sqlite3.Connection) -> None:
    put(database, [sample(700, drop=1), sample(800, drop=1), sample(850)._replace(counters=None), sample(900, drop=1)])
    assert [uptimes(*cut) for cut in history_before(database, sample(1000, drop=0), LOOK).before_resets] == [[700, 900]]


@pytest.mark.parametrize(('ended', 'cut'), [(701, [300, 500]), (700, None), (999, [201, 500]), (1000, None)])
def test_the_boot_before(database: sqlite3.Connection, ended: float, cut: list[float] | None) -> None:
    """Its last sample was at 500 s of its uptime, and at 1e9 + `ended` by the clock; now is 1e9 + 1000."""
    put(database, (sample(uptime, boot='a', wall=1e9 + ended - 500 + uptime) for uptime in (200, 201, 300, 500)))
    found = history_before(database, sample(60, wall=1e9 + 1000), LOOK)
    assert [uptimes(*one) for one in found.before_resets] == ([] if cut is None else [cut])
    assert found.base is None


def test_the_boot_before_has_its_own_window(database: sqlite3.Connection) -> None:
    put(database, (sample(uptime, boot='a', wall=1e9 + 400 + uptime) for uptime in (299, 300, 301, 500)))
    # it ended 100 s ago: the window reaches 200 s into it
    found = history_before(database, sample(60, wall=1e9 + 1000), LOOK)
    assert [uptimes(*one) for one in found.before_resets] == [[300, 500]]
    other = history_before(database, sample(60, wall=1e9 + 1000, netns=2), LOOK)
    assert other == History()


def test_points_are_thinned_to_the_newest_of_each_slot(database: sqlite3.Connection) -> None:
    put(database, (sample(100 + 10 * k, entries=k) for k in range(90)))
    put(database, [sample(99, entries=7), sample(1000, entries=8)])
    look = HistoryQuery(300, 900, comparable, newest_span=200)
    points = history_before(database, sample(1000), look).points
    assert [point for point in points if point.uptime >= 800] == [Point(800 + 10 * k, 70 + k) for k in range(20)]
    assert [point.uptime for point in points if point.uptime < 800][:3] == [110, 140, 170]
    assert points[-1].uptime == 990


def test_points_are_so_many_however_often_it_was_asked(database: sqlite3.Connection) -> None:
    """20 of the newest part, and of all before what 30 of the whole time would be."""
    put(database, (sample(120 + k, entries=k) for k in range(900)))
    points = history_before(database, sample(1020), HistoryQuery(300, 900, comparable, newest_span=300)).points
    assert [len([one for one in points if (one.uptime >= 720) is new]) for new in (False, True)] == [20, 20]


def test_the_newest_profile(database: sqlite3.Connection) -> None:
    put(database, [sample(100), sample(500)])
    assert history_before(database, sample(1000), LOOK).profiled is None
    put_profile(database, 400, 5)
    ports = '{"nat_ports":[["pool",10,40,true,false],["other",3,4,true,false]]}'
    put_profile(database, 600, 5, quiet=False, text=ports)
    found = history_before(database, sample(1000), LOOK)
    assert (found.profiled, found.ports_used) == (600, 0.75)
    put_profile(database, 700, 5, text='{"nat_ports":[]}')
    assert history_before(database, sample(1000), LOOK).ports_used == 0.0


TROUBLE = RecentQuery(85, held=3600, span=21600, window=300, dropped=dropped_between)
Ask = Callable[[Sample], tuple[tuple[Point, ...], tuple[Sample, ...]]]


@pytest.fixture
def ask(database: sqlite3.Connection) -> Ask:
    return lambda now: recent.recent(database, now, TROUBLE, [Point(1, 22)])


@pytest.mark.parametrize(('was', 'age', 'entries', 'maximum', 'known'), [
    (86, 3600, 22, 100, True), (86, 3601, 22, 100, False), (85, 60, 22, 100, False), (85, 60, 86, 100, True),
    (85, 60, 85, 100, False), (86, 60, 20, 0, False), (86, 60, 22, -1, False)])
def test_counts_where_the_threshold_was_crossed(database: sqlite3.Connection, ask: Ask, was: int, age: float,
                                                entries: int, maximum: int, known: bool) -> None:
    now = sample(50_000, entries)._replace(maximum=maximum)
    old = [sample(50_000 - 21_600, 7), sample(50_000 - 21_601, 8)]
    put(database, [*old, sample(50_000 - age, was)])
    counts, slots = ask(now)
    assert counts == ((Point(50_000 - 21_600, 7), Point(50_000 - age, was)) if known else ())
    assert slots == ()


@pytest.mark.parametrize(('was', 'known'), [(85_000, False), (85_001, True)])
def test_the_threshold_of_a_large_table(database: sqlite3.Connection, ask: Ask, was: int, known: bool) -> None:
    put(database, [sample(49_000, was)._replace(maximum=100_000)])
    assert bool(ask(sample(50_000, 30_000)._replace(maximum=100_000))[0]) is known
    assert bool(ask(sample(50_000, was)._replace(maximum=100_000))[0]) is known


@pytest.mark.parametrize(('maximum', 'limit', 'counts'), [
    (1000, 0, ()), (1000, 100, (70, 86)), (0, 100, (70, 86)), (-1, 100, (70, 86)), (100, 1000, (70, 86)), (0, 0, ())])
def test_another_limit_that_is_smaller_counts(database: sqlite3.Connection, maximum: int, limit: int,
                                              counts: tuple[int, ...]) -> None:
    put(database, [sample(49_000, 70)._replace(maximum=maximum), sample(49_500, 86)._replace(maximum=maximum)])
    now = sample(50_000, 86)._replace(maximum=maximum)
    found, _samples = recent.recent(database, now, TROUBLE._replace(limit=limit), ())
    assert tuple(point.entries for point in found) == counts


def test_a_table_that_was_never_near_is_not_asked_about(database: sqlite3.Connection) -> None:
    put(database, [sample(49_000, 90)])
    near, far = ([Point(1, entries)] for entries in (22, 21))
    assert recent.recent(database, sample(50_000, 5), TROUBLE, near)[0]
    assert recent.recent(database, sample(50_000, 5), TROUBLE, far)[0] == ()
    assert recent.recent(database, sample(50_000, 22), TROUBLE, ())[0]


def test_samples_where_packets_were_dropped(database: sqlite3.Connection, ask: Ask) -> None:
    put(database, [sample(46_000, drop=1), sample(46_101, drop=1), sample(48_000, drop=2), sample(49_900, drop=3)])
    assert ask(sample(50_000, drop=0))[1] == ()
    assert ask(sample(50_000, drop=1))[1] == ()
    found = ask(sample(50_000, drop=3))[1]
    assert uptimes(*found)[-1] == 49_900
    assert {46_101, 48_000} <= set(uptimes(*found))


@pytest.mark.parametrize(('quiet', 'baseline', 'since'), [
    ([(100, 5), (86_500, 7), (86_600, 7)], [7, 7], 90_000), ([(3_600, 6), (86_500, 7), (90_000, 7)], [6, 7, 7], 90_000),
    ([(3_599, 6), (86_500, 7), (90_001, 7)], [7], 90_000), ([(90_001, 7)], [7], 90_000)])
def test_the_usual_profiles_are_of_the_day_before_the_rise(
        database: sqlite3.Connection, quiet: list[tuple[float, int]], baseline: list[int], since: float) -> None:
    put(database, [sample(89_000, 7), sample(90_000, 16), sample(90_060, 17), sample(99_000, 90)])
    for uptime, entries in quiet:
        put_profile(database, uptime, entries)
    put_profile(database, 89_999, 99, quiet=False)
    # a tenth of the way from 7 up to 100 is 16
    found = baseline_before(database, sample(100_000, 100))
    assert isinstance(found, Baseline)
    assert ([one.entries for one in found.profiles], found.since) == (baseline, 1e9 + since)


@pytest.mark.parametrize(('fewest', 'known'), [(20, True), (21, False), (None, False)])
def test_a_table_that_was_next_to_nothing_needs_no_profile(database: sqlite3.Connection, fewest: int | None,
                                                           known: bool) -> None:
    put(database, [sample(13_599, 1)])
    if fewest is not None:
        put(database, [sample(13_600, fewest), sample(99_000, 90)])
    found = baseline_before(database, sample(100_000, 100))
    assert isinstance(found, Baseline) is known
    if isinstance(found, Baseline):
        assert found.profiles[0].entries == 20
    else:
        assert found == Missing('no baseline recorded yet (recorded every 10 min while OK)')


def test_profiles_of_trouble_are_thinned_after_an_hour(database: sqlite3.Connection) -> None:
    now = sample(96_000)
    kept, gone = {(92_400, 5), (91_800, 9), (91_140, 3), (91_199, 2)}, {(91_860, 8), (91_920, 8)}
    for uptime, entries in sorted(kept | gone):
        put(database, [sample(uptime, entries)])
        put_profile(database, uptime, entries, quiet=False)
    put_profile(database, 92_000, 1)
    profiles._thin(database, now)
    assert {uptime for uptime, in database.execute('SELECT uptime FROM profile')} == {
        uptime for uptime, _ in kept} | {92_000}
