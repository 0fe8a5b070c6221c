"""Faults while the check runs, most of them on the real kernel: there is always a verdict, in time, and it is right."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import laboratory
import proctree
import pytest
from checked import PYTHON, SCRIPT, SIZE, Checked
from deadlines import within

from check_conntrack_lib.formatting import FLOODED
from check_conntrack_lib.model import Instant
from check_conntrack_lib.plugin import cli
from check_conntrack_lib.readers import ctnetlink, journal, kernel_log

#: judges nothing: other tests' namespaces are on this machine, too
UNJUDGED = [word for option in ('-w', '-c', '--trend', '--dropped-warning', '--dropped-critical',
                                       '--early-drop-warning',
                                '--insert-failed-warning', '--table-full-critical') for word in (option, 'off')]
#: a name as a hostile process may give itself; 15 bytes
EVIL = b'a\n|\x1b[31m\xff=9\tz%;'
#: in the namespace that it is started in: bears that name and holds connections to itself
PROCESS = """
import ctypes, socket, sys, time
ctypes.CDLL(None).prctl(15, %r, 0, 0, 0)  # PR_SET_NAME
server = socket.create_server(('127.0.0.1', 7070), backlog=200)
kept = [(socket.create_connection(('127.0.0.1', 7070)), server.accept()) for _ in range(60)]
print('ready', flush=True)
time.sleep(60)
"""


@pytest.fixture
def lab() -> Iterator[laboratory.Namespace]:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    if subprocess.run([PYTHON, '-c', 'import nagiosplugin'], capture_output=True, check=False).returncode:
        pytest.skip('python3-nagiosplugin is not installed')
    with laboratory.namespace() as namespace:
        yield namespace


@contextlib.contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Does this again and again in another thread."""
    over, failed = threading.Event(), []

    def loop() -> None:
        try:
            while not over.is_set():
                work()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            failed.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
    assert not failed


def check(lab: laboratory.Namespace, *argv: object, user: str | None = None) -> Checked:
    return Checked(lab.run([PYTHON, str(SCRIPT), *map(str, argv)], user=user))


