"""New connections counted on a real kernel: at all rates, from one and two sources, with room and in a full table."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import laboratory
import proctree
import pytest

from check_conntrack_lib.analysis import rates
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import ctnetlink_events

pytestmark = pytest.mark.kernel
ROOT = proctree.ROOT


@pytest.fixture(autouse=True, scope='module')
def _laboratory():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())


@contextlib.contextmanager
def generator(lab, source, rate, seconds):
    """It has begun when this begins, and has ended when this ends; `result` is (sent, tried, seconds) then."""
    command = ['ip', 'netns', 'exec', lab.name, sys.executable, str(ROOT / 'tests/generator.py'), source,
               str(rate), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    result = []
    try:
        yield result
    finally:
        result += map(float, process.communicate(timeout=60)[0].split())


def listener(lab):
    with lab.in_netns():
        made = ctnetlink_events.open_listener(Host())
    assert not isinstance(made, Missing), made
    return made


@pytest.mark.parametrize('rate', [0, 100, 5000, 50000])
def test_each_one_is_counted(rate):
    """From before the first to after the last: as many as there are entries then."""
    with laboratory.maximum(1_000_000), laboratory.namespace() as lab, listener(lab) as heard:
        if rate:
            with generator(lab, '127.0.0.1', rate, 0.6):
                heard.start_sample(0.5)
        assert heard.count() == lab.count()
        assert heard.count() >= rate * 0.1
        assert heard.finish().connections == lab.count()


@pytest.mark.parametrize('rate', [100, 2000, 20000])
def test_the_rate_and_the_shares_of_two_sources(rate):
    with laboratory.maximum(1_000_000), laboratory.namespace() as lab, \
            generator(lab, '127.0.0.1', rate * 0.8, 2.5) as first, \
            generator(lab, '127.0.0.2', rate * 0.2, 2.5) as second:
        time.sleep(0.3)
        with listener(lab) as heard:
            before = lab.count()
            time.sleep(0.1)
            heard.start_sample(0.9)
            time.sleep(0.9)
            after, seconds = lab.count(), heard.seconds()
            got = heard.finish()
    assert got.rate == pytest.approx((after - before) / seconds, rel=0.1)
    new = rates.counted(got.rate, got.flows)
    share = {one.source: new.share(one.seen) for one in new.openers}
    true = (first[0] / first[2]) / (first[0] / first[2] + second[0] / second[2])
    # of 90 events, five standard deviations are 21 points; of 1000, 6
    assert share['127.0.0.1'] == pytest.approx(true, abs=0.21 if rate == 100 else 0.065)
    assert new.protocols.keys() == {17}
    # some of what was wanted, whatever the rate: not all is read
    assert len(got.flows) <= 3 * ctnetlink_events.WANTED


def test_a_full_table():
    """Events are those that got in; what was refused is in drop: together the attempts."""
    with laboratory.namespace() as lab, laboratory.maximum(3000):
        lab.fill_to(2900)
        before = lab.cpu_stats()['drop']
        with listener(lab) as heard:
            with generator(lab, '127.0.0.1', 3000, 0.5) as result:
                pass
            sent, tried, _seconds = result
            assert heard.count() == sent >= 100
        assert lab.cpu_stats()['drop'] - before == tried - sent > 500


def test_dead_entries_go_while_nobody_reads():
    """With NETLINK_BROADCAST_ERROR they would stay until the listener closes."""
    with laboratory.maximum(1_000_000), laboratory.namespace() as lab, listener(lab) as heard:
        with generator(lab, '127.0.0.1', 4000, 0.5):
            heard.start_sample(0.5)
        assert lab.count() > 200
        assert lab.run(['conntrack', '-F']).returncode == 0
        assert lab.count() == 0


def test_the_options_of_the_sockets(monkeypatch):
    """What is set, in what order, before and after bind: a filter comes first, and NETLINK_BROADCAST_ERROR never."""
    calls = []

    class Recorded(socket.socket):
        def setsockopt(self, level, name, value):
            calls.append((level, name, value))
            super().setsockopt(level, name, value)

        def bind(self, address):
            calls.append(('bind', address))
            super().bind(address)

    with laboratory.namespace() as lab:
        monkeypatch.setattr(ctnetlink_events.socket, 'socket', Recorded)
        heard = listener(lab)
        calls[:] = calls[-3:]
        monkeypatch.setattr(heard, 'count', lambda: 1 << 40)
        heard.start_sample(1.0)
        heard.close()
    sol_netlink, no_enobufs, broadcast_error = 270, 5, 4
    assert calls[:3] == [(sol_netlink, no_enobufs, 1), (socket.SOL_SOCKET, socket.SO_RCVBUF, 1), ('bind', (0, 1))]
    assert [call[:2] for call in calls[3:]] == [
        (sol_netlink, no_enobufs), (socket.SOL_SOCKET, 33), (socket.SOL_SOCKET, 26), ('bind', (0, 1))]
    length, _pointer = struct.unpack('@HP', calls[5][2])
    assert length == 4
    assert not [call for call in calls if call[:2] == (sol_netlink, broadcast_error)]


def test_events_that_are_switched_off_are_said():
    with laboratory.namespace() as lab:
        assert lab.run(['sysctl', '-qw', 'net.netfilter.nf_conntrack_events=0']).returncode == 0
        with lab.in_netns():
            # /proc/sys is the reading thread's
            got = ctnetlink_events.open_listener(Host())
    assert isinstance(got, Missing)
    assert got.why == 'nf_conntrack_events is 0: the kernel does not report new connections'


def test_nobody_may_not_listen():
    code = ('from check_conntrack_lib.host import Host; from check_conntrack_lib.readers import ctnetlink_events; '
            'print(ctnetlink_events.open_listener(Host()).why)')
    with laboratory.namespace() as lab:
        done = lab.run(['/usr/bin/python3', '-c', code], user='nobody', cwd=ROOT)
    assert (done.stdout, done.stderr) == ('needs root\n', '')


def test_the_file_has_the_same_drops_as_the_socket():
    """Where SO_MEMINFO has none: kernels before 4.12 and RHEL 7."""
    with laboratory.maximum(1_000_000), laboratory.namespace() as lab, listener(lab) as heard:
        with generator(lab, '127.0.0.1', 2000, 0.3):
            pass
        drops = ctnetlink_events._drops(heard._socket)
        with lab.in_netns():
            text = Path('/proc/thread-self/net/netlink').read_text()
        inode = os.fstat(heard._socket.fileno()).st_ino
        assert ctnetlink_events.parse_drops(text, inode) == drops > 50
