"""The flight recorder: what it answers, and what becomes of it when things go wrong."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import select
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from deadlines import within
from recorder_samples import DAY, LOOK, rows, sample
from sqlite_steps import counted_steps

from check_conntrack_lib.analysis.losses import Losses, losses, losses_across
from check_conntrack_lib.history import database as history_database
from check_conntrack_lib.history import disk_fault, location, queries, retention
from check_conntrack_lib.history.codec import counters_to_text
from check_conntrack_lib.history.database import query_and_record, query_and_record_all
from check_conntrack_lib.history.queries import HistoryQuery, history_before
from check_conntrack_lib.model import Counters, History, Instant, Missing, Point, Sample


def ask(path: Path, now: Sample, days: float = 14, look: HistoryQuery = LOOK) -> History:
    answer = query_and_record(str(path), now, look, days)
    assert isinstance(answer, History), answer
    return answer


def keep(path: Path, now: Sample) -> None:
    """As `ask`, where nothing is asked."""
    history_database.record(str(path), [now], 14, 1)


@pytest.fixture
def path(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # on a slow machine, too, no upkeep is put off
    monkeypatch.setattr(retention, 'MOST_SECONDS', 3600)
    return in_memory / 'history.sqlite'


def test_base_is_the_newest_sample_one_window_old_else_the_oldest(path: Path) -> None:
    assert ask(path, sample(1000)) == History()
    assert ask(path, sample(1000.5)).base is None, 'younger than a second'
    for uptime in (1060, 1200, 1290):
        base = ask(path, sample(uptime)).base
        assert base
        assert base.at.uptime == 1000, 'the oldest there is'
    for uptime, expected in ((1310, 1000.5), (1420, 1060), (1495, 1060), (1499.9, 1060), (1500, 1200), (9999, 1500)):
        base = ask(path, sample(uptime)).base
        assert base
        assert base.at.uptime == expected


def test_what_was_recorded_comes_back(path: Path) -> None:
    first = sample(1000, 7, drop=2**32 - 1)
    ask(path, first)
    base = ask(path, sample(1100)).base
    assert base
    assert base.counters
    assert base._replace(counters=None) == first._replace(counters=None, at=Instant(1e9 + 1000, 1000, 0))
    assert base.counters.per_cpu == {'drop': (2**32 - 1, 0), 'invalid': (0, 0)}


def test_boots_and_namespaces_are_apart(path: Path) -> None:
    ask(path, sample(1000))
    assert ask(path, sample(1100, boot='c')) == History()
    assert ask(path, sample(1100, netns=2)) == History()
    assert not ask(path, sample(1200)).first_run


def test_after_a_reset_losses_are_counted_from_zero(path: Path) -> None:
    for uptime, drop in ((1000, 500), (1060, 500), (1120, 1), (1180, 2)):
        ask(path, sample(uptime, drop=drop))
    now = sample(1240, drop=3)
    base = ask(path, now).base
    assert base
    # the reset was after 1060: what the counters show was counted since
    assert base.at.uptime == 1060
    assert losses(base, now) == Losses(180, {'drop': 3, 'invalid': 0})
    just_now = sample(1300, drop=2)
    base = ask(path, just_now).base
    assert base
    assert losses(base, just_now) == Losses(60, {'drop': 2, 'invalid': 0})


@pytest.mark.parametrize(('drops', 'now', 'cuts', 'lost'), [
    ((0, 30), 0, [(1000, 1060)], 30),
    # the newest sample is comparable with now, and the base with the newest
    ((0, 30, 0), 10, [(1000, 1060)], 40),
    # the new counter has passed the one of the base, and even the highest
    ((5, 25, 10), 60, [(1000, 1060)], 80),
    # twice
    ((0, 30, 7, 3), 4, [(1000, 1060), (1060, 1120)], 41),
    ((0, 0, 0), 0, [], 0),
], ids=['base below', 'hidden in between', 'passed', 'twice', 'none'])
def test_any_later_counter_below_an_earlier_one_is_a_reset(
        path: Path, drops: tuple[int, ...], now: int, cuts: list[tuple[int, int]], lost: int) -> None:
    """A firewall's restart unloads the module: what was lost before is not forgotten."""
    for k, drop in enumerate(drops):
        ask(path, sample(1000 + 60 * k, drop=drop))
    at = sample(1000 + 60 * len(drops), drop=now)
    history = ask(path, at)
    assert history.base
    assert [(first.at.uptime, last.at.uptime) for first, last in history.before_resets] == cuts
    found = losses_across(history.before_resets, losses(history.base, at), at)
    assert found
    assert (found.lost, found.across) == (lost, 'a reset of the counters' if cuts else '')


