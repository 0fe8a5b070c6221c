"""The check on a real table: filled by ctnetlink, flooded until the kernel refuses packets and logs it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import laboratory
import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import KernelLog
from check_conntrack_lib.readers import kernel_log

pytestmark = pytest.mark.kernel

SCRIPT = Path(__file__).parents[2] / 'check_conntrack.py'
PYTHON = '/usr/bin/python3'
SIZE = 2000


@pytest.fixture
def lab() -> Iterator[laboratory.Namespace]:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    probe = subprocess.run([PYTHON, '-c', 'import nagiosplugin'], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip('python3-nagiosplugin is not installed')
    with laboratory.namespace() as namespace, laboratory.maximum(SIZE):
        yield namespace


class Checked:
    """The check's answer, taken apart as a monitoring system does."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.stderr == ''
        assert 'Traceback' not in done.stdout
        self.status = done.returncode
        self.text, _, perfdata = done.stdout.partition('\n')[0].partition(' | ')
        self.long = done.stdout.partition('\n')[2]
        self.values = {label: float(value) for label, value in re.findall(r'(\w+)=([-0-9.]+)', perfdata)}


def check(lab: laboratory.Namespace, history: Path, *argv: str, user: str | None = None) -> Checked:
    return Checked(lab.run([PYTHON, str(SCRIPT), '--history', str(history), *argv], user=user))


def test_ok_warning_critical_by_usage(lab: laboratory.Namespace, tmp_path: Path) -> None:
    history = tmp_path / 'h.sqlite'
    for entries, status, state in ((0, 0, 'OK'), (1700, 0, 'OK'), (1701, 1, 'WARNING'), (1901, 2, 'CRITICAL')):
        lab.fill_to(entries)
        seen = check(lab, history, '--kernel-log', 'off')
        assert (seen.status, seen.values['entries']) == (status, entries)
        assert seen.text.startswith(f'CONNTRACK {state} - {entries / 20:.1f}% used ({entries} of {SIZE})')
        assert seen.values['usage'] == pytest.approx(entries / 20, abs=0.005)


def test_the_kernels_own_number_of_losses_also_after_the_table_was_drained(
        lab: laboratory.Namespace, tmp_path: Path) -> None:
    """One burst: every re-check within the window still sees it, and the number is the kernel's."""
    history = tmp_path / 'h.sqlite'
    assert check(lab, history).values['entries'] == 0
    lab.fill_to(SIZE)
    before = lab.cpu_stats()['drop']
    refused = lab.flood(150).refused
    assert lab.cpu_stats()['drop'] - before == refused == 150
    time.sleep(1.1)
    full = check(lab, history)
    assert full.status == 2
    assert re.match(r'CONNTRACK CRITICAL - table full: 150 packets lost in the last \d+ s, 100.0% used', full.text)
    assert full.values['dropped_per_s'] == full.values['drop_per_s'] > 0
    lab.drain()
    for _ in range(3):
        drained = check(lab, history)
        assert drained.status == 2
        assert re.match(r'CONNTRACK CRITICAL - table full: 150 packets lost in the last \d+ s, 0.0% used', drained.text)


