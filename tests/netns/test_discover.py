"""Which namespaces there are, what they are called, and what they show: over a /proc tree made here."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from netns_tree import Proc

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import KernelLog, LogLine, Missing, Table
from check_conntrack_lib.netns import discover, names, read_other
from check_conntrack_lib.netns.discover import Namespace
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
    ('1:name=systemd:/user.slice\n', ''),
    ('0::/system.slice/nginx.service\n', ''),
    ('', ''),
    ('nonsense', ''),
])
def test_the_container_of_a_cgroup(text: str, container: str) -> None:
    assert names.parse(text) == container


def test_each_namespace_once_the_own_one_first(proc: Proc) -> None:
    proc.process(1, 1)
    proc.process(30, 7)
    for pid in (20, 21, 22, 23):
        proc.process(pid, 5)
    found = discover.find(proc.host)
    assert found.namespaces == (Namespace(1, pids=(1,)), Namespace(5, pids=(20, 21, 22)), Namespace(7, pids=(30,)))
    assert (found.hidden, found.stale) == (0, 0)


@pytest.mark.parametrize(('cgroup', 'comm', 'expected'), [
    (f'0::/system.slice/docker-{ID}.scope', 'nginx', 'container 3f2a9c (nginx, pid 20)'),
    ('0::/lxc.payload.web|01', 'init', 'container web?01 (init, pid 20)'),
    ('0::/', 'nginx', 'nginx (pid 20)'),
    ('0::/', 'a|b\x1b[31m', 'a?b?[31m (pid 20)'),
])
def test_titles(proc: Proc, cgroup: str, comm: str, expected: str) -> None:
    proc.process(20, 5, comm, cgroup)
    assert discover.title(proc.host, Namespace(5, pids=(20,))) == expected


def test_a_name_that_people_gave_comes_first(proc: Proc) -> None:
    proc.process(20, 5, 'nginx', f'0::/docker-{ID}.scope')
    proc.process(19, 5, 'pause', f'0::/docker-{OTHER}.scope')
    for name, expected in (('blue', 'blue'), ('a|b\n', 'a?b?'),
                           ('cni-0fbb1a2c-3d4e-5f60-7182-93a4b5c6d7e8', 'container 3f2a9c (nginx, pid 20)')):
        assert discover.title(proc.host, Namespace(5, name=name, pids=(19, 20))) == expected
    assert discover.title(proc.host, Namespace(5, pids=(99,))) == 'network namespace 5', 'all its processes ended'


def test_words_that_mean_namespaces(proc: Proc) -> None:
    proc.process(20, 5, 'nginx', f'0::/docker-{ID}.scope')
    proc.process(30, 6, 'init', '0::/lxc.payload.web01')
    own, blue = Namespace(1, pids=(1,)), Namespace(4, name='blue')
    docker, lxc = Namespace(5, pids=(20,)), Namespace(6, pids=(30,))
    every = (own, blue, docker, lxc)
    for word, means in (('current', [own]), ('blue', [blue]), ('3f2a9c', [docker]), (ID, [docker]), ('web01', [lxc]),
                        ('4', [blue]), ('3f2', []), ('web', []), ('green', [])):
        assert discover.select(proc.host, every, (word,)) == {word: means}


def test_a_look_through_the_first_process_that_is_still_there(proc: Proc) -> None:
    proc.process(20, 99, entries=3)
    proc.process(21, 5, entries=7, drop=2)
    look = read_other.read(proc.host, Namespace(5, pids=(19, 20, 21)), stat_file=True, enter=False)
    assert isinstance(look, read_other.OtherTable)
    assert look.entries == 7
    assert not isinstance(look.counters, Missing)
    assert look.counters.total('drop') == 2


def test_what_vanished_is_no_error(proc: Proc) -> None:
    for one in (Namespace(5, pids=(19, 20)), Namespace(5, path='/nonexistent/blue')):
        assert read_other.read(proc.host, one, stat_file=True, enter=True) == read_other.VANISHED
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
    (proc.root / 'sys/net/netfilter/nf_conntrack_count').unlink()
    proc.process(20, 5)
    own = take_snapshot(proc.host, nullcontext)
    assert [one.namespace.inode for one in read_snapshots(proc.host, own, ('all',), nullcontext).seen] == [1]


def test_out_of_time_keeps_what_was_seen(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (20, 30, 40, 50):
        proc.process(pid, pid)
    own = take_snapshot(proc.host, nullcontext)
    read = read_other.read

    def slow(host: Host, one: Namespace, stat_file: bool, enter: bool) -> read_other.OtherTable | Missing:
        if one.inode == 40:
            raise TimeoutError('no answer within 2 s')
        return read(host, one, stat_file, enter)

    monkeypatch.setattr(read_other, 'read', slow)
    seen = read_snapshots(proc.host, own, ('all',), nullcontext)
    assert [one.namespace.inode for one in seen.seen] == [1, 20, 30]
    assert seen.unseen == {Missing('network namespaces: no answer within 2 s'): 2}


def test_names_that_may_not_be_read_are_said(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def closed(path: str) -> list[str]:
        if 'netns' in path:
            raise PermissionError(13, 'Permission denied')
        return listdir(path)

    monkeypatch.setattr(os, 'listdir', closed)
    assert discover.find(proc.host).closed == f'{proc.root}/1/root/run/netns'


def test_a_name_without_a_namespace_is_stale(proc: Proc) -> None:
    proc.write('1/root/run/netns/old', '')
    assert discover.find(proc.host).stale == 1
