"""Where the history may lie, and every place that is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from check_conntrack_lib.history import location, readonly
from check_conntrack_lib.history.location import check_file, history_file
from check_conntrack_lib.model import Missing

NOBODY = 65534


def refusal(path: Path) -> str:
    answer = check_file(str(path))
    assert isinstance(answer, Missing), answer
    return answer.why


def test_a_private_file_is_taken(tmp_path: Path) -> None:
    assert check_file(str(tmp_path / 'h.sqlite')) == str(tmp_path / 'h.sqlite')
    (tmp_path / 'h.sqlite').touch(0o600)
    assert check_file(str(tmp_path / 'h.sqlite')) == str(tmp_path / 'h.sqlite')


def test_directories_that_others_can_write(tmp_path: Path) -> None:
    shared = tmp_path / 'shared'
    shared.mkdir()
    for mode in (0o777, 0o1777, 0o770, 0o702):
        shared.chmod(mode)
        assert refusal(shared / 'h.sqlite') == f'others may write to {shared}'
    (shared / 'mine').mkdir(mode=0o700)
    shared.chmod(0o777)
    assert refusal(shared / 'mine' / 'h.sqlite') == f'others may write to {shared}'
    shared.chmod(0o1777)
    assert check_file(str(shared / 'mine' / 'h.sqlite')) == str(shared / 'mine' / 'h.sqlite')


def test_files_that_are_a_trap(tmp_path: Path) -> None:
    (tmp_path / 'target').touch(0o600)
    link = tmp_path / 'link.sqlite'
    link.symlink_to(tmp_path / 'target')
    assert refusal(link) == f'{link} is a symbolic link'
    hard = tmp_path / 'hard.sqlite'
    hard.hardlink_to(tmp_path / 'target') if hasattr(hard, 'hardlink_to') else os.link(tmp_path / 'target', hard)
    assert refusal(hard) == f'{hard} has another hard link'
    os.mkfifo(tmp_path / 'fifo.sqlite')
    assert refusal(tmp_path / 'fifo.sqlite') == f'{tmp_path}/fifo.sqlite is not a regular file'
    (tmp_path / 'dir.sqlite').mkdir()
    assert refusal(tmp_path / 'dir.sqlite') == f'{tmp_path}/dir.sqlite is not a regular file'
    loose = tmp_path / 'loose.sqlite'
    loose.touch()
    loose.chmod(0o666)
    assert refusal(loose) == f'{loose} can be written by others'
    assert refusal(tmp_path / 'none' / 'h.sqlite') == f'{tmp_path}/none: No such file or directory'


def test_names_of_others(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip('giving files away needs root')
    (tmp_path / 'theirs').mkdir()
    os.chown(tmp_path / 'theirs', NOBODY, NOBODY)
    assert refusal(tmp_path / 'theirs' / 'h.sqlite') == f'{tmp_path}/theirs belongs to another user'
    (tmp_path / 'theirs' / 'root').mkdir(mode=0o700)
    assert refusal(tmp_path / 'theirs' / 'root' / 'h.sqlite') == f'{tmp_path}/theirs belongs to another user'
    (tmp_path / 'h.sqlite').touch(0o600)
    os.chown(tmp_path / 'h.sqlite', NOBODY, NOBODY)
    assert refusal(tmp_path / 'h.sqlite') == f'{tmp_path}/h.sqlite belongs to another user'


def test_a_directory_behind_a_link_is_judged_itself(tmp_path: Path) -> None:
    (tmp_path / 'real').mkdir(mode=0o700)
    (tmp_path / 'way').symlink_to(tmp_path / 'real')
    assert check_file(str(tmp_path / 'way' / 'h.sqlite')) == str(tmp_path / 'real' / 'h.sqlite')


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(tmp_path / 'system'))
    uid = os.geteuid()
    environment = {'NAGIOS_PLUGIN_STATE_DIRECTORY': str(tmp_path / 'given')}
    given = tmp_path / 'given' / f'check_conntrack-{uid}' / 'history.sqlite'
    (tmp_path / 'given').mkdir()
    assert history_file(environment) == str(given)
    assert given.parent.stat().st_mode & 0o777 == 0o700
    (tmp_path / 'system').mkdir()
    assert history_file({}) == str(tmp_path / 'system' / 'history.sqlite')
    assert history_file({**environment, 'SUDO_UID': '1000'}) == str(tmp_path / 'system' / 'history.sqlite')


def test_home_of_the_user_not_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(tmp_path / 'none'))
    home = tmp_path / 'home'
    home.mkdir()
    monkeypatch.setattr(location.pwd, 'getpwuid', lambda _uid: type('Entry', (), {'pw_dir': str(home)}))
    assert history_file({'HOME': '/tmp'}) == str(home / '.local/state/check_conntrack/history.sqlite')
    monkeypatch.setattr(location.pwd, 'getpwuid', lambda _uid: type('Entry', (), {'pw_dir': '/nonexistent'}))
    answer = history_file({})
    assert isinstance(answer, Missing)
    assert answer.why == 'this user has no home directory'


def test_the_state_directory_of_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """StateDirectory=, also with DynamicUser=: /var/lib/check_conntrack is then root's link into /var/lib/private."""
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(tmp_path / 'none'))
    home, own, other = tmp_path / 'home', tmp_path / 'private' / 'check_conntrack', tmp_path / 'icinga2'
    for place in (home, own, other):
        place.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(location.pwd, 'getpwuid', lambda _uid: type('Entry', (), {'pw_dir': str(home)}))
    in_home = str(home / '.local/state/check_conntrack/history.sqlite')
    # one of the check's own name comes first, whatever else the unit has
    assert history_file({'STATE_DIRECTORY': f'{other}:{own}'}) == str(own / 'history.sqlite')
    assert str(own / 'history.sqlite') in readonly.candidate_files({'STATE_DIRECTORY': f'{other}:{own}'})
    # the daemon's, which runs the check among others: only where the user has no home of his own
    assert history_file({'STATE_DIRECTORY': str(other)}) == in_home
    monkeypatch.setattr(location.pwd, 'getpwuid', lambda _uid: type('Entry', (), {'pw_dir': '/nonexistent'}))
    assert history_file({'STATE_DIRECTORY': str(other)}) == str(other / 'check_conntrack/history.sqlite')
    assert str(other / 'check_conntrack/history.sqlite') in readonly.candidate_files({'STATE_DIRECTORY': str(other)})
    # under sudo it is the caller's; a relative one is none
    for environment in ({'STATE_DIRECTORY': str(own), 'SUDO_UID': '1000'}, {'STATE_DIRECTORY': 'check_conntrack'}):
        assert isinstance(history_file(environment), Missing)
        assert not [path for path in readonly.candidate_files(environment) if str(tmp_path) in path]
    # outside of the unit: the link
    link = tmp_path / 'link'
    link.symlink_to(own)
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(link))
    assert history_file({}) == str(own / 'history.sqlite')


