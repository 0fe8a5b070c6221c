"""Containers and cgroups of somebody's own that are called like root's: no alert may go by them, or be kept by them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostile import NOBODY
from netns_tree import Proc

from check_conntrack_lib.doctor.export import all_namespaces
from check_conntrack_lib.history import schema_check
from check_conntrack_lib.history.identity import by_whom, last_seen
from check_conntrack_lib.host import Host
from check_conntrack_lib.netns import address_names, cgroup, discover, names, owner
from check_conntrack_lib.netns.discover import Namespace
from check_conntrack_lib.netns.selection import select

ID, OTHER = 'cafe' + '3f2a9c' * 10, 'b0' * 32
DELEGATED = '/user.slice/user-65534.slice/user@65534.service'
#: the cgroup by which a process of a user claims to be root's container 'web', or one whose id begins with its name
CLAIMS = {'lxc': 'lxc.payload.web', 'nspawn': 'machine-web.scope', 'the same id': f'docker-{ID}.scope', 'unit': 'web'}


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    """Root's podman container 'web' in namespace 2; what is in DELEGATED, or namespace 3, is nobody's."""
    made = Proc(tmp_path)
    made.process(1, 1, 'systemd')
    made.process(2, 1, 'kthreadd', flags=0x200040)
    made.process(50, 1, 'conmon', command=('conmon', '-n', 'web'))
    made.process(51, 2, 'nginx', f'0::/machine.slice/libpod-{ID}.scope', parent=50, nspid='51 1')
    monkeypatch.setattr(owner, 'uid_of', lambda _host, one: NOBODY if one.inode == 3 else 0)
    monkeypatch.setattr(cgroup, 'maker', lambda _host, one: NOBODY if any(DELEGATED in at for at in one.above) else 0)
    return made


def found(proc: Proc, word: str) -> list[int]:
    return [one.inode for one in select(proc.host, discover.find(proc.host).namespaces, (word,))[word]]


def title(proc: Proc, inode: int = 2) -> names.Name:
    one = next(one for one in discover.find(proc.host).namespaces if one.inode == inode)
    return names.name_of(proc.host, one)


@pytest.mark.parametrize('inode', [1, 3], ids=["in the host's namespace", 'in one of his own'])
@pytest.mark.parametrize('kind', CLAIMS)
def test_a_word_means_roots_container(proc: Proc, kind: str, inode: int) -> None:
    """A process with such a cgroup in the host's namespace had made `--netns web` look at the host."""
    nspid = '61 1' if inode == 3 else ''
    proc.process(61, inode, 'x', f'0::{DELEGATED}/{CLAIMS[kind]}', parent=1, nspid=nspid, started=1)
    for word in ('web', 'container web', ID, ID[:12], 'cafe'):
        assert found(proc, word) == [2], word


@pytest.mark.parametrize('kind', CLAIMS)
def test_where_it_is_the_only_one_a_word_means_it(proc: Proc, kind: str) -> None:
    proc.process(61, 3, 'x', f'0::{DELEGATED}/{CLAIMS[kind].replace("web", "mine").replace(ID, OTHER)}', nspid='61 1')
    assert found(proc, OTHER[:12] if kind == 'the same id' else 'mine') == [3]


def test_roots_container_in_the_network_of_the_host(proc: Proc) -> None:
    proc.process(61, 1, 'x', '0::/lxc.payload.proxy')
    assert found(proc, 'proxy') == [1]
    proc.process(62, 3, 'x', f'0::{DELEGATED}/lxc.payload.proxy')
    assert found(proc, 'proxy') == [1]
    proc.process(63, 4, 'x', '0::/lxc.payload.proxy')
    assert found(proc, 'proxy') == [4]


@pytest.mark.parametrize('below', [f'/libpod-{OTHER}.scope', ''], ids=['cgroup of its own', 'none'])
def test_a_container_inside_of_one_is_not_roots(proc: Proc, below: str) -> None:
    """The root of a container can name what is inside like any other of the host's."""
    proc.process(60, 2, 'conmon', f'0::/machine.slice/libpod-{ID}.scope', nspid='60 7', command=('conmon', '-n', 'db'))
    proc.process(61, 4, 'x', f'0::/machine.slice/libpod-{ID}.scope{below}', parent=60, nspid='61 8 1')
    assert title(proc, 4).title == 'container db (podman in a container)'
    assert found(proc, 'db') == [4]
    proc.process(70, 1, 'conmon', command=('conmon', '-n', 'db'))
    proc.process(71, 5, 'x', f'0::/machine.slice/libpod-{"d" * 64}.scope', parent=70, nspid='71 1')
    assert found(proc, 'db') == [5]


@pytest.mark.parametrize(('path', 'nested'), [
    (f'/docker/{OTHER}/kubelet/kubepods/besteffort/pod7d8e/{ID}', True), (f'/lxc.payload.ci/docker/{ID}', True),
    (f'/machine.slice/machine-ci.scope/payload/docker-{ID}.scope', True), (f'/docker/{ID}', False),
    (f'/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope/container', False),
    (f'/libpod_parent/{OTHER}/libpod-{ID}', False), (f'/ecs/{"a" * 32}/{ID}', False),
    (f'/docker/{ID}/docker/{ID}', False)])
def test_which_cgroups_are_inside_of_a_container(path: str, nested: bool) -> None:
    assert cgroup.parse(f'0::{path}\n').nested is nested


