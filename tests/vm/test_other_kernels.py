"""What differs from kernel to kernel, and what must not: run in a guest by benchmarks/kernels.py."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import guest
import laboratory
import pytest

from check_conntrack_lib.analysis.hash_chains import chain_limit
from check_conntrack_lib.analysis.losses import Losses
from check_conntrack_lib.analysis.nat_ports import RACING, cause
from check_conntrack_lib.host import Host
from check_conntrack_lib.readers import kernel_version

pytestmark = pytest.mark.kernel


needs_nftables = pytest.mark.skipif('not laboratory.has_nftables()', reason='this kernel has no nf_tables of IPv4')


@pytest.fixture
def initial() -> Iterator[laboratory.Namespace]:
    """The initial namespace with a module that was just loaded."""
    guest.unload()
    made = guest.load()
    yield made
    made.drain()


def test_the_module_is_not_loaded_and_then_it_is(tmp_path: Path) -> None:
    guest.unload()
    status, said = guest.check(tmp_path / 'h.sqlite')
    assert (status, 'not loaded' in said) == (3, True)
    assert guest.check(tmp_path / 'h.sqlite', '--not-loaded', 'ok')[0] == 0
    for verb in (['triage'], ['tune'], ['watch', '--count', '1', '--every', '1s']):
        assert guest.doctor(*verb)[0] == 2, verb
    status, page = guest.doctor('export')
    assert status == 0
    assert 'conntrack_loaded 0.0' in page
    assert 'initial="true"' in page
    assert not Path('/sys/module/nf_conntrack').exists(), 'none of them has loaded it'
    guest.load()
    assert guest.check(tmp_path / 'h.sqlite')[0] == 0


def test_every_lost_packet_is_counted(initial: laboratory.Namespace, tmp_path: Path) -> None:
    guest.sysctl('max', 2000)
    guest.check(tmp_path / 'h.sqlite')
    initial.fill_to(2000)
    flood = initial.flood(100)
    status, said = guest.check(tmp_path / 'h.sqlite')
    assert flood.refused == 100
    assert status == 2
    assert '100 packets dropped' in said.splitlines()[0]
    assert 'table full' in said.splitlines()[0]


@pytest.mark.parametrize('before', [0, 30], ids=['first loss', 'losses before'])
def test_a_reload_of_the_module_forgets_no_loss(initial: laboratory.Namespace, tmp_path: Path, before: int) -> None:
    """A firewall is restarted because of the incident, just when somebody looks."""
    guest.sysctl('max', 2000)
    initial.fill_to(2000)
    if before:
        initial.flood(before)
    guest.check(tmp_path / 'h.sqlite', '--window', '1h')
    initial.flood(40)
    assert '40 packets dropped' in guest.check(tmp_path / 'h.sqlite', '--window', '1h')[1]
    guest.unload()
    again = guest.load()
    status, said = guest.check(tmp_path / 'h.sqlite', '--window', '1h', '-v')
    assert status in (1, 2)
    assert '40 packets dropped' in said.splitlines()[0]
    assert 'this namespace dropped nothing' not in said, 'its own log lines'
    guest.sysctl('max', 1000)
    again.fill_to(1000)
    again.flood(7)
    assert '47 packets dropped' in guest.check(tmp_path / 'h.sqlite', '--window', '1h')[1].splitlines()[0]


def test_lines_of_a_neighbour_are_no_alert_here(initial: laboratory.Namespace, tmp_path: Path) -> None:
    """Below 6.17 the log names no namespace; nothing was dropped here, or clashes were."""
    guest.sysctl('max', 2000)
    with laboratory.namespace('kernels-quiet') as quiet, laboratory.namespace('kernels-noisy') as noisy:
        guest.check(tmp_path / 'q.sqlite', netns=quiet.name)
        guest.check(tmp_path / 'n.sqlite', netns=noisy.name)
        noisy.fill_to(2000)
        noisy.flood(60)
        status, said = guest.check(tmp_path / 'n.sqlite', netns=noisy.name)
        assert (status, '60 packets dropped' in said) == (2, True)
        assert guest.check(tmp_path / 'q.sqlite', netns=quiet.name)[0] == 0
        assert 'conntrack_log_table_full_lines 0.0' in guest.doctor('export', netns=quiet.name)[1]
        other = re.search(r'^conntrack_log_table_full_lines_other (\S+)$',
                          guest.doctor('export', '--netns', 'all')[1], re.MULTILINE)
        assert other
        assert (float(other[1]) == 0) == (guest.kernel() >= (6, 17))
        if not laboratory.has_nftables():
            return  # the rules that make a clash are nftables'
        clashes = guest.clash(quiet, 8)
        assert clashes == 7
        options = ('--insert-failed-warning', 'off', '--insert-failed-critical', 'off', '-v')
        status, said = guest.check(tmp_path / 'q.sqlite', *options, netns=quiet.name)
        if guest.kernel() < (5, 10):
            # clashes and packets that a full table drops are one counter
            assert (status, '7 packets dropped' in said) == (2, True)
            return
        assert status == 0, 'one clash does not make the lines its own'
        assert 'conntrack_log_table_full_lines 0.0' in guest.doctor('export', netns=quiet.name)[1]
        record = json.loads(guest.doctor('export', '--json', netns=quiet.name)[1])
        assert record['kernel_log']['table_full_lines'] == 0
        names = guest.kernel() >= (6, 17)
        assert ('this namespace dropped nothing' in said) or names
        if names:
            assert f'network namespace {noisy.inode}' in said


@needs_nftables
def test_a_race_of_packets_is_no_want_of_nat_ports(initial: laboratory.Namespace) -> None:
    """What the kernel has searched for ports tells the two apart, without the table."""
    with laboratory.namespace('kernels-race') as racing:
        assert guest.clash(racing, 8) == 7
        # of a new namespace; by netlink, as Ubuntu's kernels have no file of them
        counted = {name: guest.counter(racing, name) for name in ('drop', 'insert_failed', 'found')}
    lost = Losses(10.0, {**counted, 'clash_resolve': 0})
    assert cause(lost, None) == RACING


def test_hash_chains_that_are_too_long(initial: laboratory.Namespace, tmp_path: Path) -> None:
    limit = chain_limit(os.uname().release, kernel_version.read_stable(Host()))
    guest.sysctl('max', 400000)
    with guest.buckets(512):
        guest.check(tmp_path / 'h.sqlite', '--kernel-log', 'off')
        flood = initial.flood(1000, limit=22000, seconds=120)
        if limit.entries_per_bucket is None:
            assert flood == (22000, 0)
            return
        assert not limit.unless, 'the kernel says what it is built from'
        # 1000 refusals: some time after the first, which is what the limit tells
        assert limit.entries_per_bucket * 512 < flood.sent < 6 * limit.entries_per_bucket * 512
        _status, said = guest.check(tmp_path / 'h.sqlite', '--kernel-log', 'off')
        first = said.splitlines()[0]
        assert 'hash chains too long' in first
        assert 'table full' not in first
        _status, screen = guest.doctor('triage', '--history', tmp_path / 'h.sqlite')
        assert 'nf_conntrack_buckets 512 ->' in screen
        assert 'raise nf_conntrack_max' not in screen


def test_the_hash_table_is_too_small_before_any_table_is_full(initial: laboratory.Namespace, tmp_path: Path) -> None:
    limit = chain_limit(os.uname().release, kernel_version.read_stable(Host())).entries_per_bucket
    guest.sysctl('max', 400000)
    with guest.buckets(512):
        initial.flood(1 << 30, limit=round(1.2 * (limit or 16) * 512), seconds=120)
        status, said = guest.check(tmp_path / 'h.sqlite', '--kernel-log', 'off', '--dropped-warning', 'off',
                                   '--dropped-critical', 'off')
        if limit is None:
            assert (status, 'hash_refused' in said) == (0, False)
            return
        assert status == 1
        first = said.splitlines()[0]
        assert 'hash table too small' in first
        wanted = re.search(r'sudo sysctl -w net.netfilter.nf_conntrack_buckets=(\d+)', said)
        assert wanted
        with laboratory.namespace('kernels-poor') as poor:
            # one entry of its own, and the same hash table
            poor.fill_to(1)
            status, said = guest.check(tmp_path / 'p.sqlite', '--kernel-log', 'off', '-v', netns=poor.name)
            assert status == 1
            assert 'of all network namespaces' in said
            assert 'with those of other namespaces' in said
        guest.sysctl('buckets', int(wanted[1]))
        assert guest.check(tmp_path / 'h2.sqlite', '--kernel-log', 'off')[0] == 0


def test_no_limit_or_no_zero(initial: laboratory.Namespace, tmp_path: Path) -> None:
    """Newer kernels refuse a maximum of 0."""
    initial.fill_to(100)
    try:
        guest.sysctl('max', 0)
    except OSError:
        assert guest.kernel() >= (7, 0)
        return
    # lines of the tests before are of this namespace, too
    status, said = guest.check(tmp_path / 'h.sqlite', '--kernel-log', 'off')
    assert (status, '100 entries, no limit' in said) == (0, True)


def test_settings_that_came_before_the_module(tmp_path: Path) -> None:
    guest.unload()
    file = Path('/etc/sysctl.d/60-guest.conf')
    file.write_text(''.join(f'net.netfilter.nf_conntrack_{name} = {value}\n' for name, value in {
        'max': 500000, 'tcp_timeout_established': 86400, 'udp_timeout': 20, 'tcp_be_liberal': 1}.items()))
    try:
        guest.load()
        # lines of the tests before are of this namespace, too
        status, said = guest.check(tmp_path / 'h.sqlite', '-v', '--kernel-log', 'off')
        assert status == 1
        assert len(re.findall(r'60-guest\.conf.* applied before the module was loaded', said)) >= 4
        assert 'kube-proxy' not in said
    finally:
        file.unlink()


@needs_nftables
def test_offloaded_connections(initial: laboratory.Namespace, tmp_path: Path) -> None:
    """A real flowtable: open connections, which the table shows without a state."""
    guest.sysctl('max', 400)
    gateway = guest.Gateway(tcp=40, udp=20)
    try:
        status, page = guest.doctor('export', '--per-host', netns='guest-r')
        assert 'conntrack_open_connections_total{host="10.2.0.2"} 40.0' in page
        gateway.talk()
        status, said = guest.check(tmp_path / 'f.sqlite', '-w', '5', '-c', '10', '--kernel-log', 'off', netns='guest-r')
        assert status == 2
        assert 'flows_tcp_offload=40' in said
        assert 'flows_tcp_other=0' in said
        assert 'flowtable' in said
        gateway.talk()
        profile = json.loads(guest.doctor('triage', '--json', netns='guest-r')[1])['profile']
        stay = guest.kernel() < (6, 3)
        assert profile['offloaded'] == 60
        if stay:
            assert profile['assured'] == 60
        else:
            assert profile['assured'] == 40
        # few buckets, so that the kernel finds whom it may evict
        with guest.buckets(512):
            gateway.router.fill_to(400)
            gateway.talk()
            for number, stranger in enumerate(gateway.strangers):
                stranger.sendto(b'', ('10.2.0.2', 30000 + number))
            # each of them is dropped, or evicts an entry
            end = time.monotonic() + 60
            evicted = dropped = 0
            while evicted + dropped < len(gateway.strangers) and time.monotonic() < end:
                evicted, dropped = (guest.counter(gateway.router, name) for name in ('early_drop', 'drop'))
            assert evicted + dropped >= len(gateway.strangers)
        assert (evicted == 0) == stay, 'what it says is what this kernel does'
    finally:
        gateway.close()
