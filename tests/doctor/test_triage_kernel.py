"""triage on a real kernel: one client floods, and the brake that triage prints stops its new entries."""

import json
import shlex
import signal
import socket
import subprocess
import sys
import time

import laboratory
import proctree
import pytest
from laboratory import Flow

from check_conntrack_lib.analysis import rate_limit
from check_conntrack_lib.analysis.profile import Key

pytestmark = pytest.mark.kernel
MAXIMUM = 4000
FLOOD = Flow('udp', '10.2.3.4', '10.0.0.53', dport=53, assured=False, seen_reply=False, timeout=60)
USUAL = Flow('tcp', '10.1.0.0/20', '192.0.2.80', dport=443, timeout=400000)


@pytest.fixture(autouse=True, scope='module')
def _laboratory():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())


def triage(lab, *arguments, **kw):
    return lab.run(proctree.command('triage', '--kernel-log', 'off', *arguments), cwd=proctree.ROOT, **kw)


def test_the_client_that_flooded_is_named():
    with laboratory.namespace() as lab, laboratory.maximum(MAXIMUM):
        lab.fill(laboratory.mixed_flows(3900, {USUAL: 1, FLOOD: 3}))
        got = json.loads(triage(lab, '--json', '--exact').stdout)
        screen = triage(lab).stdout
    assert got['profile']['seen'] == 3900
    assert got['crowded']
    assert (got['role']['name'], got['role']['forwarded']) == ('router or firewall', 3900)
    # it opens nothing now: a limit would change nothing
    removal = next(one for one in got['moves'] if one['title'].startswith('remove the entries of 10.2.3.4, which '))
    assert removal['commands'][0].endswith('conntrack -D -p udp -s 10.2.3.4 -d 10.0.0.53 --dport 53')
    assert screen.count('\n') <= 60
    assert '2. remove the entries of 10.2.3.4' in screen


def test_the_brake_holds_a_real_flood():
    """Datagrams of one client over a real link, each from another port."""
    made, undo = rate_limit.nft(Key(17, '10.9.0.2', '10.9.0.1', 5353), 10)
    with laboratory.namespace() as lab, laboratory.namespace() as client:
        link = f'ip link add triage0 netns {lab.name} type veth peer name triage0 netns {client.name}'
        subprocess.run(shlex.split(link), check=True, timeout=10)
        for end, address in ((lab, '10.9.0.1/24'), (client, '10.9.0.2/24')):
            assert end.run(['ip', 'address', 'add', address, 'dev', 'triage0']).returncode == 0
            assert end.run(['ip', 'link', 'set', 'triage0', 'up']).returncode == 0
        with lab.in_netns():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sink:
            sink.bind(('10.9.0.1', 5353))
            send(client, 1)  # waits for the neighbour
            sink.settimeout(5)
            sink.recv(9)
            assert grown(lab, client, 20000)[0] == 300
            assert lab.run(['sh', '-c', made.replace('sudo ', '', 1)]).returncode == 0
            through, seconds = grown(lab, client, 21000, enough=10)
            # the burst of 20, and 10 in each second
            assert 10 <= through <= 20 + 10 * (seconds + 1) + 10
            assert through < 300
            assert lab.run(shlex.split(undo)[1:]).returncode == 0
            assert grown(lab, client, 22000)[0] == 300


def grown(lab, client, port, enough=300):
    """Entries that 300 datagrams make, once there are enough, and in how many seconds."""
    before, began = lab.count(), time.monotonic()
    send(client, 300, port)
    while lab.count() - before < enough and time.monotonic() < began + 20:
        time.sleep(0.05)
    return lab.count() - before, time.monotonic() - began


def send(client, number, port=19000):
    for k in range(number):
        with client.in_netns():
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with one:
            one.bind(('10.9.0.2', port + k))
            one.sendto(b'x', ('10.9.0.1', 5353))


def test_nobody_sees_what_anybody_may():
    with laboratory.namespace() as lab:
        lab.fill_to(50)
        done = triage(lab, user='nobody')
        if done.returncode in (126, 127):  # this interpreter is for root
            done = lab.run(['/usr/bin/python3', '-m', 'check_conntrack_lib', 'triage', '--kernel-log', 'off'],
                           user='nobody', cwd=proctree.ROOT)
    assert (done.returncode, done.stderr) == (0, '')
    assert '(50 of ' in done.stdout
    assert 'flows: needs root; sudo conntrack-doctor triage' in ' '.join(done.stdout.split())


def test_ctrl_c_is_clean():
    code = ('import sys; from check_conntrack_lib.doctor import cli; '
            'from check_conntrack_lib.doctor.triage import reading; reading.PAUSE = 60; '
            'print("ready", flush=True); sys.exit(cli.main(["triage", "--kernel-log", "off", "--exact"]))')
    process = subprocess.Popen([sys.executable, '-c', code], cwd=proctree.ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout.readline() == 'ready\n'
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, '', '')
