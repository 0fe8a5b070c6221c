"""Lines of /proc/net/nf_conntrack from kernels of several generations."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_conntrack_lib.deadline import Deadline
from check_conntrack_lib.flow import Flow
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import proc_conntrack
from check_conntrack_lib.readers.proc_conntrack import parse_line

SAMPLES = sorted((Path(__file__).parents[1] / 'samples').glob('*/*-proc.txt'))
LINES = [line for path in SAMPLES for line in path.read_text().splitlines()]


def seen(line):
    """A line's flow as a person would write it down, without the addresses."""
    flow = parse_line(line)
    marks = [name for name in ('replied', 'assured', 'snat', 'dnat', 'offloaded') if getattr(flow, name)]
    return flow.protocol, flow.state, flow.timeout, flow.sport, flow.dport, flow.zone, ' '.join(marks)


def test_there_are_samples():
    assert len(SAMPLES) == 3


@pytest.mark.parametrize('line', LINES)
def test_every_sample_is_an_entry_with_both_its_ends(line):
    flow = parse_line(line)
    assert flow.protocol in (1, 2, 6, 17, 33, 47, 50, 58, 89, 132)
    assert len(flow.src) == len(flow.dst) == (16 if line.startswith('ipv6') else 4)
    assert flow.offloaded == ('OFFLOAD]' in line) == (flow.timeout is None)
    assert flow.replied == ('[UNREPLIED]' not in line)
    assert not flow.snat
    assert not flow.dnat


V4 = 'src=127.0.0.1 dst=127.0.0.1'


def test_counters_of_both_directions():
    lines = [f'ipv4     2 udp      17 27 {V4} sport=1 dport=2{first} {V4} sport=2 dport=1{second} mark=0 zone=0 use=2'
             for first, second in ((' packets=3 bytes=166', ' packets=2 bytes=112'), ('', ''))]
    assert [parse_line(line)[-4:] for line in lines] == [(3, 166, 2, 112), (None,) * 4]


