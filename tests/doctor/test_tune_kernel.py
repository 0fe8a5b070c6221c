"""tune's advice on a real kernel: the predicted effect against the truth, and files that the tools take."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import laboratory
import pytest
from laboratory import Flow
from needed import need

from check_conntrack_lib.analysis import timeouts
from check_conntrack_lib.analysis.profile import Profile
from check_conntrack_lib.analysis.timeouts import Shorter, TimeoutRule
from check_conntrack_lib.diagnosis.sample import take_profile
from check_conntrack_lib.history.database import open_database
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Table
from check_conntrack_lib.readers import ctnetlink, sysctl_files, sysctl_values

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]
#: a table for which every part of the advice has something to say
SHARES = {
    Flow('tcp', '10.1.0.0/20', dport=443, timeout=431000): 30,
    Flow('tcp', '10.2.0.0/20', dport=5432, timeout=100000): 10,
    Flow('tcp', '10.3.0.0/20', dport=80, state='TIME_WAIT', timeout=70): 20,
    Flow('udp', '10.1.0.0/20', '10.0.0.53', dport=53, timeout=20, assured=False): 20,
    Flow('udp', 'fd00::1:0/116', 'fd00::53', dport=53, timeout=20, assured=False): 10,
    Flow('icmp', '10.1.0.0/20', timeout=20, assured=False): 10,
}
MAXIMUM = 12000


@pytest.fixture(autouse=True, scope='module')
def _laboratory():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())


@pytest.fixture(scope='module')
def advised(tmp_path_factory):
    """What tune prints for such a table, by its arguments."""
    printed = {}
    missing = str(tmp_path_factory.mktemp('tune') / 'history.sqlite')
    with open_database(missing, 5):
        pass  # it is there, without a sample
    with laboratory.maximum(MAXIMUM), laboratory.namespace() as made:
        made.fill(laboratory.mixed_flows(10000, SHARES))
        for argv in ('', '--drop-in', '--drop-in --expires 48h', '--rules nft', '--rules iptables',
                     '--rules ip6tables', '--json', '--exact'):
            done = made.run([sys.executable, '-m', 'check_conntrack_lib', 'tune', '--history', missing,
                             *argv.split()], cwd=ROOT)
            assert (done.stderr, done.returncode) == ('', 0)
            printed[argv] = done.stdout
    return printed


def test_report(advised):
    for said in ('DNS (udp port 53): 3', 'pings (icmp): ', 'tcp_timeout_time_wait            120        30 ',
                 'nf_conntrack_max = 14336'):
        assert said in advised[''], advised['']
    assert 'counted in 10000 of 10000 entries' in advised['--exact']


def test_sysctl_takes_the_drop_in(advised, tmp_path):
    """In a namespace, with files of the test in the place of the two values that are the initial one's."""
    file = tmp_path / '99-conntrack.conf'
    file.write_text(advised['--drop-in --expires 48h'])
    for name in ('max', 'buckets'):
        (tmp_path / name).write_text('0\n')
    binds = ' && '.join(f'mount --bind {tmp_path}/{name} /proc/sys/net/netfilter/nf_conntrack_{name}'
                        for name in ('max', 'buckets'))
    with laboratory.namespace() as made:
        done = made.run(['sh', '-c', f'{binds} && sysctl -p {file}'])
        assert (done.stderr, done.returncode) == ('', 0)
        with made.in_netns():
            running = sysctl_values.read_values(Host(), ['net/netfilter/nf_conntrack_tcp_timeout_time_wait'])
    assert list(running.values()) == [30]
    assert (tmp_path / 'max').read_text() == '14336\n'
    settings = sysctl_files.parse(file.read_text(), file.name)
    assert len(settings) == len(done.stdout.splitlines())
    for setting in settings:
        assert setting.expires == pytest.approx(time.time() + 48 * 3600, abs=120)


def test_nft_takes_the_rules_and_they_work(advised, tmp_path):
    file = tmp_path / 'bypass.nft'
    file.write_text(advised['--rules nft'])
    accept = tmp_path / 'accept.nft'
    accept.write_text(''.join(line[1:] for line in file.read_text().splitlines(True) if line.startswith('#insert')))
    assert accept.read_text()
    drop = 'policy drop; ct state established accept;'
    chains = ' '.join(f'chain {hook} {{ type filter hook {hook} priority 0; {drop} }};'
                      for hook in ('input', 'forward', 'output'))
    with laboratory.maximum(200_000), laboratory.namespace() as made:
        made.run(['ip', 'address', 'add', '10.0.0.53/32', 'dev', 'lo'], check=True)
        for argv in (['-c', '-f', file], ['-f', file], ['-c', '-f', file]):
            assert made.run(['nft', *map(str, argv)]).stderr == ''
        assert ask(made, 53) == b'yes'
        assert ask(made, 54) == b'yes'
        assert made.count() == 1  # port 54's
        made.run(['nft', '-f', '-'], input=f'table inet filter {{ {chains} }}', check=True)
        assert ask(made, 53) is None
        assert made.run(['nft', '-f', str(accept)]).stderr == ''
        assert ask(made, 53) == b'yes'
        made.run(['nft', 'delete', 'table', 'inet', 'conntrack_bypass'], check=True)


