"""Commands and limits as they are printed: flows as arguments, rules against one source, and how much is left to it."""

from __future__ import annotations

import pytest

from check_conntrack_lib.analysis import commands, rate_limit
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.history.profiles import EMPTY


@pytest.mark.parametrize(('key', 'arguments'), [
    (Key(), ''), (Key(6), '-p tcp'), (Key(50), '-p esp'), (Key(200), '-p 200'),
    (Key(17, '192.0.2.1', '192.0.2.2', 53), '-p udp -s 192.0.2.1 -d 192.0.2.2 --dport 53'),
    (Key(6, '2001:db8::1'), '-f ipv6 -p tcp -s 2001:db8::1'), (Key(destination='fd00::2'), '-f ipv6 -d fd00::2'),
    (Key(port=53), ''), (Key(6, port=0), '-p tcp --dport 0')])
def test_flows_as_arguments_of_conntrack(key: Key, arguments: str) -> None:
    assert commands.conntrack('-D', key) == f'sudo conntrack -D {arguments}'.rstrip()


@pytest.mark.parametrize(('command', 'there'), [
    ('sudo conntrack -L', 'sudo ip netns exec blue conntrack -L'),
    ('conntrack -L', 'conntrack -L'), ('sudo systemctl restart x', 'sudo systemctl restart x'),
    ('sudo sysctl -w net.netfilter.nf_conntrack_max=5', 'sudo sysctl -w net.netfilter.nf_conntrack_max=5')])
def test_a_command_for_another_namespace(command: str, there: str) -> None:
    assert commands.within(command, 'ip netns exec blue ') == there
    assert commands.within(command, '') == command


NFT = ("sudo nft 'add table inet triage\nadd chain inet triage new {{ type filter hook prerouting priority -150; }}\n"
       "add rule inet triage new {} \\\n  ct state new limit rate over 70/second burst 140 packets counter drop'")


@pytest.mark.parametrize(('key', 'nft', 'iptables'), [
    (Key(source='192.0.2.1'), 'ip saddr 192.0.2.1', 'iptables * -s 192.0.2.1'),
    (Key(6, '192.0.2.1', '192.0.2.2', 443), 'ip saddr 192.0.2.1 ip daddr 192.0.2.2 tcp dport 443',
     'iptables * -s 192.0.2.1 -d 192.0.2.2 -p tcp --dport 443'),
    (Key(17, 'fd00::1'), 'ip6 saddr fd00::1 meta l4proto 17', 'ip6tables * -s fd00::1 -p udp'),
    (Key(1, '192.0.2.1', '', 0), 'ip saddr 192.0.2.1 meta l4proto 1', 'iptables * -s 192.0.2.1 -p 1')])
def test_rules_against_one_source(key: Key, nft: str, iptables: str) -> None:
    assert rate_limit.nft(key, 70) == (NFT.format(nft), 'sudo nft delete table inet triage')
    made, undo = (' '.join(f'sudo {iptables}'.split()).replace(' * ', f' -t mangle {action} PREROUTING ')
                  + ' -m conntrack --ctstate NEW -m hashlimit --hashlimit-name triage --hashlimit-above 70/sec '
                    '--hashlimit-burst 140 -j DROP' for action in ('-I', '-D'))
    assert rate_limit.iptables(key, 70) == (made, undo)


def test_a_burst_that_iptables_would_refuse() -> None:
    assert '--hashlimit-burst 10000 ' in rate_limit.iptables(Key(source='192.0.2.1'), 5001)[0]


TCP_STATES = EMPTY._replace(states={(6, 'SYN_SENT'): 10, (6, 'ESTABLISHED'): 9, (17, ''): 99})


@pytest.mark.parametrize(('room', 'key', 'timeouts', 'rate'), [
    # a twentieth of the room, each entry for its timeout
    (60_000, Key(6), {'tcp_timeout_syn_sent': 60}, 50), (60_000, Key(6), {'tcp_timeout_syn_sent': 600}, 25),
    (60_000, Key(17), {'udp_timeout': 60}, 50), (60_000, Key(17), {}, 100), (60_000, Key(6), {}, 25),
    (60_000, Key(1), {'icmp_timeout': 30}, 100), (60_000, Key(58), {'icmpv6_timeout': 10}, 300),
    (60_000, Key(50), {'generic_timeout': 100}, 30), (60_000, Key(), {'generic_timeout': 60}, 50),
    (1, Key(6), {}, 1), (10**9, Key(6), {}, 10000), (100, Key(17), {'udp_timeout': 0}, 5)])
def test_what_is_left_to_a_source(room: int, key: Key, timeouts: dict[str, int], rate: int) -> None:
    assert rate_limit.rate(room, TCP_STATES, key, timeouts) == rate


def test_without_a_state_tcp_lives_as_long_as_any() -> None:
    assert rate_limit.rate(60_000, EMPTY, Key(6), {'generic_timeout': 60}) == 50
