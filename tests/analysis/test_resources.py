"""Which resource is exhausted, and that only what helps it is proposed."""

from __future__ import annotations

import random
import socket
from functools import lru_cache

import pytest
from incidents import facts
from test_mitigations import picture, titles
from test_nat_ports import flow, masquerade, ordinary

from check_conntrack_lib.analysis import mitigations, nat_mitigations, resources
from check_conntrack_lib.analysis.cloud import CloudLimit
from check_conntrack_lib.analysis.hash_chains import ChainLimit
from check_conntrack_lib.analysis.losses import Losses
from check_conntrack_lib.analysis.nat_ports import PortUse
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.analysis.rates import counted
from check_conntrack_lib.flow import CONFIRMED, Flow, ReplyTuple
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.model import Missing, Table
from check_conntrack_lib.readers.nat_rules import NFT, NatRule

RULE = NatRule(NFT, 'ip nat post', 4, 'oifname "eth0" masquerade')


@lru_cache
def profile_of(used):
    return summarize(masquerade(used, random.Random(1)), used)


def nat(used, clashes=0, found=None, **more):
    """A gateway with so many ports used, its table at a fifth."""
    found = 248 * clashes if found is None else found
    lost = Losses(10.0, {'drop': clashes, 'insert_failed': clashes, 'clash_resolve': 0, 'found': found})
    p = picture(entries=used, maximum=5 * used, losses=lost, nat_rules=(RULE,), limit=ChainLimit(None))
    return p._replace(profile=profile_of(used), **more)


def new(*parts):
    """(source, number, target): new connections of a second."""
    a = socket.inet_aton
    flows = [Flow(17, '', CONFIRMED, 30, a(source), a(target or f'10.9.{k // 250}.{k % 250}'), 4000, 53, b'', b'')
             for source, number, target in parts for k in range(number)]
    return counted(float(len(flows)), flows)


@pytest.mark.parametrize(('used', 'clashes', 'level'), [
    (30000, 0, resources.FINE), (40000, 0, resources.NEAR), (59000, 0, resources.EXHAUSTED),
    (42000, 50, resources.EXHAUSTED), (20000, 50, resources.FINE)])
def test_nat_ports(used, clashes, level):
    p = nat(used, clashes)
    assert resources.levels(p)[resources.NAT] == level
    assert resources.worst(p) == (resources.NAT if level else '')


@pytest.mark.slow
def test_a_race_beside_used_ports_is_no_refusal():
    assert resources.levels(nat(42000, 50, found=10))[resources.NAT] == resources.NEAR


@pytest.mark.slow
def test_what_helps_nat_ports_and_nothing_else():
    found = mitigations.actions(nat(60000, 500))
    assert [action.title.split(':')[0] for action in found] == [
        'let the clients reuse their connections to 203.0.113.9', 'translate to several addresses',
        'choose ports at random (fully-random)', 'tcp_timeout_time_wait 120 -> 30 s frees most of the 100% of these '
        'ports that are in TIME_WAIT', 'let the clients of 203.0.113.9']
    assert found[0].commands == (
        'sudo conntrack -L -p tcp -r 203.0.113.9 -q 198.51.100.1 --reply-port-src 443',)
    assert found[1].commands == (
        "sudo nft 'replace rule ip nat post handle 4 oifname \"eth0\" snat to FIRST-LAST'",)
    assert found[2].undo == "sudo nft 'replace rule ip nat post handle 4 oifname \"eth0\" masquerade'"
    assert found[3].commands[1].endswith('--reply-port-src 443 --state TIME_WAIT')
    assert 'nf_conntrack_max' not in ' '.join(command for action in found for command in action.commands)


@pytest.mark.slow
def test_where_ports_are_random_already_that_is_not_proposed():
    random_rule = RULE._replace(text=f'{RULE.text} fully-random')
    use = nat(60000).profile.nat_ports[0]._replace(kept=True)
    titles_of = [[action.title.split(':')[0] for action in nat_mitigations.improvements(use, rules, {})]
                 for rules in ((), (RULE,), (random_rule,))]
    choose = 'choose ports at random (fully-random)'
    assert [choose in found for found in titles_of] == [True, True, False]