def test_another_shape_of_counters_is_no_reset(path: Path) -> None:
    """Nothing is counted from zero where a counter was added, or a CPU."""
    before = sample(1000, drop=7)
    ask(path, before)
    wider = sample(1060)._replace(counters=Counters({'drop': (9, 0, 0), 'invalid': (0, 0, 0)}, ''))
    assert ask(path, wider).base is None


def test_points_of_the_trend(path: Path) -> None:
    for k in range(30):
        ask(path, sample(1000 + 60 * k, k))
    history = ask(path, sample(1000 + 60 * 30, 30))
    assert history.points[0] == Point(1900, 15)
    assert len(history.points) == 15


def test_losses_before_a_reboot_are_in_the_look_back(path: Path) -> None:
    for uptime, drop in ((5000, 0), (5060, 0), (5360, 0), (5420, 40), (5435, 40)):
        ask(path, sample(uptime, drop=drop, boot='0d'))
    after = sample(60, boot='ee', wall=1e9 + 5500)
    history = ask(path, after)
    assert (history.base, history.first_run) == (None, True)
    assert len(history.before_resets) == 1
    # one window before now, by the wall clock: 5200
    assert [one.at.uptime for one in history.before_resets[0]] == [5060, 5435]
    assert losses_across(history.before_resets, None, after) == Losses(440, {'drop': 40, 'invalid': 0}, 'a reboot')
    later = ask(path, sample(120, boot='ee', wall=1e9 + 5560))
    assert later.base
    assert later.before_resets == history.before_resets
    # the boot before is out of sight
    assert ask(path, sample(300, boot='ee', wall=1e9 + 5740)).before_resets == ()
    assert ask(path, sample(60, boot='ee', netns=2, wall=1e9 + 5500)).before_resets == ()


@pytest.mark.slow
@pytest.mark.parametrize('netns', [7, 100_000], ids=['recorded', 'new'])
def test_what_one_is_asked_costs_the_same_beside_thousands(path: Path, netns: int) -> None:
    def steps(others: int) -> int:
        file = path.with_name(f'{others}.sqlite')
        for boot, uptime in (('0d', 5000.0), ('0d', 5060.0), ('ee', 60.0), ('ee', 120.0)):
            wall = 1e9 + (5060 if boot == 'ee' else 0) + uptime
            query_and_record_all(str(file), [sample(uptime, boot=boot, netns=k, wall=wall) for k in range(others)],
                                 LOOK, 14)
        now = sample(180, boot='ee', netns=netns, wall=1e9 + 5240)
        with counted_steps() as counted, history_database.open_database(str(file), 1) as database:
            assert bool(history_before(database, now, LOOK).before_resets) == (netns == 7)
        return counted.count
    assert steps(800) < 1.2 * steps(20)


def test_losses_before_a_reset_are_in_the_look_back(path: Path) -> None:
    for uptime, drop in ((1000, 70), (1060, 70), (1120, 95), (1180, 3), (1240, 3)):
        ask(path, sample(uptime, drop=drop))
    now = sample(1300, drop=5)
    history = ask(path, now)
    assert history.base
    (first, last), = history.before_resets
    assert (first.at.uptime, last.at.uptime) == (1000, 1120)
    since = losses(history.base, now)
    # 25 before, 5 since the reset
    found = losses_across(history.before_resets, since, now)
    assert found == Losses(300, {'drop': 30, 'invalid': 0}, 'a reset of the counters')
    assert losses_across([(first, first._replace(at=Instant(1, 1059, 1)))], since, now) == since


