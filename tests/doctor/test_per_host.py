"""export --per-host: who is the remote one, how many are named, and that all the others are still counted."""

import json
import socket
import subprocess

import laboratory
import proctree
import pytest
from needed import need

from check_conntrack_lib.doctor.export import per_host
from check_conntrack_lib.flow import HW_OFFLOAD, OFFLOAD, STATES, Flow


def flow(src, dst, state='ESTABLISHED', protocol=6):
    return Flow(protocol, state, 0, 100, socket.inet_aton(src), socket.inet_aton(dst), 40000, 443, b'', b'')


def ranked(flows, own=(), top=50, entries=0):
    pairs, seen = per_host.count(flows)
    return per_host.rank(pairs, {socket.inet_aton(address) for address in own}, top, seen, entries)


def groups(opening=0, open=0, closing=0, closed=0):
    return {'opening': opening, 'open': open, 'closing': closing, 'closed': closed}


def test_every_state_has_its_group():
    flows = [flow('10.0.0.1', '192.0.2.1', state) for state in STATES[6]]
    flows += [flow('10.0.0.1', '192.0.2.1', '', 17), flow('10.0.0.1', '192.0.2.1', 'ESTABLISHED', 132)]
    assert ranked(flows) == per_host.PerHost([('192.0.2.1', groups(3, 1, 4, 1))], 1.0)


def test_an_offloaded_connection_is_open():
    """It has no state in the table; a gateway with a flowtable showed almost no open connections."""
    flows = [flow('10.0.0.1', '192.0.2.1', '')._replace(status=bits, timeout=None) for bits in (OFFLOAD, HW_OFFLOAD)]
    flows += [flow('10.0.0.1', '192.0.2.1', '', 17)._replace(status=OFFLOAD, timeout=None)]
    assert ranked(flows) == per_host.PerHost([('192.0.2.1', groups(0, 2, 0, 0))], 1.0)


def test_the_remote_one_is_the_client_where_the_server_is_this_host():
    flows = [flow('198.51.100.7', '192.0.2.1'), flow('192.0.2.1', '203.0.113.5')]
    assert [host for host, _ in ranked(flows, own=['192.0.2.1']).hosts] == ['198.51.100.7', '203.0.113.5']


def test_no_more_than_top_and_nobody_is_lost():
    flows = [flow('10.0.0.1', f'192.0.2.{k}') for k in range(1, 20) for _ in range(k)]
    answer = ranked(flows, top=3)
    assert answer.hosts == [('192.0.2.19', groups(open=19)), ('192.0.2.18', groups(open=18)),
                            ('192.0.2.17', groups(open=17)), ('other', groups(open=sum(range(1, 17))))]
    assert 'other' not in dict(ranked(flows, top=19).hosts)


def test_a_sample_is_scaled_up():
    answer = ranked([flow('10.0.0.1', '192.0.2.1')] * 20, entries=1000)
    assert answer == per_host.PerHost([('192.0.2.1', groups(open=1000))], 0.02)
    assert ranked([]) == per_host.PerHost([], 1.0)


@pytest.fixture(scope='module')
def lab():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    # other tests may be lowering the limit of all namespaces
    with laboratory.maximum(262144), laboratory.namespace() as made:
        yield made


def exported(lab, *arguments, **how):
    command = proctree.command('export', '--kernel-log', 'off', '--per-host', *arguments)
    done = lab.run(command, cwd=proctree.ROOT, **how)
    assert (done.returncode, done.stderr) == (0, ''), done
    return done.stdout


@pytest.mark.kernel
def test_a_real_table(lab):
    lab.drain()
    a, b = laboratory.Flow(dst='192.0.2.1'), laboratory.Flow(dst='192.0.2.2', state='TIME_WAIT')
    served = laboratory.Flow(src='198.51.100.1', dst='127.0.0.1', state='SYN_RECV')
    six = laboratory.Flow(src='fd00::1', dst='fd00::2')
    lab.fill(laboratory.mixed_flows(1000, {a: 5, b: 3, served: 1, six: 1}))
    got = json.loads(exported(lab, '--json'))['per_host']
    assert got == {'sampled_ratio': 1.0, 'connections': {
        '192.0.2.1': groups(open=500), '192.0.2.2': groups(closing=300), '198.51.100.1': groups(opening=100),
        'fd00::2': groups(open=100)}}
    assert json.loads(exported(lab, '--json', '--top', '1'))['per_host']['connections'] == {
        '192.0.2.1': groups(open=500), 'other': groups(opening=100, open=100, closing=300)}


@pytest.mark.kernel
def test_a_large_table_is_estimated(lab):
    lab.drain()
    lab.fill(laboratory.mixed_flows(60000, {laboratory.Flow(src='10.0.0.0/24', dst='192.0.2.1'): 3,
                                            laboratory.Flow(src='10.0.0.0/24', dst='192.0.2.2'): 1}))
    got = json.loads(exported(lab, '--json'))['per_host']
    lab.drain()
    assert got['sampled_ratio'] == pytest.approx(1 / 3, abs=0.01)
    assert got['connections']['192.0.2.1']['open'] == pytest.approx(45000, rel=0.03)
    assert sum(connections['open'] for connections in got['connections'].values()) == pytest.approx(60000, abs=2)


@pytest.mark.kernel
def test_without_the_capability_only_this_is_missing(lab, tmp_path):
    got = json.loads(exported(lab, '--json', user='nobody'))
    assert got['per_host'] == {'missing': 'needs root',
                               'remedy': 'ctnetlink answers only with CAP_NET_ADMIN: run the check with sudo'}
    assert got['table']['loaded']


@pytest.mark.kernel
@pytest.mark.daemons
def test_promtool_finds_nothing_to_complain_of(lab):
    pytest.importorskip('prometheus_client', reason='pip install prometheus_client')
    promtool = need('promtool', 'prometheus')
    lab.fill([laboratory.Flow(dst='192.0.2.3')])
    text = exported(lab)
    assert 'conntrack_open_connections_total{host="192.0.2.3"} 1.0\n' in text
    assert 'conntrack_sampled_ratio 1.0\n' in text
    done = subprocess.run([promtool, 'check', 'metrics'], input=text, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