def test_one_client_that_holds_the_ports_is_limited_first():
    flows = [flow('10.2.3.4' if k % 3 else f'10.1.0.{k % 250}', 40000, 1024 + k) for k in range(60000)]
    p = picture(entries=60000, maximum=300000, limit=ChainLimit(None))._replace(profile=summarize(flows, 60000))
    first = mitigations.actions(p)[0]
    assert first.title.startswith('rate-limit 10.2.3.4, which holds 67% of these ports, to ')
    assert 'ip saddr 10.2.3.4 ip daddr 203.0.113.9 tcp dport 443' in first.commands[0]


def test_the_full_table_comes_before_ports_that_are_near_their_end():
    p = nat(40000)._replace(table=Table(40000, 40000, 65536))
    assert resources.worst(p) == resources.TABLE
    assert any(title.startswith('raise nf_conntrack_max') for title in titles(p))


@pytest.mark.parametrize(('limit', 'level'), [
    (CloudLimit(60.0, 5, 0, 0, None, None), resources.EXHAUSTED),
    (CloudLimit(60.0, 0, 0, 0, 4, 100), resources.EXHAUSTED),
    (CloudLimit(60.0, 0, 0, 0, 14, 100), resources.NEAR),
    (CloudLimit(60.0, 0, 9, 9, 90, 100), resources.FINE)])
def test_the_cloud(limit, level):
    p = picture(entries=100, cloud=limit)
    assert resources.levels(p)[resources.CLOUD] == level
    if level:
        action, = mitigations.actions(p)
        assert action.title.startswith('AWS: ')


def test_softirq_and_memory():
    busy = picture(entries=100, softirqs={0: 0.9, 1: 0.1})
    assert resources.worst(busy) == resources.SOFTIRQ
    assert 'more CPUs' in titles(busy)[0]
    short = picture(entries=1000, maximum=10_000_000, available=1 << 20)
    assert resources.worst(short) == resources.MEMORY
    assert titles(short)[0].startswith('a full table needs more memory')


def test_all_is_fine():
    assert resources.worst(picture(entries=100)) == ''
    assert mitigations.actions(picture(entries=100)) == ()


def full(rate, **more):
    """A full table of unanswered datagrams, 80 % from 10.2.3.4."""
    a = socket.inet_aton
    flows = [Flow(17, '', CONFIRMED, 20, a('10.2.3.4' if k % 5 else f'10.1.{k // 250}.{k % 250}'), a('10.0.0.53'),
                  4000, 53, a('10.0.0.53'), b'1234') for k in range(1000)]
    return picture(flows, entries=20000, maximum=20000, rate=rate, limit=ChainLimit(None), **more)


def against(p):
    """The action against one source."""
    return next(one for one in mitigations.actions(p) if one.title.startswith(('rate-limit', 'remove')))


def test_the_limit_is_the_rate_of_the_busiest_other_source():
    p = full(new(('10.2.3.4', 930, '10.0.0.53'), ('10.1.0.1', 60, '10.0.0.53'), ('10.1.0.2', 10, '10.0.0.53')))
    first = against(p)
    assert first.title == ('rate-limit 10.2.3.4, which opens 93% of the new connections, to 60 new connections per '
                           'second, as many as the busiest other source opens')
    assert 'limit rate over 60/second' in first.commands[0]
    # the table has its entries, never answered
    assert first.commands[1] == 'sudo conntrack -D -p udp -s 10.2.3.4 -d 10.0.0.53 --dport 53'


def test_refused_packets_are_attempts():
    p = full(new(('10.2.3.4', 900, '10.0.0.53'), ('10.1.0.1', 60, '10.0.0.53'), ('10.1.0.2', 40, '10.0.0.53'))
             ._replace(refused=1000.0))
    assert 'to 120 new connections per second, as many as' in against(p).title


def test_without_others_the_table_gives_the_limit():
    p = full(new(('10.2.3.4', 1000, '10.0.0.53')))
    assert against(p).title == ('rate-limit 10.2.3.4, which opens 100% of the new connections, '
                            'to 33 new connections per second')


def test_who_opens_now_is_limited_not_who_is_left_in_the_table():
    p = full(new(('10.7.7.7', 900, ''), ('10.1.0.1', 20, '10.0.0.53'), ('10.1.0.2', 20, '10.0.0.53')))
    assert against(p).title.startswith('rate-limit 10.7.7.7, which opens 96% of the new connections')
    assert 'ip saddr 10.7.7.7 \\' in against(p).commands[0]


