"""The plugin as a program: how it is called, by whom, and every way it can end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from glob import glob
from pathlib import Path

import laboratory
import pytest
from deadlines import within

from check_conntrack_lib.plugin import cli
from check_conntrack_lib.readers import kernel_log, sysctl_values

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'check_conntrack.py'
QUIET = ROOT / 'tests/hosts/quiet-gateway'
SYSTEM_PYTHON = '/usr/bin/python3'


def run(*argv: str, python: str = sys.executable, env: dict[str, str] | None = None,
        **kw: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, str(SCRIPT), *argv], capture_output=True, text=True, timeout=30,
                          env={**os.environ, **(env or {})}, **kw)  # type: ignore[call-overload,no-any-return]


def on_quiet_host(*argv: str) -> list[str]:
    return ['--procfs', str(QUIET / 'proc'), '--kernel-log', str(QUIET / 'kmsg.log'), '--history', 'off', *argv]


PERFDATA = 'usage=12.4%;85;95;0;100 entries=32512;222822;249036;0;262144 buckets=262144 table_full_lines=0;;0;0'


def test_by_hand() -> None:
    done = run(*on_quiet_host('-w', '85', '-c', '95'))
    assert (done.stdout, done.stderr, done.returncode) == (
        f'CONNTRACK OK - 12.4% used (32512 of 262144) | {PERFDATA}\n', '', 0)


def test_thresholds_by_hand() -> None:
    done = run(*on_quiet_host('-w', '10%', '-c', '12%'))
    assert done.returncode == 2
    assert done.stdout.startswith('CONNTRACK CRITICAL - 12.4% used (32512 of 262144) | usage=12.4%;10;12;0;100 ')


def test_through_a_link_in_the_plugin_directory(tmp_path: Path) -> None:
    (tmp_path / 'check_conntrack').symlink_to(SCRIPT)
    done = subprocess.run([sys.executable, str(tmp_path / 'check_conntrack'), *on_quiet_host()], capture_output=True,
                          text=True, cwd='/', check=False, env={**os.environ, 'PYTHONSAFEPATH': '1'})
    assert (done.returncode, done.stderr) == (0, '')


def test_it_is_executable() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text().startswith('#!/usr/bin/env python3\n')


def test_library_missing(tmp_path: Path) -> None:
    """-S hides site-packages, as on a host where nothing was installed."""
    done = subprocess.run([sys.executable, '-S', str(SCRIPT)], capture_output=True, text=True, check=False,
                          env={'PATH': os.environ['PATH']})
    # which Python: another one may stand before the distribution's in the PATH
    which = f'{sys.executable} ({sys.version_info[0]}.{sys.version_info[1]})'
    assert (done.stdout, done.stderr, done.returncode) == (
        f'CONNTRACK UNKNOWN - the Python library nagiosplugin is not installed for {which}: apt install '
        f'python3-nagiosplugin is for /usr/bin/python3; else {sys.executable} -m pip install nagiosplugin\n', '', 3)


def test_half_an_installation(tmp_path: Path) -> None:
    shutil.copy(SCRIPT, tmp_path)
    done = subprocess.run([sys.executable, '-S', str(tmp_path / SCRIPT.name)], capture_output=True, text=True,
                          check=False, cwd='/')
    assert (done.stdout, done.stderr, done.returncode) == (
        "CONNTRACK UNKNOWN - incomplete installation: No module named 'check_conntrack_lib'\n", '', 3)


@pytest.mark.slow
@pytest.mark.parametrize('version', ['2.7', '3.6', '3.7', '3.8'])
def test_an_old_python_is_told(version: str) -> None:
    """The file itself must still be read by that Python."""
    # not pathlib's glob: it raises where another user may not look
    pythons = [f'python{version}', *glob(f'/root/.pyenv/versions/{version}.*/bin/python')]
    works = [python for python in pythons if shutil.which(python)
             and subprocess.run([python, '-V'], capture_output=True, check=False).returncode == 0]
    if not works:
        pytest.skip(f'no Python {version} on this machine')
    done = run(python=works[0])
    assert (done.stdout, done.returncode) == (f'CONNTRACK UNKNOWN - needs Python 3.9 or later, this is {version}\n', 3)


def test_debians_own_python_and_nagiosplugin() -> None:
    probe = subprocess.run([SYSTEM_PYTHON, '-c', 'import nagiosplugin'], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip('python3-nagiosplugin is not installed')
    done = run(*on_quiet_host(), python=SYSTEM_PYTHON)
    assert (done.stdout, done.stderr, done.returncode) == (
        f'CONNTRACK OK - 12.4% used (32512 of 262144) | {PERFDATA}\n', '', 0)


@pytest.mark.parametrize('locale', ['C', 'POSIX', 'en_US.ISO-8859-1', 'nonsense'])
def test_any_locale(locale: str) -> None:
    done = run('--kernel-log', './f\u00fcr\udce9', '-v', env={'LC_ALL': locale, 'PYTHONIOENCODING': 'ascii'})
    assert 'Traceback' not in done.stdout + done.stderr
    assert done.returncode in (0, 3)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """The monitoring system's own timeout sends SIGTERM first."""
    code = ('import sys, time; from check_conntrack_lib.plugin import cli; '
            'cli.run = lambda *a: (print("ready", flush=True), time.sleep(30)); sys.exit(cli.main([]))')
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    assert process.stdout.readline() == 'ready\n'
    # a signal just before a call that blocks is seen after it: by then this one would be over
    while Path(f'/proc/{process.pid}/stat').read_text().rpartition(') ')[2][0] != 'S':
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = process.communicate(timeout=10)
    assert (out, process.returncode) == (f'CONNTRACK UNKNOWN - stopped by {number.name}\n', 3)


