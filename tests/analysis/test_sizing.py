"""How large the table should be, and the readings behind it."""

from __future__ import annotations

import os
import socket

import pytest

from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.analysis.sizing import Peak, alert_thresholds, concentration, propose, rounded_maximum
from check_conntrack_lib.flow import ASSURED, SEEN_REPLY, Flow
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing, Table
from check_conntrack_lib.readers import meminfo, processes, slabinfo, sysctl_values
from check_conntrack_lib.readers.kernel_version import stable

# /proc/slabinfo of 6.18 with a million entries, of Ubuntu 5.15, and of 3.10
SLAB_618 = """slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount>
nf_conntrack_expect      0      0    208   39    2 : tunables    0    0    0 : slabdata      0      0      0
nf_conntrack      1000112 1000112    256   16    1 : tunables    0    0    0 : slabdata  62507  62507      0
kmalloc-128       1019872 1019872    128   32    1 : tunables    0    0    0 : slabdata  31871  31871      0
"""
SLAB_515 = 'nf_conntrack         102    102    320   51    4 : tunables    0    0    0 : slabdata      2\n'
SLAB_310 = 'nf_conntrack_ffffffff81a26d80    625    625    320   25    2 : tunables    0    0    0 : slabdata     25\n'


class TestReaders:
    @pytest.mark.parametrize(('text', 'size'), [(SLAB_618, 256), (SLAB_515, 4 * 4096 / 51), (SLAB_310, 8192 / 25)])
    def test_slabinfo(self, text, size):
        assert slabinfo.parse(text, 4096) == pytest.approx(size)

    @pytest.mark.parametrize('text', ['', 'nf_conntrack 1 2\n', 'nf_conntrack 1 1 256 25 1' + '0' * 400 + ' : \n',
                                      'nf_conntrack 1 1 256 0 1 : \n',
                                      'nf_conntrack_expect 0 0 208 39 2 : \n'])
    def test_slabinfo_without(self, text):
        with pytest.raises(ValueError, match='merged'):
            slabinfo.parse(text, 4096)

    @pytest.mark.parametrize(('columns', 'size'), [
        ('1 1 256 999999999 1', 1 / 999999999), ('1 1 256 1 999999999', 999999999), ('1 1 256 9999999999 1', None),
        ('1 1 256 1 9999999999', None), ('1 1 256 1', None), ('1 1 256 1 1', 1), ('1 1 256 16 0', 0)])
    def test_columns_of_slabinfo(self, columns, size):
        if size is None:
            with pytest.raises(ValueError, match='merged'):
                slabinfo.parse(f'nf_conntrack {columns}', 1)
        else:
            assert slabinfo.parse(f'nf_conntrack {columns}', 1) == size

    @pytest.mark.parametrize(('line', 'entries'), [
        ('nf_conntrack 999999999999 1', 999999999999), ('nf_conntrack 9999999999999 1', None), ('nf_conntrack 5', None),
        ('nf_conntrack_ 5 5', None), ('nf_conntrack_0 5 5', 5), ('nf_conntrack_ab 5 5\nnf_conntrack 6 6', 11),
        ('nf_conntrack_xy 5 5', None), ('x nf_conntrack 5 5', None)])
    def test_entries_of_slabinfo(self, line, entries):
        if entries is None:
            with pytest.raises(ValueError, match='no line nf_conntrack'):
                slabinfo.parse_entries(line)
        else:
            assert slabinfo.parse_entries(line) == entries

    def test_slabinfo_is_for_root(self, tmp_path):
        found = slabinfo.read(Host(str(tmp_path)))
        assert found == Missing(f'{tmp_path}/slabinfo: No such file or directory', 'only root reads it')

    def test_meminfo(self):
        text = 'MemTotal:       24635020 kB\nMemFree:        19733572 kB\nMemAvailable:   23903412 kB\n'
        assert meminfo.parse(text) == 23903412 * 1024
        with pytest.raises(ValueError, match='MemAvailable'):
            meminfo.parse('MemTotal: 1 kB\n')
        assert not isinstance(meminfo.read(Host()), Missing)

    def test_timeouts(self, tmp_path):
        assert isinstance(sysctl_values.read_timeouts(Host(str(tmp_path))), Missing)
        folder = tmp_path / 'sys/net/netfilter'
        folder.mkdir(parents=True)
        for name, text in {'nf_conntrack_tcp_timeout_established': '432000\n', 'nf_conntrack_udp_timeout': '30\n',
                           'nf_conntrack_generic_timeout': 'x\n', 'nf_conntrack_max': '1\n',
                           'nf_flowtable_tcp_timeout': '30\n'}.items():
            (folder / name).write_text(text)
        timeouts = sysctl_values.read_timeouts(Host(str(tmp_path)))
        assert timeouts == {'tcp_timeout_established': 432000, 'udp_timeout': 30}

    def test_containers(self, tmp_path):
        host = Host(str(tmp_path))
        (tmp_path / '1/root').mkdir(parents=True)
        assert processes.read_container(host) == ''
        (tmp_path / '1/cgroup').write_text('12:devices:/kubepods/besteffort/pod1\n')
        assert processes.read_container(host) == 'kubepods'
        (tmp_path / '1/root/.dockerenv').touch()
        assert processes.read_container(host) == 'docker'