def test_many_runs_a_minute_give_few_points(path: Path) -> None:
    for k in range(500):
        keep(path, sample(1000 + k * 1.2, k))
    history = ask(path, sample(1601))
    assert 10 < len(history.points) <= queries.OLDER_POINTS + 1


def test_the_newest_points_are_closer(path: Path) -> None:
    for k in range(500):
        keep(path, sample(1000 + k * 1.2, k))
    history = ask(path, sample(1601), look=LOOK._replace(newest_span=100.0))
    assert sum(point.uptime >= 1501 for point in history.points) == queries.NEWEST_POINTS
    assert len(history.points) <= queries.NEWEST_POINTS + queries.OLDER_POINTS + 1


@pytest.mark.slow
def test_forgets_and_thins_but_keeps_the_peaks(path: Path) -> None:
    start = 20 * DAY
    for k in range(500):
        keep(path, sample(start + 240 * k, 1000 if k % 2 else 10))
    last = start + 240 * 499
    old = f'uptime < {last - DAY - 1200}'
    kept, peaks = rows(path, f'SELECT count(*) FROM sample WHERE {old}'), \
        rows(path, f'SELECT count(*) FROM sample WHERE {old} AND entries = 1000')
    assert 48 <= kept <= 56
    assert peaks >= kept - 1
    assert 357 <= rows(path, f'SELECT count(*) FROM sample WHERE uptime >= {last - DAY}') <= 361
    ask(path, sample(last + 15 * DAY))
    assert rows(path) == 1


def test_a_clock_that_jumps_forgets_nothing_of_this_boot(path: Path) -> None:
    for k in range(20):
        ask(path, sample(1000 + 60 * k))
    ask(path, sample(2300, wall=1e9 + 400 * DAY))
    ask(path, sample(2400, wall=1e9 - 3600))
    base = ask(path, sample(2460, wall=5.0)).base
    assert base
    assert base.at.uptime == 2140
    assert rows(path) == 23


def test_two_weeks_at_a_run_a_minute_stay_small(path: Path) -> None:
    """The rows that 14 days leave, written at once: one a minute for a day, one in ten minutes before."""
    ask(path, sample(0))
    counters = counters_to_text(Counters({'drop': tuple(range(10**6, 10**6 + 8)), 'invalid': (0,) * 8}))
    with sqlite3.connect(path) as database:
        database.executemany(
            'INSERT INTO sample VALUES (?, 1, 1, ?, 5, 100, 64, ?)',
            ((1e9 + t, t, counters) for t in [*range(0, 13 * 86400, 600), *range(13 * 86400, 14 * 86400, 60)]))
    with counted_steps() as steps:
        ask(path, sample(14 * DAY))
    # all upkeep is due at once: some hundred a row; comparing each row with each other would be 3000
    assert steps.count < 300 * rows(path)
    assert path.stat().st_size < 2_000_000


def test_a_point_that_no_recorder_wrote(path: Path) -> None:
    """The trend would be computed of it."""
    for k in range(5):
        ask(path, sample(1000 + 60 * k))
    with sqlite3.connect(path) as database:
        database.execute('UPDATE sample SET entries = 1e308 WHERE uptime > 1100')
    assert [point.uptime for point in ask(path, sample(1300)).points] == [1000, 1060]


# --- faults

DAMAGED = {
    'text': b'this is not a database, ' * 100,
    'zeros': bytes(8192),
    'header only': b'SQLite format 3\0',
}


