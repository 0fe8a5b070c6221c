"""Roles, moves and their commands, and the readers that only triage has."""

import shlex
import struct
import subprocess

import laboratory
import pytest

from check_conntrack_lib.analysis import mitigations, rate_limit
from check_conntrack_lib.analysis.hash_chains import ChainLimit
from check_conntrack_lib.analysis.host_role import RoleCounter
from check_conntrack_lib.analysis.incident import IncidentFacts, single_source
from check_conntrack_lib.analysis.losses import Losses
from check_conntrack_lib.analysis.profile import Key, TimeLeft, TimeoutClass
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.analysis.profile_diff import Growth
from check_conntrack_lib.analysis.timeouts import proposals
from check_conntrack_lib.analysis.trend import Forecast
from check_conntrack_lib.flow import ASSURED, DST_NAT, SEEN_REPLY, SRC_NAT, Flow
from check_conntrack_lib.model import Missing, Table
from check_conntrack_lib.readers import addresses, cpu_times
from check_conntrack_lib.readers.sockets import Owner

HERE, THERE, CLIENT, HIDDEN = (bytes([192, 0, 2, n]) for n in (1, 2, 3, 4))


def flow(src, dst, state='ESTABLISHED', protocol=6, status=SEEN_REPLY | ASSURED, dport=443, timeout=431990, real=None,
         behind=None, sport=1):
    nat = (SRC_NAT if behind else 0) | (DST_NAT if real else 0)
    return Flow(protocol, state, status | nat, timeout, src, dst, sport, dport, real or dst, behind or src)


def picture(flows=(), entries=1000, maximum=1000, **more):
    tally = RoleCounter(())
    profile = summarize(tally.watch(flows), entries) if flows else None
    timeouts = {'tcp_timeout_time_wait': 120, 'tcp_timeout_established': 432000, 'udp_timeout': 30,
                'tcp_timeout_syn_sent': 120}
    base = IncidentFacts('gw1', Table(entries, maximum, 1024), True, None, None, False, profile, (),
                         tally.target_of_state(), tally.target_of_source(), frozenset(), 0.0, (), timeouts,
                         proposals(profile, timeouts) if profile else (), Missing('no'), 1 << 30,
                         ChainLimit(16.0), frozenset(), frozenset(), True)
    return base._replace(**more)


def action(p, beginning):
    return next(one for one in mitigations.actions(p) if one.title.startswith(beginning))


def titles(p):
    return [move.title for move in mitigations.actions(p)]


@pytest.mark.parametrize(('flows', 'name'), [
    ([flow(CLIENT, THERE, behind=HERE)] * 6 + [flow(CLIENT, HERE)] * 4, 'NAT gateway'),
    ([flow(CLIENT, HERE, real=THERE)] * 6 + [flow(CLIENT, HERE)] * 4, 'load balancer by destination NAT'),
    ([flow(CLIENT, THERE)] * 6 + [flow(CLIENT, HERE)] * 4, 'router or firewall'),
    ([flow(CLIENT, HERE)] * 6 + [flow(HERE, THERE)] * 4, 'server'),
    ([flow(HERE, THERE)] * 9, 'client'),
    ([flow(bytes([127, 0, 0, 1]), bytes([127, 9, 9, 9]))] * 2 + [flow(HERE, HERE)], 'talks to itself'),
    ([flow(HERE, THERE), flow(CLIENT, HERE), flow(CLIENT, THERE)], 'several roles'),
    ([], 'several roles'),
])
def test_roles(flows, name):
    tally = RoleCounter({HERE})
    assert list(tally.watch(flows)) == flows
    assert tally.roles().name == name
    assert tally.roles().seen == len(flows)


def test_a_role_is_a_sample_the_flows_are_not():
    tally = RoleCounter({HERE})
    assert sum(1 for _ in tally.watch(flow(HERE, THERE) for _ in range(30000))) == 30000
    assert tally.roles().opened == 20000


def test_nothing_to_do():
    assert mitigations.actions(picture(entries=100)) == ()
    assert mitigations.why_none(picture(entries=100)) == \
        'no action needed: the table has room; drops are not known yet'
    calm = picture(entries=100, losses=Losses(300.0, {'drop': 0}))
    assert mitigations.why_none(calm) == 'no action needed: the table has room and nothing is being dropped'
    clash = calm._replace(losses=Losses(300.0, {'drop': 9, 'insert_failed': 9, 'clash_resolve': 0}))
    assert 'clashes (two queries' in mitigations.why_none(clash)
    assert 'it was briefly full' in mitigations.why_none(calm._replace(losses=Losses(300.0, {'drop': 9})))
    assert mitigations.actions(picture(entries=900, maximum=0)) == ()


