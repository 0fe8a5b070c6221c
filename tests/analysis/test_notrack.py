"""What could pass by the table, and the rules for it."""

from __future__ import annotations

import socket

from check_conntrack_lib.analysis import notrack
from check_conntrack_lib.analysis.notrack import NATED, UNKNOWN, candidates, iptables, nft, rules, warnings
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.flow import ASSURED, DST_NAT, SEEN_REPLY, SRC_NAT, Flow


def flow(dport=53, protocol=17, dst='10.0.0.53', status=SEEN_REPLY):
    family = socket.AF_INET6 if ':' in dst else socket.AF_INET
    target = socket.inet_pton(family, dst)
    return Flow(protocol, '', status, 10, target, target, 40000, dport, b'', b'')


def found(flows):
    flows = list(flows)
    return candidates(summarize(flows, len(flows)))


WEB = [flow(443, 6, '192.0.2.1', SEEN_REPLY | ASSURED | SRC_NAT)] * 50


def test_a_resolver():
    (dns,), refused = found([flow()] * 40 + [flow(dst='fd00::53')] * 10 + WEB)
    assert (dns.key, dns.name, dns.share.value) == (Key(17, port=53), 'DNS', 0.5)
    assert dns.addresses == ('10.0.0.53', 'fd00::53')
    assert [(one.name, one.why) for one in refused] == [('tcp port 443', NATED)]


def test_what_is_nated_stays():
    chosen, refused = found([flow(status=SEEN_REPLY | DST_NAT)] * 50 + WEB)
    assert chosen == ()
    assert {one.name: one.why for one in refused} == {'DNS': NATED, 'tcp port 443': NATED}


def test_the_servers_without_nat_only():
    (dns,), _ = found([flow()] * 30 + [flow(dst='8.8.8.8', status=SEEN_REPLY | SRC_NAT)] * 20 + WEB)
    assert (dns.addresses, dns.share.value) == (('10.0.0.53',), 0.3)


def test_one_nated_flow_is_enough_to_leave_a_server_alone():
    chosen, refused = found([flow()] * 49 + [flow(status=SRC_NAT)] + WEB)
    assert chosen == ()
    assert 'DNS' in [one.name for one in refused]


def test_a_small_share_is_not_worth_rules():
    assert found([flow()] + WEB * 4)[0] == ()


def test_no_server_stands_out():
    flows = [flow(dst=f'198.51.{n // 250}.{n % 250}') for n in range(1000)]
    (dns,), _ = found(flows)
    assert dns.addresses == ()
    assert any('anybody who sends from port 53 passes' in line for line in warnings((dns,)))


def test_a_service_that_may_need_its_state():
    chosen, refused = found([flow(443, 6)] * 50)
    assert chosen == ()
    assert [(one.name, one.why) for one in refused] == [('tcp port 443', UNKNOWN)]


def test_no_more_than_five_of_each():
    ports, five = (53, 123, 161, 514, 1812, 2055), ['DNS', 'NTP', 'SNMP', 'syslog', 'RADIUS']
    assert [one.name for one in found(flow(port) for port in ports for _ in range(50))[0]] == five
    translated = found(flow(port, status=SEEN_REPLY | DST_NAT) for port in ports for _ in range(50))
    assert [one.name for one in translated[1]] == five


def test_nothing():
    assert found([]) == ((), ())
    assert list(warnings(())) == []
    assert iptables((), 4) == ''


def test_pings_name_echoes_only():
    chosen, _ = found([flow(0, 1)] * 30 + [flow(0, 58, 'fd00::1')] * 30)
    assert [one.name for one in chosen] == ['pings', 'pings (IPv6)']
    assert [rule.nft() for one in chosen for rule in rules(one)] == [
        'icmp type echo-request', 'icmp type echo-reply', 'icmpv6 type echo-request', 'icmpv6 type echo-reply']
    assert '-A PREROUTING -p icmp --icmp-type echo-request -j CT --notrack\n' in iptables(chosen, 4)
    assert '-A OUTPUT -p icmpv6 --icmpv6-type echo-reply -j CT --notrack\n' in iptables(chosen, 6)
    # what holds of all of them, and no more
    assert list(warnings(chosen)) == [
        'untracked packets are never NATed, and match no rule on ct state established, ct mark, connection limits or '
        'helpers; ICMP errors about them count as invalid (path MTU)',
        'entries that exist stay until their timeout; the accept rules are stateless: matching packets pass in both '
        'directions, also unsolicited replies']


