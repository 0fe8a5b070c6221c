"""Names by which somebody makes his own look like root's: process titles, cgroups, what a history has recorded."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import hostile
import pytest
from hostile import NOBODY
from netns_tree import Proc

from check_conntrack_lib.doctor import cli
from check_conntrack_lib.doctor.export import all_namespaces
from check_conntrack_lib.formatting import clean_name
from check_conntrack_lib.host import Host
from check_conntrack_lib.netns import cgroup, discover, mounts, names, owner
from check_conntrack_lib.netns.discover import Namespace
from check_conntrack_lib.netns.selection import select

FOREIGN = '\n\x1b[2J|<b>`id`$(id);"\'\u202e\u200b=' + 'x' * 5000
#: titles that a process gives itself, to be taken for a container's parent
PARENTS = {
    'podman': ('conmon', '-n', FOREIGN), 'podman by its id': ('conmon', '-c', FOREIGN),
    'cri-o': ('conmon', '-n', f'k8s_a_{FOREIGN}_{FOREIGN}_b_0'),
    'containerd': ('containerd-shim-runc-v2', '-namespace', FOREIGN, '-id', FOREIGN),
    'docker': ('containerd-shim', '-namespace', 'moby', '-id', FOREIGN),
    'lxc': (f'[lxc monitor] / {FOREIGN}',), 'lxc as the host': ('[lxc monitor] / host',),
    'nspawn': ('systemd-nspawn', '-M', FOREIGN), 'firejail': ('firejail', f'--name={FOREIGN}')}
#: paths that anybody may make who has a cgroup of his own
CGROUPS = {'id': f'0::/user.slice/docker-{"a" * 64}.scope', 'lxc': '0::/user.slice/lxc.payload.web',
           'nspawn': '0::/user.slice/machine-web.scope', 'unit': '0::/user.slice/user@1.service/app.slice/web.service',
           'directory': '0::/user.slice/web', 'foreign': f'0::/lxc/{FOREIGN.replace(chr(10), "")}',
           'pod': f'0::/user.slice/kubepods-pod11111111_2222_3333_4444_555555555555.slice/x-{"a" * 64}.scope'}


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    made = Proc(tmp_path)
    made.process(1, 1, 'systemd')
    return made


def name(proc: Proc, inode: int = 2) -> names.Name:
    found = next(one for one in discover.find(proc.host).namespaces if one.inode == inode)
    return names.name_of(proc.host, found)


def is_harmless(text: str) -> bool:
    return len(text) < 200 and all(clean_name(part, 200) == part for part in text.strip('()').replace('(', '').split())


@pytest.mark.parametrize('kind', PARENTS)
def test_what_a_title_of_a_process_holds_is_printed_nowhere(proc: Proc, kind: str) -> None:
    proc.process(50, 1, 'x', command=PARENTS[kind])
    proc.process(51, 2, 'x', parent=50, nspid='51 1')
    found = name(proc)
    labels = all_namespaces._labels(found, SimpleNamespace(namespace=Namespace(2)))  # type: ignore[arg-type]
    for text in map(str, (*found, *labels.values())):
        assert is_harmless(text.replace(', ', ' ')), text
    assert found.title != 'host'


@pytest.mark.parametrize('kind', PARENTS)
def test_a_title_of_another_users_process_says_whose_it_is(proc: Proc, kind: str) -> None:
    proc.process(50, 1, 'x', command=PARENTS[kind])
    status = proc.root / '50/status'
    status.write_text(status.read_text().replace('Uid:\t0', 'Uid:\t1000'))
    proc.process(51, 2, 'x', parent=50, nspid='51 1')
    assert 'uid 1000' in name(proc).title


@pytest.mark.parametrize('kind', CGROUPS)
def test_a_cgroup_of_another_user_says_whose_it_is(proc: Proc, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pods = proc.root / '1/root/var/log/pods/shop_web_11111111-2222-3333-4444-555555555555'
    pods.mkdir(parents=True)
    proc.process(51, 2, 'x', cgroup=CGROUPS[kind], nspid='51 1')
    of_root = name(proc)
    monkeypatch.setattr(owner, 'uid_of', lambda _host, _namespace: 1000)
    theirs = name(proc)
    assert 'uid' not in of_root.title
    assert '(uid 1000' in theirs.title or 'uid 1000)' in theirs.title
    assert theirs.lasting != of_root.lasting
    assert is_harmless(theirs.title.replace(', ', ' '))


def test_a_word_means_the_hosts_own_where_another_user_has_the_same_name(proc: Proc,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Else anybody could keep `triage --netns web` from its work, which refuses what is not one."""
    for pid, inode in ((51, 2), (61, 3), (71, 4)):
        proc.process(pid - 1, 1, 'x', command=('[lxc monitor] / web',))
        proc.process(pid, inode, 'x', parent=pid - 1, nspid=f'{pid} 1')
    found = discover.find(proc.host).namespaces
    monkeypatch.setattr(owner, 'is_of_another_user', lambda _host, one: one.inode == 3)
    assert [one.inode for one in select(proc.host, found, ('web',))['web']] == [2, 4]
    monkeypatch.setattr(owner, 'is_of_another_user', lambda _host, _one: True)
    assert len(select(proc.host, found, ('web',))['web']) == 3


