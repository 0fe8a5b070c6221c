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
from laboratory import Flow

from check_conntrack_lib import diagnosis
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


@pytest.mark.parametrize(('when', 'lines', 'labels'), [('auto', 10, 7), ('always', 10, 7), ('never', 6, 0)])
def test_diagnose_on_trouble(when: str, lines: int, labels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capfd: pytest.CaptureFixture[str]) -> None:
    status, out = run('why-one-client', tmp_path, monkeypatch, capfd, '--diagnose', when)
    assert (status, len(out)) == (2, lines)
    assert len(re.findall(r' flows_\w+=\d+;;;0', out[0])) == labels
    assert out[-1].startswith('look further: ')


@pytest.mark.parametrize(('when', 'lines'), [('auto', 1), ('always', 6), ('never', 1)])
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


def test_a_diagnosis_that_fails_leaves_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capfd: pytest.CaptureFixture[str]) -> None:
    """It hangs: the alert comes in time all the same, and says what it lacks."""
    run('why-one-client', tmp_path, monkeypatch, capfd)
    monkeypatch.setattr(diagnosis.proc_conntrack, 'parse_line', lambda _line: time.sleep(3600))
    began = time.monotonic()
    status, out = run('why-one-client', tmp_path, monkeypatch, capfd, '-t', '3')
    assert time.monotonic() - began < 3
    assert status == 2
    assert out[0].startswith('CONNTRACK CRITICAL - 97.0% used (970 of 1000) and rising')
    assert any(line.startswith('not diagnosed: proc/net/nf_conntrack: no answer within') for line in out)


def test_a_damaged_flow_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                              capfd: pytest.CaptureFixture[str]) -> None:
    host = tmp_path / 'host'
    shutil.copytree(scenarios.HOSTS / 'why-one-client', host, symlinks=True)
    (host / 'proc/net/nf_conntrack').write_bytes(b'\xff\x00 nonsense | \x1b[2J\n')
    monkeypatch.setattr(scenarios, 'HOSTS', tmp_path)
    status, out = run('host', tmp_path, monkeypatch, capfd)
    assert status == 2
    assert [line for line in out if line.startswith('not diagnosed: ')]


def test_no_baseline_says_so(tmp_path: Path) -> None:
    scenario = scenarios.load('usage-87')
    scenarios.record(scenario, tmp_path / 'h.sqlite')
    from check_conntrack_lib.model import Sample
    sample = Sample(scenario.clock(), 'x', 1, 1, 1)
    assert profiles_module.read_baseline(str(tmp_path / 'h.sqlite'), sample, 1) == Missing(
        'no profile of quieter times is recorded yet')


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
    assert out[0].startswith('CONNTRACK CRITICAL - 97.5% used (19500 of 20000)')
    match = re.fullmatch(r'udp to 10\.0\.0\.53:53: (?:[89]|1[012])% -> 72% of the table '
                         r'\(\+(\d+) entries\) since \d\d:\d\d, '
                         r'most from 10\.2\.3\.4', out[1])
    assert match, out
    assert abs(int(match[1]) - 13500) < 300
    assert out[-1] == 'look further: sudo conntrack -L -p udp -d 10.0.0.53 --dport 53'
    assert len(out) <= 13


@pytest.mark.kernel
def test_the_command_to_look_further_works(lab: laboratory.Namespace, tmp_path: Path) -> None:
    lab.fill(laboratory.mixed_flows(19500, {Flow('tcp', src='fd00::/112', dst='fd00:1::25', dport=25,
                                                 state='SYN_SENT', assured=False, seen_reply=False): 1.0}))
    command = check(lab, tmp_path / 'h.sqlite')[-1].removeprefix('look further: sudo ')
    assert command == 'conntrack -L -f ipv6 -p tcp -d fd00:1::25 --dport 25'
    shown = lab.run(command.split()).stdout.splitlines()
    assert len(shown) == 19500
    assert all('dst=fd00:1::25' in line and 'dport=25' in line for line in shown)


@pytest.mark.kernel
def test_local_processes_are_named_where_psutil_is(lab: laboratory.Namespace, tmp_path: Path) -> None:
    probe = subprocess.run([PYTHON, '-c', 'import psutil'], capture_output=True, check=False)
    holder = lab.run(['sh', '-c', f'{PYTHON} -c "{HOLDER}" >/dev/null 2>&1 & echo $!'])
    try:
        time.sleep(1)
        lab.fill(laboratory.mixed_flows(19000, {Flow('udp', src='127.0.0.1', dst='127.0.0.1', dport=9,
                                                     assured=False): 1.0}))
        out = check(lab, tmp_path / 'h.sqlite')
        line = next(line for line in out if 'starts at this host' in line)
        if probe.returncode:
            assert line.endswith('its processes are unknown: python3-psutil not installed')
        else:
            assert re.search(rf'100% starts at this host: .*python3.* \(pid {int(holder.stdout)}\) \d+ sockets', line)
    finally:
        subprocess.run(['kill', holder.stdout.strip()], check=True)


HOLDER = ("import socket,time; s=[socket.socket(2,2) for _ in range(40)]; "
          "[x.connect(('127.0.0.1',9)) for x in s]; time.sleep(60)")
