"""Whose an address is, by what namespaces, CNI plugins and kube-proxy leave on a host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from netns_tree import Proc

from check_conntrack_lib.netns import address_names
from check_conntrack_lib.readers import kube_services, netns_addresses

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.244.7.0/24 2 0 2
        |-- 10.244.7.0
           /24 link UNICAST
        |-- 10.244.7.2
           /32 host LOCAL
        |-- 10.244.7.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
"""
INET6 = """fd000000000000000000000000000002 02 40 00 80     eth0
fe800000000000000042acfffe110002 02 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


def test_addresses_of_a_namespace() -> None:
    assert netns_addresses.parse_fib_trie(TRIE) == {'10.244.7.2'}
    assert netns_addresses.parse_if_inet6(INET6) == {'fd00::2'}
    assert netns_addresses.parse_fib_trie('') == netns_addresses.parse_if_inet6('') == set()


def test_who_has_it(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.process(2, 1, 'kthreadd', flags=0x208040)
    proc.write('2/net/fib_trie', TRIE.replace('10.244.7.2\n', '10.244.7.1\n'))
    proc.process(20, 5, 'nginx', '0::/lxc.payload.web01/init.scope')
    proc.write('20/net/fib_trie', TRIE)
    proc.write('20/net/if_inet6', INET6)
    wanted = {'10.244.7.1', '10.244.7.2', 'fd00::2', '10.9.9.9', '127.0.0.1'}
    assert address_names.resolve(proc.host, wanted) == {
        '10.244.7.1': 'this host', '10.244.7.2': 'container web01 (lxc)', 'fd00::2': 'container web01 (lxc)'}
    assert address_names.resolve(proc.host, set()) == {}


def test_what_cni_gave_to_a_pod(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    result = {'cniArgs': [['IgnoreUnknown', '1'], ['K8S_POD_NAMESPACE', 'shop'], ['K8S_POD_NAME', 'web|7d4b9c']],
              'result': {'ips': [{'address': '10.244.7.2/24'}, {'address': 'fd00::2/64'}]}}
    for name, text in (('lab-1-eth0', json.dumps(result)), ('lab-2-eth0', '{'), ('lab-3-eth0', '[]'),
                       ('lab-4-eth0', '{"cniArgs": null}'), ('lab-5-eth0', '\udcff')):
        path = proc.root / '1/root/var/lib/cni/results' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode('utf-8', 'surrogateescape'))
    assert address_names.resolve(proc.host, {'10.244.7.2', '10.244.7.3'}) == {'10.244.7.2': 'pod shop/web?7d4b9c'}


@pytest.mark.parametrize('line', [
    '-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns cluster IP" -m udp '
    '--dport 53 -j KUBE-SVC-TCOU7JCQXEZGVUNU',
    '-A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns '
    'cluster IP" -m udp --dport 53 -j KUBE-MARK-MASQ',
    '\t\telements = { 10.96.0.10 . udp . 53 : goto service-ULMVA6XW-kube-system/kube-dns/udp/dns,',
    '\t\t     10.96.0.1 . tcp . 443 : goto service-2QRHZV4L-default/kubernetes/tcp/https, '
    '10.96.0.10 . tcp . 53 : goto service-NWBZK7IH-kube-system/kube-dns/tcp/dns-tcp }',
])
def test_services_in_the_rules_of_kube_proxy(line: str) -> None:
    assert kube_services.parse([line], {'10.96.0.10', '10.96.0.99'}) == {'10.96.0.10': 'kube-system/kube-dns'}
    assert kube_services.parse([line], {'10.96.0.99'}) == {}


@pytest.mark.parametrize('line', ['', '-A KUBE-SERVICES', '-A INPUT -d 10.96.0.10/32 -m comment --comment "a/b"',
                                  '10.96.0.10 . udp . 53 : drop'])
def test_other_rules_name_nobody(line: str) -> None:
    assert kube_services.parse([line], {'10.96.0.10'}) == {}
