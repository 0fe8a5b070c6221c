"""Where the history may lie, and every place that is refused."""

from __future__ import annotations

import os
from pathlib import Path

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
