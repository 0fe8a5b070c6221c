"""Files of another root directory, and of modules in it: links stay inside, and what is no file is empty."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.readers import module_files, root_files
from check_conntrack_lib.readers.module_files import ModuleSetup
from check_conntrack_lib.readers.root_files import inside, read_text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / 'etc/x').mkdir(parents=True)
    (tmp_path / 'etc/file').write_text('text')
    for name, target in (('absolute', '/etc/file'), ('relative', '../file'), ('above', '../../../../etc/file'),
                         ('circle', 'circle'), ('broken', 'nothing'), ('long', 'x39')):
        (tmp_path / 'etc/x' / name).symlink_to(target)
    for k in range(40):
        (tmp_path / f'etc/x/x{k}').symlink_to(f'x{k - 1}' if k else '../file')
    return tmp_path


@pytest.mark.parametrize('path', ['etc/file', 'etc/./x//../file', 'etc/x/absolute', 'etc/x/relative', 'etc/x/above',
                                  'etc/x/x39'])
def test_links_stay_inside(root: Path, path: str) -> None:
    assert inside(str(root), path) == f'{root}/etc/file'
    assert read_text(str(root), path) == 'text'


def test_the_own_root_is_opened_as_it_is() -> None:
    assert inside('/', 'etc/../x') == '/etc/../x'


@pytest.mark.parametrize('path', ['etc/x/circle', 'etc/x/long'])
def test_more_links_than_the_kernel_follows(root: Path, path: str) -> None:
    with pytest.raises(OSError, match=path) as raised:
        inside(str(root), path)
    assert raised.value.errno == errno.ELOOP
    assert read_text(str(root), path) == ''


def test_what_is_no_file_is_empty(root: Path) -> None:
    os.mkfifo(root / 'etc/fifo')
    assert [read_text(str(root), path) for path in ('etc', 'etc/fifo', 'etc/x/broken', 'etc/none', 'etc/file/x')] == [
        ''] * 5


def test_what_cannot_be_opened_is_no_empty_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(root_files.os, 'open', refused)
    with pytest.raises(PermissionError):
        read_text(str(root), 'etc/file')


def test_the_beginning_of_a_large_file(root: Path) -> None:
    (root / 'etc/large').write_bytes(b'a' * (1 << 18) + b'b')
    assert read_text(str(root), 'etc/large') == 'a' * (1 << 18)
    (root / 'etc/latin').write_bytes(b'\xe9')
    assert read_text(str(root), 'etc/latin') == '\ufffd'


@pytest.mark.parametrize(('files', 'setup'), [
    ({}, ModuleSetup()),
    ({'etc/modules-load.d/a.conf': '#nf_conntrack\n', 'etc/modules-load.d/b': 'nf_conntrack\n'}, ModuleSetup()),
    ({'usr/lib/modules-load.d/b.conf': ' nf_conntrack\n', 'etc/modules': 'nf_conntrack'}, ModuleSetup('/etc/modules')),
    ({'usr/lib/modules-load.d/b.conf': 'x\nip_conntrack\n', 'run/modules-load.d/c.conf': 'nf_conntrack_ftp\n'},
     ModuleSetup('/usr/lib/modules-load.d/b.conf')),
    ({'etc/modprobe.d/a.conf': 'options nf_conntrack expect_hashsize=1 hashsize=65536\n'
                               '#options nf_conntrack hashsize=9\n',
      'etc/modprobe.d/b.conf': 'options nf_conntrack hashsize=1024 acct=1\noptions nf_nat hashsize=7'},
     ModuleSetup(hashsize=1024)),
    ({'etc/firewalld/firewalld.conf': 'CleanupOnExit=no\n'}, ModuleSetup(unloaded_by_firewalld=True)),
    ({'etc/firewalld/firewalld.conf': ' CleanupModulesOnExit = No\n'}, ModuleSetup()),
], ids=['none', 'comment', 'Debian', 'old name', 'hash size', 'firewalld', 'firewalld keeps it'])
def test_how_the_module_is_loaded(tmp_path: Path, files: dict[str, str], setup: ModuleSetup) -> None:
    for name, text in files.items():
        (tmp_path / '1/root' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / '1/root' / name).write_text(text)
    assert module_files.read(Host(str(tmp_path))) == setup


def test_a_folder_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_files, 'MOST_FILES', 2)
    folder = tmp_path / '1/root/etc/modules-load.d'
    folder.mkdir(parents=True)
    for name in 'abc':
        (folder / f'{name}.conf').write_text('' if name < 'c' else 'nf_conntrack\n')
    assert module_files.read(Host(str(tmp_path))).loaded_by == ''
    (folder / 'a.conf').unlink()
    assert module_files.read(Host(str(tmp_path))).loaded_by == '/etc/modules-load.d/c.conf'
