"""The lifeline's rules in a namespace whose table is full: with them NRPE, SSH and a restarted agent get through."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import laboratory as lab
import proctree
import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
FULL = 2000
MONITORING, HOST = '10.98.77.1', '10.98.77.2'
CHECK_NRPE = '/usr/lib/nagios/plugins/check_nrpe'
#: as a careful host filters: what is not named is dropped, in both directions
NFT = """
table inet filter {
    chain input { type filter hook input priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        ct state new tcp dport { 22, 5665, 5666 } accept
    }
    chain output { type filter hook output priority filter; policy drop;
        ct state established,related accept
        ct state new tcp dport 5665 accept
    }
}
"""
IPTABLES = """*filter
:INPUT DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -p tcp -m multiport --dports 22,5665,5666 -m conntrack --ctstate NEW -j ACCEPT
-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -p tcp --dport 5665 -m conntrack --ctstate NEW -j ACCEPT
COMMIT
"""
#: answers whoever connects, and keeps the connection; with an address it connects to that instead
AGENT = """
import socket, sys, time
if len(sys.argv) > 1:
    s = socket.create_connection((sys.argv[1], 5665), 20)
    print('connected', flush=True)
    while True:
        s.sendall(b'x'); s.recv(1); print('beat', flush=True); time.sleep(0.2)
l = socket.create_server(('', 5665), reuse_port=True)
print('listening', flush=True)
import threading
def serve(c):
    while data := c.recv(1): c.sendall(data)