@pytest.mark.parametrize('damage', DAMAGED.values(), ids=DAMAGED)
def test_a_broken_file_is_put_aside_and_said_once(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    path.chmod(0o600)
    history = ask(path, sample(1000))
    aside = path.with_name('history.sqlite.broken-1000001000')
    assert history.note.startswith('the history was damaged (')
    assert history.note.endswith(f'and put aside as {aside}')
    assert aside.read_bytes() == damage
    again = ask(path, sample(1060))
    assert again.note == ''
    assert again.base


@pytest.mark.slow
def test_every_cut_and_scratch_leaves_a_verdict(path: Path, tmp_path: Path) -> None:
    for k in range(200):
        ask(path, sample(1000 + k * 60, drop=k))
    whole = path.read_bytes()
    for k in range(40):
        broken = bytearray(whole[:len(whole) * (k + 1) // 41] if k % 2 else whole)
        for place in range(k * 97, len(broken), 1499):
            broken[place] ^= 0xFF
        victim = tmp_path / f'{k}.sqlite'
        victim.write_bytes(broken)
        victim.chmod(0o600)
        first = query_and_record(str(victim), sample(90000), LOOK, 14)
        second = query_and_record(str(victim), sample(90060), LOOK, 14)
        assert isinstance(first, (History, Missing))
        assert isinstance(second, (History, Missing))


@pytest.mark.parametrize('statement', [
    "UPDATE sample SET counters = 'nonsense'", "UPDATE sample SET counters = '[]'",
    """UPDATE sample SET counters = '{"cpus": 2, "drop": "x"}'""", "UPDATE sample SET entries = 'many'",
    "UPDATE sample SET uptime = x'00'", 'UPDATE sample SET uptime = -9e999', 'UPDATE sample SET entries = 9e999',
    'UPDATE sample SET entries = 1e308', 'UPDATE sample SET time = 1e308', "UPDATE sample SET buckets = 'many'",
    "UPDATE sample SET counters = CAST(x'ff' AS TEXT)", "UPDATE sample SET counters = replace(counters, '2', '1e999')",
    """UPDATE sample SET counters = '{"cpus": 9999999999, "zero": "d"}'""",
    """UPDATE sample SET counters = '{"cpus": 2, "drop": [-5, 4294967296], "invalid": []}'""",
    f"UPDATE sample SET counters = '{'[' * 100000}'", 'DROP TABLE sample', 'DROP TABLE boot',
])
def test_rows_that_no_recorder_wrote(path: Path, statement: str) -> None:
    ask(path, sample(1000))
    with sqlite3.connect(path) as database:
        database.execute(statement)
    answer = ask(path, sample(1400))
    assert not answer.base
    ask(path, sample(1460))
    assert ask(path, sample(1800)).base


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE dashboards (title)')
    path.chmod(0o600)
    before = path.read_bytes()
    answer = query_and_record(str(path), sample(1000), LOOK, 14)
    assert answer == Missing(f'{path}: a database of another program', 'give --history another FILE')
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_by_name_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / 'passwd'
    other.write_text('root:x:0:0\n' * 100)
    other.chmod(0o600)
    answer = query_and_record(str(other), sample(1000), LOOK, 14)
    assert isinstance(answer, Missing)
    assert 'not a database' in answer.why
    assert other.read_text() == 'root:x:0:0\n' * 100


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    ask(path, sample(1000))
    with sqlite3.connect(path) as database:
        database.execute('PRAGMA user_version = 99')
    answer = query_and_record(str(path), sample(1400), LOOK, 14)
    assert isinstance(answer, Missing)
    assert 'another version of check_conntrack (schema 99)' in answer.why
    assert rows(path) == 1


def test_a_locked_file_still_gives_the_rates(path: Path) -> None:
    ask(path, sample(1000))
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute('BEGIN IMMEDIATE')
        with within(0.2):
            answer = query_and_record(str(path), sample(1400), LOOK, 14, patience=0.2)
    assert isinstance(answer, History)
    assert answer.base
    assert answer.unwritten == f'{path}: database is locked'


class Writer:
    """A process that records sample `first` and, if `on`, those behind it until it is ended; tells which it has."""

    def __init__(self, path: Path, first: int, on: bool = False) -> None:
        self.output, output = os.pipe()
        # a fork, not a new interpreter: forty of those take a busy machine a minute
        self.pid = os.fork()
        if not self.pid:
            failed = 1
            try:
                for k in itertools.count(first) if on else (first,):
                    answer = query_and_record(str(path), sample(1000 + k, drop=k), LOOK, 14, patience=60)
                    if getattr(answer, 'unwritten', answer):
                        break
                    os.write(output, b'%d\n' % k)
                else:
                    failed = 0
            finally:
                os._exit(failed)
        os.close(output)

    def told(self) -> list[int]:
        """What it has recorded, after its end."""
        with open(self.output) as lines:
            return [int(line) for line in lines]

    def ended(self) -> int:
        """Its exit status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.slow
def test_forty_parallel_runs_are_all_recorded(path: Path) -> None:
    for writer in [Writer(path, k) for k in range(40)]:
        assert writer.told()
        assert writer.ended() == 0
    assert rows(path) == 40
    assert [p.name for p in path.parent.iterdir()] == ['history.sqlite']


@pytest.mark.slow
def test_forty_parallel_runs_put_one_broken_file_aside_once(path: Path) -> None:
    path.write_bytes(b'broken' * 1000)
    path.chmod(0o600)
    for writer in [Writer(path, k) for k in range(40)]:
        assert writer.told()
        assert writer.ended() == 0
    assert rows(path) == 40
    assert len(list(path.parent.glob('*.broken-*'))) == 1


def test_a_file_that_is_in_use_is_not_renamed(path: Path) -> None:
    ask(path, sample(1000))
    inode = path.stat().st_ino
    with history_database.open_database(str(path), 1.0), pytest.raises(TimeoutError, match='in use by another run'):
        disk_fault.put_aside(str(path), 'damaged', inode, False, sample(1001).at, 0.1)
    assert 'put aside' in disk_fault.put_aside(str(path), 'damaged', inode, False, sample(1001).at, 0.1)


def test_a_file_system_without_locks_for_directories(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(fcntl, 'flock', flock)
    ask(path, sample(1000))
    assert ask(path, sample(1060)).base


def test_a_file_that_is_being_renamed_is_not_opened(path: Path) -> None:
    ask(path, sample(1000))
    with location.locked(str(path), fcntl.LOCK_EX, 1.0):
        answer = query_and_record(str(path), sample(1060), LOOK, 14, patience=0.1)
        assert answer == Missing(f'{path}: in use by another run')
    assert ask(path, sample(1060)).base


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing_that_was_recorded(path: Path) -> None:
    # a file that was killed before it had tables is made anew, and no business of this test
    ask(path, sample(1000))
    done = 1
    for k in range(30):
        writer = Writer(path, done, on=True)
        assert select.select([writer.output], [], [], 60)[0], 'it recorded nothing'
        # from here on it does nothing but record: some moment of the second to tenth time
        time.sleep(k * 0.003)
        os.kill(writer.pid, signal.SIGKILL)
        done = max(writer.told()) + 1
        assert writer.ended() == -signal.SIGKILL
        assert rows(path) in (done, done + 1), 'each run that said so is there; one may have been cut off after it'
        done = rows(path)
        assert rows(path, 'SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = "ok"') == 1
    assert done > 30


@pytest.mark.kernel
@pytest.mark.parametrize('fault', ['full', 'read-only'])
def test_a_full_or_read_only_disk(tmp_path: Path, fault: str) -> None:
    if os.geteuid():
        pytest.skip('mounting needs root')
    place = tmp_path / 'disk'
    place.mkdir(mode=0o700)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k,mode=700', 'tmpfs', place], check=True)
    try:
        history = place / 'history.sqlite'
        ask(history, sample(1000))
        if fault == 'full':
            subprocess.run(['dd', 'if=/dev/zero', f'of={place}/ballast', 'bs=1k'], check=False, capture_output=True)
        else:
            subprocess.run(['mount', '-o', 'remount,ro', place], check=True)
        answer = ask(history, sample(1400))
        assert answer.base
        assert answer.unwritten.startswith(f'{history}: ')
        fresh = query_and_record(str(place / 'other.sqlite'), sample(1000), LOOK, 14)
        assert isinstance(fresh, Missing) or fresh.unwritten
    finally:
        subprocess.run(['umount', place], check=True)
