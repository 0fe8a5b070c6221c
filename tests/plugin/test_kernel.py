"""The check on a real table: filled by ctnetlink, flooded until the kernel refuses packets and logs it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import isolation
import laboratory
import pytest
from checked import PYTHON, SCRIPT, SIZE, Checked

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import KernelLog
from check_conntrack_lib.readers import kernel_log

pytestmark = pytest.mark.kernel

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


def check(lab: laboratory.Namespace, history: Path, *argv: str, user: str | None = None) -> Checked:
    return Checked(lab.run([PYTHON, str(SCRIPT), '--history', str(history), *argv], user=user))


def test_ok_warning_critical_by_usage(lab: laboratory.Namespace, tmp_path: Path) -> None:
    history = tmp_path / 'h.sqlite'
    for entries, status, state in ((0, 0, 'OK'), (1700, 0, 'OK'), (1701, 1, 'WARNING'), (1901, 2, 'CRITICAL')):
        lab.fill_to(entries)
        # else the warning threshold would wait for a burst to end
        seen = check(lab, history, '--kernel-log', 'off', '--clear', '0')
        assert (seen.status, seen.values['entries']) == (status, entries)
        assert seen.text.startswith(f'CONNTRACK {state} - {entries / 20:.1f}% used')
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
    assert re.match(r'CONNTRACK CRITICAL - table full, 150 packets dropped since \d\d:\d\d UTC \(', full.text)
    assert full.values['dropped_per_s'] == full.values['drop_per_s'] > 0
    lab.drain()
    for _ in range(3):
        drained = check(lab, history)
        assert drained.status == 2
        assert re.match(r'CONNTRACK CRITICAL - (table was full, )?150 packets dropped since [^,]*, .*0.0% used',
                        drained.text)


def test_the_log_names_this_namespace(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """What the kernel logs of this namespace is judged here, and mentioned only elsewhere."""
    began = time.monotonic() - 0.1
    lab.fill_to(SIZE)
    # all network code of the machine shares 10 lines in 5 s: beside a full container it takes many tries
    while not _logged(lab.inode, began):
        if _logged(None, began):
            pytest.skip('this kernel does not name namespaces in its log')
        assert time.monotonic() < began + 120, 'the kernel logged none of the refused packets'
        lab.flood(3000)
    lab.drain()
    log = ('--kernel-log', isolation.true_path('kmsg'))
    here = check(lab, tmp_path / 'h.sqlite', *log)
    assert here.status == 2
    # lines of a dead namespace that had the same inode count, too: the kernel tells them not apart
    assert here.values['table_full_lines'] > 0
    assert here.text.startswith('CONNTRACK CRITICAL - kernel logged "table full" ')
    with ExitStack() as namespaces:
        # the kernel gives inodes of dead namespaces away again, with what was logged of them
        others = (namespaces.enter_context(laboratory.namespace()) for _ in range(50))
        other = next(namespace for namespace in others if not _logged(namespace.inode))
        there = check(other, tmp_path / 'h.sqlite', '-v', *log)
    assert there.status == 0
    assert there.values['table_full_lines'] == 0
    assert re.search(rf'messages? (from network namespace {lab.inode}|of \d+ more network namespaces), ignored',
                     there.long)


def _logged(inode: int | None, since: float = 0.0) -> bool:
    """Has the kernel logged a full table of this namespace since then (CLOCK_MONOTONIC)? None: of one without name."""
    log = kernel_log.read(Host(), isolation.true_path('kmsg'), 300)
    assert isinstance(log, KernelLog)
    return any(line.netns == inode and line.stamp >= since for line in log.table_full)


def test_evicted_entries_are_counted_as_the_kernel_does(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """Some of the new entries evict one that is not assured; of 2000 in 262144 buckets, to one in eight or so."""
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
    assert f'early_drop: {moved["early_drop"]} entr' in seen.long
    assert re.search(rf'table (was )?full, {moved["drop"]} packets dropped', seen.text)


def test_as_nobody_in_the_namespace(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """Usage and the counters need no privilege where the kernel has the stat file."""
    lab.fill_to(1950)
    seen = check(lab, Path('off'), user='nobody')
    assert seen.status == 2
    usage = f'CONNTRACK CRITICAL - 97.5% used (1950 of {SIZE})'
    # a run of its own has another file there
    readable = Path('/proc/sys/kernel/dmesg_restrict').read_text() == '0\n' and not isolation.isolated()
    assert seen.text == usage if readable else seen.text.startswith(f'{usage}, not checked: kernel log (')


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
        assert '70 packets dropped since ' in seen.text
    finally:
        subprocess.run(['rm', '-rf', str(directory)], check=True)


def test_trend_before_anything_is_lost(lab: laboratory.Namespace, tmp_path: Path) -> None:
    """A table that fills: the time to full is what the fill rate gives."""
    history = tmp_path / 'h.sqlite'
    argv = ('--window', '4s', '--horizon', '2m', '--kernel-log', 'off', '-v')
    began, entries = time.monotonic(), 0
    while entries < 1480:
        # 2000 a minute, however long a run takes
        entries = 1080 + int((time.monotonic() - began) * 2000 / 60)
        lab.fill_to(min(entries, 1690))
        seen = check(lab, history, *argv)
        time.sleep(0.4)
    # an alert takes growth of 45 minutes
    assert seen.status == 0, seen.text
    entries = seen.values['entries']
    assert 'no alert yet' in seen.long
    match = re.search(r'growth: \+(\d+) entries/min.* full in (\d+) s', seen.long)
    assert match, seen.long
    assert int(match[1]) == pytest.approx(2000, rel=0.4)
    assert int(match[2]) == pytest.approx((2000 - entries) * 60 / int(match[1]), abs=1)
