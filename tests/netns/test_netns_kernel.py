"""Every namespace of a real kernel: named and unnamed ones, as root and as nobody, and one that vanishes."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import isolation
import laboratory
import pytest
from checked import PYTHON, SCRIPT, SIZE, Checked

from check_conntrack_lib.deadline import Deadline, OutOfTime
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.netns import discover, enter, read_other
from check_conntrack_lib.netns.discover import Namespace

pytestmark = pytest.mark.kernel

HOLD = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(int(sys.argv[1])):
    if not os.fork():
        libc.prctl(1, 9)  # PR_SET_PDEATHSIG: not to outlive the test
        if libc.unshare(0x40000000):
            os._exit(1)
        os.write(1, b'x')
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _laboratory() -> None:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    if subprocess.run([PYTHON, '-c', 'import nagiosplugin'], capture_output=True, check=False).returncode:
        pytest.skip('python3-nagiosplugin is not installed')


@contextmanager
def unnamed(number: int) -> Iterator[list[int]]:
    """The processes that hold so many namespaces without a name."""
    holder = subprocess.Popen([sys.executable, '-c', HOLD, str(number)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.read(number) == b'x' * number
        children = Path(f'/proc/{holder.pid}/task/{holder.pid}/children').read_text().split()
        yield [int(pid) for pid in children]
    finally:
        holder.kill()
        holder.wait()


def check(history: Path | str, *argv: str, user: str | None = None) -> Checked:
    command = [PYTHON, str(SCRIPT), '--history', str(history), '--kernel-log', 'off', '--diagnose', 'never', *argv]
    if user:
        command = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', *command]
    return Checked(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False))


def inode() -> str:
    return os.readlink('/proc/thread-self/ns/net')


def test_the_worst_of_many_leads_by_name(tmp_path: Path) -> None:
    """200 named ones without a single connection, and two with different fills."""
    with laboratory.named(200), laboratory.namespace() as one, laboratory.namespace() as two, laboratory.maximum(SIZE):
        check(tmp_path / 'h.sqlite', '--netns', 'all')
        time.sleep(1.1)
        one.fill_to(1750)
        two.fill_to(1950)
        # else the warning threshold would wait for a burst to end
        seen = check(tmp_path / 'h.sqlite', '--netns', 'all', '--clear', '0')
        by_name = check('off', '--netns', f'{one.name},current')
        refused = (one.fill_to(SIZE), one.flood(40).refused)[1]
        full = check(tmp_path / 'h.sqlite', '--netns', 'all')
    assert seen.status == 2
    assert re.match(rf'CONNTRACK CRITICAL - {two.name}: 97.5% used.*, 2 of \d+ namespaces above 85%',
                    seen.text)
    assert seen.values['usage'] == 97.5
    assert seen.values['namespaces'] >= 203
    assert seen.values['namespaces_over_warning'] == 2
    assert seen.values['entries_all_namespaces'] >= 3700
    assert f'worst namespaces: {two.name} 97.5% (1950 entries), {one.name} 87.5% (1750 entries)' in seen.long
    assert by_name.status == 1
    assert by_name.text.startswith(f'CONNTRACK WARNING - {one.name}: 87.5% used')
    assert by_name.values['namespaces'] == 2
    assert refused == 40
    assert re.match(rf'CONNTRACK CRITICAL - {one.name}: table full, 40 packets dropped since ',
                    full.text)


def test_the_exporter_gives_each_the_log_lines_that_name_it() -> None:
    command = [sys.executable, '-m', 'check_conntrack_lib', 'export', '--netns', 'all', '--kernel-log',
               isolation.true_path('kmsg')]
    names_namespaces = tuple(int(number) for number in re.findall(r'\d+', os.uname().release)[:2]) >= (6, 17)
    with laboratory.namespace() as full, laboratory.namespace() as quiet, laboratory.maximum(SIZE):
        full.fill_to(SIZE)
        # what others fill takes from the few lines that the kernel logs in 5 s
        end = time.monotonic() + 60
        lines: dict[str, float] = {}
        while not lines.get(full.name if names_namespaces else '') and time.monotonic() < end:
            full.flood(40)
            page = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
            lines = {name: float(number) for name, number in re.findall(
                r'^conntrack_log_table_full_lines(?:{[^}]*name="(ctlab-[^"]*)"[^}]*}|_other) (\S+)$', page, re.M)}
    assert lines[full.name if names_namespaces else ''] > 0
    assert lines[quiet.name] == 0
    assert names_namespaces or lines[full.name] == 0
    assert len(re.findall(r'^conntrack_log_covered_seconds ', page, re.MULTILINE)) == 1


def test_the_history_knows_them_by_name(tmp_path: Path) -> None:
    def history(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, '-m', 'check_conntrack_lib', 'history', '--history',
                               str(tmp_path / 'h.sqlite'), '--kernel-log', 'off', *argv],
                              cwd=SCRIPT.parent, capture_output=True, text=True, timeout=60, check=False)
    with isolation.true_network(), laboratory.namespace() as one, laboratory.maximum(SIZE):
        one.fill_to(1500)
        for _ in range(2):
            check(tmp_path / 'h.sqlite', '--netns', f'{one.name},current')
        shown, other = history(), history('--netns', 'host')
        unknown = history('--netns', 'nowhere')
        number = one.inode
    assert f'showing {one.name} ({number}); also in this file: host (' in ' '.join(shown.stdout.split())
    assert f'also in this file: {one.name} ({number}): peak 75.0%, 0 dropped' in ' '.join(other.stdout.split())
    assert unknown.returncode
    assert f"namespace 'nowhere' is not in the history; recorded: {one.name} ({number}), host (" in unknown.stderr
    with isolation.true_network():
        gone = history('--netns', one.name)
    # its name goes on in the history
    assert gone.returncode == 0


def test_unnamed_ones_as_root_and_as_nobody() -> None:
    with unnamed(20) as pids:
        found = {one.inode for one in discover.find(Host()).namespaces}
        assert {os.stat(f'/proc/{pid}/ns/net').st_ino for pid in pids} <= found
        as_root, as_nobody = check('off', '--netns', 'all', '-v'), check('off', '--netns', 'all', '-v', user='nobody')
    assert as_root.values['namespaces'] >= 21
    assert 'needs root' not in as_root.text
    if Path('/proc/net/stat/nf_conntrack').exists():
        assert as_nobody.values['namespaces'] >= 21
    else:
        assert as_nobody.values['namespaces'] == 1
        assert 'not told apart: needs root' in as_nobody.text


def test_nobody_sees_a_full_table_of_a_process(tmp_path: Path) -> None:
    if not Path('/proc/net/stat/nf_conntrack').exists():
        pytest.skip('this kernel has no stat file')
    with laboratory.namespace() as lab, laboratory.maximum(SIZE):
        lab.fill_to(1950)
        sleeper = subprocess.Popen(['ip', 'netns', 'exec', lab.name, 'sleep', '60'])
        try:
            deadline = time.monotonic() + 10
            while Path(f'/proc/{sleeper.pid}/comm').read_text() != 'sleep\n' and time.monotonic() < deadline:
                time.sleep(0.01)
            seen = check('off', '--netns', 'all', user='nobody')
        finally:
            sleeper.kill()
            sleeper.wait()
    assert seen.status == 2
    title = rf'sleep \(pid {sleeper.pid}\)'
    assert re.match(rf'CONNTRACK CRITICAL - {title}: 97.5% used \(1950 of 2000\), 1 of \d+ namespaces? above 85%, '
                    r'not checked: .*namespaces', seen.text)


def test_one_that_vanishes_is_no_error() -> None:
    with ExitStack() as stack, unnamed(1) as (pid,):
        gone = stack.enter_context(laboratory.namespace())
        found = {one.inode: one for one in discover.find(Host()).namespaces}
        held = found[os.stat(f'/proc/{pid}/ns/net').st_ino]
        named_one = found[gone.inode]
        stack.close()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while Path(f'/proc/{pid}/net/stat').exists() and time.monotonic() < end:
            time.sleep(0.01)
        for one in (held, named_one):
            for stat_file in (True, False):
                assert read_other.read(Host(), one, stat_file, enter=True) == read_other.VANISHED
    assert check('off', '--netns', gone.name).text == \
        f'CONNTRACK UNKNOWN - network namespace {gone.name} not found'


def test_the_same_answer_by_all_ways() -> None:
    with laboratory.namespace() as lab:
        lab.fill_to(123)
        one = Namespace(lab.inode, name=lab.name, path=lab.path)
        stat_file = Path('/proc/net/stat/nf_conntrack').exists()
        looks = [read_other.read(Host(), one, way, enter=True) for way in {stat_file, False}]
    for look in looks:
        assert isinstance(look, read_other.OtherTable), look
        assert look.entries == 123
        assert not isinstance(look.counters, Missing)
        assert look.counters.total('drop') == 0


def test_several_are_entered_before_the_thread_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own answer; one that cannot be entered has not that of the one before."""
    monkeypatch.setattr(read_other, 'ENTERED_AT_ONCE', 3)
    home, entered, setns = inode(), [], enter._setns
    monkeypatch.setattr(enter, '_setns', lambda handle: [entered.append(os.fstat(handle).st_ino), setns(handle)])
    with ExitStack() as stack, unnamed(1) as (pid,):
        labs = [stack.enter_context(laboratory.namespace()) for _ in range(4)]
        for number, lab in enumerate(labs):
            lab.fill_to(10 + number)
        wanted = [Namespace(lab.inode, path=lab.path) for lab in labs]
        wanted[1:1] = [Namespace(1, path=labs[0].path), Namespace(2, path='/run/netns/none'),
                       Namespace(3, path='/etc/passwd')]
        wanted.append(Namespace(os.stat(f'/proc/{pid}/ns/net').st_ino, pids=(pid,)))
        answers = list(read_other.read_all(Host(), wanted, stat_file=True, enter=True))
    assert [one for one, _answer in answers] == wanted
    vanished = read_other.VANISHED
    assert [answer if isinstance(answer, Missing) else answer.entries for _one, answer in answers] == [
        10, vanished, vanished, vanished, 11, 12, 13, 0]
    assert inode() == home
    own = int(home[5:-1])
    assert entered == [labs[0].inode, own, *(lab.inode for lab in labs[1:3]), own, labs[3].inode, own]


