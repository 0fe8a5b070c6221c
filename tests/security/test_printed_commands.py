"""What is printed to be pasted into a root shell: nothing of it is text that another user or a container chose."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import NOBODY
from netns_tree import Proc

from check_conntrack_lib.doctor.lifeline import parse_chains
from check_conntrack_lib.host import Host
from check_conntrack_lib.netns import enter_command
from check_conntrack_lib.netns.discover import Namespace
from check_conntrack_lib.readers import monitoring_sockets
from check_conntrack_lib.readers.nat_rules import parse_iptables, parse_nft

NAMES = ('a b', "a';id;'", '$(id)', '`id`', 'a\nid', '\x1b[2J', 'a|b', '!!', 'x>y', 'ü', '-n', 'a\u202eb', '*',
         '~x', 'a&')
PLAIN = re.compile(r'[A-Za-z0-9_.:@/+= -]*')


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('with_process', [True, False])
def test_the_name_of_a_namespace(tmp_path: Path, name: str, with_process: bool) -> None:
    proc = Proc(tmp_path)
    proc.process(7, 2)
    path = '/run/netns/' + name
    entering = enter_command.prefix(proc.host, Namespace(2, name=name, path=path, pids=(7,) if with_process else ()))
    assert PLAIN.fullmatch(entering)
    harmless = '--net=/run/netns/-n ' if name == '-n' else f'--net={enter_command.UNSAFE} '
    assert entering == 'nsenter ' + ('-t 7 -n ' if with_process else harmless)


def test_a_harmless_name_is_printed(tmp_path: Path) -> None:
    host = Proc(tmp_path).host
    assert enter_command.prefix(host, Namespace(2, name='blue-1', path='/run/netns/blue-1')) == 'ip netns exec blue-1 '
    assert enter_command.prefix(host, Namespace(2, path='/var/run/docker/netns/0a')) == \
        'nsenter --net=/var/run/docker/netns/0a '
    # never '', which would mean the host's own
    assert enter_command.prefix(host, Namespace(2)) == f'nsenter --net={enter_command.UNKNOWN} '


@pytest.mark.parametrize('comment', ['"$(id)"', '"`id`"', '"a\\"; id; \\""', '"a!b"', '"\x1b[2J"', "'x", '$(id)',
                                     ';id'])
def test_rules_of_iptables(comment: str) -> None:
    """iptables-save quotes for itself, not for a shell."""
    text = (f'-A POSTROUTING -m comment --comment {comment} -j MASQUERADE\n'
            '-A $(id) -j MASQUERADE\n'
            '-A POSTROUTING ! -o docker0 -m comment --comment "all the rest" -j MASQUERADE\n')
    rules = list(parse_iptables(text))
    assert [rule.number for rule in rules] == [2]
    words = shlex.split(rules[0].replace(rules[0].fully_random()))
    assert words[:7] == ['sudo', 'iptables', '-t', 'nat', '-R', 'POSTROUTING', '2']


@pytest.mark.parametrize('text', ['oifname "a" masquerade; flush ruleset', 'masquerade comment "é\x1b[2J"',
                                  'oifname "a\\" masquerade', 'oifname $x masquerade', '#masquerade'])
def test_rules_of_nft(text: str) -> None:
    listing = 'table {} {{ # handle 1\n\tchain {} {{ # handle 2\n\t\t{} # handle 3\n\t}}\n}}\n'
    assert len(list(parse_nft(listing.format('ip nat', 'post', 'oifname "e" masquerade comment "$(it\'s)"')))) == 1
    assert not list(parse_nft(listing.format('ip nat', 'post', text)))
    assert not list(parse_nft(listing.format('ip x;flush', 'post', 'masquerade')))
    assert not list(parse_nft(listing.format('ip nat', 'post;flush', 'masquerade')))


@pytest.mark.parametrize('name', ['in; flush ruleset; add rule inet x y', 'in\ninclude "/tmp/x"', '$(id)', "a'b", '',
                                  'ü'])
@pytest.mark.parametrize('of', ['table', 'name'])
def test_the_names_of_chains(name: str, of: str) -> None:
    """The lifeline's file is loaded by root: a name that cannot be pasted makes the chains unknown."""
    chain = {'family': 'inet', 'table': 'fw', 'name': 'in', 'type': 'filter', 'hook': 'input', 'prio': 0, of: name}
    with pytest.raises(ValueError, match='cannot be pasted'):
        parse_chains(json.dumps({'nftables': [{'chain': chain}]}))


CONNECT = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
s = socket.socket()
s.connect((sys.argv[2], int(sys.argv[3])))
print(flush=True); sys.stdin.read()
"""


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """What listens at an address that is not loopback's for the reader."""
    if os.geteuid():
        pytest.skip('becoming another user needs root')
    with socket.create_server(('127.99.88.77', 0)) as server:
        monkeypatch.setattr(monitoring_sockets, 'AGENT_PORT', server.getsockname()[1])
        monkeypatch.setattr(monitoring_sockets, '_is_loopback', lambda address: False)
        monkeypatch.setattr(monitoring_sockets, '_allowed_hosts', lambda host: set())
        yield server.getsockname()


@pytest.mark.parametrize(('uid', 'believed'), [(0, True), (NOBODY, False)])
def test_whom_an_agent_is_connected_to(master: tuple[str, int], uid: int, believed: bool) -> None:
    """Any user can connect to port 5665 of any address: that opens this host to nobody."""
    agent = subprocess.Popen([sys.executable, '-c', CONNECT, str(uid), master[0], str(master[1])],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert agent.stdout
        assert agent.stdout.readline() == b'\n'
        found = monitoring_sockets.read(Host())
        assert isinstance(found, monitoring_sockets.MonitoringWays)
        assert (master[0] in found.addresses) == believed
        assert (master[0] in found.connected) != believed
        assert any(way.outgoing for way in found.ways) == believed
    finally:
        agent.kill()
        agent.communicate()


def test_users_of_the_monitoring(tmp_path: Path) -> None:
    (tmp_path / '1/root/etc').mkdir(parents=True)
    (tmp_path / '1/root/etc/passwd').write_text(
        'root:x:0:0::/root:/bin/sh\nnagios:x:103:106::/var/lib/nagios:/bin/sh\nxnagios:x:500:1::/:/x\n'
        'eve:x:501:1:nagios:x:502:/x\nicinga:x:104:1::/:/x\n')
    assert monitoring_sockets._monitoring_users(Host(str(tmp_path))) == {0, 103, 104}
    assert monitoring_sockets._monitoring_users(Host(str(tmp_path / 'none'))) == {0}
