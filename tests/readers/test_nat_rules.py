"""Rules of source NAT: what nft and iptables-save print, and the commands that put others in their place."""

from __future__ import annotations

import shlex

import laboratory
import pytest

from check_conntrack_lib.readers import iptables_save, nat_rules
from check_conntrack_lib.readers.nat_rules import parse_iptables, parse_nft

NFT = """table inet filter { # handle 1
	chain forward { # handle 1
		type filter hook forward priority filter; policy accept;
		tcp dport 443 accept # handle 2
	}
}
table ip nat { # handle 5
	set masquerade_for { # handle 9
		type ipv4_addr
	}
	chain post { # handle 1
		type nat hook postrouting priority srcnat; policy accept;
		oifname "eth0" counter packets 5 bytes 300 masquerade # handle 4
		oifname "eth1" snat to 198.51.100.1 # handle 5
		oifname "eth2" masquerade to :1024-65535 random comment "all the rest" # handle 6
		oifname "eth3" snat to 198.51.100.7-198.51.100.9 persistent # handle 7
		oifname "eth4" counter packets 0 bytes 0 xt target "MASQUERADE" # handle 8
	}
}
"""
IPTABLES = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -o eth1 -m comment --comment "out | all" -j SNAT --to-source 198.51.100.1
COMMIT
"""


def test_nft():
    rules = list(parse_nft(NFT))
    assert [(rule.place, rule.number) for rule in rules] == [('ip nat post', k) for k in (4, 5, 6, 7)]
    assert rules[0].text == 'oifname "eth0" counter masquerade'
    assert [rule.fully_random() for rule in rules] == [
        'oifname "eth0" counter masquerade fully-random',
        'oifname "eth1" snat to 198.51.100.1 fully-random',
        'oifname "eth2" masquerade to :1024-65535 fully-random comment "all the rest"',
        'oifname "eth3" snat to 198.51.100.7-198.51.100.9 persistent,fully-random']
    assert [rule.more_addresses() for rule in rules] == [
        'oifname "eth0" counter snat to FIRST-LAST',
        'oifname "eth1" snat to FIRST-LAST',
        'oifname "eth2" snat to FIRST-LAST random comment "all the rest"',
        'oifname "eth3" snat to FIRST-LAST persistent']
    assert not any(rule.random for rule in rules)


def test_iptables():
    first, second = parse_iptables(IPTABLES)
    assert (first.place, first.number, second.number) == ('POSTROUTING', 1, 2)
    assert first.replace(first.fully_random()) == \
        'sudo iptables -t nat -R POSTROUTING 1 -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE --random-fully'
    assert first.more_addresses() == '-s 172.17.0.0/16 ! -o docker0 -j SNAT --to-source FIRST-LAST'
    assert second.more_addresses().endswith('-j SNAT --to-source FIRST-LAST')


@pytest.mark.parametrize('text', ['', 'masquerade', '\tmasquerade # handle x', 'COMMIT\n-A', '\x00'])
def test_other_text(text):
    assert list(parse_nft(text)) == list(parse_iptables(text)) == []


def test_no_program(monkeypatch):
    monkeypatch.setattr(iptables_save, 'DIRECTORIES', ('/nonexistent',))
    assert nat_rules.read().why == 'no nft'


@pytest.mark.kernel
def test_the_commands_do_what_they_say():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    with laboratory.namespace() as lab:
        lab.do('nft add table ip n')
        lab.do("nft 'add chain ip n post { type nat hook postrouting priority 100; }'")
        for rule in ('masquerade', 'snat to 198.51.100.1 persistent'):
            lab.do(f"nft 'add rule ip n post oifname lo {rule}'")
        with lab.in_netns():
            rules = nat_rules.read()
        assert len(rules) == 2
        for rule in rules:
            for text in (rule.fully_random(), rule.more_addresses().replace('FIRST-LAST', '198.51.100.1-198.51.100.4'),
                         rule.text):
                done = lab.run(shlex.split(rule.replace(text))[1:])
                assert done.returncode == 0, done.stderr
                # nft prints options in an order of its own
                assert sorted(text.replace(',', ' ').split()) in [
                    sorted(line.replace('"', '').replace(',', ' ').split(' #')[0].split())
                    for line in lab.run(['nft', '-a', 'list', 'ruleset']).stdout.splitlines()] or '"' in text
        with lab.in_netns():
            assert [rule.text for rule in nat_rules.read()] == [rule.text for rule in rules]


def test_a_rule_without_a_table_is_none():
    rule = '\t\toifname "eth0" masquerade # handle 4\n'
    assert list(parse_nft(rule)) == []
    assert list(parse_nft('table ip nat {\n' + rule)) == []
    assert len(list(parse_nft('table ip nat {\n\tchain post {\n' + rule))) == 1
