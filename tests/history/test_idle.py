"""Many namespaces asked at once get the answers that each would get for itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random

import pytest
from recorder_samples import sample

from check_conntrack_lib.analysis.losses import comparable, dropped_between, moved
from check_conntrack_lib.history import database as history_database
from check_conntrack_lib.history import identity, idle, lookups
from check_conntrack_lib.history.codec import counters_to_text
from check_conntrack_lib.history.queries import HistoryQuery, history_before
from check_conntrack_lib.history.recent import RecentQuery
from check_conntrack_lib.history.schema_check import empty
from check_conntrack_lib.model import History, Point, Sample

LOOK = HistoryQuery(300, 2700, comparable, 900, moved=moved,
                    trouble=RecentQuery(85, 3600, 21600, 300, dropped_between), no_points_below=20)
NOW = 100_000.0


def put(database: sqlite3.Connection, *samples: Sample) -> None:
    for one in samples:
        boot = 'ab'.index(one.boot_id)
        database.execute('INSERT OR IGNORE INTO boot VALUES (?, ?)', (boot, one.boot_id))
        database.execute('INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?)', (
            one.at.wall, boot, one.netns, one.at.uptime, one.entries, one.maximum, one.buckets,
            counters_to_text(one.counters)))


@pytest.fixture
def database() -> sqlite3.Connection:
    return empty()


def at_once(database: sqlite3.Connection, *now: Sample, look: HistoryQuery = LOOK) -> dict[int, History]:
    return idle.histories(database, now, identity.known(database, now), look)


@pytest.mark.parametrize('seed', range(6))
def test_each_answer_is_its_own_but_for_the_points(database: sqlite3.Connection, seed: int) -> None:
    random = Random(seed)
    for netns in range(1, 61):
        # of some nothing moves, some lose packets, are reset, were full, paused, or are another's from some time on
        if netns % 5 == 0:
            put(database, sample(900, 5, random.choice((0, 7)), boot='a', netns=netns,
                                 wall=1e9 + NOW - random.choice((50, 250, 1000))),
                sample(990, 5, 7, boot='a', netns=netns, wall=1e9 + NOW - random.choice((20, 200, 900))))
        steps, drop = sorted(random.sample(range(20, 9000), random.choice((0, 1, 5, 40)))), random.choice((0, 0, 3))
        for ago in reversed(steps):
            drop = random.choice((drop, drop, drop, drop + 1, 0)) if drop else 0
            entries = random.choice((5, 5, 5, 19, 20, 90)) if netns % 3 else 5
            put(database, sample(NOW - ago, entries, drop, netns=netns))
        if netns % 7 == 0:
            database.execute('INSERT INTO netns VALUES (1, ?, ?, NULL, ?, 0)', (netns, NOW - 2000, ''))
        if netns % 11 == 0:
            database.execute('INSERT INTO profile VALUES (?, 1, ?, ?, 1, ?)', (1e9, netns, NOW - 600, '{}'))
    now = [sample(NOW, random.choice((5, 5, 19, 20)), random.choice((0, 0, 3)), netns=netns) for netns in range(1, 61)]
    found = at_once(database, *now)
    for one in now:
        alone = history_before(database, one, LOOK)
        if one.netns in found:
            assert found[one.netns] == alone._replace(points=())
            assert not alone.recent_points
        fullest = max([one.entries, *(point.entries for point in alone.points)])
        assert fullest < 20 or one.netns not in found
    assert 10 < len(found) < 60


@pytest.mark.parametrize(('past', 'now', 'why'), [
    ([sample(NOW - 400, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 400, 5), sample(NOW - 10, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 900, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 901, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 9000, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 901, 5), sample(NOW - 449, 5)], sample(NOW, 5), 'an old base, and a sample in the window'),
    ([sample(NOW - 901, 5), sample(NOW - 1, 5)], sample(NOW, 5), 'an old base, and a sample in the window'),
    ([sample(NOW - 901, 5), sample(NOW - 0.5, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 0.5, 5)], sample(NOW, 5), 'no base'),
    ([sample(NOW - 200, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 200, 5), sample(NOW - 100, 5), sample(NOW - 1, 5)], sample(NOW, 5), ''),
    ([sample(NOW - 200, 5), sample(NOW - 100, 5, 1)], sample(NOW, 5, 0), 'moved and was reset inside'),
    ([sample(NOW - 200, 5), sample(50, boot='a', wall=1e9 + NOW - 300)], sample(NOW, 5), ''),
    ([sample(NOW - 200, 5), sample(50, boot='a', wall=1e9 + NOW - 299)], sample(NOW, 5), 'a reboot'),
    ([sample(NOW - 200, 5), sample(50, boot='a', wall=1e9 + NOW + 1)], sample(NOW, 5), ''),
    ([sample(NOW - 300, 5), sample(50, boot='a', wall=1e9 + NOW - 299)], sample(NOW, 5), ''),
    ([sample(NOW - 400, 5), sample(NOW - 10, 5, 1)], sample(NOW, 5), 'moved and was reset'),
    ([sample(NOW - 400, 5)], sample(NOW, 5, 1), 'moves now'),
    ([sample(NOW - 400, 5, 1)], sample(NOW, 5, 1), 'packets were dropped some time')])
def test_what_counts_as_idle(database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, past: list[Sample],
                             now: Sample, why: str) -> None:
    put(database, *past)
    asked: list[Sample] = []
    monkeypatch.setattr(idle, 'history_before', lambda _database, one, *_look, **_: [asked.append(one), History()][1])
    look = LOOK._replace(window=450) if past[0].at.uptime < NOW - 450 else LOOK
    found = at_once(database, now, look=look)
    assert bool(asked) is bool(why)
    if not why:
        assert found[1] == history_before(database, now, look)._replace(points=())
        assert found[1].base
        assert found[1].base.at.uptime == past[0].at.uptime


@pytest.mark.parametrize(('before', 'entries', 'room'), [
    (19, 19, True), (20, 19, False), (19, 20, False), (0, 0, True)])
def test_room_enough(database: sqlite3.Connection, before: int, entries: int, room: bool) -> None:
    put(database, sample(NOW - 2700, before), sample(NOW - 400, 5))
    assert (1 in at_once(database, sample(NOW, entries))) is room
    assert not at_once(database, sample(NOW, entries), look=LOOK._replace(no_points_below=0))


def test_rows_that_were_recorded_out_of_order(database: sqlite3.Connection) -> None:
    """By several runs at once: the first one by its time is not the first of the file."""
    put(database, sample(NOW - 2600, 90), sample(NOW - 2601, 5), sample(NOW - 400, 5))
    assert at_once(database, sample(NOW, 5)) == {}


def test_too_many_rows_are_not_gone_through(database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few of many that are recorded: they are asked one by one."""
    monkeypatch.setattr(idle, 'OUT_OF_ORDER', 0)
    put(database, *(sample(NOW - 2000 + second, netns=netns) for second in (0, 1000, 1700) for netns in range(20)))
    now = [sample(NOW, netns=netns) for netns in range(2)]
    monkeypatch.setattr(idle, 'MOST_ROWS', 29)
    assert at_once(database, *now) == {}
    monkeypatch.setattr(idle, 'MOST_ROWS', 30)
    assert len(at_once(database, *now)) == 2


