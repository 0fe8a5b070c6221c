"""What was recorded, read without a trace, whoever wrote it and whatever the file is."""

import os
import sqlite3
import threading
import time
from types import SimpleNamespace

import pasts
import pytest

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.history import database as history_database
from check_conntrack_lib.history import queries, readonly
from check_conntrack_lib.model import Missing

ALWAYS = (float('-inf'), float('inf'))


def test_it_gives_back_what_the_recorder_was_given(tmp_path):
    path = str(tmp_path / 'history.sqlite')
    given = [pasts.sample(k * 60.0, 1000 + k, drop=k) for k in range(5)]
    given.append(given[-1]._replace(boot_id='ffff', netns=7, counters=None, buckets=None))
    for sample in given:
        look = queries.HistoryQuery(300, 900, comparable)
        assert not isinstance(history_database.query_and_record(path, sample, look, 14), Missing)
    assert readonly.read_samples(path, *ALWAYS) == given
    assert readonly.read_samples(path, pasts.BEGIN + 60, pasts.BEGIN + 120) == given[1:3]


def test_it_leaves_no_trace(tmp_path):
    path = pasts.write(tmp_path / 'history.sqlite', [pasts.sample(0, 1)])
    path.chmod(0o400)
    before = (path.stat().st_mtime_ns, path.read_bytes(), os.listdir(tmp_path))
    assert not isinstance(readonly.read_samples(str(path), *ALWAYS), Missing)
    assert (path.stat().st_mtime_ns, path.read_bytes(), os.listdir(tmp_path)) == before
    assert isinstance(readonly.read_samples(str(tmp_path / 'none'), *ALWAYS), Missing)
    assert os.listdir(tmp_path) == ['history.sqlite']


def test_names_that_a_url_would_not_take(tmp_path):
    path = pasts.write(tmp_path / 'a ?mode=rwc%20#x', [pasts.sample(0, 1)])
    assert readonly.read_samples(str(path), *ALWAYS) == [pasts.sample(0, 1)]


@pytest.mark.parametrize(('spoil', 'said'), [
    (lambda path: path.write_bytes(b'no database' * 1000), 'file is not a database'),
    (lambda path: path.write_bytes(path.read_bytes()[:5000]), 'malformed'),
    (lambda path: execute(path, 'PRAGMA user_version = 99'), 'another version'),
    (lambda path: execute(path, 'PRAGMA application_id = 1'), 'was not written by check_conntrack'),
    (lambda path: execute(path, 'DROP TABLE sample'), 'its tables are not those of check_conntrack'),
    (lambda path: execute(path, "UPDATE sample SET counters = '[]'"), 'history.sqlite: '),
    (lambda path: execute(path, "UPDATE sample SET entries = 'many'"), 'history.sqlite: '),
    (lambda path: (path.rename(str(path) + '2'), path.symlink_to(str(path) + '2')), 'is not a regular file'),
    (lambda path: (path.unlink(), path.mkdir()), 'is not a regular file'),
    (lambda path: (path.unlink(), os.mkfifo(path)), 'is not a regular file'),
])
def test_whatever_the_file_is_one_reason(tmp_path, spoil, said):
    path = pasts.write(tmp_path / 'history.sqlite', [pasts.sample(k, 1) for k in range(99)])
    spoil(path)
    answer = readonly.read_samples(str(path), *ALWAYS)
    assert isinstance(answer, Missing)
    assert said in answer.why


def execute(path, statement):
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()


def test_a_run_that_is_writing_is_waited_for(tmp_path):
    path = pasts.write(tmp_path / 'history.sqlite', [pasts.sample(0, 1)])
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute('BEGIN EXCLUSIVE')
    threading.Timer(0.3, lambda: writer.execute('COMMIT')).start()
    began = time.monotonic()
    assert readonly.read_samples(str(path), *ALWAYS) == [pasts.sample(0, 1)]
    assert time.monotonic() - began > 0.2
    writer.close()


def test_profiles_come_back_with_their_times(tmp_path):
    path = pasts.write(tmp_path / 'history.sqlite', pasts.incident(), pasts.profiles())
    got = readonly.read_profiles(str(path), *ALWAYS)
    assert [(past.at, past.boot_id, past.netns, past.quiet) for past in got] \
        == [(one.at.wall, one.boot_id, one.netns, quiet) for one, _, quiet in pasts.profiles()]
    assert got[-1].profile.states == pasts.profiles()[-1][1].states
    execute(path, "UPDATE profile SET text = '{}'")
    assert isinstance(readonly.read_profiles(str(path), *ALWAYS), Missing)
    assert not isinstance(readonly.read_samples(str(path), *ALWAYS), Missing)


def test_the_newest_of_the_usual_places(tmp_path, monkeypatch):
    monkeypatch.setattr(readonly, 'SYSTEM_DIRECTORY', str(tmp_path / 'system'))
    own = tmp_path / 'state' / f'check_conntrack-{os.geteuid()}' / 'history.sqlite'
    shared = tmp_path / 'system' / 'history.sqlite'
    candidates = readonly.candidate_files({'NAGIOS_PLUGIN_STATE_DIRECTORY': str(tmp_path / 'state')})
    assert candidates[:2] == [str(own), str(shared)]
    assert readonly.newest(candidates[:2]) is None
    assert not (tmp_path / 'state').exists(), 'looking makes no directories'
    for k, path in enumerate((own, shared)):
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1000 + k, 1000 + k))
    assert readonly.newest(candidates[:2]) == str(shared)


@pytest.mark.parametrize(('number', 'readable'), [(16, True), (17, False)])
def test_so_many_numbers_of_cpus(tmp_path, number, readable):
    samples = [pasts.sample(k, 1) for k in range(number)]
    samples = [one._replace(counters=one.counters._replace(per_cpu={'drop': (0,) * (k + 1)}))
               for k, one in enumerate(samples)]
    answer = readonly.read_samples(str(pasts.write(tmp_path / 'history.sqlite', samples)), *ALWAYS)
    assert (len(answer) == number) if readable else 'more numbers of CPUs' in answer.why


def test_root_looks_after_the_monitoring_s_users(monkeypatch):
    homes = {0: '/root', 110: '/var/lib/nagios', 999: '/home/me'}
    names = {0: 'root', 110: readonly.MONITORING_USERS[0], 999: 'me'}
    users = {uid: SimpleNamespace(pw_uid=uid, pw_name=names[uid], pw_dir=home) for uid, home in homes.items()}
    monkeypatch.setattr(readonly, 'pwd', SimpleNamespace(getpwall=users.values, getpwuid=users.__getitem__))
    place = '.local/state/check_conntrack/history.sqlite'
    for uid, seen in ((0, ['/root', '/var/lib/nagios']), (999, ['/home/me']), (5, [])):
        monkeypatch.setattr(readonly.os, 'geteuid', lambda uid=uid: uid)
        assert readonly.candidate_files({})[1:] == [f'{home}/{place}' for home in seen]