def test_nothing_is_left_open(tmp_path: Path) -> None:
    (tmp_path / 'real').mkdir(mode=0o700)
    (tmp_path / 'way').symlink_to(tmp_path / 'real')
    before = os.listdir('/proc/self/fd')
    for path in (tmp_path / 'real/../way/h.sqlite', tmp_path / 'none/../h.sqlite', tmp_path / 'way/../../x/h.sqlite'):
        check_file(str(path))
    assert check_file(f'{tmp_path}/real/../way/h.sqlite') == f'{tmp_path}/real/h.sqlite'
    assert os.listdir('/proc/self/fd') == before


def test_a_name_that_no_file_has(tmp_path: Path) -> None:
    # the path in the text is cut
    assert refusal(tmp_path / ('x' * 300)).endswith(': File name too long')


ME, OTHER = os.geteuid(), os.geteuid() + 1
FORBIDDEN = '{} belongs to another user'
WRITABLE = 'others may write to {}'


@pytest.mark.parametrize(('owner', 'mode', 'fault', 'of_the_last'), [
    (ME, 0o700, '', ''), (ME, 0o755, '', ''), (ME, 0o720, WRITABLE, WRITABLE), (ME, 0o702, WRITABLE, WRITABLE),
    (ME, 0o1777, '', WRITABLE), (ME, 0o1700, '', ''), (OTHER, 0o700, FORBIDDEN, FORBIDDEN),
    (0, 0o755, '', '' if ME == 0 else FORBIDDEN), (0, 0o1777, '', WRITABLE if ME == 0 else FORBIDDEN)])