@pytest.mark.parametrize(('number', 'said'), [
    (signal.SIGTERM, 'stopped by SIGTERM'), (signal.SIGINT, 'timed out after 10 s (--timeout)')])
def test_stopped_at_the_moment_when_the_time_is_up(number: signal.Signals, said: str, capfd: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises for the one with the lower number, and for the other while the first is answered."""
    def both(*_args: object) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (number, signal.SIGALRM))
        for each in (number, signal.SIGALRM):
            # to this thread, in which alone they are held back
            signal.raise_signal(each)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    monkeypatch.setattr(cli, 'run', both)
    assert cli.main([]) == 3
    assert capfd.readouterr().out == f'CONNTRACK UNKNOWN - {said}\n'


@pytest.mark.parametrize('where', ['closed', 'full'])
def test_nowhere_to_print(where: str) -> None:
    target = '>&-' if where == 'closed' else '>/dev/full'
    done = subprocess.run(['sh', '-c', f'exec "$0" "$@" {target}', sys.executable, str(SCRIPT), *on_quiet_host()],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert 'Traceback' not in done.stderr


def test_an_internal_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_host: object) -> None:
        raise ZeroDivisionError('a | b\nc')

    monkeypatch.setattr(sysctl_values, 'read', broken)
    assert cli.main([]) == 3
    assert capfd.readouterr() == (
        'CONNTRACK UNKNOWN - internal error: ZeroDivisionError: a ? b?c '
        '(run with -vv for a traceback, please report it)\n', '')
    assert cli.main(['-vv']) == 3
    out = capfd.readouterr().out
    assert 'in broken' in out
    assert '|' not in out


@pytest.mark.slow
def test_a_reading_that_hangs_does_not_cost_the_verdict(monkeypatch: pytest.MonkeyPatch,
                                                        capfd: pytest.CaptureFixture[str]) -> None:
    """The kernel log answers after an hour; usage is judged all the same, within the time given."""
    monkeypatch.setattr(kernel_log, '_file_records', lambda _handle: time.sleep(3600))
    with within(3):
        status = cli.main([*on_quiet_host('-t', '3'), '-c', '12', '-w', '12'])
    assert status == 2
    assert capfd.readouterr().out.split('\n')[0] == (
        'CONNTRACK CRITICAL - 12.4% used (32512 of 262144), '
        'not checked: kernel log | '
        'usage=12.4%;12;12;0;100 entries=32512;31457;31457;0;262144 buckets=262144')


def test_everything_hangs(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, 'run', lambda *_args: time.sleep(3600))
    assert cli.main(['-t', '0.3']) == 3
    assert capfd.readouterr().out == 'CONNTRACK UNKNOWN - timed out after 0.3 s (--timeout)\n'


@pytest.mark.slow
def test_a_timeout_says_what_it_waited_for(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(kernel_log, 'summarize', lambda *_args: time.sleep(3600))
    assert cli.main(on_quiet_host('-t', '2')) == 3
    assert capfd.readouterr().out == (
        'CONNTRACK UNKNOWN - timed out after 2 s (--timeout) while reading kernel log\n')


def test_fifos_in_the_place_of_proc_files(tmp_path: Path) -> None:
    shutil.copytree(QUIET / 'proc', tmp_path / 'proc', symlinks=True)
    for name in ('net/stat/nf_conntrack', 'sys/net/netfilter/nf_conntrack_buckets'):
        (tmp_path / 'proc' / name).unlink()
        os.mkfifo(tmp_path / 'proc' / name)
    done = run('--procfs', str(tmp_path / 'proc'), '--kernel-log', 'off', '--history', 'off')
    assert done.returncode == 0
    assert done.stdout.startswith('CONNTRACK OK - 12.4% used (32512 of 262144), not checked: counters (...')
    assert '/proc/net/stat/nf_conntrack: ' in done.stdout


@pytest.mark.parametrize('number', ['99999999999999999999', '9223372036854775808', '-9223372036854775809'])
@pytest.mark.parametrize('file', ['count', 'max', 'buckets', 'link'])
def test_numbers_that_the_recorder_cannot_keep(tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str,
                                               number: str) -> None:
    shutil.copytree(QUIET / 'proc', tmp_path / 'proc', symlinks=True)
    if file == 'link':
        (tmp_path / 'proc/self/ns/net').unlink()
        (tmp_path / 'proc/self/ns/net').symlink_to(f'net:[{number}]')
    else:
        (tmp_path / f'proc/sys/net/netfilter/nf_conntrack_{file}').write_text(f'{number}\n')
    status = cli.main(['--procfs', str(tmp_path / 'proc'), '--kernel-log', 'off'])
    out = capfd.readouterr().out
    assert 'internal error' not in out
    assert status == (3 if file in ('count', 'max') else 0)


@pytest.mark.kernel
def test_as_nobody_without_anything() -> None:
    """Count and maximum are there for anyone; what is missing is said with its remedy."""
    if os.geteuid():
        pytest.skip('becoming nobody needs root')
    probe = subprocess.run([SYSTEM_PYTHON, '-c', 'import nagiosplugin'], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip('python3-nagiosplugin is not installed')
    done = subprocess.run(['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', SYSTEM_PYTHON, str(SCRIPT),
                           '-v'], capture_output=True, text=True, check=False, cwd='/',
                          env={'PATH': '/usr/bin:/bin'})
    assert done.stderr == ''
    first, *rest = done.stdout.splitlines()
    if 'not loaded' in first:
        pytest.skip(f'this kernel: {first}')
    assert done.returncode == 0
    assert 'not checked: ' in first
    assert 'kernel log' in first
    assert any(line.startswith('kernel log not checked: ') for line in rest)
    assert any(line.startswith('history not checked: this user has no home directory') for line in rest)


@pytest.mark.kernel
def test_what_helps_an_ordinary_user_is_sudo_and_not_another_command() -> None:
    if os.geteuid() or subprocess.run([SYSTEM_PYTHON, '-c', 'import nagiosplugin'], capture_output=True).returncode:
        pytest.skip('becoming nobody needs root, and python3-nagiosplugin')
    if why_not := laboratory.why_not():
        pytest.skip(why_not)
    with laboratory.namespace() as network:
        for asked, command in ((network.name, f'sudo check_conntrack --netns {network.name} (to run it so always: '
                                'docs/privileges.md)'),
                               ('nosuch', 'sudo check_conntrack --netns all -v')):
            done = subprocess.run(['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', SYSTEM_PYTHON,
                                   str(SCRIPT), '--netns', asked], capture_output=True, text=True, check=False, cwd='/',
                                  env={'PATH': '/usr/bin:/bin'})
            assert (done.returncode, done.stdout.splitlines()[1]) == (3, f'next: {command}')