@pytest.mark.parametrize('number', [errno.ENAMETOOLONG, errno.EINVAL, errno.EIO, errno.ENOMEM])
def test_a_process_whose_files_cannot_be_read_has_no_name(proc: Proc, number: int,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of thousands of cgroups is too long for the kernel; a process that ended has no mounts."""
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'read', fail)
    assert cgroup.read(proc.host, 1) == cgroup.NONE
    (proc.root / '1/mountinfo').touch()
    assert mounts.read(proc.host, 1) == ''
    monkeypatch.setattr(os, 'open', fail)
    assert mounts.read(proc.host, 1) == ''


FORGE = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, 9)
os.setgroups([]); os.setgid(65534); os.setuid(65534); libc.prctl(4, 1)
if not os.fork():
    libc.prctl(1, 9)
    print('no' if libc.unshare(0x10000000 | 0x40000000) else os.getpid(), flush=True)
time.sleep(100)
"""


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason='becoming another user needs root')
def test_a_real_process_of_another_user() -> None:
    arguments = ['[lxc monitor] /x web', '-c', FORGE]
    with subprocess.Popen(arguments, executable=sys.executable, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout
            forged = started.stdout.readline().strip()
            if forged == 'no':
                pytest.skip('user namespaces are switched off')
            host = Host()
            theirs, = (one for one in discover.find(host).namespaces if int(forged) in one.pids)
            assert owner.uid_of(host, theirs) == NOBODY
            assert names.name_of(host, theirs).title == 'container web (lxc uid 65534)'
        finally:
            started.kill()


NAMES = ('=HYPERLINK("http://evil.example","x")', '+1+1', '-2', '@SUM(1)', 'a\nb\x1b[2J', '<script>alert(1)</script>',
         '$(id)', 'x|y', '\u202e\u200b', 'x' * 100_000, 'x\udcff')


@pytest.mark.slow
@pytest.mark.parametrize('recorded', NAMES)
def test_a_recorded_name(recorded: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Root reads what another user says that a namespace is called: no formula, no code, no control character."""
    literal = recorded.encode('utf-8', 'replace').hex()
    path = hostile.write(tmp_path / 'h.sqlite', statements=(
        f"INSERT INTO netns VALUES (1, {hostile.SAMPLE['netns']}, 0, NULL, CAST(x'{literal}' AS TEXT), 0)",))
    path.chmod(0o600)
    page = tmp_path / 'page.html'
    for arguments in (['--csv'], ['--json'], [], ['--html', str(page)]):
        assert cli.main(['history', '--history', str(path), *arguments]) == 0
        text = capsys.readouterr().out
        if '--csv' in arguments:
            cells = {row['name'] for row in csv.DictReader(io.StringIO(text))}
            assert all(cell[0] not in '=+-@' for cell in cells), cells
        if '--json' in arguments:
            cells = {json.loads(line)['name'] for line in text.splitlines()}
        if '--html' in arguments:
            text = page.read_text()
            assert 'alert(1)</script>' not in text
            cells = set()
        for cell in cells:
            assert len(cell) <= 200
            assert not set(cell) & set('<>|$"\n\x1b\u202e\u200b`;')
        assert '\x1b' not in text
        assert '\u202e' not in text
