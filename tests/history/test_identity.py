"""Whose samples they are: inodes that are given away again, names that go on, and what idle namespaces cost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from recorder_samples import DAY, LOOK, rows, sample

from check_conntrack_lib.analysis import timeline
from check_conntrack_lib.history import identity, readonly, schema_check
from check_conntrack_lib.history.database import LogReader, query_and_record, query_and_record_all
from check_conntrack_lib.history.identity import Identify, means
from check_conntrack_lib.history.lookups import last_seen
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.model import History, LogMemory, Sample


@pytest.fixture
def path(in_memory: Path) -> Path:
    return in_memory / 'history.sqlite'


def look(name: str = '', since: float = 0.0) -> HistoryQuery:
    """A namespace that began at `since`."""
    return LOOK._replace(identify=Identify(lambda _sample, uptime: since <= uptime, lambda _sample: name))


def ask(path: Path, now: Sample, query: HistoryQuery) -> History:
    answer = query_and_record(str(path), now, query, 14)
    assert isinstance(answer, History), answer
    return answer


def test_another_namespace_with_the_same_inode_begins_anew(path: Path) -> None:
    ask(path, sample(1000), look('container a'))
    assert not ask(path, sample(1400), look('container a')).first_run
    assert ask(path, sample(1800), look('container b', since=1500)) == History()
    after = ask(path, sample(2200), look('container b', since=1500))
    assert after.base
    assert after.base.at.uptime == 1800
    assert [point.uptime for point in after.points] == [1800]


def test_what_another_run_recorded_meanwhile_stays(path: Path) -> None:
    """Two first runs at once: the second one's look at what was before is older than the first one's record."""
    def meanwhile(_history: History, _memory: LogMemory | None) -> None:
        ask(path, sample(1001), look('container web (docker)'))

    log_reader = LogReader('/dev/kmsg', meanwhile)
    first = query_and_record(str(path), sample(1000), look(''), 14, log_reader=log_reader)
    assert isinstance(first, History)
    assert first.first_run
    with sqlite3.connect(path) as database:
        assert database.execute('SELECT since, name, named FROM netns').fetchall() == [
            (0.0, 'container web (docker)', 1001.0)]


def test_a_cookie_decides_where_both_are_known(path: Path) -> None:
    for uptime, cookie, first in ((1000, 7, True), (1400, 7, False), (1800, 8, True), (2200, 8, False),
                                  (2600, None, False)):
        assert ask(path, sample(uptime)._replace(cookie=cookie), look(since=0)).first_run == first, uptime
    # processes that are all younger than the last sample do not make another of what has the same cookie
    assert not ask(path, sample(3000)._replace(cookie=8), look(since=2900)).first_run


def test_a_name_goes_on_over_restarts(path: Path) -> None:
    for uptime, netns, name, since in ((1000, 5, 'container web (docker)', 0), (1400, 5, 'container web (docker)', 0),
                                       (1800, 5, 'container other (docker)', 1500),
                                       (2200, 6, 'container web (docker)', 2000)):
        ask(path, sample(uptime, netns=netns), look(name, since))
    samples = readonly.read_samples(str(path), 0, 2e9)
    assert isinstance(samples, list)
    found = {one.key: one.samples for one in timeline.namespaces(timeline.intervals(samples))}
    assert found == {'container web (docker)': 3, 'container other (docker)': 1}
    assert [one.losses is None for one in timeline.intervals(samples)] == [True, False, True, True]
    assert last_seen(str(path), ('web', 'nothing'), 1) == {'web': ('container web (docker)', 1e9 + 2200)}


@pytest.mark.parametrize(('word', 'name', 'expected'), [
    ('web', 'container web (docker)', True), ('container web', 'container web (docker)', True),
    ('shop/web', 'pod shop/web', True), ('blue', 'blue', True), ('host', 'container host (docker)', True),
    ('we', 'container web (docker)', False), ('', '', False), ('docker', 'container web (docker)', False)])
def test_words_for_recorded_names(word: str, name: str, expected: bool) -> None:
    assert means(word, name) == expected


def test_a_file_of_before_names_were_recorded(path: Path) -> None:
    ask(path, sample(1000), look())
    with sqlite3.connect(path) as database:
        database.execute('DROP TABLE netns')
    answer = ask(path, sample(1400), look('host'))
    assert answer.base
    assert rows(path, 'SELECT count(*) FROM netns') == 1
    samples = readonly.read_samples(str(path), 0, 2e9)
    assert isinstance(samples, list)
    assert {one.name for one in samples} == {'host'}


@pytest.mark.slow
def test_the_history_of_a_restarted_container_stays_that_of_one_that_is_gone_does_not(path: Path) -> None:
    names = {1: 'host', 2: 'container web (docker)', 3: 'container gone (docker)', 4: 'container web (docker)'}
    query = LOOK._replace(identify=Identify(name=lambda one: names[one.netns]))
    for minute in range(0, 3 * 1440, 8):
        uptime = 60.0 * minute
        now = [sample(uptime, netns=1)]
        if minute < 1440:
            now += [sample(uptime, netns=2), sample(uptime, netns=3)]
        else:
            now += [sample(uptime, netns=4)]
        query_and_record_all(str(path), now, query, 14)
    assert rows(path, 'SELECT count(*) FROM sample WHERE netns = 3') == 0
    assert rows(path, 'SELECT count(*) FROM sample WHERE netns = 2') > 100
    assert rows(path, 'SELECT count(*) FROM netns WHERE inode = 3') == 0


@pytest.mark.slow
def test_what_does_not_change_is_kept_once_an_hour_after_an_hour(path: Path) -> None:
    for minute in range(600):
        ask(path, sample(60.0 * minute, entries=7 if 200 <= minute < 220 else 0), look())
    found = sqlite3.connect(path).execute('SELECT uptime FROM sample ORDER BY uptime')
    kept = [round(uptime / 60) for uptime, in found]
    assert kept[-60:] == list(range(540, 600)), 'the last hour is whole: losses are counted from it'
    assert {199, 220} <= set(kept), 'before and after a change'
    assert set(range(200, 220)) <= set(kept), 'not nearly empty'
    assert len(kept) < 130
    assert max(later - earlier for earlier, later in zip(kept, kept[1:])) <= 100


@pytest.mark.slow
def test_what_idle_namespaces_take(path: Path) -> None:
    """Below 10 MB in 14 days, so ten of them below 1 MB: here three days, of which only the last is not thinned."""
    names = [f'pod shop/web-{n}' for n in range(10)]
    query = LOOK._replace(identify=Identify(name=lambda one: names[one.netns]))
    sizes = []
    for day in range(3):
        for minute in range(0, 1440, 5):
            uptime = DAY * day + 60.0 * minute
            query_and_record_all(str(path), [sample(uptime, netns=n, entries=0) for n in range(10)],
                                 query, 14)
        sizes.append(path.stat().st_size)
    more = sizes[2] - sizes[1]
    assert sizes[1] + 13 * more < 1e6, sizes


def recorded(database: sqlite3.Connection) -> list[tuple[float, int | None, str, float]]:
    return list(database.execute('SELECT since, cookie, name, named FROM netns ORDER BY since'))


def test_what_is_kept_of_a_namespace() -> None:
    database = schema_check.empty()
    database.execute("INSERT INTO boot VALUES (1, 'b')")
    one = sample(100)
    web, nobody = Identify(name=lambda _: 'web'), Identify(name=lambda _: '')
    assert identity.record(database, 1, one, None, False, web)
    assert recorded(database) == [(0.0, None, 'web', 100.0)]
    # its cookie becomes known, and stays
    before = identity.known(database, [one])[0]
    assert not identity.record(database, 1, sample(200)._replace(cookie=7), before, False, nobody)
    assert recorded(database) == [(0.0, 7, 'web', 100.0)]
    before = identity.known(database, [one])[0]
    assert not identity.record(database, 1, sample(3699.9)._replace(cookie=8), before, False, nobody)
    assert not identity.record(database, 1, sample(3699.9), before, False, nobody)
    assert recorded(database) == [(0.0, 7, 'web', 100.0)]
    # looked up again after an hour: what has no name any more keeps the one that was known
    assert identity.record(database, 1, sample(3700), before, False, nobody)
    assert recorded(database) == [(0.0, 7, 'web', 3700.0)]
    assert identity.record(database, 1, sample(9000)._replace(cookie=9), before, True, nobody)
    assert recorded(database) == [(0.0, 7, 'web', 3700.0), (9000.0, 9, '', 9000.0)]
    known = identity.known(database, [one])
    assert identity.is_another(database, [one._replace(cookie=7)], known, nobody) == [True]
    assert identity.is_another(database, [one._replace(cookie=9)], known, nobody) == [False]
    assert identity.is_another(database, [one], [None], nobody) == [False]
    database.close()
