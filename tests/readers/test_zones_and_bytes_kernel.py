"""Zones that rules set, and counters of known traffic, on a real kernel: both readers, the profile, what is printed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import laboratory
import proctree
import pytest

from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.flow import Flow
from check_conntrack_lib.host import Host
from check_conntrack_lib.readers import ctnetlink, proc_conntrack

pytestmark = pytest.mark.kernel
ZONES = """table inet zones { chain output { type filter hook output priority raw;
    udp dport 7001 ct zone set 5; udp sport 7001 ct zone set 5;
    udp dport 7002 ct original zone set 8; udp dport 7003 ct reply zone set 9; udp sport 7003 ct zone set 9; }; }"""


@pytest.fixture
def lab() -> Iterator[laboratory.Namespace]:
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    with laboratory.maximum(262144), laboratory.namespace() as made:
        yield made


def datagrams(lab: laboratory.Namespace, port: int, sent: int, answered: int, source: str = '127.0.0.1') -> None:
    """UDP over lo: 100 bytes a datagram there, 50 back."""
    with lab.in_netns():
        client, server = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with client, server:
        client.bind((source, 0))
        server.bind(('127.0.0.1', port))
        for _ in range(sent):
            client.sendto(b'a' * 100, ('127.0.0.1', port))
        for _ in range(answered):
            server.sendto(b'b' * 50, client.getsockname())


def both(lab: laboratory.Namespace) -> list[list[Flow]]:
    """The flows by netlink, and by the file where this kernel has it."""
    with lab.in_netns():
        found = [ctnetlink.read_flows(list), proc_conntrack.read_flows(Host(), list, 1000)]
    return [flows for flows in found if isinstance(flows, list)]


def doctor(lab: laboratory.Namespace, *argv: str) -> str:
    done = lab.run(proctree.command(*argv, '--kernel-log', 'off'), cwd=proctree.ROOT)
    assert (done.returncode, done.stderr) == (0, ''), done
    return done.stdout


def test_zones_of_rules(lab: laboratory.Namespace) -> None:
    lab.do(f"nft '{ZONES}'")
    for port in (7000, 7001, 7002, 7003):
        datagrams(lab, port, 1, 1)
    ways = both(lab)
    assert ways
    for flows in ways:
        # an answer that is not in the zone of the question is an entry of its own
        assert {(flow.dport, flow.zone) for flow in flows if 7000 <= flow.dport <= 7003} == {
            (7000, 0), (7001, 5), (7002, 8), (7003, 9)}
    profile = summarize(ways[0], len(ways[0]))
    assert {key.zone for key, _seen in profile.zones} == {0, 5, 8, 9}
    metrics = doctor(lab, 'export', '--zones')
    assert 'conntrack_zone_entries{zone="5"} 1.0' in metrics
    assert 'conntrack_nat_ports' not in metrics
    assert '\nzones       zone ' in doctor(lab, 'triage')


def test_bytes_and_packets_are_exact(lab: laboratory.Namespace) -> None:
    datagrams(lab, 7000, 5, 0)
    lab.do('sysctl -qw net.netfilter.nf_conntrack_acct=1')
    datagrams(lab, 7001, 30, 3, '127.0.0.2')
    datagrams(lab, 7002, 10, 10)
    # 28 bytes of headers each
    first, second = 30 * 128 + 3 * 78, 10 * 128 + 10 * 78
    ways = both(lab)
    for flows in ways:
        assert {(flow.dport, flow.orig_packets, flow.orig_bytes, flow.reply_packets, flow.reply_bytes)
                for flow in flows} == {(7000, None, None, None, None), (7001, 30, 30 * 128, 3, 3 * 78),
                                       (7002, 10, 10 * 128, 10, 10 * 78)}
        traffic = summarize(flows, 3).traffic
        assert traffic
        assert (traffic.counted, traffic.packets, traffic.bytes) == (2, 53, first + second)
        assert traffic.sources == ((Key(source='127.0.0.2'), 33, first), (Key(source='127.0.0.1'), 20, second))
        assert traffic.targets[0] == (Key(17, '', '127.0.0.1', 7001), 33, first)
        assert traffic.services[1] == (Key(17, '', '', 7002), 20, second)
    metrics = doctor(lab, 'export', '--bytes')
    assert f'conntrack_accounted_bytes {float(first + second)}\n' in metrics
    assert f'conntrack_target_bytes{{destination="127.0.0.1",port="7001",protocol="udp"}} {float(first)}\n' in metrics
    assert 'conntrack_source_packets{source="127.0.0.1"} 20.0\n' in metrics
    assert 'conntrack_scrape_error{signal="bytes"} 0.0' in metrics
    assert '\nbytes       6 KiB in 53 packets of 2 entries of 3 since each was made\n' in doctor(lab, 'triage')
    assert json.loads(doctor(lab, 'triage', '--json'))['profile']['traffic']['packets'] == 53


def test_without_accounting_it_is_said_where_it_was_asked_for(lab: laboratory.Namespace) -> None:
    datagrams(lab, 7000, 5, 0)
    done = lab.run(proctree.command('export', '--bytes', '--kernel-log', 'off'), cwd=proctree.ROOT)
    assert done.stderr == 'not exported: bytes: net.netfilter.nf_conntrack_acct is 0: no bytes\n'
    assert 'conntrack_scrape_error{signal="bytes"} 1.0' in done.stdout
    assert 'bytes{' not in done.stdout
    for argv in (('triage',), ('export', '--zones'), ('watch', '--count', '1')):
        assert 'bytes' not in doctor(lab, *argv)
    with lab.in_netns():
        assert Path('/proc/sys/net/netfilter/nf_conntrack_acct').read_text() == '0\n'