def test_a_flood_that_has_ended_needs_no_limit():
    quiet = new(*((f'10.1.0.{k}', 20, '10.0.0.53') for k in range(1, 9)))
    first = against(full(quiet))
    assert first.title == 'remove the entries of 10.2.3.4, which opened 80% of the table and opens nothing now'
    assert first.commands == ('sudo conntrack -D -p udp -s 10.2.3.4 -d 10.0.0.53 --dport 53',)


def test_this_host_itself_is_not_limited():
    p = full(new(('10.2.3.4', 1000, '10.0.0.53')), own={'10.2.3.4'})
    assert not [title for title in titles(p) if title.startswith('rate-limit')]


def test_an_estimate_is_no_count():
    p = full(new(('10.7.7.7', 1000, ''))._replace(counted=False))
    assert against(p).title.startswith('rate-limit 10.2.3.4, which opened 80% of the table')


def test_levels_are_sorted():
    p = nat(59000, 500)
    assert next(iter(resources.levels(p))) == resources.NAT
    assert list(resources.levels(picture(entries=100))) == [resources.TABLE, resources.CHAINS, resources.MEMORY]


def test_a_table_without_nat():
    p = picture(entries=100)._replace(profile=summarize(ordinary(100), 100))
    assert resources.fullest(p) is None


@pytest.mark.parametrize(('share', 'level'), [(0.899, 1), (0.9, 2), (0.6, 1), (0.599, 0)])
def test_ports_at_the_limits(share, level):
    use = PortUse(ReplyTuple(6, b'abcd', 443, b'efgh'), round(share * 1000), 1000, 1, True)
    p = facts(profile=EMPTY._replace(nat_ports=(use,)))
    assert resources.levels(p)[resources.NAT] == level
    assert not resources.refuses(p)
    assert resources.fullest(p) == use


@pytest.mark.parametrize(('exceeded', 'available', 'level'), [
    (1, 900, 2), (0, 49, 2), (0, 50, 1), (0, 149, 1), (0, 150, 0), (0, None, 0)])
def test_the_cloud_at_the_limits(exceeded, available, level):
    limit = CloudLimit(60, exceeded, 0, 0, available, 1000)
    assert resources.levels(facts(cloud=limit))[resources.CLOUD] == level


@pytest.mark.parametrize(('known', 'name', 'level'), [
    ({}, resources.TABLE, 0), ({'entries': 850}, resources.TABLE, 1), ({'entries': 949}, resources.TABLE, 1),
    ({'entries': 950}, resources.TABLE, 2), ({'entries': 850, 'logged': True}, resources.TABLE, 2),
    ({'softirqs': {0: 0.1, 1: 0.7}}, resources.SOFTIRQ, 1), ({'softirqs': {0: 0.69}}, resources.SOFTIRQ, 0),
    ({'available': 0}, resources.MEMORY, 1), ({'available': Missing('x')}, resources.MEMORY, 0),
    ({'maximum': 0, 'available': 0}, resources.MEMORY, 0)])
def test_levels(known, name, level):
    assert resources.levels(facts(**known))[name] == level


def test_the_worst_is_named():
    assert resources.worst(facts()) == ''
    assert resources.worst(facts(softirqs={0: 0.9})) == resources.SOFTIRQ
    assert resources.worst(facts(entries=960, softirqs={0: 0.9})) == resources.TABLE
    assert resources.SOFTIRQ not in resources.levels(facts())


def test_a_full_table_takes_as_much_more():
    assert resources.to_fill(facts(100, 1000, entry=320.0)) == pytest.approx(900 * resources.to_fill(
        facts(999, 1000, entry=320.0)))
    assert resources.to_fill(facts(1001, 1000)) == 0


@pytest.mark.slow
def test_refused_from_just_this_share_on():
    p = nat(42000, 50)
    use = p.profile.nat_ports[0]._replace(size=1000)
    least = round(1000 * resources.nat_ports.REFUSES)
    for used, refuses in ((least, True), (least - 1, False)):
        one = p._replace(profile=p.profile._replace(nat_ports=(use._replace(used=used),)))
        assert resources.refuses(one) is refuses


def test_where_ports_are_short_nothing_else_is_proposed():
    use = PortUse(ReplyTuple(6, b'abcd', 443, b'efgh'), 950, 1000, 950, True)
    p = facts(profile=EMPTY._replace(nat_ports=(use,)))
    assert mitigations.actions(p) == tuple(nat_mitigations.actions(p, use)) != ()