@pytest.mark.parametrize(('line', 'flow'), [
    (f'ipv4     2 tcp      6 431997 ESTABLISHED {V4} sport=46696 dport=80 packets=3 bytes=166 '
     f'{V4} sport=80 dport=46696 packets=2 bytes=112 [ASSURED] mark=0 zone=0 delta-time=2 use=2',
     (6, 'ESTABLISHED', 431997, 46696, 80, 0, 'replied assured')),
    # a kernel without zones
    (f'ipv4     2 udp      17 27 {V4} sport=44867 dport=5002 [UNREPLIED] {V4} sport=5002 dport=44867 mark=0 use=2',
     (17, '', 27, 44867, 5002, 0, '')),
    (f'ipv4     2 udp      17 27 {V4} sport=44867 dport=5002 zone-orig=8 packets=1 bytes=29 [UNREPLIED] '
     f'{V4} sport=5002 dport=44867 mark=0 use=2', (17, '', 27, 44867, 5002, 8, '')),
    (f'ipv4     2 udp      17 27 {V4} sport=44867 dport=5003 [UNREPLIED] {V4} sport=5003 dport=44867 zone-reply=9 '
     'mark=0 use=2', (17, '', 27, 44867, 5003, 9, '')),
    (f'ipv4     2 udp      17 27 {V4} sport=1 dport=2 {V4} sport=2 dport=1 mark=0 zone=65535 use=2',
     (17, '', 27, 1, 2, 65535, 'replied')),
    (f'ipv4     2 tcp      6 {V4} sport=60606 dport=80 {V4} sport=80 dport=60606 [OFFLOAD] mark=0 zone=0 use=3',
     (6, '', None, 60606, 80, 0, 'replied assured offloaded')),
    (f'ipv4     2 tcp      6 {V4} sport=60606 dport=80 {V4} sport=80 dport=60606 [HW_OFFLOAD] mark=0 zone=0 use=3',
     (6, '', None, 60606, 80, 0, 'replied assured offloaded')),
    # evicted from 6.3 on
    (f'ipv4     2 udp      17 {V4} sport=606 dport=80 {V4} sport=80 dport=606 [OFFLOAD] mark=0 zone=0 use=3',
     (17, '', None, 606, 80, 0, 'replied offloaded')),
    # an offloaded entry whose time and state are shown all the same
    (f'ipv4     2 tcp      6 86396 ESTABLISHED {V4} sport=60606 dport=80 {V4} sport=80 dport=60606 [OFFLOAD] mark=0 '
     'use=3', (6, 'ESTABLISHED', 86396, 60606, 80, 0, 'replied assured offloaded')),
    (f'ipv4     2 gre      47 27 timeout=30, stream_timeout=180 {V4} srckey=0x0 dstkey=0x0 [UNREPLIED] '
     f'{V4} srckey=0x0 dstkey=0x0 mark=0 zone=0 use=2', (47, '', 27, 0, 0, 0, '')),
    (f'ipv4     2 unknown  50 597 {V4} [UNREPLIED] {V4} mark=0 zone=0 use=2', (50, '', 597, 0, 0, 0, '')),
    (f'unknown  2 unknown  33 597 {V4} [UNREPLIED] {V4} mark=0 zone=0 use=2', (33, '', 597, 0, 0, 0, '')),
    (f'ipv4     2 icmp     1 27 {V4} type=8 code=0 id=4660 {V4} type=0 code=0 id=4660 mark=0 zone=0 use=2',
     (1, '', 27, 0, 0, 0, 'replied')),
    ('ipv4     2 tcp      6 117 TIME_WAIT src=10.0.0.3 dst=10.0.0.2 sport=4000 dport=443 '
     'src=10.0.0.2 dst=192.0.2.1 sport=443 dport=4000 [ASSURED] mark=0 secctx=system_u:object_r:x:s0 zone=0 use=2',
     (6, 'TIME_WAIT', 117, 4000, 443, 0, 'replied assured snat')),
    ('ipv4     2 tcp      6 117 CLOSE src=10.0.0.3 dst=192.0.2.2 sport=4000 dport=443 '
     'src=10.0.0.2 dst=10.0.0.3 sport=8443 dport=4000 [ASSURED] mark=0 zone=0 use=2',
     (6, 'CLOSE', 117, 4000, 443, 0, 'replied assured dnat')),
    # masquerading that had to take another port
    ('ipv4     2 udp      17 17 src=10.0.0.3 dst=10.0.0.2 sport=4000 dport=53 '
     'src=10.0.0.2 dst=10.0.0.3 sport=53 dport=1024 mark=0 zone=0 use=2', (17, '', 17, 4000, 53, 0, 'replied snat')),
    ('ipv6     10 tcp      6 117 LAST_ACK src=fd00:0000:0000:0000:0000:0000:0000:0001 '
     'dst=fd00:0000:0000:0000:0000:0000:0000:0002 sport=1 dport=2 src=fd00:0000:0000:0000:0000:0000:0000:0002 '
     'dst=fd00:0000:0000:0000:0000:0000:0000:0001 sport=2 dport=1 mark=0 use=2',
     (6, 'LAST_ACK', 117, 1, 2, 0, 'replied')),
])
def test_lines(line, flow):
    assert seen(line) == flow


def test_addresses():
    flow = parse_line('ipv4     2 tcp      6 9 CLOSE src=10.0.0.3 dst=192.0.2.2 sport=4000 dport=443 '
                      'src=10.0.0.2 dst=192.0.2.1 sport=8443 dport=4000 mark=0 use=2')
    assert [socket.inet_ntoa(end) for end in (flow.src, flow.dst, flow.reply_src, flow.reply_dst)] == [
        '10.0.0.3', '192.0.2.2', '10.0.0.2', '192.0.2.1']


def test_the_full_form_of_ipv6_is_the_short_one():
    flow = parse_line(next(line for line in LINES if 'fd00:0000' in line))
    assert socket.inet_ntop(socket.AF_INET6, flow.src) == 'fd00::1'