while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
"""


class Site:
    """A monitoring server and a host, each a namespace, with NRPE, SSH and an agent on the host."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory, self.stack = directory, stack
        self.monitoring = f'coverage-m-{os.getpid()}'
        self.host = stack.enter_context(lab.namespace(f'coverage-h-{os.getpid()}'))
        ip('netns', 'add', self.monitoring)
        stack.callback(ip, 'netns', 'del', self.monitoring)
        ip('link', 'add', 'cm0', 'netns', self.monitoring, 'type', 'veth',
           'peer', 'name', 'ch0', 'netns', self.host.name)
        for name, device, address in ((self.monitoring, 'cm0', MONITORING), (self.host.name, 'ch0', HOST)):
            ip('-n', name, 'addr', 'add', f'{address}/24', 'dev', device)
            ip('-n', name, 'link', 'set', device, 'up')
            ip('-n', name, 'link', 'set', 'lo', 'up')
        self._ssh()
        self._nrpe()
        self.agent = directory / 'agent.py'
        self.agent.write_text(AGENT)

    def _ssh(self) -> None:
        d = self.directory
        for key in ('host', 'user'):
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', d / key], check=True)
        (d / 'sshd.conf').write_text(
            f'HostKey {d}/host\nAuthorizedKeysFile {d}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n'
            'PermitRootLogin yes\nUseDNS no\n')
        os.makedirs('/run/sshd', exist_ok=True)
        self.start(self.host.name, '/usr/sbin/sshd', '-D', '-e', '-f', str(d / 'sshd.conf'))

    def _nrpe(self) -> None:
        (self.directory / 'nrpe.cfg').write_text(
            f'server_port=5666\nnrpe_user=nobody\nnrpe_group=nogroup\nallowed_hosts={MONITORING}\n'
            f'pid_file={self.directory}/nrpe.pid\ndisable_syslog=1\ncommand[ok]=/bin/echo OK\n')
        self.start(self.host.name, '/usr/sbin/nrpe', '-c', str(self.directory / 'nrpe.cfg'), '-f')

    def start(self, namespace: str, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(['ip', 'netns', 'exec', namespace, *command], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        self.stack.callback(stop, process)
        return process

    def start_agent(self, namespace: str, *arguments: str) -> subprocess.Popen[str]:
        return self.start(namespace, sys.executable, str(self.agent), *arguments)

    def get_through(self, wait: float) -> dict[str, bool]:
        """Which of the ways work, each from a connection of its own."""
        m = ['ip', 'netns', 'exec', self.monitoring]
        ssh = ['ssh', '-F', 'none', '-i', str(self.directory / 'user'), '-o', 'StrictHostKeyChecking=no',
               '-o', 'BatchMode=yes',
               '-o', 'UserKnownHostsFile=/dev/null', '-o', f'ConnectTimeout={wait:.0f}',
               f'root@{HOST}', 'true']
        into = f'import socket; s = socket.create_connection(({HOST!r}, 5665), {wait}); s.settimeout({wait}); ' \
               's.sendall(b"x"); assert s.recv(1)'
        out = into.replace(HOST, MONITORING)
        return {
            'NRPE': subprocess.run([*m, CHECK_NRPE, '-H', HOST, '-t', f'{wait:.0f}', '-c', 'ok'],
                                   stdout=subprocess.DEVNULL, check=False).returncode == 0,
            'SSH': subprocess.run([*m, *ssh], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  check=False).returncode == 0,
            'to the agent': subprocess.run([*m, sys.executable, '-c', into], stderr=subprocess.DEVNULL,
                                           check=False).returncode == 0,
            'from the agent': self.host.run([sys.executable, '-c', out]).returncode == 0,
            'ping': subprocess.run([*m, 'ping', '-c', '1', '-W', f'{wait:.0f}', HOST], stdout=subprocess.DEVNULL,
                                   check=False).returncode == 0,
        }


def ip(*words: str) -> None:
    subprocess.run(['ip', *words], check=True)


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(10)


def lifeline(site: Site, kind: str) -> str:
    done = site.host.run([sys.executable, '-m', 'check_conntrack_lib', 'tune', '--lifeline', kind, '--monitoring',
                          MONITORING], cwd=proctree.ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    for tool in ('sshd', 'nrpe', 'ssh-keygen', 'iptables-restore'):
        if not shutil.which(tool, path=os.environ['PATH'] + ':/usr/sbin:/sbin'):
            pytest.skip(f'no {tool}')
    if lab.why_not() or not os.path.exists(CHECK_NRPE):
        pytest.skip(lab.why_not() or 'no check_nrpe')
    with contextlib.ExitStack() as stack:
        made = Site(tmp_path, stack)
        made.start_agent(made.monitoring)
        made.start_agent(made.host.name)
        deadline = time.monotonic() + 30
        while not all(made.get_through(2).values()):
            assert time.monotonic() < deadline, made.get_through(2)
        yield made


@pytest.mark.parametrize(('kind', 'firewall', 'load'), [
    ('nft', NFT, ['nft', '-f']), ('iptables', IPTABLES, ['iptables-restore', '--noflush'])])
def test_what_gets_through_a_full_table(site: Site, tmp_path: Path, kind: str, firewall: str, load: list[str]) -> None:
    (tmp_path / 'firewall').write_text(firewall)
    assert site.host.run([*load, str(tmp_path / 'firewall')]).returncode == 0
    # an agent that is connected already, by which the way out is found
    kept = site.start_agent(site.host.name, MONITORING)
    assert kept.stdout is not None
    assert kept.stdout.readline() == 'connected\n'
    rules = tmp_path / 'lifeline'
    rules.write_text(lifeline(site, kind))
    assert '(to tcp 5665)' in rules.read_text()
    with lab.maximum(FULL):
        site.host.fill_to(FULL)
        triage = site.host.run([sys.executable, '-m', 'check_conntrack_lib', 'triage', '--kernel-log', 'off'],
                               cwd=proctree.ROOT).stdout
        assert 'The way to the monitoring' in triage
        # whom the agent is connected to is known
        assert f'{MONITORING} tcp' in triage if kind == 'nft' else f'-s {MONITORING} -p tcp' in triage
        deadline = time.monotonic() + 60
        while True:
            # above 95 % the kernel removes closed connections by and by: their room is taken, too
            site.host.fill_to(FULL)
            before = site.get_through(2)
            if not any(before.values()) or time.monotonic() > deadline:
                break
        assert not any(before.values()), before
        loaded = site.host.run([*load, str(rules)])
        assert loaded.returncode == 0, loaded.stderr
        # entries of earlier connections that are not ASSURED make room above 95 %: it is taken again
        site.host.fill_to(FULL)
        after = site.get_through(5)
        assert all(after.values()), after
        assert site.host.count() >= FULL - 20
        # what went on before goes on
        lines = [kept.stdout.readline() for _ in range(3)]
        assert lines == ['beat\n'] * 3


@pytest.mark.parametrize(('kind', 'firewall', 'load'), [
    ('nft', NFT, ['nft', '-f']), ('iptables', IPTABLES, ['iptables-restore', '--noflush'])])
def test_with_a_policy_of_drop_nothing_is_cut(site: Site, tmp_path: Path, kind: str, firewall: str,
                                              load: list[str]) -> None:
    (tmp_path / 'firewall').write_text(firewall)
    assert site.host.run([*load, str(tmp_path / 'firewall')]).returncode == 0
    kept = site.start_agent(site.host.name, MONITORING)
    assert kept.stdout is not None
    assert kept.stdout.readline() == 'connected\n'
    text = lifeline(site, kind)
    rules = tmp_path / 'lifeline'
    undo = [line[len('# undo: '):] for line in text.splitlines() if line.startswith('# undo: ')]
    rules.write_text(text)
    assert site.host.run([*load, str(rules)]).returncode == 0
    assert all(site.get_through(5).values())
    assert [kept.stdout.readline() for _ in range(3)] == ['beat\n'] * 3
    for line in undo:
        assert site.host.run(['sh', '-c', line]).returncode == 0, line
    left = site.host.run(['sh', '-c', 'nft list ruleset; iptables-save']).stdout
    assert 'lifeline' not in left
    assert 'notrack' not in left
    # without the accept rules they cut what works: that is why they come in one file
    notrack = '\n'.join(line for line in text.splitlines() if not line.startswith(('insert', '-I')))
    rules.write_text(notrack + '\n')
    assert site.host.run([*load, str(rules)]).returncode == 0
    assert not any(site.get_through(2).values())