def test_what_makes_a_directory_unfit(owner: int, mode: int, fault: str, of_the_last: str) -> None:
    status: Any = SimpleNamespace(st_uid=owner, st_mode=stat.S_IFDIR | mode)
    assert location._directory_fault(status, False) == fault
    assert location._directory_fault(status, True) == of_the_last


@pytest.mark.parametrize(('kind', 'mode', 'links', 'owner', 'fault'), [
    (stat.S_IFREG, 0o600, 1, ME, ''), (stat.S_IFREG, 0o644, 1, ME, ''),
    (stat.S_IFREG, 0o620, 1, ME, 'can be written by others'), (stat.S_IFREG, 0o602, 1, ME, 'can be written by others'),
    (stat.S_IFREG, 0o600, 2, ME, 'has another hard link'), (stat.S_IFREG, 0o600, 1, OTHER, 'belongs to another user'),
    (stat.S_IFLNK, 0o777, 1, ME, 'is a symbolic link'), (stat.S_IFIFO, 0o600, 1, ME, 'is not a regular file')])
def test_what_makes_a_file_unfit(kind: int, mode: int, links: int, owner: int, fault: str) -> None:
    status: Any = SimpleNamespace(st_uid=owner, st_mode=kind | mode, st_nlink=links)
    assert location._file_fault(status) == fault


@pytest.mark.parametrize(('number', 'fault'), [(40, ''), (41, 'x40: Too many levels of symbolic links')])
def test_as_many_links_as_the_kernel_follows(tmp_path: Path, number: int, fault: str) -> None:
    (tmp_path / 'real').mkdir(mode=0o700)
    for k in range(number):
        (tmp_path / f'x{k}').symlink_to(f'x{k + 1}' if k + 1 < number else 'real')
    before = os.listdir('/proc/self/fd')
    answer = check_file(f'{tmp_path}/x0/h.sqlite')
    assert answer == f'{tmp_path}/real/h.sqlite' if not fault else answer == Missing(
        f'{tmp_path}/{fault}', 'keep the history in a directory that only this user can write')
    assert os.listdir('/proc/self/fd') == before


def test_a_link_that_another_user_left(tmp_path: Path) -> None:
    if ME:
        pytest.skip('giving files away needs root')
    (tmp_path / 'real').mkdir(mode=0o700)
    (tmp_path / 'way').symlink_to('real')
    os.chown(tmp_path / 'way', NOBODY, NOBODY, follow_symlinks=False)
    assert refusal(tmp_path / 'way' / 'h.sqlite') == f'{tmp_path}/way is a link of another user'


def test_ways_through_a_tree(tmp_path: Path) -> None:
    (tmp_path / 'a/b').mkdir(parents=True, mode=0o700)
    for name, target in (('absolute', f'{tmp_path}/a'), ('up', 'a/b/../..'), ('here', '.'), ('root', '/')):
        (tmp_path / name).symlink_to(target)
    real = {'absolute/b': 'a/b', 'up/a': 'a', 'here/a/b': 'a/b', f'root{tmp_path}/a': 'a', 'a/../a/./b//': 'a/b',
            'root/../..' + str(tmp_path): '.'}
    for way, place in real.items():
        assert check_file(f'{tmp_path}/{way}/h.sqlite') == os.path.normpath(f'{tmp_path}/{place}/h.sqlite'), way
    (tmp_path / 'file').touch()
    assert refusal(tmp_path / 'file' / 'h.sqlite') == f'{tmp_path}/file is not a directory'
    # what others may write is refused wherever it is on the way, and the last directory must be one's own
    (tmp_path / 'a').chmod(0o777)
    for way in ('absolute/b', 'a/b', 'a', 'a/b/../..'):
        assert refusal(tmp_path / way / 'h.sqlite') == f'others may write to {tmp_path}/a'
    (tmp_path / 'a').chmod(0o1777)
    for way in ('absolute', 'a', 'a/b/..'):
        assert refusal(tmp_path / way / 'h.sqlite') == f'others may write to {tmp_path}/a'
        assert check_file(f'{tmp_path}/{way}/h.sqlite', private=False) == f'{tmp_path}/a/h.sqlite'