@pytest.mark.parametrize('line', [
    'x',
    'udp      17 27 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1 use=2',
    f'ipv4     2 udp      17 27 {V4} sport=1 dport=2 use=2',
    f'ipv4     2 udp      256 27 {V4} sport=1 dport=2 {V4} sport=2 dport=1 use=2',
    f'ipv4     2 udp      17 27 {V4} sport=1 dport=65536 {V4} sport=2 dport=1 use=2',
    f'ipv4     2 udp      17 27 {V4} sport=1 dport=x {V4} sport=2 dport=1 use=2',
    f'ipv4     2 tcp      6 27 TIME|WAIT {V4} sport=1 dport=2 {V4} sport=2 dport=1 use=2',
    f'ipv4     2 tcp      6 27 \x1b[31m {V4} sport=1 dport=2 {V4} sport=2 dport=1 use=2',
    f'ipv4     2 udp      17 27 src=10.0.0.256 dst=10.0.0.1 sport=1 dport=2 {V4} sport=2 dport=1 use=2',
])
def test_what_is_no_entry(line):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_line(line)


@pytest.mark.slow
@given(st.text(max_size=200) | st.lists(st.sampled_from(
    ['ipv4', '2', 'udp', '17', '27', 'src=10.0.0.1', 'dst=::1', 'src=', 'sport=1', 'dport=-1', '[ASSURED]', '[', '=',
     '\0', 'zone=9', 'zone-orig=1', 'CLOSE', 'timeout=30,', '9' * 30]), max_size=20).map(' '.join))
def test_no_line_gives_a_traceback(line):
    with contextlib.suppress(ValueError):
        assert isinstance(parse_line(line), Flow)


class TestReading:
    @pytest.fixture
    def host(self, tmp_path):
        (tmp_path / 'net').mkdir()
        return Host(str(tmp_path))

    def write(self, host, text):
        Path(host.path(proc_conntrack.FILE)).write_text(text)

    def test_all_lines(self, host):
        self.write(host, '\n'.join(LINES) + '\n')
        assert proc_conntrack.read_flows(host, list, 1000) == [parse_line(line) for line in LINES]

    def test_the_first_lines(self, host):
        self.write(host, '\n'.join(LINES) + '\n')
        assert proc_conntrack.read_flows(host, list, 3) == [parse_line(line) for line in LINES[:3]]

    def test_an_empty_table(self, host):
        self.write(host, '')
        assert proc_conntrack.read_flows(host, list, 1000) == []

    def test_no_line_is_read_when_the_time_is_up(self, host):
        self.write(host, '\n'.join(LINES) + '\n')
        assert proc_conntrack.read_flows(host, list, 1000, time.monotonic()) == []

    def test_no_file(self, host):
        assert proc_conntrack.read_flows(host, list, 1000) == Missing(
            f'no {host.path(proc_conntrack.FILE)}', 'this kernel is built without CONFIG_NF_CONNTRACK_PROCFS')

    @pytest.mark.parametrize(('text', 'why'), [
        (LINES[0], 'cut line'),
        ('x' * 10000, 'a line without an end'),
        ('x\n', 'not a line of nf_conntrack'),
    ])
    def test_another_file(self, host, text, why):
        self.write(host, text)
        assert proc_conntrack.read_flows(host, list, 1000).why == f'{host.path(proc_conntrack.FILE)}: {why}'


def test_a_fifo_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'nf_conntrack')
    deadline = Deadline(10)
    deadline.start()
    try:
        with pytest.raises(ValueError, match='something else is mounted over it'):
            list(proc_conntrack._lines(str(tmp_path / 'nf_conntrack'), None))
    finally:
        deadline.stop()


@pytest.mark.parametrize('kind', ['the null device', 'a file of another file system'])
def test_a_table_that_is_covered_is_not_an_empty_one(kind, tmp_path, monkeypatch):
    (tmp_path / 'net').mkdir()
    if kind == 'the null device':
        (tmp_path / 'net/nf_conntrack').symlink_to('/dev/null')
    else:
        (tmp_path / 'net/nf_conntrack').write_text('')
        true_stat = os.stat
        monkeypatch.setattr(os, 'stat', lambda path: os.stat_result(
            [number + (place == 2) for place, number in enumerate(true_stat(path))]))
    path = str(tmp_path / 'net/nf_conntrack')
    assert proc_conntrack.read_flows(Host(str(tmp_path)), list, 10) == Missing(
        f'{path}: something else is mounted over it')