@contextlib.contextmanager
def evil(lab: laboratory.Namespace) -> Iterator[int]:
    """A process in the namespace with a hostile name; its number."""
    process = subprocess.Popen(['ip', 'netns', 'exec', lab.name, sys.executable, '-c', PROCESS % EVIL],
                               stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b'ready\n'
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.kernel
def test_the_table_is_full_while_the_check_runs(lab: laboratory.Namespace, tmp_path: Path) -> None:
    with laboratory.maximum(SIZE):
        check(lab, '--history', tmp_path / 'h.sqlite', '--kernel-log', 'off')
        lab.fill_to(SIZE)
        before = lab.cpu_stats()['drop']
        # a process that is just being started may hold the last one's sockets still
        ports = itertools.count(20000, 2)
        with meanwhile(lambda: lab.flood(50, next(ports))):
            time.sleep(1.1)
            seen = [check(lab, '--history', tmp_path / 'h.sqlite', '--kernel-log', 'off') for _ in range(4)]
        lost = lab.cpu_stats()['drop'] - before
    for one in seen:
        assert one.status == 2
        assert one.text.startswith('CONNTRACK CRITICAL - table full, ')
        assert 'cause not determined' not in one.long
        assert 0 < int(one.text.split()[5]) <= lost


@pytest.mark.kernel
def test_namespaces_come_and_go(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """The named ones by tens, and those of processes that end at once."""
    def storm() -> None:
        with laboratory.named(10):
            subprocess.run(['unshare', '--net', 'true'], check=True, timeout=20)

    with meanwhile(storm):
        for _ in range(6):
            seen = check(lab, '--netns', 'all', '--history', tmp_path / 'h.sqlite', '--kernel-log', 'off',
                         '--require', 'namespaces', '--diagnose', 'never', *UNJUDGED)
            assert seen.status == 0, seen.text + seen.long
            assert seen.values['namespaces'] >= 2


@pytest.mark.kernel
def test_entries_churn_during_a_sample(lab: laboratory.Namespace, tmp_path: Path) -> None:
    flows = [laboratory.Flow('udp', f'10.0.{n // 250}.{n % 250}', sport=1000 + n, timeout=60) for n in range(4000)]

    def churn() -> None:
        lab.drain()
        # what was not freed yet is refused as a double
        with contextlib.suppress(OSError):
            lab.fill(flows)

    lab.fill(flows)
    with meanwhile(churn):
        for _ in range(4):
            seen = check(lab, '--history', tmp_path / 'h.sqlite', '--diagnose', 'always', '--kernel-log', 'off',
                         *UNJUDGED)
            assert seen.status == 0, seen.text
            assert 'cause not determined: ctnetlink' not in seen.long


@pytest.mark.kernel
def test_a_hostile_process_in_a_full_namespace(lab: laboratory.Namespace) -> None:
    if not Path('/proc/net/stat/nf_conntrack').exists():
        pytest.skip('this kernel has no stat file')
    with evil(lab) as pid:
        # who cannot see the names of namespaces tells them by their processes
        with laboratory.maximum(SIZE):
            lab.fill_to(1990)
            done = subprocess.run(
                ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', PYTHON, str(SCRIPT), '--netns', 'all',
                 '--history', 'off', '--kernel-log', 'off'], capture_output=True, timeout=60, check=False)
        assert done.stderr == b''
        first, *rest = done.stdout.decode('utf-8').splitlines()
        assert 'a????31m' in first.replace('\ufffd', '?'), first
        assert f'(pid {pid})' in first
        assert first.count('|') == 1
        assert all(line.isprintable() and '|' not in line for line in rest)


@pytest.mark.kernel
def test_a_hostile_process_owns_the_flows(lab: laboratory.Namespace) -> None:
    if subprocess.run([PYTHON, '-c', 'import psutil'], capture_output=True, check=False).returncode:
        pytest.skip('python3-psutil is not installed')
    with evil(lab) as pid:
        done = lab.run([PYTHON, str(SCRIPT), '--history', 'off', '--diagnose', 'always', '--kernel-log', 'off'])
    first, *rest = done.stdout.splitlines()
    owners, = (line for line in rest if 'opened by this host' in line)
    assert f'(pid {pid})' in owners
    assert all(line.isprintable() and '|' not in line for line in rest)
    assert first.count('|') == 1


@pytest.mark.kernel
@pytest.mark.parametrize('slow', ['ctnetlink', 'journalctl', 'both'])
def test_slow_sources_cost_no_verdict(lab: laboratory.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capfd: pytest.CaptureFixture[str], slow: str) -> None:
    lab.fill_to(100)
    program = tmp_path / 'journalctl'
    program.write_text('#!/bin/sh\nsleep 300\n' if slow != 'ctnetlink' else '#!/bin/sh\n')
    program.chmod(0o755)
    monkeypatch.setattr(journal, 'JOURNALCTL', (str(program),))
    if slow != 'journalctl':
        monkeypatch.setattr(ctnetlink, 'dump', lambda *_args: (b'' for _ in iter(lambda: time.sleep(300), 1)))
    with lab.in_netns(), within(3):
        status = cli.main(['--kernel-log', 'journal', '--history', 'off', '--diagnose', 'always', '-t', '3', *UNJUDGED])
    out = capfd.readouterr().out
    assert status == 0
    assert '(100 of ' in out
    assert 'not checked: kernel log' in out
    # where the kernel has it, /proc/net/nf_conntrack serves instead
    assert 'tcp to 198.18.0.1:443 is 100% of the table' in out or 'cause not determined: ' in out


#: a whole run whose journal is read of another program; then the most memory that it took, in MB
WITH_JOURNAL = """
import re, sys
from check_conntrack_lib.plugin import cli
from check_conntrack_lib.readers import journal
from check_conntrack_lib.deadline import Deadline
journal.JOURNALCTL, budget = (sys.argv[1],), Deadline.budget
Deadline.budget = lambda deadline, most=2.0: budget(deadline, most * int(sys.argv[2]))
status = cli.main(['--kernel-log', 'journal', '--history', 'off', '--diagnose', 'never', *sys.argv[3:]])
# ru_maxrss begins with what the process that started this one had
print(int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) // 1024, file=sys.stderr)
sys.exit(status)
"""
TABLE_FULL = '$(date +%s).000000 gw1 kernel: nf_conntrack: nf_conntrack: table full, dropping packet'


@pytest.mark.slow
@pytest.mark.parametrize(('body', 'patience', 'said'), [
    # a flood is left when enough was read: these take more than a reading's 2 seconds on a slow machine only
    (f'exec yes "{TABLE_FULL}"', 10, ' - kernel logged "table full" '),
    ('exec yes "1795000000.000000 gw1 kernel: eth0: link up"', 10, f'; {FLOODED}\n'),
    ('exec cat /dev/zero', 10, 'kernel log not checked: the journal has no kernel messages'),
    ('exec head -c 500M /dev/zero', 10, 'kernel log not checked: the journal has no kernel messages'),
    # these take their share of the time
    ('exec yes "what is wrong" >&2', 1, 'kernel log not checked: '),
    (f'echo "{TABLE_FULL}"; exec sleep 300', 1, 'kernel log not checked: '),
], ids=['full', 'noise', 'no line', 'one line', 'errors', 'silence'])
def test_a_journal_without_an_end(tmp_path: Path, body: str, patience: int, said: str) -> None:
    """A verdict in time, in little memory, and journalctl is not left behind."""
    proc, program = proctree.make(tmp_path / 'proc'), tmp_path / 'journalctl'
    program.write_text(f'#!/bin/sh\necho $$ > {tmp_path}/pid\n{body}\n')
    program.chmod(0o755)
    done = subprocess.run([sys.executable, '-c', WITH_JOURNAL, str(program), str(patience), '--procfs', str(proc), '-v',
                           '-t', '60'], cwd=proctree.ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert said in done.stdout
    assert done.returncode == (2 if 'logged' in said else 0)
    assert int(done.stderr) < 120
    assert not Path('/proc', (tmp_path / 'pid').read_text().strip()).exists()


def test_the_recorder_is_deleted_between_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The file, its directory, or another in its place: it is made anew, and the losses are counted from then on."""
    proc, history = proctree.make(tmp_path / 'proc'), tmp_path / 'state/h.sqlite'
    history.parent.mkdir(mode=0o700)
    argv = ['--procfs', str(proc), '--kernel-log', 'off', '--history', str(history)]
    clock = clocks(itertools.repeat(0))
    for delete in (history.unlink, lambda: (shutil.rmtree(history.parent), history.parent.mkdir(mode=0o700)),
                   lambda: history.write_bytes(b'')):
        assert cli.main(argv, clock) == 0
        assert 'first run: drops are counted from now on' in capfd.readouterr().out
        assert cli.main(argv, clock) == 0
        assert 'dropped_per_s=0;' in capfd.readouterr().out
        delete()
    shutil.rmtree(history.parent)
    assert cli.main(argv, clock) == 0
    assert re.search(r'not checked: history \(.*: No such file or directory\)', capfd.readouterr().out)


def clocks(offsets: Iterator[float]) -> Callable[[], Instant]:
    """A minute on at every look; the wall clock is off by so much."""
    minutes = itertools.count(1)
    return lambda: Instant(1.795e9 + 60 * (minute := next(minutes)) + next(offsets), 9e4 + 60 * minute,
                           9e4 + 60 * minute)


def test_the_clock_jumps_an_hour_back_and_forth(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ten packets are lost in the third minute: each later run says so as if the clock stood still."""
    argv = ['--procfs', str(tmp_path / 'proc'), '--kernel-log', 'off', '--diagnose', 'never']
    seen = {}
    for name, offsets in (('steady', (0,)), ('jumping', (0, 3600, -3600, 86400, -1.7e9))):
        clock = clocks(itertools.cycle(offsets))
        said = []
        for run in range(12):
            lost = 10 if run >= 2 else 0
            rows = [' '.join(f'{n:08x}' for n in (100, *(lost if column == 'drop' else 0 for column in columns)))
                    for columns in [proctree.HEADER.split()[1:]] * 2]
            proctree.make(tmp_path / 'proc', 100, 1000, '\n'.join([proctree.HEADER, *rows, '']))
            status = cli.main([*argv, '--history', str(tmp_path / f'{name}.sqlite')], clock)
            said.append((status, re.sub(r'(?:\d{4}-\d\d-\d\d )?\d\d:\d\d UTC', 'TIME', capfd.readouterr().out)))
        seen[name] = said
    assert seen['jumping'] == seen['steady']
    assert [status for status, _out in seen['steady']] == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_the_log_turns_over_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    """A device that is written faster than it is read never ends by itself; the newest lines count."""
    device = tmp_path / 'kmsg'
    os.mkfifo(device)
    true_read, true_open = os.read, os.open
    handles, turn = set(), itertools.count()
    line = b'4,%d,%d,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'

    def opened(path: str, *args: int, **kw: int) -> int:
        handle = true_open(path, *args, **kw)
        # a descriptor is opened again by its own name
        if path == str(device) or (path.startswith('/proc/self/fd/') and os.readlink(path) == str(device)):
            handles.add(handle)
        return handle

    def read(handle: int, size: int) -> bytes:
        if handle not in handles:
            return true_read(handle, size)
        number = next(turn)
        if number % 3 == 1:
            raise BrokenPipeError
        return line % (number, 9e10) if number % 1000 == 0 else b'6,%d,1,-;noise\n' % number

    monkeypatch.setattr(kernel_log, 'DEVICE', str(device))
    monkeypatch.setattr(kernel_log, 'is_kernel_log', lambda _status, _path: True)
    monkeypatch.setattr(os, 'open', opened)
    monkeypatch.setattr(os, 'read', read)
    proc = proctree.make(tmp_path / 'proc')
    with within(6):
        status = cli.main(['--procfs', str(proc), '--history', 'off', '--kernel-log', 'kmsg', '-t', '6'],
                          clocks(itertools.repeat(0)))
    out = capfd.readouterr().out
    # a slow machine may not reach the end of 262144 records in its share of the time, and says so
    assert out.startswith('CONNTRACK CRITICAL - kernel logged "table full" ') or ', not checked: kernel log' in out
    assert status in (0, 2)