@pytest.mark.parametrize(('release', 'version', 'signature', 'expected'), [
    ('5.15.0-25-generic', '#25-Ubuntu SMP', 'Ubuntu 5.15.0-25.25-generic 5.15.30\n', '5.15.30'),
    ('5.15.0-204-generic', '#214-Ubuntu SMP', 'Ubuntu 5.15.0-204.214-generic 5.15.199\n', '5.15.199'),
    ('5.15.0-204-generic', '#214-Ubuntu SMP', '', ''),
    ('6.1.0-50-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-09-01)', '', '6.1.176'),
    ('6.12.117+deb13-amd64', '#1 SMP Debian 6.12.117-1', '', '6.12.117'),
    ('6.1.20', '#1 SMP', '', '6.1.20'),
    ('5.15.102-talos', '#1 SMP', '', '5.15.102'),
    ('5.14.0-427.13.1.el9_4.x86_64', '#1 SMP', '', ''),
    ('5.14.21-150500.55-default', '#1 SMP', '', ''),
    ('5.15.0', '#1 SMP', '', '5.15.0'),
    ('odd', '', 'Ubuntu', ''),
])
def test_the_stable_release_of_a_kernel(release, version, signature, expected):
    assert stable(release, version, signature) == expected


class TestSize:
    @pytest.mark.parametrize(('number', 'rounded'), [
        (0, 4096), (4096, 4096), (4097, 5120), (262144, 262144), (262145, 327680), (374492, 393216),
        (1000000, 1048576)])
    def test_round_up(self, number, rounded):
        assert rounded_maximum(number) == rounded

    def test_at_most_a_quarter_more(self):
        for number in range(4096, 2_000_000, 997):
            assert number <= rounded_maximum(number) <= number * 1.25
            assert rounded_maximum(number) % 512 == 0

    def test_the_peak_fills_seventy_percent(self):
        size = propose(262144, Table(1000, 262144, 65536), 256.0)
        assert (size.maximum, size.buckets) == (393216, 393216)
        assert 262144 / size.maximum <= 0.7
        assert (size.entry, size.measured) == (384, True)
        assert size.memory == 393216 * (384 + 8)
        assert size.more == size.memory - 1000 * 384 - 65536 * 8

    def test_never_below_today(self):
        size = propose(1000, Table(900, 1000000, 2000000), Missing('root'))
        assert (size.maximum, size.buckets) == (1000000, 2000000)
        assert (size.entry, size.measured) == (448, False)

    def test_no_limit_and_no_buckets(self):
        size = propose(100000, Table(100000, 0, Missing('x')), 256.0)
        assert (size.maximum, size.buckets) == (163840, 163840)

    def test_a_full_table_cuts_the_demand_off(self):
        assert Peak(262144, 0, 1, 1, 262144).cut_off
        assert not Peak(200000, 0, 1, 1, 262144).cut_off
        assert not Peak(200000, 0, 1, 1, 0).cut_off

    @pytest.mark.parametrize(('entries', 'days', 'lines'), [
        (70, 14, (85, 95)), (60, 14, (75, 90)), (10, 14, (70, 90)), (99, 14, (85, 95)), (10, 3, (85, 95))])
    def test_alert_lines(self, entries, days, lines):
        assert alert_thresholds(Peak(entries, 0, days, 1, 100), 100) == lines
        assert alert_thresholds(Peak(entries, 0, days, 1, 0), 0) == (85, 95)


def flow(number, state='ESTABLISHED', status=SEEN_REPLY | ASSURED, src=None, dst='10.0.0.2'):
    source = socket.inet_aton(src or f'10.1.{number // 250}.{number % 250}')
    return Flow(6, state, status, 100, source, socket.inet_aton(dst), 40000, 443, b'', b'')


class TestConcentration:
    def said(self, flows):
        return list(concentration(summarize(flows, len(flows))))

    def test_nothing_stands_out(self):
        assert self.said([flow(n, dst=f'10.0.0.{n % 4}') for n in range(1000)]) == []
        assert self.said([]) == []

    def test_one_client(self):
        flows = [flow(n, src='10.9.9.9' if n % 2 else None, dst=f'10.0.0.{n % 5}') for n in range(1000)]
        assert self.said(flows) == ['50% of the table is from 10.9.9.9']

    def test_one_service_and_one_state(self):
        flows = [flow(n, 'SYN_SENT' if n % 4 else 'ESTABLISHED', 0 if n % 4 else SEEN_REPLY) for n in range(1000)]
        assert self.said(flows) == [
            '75% of the table is in state SYN_SENT: half-open, no answer: scan, flood or peer down',
            '75% of the table has no reply: a flood, a scan, or a dead server',
            '100% of the table is tcp to 10.0.0.2:443']

    def test_a_small_sample_proves_nothing(self):
        flows = [flow(n, src='10.9.9.9' if n % 3 == 0 else None, dst=f'10.0.0.{n % 5}') for n in range(30)]
        assert list(concentration(summarize(flows, 100000))) == []


def test_this_host_answers():
    host = Host()
    if os.path.exists('/proc/sys/net/netfilter/nf_conntrack_count'):
        assert not isinstance(sysctl_values.read_timeouts(host), Missing)
