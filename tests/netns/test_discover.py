"""Which namespaces there are, what they are called, and what they show: over a /proc tree made here."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import proctree
import pytest
from netns_tree import Proc

from check_conntrack_lib import host
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, KernelLog, LogLine, Missing, Table
from check_conntrack_lib.netns import cgroup, discover, mounts, names, read_other
from check_conntrack_lib.netns.discover import Namespace
from check_conntrack_lib.netns.selection import select
from check_conntrack_lib.netns.snapshots import read_snapshots
from check_conntrack_lib.snapshot import take_snapshot

ID = '3f2a9c51d0e8b7461f2e3d4c5b6a79880123456789abcdef0123456789abcdef'
OTHER = ID[::-1]
SLICE = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podabc_def.slice'


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


@pytest.mark.parametrize(('text', 'container'), [
    (f'12:memory:/docker/{ID}\n0::/\n', ID),
    (f'0::/system.slice/docker-{ID}.scope\n', ID),
    (f'0::/../../docker-{ID}.scope\n', ID),
    (f'4:pids:/kubepods/burstable/pod7d8e/{ID}\n', ID),
    (f'0::{SLICE}/cri-containerd-{ID}.scope\n', ID),
    (f'0::/system.slice/containerd.service/kubepods-burstable-pod7d8e.slice:cri-containerd:{ID}\n', ID),
    (f'0::{SLICE}/crio-{ID}.scope/container\n', ID),
    (f'0::{SLICE}/crio-conmon-{ID}.scope\n', ''),
    (f'0::/machine.slice/libpod-{ID}.scope/container\n', ID),
    (f'0::/machine.slice/libpod-conmon-{ID}.scope\n', ''),
    (f'0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope\n', ID),
    (f'9:cpuset:/ecs/abc/{ID}\n', ID),
    (f'0::/docker/{OTHER}/docker/{ID}\n', ID),
    ('0::/lxc.payload.web01/system.slice/nginx.service\n', 'web01'),
    ('7:devices:/lxc/web01\n', 'web01'),
    ('0::/lxc.payload/web01/init.scope\n', 'web01'),
    ('0::/lxc.monitor.web01\n', ''),
    ('0::/machine.slice/systemd-nspawn@build\\x2d7.service/payload\n', 'build-7'),
    ('0::/machine.slice/machine-build\\x2d7.scope/payload/init.scope\n', 'build-7'),
    ('0::/machine.slice/machine-lxc\\x2d3\\x2dweb\\x2d1.scope\n', 'web-1'),
    ('0::/machine.slice/machine-qemu\\x2d3\\x2dvm01.scope/libvirt/emulator\n', ''),
    ('1:name=systemd:/user.slice\n', ''),
    ('0::/system.slice/nginx.service\n', ''),
    ('0::/lxc.payload.conmon-lab\n', 'conmon-lab'),
    ('0::/libpod_parent/conmon\n', ''),
    ('', ''),
    ('nonsense', ''),
])
def test_the_container_of_a_cgroup(text: str, container: str) -> None:
    assert cgroup.parse(text).container == container


def test_each_namespace_once_the_own_one_first(proc: Proc) -> None:
    proc.process(1, 1)
    proc.process(30, 7)
    for pid in (20, 21, 22, 23):
        proc.process(pid, 5)
    found = discover.find(proc.host)
    assert found.namespaces == (Namespace(1, pids=(1,)), Namespace(5, pids=(20, 21, 22, 23)), Namespace(7, pids=(30,)))
    assert (found.hidden, found.stale) == (0, ())


@pytest.mark.parametrize(('cgroup', 'comm', 'expected'), [
    (f'0::/system.slice/docker-{ID}.scope', 'nginx', 'container 3f2a9c51d0e8 (nginx, pid 20)'),
    ('0::/lxc.payload.web|01', 'init', 'container web?01 (lxc)'),
    ('0::/', 'nginx', 'nginx (pid 20)'),
    ('0::/', 'a|b\x1b[31m<i>', 'a?b??31m?i? (pid 20)'),
    ('0::/system.slice/nginx.service', 'nginx', 'unit nginx.service'),
])
def test_titles(proc: Proc, cgroup: str, comm: str, expected: str) -> None:
    proc.process(20, 5, comm, cgroup)
    assert names.name_of(proc.host, Namespace(5, pids=(20,))).title == expected


def test_the_first_process_of_a_container_that_runs_the_check_itself(proc: Proc) -> None:
    """In LXC the units of a whole system share its network."""
    proc.process(1, 5, 'systemd', '0::/init.scope')
    proc.process(20, 5, 'systemd-journal', '0::/system.slice/systemd-journald.service')
    assert names.name_of(proc.host, Namespace(5, pids=(1, 20))) == names.Name('this container', 'this container')
    assert names.name_of(proc.host, Namespace(5, pids=(1, 20), initial=True)).title == 'host'
    proc.write('1/cgroup', '0::/lxc.payload.web01\n')
    assert names.name_of(proc.host, Namespace(5, pids=(1, 20))).title == 'container web01 (lxc)'


def test_a_name_that_people_gave_comes_first(proc: Proc) -> None:
    proc.process(20, 5, 'nginx', f'0::/docker-{ID}.scope')
    proc.process(19, 5, 'sleep')  # a visitor with a lower pid
    for name, expected in (('blue', 'blue'), ('a|b\n', 'a?b?'),
                           ('cni-0fbb1a2c-3d4e-5f60-7182-93a4b5c6d7e8', 'container 3f2a9c51d0e8 (nginx, pid 20)'),
                           ('0fbb1a2c-3d4e-4f60-8182-93a4b5c6d7e8', 'container 3f2a9c51d0e8 (nginx, pid 20)')):
        assert names.name_of(proc.host, Namespace(5, name=name, pids=(19, 20))).title == expected
    assert names.name_of(proc.host, Namespace(5, pids=(99,))).title == 'network namespace 5', 'all its processes ended'


def test_words_that_mean_namespaces(proc: Proc) -> None:
    proc.process(20, 5, 'nginx', f'0::/docker-{ID}.scope')
    proc.process(30, 6, 'init', '0::/lxc.payload.web01')
    own, blue = Namespace(1, pids=(1,)), Namespace(4, name='blue')
    docker, lxc = Namespace(5, pids=(20,)), Namespace(6, pids=(30,))
    every = (own, blue, docker, lxc)
    for word, means in (('current', [own]), ('blue', [blue]), ('3f2a9c', [docker]), (ID, [docker]),
                        ('container web01 (lxc)', [lxc]), ('container web01', [lxc]),
                        ('web01', [lxc]),
                        ('4', [blue]), ('3f2', []), ('web', []), ('green', [])):
        assert select(proc.host, every, (word,)) == {word: means}


def test_a_look_through_the_first_process_that_is_still_there(proc: Proc) -> None:
    proc.process(20, 99, entries=3)
    proc.process(21, 5, entries=7, drop=2)
    look = read_other.read(proc.host, Namespace(5, pids=(19, 20, 21)), stat_file=True, enter=False)
    assert isinstance(look, read_other.OtherTable)
    assert look.entries == 7
    assert not isinstance(look.counters, Missing)
    assert look.counters.total('drop') == 2


def test_what_vanished_is_no_error(proc: Proc) -> None:
    for shown, one in ((proc.host, Namespace(5, pids=(19, 20))), (Host(), Namespace(5, path='/nonexistent/blue'))):
        assert read_other.read(shown, one, stat_file=True, enter=True) == read_other.VANISHED
    assert read_other.read(proc.host, Namespace(5, path='/nonexistent'), True, enter=False).why == 'not of this kernel'


def test_a_damaged_stat_file_is_said(proc: Proc) -> None:
    proc.process(20, 5)
    proc.write('20/net/stat/nf_conntrack', 'entries\n')
    proc.process(30, 6, entries=4)
    own = take_snapshot(proc.host, nullcontext)
    seen = read_snapshots(proc.host, own, ('all',), nullcontext)
    assert [one.namespace.inode for one in seen.seen] == [1, 6]


def test_each_is_judged_against_the_one_maximum(proc: Proc) -> None:
    proc.process(20, 5, entries=900)
    own = take_snapshot(proc.host, nullcontext)
    first, second = read_snapshots(proc.host, own, ('all',), nullcontext).seen
    assert first.snapshot == own
    assert second.snapshot.table == Table(900, 1000, 64)
    assert (second.snapshot.netns, second.snapshot.initial) == (5, False)


def test_log_lines_go_to_the_namespace_that_they_name(proc: Proc) -> None:
    proc.process(20, 5)
    proc.process(30, 6)
    own = take_snapshot(proc.host, nullcontext)
    log = KernelLog('test', (LogLine(4990, 5), LogLine(4991, 777), LogLine(4992), LogLine(4993, 5)),
                    names_namespaces=True)
    seen = read_snapshots(proc.host, own._replace(kernel_log=log), ('all',), nullcontext)
    lines = {one.namespace.inode: one.snapshot.kernel_log for one in seen.seen}
    assert {inode: [line.stamp for line in log.table_full] for inode, log in lines.items()
            if isinstance(log, KernelLog)} == {1: [4992], 5: [4990, 4993], 6: []}
    assert isinstance(seen.unattributed, KernelLog)
    assert [line.netns for line in seen.unattributed.table_full] == [777]
    assert not seen.nameless


def test_lines_that_name_nobody_are_left_over(proc: Proc) -> None:
    own = take_snapshot(proc.host, nullcontext)
    log = KernelLog('test', (LogLine(4990),))
    seen = read_snapshots(proc.host, own._replace(kernel_log=log), ('all',), nullcontext)
    assert seen.nameless


def test_without_tracking_nobody_is_looked_at(proc: Proc) -> None:
    proctree.unload(proc.root)
    proc.process(20, 5)
    own = take_snapshot(proc.host, nullcontext)
    assert [one.namespace.inode for one in read_snapshots(proc.host, own, ('all',), nullcontext).seen] == [1]


def test_out_of_time_keeps_what_was_seen(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (20, 30, 40, 50):
        proc.process(pid, pid)
    own = take_snapshot(proc.host, nullcontext)
    read = read_other._through_a_process

    def slow(host: Host, one: Namespace) -> read_other.OtherTable | None:
        if one.inode == 40:
            raise TimeoutError('no answer within 2 s')
        return read(host, one)

    monkeypatch.setattr(read_other, '_through_a_process', slow)
    seen = read_snapshots(proc.host, own, ('all',), nullcontext)
    assert [one.namespace.inode for one in seen.seen] == [1, 20, 30]
    assert seen.unseen == {Missing('network namespaces: no answer within 2 s'): 2}


def test_out_of_time_among_those_that_only_an_open_file_holds(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    own = take_snapshot(proc.host, nullcontext)
    log = KernelLog('test', tuple(LogLine(4990, inode) for inode in (81, 82, 83)), names_namespaces=True)
    read = []

    def slow(_host: Host, one: Namespace) -> read_other.OtherTable:
        read.append(one.inode)
        if one.inode == 82:
            raise TimeoutError('no answer within 2 s')
        return read_other.OtherTable(0, Counters({}))

    monkeypatch.setattr(Host, 'is_this_kernel', lambda _host: True)
    monkeypatch.setattr(discover, 'held_by_descriptor',
                        lambda _host, inodes: [Namespace(inode, path='/proc/9/fd/4') for inode in sorted(inodes)])
    monkeypatch.setattr(discover, 'find', lambda _host: discover.Found((Namespace(1),)))
    monkeypatch.setattr(read_other, '_through_a_process', slow)
    seen = read_snapshots(proc.host, own._replace(kernel_log=log), ('all',), nullcontext)
    assert read == [81, 82]
    assert [one.namespace.inode for one in seen.seen] == [1, 81]
    assert seen.unseen == {Missing('network namespaces: no answer within 2 s'): 2}


def test_names_that_may_not_be_read_are_said(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def closed(path: str) -> list[str]:
        if 'netns' in path:
            raise PermissionError(13, 'Permission denied')
        return listdir(path)

    monkeypatch.setattr(os, 'listdir', closed)
    assert discover.find(proc.host).closed == f'{proc.root}/1/root/run/netns'


def test_a_name_that_leads_to_no_namespace_is_told_but_not_docker_s_leftovers(proc: Proc) -> None:
    proc.write('1/root/run/netns/old', '')
    assert discover.find(proc.host).stale == ('old',)


# --- mounts


def bound(inode: int, path: str) -> str:
    return f'286 27 0:4 net:[{inode}] {path} rw - nsfs nsfs rw\n'


def test_the_mount_table_has_them_all(proc: Proc) -> None:
    proc.write('1/mountinfo', bound(5, '/run/netns/blue') + '27 1 254:0 / / rw - ext4 /dev/vda rw\n'
               + bound(6, '/run/docker/netns/ingress_sbox') + bound(7, r'/srv/a\040b/ns1') + bound(5, '/other/place')
               + bound(8, '/run/netns/0fbb1a2c-3d4e-4f60-8182-93a4b5c6d7e8'))
    found = {one.inode: one for one in discover.find(proc.host).namespaces}
    assert (found[5].name, found[5].path) == ('blue', f'{proc.root}/1/root/run/netns/blue')
    assert [(found[inode].name, found[inode].machine_made) for inode in (5, 6, 7, 8)] == [
        ('blue', False), ('ingress_sbox', False), ('/srv/a b/ns1', False),
        ('0fbb1a2c-3d4e-4f60-8182-93a4b5c6d7e8', True)]
    for word, inode in (('blue', 5), ('ingress_sbox', 6), ('/srv/a b/ns1', 7)):
        assert [one.inode for one in select(proc.host, tuple(found.values()), (word,))[word]] == [inode]


@pytest.mark.parametrize('text', ['', 'nonsense', '1 2 3 4', '286 27 0:4 net:[x] /a rw - nsfs nsfs rw',
                                  '286 27 0:4 mnt:[4026531840] /a rw - nsfs nsfs rw', ' - nsfs '])
def test_no_mount_of_a_network_namespace(text: str) -> None:
    assert mounts.parse_netns(text) == []


def test_a_directory_of_another_file_system() -> None:
    table = mounts.parse('27 1 254:0 / / rw - ext4 a rw\n28 27 254:1 / /var/lib/docker rw - ext4 b rw\n'
                         '29 27 254:2 /sub /mnt rw - ext4 c rw\n')
    assert mounts.outside(table, '254:0', '/var/lib/docker/containers') == '/var/lib/docker/containers'
    assert mounts.outside(table, '254:1', '/containers') == '/var/lib/docker/containers'
    assert mounts.outside(table, '254:2', '/sub/containers') == '/mnt/containers'
    assert mounts.outside(table, '254:2', '/subway') == mounts.outside(table, '254:9', '/') == ''


@pytest.mark.parametrize('trouble', [40, 5, 116, 36], ids=['ELOOP', 'EIO', 'ESTALE', 'ENAMETOOLONG'])
def test_a_bad_name_costs_itself_only(proc: Proc, trouble: int, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.process(20, 5)
    proc.write('1/root/run/netns/loop', '')
    stat = os.stat

    def failing(path: str, **kw: bool) -> os.stat_result:
        if str(path).endswith('/loop'):
            raise OSError(trouble, 'trouble')
        return stat(path, **kw)

    monkeypatch.setattr(os, 'stat', failing)
    found = discover.find(proc.host)
    assert [one.inode for one in found.namespaces] == [1, 5]
    assert found.stale == ('loop',)


# --- one namespace that some of its processes hide


def test_what_hides_its_link_is_no_second_namespace(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.process(20, 5)
    proc.process(21, 5)
    stat_file = proc.root / '21/net/stat/nf_conntrack'
    stat_file.unlink()
    os.link(proc.root / '20/net/stat/nf_conntrack', stat_file)
    readlink = os.readlink

    def refused(path: str) -> str:
        if '/21/' in path:
            raise PermissionError(13, 'Permission denied')
        return readlink(path)

    monkeypatch.setattr(os, 'readlink', refused)
    assert discover.find(proc.host).namespaces == (Namespace(1), Namespace(5, pids=(20, 21)))


def test_the_host_is_the_host_from_wherever_it_is_looked_at(proc: Proc) -> None:
    proc.process(2, 9, 'kthreadd', flags=0x208040, parent=0)
    proc.process(30, 5, 'kthreadd')
    found = {one.inode: one for one in discover.find(proc.host).namespaces}
    assert names.name_of(proc.host, found[9]).title == 'host'
    assert names.name_of(proc.host, found[5]).title == 'kthreadd (pid 30)', 'a name proves nothing'
    assert select(proc.host, tuple(found.values()), ('host',)) == {'host': [found[9]]}


# --- what runtimes call their containers


SHIM = ('/usr/bin/containerd-shim-runc-v2', '-namespace', 'default', '-id', 'web-ctr', '-address', '/run/c.sock')


def conmon(name: str) -> tuple[str, ...]:
    return ('/usr/bin/conmon', '--api-version', '1', '-c', ID, '-u', ID, '-n', name, '--exit-dir', '/run')


@pytest.mark.parametrize(('command', 'cgroup_path', 'title'), [
    (SHIM, '/default/web-ctr', 'container web-ctr (containerd)'),
    (conmon('web01'), f'/machine.slice/libpod-{ID}.scope', 'container web01 (podman)'),
    (conmon('web01'), '/', 'container web01 (podman)'),
    (conmon('k8s_nginx_web-7d4b9c-x2x5z_shop_1111_0'), f'/kubepods/pod7/crio-{ID}.scope', 'pod shop/web-7d4b9c-x2x5z'),
    (conmon('0f1e2d3c4b5a-infra'), f'/machine.slice/libpod-{ID}.scope', 'pod 0f1e2d3c4b5a (podman)'),
    (('[lxc monitor] /var/lib/lxc web01',), '/lxc.payload.web01', 'container web01 (lxc)'),
    (('[lxc monitor] /var/lib/lxc web01',), '/lxc.payload.web01-1', 'container web01 (lxc)'),
    (('[lxc monitor] /var/lib/lxc web01',), '/lxc.payload.db-1', 'container db-1 (lxc)'),
    (('[lxc monitor] /var/lib/incus/containers web01',), '/lxc.payload.web01', 'container web01 (incus)'),
    (('systemd-nspawn', '-q', '-D', '/srv/build', '--machine=build-7'), '/payload', 'container build-7 (nspawn)'),
    (('systemd-nspawn', '-q', '-D', '/srv/build'), '/payload', 'container build (nspawn)'),
    (('firejail', '--name=web', '--net=none', 'sleep'), '/', 'container web (firejail)'),
    (('bwrap', '--unshare-net'), '/', 'sleep (pid 20)'),
    (('/bin/sh', '-n', 'evil', 'conmon'), '/', 'sleep (pid 20)'),
])
def test_names_by_the_parent_process(proc: Proc, command: tuple[str, ...], cgroup_path: str, title: str) -> None:
    proc.process(10, 1, command=command)
    proc.process(20, 5, cgroup=f'0::{cgroup_path}', parent=10, nspid='20 1')
    proc.process(15, 5, 'nsenter', parent=11)
    assert names.name_of(proc.host, Namespace(5, pids=(15, 20))).title == title


def test_a_pod_by_its_uid(proc: Proc) -> None:
    uid = '11111111-2222-3333-4444-555555555555'
    (proc.root / f'1/root/var/log/pods/shop_web-7d4b9c-x2x5z_{uid}').mkdir(parents=True)
    slices = f'/kubepods.slice/kubepods-pod{uid.replace("-", "_")}.slice'
    for path in (f'{slices}/cri-containerd-{ID}.scope', f'/kubepods/besteffort/pod{uid}/{ID}'):
        proc.process(20, 5, cgroup=f'0::{path}') if not (proc.root / '20').exists() else \
            proc.write('20/cgroup', f'0::{path}\n')
        name = names.name_of(proc.host, Namespace(5, pids=(20,)))
        assert (name.title, name.pod) == ('pod shop/web-7d4b9c-x2x5z', 'shop/web-7d4b9c-x2x5z')


def test_a_container_with_the_name_of_the_host_is_said_to_be_one(proc: Proc) -> None:
    proc.process(20, 5, cgroup='0::/lxc.payload.host')
    assert names.name_of(proc.host, Namespace(5, pids=(20,))).title == 'container host (lxc)'
    assert names.name_of(proc.host, Namespace(5, name='host', path='/run/netns/host')).title == 'network namespace host'


@pytest.mark.parametrize(('true_proc', 'first', 'hidden'), [
    (True, '', True), (True, '1', True), (True, '1/comm', False), (False, '', False)])
def test_whoever_is_shown_no_first_process_is_shown_no_others(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, true_proc: bool, first: str, hidden: bool) -> None:
    """With hidepid=1 a process is a directory that shows nothing. A captured tree has the processes of then."""
    if first:
        (tmp_path / first).mkdir(parents=True)
    if true_proc:
        monkeypatch.setattr(host, 'PROC_ROOT_INO', tmp_path.stat().st_ino)
    assert Host(str(tmp_path)).hides_processes() == hidden
    assert discover.find(Host(str(tmp_path))).invisible == hidden