def test_a_title_inside_of_roots_container_says_nothing(proc: Proc) -> None:
    """Where the container has the host's process namespace, its first process does not show."""
    (proc.root / '51/status').write_text('Name:\tnginx\nUid:\t0\t0\t0\t0\nPPid:\t1\nNSpid:\t51\n')
    proc.process(60, 6, 'conmon', command=('conmon', '-n', 'other'))
    status = proc.root / '60/status'
    status.write_text(status.read_text().replace('Uid:\t0', 'Uid:\t1000'))
    proc.process(61, 2, 'x', f'0::/machine.slice/libpod-{ID}.scope', parent=60, nspid='61 1')
    assert 'other' not in title(proc).title
    assert title(proc).lasting == f'container {ID[:12]}'


def test_many_processes_with_lower_numbers_do_not_change_a_name(proc: Proc) -> None:
    """Numbers are given again from the lowest when all were used: whoever forks for long has lower ones."""
    for pid in range(1000, 1000 + names.MOST_PROCESSES):
        proc.process(pid, 2, 'x', f'0::/machine.slice/libpod-{ID}.scope', started=90000 + pid)
    proc.process(5000, 1, 'conmon', command=('conmon', '-n', 'late'), started=1)
    proc.process(5001, 2, 'x', f'0::/machine.slice/libpod-{ID}.scope', parent=5000, nspid='5001 1', started=2)
    (proc.root / '51/ns/net').unlink()
    assert title(proc).title == 'container late (podman)'


def test_labels_differ_from_those_of_roots(proc: Proc) -> None:
    """An alert is sent by its labels."""
    proc.process(60, 1, 'conmon', command=('conmon', '-n', 'web'))
    proc.process(61, 3, 'x', f'0::{DELEGATED}/libpod-{ID}.scope', parent=60, nspid='61 1')
    proc.process(62, 7, 'x', f'0::/lxc.payload.a/docker/{ID}', nspid='62 1')
    pod = names.Name('pod shop/web (uid 7)', 'pod shop/web (uid 7)', 'shop/web', 'web', 7)
    root, theirs, inside = (all_namespaces._labels(title(proc, inode), SimpleNamespace(namespace=Namespace(inode)))  # type: ignore[arg-type]
                            for inode in (2, 3, 7))
    assert (root['container'], theirs['container']) == ('web', f'web (uid {NOBODY})')
    assert inside['container'] == f'{ID[:12]} (in a container)'
    of_a_pod = all_namespaces._labels(pod, SimpleNamespace(namespace=Namespace(9)))  # type: ignore[arg-type]
    assert (of_a_pod['namespace'], of_a_pod['pod']) == ('shop (uid 7)', 'web (uid 7)')


def test_full_namespaces_of_a_user_keep_none_of_roots_from_the_export(proc: Proc) -> None:
    proc.process(61, 3, 'x', entries=900)
    taken = all_namespaces.take(proc.host, 'off', 300.0, most=1)
    assert [labels['name'] for labels, _reading in taken.members] == ['host', 'container web (podman)']
    assert taken.others == (900,)


def test_the_address_of_another_in_a_namespace_of_ones_own(proc: Proc) -> None:
    """Where it had the lower number, its name stood at the connections of the other."""
    text = '     |-- 10.0.0.5\n        /32 host LOCAL\n'
    proc.process(40, 3, 'x')
    for pid in (40, 51):
        proc.write(f'{pid}/net/fib_trie', text)
    assert address_names.resolve(proc.host, {'10.0.0.5'}) == {'10.0.0.5': 'container web (podman)'}


def test_a_recorded_name_that_a_word_stands_for_is_roots() -> None:
    recorded = ['container web (podman uid 7)', 'container web (docker in a container)', 'container web (podman)']
    assert sorted(recorded, key=by_whom) == recorded[::-1]
    assert by_whom('uid 7') == 0
    database = schema_check.empty()
    database.execute("INSERT INTO boot VALUES (1, 'a')")
    for inode, name in enumerate(recorded):
        database.execute('INSERT INTO netns VALUES (1, ?, 0, NULL, ?, 0)', (inode, name))
        database.execute('INSERT INTO sample VALUES (?, 1, ?, 5, 1, 1, NULL, NULL)', (100.0 + inode, inode))
    assert last_seen(database, 'web') == ('container web (podman)', 102.0)
    database.close()


@pytest.mark.skipif(os.geteuid() != 0, reason='giving files away needs root')
@pytest.mark.parametrize(('line', 'mounted'), [
    ('0::{}/lxc.payload.web', ''), ('0::{}/lxc.payload.web', 'unified'), ('1:name=systemd:{}/lxc/web', 'systemd'),
    ('4:cpu,cpuacct:{}/docker-' + ID + '.scope/x', 'cpu,cpuacct'), ('0::{}/app.slice/web.service', ''),
    ('0::{}/web', 'unified')])
def test_whose_a_cgroup_is(line: str, mounted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the owner of the directory that it was made in."""
    monkeypatch.setattr(cgroup, 'MOUNTED', str(tmp_path))
    known = cgroup.parse(line.format('/delegated'))
    directory = Path(known.above[-1 if mounted == 'unified' else 0])
    assert cgroup.maker(Host(), known) == 0, 'not to be seen from here'
    directory.mkdir(parents=True)
    assert cgroup.maker(Host(), known) == 0
    os.chown(directory, NOBODY, NOBODY)
    assert cgroup.maker(Host(), known) == NOBODY
    assert cgroup.maker(Host(str(tmp_path)), known) == 0, 'of another kernel'
    assert cgroup.parse('0::/../x/lxc.payload.web').above == ()