def test_both_directions_in_every_chain():
    chosen, _ = found([flow()] * 40 + [flow(dst='fd00::53')] * 10)
    text = nft(chosen)
    for match in ('ip daddr 10.0.0.53 udp dport 53', 'ip saddr 10.0.0.53 udp sport 53',
                  'ip6 daddr fd00::53 udp dport 53', 'ip6 saddr fd00::53 udp sport 53'):
        assert text.count(f'\t\t{match} notrack\n') == 2
        for chain in ('input', 'forward', 'output'):
            assert f'#insert rule inet filter {chain} {match} ct state untracked accept\n' in text
    four, six = iptables(chosen, 4), iptables(chosen, 6)
    assert four.splitlines()[1:] == [
        '*raw',
        '-A PREROUTING -d 10.0.0.53 -p udp --dport 53 -j CT --notrack',
        '-A PREROUTING -s 10.0.0.53 -p udp --sport 53 -j CT --notrack',
        '-A OUTPUT -d 10.0.0.53 -p udp --dport 53 -j CT --notrack',
        '-A OUTPUT -s 10.0.0.53 -p udp --sport 53 -j CT --notrack',
        'COMMIT',
        '# untracked packets are not ESTABLISHED: they need a rule of their own',
        '*filter',
        '-I INPUT -d 10.0.0.53 -p udp --dport 53 -m conntrack --ctstate UNTRACKED -j ACCEPT',
        '-I INPUT -s 10.0.0.53 -p udp --sport 53 -m conntrack --ctstate UNTRACKED -j ACCEPT',
        '-I FORWARD -d 10.0.0.53 -p udp --dport 53 -m conntrack --ctstate UNTRACKED -j ACCEPT',
        '-I FORWARD -s 10.0.0.53 -p udp --sport 53 -m conntrack --ctstate UNTRACKED -j ACCEPT',
        '-I OUTPUT -d 10.0.0.53 -p udp --dport 53 -m conntrack --ctstate UNTRACKED -j ACCEPT',
        '-I OUTPUT -s 10.0.0.53 -p udp --sport 53 -m conntrack --ctstate UNTRACKED -j ACCEPT',
        'COMMIT']
    assert '10.0.0.53' not in six
    assert '-A PREROUTING -d fd00::53 -p udp --dport 53 -j CT --notrack' in six


def test_known_services_have_the_ports_that_are_registered():
    """IANA's register, and for programs without an entry there what they listen on by default."""
    registered = {
        'DNS': 53, 'DNS over TCP': 53, 'NTP': 123, 'syslog': 514, 'syslog over TLS': 6514, 'SNMP': 161,
        'SNMP traps': 162, 'StatsD metrics': 8125, 'Graphite metrics': 2003, 'InfluxDB metrics': 8089,
        'node_exporter scrapes': 9100, 'Prometheus': 9090, 'sFlow': 6343, 'NetFlow': 2055, 'IPFIX': 4739,
        'VXLAN': 4789, 'VXLAN (flannel)': 8472, 'Geneve': 6081, 'RADIUS': 1812, 'RADIUS accounting': 1813,
        'BFD': 3784, 'NRPE checks': 5666, 'Icinga': 5665, 'Zabbix checks': 10050,
        'kube-proxy health checks': 10256, 'kubelet health checks': 10248, 'corosync': 5405, 'memcached': 11211}
    both = {'syslog', 'Graphite metrics', 'memcached'}
    only_tcp = {'DNS over TCP', 'syslog over TLS', 'node_exporter scrapes', 'Prometheus', 'NRPE checks', 'Icinga',
                'Zabbix checks', 'kube-proxy health checks', 'kubelet health checks'}
    for (protocol, port), name in notrack.KNOWN.items():
        assert port == registered[name]
        assert name in both or (protocol == 6) is (name in only_tcp)
    assert set(notrack.KNOWN.values()) == set(registered)
    assert all({(6, registered[name]), (17, registered[name])} <= set(notrack.KNOWN) for name in both)