def test_relative_paths_and_the_root_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    assert check_file('h.sqlite') == check_file('./h.sqlite') == f'{tmp_path}/h.sqlite'
    assert check_file('/h.sqlite') == ('/h.sqlite' if ME == 0 else Missing(
        '/ belongs to another user', 'keep the history in a directory that only this user can write'))


def test_in_a_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'gone').mkdir()
    monkeypatch.chdir(tmp_path / 'gone')
    (tmp_path / 'gone').rmdir()
    assert check_file('sub/h.sqlite') == Missing('sub: No such file or directory')
    made = check_file('sub/h.sqlite', make=True)
    assert isinstance(made, Missing)
    assert made.remedy.startswith('make /var/lib/check_conntrack owned by')


def test_links_of_root_and_of_oneself_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'real').mkdir()
    (tmp_path / 'way').symlink_to('real')
    tmp_path.chmod(0o755)
    for uid in (ME, *((4711,) if ME == 0 else ())):
        monkeypatch.setattr(location.os, 'geteuid', lambda uid=uid: uid)
        assert check_file(f'{tmp_path}/way/h.sqlite', private=False) == f'{tmp_path}/real/h.sqlite'


def test_directories_are_made_for_oneself_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    before = os.umask(0)
    try:
        assert check_file(f'{tmp_path}/a/b/h.sqlite', make=True) == f'{tmp_path}/a/b/h.sqlite'
    finally:
        os.umask(before)
    assert [os.stat(tmp_path / one).st_mode & 0o7777 for one in ('a', 'a/b')] == [0o700] * 2
    assert refusal(tmp_path / 'c' / 'h.sqlite') == f'{tmp_path}/c: No such file or directory'
    assert not (tmp_path / 'c').exists()


@pytest.mark.parametrize(('error', 'raised'), [
    (errno.ENOLCK, None), (errno.EOPNOTSUPP, None), (errno.EBADF, 'Bad file descriptor'),
    (errno.EWOULDBLOCK, 'in use by another run')])
def test_who_has_the_directory_for_himself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int,
                                           raised: str | None) -> None:
    now = [50.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def flock(_handle: int, lock: int) -> None:
        assert lock == fcntl.LOCK_SH | fcntl.LOCK_NB
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(location, 'time', SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(location.fcntl, 'flock', flock)
    before = os.listdir('/proc/self/fd')
    if raised:
        with pytest.raises(OSError, match=raised), location.locked(str(tmp_path / 'h'), fcntl.LOCK_SH, 1.5):
            pass
    else:
        with location.locked(str(tmp_path / 'h'), fcntl.LOCK_SH, 1.5):
            pass
    assert os.listdir('/proc/self/fd') == before
    waited = now[0] - 50
    assert 1.5 <= waited < 1.52 if error == errno.EWOULDBLOCK else waited == 0


def test_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(tmp_path / 'none'))
    remedy = 'make /var/lib/check_conntrack owned by the user who runs the check, mode 0750, or give --history FILE'

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(location.pwd, 'getpwuid', unknown)
    assert history_file({}) == Missing(f'user {ME} has no home', remedy)
    for home in ('relative', '/dev/null'):
        monkeypatch.setattr(location.pwd, 'getpwuid', lambda _uid, home=home: SimpleNamespace(pw_dir=home))
        assert history_file({}) == Missing('this user has no home directory', remedy)