def test_before_the_first_run_of_a_boot_there_is_nothing(database: sqlite3.Connection) -> None:
    assert at_once(database, sample(NOW)) == {}


def test_more_than_one_question(database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, 'AT_ONCE', 2)
    monkeypatch.setattr(identity, 'AT_ONCE', 2)
    put(database, *(sample(NOW - 400 - netns, netns=netns) for netns in range(1, 6)))
    database.execute('INSERT INTO netns VALUES (1, 5, 9, NULL, ?, 0)', ('',))
    now = [sample(NOW, netns=netns) for netns in range(1, 6)]
    assert [one.base and one.base.at.uptime for one in at_once(database, *now).values()] == [
        NOW - 400 - netns for netns in range(1, 6)]
    assert [one and one.since for one in identity.known(database, now)] == [None] * 4 + [9]


@pytest.mark.parametrize('many', [history_database.MANY, history_database.MANY - 1])
def test_the_points_are_there_where_they_are_asked_for(in_memory: Path, many: int) -> None:
    path = str(in_memory / 'history.sqlite')
    runs = [[sample(NOW + second, netns=netns) for netns in range(1, many + 1)] for second in (0, 60, 400)]
    for run in runs:
        answers = history_database.query_and_record_all(path, run, LOOK, 14)
    points = (Point(NOW, 5), Point(NOW + 60, 5))
    assert isinstance(answers, list)
    assert {answer.points for answer in answers} == {() if many == history_database.MANY else points}
    assert lookups.points(path, runs[-1][0], LOOK, 1.5) == points
    assert lookups.points('/proc/self/stat', runs[-1][0], LOOK, 1.5) == ()