def test_the_log_names_this_namespace(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """What the kernel logs of this namespace is judged here, and mentioned only elsewhere."""
    began = time.monotonic() - 0.1
    lab.fill_to(SIZE)
    lab.flood(30)
    if not _logged(lab.inode, began):
        # all network code shares 10 lines in 5 s
        time.sleep(5.5)
        lab.flood(30)
    lab.drain()
    if not _logged(lab.inode, began):
        pytest.skip('this kernel does not name namespaces in its log')
    here = check(lab, tmp_path / 'h.sqlite')
    assert here.status == 2
    # lines of a dead namespace that had the same inode count, too: the kernel tells them not apart
    assert here.values['table_full_lines'] > 0
    assert here.text.startswith('CONNTRACK CRITICAL - table full: logged ')
    with ExitStack() as namespaces:
        # the kernel gives inodes of dead namespaces away again, with what was logged of them
        others = (namespaces.enter_context(laboratory.namespace()) for _ in range(50))
        other = next(namespace for namespace in others if not _logged(namespace.inode))
        there = check(other, tmp_path / 'h.sqlite', '-v')
    assert there.status == 0
    assert there.values['table_full_lines'] == 0
    assert re.search(rf'lines? of .*(network namespace {lab.inode}|and \d+ more).*: not judged here', there.long)


def _logged(inode: int, since: float = 0.0) -> bool:
    """Has the kernel logged a full table of this namespace since then (CLOCK_MONOTONIC)?"""
    log = kernel_log.read(Host(), 'kmsg', 300)
    assert isinstance(log, KernelLog)
    return any(line.netns == inode and line.stamp >= since for line in log.table_full)


def test_evicted_entries_are_counted_as_the_kernel_does(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """Unassured entries give way to some of the new ones; of 2000 in 262144 buckets, to one in eight or so."""
    history = tmp_path / 'h.sqlite'
    flow = laboratory.Flow(proto='udp', assured=False, seen_reply=False, timeout=600)
    lab.fill(laboratory.mixed_flows(SIZE, {flow._replace(src='10.0.0.0/16'): 1.0}))
    check(lab, history, '--kernel-log', 'off', '-w', 'off', '-c', 'off', '--trend', 'off')
    time.sleep(1.1)
    before = lab.cpu_stats()
    lab.flood(200)
    moved = {name: value - before[name] for name, value in lab.cpu_stats().items()}
    seen = check(lab, history, '--kernel-log', 'off', '-w', 'off', '-c', 'off', '--trend', 'off')
    assert moved['early_drop'] > 0
    assert seen.status == 2
    assert f', {moved["early_drop"]} entr' in seen.text
    assert f'table full: {moved["drop"]} packets lost' in seen.text


def test_as_nobody_in_the_namespace(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """Usage and the counters need no privilege where the kernel has the stat file."""
    lab.fill_to(1950)
    seen = check(lab, Path('off'), user='nobody')
    assert seen.status == 2
    assert seen.text == f'CONNTRACK CRITICAL - 97.5% used (1950 of {SIZE}), not checked: kernel log (needs root)'


def test_nobody_with_a_place_of_its_own(lab: laboratory.Namespace) -> None:
    directory = Path(subprocess.run(['mktemp', '-d'], capture_output=True, text=True, check=True).stdout.strip())
    try:
        os.chown(directory, 65534, 65534)
        check(lab, directory / 'h.sqlite', user='nobody')
        lab.fill_to(SIZE)
        lab.flood(70)
        time.sleep(1.1)
        seen = check(lab, directory / 'h.sqlite', user='nobody')
        assert seen.status == 2
        assert 'table full: 70 packets lost in the last ' in seen.text
    finally:
        subprocess.run(['rm', '-rf', str(directory)], check=True)


def test_trend_before_anything_is_lost(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """A table that fills: WARNING below the warning line, with the time to full that the fill rate gives."""
    history = tmp_path / 'h.sqlite'
    argv = ('--window', '4s', '--horizon', '15s', '--kernel-log', 'off')
    began = time.monotonic()
    for entries in range(1080, 1500, 20):
        lab.fill_to(entries)
        seen = check(lab, history, *argv)
        time.sleep(max(0, began + (entries - 1060) / 20 * 0.6 - time.monotonic()))
    assert seen.status == 1, seen.text
    match = re.match(r'CONNTRACK WARNING - 74.0% used \(1480 of 2000\) and rising: full in (\d+) s at \+(\d+)/min',
                     seen.text)
    assert match, seen.text
    assert int(match[2]) == pytest.approx(2000, rel=0.15)
    assert int(match[1]) == pytest.approx(520 / 33.3, rel=0.2)
