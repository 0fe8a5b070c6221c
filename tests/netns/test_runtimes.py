"""Real container runtimes: every name that an administrator knows selects, is printed, and its commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import laboratory
import pytest
from checked import SCRIPT

pytestmark = [pytest.mark.kernel, pytest.mark.daemons]

LAB = Path(__file__).parent / 'runtimes' / 'lab.sh'
PROGRAMS = ('busybox', 'gcc', 'runc', 'containerd', 'ctr', 'dockerd', 'docker', 'podman', 'conmon', 'lxc-start',
            'systemd-nspawn', 'bwrap', 'firejail', 'conntrack', 'ip', 'nsenter')
NOBODY = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups')
#: what the check calls the namespace of each runtime's container
TITLES = {'docker': 'container web-docker (docker)', 'docker-shared': 'container web-docker (docker)',
          'ctr': 'container web-ctr (containerd)', 'cri': 'pod shop/web-7d4b9c-x2x5z',
          'podman': 'container web-podman (podman)', 'podman-pod': 'pod shop (podman)',
          'rootless': 'container rootless-api (podman uid 4711)',
          'lxc': 'container web-lxc (lxc)', 'nspawn': 'container web-nspawn (nspawn)', 'runc': 'container web-runc',
          'firejail': 'container web-firejail (firejail)'}
#: those of which everybody sees the name
PUBLIC = ('podman', 'podman-pod', 'rootless', 'lxc', 'nspawn', 'firejail')


class Line(NamedTuple):
    """A container that the laboratory started; '' for what it has not."""

    runtime: str
    name: str
    id: str
    pid: int


class Lab:
    """The laboratory, while it runs."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.directory = directory
        self.pid = pid
        rows = [line.split() for line in (directory / 'containers').read_text().splitlines()]
        self.lines = [Line(runtime, name.strip('-') and name, ident.strip('-'), int(pid))
                      for runtime, name, ident, pid in rows]

    def run(self, *argv: str, user: Sequence[str] = (), within: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in the laboratory's namespaces, as an administrator of that host would run it."""
        place = ['nsenter', '-t', str(self.pid), '-m', '-n'] if within else []
        path = f'{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin'
        env = {'PATH': path, 'LAB': str(self.directory), 'TZ': 'UTC',
               'DOCKER_HOST': f'unix://{self.directory}/docker.sock'}
        return subprocess.run([*place, *user, *argv], capture_output=True, text=True, timeout=60, check=False,
                              cwd=SCRIPT.parent, env=env)

    def check(self, *argv: str, user: Sequence[str] = (), history: str = 'off') -> str:
        done = self.run(sys.executable, str(SCRIPT), '--history', history, '-w', '1', '-c', '50', '--trend', 'off',
                        '--kernel-log', 'off', *argv, user=user)
        assert not done.stderr, done.stderr
        return done.stdout

    def doctor(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, '-m', 'check_conntrack_lib', *argv)

    def of(self, runtime: str) -> Line:
        return next(line for line in self.lines if line.runtime == runtime)

    def fill(self, pid: int, entries: int) -> None:
        """The table of the namespace that this process is in."""
        inside = laboratory.Namespace.__new__(laboratory.Namespace)
        inside.name, inside.path = f'the namespace of {pid}', f'/proc/{pid}/ns/net'
        inside._flows, inside._targets = count(), count(2)
        inside.fill_to(entries)


@pytest.fixture(scope='module')
def lab() -> Iterator[Lab]:
    why = laboratory.why_not()
    absent = [name for name in PROGRAMS if not shutil.which(name, path='/usr/sbin:/usr/bin:/sbin:/bin')]
    if why or absent:
        pytest.skip(why or f'not installed: {", ".join(absent)}')
    process = subprocess.Popen([LAB, 'sh', '-c', 'echo $$ $LAB; read _'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    assert process.stdin
    try:
        pid, directory = process.stdout.readline().split()
        made = Lab(Path(directory), int(pid))
        # firejail does nothing where the tests have a process namespace of their own
        assert (made.directory / 'missing').read_text() in ('', 'firejail\n'), \
            {log.name: log.read_text()[-2000:] for log in made.directory.glob('*.log')}
        yield made
    finally:
        process.stdin.close()
        process.wait(60)


@pytest.fixture(autouse=True)
def _maximum(lab: Lab) -> Iterator[None]:
    """5000 entries are 2 % of it, whatever other tests do."""
    with laboratory.maximum(262144):
        yield


@pytest.fixture
def history(lab: Lab) -> Iterator[str]:
    directory = lab.directory / 'history'
    directory.mkdir(mode=0o700)
    yield str(directory / 'history.sqlite')
    shutil.rmtree(directory)


def title(output: str) -> str:
    """What the first line calls the namespace."""
    match = re.match(r'CONNTRACK (?:OK|WARNING) - (.*?): \d', output)
    assert match, output
    return match[1]


def test_all_of_them_are_there_and_named(lab: Lab) -> None:
    for line in lab.lines:
        lab.fill(line.pid, 5000)
    output = lab.check('--netns', 'all', '--diagnose', 'never')
    inodes = {os.stat(f'/proc/{line.pid}/ns/net').st_ino for line in lab.lines}
    assert f'{len(inodes)} of ' in output
    exported = lab.doctor('export', '--netns', 'all', '--kernel-log', 'off').stdout
    for line in lab.lines:
        expected = TITLES.get(line.runtime)
        if expected:
            row = rf'^conntrack_entries{{[^}}]*name="{re.escape(expected)}"[^}}]*}} 5000'
            assert re.search(row, exported, re.M), line
    assert 'namespace="shop",netns="",pod="web-7d4b9c-x2x5z"} 5000' in exported
    number = re.search(r'^conntrack_namespaces (\d+)', exported, re.M)
    assert number
    assert exported.count('\nconntrack_entries{') == int(number[1])


@pytest.mark.parametrize('user', [(), NOBODY], ids=['root', 'nobody'])
def test_each_name_and_each_id_selects(lab: Lab, user: Sequence[str]) -> None:
    """nobody sees fewer names: docker's and containerd's files are root's; ids, pods, podman's, lxc's are for all."""
    for line in lab.lines:
        lab.fill(line.pid, 5000)
        public = line == lab.of('cri') or line.runtime in PUBLIC
        words = [line.name] if line.name and (not user or public) else []
        words += [line.id[:12]] if line.id else []
        words += [f'container {line.name}'] if line.runtime in ('podman', 'lxc') else []
        for word in words:
            output = lab.check('--netns', word, '--diagnose', 'never', user=user)
            assert 'entries=5000;' in output, (line, word, output)
            if not user:
                assert title(output) == TITLES[line.runtime], (line, word)


def test_what_is_printed_is_accepted(lab: Lab) -> None:
    for line in lab.lines:
        lab.fill(line.pid, 5000)
        inode = os.stat(f'/proc/{line.pid}/ns/net').st_ino
        printed = title(lab.check('--netns', str(inode), '--diagnose', 'never'))
        assert title(lab.check('--netns', printed, '--diagnose', 'never')) == printed


def test_every_printed_command_shows_the_table(lab: Lab) -> None:
    for line in lab.lines:
        lab.fill(line.pid, 5000)
        output = lab.check('--netns', str(os.stat(f'/proc/{line.pid}/ns/net').st_ino))
        command = re.search(r'^next: sudo (.* conntrack-doctor .*)$', output, re.M)
        assert command, (line, output)
        shown = lab.run('sh', '-c', f'{command[1]} --kernel-log off')
        words = ' '.join(shown.stdout.split())
        assert '(5000 of 262144)' in words, (line, command[1], shown)
        assert f', {title(output)}, kernel' in words, (line, command[1], shown)


def test_triage_says_where_it_is_and_prints_commands_for_there(lab: Lab) -> None:
    for runtime, enter in (('lxc', 'nsenter -t {} -n '), ('cri', 'ip netns exec cni-')):
        line = lab.of(runtime)
        lab.fill(line.pid, 5000)
        by_name = lab.doctor('triage', '--netns', line.name, '--kernel-log', 'off')
        assert f', {TITLES[runtime]}, kernel' in ' '.join(by_name.stdout.split()), by_name
        inside = lab.run('nsenter', '-t', str(line.pid), '-n', sys.executable, '-m', 'check_conntrack_lib', 'triage',
                         '--kernel-log', 'off')
        assert f', {TITLES[runtime]}, kernel' in ' '.join(inside.stdout.split())
        with laboratory.maximum(5100):
            full = lab.doctor('triage', '--netns', line.name, '--kernel-log', 'off').stdout
        words = ' '.join(full.split())
        assert f'Afterwards: sudo {enter.format(line.pid)}' in words, full
        assert f'sudo {enter.format(line.pid)}' in words[words.index('to verify, '):], full



def test_published_ports_of_a_swarm_are_tracked_where_no_process_is(lab: Lab) -> None:
    """Docker's routing mesh: a namespace that only a file of Docker's holds."""
    file = '/run/docker/netns/ingress_sbox'
    mesh = laboratory.Namespace.__new__(laboratory.Namespace)
    mesh.name, mesh.path, mesh._flows, mesh._targets = 'ingress_sbox', f'/proc/{lab.pid}/root{file}', count(), count(2)
    mesh.fill_to(7000)
    output = lab.check('--netns', 'all')
    assert title(output) == 'ingress_sbox'
    command = re.search(r'^next: sudo (.*)$', output, re.M)
    assert command
    assert command[1] == f'nsenter --net={file} conntrack-doctor triage'
    assert '(7000 of 262144)' in ' '.join(lab.run('sh', '-c', f'{command[1]} --kernel-log off').stdout.split())
    task = lab.run('docker', 'ps', '--filter', 'name=shop-front', '--format', '{{.Names}}').stdout.strip()
    assert title(lab.check('--netns', task)) == f'container {task} (docker)'
    mesh.drain()


def test_a_visitor_changes_nothing(lab: Lab) -> None:
    """`nsenter` is what the product itself prints."""
    for runtime in ('lxc', 'docker', 'cri'):
        line = lab.of(runtime)
        lab.fill(line.pid, 5000)
        visitors = [subprocess.Popen(['nsenter', '-t', str(line.pid), '-n', 'sleep', '60']) for _ in range(4)]
        try:
            time.sleep(0.2)
            assert title(lab.check('--netns', line.name, '--diagnose', 'never')) == TITLES[runtime]
        finally:
            for visitor in visitors:
                visitor.kill()
                visitor.wait()


def test_a_new_container_inherits_nothing_and_a_name_goes_on(lab: Lab, history: str) -> None:
    def started(name: str, entries: int) -> str:
        ident = lab.run('docker', 'run', '-d', '--name', name, '--network', 'none', 'lab:1', 'sleep', '9999').stdout
        pid = int(lab.run('docker', 'inspect', '-f', '{{.State.Pid}}', name).stdout)
        lab.fill(pid, entries)
        return ident.strip()

    for round_ in range(3):  # the inode is taken again at once in most of them
        started('cache', 9000)
        for _ in range(2):
            assert title(lab.check('--netns', 'cache', history=history)) == 'container cache (docker)'
            time.sleep(1.1)
        lab.run('docker', 'rm', '-f', 'cache')
        gone = lab.check('--netns', 'cache', history=history)
        assert re.search(r': cache not found, seen until \d\d-\d\d \d\d:\d\d\n', gone), gone
        started(f'other-{round_}', 8000)
        other = lab.check('--netns', f'other-{round_}', '--baseline-every', '0', history=history)
        assert 'first run' in other, other
        assert '0% ->' not in other
        lab.run('docker', 'rm', '-f', f'other-{round_}')
    shown = lab.doctor('history', '--file', history, '--netns', 'cache', '--csv').stdout.splitlines()
    assert len(shown) == 1 + 6, 'two samples of each of the three'
    assert all('container cache (docker)' in row and ',9000,' in row for row in shown[1:])
    assert len(lab.doctor('history', '--file', history, '--netns', 'other-1', '--csv').stdout.splitlines()) == 2


def test_many_short_lived_containers(lab: Lab, history: str) -> None:
    """Nothing but OK and WARNING while namespaces come and go; the counts are right before and after."""
    loop = lab.directory / 'loop.sh'
    loop.write_text('cd "$LAB/bundle"\nfor n in $(seq 200); do\n'
                    '    unshare -n -p -f --kill-child sh -c "ip link set lo up; sleep 0.0$((n % 7))"\ndone\n')
    before = lab.check('--netns', 'all', '--diagnose', 'never', history=history)
    busy = subprocess.Popen(['nsenter', '-t', str(lab.pid), '-m', '-n', 'sh', str(loop)],
                            env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LAB': str(lab.directory)})
    try:
        seen = 0
        while busy.poll() is None or seen < 5:
            output = lab.check('--netns', 'all', '--diagnose', 'never', history=history)
            assert re.match('CONNTRACK (OK|WARNING) - ', output), output
            assert 'Traceback' not in output
            seen += 1
    finally:
        busy.kill()
        busy.wait()
    after = lab.check('--netns', 'all', '--diagnose', 'never', history=history)
    inodes = {os.stat(f'/proc/{line.pid}/ns/net').st_ino for line in lab.lines}
    for output in (before, after):  # other tests may have some, too
        number = re.search(r' namespaces=(\d+)', output)
        assert number
        assert int(number[1]) >= len(inodes) + 1


def test_docker_leaves_no_stale_names(lab: Lab) -> None:
    """Docker's file of a container that ended stays for a minute; a name in /run/netns that leads nowhere is said."""
    (lab.run('sh', '-c', 'touch /run/docker/netns/0123456789ab'))
    try:
        assert 'leads to no namespace' not in lab.check('--netns', 'all', '-v')
        lab.run('sh', '-c', 'touch /run/netns/left-over')
        told = lab.check('--netns', 'all', '-v', '--require', 'namespaces')
        assert told.startswith('CONNTRACK UNKNOWN') or 'WARNING' in told
        assert '(left-over)' in told
        assert 'left-over in /run/netns leads to no namespace' in lab.check('--netns', 'left-over')
    finally:
        lab.run('sh', '-c', 'rm -f /run/docker/netns/0123456789ab /run/netns/left-over')


def test_what_is_bound_elsewhere_or_held_open_is_found(lab: Lab) -> None:
    place = lab.directory / 'bound'
    lab.run('sh', '-c', f'touch {place}; unshare --net={place} true')
    try:
        inode = lab.run('stat', '-c', '%i', str(place)).stdout.strip()
        assert title(lab.check('--netns', inode)) == str(place)
        assert title(lab.check('--netns', str(place))) == str(place)
        nobody = lab.check('--netns', 'all', '-v', '--require', 'namespaces', user=NOBODY)
        assert 'needs root' in nobody
    finally:
        lab.run('umount', str(place))


def test_whose_address_it_is(lab: Lab, history: str) -> None:
    """Traffic of a pod through its bridge fills the host's table: the cause names the pod, and so does the morning."""
    pod = next(line for line in lab.lines if line.runtime == 'cri')
    lab.run('nft', 'add table ip lab; add chain ip lab input { type filter hook input priority 0; ct state new; }')
    lab.check('--netns', 'current', history=history)
    sender = ('import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n'
              'for port in range(20000, 24000): s.sendto(b"x", ("10.244.7.1", port))\n')
    time.sleep(1.1)
    assert lab.run('nsenter', '-t', str(pod.pid), '-n', sys.executable, '-c', sender).returncode == 0
    rules = ('*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment '
             '"kube-system/kube-dns:dns cluster IP" -m udp --dport 53 -j RETURN\nCOMMIT\n')
    assert lab.run('sh', '-c', f"printf '%s' '{rules}' | iptables-restore --noflush").returncode == 0
    queries = laboratory.Namespace.__new__(laboratory.Namespace)
    queries.name, queries.path = 'laboratory', f'/proc/{lab.pid}/ns/net'
    queries.fill(laboratory.Flow('udp', '10.244.7.2', '10.96.0.10', 1024 + n, 53, timeout=600) for n in range(6000))
    output = lab.check('--netns', 'current', history=history)
    assert 'from 10.244.7.2 (pod shop/web-7d4b9c-x2x5z)' in output or \
        'top source: 10.244.7.2 (pod shop/web-7d4b9c-x2x5z)' in output, output
    assert '10.96.0.10:53 (service kube-system/kube-dns)' in output, output
    triage = lab.doctor('triage', '--kernel-log', 'off', '--history', history).stdout
    words = ' '.join(triage.split())
    assert '10.244.7.2 is pod shop/web-7d4b9c-x2x5z' in words, triage
    assert '10.244.7.1 is this host' in words or '10.96.0.10 is service kube-system/kube-dns' in words
    import sqlite3
    texts = [text for text, in sqlite3.connect(history).execute('SELECT text FROM profile')]
    assert any('pod shop/web-7d4b9c-x2x5z' in text for text in texts)