def test_the_least_disruptive_first():
    flows = [flow(CLIENT, THERE, 'TIME_WAIT', timeout=100 - k // 9, sport=k) for k in range(900)] + \
        [flow(bytes([10, 0, k // 256, k % 256]), THERE) for k in range(100)]
    found = mitigations.actions(picture(flows, programs={'kubelet'}, setters={'kube-proxy'},
                                losses=Losses(300.0, {'drop': 5, 'chaintoolong': 2})))
    assert [move.title.split()[0] for move in found] == [
        'raise', 'rate-limit', 'tcp_timeout_time_wait', 'client', 'drain:']
    assert found[4].commands[0] == 'kubectl cordon gw1'
    assert found[3].title == 'client connection reuse: tcp to 192.0.2.2:443: 90% of the table is in TIME_WAIT'
    assert found[3].commands == ('sudo ss -tnp dst 192.0.2.2:443',)
    assert found[2].commands == ('sudo sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=30',
                                 'sudo conntrack -D -p tcp --state TIME_WAIT')
    assert found[2].undo == 'sudo sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=120'
    assert found[0].risk == 'does not remove the cause (one source); kube-proxy resets it on start'


@pytest.mark.parametrize(('packets', 'raised'), [
    ({'drop': 0, 'chaintoolong': 3000, 'early_drop': 1}, False),
    ({'drop': 5, 'chaintoolong': 3000, 'early_drop': 1}, False),
    ({'drop': 1000, 'chaintoolong': 3000, 'early_drop': 1}, True),
    ({'drop': 1000, 'early_drop': 0}, True),
])
def test_long_chains_are_no_reason_for_a_larger_maximum(packets, raised):
    """An old line or one eviction beside thousands of refusals: the table is 96 % free."""
    p = picture(entries=16966, maximum=400000, logged=True, losses=Losses(300.0, packets))
    p = p._replace(table=p.table._replace(buckets=512))
    found = titles(p)
    assert any(title.startswith('nf_conntrack_buckets 512') for title in found)
    assert any(title.startswith('raise nf_conntrack_max') for title in found) is raised


def test_the_pool_of_a_local_process():
    flows = [flow(HERE, THERE, dport=5432, sport=k) for k in range(1000)]
    p = picture(flows, own={'192.0.2.1'}, local=1.0, owners=(Owner('java', 77, 900),))
    found = mitigations.actions(p)
    assert not [move for move in found if move.title.startswith('rate-limit')], 'this host itself is no attacker'
    assert found[1].title == 'connection reuse in java (pid 77): this host opened 100% of the table'
    assert found[1].commands == ('systemctl status 77', 'sudo ss -tnp dst 192.0.2.2:5432')


def test_a_risky_timeout_comes_after_the_others():
    left = {TimeoutClass(6, 'CLOSE_WAIT', True): TimeLeft(1, {1000: 600}),
            TimeoutClass(6, 'TIME_WAIT', True): TimeLeft(1, {10: 300})}
    flows = [flow(CLIENT, THERE, 'CLOSE_WAIT')] * 600 + [flow(CLIENT, THERE, 'TIME_WAIT')] * 300
    profile = summarize(flows, 900)._replace(time_left=left)
    seconds = {'tcp_timeout_time_wait': 120, 'tcp_timeout_close_wait': 3600}
    p = picture()._replace(profile=profile, proposals=proposals(profile, seconds))
    assert [title.split()[0] for title in titles(p)] == [
        'raise', 'rate-limit', 'tcp_timeout_time_wait', 'tcp_timeout_close_wait', 'client']


def test_a_timeout_that_frees_nothing_today_is_no_move():
    p = picture([flow(CLIENT, THERE, timeout=9000)] * 900)
    assert [one.name for one in p.proposals] == ['tcp_timeout_established']
    assert [title.split()[0] for title in titles(p)] == ['raise', 'rate-limit', 'client']
    assert mitigations.actions(p)[2].title.endswith('opened and not closed')


def test_the_pool_is_the_one_whose_connections_wait():
    others = [flow(bytes([10, 0, k // 256, k % 256]), THERE) for k in range(600)]
    waiting = [flow(bytes([10, 1, k // 256, k % 256]), HIDDEN, 'TIME_WAIT', dport=80) for k in range(400)]
    assert action(picture(others + waiting), 'client').commands == ('sudo ss -tnp dst 192.0.2.4:80',)
    spread = [one._replace(dst=one.src) for one in waiting]
    assert action(picture(others + spread), 'client').commands == ('sudo conntrack -L -p tcp --state TIME_WAIT',)


def test_more_room_only_where_there_is_memory():
    poor = picture(entries=2_000_000, maximum=2_000_000, available=100 << 20)
    assert mitigations.actions(poor)[-1].title.startswith(
        'not possible: raise nf_conntrack_max 2000000 -> 3145728 would take')
    assert mitigations.actions(poor)[-1].commands == ()
    inside = action(picture(initial=False), 'raise')
    assert inside.risk.endswith('applies to all namespaces; run it on the host')
    small = action(picture(entries=100_000, maximum=100_000, limit=ChainLimit(2.0)), 'raise')
    assert small.commands == ('sudo sysctl -w net.netfilter.nf_conntrack_buckets=163840',
                              'sudo sysctl -w net.netfilter.nf_conntrack_max=163840')


def test_buckets_where_they_are_a_parameter_of_the_module():
    p = picture(entries=900, maximum=4096, limit=ChainLimit(None, by_sysctl=False),
                losses=Losses(300.0, {'drop': 0, 'chaintoolong': 4}))
    assert mitigations.actions(p)[0].commands == ('echo 4096 | sudo tee /sys/module/nf_conntrack/parameters/hashsize',)


def test_a_rising_table_is_in_time():
    soon = Forecast(1.0, 60.0, 600.0)
    assert titles(picture(entries=750, forecast=soon))
    assert not titles(picture(entries=650, forecast=soon))
    assert not titles(picture(entries=750, forecast=Forecast(0.01, 60.0, 25000.0)))


def test_the_single_source():
    even = [flow(CLIENT, THERE)] * 50 + [flow(HIDDEN, THERE)] * 50
    assert single_source(picture(even)) is None
    assert single_source(picture()) is None
    grown = Growth(Key(17, '', '10.0.0.53', 53), 0.1, 0.7, 700, '192.0.2.3')
    assert single_source(picture(even, growth=(grown,))) == (
        '192.0.2.3', Key(6, '192.0.2.3', '192.0.2.2', 443), 50), 'what it does is known better than what grew'


def test_only_the_flood_is_braked_not_what_else_its_source_does():
    flood = [flow(CLIENT, THERE, '', 17, 0, 53, sport=k) for k in range(700)]
    more = [flow(CLIENT, HIDDEN, sport=k) for k in range(200)]
    others = [flow(bytes([10, 0, 0, k]), THERE) for k in range(100)]
    brake_on_dns = action(picture(flood + more + others), 'rate-limit')
    assert 'ip saddr 192.0.2.3 ip daddr 192.0.2.2 udp dport 53' in brake_on_dns.commands[0]
    assert brake_on_dns.commands[1] == 'sudo conntrack -D -p udp -s 192.0.2.3 -d 192.0.2.2 --dport 53'
    mixed = action(picture(flood[:300] + more + others), 'rate-limit')
    assert mixed.commands[0].count('daddr') == 0
    assert len(mixed.commands) == 1, 'its connections are not cut'


KEYS = [Key(17, '10.2.3.4', '10.0.0.53', 53), Key(6, 'fd00::4', 'fd00::53', 443), Key(source='10.2.3.4'),
        Key(1, '10.2.3.4', '10.0.0.1'), Key(58, 'fd00::4', 'fd00::1'), Key(47, '10.2.3.4', '10.0.0.1'),
        Key(132, '10.2.3.4', '', 3868), Key(33, '10.2.3.4', '', 5), Key(136, '10.2.3.4', '', 5), Key(6, '10.2.3.4')]


@pytest.mark.kernel
@pytest.mark.parametrize('key', KEYS, ids=str)
def test_the_brake_is_accepted_and_taken_back(key):
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    with laboratory.namespace() as lab:
        for per_second in (1, 10000):
            made, undo = rate_limit.nft(key, per_second)
            sudo, nft, rules = shlex.split(made)
            assert (sudo, nft) == ('sudo', 'nft')
            checked = lab.run(['nft', '-c', '-f', '-'], input=rules + '\n')
            assert (checked.returncode, checked.stderr) == (0, '')
            # as a shell runs it
            assert lab.run(['sh', '-c', made.replace('sudo ', '', 1)]).returncode == 0
            listed = lab.run(['nft', 'list', 'table', 'inet', 'triage']).stdout
            assert listed.count('ct state new limit rate over') == 1
            assert f'saddr {key.source}' in listed
            assert lab.run(shlex.split(undo)[1:]).returncode == 0


@pytest.mark.kernel
@pytest.mark.parametrize('key', KEYS[:7], ids=str)
def test_the_brake_of_iptables_is_accepted_and_taken_back(key):
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    made, undo = rate_limit.iptables(key, 7)
    with laboratory.namespace() as lab:
        done = lab.run(shlex.split(made)[1:])
        if 'hashlimit' in done.stderr or 'RULE_APPEND failed' in done.stderr:
            pytest.skip(f'this kernel has no hashlimit: {done.stderr}')
        assert (done.returncode, done.stderr) == (0, '')
        assert lab.run(shlex.split(undo)[1:]).returncode == 0


STAT = 'cpu  1 2 3\ncpu0 100 0 50 800 0 5 40 5 3 0\ncpu3 100 0 50 850 0 0 0 0 0 0\nintr 5\nctxt 7\n'


def test_softirq_shares():
    before = cpu_times.parse(STAT)
    assert before == {0: (40, 1000), 3: (0, 1000)}
    after = cpu_times.parse(STAT.replace('800 0 5 40', '820 0 5 100').replace('850 0 0 0', '849 0 0 0'))
    assert cpu_times.shares(before, after) == {0: 0.75}
    assert cpu_times.shares(before, {0: cpu_times.CpuTime(30, 1100), 5: cpu_times.CpuTime(1, 1)}) == {0: 0.0}


@pytest.mark.parametrize('text', ['', 'intr 5\n', 'cpu0 1 2 3 4 5 6 7\n', 'cpu0 1 2 3 4 5 6 x 8\n'])
def test_no_times(text):
    with pytest.raises(ValueError, match='CPU'):
        cpu_times.parse(text)


def address(*attributes):
    return struct.pack('=BBBBI', 2, 24, 0, 0, 1) + b''.join(
        struct.pack('=HH', 4 + len(value), kind) + value for kind, value in attributes)


def test_own_addresses():
    v6 = bytes(15) + b'\1'
    found = addresses.parse([address((1, CLIENT), (2, HERE), (3, b'eth0')), address((1, v6)), address((8, bytes(4)))])
    assert found == {HERE, v6}
    with pytest.raises(ValueError, match='cut'):
        addresses.parse([b'123'])
    assert bytes([127, 0, 0, 1]) in addresses.read()


def test_no_shell():
    """A name of the host that a shell would take for more is quoted."""
    p = picture(programs={'kubelet'}, node='a;reboot')
    assert action(p, 'drain').commands[0] == "kubectl cordon 'a;reboot'"
    assert subprocess.run(['sh', '-nc', '\n'.join(action(p, 'drain').commands)], check=True).returncode == 0


def test_a_host_is_named_only_if_its_flows_go_there():
    """One client floods a DNS server; the idle connections to a web server are not its own."""
    flood = [flow(CLIENT, THERE, '', 17, 0, 53, sport=k) for k in range(500)]
    waiting = [flow(bytes([10, 1, k // 256, k % 256]), HIDDEN, 'TIME_WAIT', dport=80) for k in range(400)]
    assert 'run it on a client of 192.0.2.4:80 ' in action(picture(flood + waiting), 'client').risk
    own = [flow(CLIENT, HIDDEN, 'TIME_WAIT', dport=80, sport=k) for k in range(900)]
    assert 'run it on 192.0.2.3 ' in action(picture(own), 'client').risk


def test_traffic_is_moved_only_while_the_table_is_full():
    assert [title for title in titles(picture(entries=1000, programs={'keepalived'})) if title.startswith('drain')]
    drained = picture(entries=100, logged=True, programs={'keepalived'})
    assert not [title for title in titles(drained) if title.startswith('drain')]


def waiting(states, entries=1000, **more):
    """So many of 1000 flows in these states, each of another client."""
    flows = [flow(bytes([10, 1, number // 256, number % 256]), THERE, state, sport=number, timeout=20)
             for number, state in enumerate(state for state, many in states.items() for state in [state] * many)]
    return picture(flows, entries=entries, **more)


@pytest.mark.parametrize(('available', 'first'), [(30, True), (19.9, False), (2.1, False), (1.9, False)])
def test_a_larger_table_comes_first_where_it_costs_next_to_nothing(available, first):
    p = picture(entries=1000, entry=320.0, limit=ChainLimit(None))
    p = p._replace(available=round(available * mitigations._larger(p).more))
    p = p._replace(profile=waiting({'TIME_WAIT': 900}).profile, proposals=waiting({'TIME_WAIT': 900}).proposals)
    found = titles(p)
    assert found[0].startswith('raise nf_conntrack_max') is first
    assert found[-1].startswith('not possible: raise') is (available < 2)
    assert sum('raise nf_conntrack_max' in title for title in found) == 1


@pytest.mark.parametrize(('growth', 'full', 'peak'), [
    (0.0, False, 900), (-9.0, False, 900), (0.1, False, 1260), (1.0, False, 3600), (0.0, True, 1000),
    (0.1, True, 1260)])
def test_a_table_is_sized_for_an_hour_of_growth(growth, full, peak):
    p = picture(entries=900, logged=full, forecast=Forecast(growth, None, None))
    from check_conntrack_lib.analysis import sizing
    assert mitigations._larger(p) == sizing.propose(peak, p.table, p.entry)


@pytest.mark.parametrize(('states', 'title'), [
    ({'TIME_WAIT': 300, 'LAST_ACK': 700}, '30% of the table is in TIME_WAIT'),
    ({'TIME_WAIT': 299, 'LAST_ACK': 701}, ''), ({'CLOSE_WAIT': 199, 'LAST_ACK': 801}, ''),
    ({'CLOSE_WAIT': 200, 'LAST_ACK': 800}, '20% of the table is in CLOSE_WAIT'),
    ({'FIN_WAIT': 200, 'LAST_ACK': 800}, '20% of the table is in FIN_WAIT')])
def test_connections_that_are_not_reused(states, title):
    found = [one for one in titles(waiting(states)) if one.startswith('client connection reuse')]
    assert [one.rpartition(': ')[2] for one in found] == [title] * bool(title)


def test_a_process_of_this_host_that_opens_much():
    owners = (Owner('app', 7, 3),)
    for local, is_named in ((0.3, True), (0.29, False)):
        found = titles(waiting({'LAST_ACK': 1000}, local=local, owners=owners))
        assert any(one.startswith('connection reuse in app (pid 7): this host opened 30% of the table')
                   for one in found) is is_named


def test_two_timeouts_that_free_a_twentieth_each():
    states = {'TIME_WAIT': 60, 'SYN_SENT': 55, 'SYN_RECV': 500, 'LAST_ACK': 385}
    timeouts = {'tcp_timeout_time_wait': 120, 'tcp_timeout_syn_sent': 120, 'tcp_timeout_syn_recv': 120}
    p = waiting(states, timeouts=timeouts)
    p = p._replace(proposals=proposals(p.profile, timeouts))
    assert [one.split()[0] for one in titles(p) if one.startswith('tcp_timeout')] == [
        'tcp_timeout_syn_recv', 'tcp_timeout_time_wait']
    few = waiting({'TIME_WAIT': 49, 'LAST_ACK': 951})
    assert not any(one.startswith('tcp_timeout') for one in titles(few))


@pytest.mark.parametrize(('table', 'all_entries', 'wanted'), [
    (Table(100, 1000, 512), 0, 1024), (Table(100, 1025, 512), 0, 1536), (Table(100, 1000, 512), 5000, 5120),
    (Table(6000, 1000, 512), 0, 6144), (Table(100, 1000, 1024), 0, 0), (Table(100, 1000, Missing('x')), 0, 1024)])
def test_buckets_for_as_many_as_there_may_be(table, all_entries, wanted):
    p = picture(losses=Losses(60, {'drop': 0, 'chaintoolong': 1}), all_entries=all_entries)._replace(table=table)
    found = [one for one in mitigations.actions(p) if one.title.startswith('nf_conntrack_buckets')]
    assert [one.commands[0].rpartition('=')[2] for one in found] == [str(wanted)] * bool(wanted)
    # eight bytes each
    assert all(f'({wanted * 8 // 1024} KiB of RAM)' in one.title for one in found)
    known = isinstance(table.buckets, int)
    assert [one.undo.rpartition('=')[2] for one in found] == [str(table.buckets) if known else ''] * bool(wanted)
