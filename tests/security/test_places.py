"""Paths that lead through what somebody else can change: refused before anything is made or followed there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pasts
import pytest
from hostile import NOBODY

from check_conntrack_lib.history import location, readonly
from check_conntrack_lib.history.location import check_file, history_file
from check_conntrack_lib.model import Missing


def refusal(path: Path | str) -> str:
    answer = check_file(str(path))
    assert isinstance(answer, Missing), answer
    return answer.why


@pytest.fixture
def own(theirs: Path) -> Path:
    """A directory of root's below a sticky one like /tmp."""
    os.chown(theirs, 0, 0)
    theirs.chmod(0o1777)
    (theirs / 'target').mkdir(mode=0o700)
    return theirs


def test_a_link_of_another_user_in_a_directory_like_tmp(own: Path) -> None:
    (own / 'link').symlink_to(own / 'target')
    assert check_file(str(own / 'link' / 'h.sqlite')) == str(own / 'target' / 'h.sqlite')
    os.chown(own / 'link', NOBODY, NOBODY, follow_symlinks=False)
    assert refusal(own / 'link' / 'h.sqlite') == f'{own}/link is a link of another user'


def test_a_link_in_a_directory_of_another_user(theirs: Path) -> None:
    target = theirs / 'target'
    target.mkdir(mode=0o700)
    (theirs / 'link').symlink_to(target)
    assert refusal(theirs / 'link' / 'h.sqlite') == f'{theirs} belongs to another user'


def test_a_link_to_a_link_in_a_directory_of_another_user(own: Path) -> None:
    """Each directory of each link counts, not only that of the first and of the last."""
    (own / 'theirs').mkdir()
    (own / 'theirs' / 'second').symlink_to(own / 'target')
    os.chown(own / 'theirs', NOBODY, NOBODY)
    (own / 'first').symlink_to(own / 'theirs' / 'second')
    assert refusal(own / 'first' / 'h.sqlite') == f'{own}/theirs belongs to another user'
    (own / 'relative').symlink_to('theirs/../theirs/second')
    assert refusal(own / 'relative' / 'h.sqlite') == f'{own}/theirs belongs to another user'


def test_dots_after_a_link(own: Path) -> None:
    """As the kernel takes them, not as text."""
    (own / 'target' / 'deep').mkdir(mode=0o700)
    (own / 'target' / 'deep' / 'deeper').mkdir(mode=0o700)
    (own / 'link').symlink_to('target/deep/deeper')
    assert check_file(f'{own}/link/../h.sqlite') == f'{own}/target/deep/h.sqlite'
    assert check_file(f'{own}/./target//./h.sqlite') == f'{own}/target/h.sqlite'


def test_links_in_a_circle(own: Path) -> None:
    (own / 'a').symlink_to('b')
    (own / 'b').symlink_to('a')
    assert 'Too many levels' in refusal(own / 'a' / 'h.sqlite')


def test_nothing_is_made_before_the_place_is_known_to_be_safe(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(theirs / 'none'))
    answer = history_file({'NAGIOS_PLUGIN_STATE_DIRECTORY': str(theirs / 'x' / 'y')})
    assert isinstance(answer, Missing)
    assert answer.why == f'{theirs} belongs to another user'
    assert os.listdir(theirs) == []


def test_a_link_in_the_place_of_the_state_directory(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(own / 'none'))
    link = own / f'check_conntrack-{os.geteuid()}'
    link.symlink_to(own / 'target')
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    answer = history_file({'NAGIOS_PLUGIN_STATE_DIRECTORY': str(own)})
    assert isinstance(answer, Missing)
    assert 'is a link of another user' in answer.why
    assert os.listdir(own / 'target') == []


@pytest.mark.parametrize('kind', ['fifo', 'device', 'socket'])
def test_what_is_no_directory_on_the_way(own: Path, kind: str) -> None:
    path = own / 'x'
    if kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    else:
        path.symlink_to('/dev/log')
    answer = check_file(str(path / 'h.sqlite'))
    assert isinstance(answer, Missing)
    answer = check_file(str(path))
    assert isinstance(answer, Missing)


def test_two_first_runs_make_the_directory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, 'SYSTEM_DIRECTORY', str(tmp_path / 'none'))
    answers: list[str | Missing] = []
    threads = [threading.Thread(target=lambda: answers.append(history_file(
        {'NAGIOS_PLUGIN_STATE_DIRECTORY': str(tmp_path / 'a' / 'b' / 'c')}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(str, answers))) == 1
    assert (tmp_path / 'a').stat().st_mode & 0o777 == 0o700


def test_no_descriptor_is_left_open(tmp_path: Path, own: Path) -> None:
    (own / 'a').symlink_to('b')
    before = len(os.listdir('/proc/self/fd'))
    for path in (tmp_path / 'h', own / 'a' / 'h', own / 'none' / 'h', own / 'target' / 'h', own / 'target/../h'):
        check_file(str(path))
    assert len(os.listdir('/proc/self/fd')) == before


@pytest.mark.parametrize('kind', ['fifo', 'link', 'directory', 'file'])
def test_a_journal_that_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    """SQLite would open it by its name: a FIFO held `history` for ever, the check until its timeout."""
    file, journal = tmp_path / 'h.sqlite', tmp_path / 'h.sqlite-journal'
    tmp_path.chmod(0o700)
    pasts.write(file, [pasts.sample(0, 1)])
    {'fifo': lambda: os.mkfifo(journal), 'link': lambda: journal.symlink_to('/dev/zero'),
     'directory': journal.mkdir, 'file': journal.touch}[kind]()
    answer = readonly.read_samples(str(file), 0, 1e12)
    if kind == 'file':
        assert check_file(str(file)) == str(file)
        assert isinstance(answer, list)
        return
    fault = 'is a symbolic link' if kind == 'link' else 'is not a regular file'
    assert refusal(file) == f'{journal} {fault}'
    assert isinstance(answer, Missing)
    assert answer.why == f'{journal} {fault}'
