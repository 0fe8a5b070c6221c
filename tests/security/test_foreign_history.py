"""Another user's history, given to root's doctor: read with that user's rights and within limits, or refused."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import hostile
import pasts
import proctree
import pytest
from hostile import NOBODY

from check_conntrack_lib.doctor import cli
from check_conntrack_lib.history import foreign, foreign_child, readonly
from check_conntrack_lib.model import Missing

ALWAYS = (float('-inf'), float('inf'))


def give(path: Path) -> str:
    os.chown(path, NOBODY, NOBODY)
    return str(path)


def test_a_sound_one_is_read_and_nothing_is_left_beside_it(theirs: Path) -> None:
    path = give(pasts.write(theirs / 'history.sqlite', pasts.incident(), pasts.profiles()))
    own = pasts.write(theirs / 'own.sqlite', pasts.incident(), pasts.profiles())
    theirs.chmod(0o700)
    before = (os.stat(path).st_mtime_ns, Path(path).read_bytes(), sorted(os.listdir(theirs)))
    assert readonly.read_samples(path, *ALWAYS) == sorted(pasts.incident(), key=lambda one: one.at.wall)
    assert len(readonly.read_profiles(path, *ALWAYS)) == len(pasts.profiles())  # type: ignore[arg-type]
    assert before == (os.stat(path).st_mtime_ns, Path(path).read_bytes(), sorted(os.listdir(theirs)))
    assert not hostile.children()
    os.unlink(own)


def test_it_is_read_with_the_rights_of_its_owner_only(theirs: Path) -> None:
    """Root could read it; its owner cannot come there."""
    inside = theirs / 'closed'
    inside.mkdir(mode=0o700)  # root's
    path = give(pasts.write(inside / 'history.sqlite', [pasts.sample(0, 1)]))
    answer = readonly.read_samples(path, *ALWAYS)
    assert isinstance(answer, Missing)
    assert 'Permission denied' in answer.why
    assert answer.remedy.startswith('sudo -u nobody conntrack-doctor history')


def test_a_link_in_the_place_of_the_file(theirs: Path) -> None:
    """As if it had been exchanged after root looked."""
    secret = pasts.write(theirs / 'of-root.sqlite', [pasts.sample(0, 1)])
    secret.chmod(0o600)
    for way in (theirs / 'link', theirs / 'directory' / 'of-root.sqlite'):
        if way.name == 'link':
            way.symlink_to(secret)
        else:
            way.parent.symlink_to(theirs)
        answer = foreign.load(str(way), NOBODY)
        assert isinstance(answer, Missing)


@pytest.mark.parametrize('name', ['fifo', '/dev/zero', '/dev/kmsg', '/etc/shadow', 'directory'])
def test_what_is_no_file_is_refused_without_waiting(theirs: Path, name: str) -> None:
    path = theirs / 'history.sqlite'
    if name == 'fifo':
        os.mkfifo(path)
    elif name == 'directory':
        path.mkdir()
    else:
        path = Path(name)
    began = time.monotonic()
    for answer in (foreign.load(str(path), NOBODY), readonly.read_samples(str(path), *ALWAYS)):
        assert isinstance(answer, Missing)
    assert time.monotonic() - began < foreign.LONGEST / 2


@pytest.mark.parametrize('case', hostile.SCHEMAS)
def test_tables_that_are_not_ours(theirs: Path, case: str) -> None:
    path = give(hostile.write(theirs / 'history.sqlite', statements=hostile.SCHEMAS[case]))
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    answer = readonly.read_samples(path, *ALWAYS)
    assert isinstance(answer, Missing), answer
    assert 'write-ahead log' in answer.why if case == 'wal' else 'its tables are not those' in answer.why
    assert os.listdir(theirs) == ['history.sqlite']
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 5
    # nor from a file of one's own
    os.chown(path, 0, 0)
    os.chown(theirs, 0, 0)
    theirs.chmod(0o700)
    assert isinstance(readonly.read_samples(path, *ALWAYS), Missing)
    assert os.listdir(theirs) == ['history.sqlite']


def test_a_write_ahead_log_that_appears_after_the_look(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = give(hostile.write(theirs / 'history.sqlite'))
    other = hostile.write(theirs / 'other.sqlite', statements=hostile.SCHEMAS['wal'])
    give(other)
    check = foreign_child.check_header

    def exchange(handle: int, owner: int) -> None:
        check(handle, owner)
        os.rename(other, path)

    monkeypatch.setattr(foreign_child, 'check_header', exchange)
    answer = foreign.load(path, NOBODY)
    assert os.listdir(theirs) == ['history.sqlite']
    if not isinstance(answer, Missing):
        answer.close()


@pytest.mark.parametrize('case', hostile.ROWS)
@pytest.mark.parametrize('owner', [0, NOBODY])
def test_values_that_cannot_be(theirs: Path, case: str, owner: int) -> None:
    theirs.chmod(0o700)
    path = hostile.write(theirs / 'history.sqlite', **hostile.ROWS[case])
    for place in (theirs, path):
        os.chown(place, owner, owner)
    answer = readonly.read_samples(str(path), *ALWAYS)
    assert isinstance(answer, Missing), answer
    assert len(answer.why) < 400
    assert cli.main(['history', '--csv', '--file', str(path)]) == 2


@pytest.mark.slow
@pytest.mark.parametrize('case', ['no-drop', 'year'])
def test_triage_goes_on_without_it(theirs: Path, case: str) -> None:
    path = give(hostile.write(theirs / 'history.sqlite', **hostile.ROWS[case]))
    for option in ((), ('--json',)):
        done = proctree.doctor('triage', *option, '--history', path)
        assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.slow
@pytest.mark.parametrize('boot_id', hostile.BOOTS)
def test_boot_ids_that_are_none(theirs: Path, boot_id: str) -> None:
    path = give(hostile.write(theirs / 'history.sqlite', boot_id=boot_id))
    done = proctree.doctor('history', '--csv', '--file', path)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.rstrip('\n').isprintable()


@pytest.mark.slow
def test_thousands_of_rows_that_say_much_in_few_letters(theirs: Path) -> None:
    """Each its own number of CPUs: 8 bytes of memory a CPU, without end."""
    path = hostile.write(theirs / 'history.sqlite', rows=1)
    database = sqlite3.connect(path)
    names = ', '.join(hostile.SAMPLE)
    database.executemany(
        f'INSERT INTO sample ({names}) VALUES ({", ".join("?" * len(hostile.SAMPLE))})',
        [tuple({**hostile.SAMPLE, 'counters': f'{{"cpus":{8192 - k % 4000},"zero":"defcrims"}}'}.values())
         for k in range(20000)])
    database.commit()
    database.close()
    answer = readonly.read_samples(give(path), *ALWAYS)
    assert isinstance(answer, Missing)
    assert 'more numbers of CPUs' in answer.why


def test_a_larger_file_than_a_history_can_be(theirs: Path) -> None:
    path = Path(give(hostile.write(theirs / 'history.sqlite')))
    os.truncate(path, foreign_child.LARGEST_FILE + 1)
    answer = readonly.read_samples(str(path), *ALWAYS)
    assert isinstance(answer, Missing)
    assert '64 MiB' in answer.why


@pytest.mark.slow
def test_profiles_of_any_text(theirs: Path) -> None:
    for k, text in enumerate((hostile.profile(states=[[6, '$(id)', 1]]), hostile.profile(sources=[['1.2.3.4;id', 1]]),
                              hostile.profile(services=[[6, '80;id', 1]]),
                              hostile.profile(states=[[6, 'A' * 65, 1]]),
                              hostile.profile(sources=[[':' * 50000, 1]]),
                              hostile.profile(sources=[['1.2.3.4', 1]] * 2000), hostile.profile(entries=1 << 40))):
        path = give(hostile.write(theirs / f'{k}.sqlite', profile=text))
        assert isinstance(readonly.read_profiles(path, *ALWAYS), Missing), text[:200]


@pytest.mark.slow
def test_sigint_ends_it_at_once(theirs: Path) -> None:
    """While the owner keeps the file locked."""
    path = give(hostile.write(theirs / 'history.sqlite'))
    with open(path, 'r+b') as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0x40000000)
        process = subprocess.Popen(proctree.command('history', '--file', path), cwd=proctree.ROOT,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        hostile.wait_for(lambda: hostile.children(process.pid))
        child, = hostile.children(process.pid)
        hostile.wait_for(lambda: f'Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n'
                         in Path(f'/proc/{child}/status').read_text())
        status = Path(f'/proc/{child}/status').read_text()
        assert 'Groups:\t \n' in status
        hostile.wait_for(lambda: 'NoNewPrivs:\t1' in Path(f'/proc/{child}/status').read_text())
        limits = Path(f'/proc/{child}/limits').read_text()
        assert limits.count(' 0                    0 ') >= 3, limits  # file size, core, processes
        assert {os.readlink(f'/proc/{child}/fd/{number}') for number in (0, 1, 2)} == {'/dev/null'}
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert time.monotonic() - began < foreign_child.READING_PATIENCE / 2
        hostile.wait_for(lambda: not Path(f'/proc/{child}').exists())


def test_one_that_stays_locked_is_not_waited_for_long(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_child, 'READING_PATIENCE', 0.2)
    path = give(hostile.write(theirs / 'history.sqlite'))
    with open(path, 'r+b') as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0x40000000)
        answer = readonly.read_samples(path, *ALWAYS)
    assert isinstance(answer, Missing)
    assert 'database is locked' in answer.why


@pytest.mark.slow
def test_a_child_that_says_nothing_or_nonsense(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its user may have taken it over."""
    path = give(hostile.write(theirs / 'history.sqlite'))
    monkeypatch.setattr(foreign, 'LONGEST', 0.5)
    monkeypatch.setattr(foreign_child, '_rows', lambda *_: iter(lambda: time.sleep(60), 1))
    answer = foreign.load(path, NOBODY)
    assert isinstance(answer, Missing)
    assert 'not read within' in answer.why
    monkeypatch.setattr(foreign, 'LONGEST', 2.0)
    for lines in (b'[' * 100_000 + b'\n', b'["sample"]\n["end"]\n', b'["sqlite_master",1]\n', b'5\n', b'{"a":1}\n',
                  b'["boot",1,true]\n', b'["boot",NaN,"a"]\n', b'["boot",1e999,"a"]\n', b'\xff\n', b'',
                  b'["boot",' + b'9' * 3000 + b',"a"]\n', b'["boot",1,"a"]\n["boot",1,"a"]\n["end"]\n',
                  b'x' * (3 * foreign.LONGEST_VALUE)):
        monkeypatch.setattr(foreign_child, '_rows', lambda *_, lines=lines: foreign_child._write(
            max(int(name) for name in os.listdir('/proc/self/fd') if int(name) < 20), lines) or iter(()))
        monkeypatch.setattr(foreign_child.json, 'dumps', lambda *_, **__: '')
        answer = foreign.load(path, NOBODY)
        assert isinstance(answer, Missing) or lines == b'', lines[:50]
        if not isinstance(answer, Missing):
            answer.close()
    assert not hostile.children()