def test_an_alarm_inside_raises_at_home() -> None:
    """The whole point of holding signals back: whatever happens, this thread comes home."""
    # a fork has this thread alone: one of pytest-xdist's would take the alarms that are held back here
    pid = os.fork()
    if not pid:
        status = 1
        try:
            _ring_in_a_namespace()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def _ring_in_a_namespace() -> None:
    home = inode()
    with laboratory.namespace() as lab, closing(_Alarms()) as alarms:
        for _ in range(300):
            try:
                alarms.next()
                with enter.in_netns(Host(), lab.path):
                    assert inode() == f'net:[{lab.inode}]'
                    sum(range(2000))
                    assert inode() == f'net:[{lab.inode}]'
                alarms.none()
            except OutOfTime:
                alarms.rang += 1
                alarms.none()
            assert inode() == home
        rang = alarms.rang
        with pytest.raises(ZeroDivisionError), enter.in_netns(Host(), lab.path):
            1 / 0  # noqa: B018
        assert inode() == home
    assert rang > 30
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    with pytest.raises(OSError, match='No such file'), enter.in_netns(Host(), lab.path):
        pass
    assert inode() == home


class _Alarms:
    """An alarm at another moment each time."""

    def __init__(self) -> None:
        self.deadline = Deadline(3600)
        self.deadline.start()
        self.turn = self.rang = 0
        # an alarm in a callback of the collector, as hypothesis has one, is lost
        gc.disable()

    def next(self) -> None:
        self.turn += 1
        signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + self.turn * 7 % 400))

    def none(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def close(self) -> None:
        self.deadline.stop()
        gc.enable()


def test_entering_without_os_setns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python before 3.12."""
    monkeypatch.delattr(os, 'setns', raising=False)
    with laboratory.namespace() as lab:
        with enter.in_netns(Host(), lab.path):
            assert inode() == f'net:[{lab.inode}]'
        with pytest.raises(OSError, match='Invalid argument'), enter.in_netns(Host(), '/etc/passwd'):
            pass