def ask(made, port):
    """The answer of a server on the inside; None: a rule has dropped one of the packets."""
    with made.in_netns():
        client, server = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with client, server:
        server.bind(('10.0.0.53', port))
        client.settimeout(0.5)
        server.settimeout(0.5)
        try:
            client.sendto(b'?', ('10.0.0.53', port))
            server.sendto(b'yes', server.recvfrom(9)[1])
            return client.recv(9)
        except (TimeoutError, socket.timeout, PermissionError):
            return None


@pytest.mark.parametrize('tool', ['iptables', 'ip6tables'])
def test_iptables_takes_the_rules(advised, tool, tmp_path):
    restore = need(f'{tool}-restore', 'iptables')
    file = tmp_path / 'rules'
    file.write_text(advised[f'--rules {tool}'])
    with laboratory.namespace() as made:
        for argv in (['--test', '--noflush', file], ['--noflush', file]):
            done = made.run([restore, *map(str, argv)])
            assert (done.stderr, done.returncode) == ('', 0)


def profile_of(made, most):
    with made.in_netns():
        profile = take_profile(Host(), Table(made.count(), 0, 0), most, contextlib.nullcontext)
    assert isinstance(profile, Profile)
    return profile


def listed(made):
    """Entries by protocol and state, after the listing has removed those whose time is over."""
    with made.in_netns():
        flows = ctnetlink.read_flows(list)
    return Counter((flow.protocol, flow.state) for flow in flows)


def proposal(monkeypatch, profile, name, now, proposed, protocol, state):
    """As tune would propose it, if it proposed such short timeouts."""
    monkeypatch.setattr(timeouts, 'RULES', (TimeoutRule(name, protocol, state, (Shorter(proposed, ''),)),))
    found, = timeouts.proposals(profile, {name: now})
    return found


def test_entries_of_known_idle_times_are_gone_when_it_says(monkeypatch):
    """A quarter has been idle for more than 1000 of 1200 s; the kernel collects them within the next three."""
    entries = 6000
    left = [1 + n % 3 if n % 4 == 0 else 300 + n % 900 for n in range(entries)]
    with laboratory.maximum(200_000), laboratory.namespace() as made:
        made.fill(Flow('tcp', f'10.1.{n // 250}.{n % 250}', state='TIME_WAIT', timeout=left[n])
                  for n in range(entries))
        profile = profile_of(made, 2000)
        found = proposal(monkeypatch, profile, 'tcp_timeout_time_wait', 1200, 1000, 6, 'TIME_WAIT')
        time.sleep(3.1)
        gone = entries - listed(made)[6, 'TIME_WAIT']
    assert profile.seen == 2000
    assert gone == entries / 4
    assert found.share.low * entries <= gone <= found.share.high * entries


def traffic(made, stop, seconds=0.02):
    """New flows at a steady rate, 500 datagrams and 150 closed TCP connections a second, until told to stop."""
    with made.in_netns():
        sender, sink, server = (socket.socket(socket.AF_INET, kind) for kind in
                                (socket.SOCK_DGRAM, socket.SOCK_DGRAM, socket.SOCK_STREAM))
        with sender, sink, server:
            sender.bind(('127.0.0.1', 0))
            sink.bind(('', 0))
            server.bind(('127.0.0.1', 0))
            server.listen(64)
            number, due = 2, time.monotonic()
            while not stop.is_set():
                for _ in range(10):
                    number += 1
                    sender.sendto(b'', (socket.inet_ntoa((0x7f000000 + number).to_bytes(4, 'big')),
                                        sink.getsockname()[1]))
                for _ in range(3):
                    with socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
                        client.shutdown(socket.SHUT_WR)
                        accepted.recv(1)
                due += seconds
                time.sleep(max(0.0, due - time.monotonic()))


@pytest.mark.slow
def test_the_predicted_effect_is_the_real_one(monkeypatch):
    """A table in balance with steady traffic, then the shorter timeouts for real, then its new balance."""
    now, proposed = 4, 1
    kinds = {'udp_timeout': (17, ''), 'tcp_timeout_time_wait': (6, 'TIME_WAIT')}
    stop = threading.Event()

    def set_timeouts(seconds):
        values = [f'net.netfilter.nf_conntrack_{name}={seconds}' for name in kinds]
        made.run(['sysctl', '-q', '-w', *values], check=True)

    with laboratory.maximum(200_000), laboratory.namespace() as made:
        set_timeouts(now)
        sending = threading.Thread(target=traffic, args=(made, stop))
        sending.start()
        try:
            time.sleep(now + 1)
            before = listed(made)
            profile = profile_of(made, 1000)
            found = {name: proposal(monkeypatch, profile, name, now, proposed, *kind) for name, kind in kinds.items()}
            set_timeouts(proposed)
            time.sleep(now + 1)
            after = listed(made)
        finally:
            stop.set()
            sending.join()
    assert sum(before.values()) > profile.seen == 1000
    for name, kind in kinds.items():
        freed = before[kind] - after[kind]
        # the traffic itself is no steadier than that
        unsteady = 0.08 * before[kind]
        low, high = found[name].share.low * profile.entries, found[name].share.high * profile.entries
        assert low - unsteady <= freed <= high + unsteady, (name, before[kind], after[kind], found[name])
