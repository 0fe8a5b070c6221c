"""NAT ports as a signal of the check: on a real gateway that runs out of them, and what clears it."""

from __future__ import annotations

import re
import subprocess
import time

import laboratory
import proctree
import pytest
from nat_gateway import gateway

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True, scope='module')
def _laboratory():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())


def check(made, tmp_path, *arguments):
    """(exit status, first line, all) of the check on the gateway."""
    done = made.gateway.run([proctree.command()[0], str(proctree.ROOT / 'check_conntrack.py'), '--history',
                             str(tmp_path / 'h.sqlite'), '--kernel-log', 'off', '--window', '1s', '--diagnose',
                             'always', '-t', '30', *arguments])
    assert done.stderr == ''
    return done.returncode, done.stdout.splitlines()[0], done.stdout


def used(first):
    """Percent in the performance data."""
    return float(re.search(r' nat_ports=([\d.]+)%;60;90;0;100 ', first)[1])


def test_ports_that_are_used_up_and_free_again(tmp_path):
    with laboratory.maximum(300_000), gateway('meta l4proto udp snat to 10.99.0.1:40000-40199') as made:
        assert check(made, tmp_path)[0] == 0
        made.open(100, 53, sources=50)
        time.sleep(1.2)
        status, first, _all = check(made, tmp_path)
        assert status == 0
        assert used(first) == pytest.approx(50, abs=4)
        made.open(40, 53, seed=2)
        time.sleep(1.2)
        status, first, everything = check(made, tmp_path)
        assert status == 1
        assert first.startswith('CONNTRACK WARNING - NAT ports to 10.99.0.2:53 udp through 10.99.0.1: 7')
        assert 'alert: nat-ports' in everything
        made.open(200, 53, seed=3)
        time.sleep(1.2)
        status, first, everything = check(made, tmp_path)
        assert status == 2
        assert used(first) >= 97
        assert ' packets/s refused' in first
        assert 'NAT found no free port' in everything
        # the thresholds are options
        assert check(made, tmp_path, '--nat-ports-critical', 'off', '--nat-ports-warning', 'off',
                     '--insert-failed-critical', 'off', '--insert-failed-warning', 'off')[0] == 0
        made.gateway.drain()
        time.sleep(2.5)
        check(made, tmp_path)
        time.sleep(1.2)
        status, first, _all = check(made, tmp_path)
        assert status == 0, first


def test_nothing_is_said_where_there_is_no_source_nat(tmp_path):
    with laboratory.maximum(300_000), gateway('accept') as made:
        made.open(200, 53)
        time.sleep(1.2)
        assert 'nat_ports' not in check(made, tmp_path)[2]


def test_a_gateway_in_a_namespace_is_judged_from_outside(tmp_path):
    """The table is nearly empty: its ports are what is short."""
    with laboratory.maximum(300_000), gateway('meta l4proto udp snat to 10.99.0.1:40000-40199') as made:
        names = f'{made.gateway.name},{made.server.name}'
        looked = [proctree.command()[0], str(proctree.ROOT / 'check_conntrack.py'), '--history',
                  str(tmp_path / 'h.sqlite'), '--kernel-log', 'off', '--window', '1s', '--diagnose', 'always',
                  '-t', '30', '--netns', names]
        made.open(150, 53)
        for _ in range(50):
            # the last packets may still be on their way
            done = made.client.run(looked)
            if ' nat_ports=7' in done.stdout:
                break
            time.sleep(0.2)
    assert (done.stderr, done.returncode) == ('', 1)
    first, *below = done.stdout.splitlines()
    assert re.match(r'CONNTRACK WARNING - \S+: NAT ports to 10.99.0.2:53 udp through 10.99.0.1: 7\d% used', first)
    assert ' namespaces=2 ' in first
    assert re.fullmatch('next: sudo (ip netns exec|nsenter) .* conntrack-doctor triage', below[1])
    assert [line for line in below if line.startswith('cause: ')] == [
        'cause: source NAT looks for a free port in a part of its range only: nf_conntrack_max does not help']


def test_triage_and_tune_name_the_pool_and_the_rule_of_this_host():
    with laboratory.maximum(300_000), gateway('masquerade') as made:
        made.open(41000, 443)
        for _ in range(40):
            if made.gateway.count() > 40000:
                break
            time.sleep(0.1)
        done = made.gateway.run([*proctree.command('triage', '--kernel-log', 'off')], cwd=proctree.ROOT)
        tuned = made.gateway.run([*proctree.command('tune')], cwd=proctree.ROOT)
        # the proposed command works as it is printed, and so does the one that takes it back
        commands = [line.split('sudo ', 1)[1] for line in tuned.stdout.splitlines() if 'replace rule' in line]
        ruled = []
        for command in commands[-2:]:
            subprocess.run(command, shell=True, check=True, timeout=30)
            ruled.append(made.gateway.run(['nft', 'list', 'chain', 'ip', 'nat', 'post']).stdout)
    assert tuned.stderr == ''
    assert re.search(r'NAT ports\n  10.99.0.2:443 udp through 10.99.0.1: (about )?6', tuned.stdout)
    assert ['fully-random' in text for text in ruled] == [True, False]
    assert done.stderr == ''
    said = ' '.join(done.stdout.split())
    assert re.search('NAT ports 10.99.0.2:443 udp through 10.99.0.1: (about )?6', said), done.stdout
    assert said.index('NAT ports') < said.index(' usage ')
    assert f"replace rule ip nat post handle 3 oifname \"{made.outer}\" masquerade fully-random'" in said
    assert 'new connections/s' in said
