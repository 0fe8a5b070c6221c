"""The lifeline's rules as text; what they do is tried in tests/doctor/test_lifeline_kernel.py."""

from __future__ import annotations

import json

import pytest

from check_conntrack_lib.analysis import lifeline
from check_conntrack_lib.analysis.lifeline import FilterChain
from check_conntrack_lib.doctor.lifeline import Firewall, parse_chains
from check_conntrack_lib.readers.monitoring_sockets import Way

WAYS = (Way('SSH', 6, 22), Way('NRPE', 6, 5666), Way('Icinga agent', 6, 5665, outgoing=True), Way('SNMP', 17, 161))
CHAINS = (FilterChain('inet', 'filter', 'input', 'input'), FilterChain('ip', 'own', 'out', 'output'))


def test_each_notrack_rule_has_its_accept_rule() -> None:
    text = lifeline.nft(WAYS, ['192.0.2.1', '2001:db8::1'], CHAINS)
    assert text.count(' notrack\n') == 2 * 2 * 4
    accepts = [line for line in text.splitlines() if line.startswith('insert rule')]
    assert len([line for line in accepts if 'inet filter input' in line]) == 2 * 4
    # a chain of IPv4 takes no rule of IPv6
    assert len([line for line in accepts if 'ip own out' in line]) == 4
    assert not [line for line in accepts if 'ip own out' in line and 'ip6' in line]


def test_answers_of_the_monitoring_begin_no_connection() -> None:
    text = lifeline.nft(WAYS, ['192.0.2.1'], CHAINS)
    assert 'ip saddr 192.0.2.1 tcp sport { 5665 } tcp flags & (syn | ack) != syn accept' in text
    assert '-s 192.0.2.1 -p tcp ! --syn -m multiport --sports 5665 -m conntrack --ctstate UNTRACKED' in \
        lifeline.iptables(WAYS, ['192.0.2.1'], 4)


def test_addresses_go_to_the_program_of_their_version() -> None:
    assert '2001' not in lifeline.iptables(WAYS, ['192.0.2.1', '2001:db8::1'], 4)
    assert '192' not in lifeline.iptables(WAYS, ['192.0.2.1', '2001:db8::1'], 6)
    assert lifeline.iptables(WAYS, ['192.0.2.1'], 6) == ''


def test_the_whole_file_for_one_way_in_and_one_out() -> None:
    text = lifeline.iptables(WAYS[:3:2], ['192.0.2.1'], 4)
    assert text.replace(f'-m comment --comment "{lifeline.COMMENT}" ', '') == """*raw
-A PREROUTING -s 192.0.2.1 -p tcp -m multiport --dports 22 -j CT --notrack
-A PREROUTING -s 192.0.2.1 -p tcp -m multiport --sports 5665 -j CT --notrack
-A PREROUTING -s 192.0.2.1 -p icmp --icmp-type echo-request -j CT --notrack
-A OUTPUT -d 192.0.2.1 -p tcp -m multiport --sports 22 -j CT --notrack
-A OUTPUT -d 192.0.2.1 -p tcp -m multiport --dports 5665 -j CT --notrack
-A OUTPUT -d 192.0.2.1 -p icmp --icmp-type echo-reply -j CT --notrack
COMMIT
*filter
-I INPUT -s 192.0.2.1 -p tcp -m multiport --dports 22 -m conntrack --ctstate UNTRACKED -j ACCEPT
-I INPUT -s 192.0.2.1 -p tcp ! --syn -m multiport --sports 5665 -m conntrack --ctstate UNTRACKED -j ACCEPT
-I INPUT -s 192.0.2.1 -p icmp --icmp-type echo-request -m conntrack --ctstate UNTRACKED -j ACCEPT
-I OUTPUT -d 192.0.2.1 -p tcp -m multiport --sports 22 -m conntrack --ctstate UNTRACKED -j ACCEPT
-I OUTPUT -d 192.0.2.1 -p tcp -m multiport --dports 5665 -m conntrack --ctstate UNTRACKED -j ACCEPT
-I OUTPUT -d 192.0.2.1 -p icmp --icmp-type echo-reply -m conntrack --ctstate UNTRACKED -j ACCEPT
COMMIT
"""


def chain(family: str, table: str, name: str, hook: str, policy: str = 'accept', prio: int = 0) -> dict[str, object]:
    return {'chain': {'family': family, 'table': table, 'name': name, 'handle': 1, 'type': 'filter', 'hook': hook,
                      'prio': prio, 'policy': policy}}


def listing(*chains: dict[str, object]) -> str:
    return json.dumps({'nftables': [{'metainfo': {'version': '1.0.6'}}, *chains]})


@pytest.mark.parametrize(('text', 'firewall'), [
    (listing(), Firewall((), False)),
    (listing(chain('inet', 'filter', 'input', 'input')),
     Firewall((FilterChain('inet', 'filter', 'input', 'input'),), False)),
    (listing(chain('ip', 'filter', 'INPUT', 'input', 'drop')), Firewall((), True)),
    # docker's: nothing of it is for the host itself
    (listing(chain('ip', 'filter', 'INPUT', 'input'), chain('inet', 'fw', 'in', 'input')),
     Firewall((FilterChain('inet', 'fw', 'in', 'input'),), False)),
    (listing(chain('inet', 'raw', 'output', 'output', prio=-300)), Firewall((), False)),
    (listing({'chain': {'family': 'inet', 'table': 'fw', 'name': 'jumped-to', 'handle': 3}}), Firewall((), False)),
])
def test_base_chains(text: str, firewall: Firewall) -> None:
    assert parse_chains(text) == firewall


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"nftables": [{"chain": {"type": "filter", "hook": "input"}}]}'])
def test_what_is_no_list_of_chains(text: str) -> None:
    with pytest.raises(ValueError, match=r'chains|Expecting'):
        parse_chains(text)