def test_a_run_of_the_owner_is_waited_for(theirs: Path) -> None:
    path = give(pasts.write(theirs / 'history.sqlite', [pasts.sample(0, 1)]))
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute('BEGIN EXCLUSIVE')
    threading.Timer(0.3, lambda: writer.execute('COMMIT')).start()
    assert readonly.read_samples(path, *ALWAYS) == [pasts.sample(0, 1)]
    writer.execute('BEGIN IMMEDIATE')
    writer.execute('UPDATE sample SET entries = 2')
    assert readonly.read_samples(path, *ALWAYS) == [pasts.sample(0, 1)], 'as it was before that transaction'
    writer.execute('ROLLBACK')
    writer.close()


def test_an_interrupted_write_is_not_taken_for_sound(theirs: Path) -> None:
    path = give(pasts.write(theirs / 'history.sqlite', [pasts.sample(0, 1)]))
    journal = Path(path + '-journal')
    journal.write_bytes(foreign_child.HOT_JOURNAL + bytes(504))
    answer = readonly.read_samples(path, *ALWAYS)
    assert isinstance(answer, Missing)
    assert 'interrupted' in answer.why
    journal.unlink()
    journal.symlink_to('/etc/shadow')
    assert not isinstance(readonly.read_samples(path, *ALWAYS), Missing)


def test_the_own_history_comes_before_a_newer_one(theirs: Path) -> None:
    own = theirs.parent / f'{theirs.name}-own.sqlite'
    pasts.write(own, [pasts.sample(0, 1)])
    try:
        path = give(pasts.write(theirs / 'history.sqlite', [pasts.sample(0, 1)]))
        os.utime(path, (2e9, 2e9))
        assert readonly.newest([path, str(own)]) == str(own)
        assert readonly.newest([path]) == path
    finally:
        own.unlink()


def test_the_own_file_in_a_place_of_others(theirs: Path) -> None:
    """They could put a device in its place: it is not opened. In /tmp they cannot."""
    path = pasts.write(theirs / 'history.sqlite', [pasts.sample(0, 1)])
    answer = readonly.read_samples(str(path), *ALWAYS)
    assert isinstance(answer, Missing)
    assert 'copy it' in answer.remedy
    theirs.chmod(0o1777)
    os.chown(theirs, 0, 0)
    assert readonly.read_samples(str(path), *ALWAYS) == [pasts.sample(0, 1)]
    wal = Path(f'{path}-wal')
    wal.write_bytes(b'x')
    assert readonly.read_samples(str(path), *ALWAYS) == [pasts.sample(0, 1)]
