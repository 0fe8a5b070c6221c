"""Flows and their profile on a real kernel: tables of known content, read by both readers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import laboratory
import pytest
from capture_flows import FLOWS
from deadlines import within
from laboratory import Flow

from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.flow import CONFIRMED
from check_conntrack_lib.host import Host
from check_conntrack_lib.readers import ctnetlink, proc_conntrack

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]
TABLES, ENTRIES, SAMPLE = 20, 20000, 4000


@pytest.fixture(autouse=True, scope='module')
def _laboratory():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())


def text(address):
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def as_made(flow):
    """What a flow of the laboratory becomes, without its time."""
    ports = (flow.sport, flow.dport) if flow.number in (6, 17, 132, 136) else (0, 0)
    state = flow.state or ('ESTABLISHED' if flow.number in laboratory.STATES else '')
    return (flow.number, state, flow.src, flow.dst, *ports, flow.zone or 0, flow.seen_reply, flow.assured,
            bool(flow.snat), bool(flow.dnat))


def as_read(flow):
    return (flow.protocol, flow.state, text(flow.src), text(flow.dst), flow.sport, flow.dport, flow.zone, flow.replied,
            flow.assured, flow.snat, flow.dnat)


def read(made, most=None, until=None):
    with made.in_netns():
        return ctnetlink.read_flows(list, most, until)


def test_every_kind_of_flow():
    kinds = [flow._replace(timeout=600) for flow in FLOWS.values()]
    with laboratory.namespace() as made:
        made.fill(kinds)
        flows = read(made)
        assert sorted(map(as_read, flows)) == sorted(map(as_made, kinds))
        assert all(590 <= flow.timeout <= 600 for flow in flows)
        with made.in_netns():
            lines = proc_conntrack.read_flows(Host(), list, 1000)
    if not isinstance(lines, list):
        pytest.skip('this kernel has no /proc/net/nf_conntrack')
    assert sorted(map(as_read, lines)) == sorted(map(as_read, flows))
    assert {(flow.reply_src, flow.reply_dst) for flow in lines} == {(flow.reply_src, flow.reply_dst) for flow in flows}
    assert all(abs(flow.timeout - 600) <= 10 and flow.status & CONFIRMED for flow in lines)


def test_conntrack_lists_the_same():
    shares = {Flow('tcp', '10.1.0.0/16'): 2, Flow('udp', 'fd00::/112', 'fd01::1', dport=53): 1}
    with laboratory.maximum(200_000), laboratory.namespace() as made:
        made.fill(laboratory.mixed_flows(3000, shares))
        lines = made.run(['conntrack', '-L', '-o', 'extended']).stdout.splitlines()
        listed = Counter((word[3], word[6] if word[2] == 'tcp' else word[5]) for word in map(str.split, lines))
        assert listed == Counter((str(flow.protocol), f'src={text(flow.src)}') for flow in read(made))


def test_it_stops_where_it_is_told():
    with laboratory.maximum(200_000), laboratory.namespace() as made:
        made.fill_to(20000)
        handles = set(os.listdir('/proc/self/fd'))
        assert len(read(made, 100)) == 100
        # time is looked at before each datagram, which has some hundred entries
        assert read(made, until=time.monotonic()) == []
        with made.in_netns(), within(0.2):
            slow = ctnetlink.read_flows(lambda flows: sum(time.sleep(0.0001) is None for _ in flows),
                                        until=time.monotonic() + 0.2)
        assert 0 < slow < 20000
        assert set(os.listdir('/proc/self/fd')) == handles


def test_nobody_is_told_what_it_needs():
    code = 'from check_conntrack_lib.readers.ctnetlink import read_flows; print(read_flows(list).why)'
    with laboratory.namespace() as made:
        made.fill_to(10)
        done = made.run([sys.executable, '-I', '-c', f'import sys; sys.path.insert(0, {str(ROOT)!r}); {code}'],
                        user='nobody')
    if 'Permission' in done.stderr:
        pytest.skip('this kernel runs, but nobody may not read this checkout')
    assert done.stdout.strip() == 'needs root'


def test_nat_of_forwarded_packets():
    """A router between two networks, one hidden behind it, the other reached through another address."""
    names = [f'ctlab-{os.getpid()}-{name}' for name in ('client', 'router', 'server')]
    with contextlib.ExitStack() as stack:
        client, router, server = (stack.enter_context(laboratory.namespace(name)) for name in names)
        for host, there, inside, outside in ((client, 'veth1', '10.1.0.2', '10.1.0.1'),
                                             (server, 'veth2', '10.2.0.2', '10.2.0.1')):
            ip('link', 'add', 'veth0', 'netns', host.name, 'type', 'veth', 'peer', 'name', there, 'netns', router.name)
            for side, device, address in ((host, 'veth0', inside), (router, there, outside)):
                ip('-netns', side.name, 'address', 'add', f'{address}/24', 'dev', device)
                ip('-netns', side.name, 'link', 'set', 'dev', device, 'up')
            ip('-netns', host.name, 'route', 'add', 'default', 'via', outside)
        router.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1'], check=True)
        router.run(['nft', '-f', '-'], check=True, input="""
            table ip nat {
                chain post { type nat hook postrouting priority 100; oifname "veth2" udp dport 53 masquerade; }
                chain pre { type nat hook prerouting priority -100; ip daddr 10.1.0.1 dnat to 10.2.0.2; }
            }""")
        with server.in_netns():
            echo = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            listener = stack.enter_context(socket.create_server(('10.2.0.2', 443)))
        echo.bind(('10.2.0.2', 53))
        echo.settimeout(10)
        with client.in_netns():
            asker = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            asker.settimeout(10)
            asker.sendto(b'?', ('10.2.0.2', 53))
            question, sender = echo.recvfrom(10)
            assert sender[0] == '10.2.0.1'
            echo.sendto(question, sender)
            asker.recv(10)
            stack.enter_context(socket.create_connection(('10.1.0.1', 443), timeout=10))
        stack.enter_context(listener.accept()[0])
        flows = {flow.protocol: flow for flow in read(router) if flow.protocol in (6, 17)}
    hidden, redirected = flows[17], flows[6]
    assert (hidden.snat, hidden.dnat, hidden.replied) == (True, False, True)
    assert [text(end) for end in (hidden.src, hidden.dst, hidden.reply_src, hidden.reply_dst)] == [
        '10.1.0.2', '10.2.0.2', '10.2.0.2', '10.2.0.1']
    assert (redirected.snat, redirected.dnat, redirected.state) == (False, True, 'ESTABLISHED')
    assert [text(end) for end in (redirected.src, redirected.dst, redirected.reply_src, redirected.reply_dst)] == [
        '10.1.0.2', '10.1.0.1', '10.2.0.2', '10.1.0.2']
    profile = summarize([hidden, redirected], 2)
    assert (profile.snat, profile.dnat, profile.nat) == (1, 1, 2)
    assert profile.services == ((Key(6, port=443), 1), (Key(17, port=53), 1))


def ip(*words):
    subprocess.run(['ip', *words], check=True, timeout=30)


def mix(table):
    net = f'10.{table}.0.0/16'
    return {
        Flow('tcp', net, '198.51.100.1', 0, 443): 40,
        Flow('tcp', net, '198.51.100.2', 0, 80, 'TIME_WAIT', 600): 20,
        Flow('tcp', net, '198.51.100.3', 0, 22, 'SYN_SENT', 600, False, False): 5,
        Flow('udp', net, '198.51.100.53', 0, 53, None, 600, False): 25,
        Flow('tcp', f'fd00:{table}::/112', 'fd01::1', 0, 443): 9,
        Flow('icmp', net, '198.51.100.4', 0, 0, None, 600, False): 1,
    }


def test_a_whole_table_is_counted_exactly():
    with laboratory.maximum(200_000), laboratory.namespace() as made:
        made.fill(laboratory.mixed_flows(ENTRIES, mix(0)))
        with made.in_netns():
            profile = ctnetlink.read_flows(lambda flows: summarize(flows, ENTRIES))
    assert profile.seen == ENTRIES
    assert profile.states == {(6, 'ESTABLISHED'): 9800, (17, ''): 5000, (6, 'TIME_WAIT'): 4000, (6, 'SYN_SENT'): 1000,
                              (1, ''): 200}
    assert (profile.assured, profile.unreplied, profile.nat) == (13800, 1000, 0)
    assert profile.targets[:2] == ((Key(6, '', '198.51.100.1', 443), 8000), (Key(17, '', '198.51.100.53', 53), 5000))
    assert profile.services[0] == (Key(6, port=443), 9800)
    assert profile.destinations[-1] == (Key(destination='198.51.100.4'), 200)
    assert profile.share(9800).margin == 0


@pytest.mark.slow
def test_a_sample_is_within_its_margin():
    """Each share in at least 19 of 20 tables: the first entries are a random sample, and the margin is honest."""
    missed: Counter[str] = Counter()
    with laboratory.maximum(200_000), laboratory.namespace() as made:
        for table in range(TABLES):
            made.drain()
            made.fill(laboratory.mixed_flows(ENTRIES, mix(table)))
            with made.in_netns():
                profile = ctnetlink.read_flows(lambda flows: summarize(flows, ENTRIES), SAMPLE)
            assert profile.seen == SAMPLE
            seen = {**{str(key): count for key, count in profile.targets}, 'unreplied': profile.unreplied,
                    'assured': profile.assured, 'udp': profile.protocol(17),
                    'tcp ESTABLISHED': profile.states[6, 'ESTABLISHED']}
            for name, truth in (('tcp to 198.51.100.1:443', 0.4), ('tcp to 198.51.100.2:80', 0.2),
                                ('tcp to 198.51.100.3:22', 0.05), ('tcp to [fd01::1]:443', 0.09),
                                ('icmp to 198.51.100.4', 0.01), ('udp', 0.25), ('unreplied', 0.05),
                                ('assured', 0.69), ('tcp ESTABLISHED', 0.49)):
                share = profile.share(seen[name])
                missed[name] += abs(share.value - truth) > share.margin
                assert share.margin < 0.025
    assert max(missed.values()) <= TABLES // 20
