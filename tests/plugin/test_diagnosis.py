"""The diagnosis in an alert: when it is made, what it records, and that it never touches the verdict."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import laboratory
import pytest
import scenarios
from deadlines import within
from laboratory import Flow

from check_conntrack_lib.diagnosis import sample
from check_conntrack_lib.history import profiles as profiles_module
from check_conntrack_lib.model import Missing
from check_conntrack_lib.plugin.cli import main

SCRIPT = Path(__file__).parents[2] / 'check_conntrack.py'
PYTHON = '/usr/bin/python3'


def run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
        *argv: str) -> tuple[int, list[str]]:
    scenario = scenarios.load(name)
    history = tmp_path / 'history.sqlite'
    if not history.exists():
        scenarios.record(scenario, history)
    monkeypatch.chdir(scenario.directory)
    status = main(['--procfs', 'proc', '--kernel-log', './kmsg.log', '--history', str(history), *argv], scenario.clock)
    return status, capfd.readouterr().out.splitlines()


def profiles(path: Path) -> list[int]:
    with sqlite3.connect(path) as database:
        return [quiet for quiet, in database.execute('SELECT quiet FROM profile ORDER BY rowid')]


@pytest.mark.parametrize(('when', 'lines', 'labels'), [('auto', 9, 7), ('always', 9, 7), ('never', 5, 0)])
def test_diagnose_on_trouble(when: str, lines: int, labels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capfd: pytest.CaptureFixture[str]) -> None:
    status, out = run('why-one-client', tmp_path, monkeypatch, capfd, '--diagnose', when)
    assert (status, len(out)) == (2, lines)
    assert len(re.findall(r' flows_\w+=\d+', out[0])) == labels
    assert [line for line in out if line.startswith('next: ')] == ['next: sudo conntrack-doctor triage']


@pytest.mark.parametrize(('when', 'lines'), [('auto', 1), ('always', 5), ('never', 1)])
def test_diagnose_while_all_is_well(when: str, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capfd: pytest.CaptureFixture[str]) -> None:
    relaxed = ['-w', 'off', '-c', 'off', '--trend', 'off']
    status, out = run('why-one-client', tmp_path, monkeypatch, capfd, '--diagnose', when, *relaxed)
    assert (status, len(out)) == (0, lines), out


def test_profiles_of_trouble_are_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    first = run('why-one-client', tmp_path, monkeypatch, capfd)
    second = run('why-one-client', tmp_path, monkeypatch, capfd)
    assert first == second
    assert profiles(tmp_path / 'history.sqlite') == [1] * 10 + [0, 0]


@pytest.mark.slow
def test_a_diagnosis_that_fails_leaves_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capfd: pytest.CaptureFixture[str]) -> None:
    """It hangs: the alert comes in time all the same, and says what it lacks."""
    run('why-one-client', tmp_path, monkeypatch, capfd)
    monkeypatch.setattr(sample.proc_conntrack, 'parse_line', lambda _line: time.sleep(3600))
    with within(3):
        status, out = run('why-one-client', tmp_path, monkeypatch, capfd, '-t', '3')
    assert status == 2
    assert out[0].startswith('CONNTRACK CRITICAL - 97.0% used (970 of 1000), full in under 1 min')
    assert any(line.startswith('cause not determined: proc/net/nf_conntrack: no answer within') for line in out)


def test_a_damaged_flow_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                              capfd: pytest.CaptureFixture[str]) -> None:
    host = tmp_path / 'host'
    shutil.copytree(scenarios.HOSTS / 'why-one-client', host, symlinks=True)
    (host / 'proc/net/nf_conntrack').write_bytes(b'\xff\x00 nonsense | \x1b[2J\n')
    monkeypatch.setattr(scenarios, 'HOSTS', tmp_path)
    status, out = run('host', tmp_path, monkeypatch, capfd)
    assert status == 2
    assert [line for line in out if line.startswith('cause not determined: ')]


def test_no_baseline_says_so(tmp_path: Path) -> None:
    scenario = scenarios.load('usage-87')
    scenarios.record(scenario, tmp_path / 'h.sqlite')
    from check_conntrack_lib.model import Sample
    sample = Sample(scenario.clock(), 'x', 1, 1, 1)
    assert profiles_module.read_baseline(str(tmp_path / 'h.sqlite'), sample, 1) == Missing(
        'no baseline recorded yet (recorded every 10 min while OK)')


# --- on the real kernel

@pytest.fixture
def lab() -> Iterator[laboratory.Namespace]:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    with laboratory.namespace() as namespace, laboratory.maximum(20000):
        yield namespace


def check(lab: laboratory.Namespace, history: Path, *argv: str) -> list[str]:
    done = lab.run([PYTHON, str(SCRIPT), '--history', str(history), '--kernel-log', 'off', *argv])
    assert done.stderr == ''
    return done.stdout.splitlines()


@pytest.mark.kernel
def test_a_growing_service_is_named(lab: laboratory.Namespace, tmp_path: Path) -> None:
    history = tmp_path / 'h.sqlite'
    udp = Flow('udp', dst='10.0.0.53', dport=53, assured=False, seen_reply=False, timeout=3000)
    lab.fill(laboratory.mixed_flows(6000, {
        Flow('tcp', src='10.1.0.0/20', dst='10.0.0.80', dport=443): 0.9, udp._replace(src='10.1.0.0/20'): 0.1}))
    assert check(lab, history)[0].startswith('CONNTRACK OK - 30.0% used (6000 of 20000), first run')
    time.sleep(1.1)
    lab.fill(laboratory.mixed_flows(13500, {udp._replace(src='10.2.3.4'): 1.0}))
    out = check(lab, history)
    assert out[0].startswith('CONNTRACK CRITICAL - 97.5% used')
    match = re.fullmatch(r'cause: udp to 10\.0\.0\.53:53 grew from (?:[89]|1[012])% to 72% of the table '
                         r'\(\+(\d+) entries\) since \d\d:\d\d UTC, '
                         r'mostly from 10\.2\.3\.4', out[1])
    assert match, out
    assert abs(int(match[1]) - 13500) < 300
    assert 'udp to 10.0.0.53:53 from 10.2.3.4' in out[0]
    assert out[2] == 'next: sudo conntrack-doctor triage'
    assert len(out) <= 13


@pytest.mark.kernel
def test_the_next_command_works(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """It is run in the namespace that the alert is about, and names what the alert names."""
    lab.fill(laboratory.mixed_flows(19500, {Flow('tcp', src='fd00::/112', dst='fd00:1::25', dport=25,
                                                 state='SYN_SENT', assured=False, seen_reply=False): 1.0}))
    line = next(line for line in check(lab, tmp_path / 'h.sqlite') if line.startswith('next: '))
    assert line == 'next: sudo conntrack-doctor triage'
    shown = lab.run([PYTHON, '-m', 'check_conntrack_lib', *line.split()[3:], '--history', str(tmp_path / 'h.sqlite')],
                    cwd=str(SCRIPT.parent)).stdout
    assert '-p tcp -d fd00:1::25 --dport 25' in shown or 'fd00:1::25' in shown, shown


@pytest.mark.kernel
def test_local_processes_are_named_where_psutil_is(lab: laboratory.Namespace, tmp_path: Path) -> None:
    probe = subprocess.run([PYTHON, '-c', 'import psutil'], capture_output=True, check=False)
    holder = lab.run(['sh', '-c', f'{PYTHON} -c "{HOLDER}" >/dev/null 2>&1 & echo $!'])
    try:
        time.sleep(1)
        lab.fill(laboratory.mixed_flows(19000, {Flow('udp', src='127.0.0.1', dst='127.0.0.1', dport=9,
                                                     assured=False): 1.0}))
        out = check(lab, tmp_path / 'h.sqlite')
        line = next(line for line in out if 'opened by this host' in line)
        if probe.returncode:
            assert line.endswith('processes unknown: python3-psutil not installed')
        else:
            assert re.search(rf'100% opened by this host: .*python3.* \(pid {int(holder.stdout)}\) \d+ sockets', line)
    finally:
        subprocess.run(['kill', holder.stdout.strip()], check=True)


HOLDER = ("import socket,time; s=[socket.socket(2,2) for _ in range(40)]; "
          "[x.connect(('127.0.0.1',9)) for x in s]; time.sleep(60)")
