"""A short run of the fuzzer for each of its targets; benchmarks/README.md has the long ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import TARGETS

ROOT = Path(__file__).parent.parent


def fuzz(*argv: str) -> list[str]:
    """The lines of a run in a process of its own, whose memory is limited."""
    done = subprocess.run([sys.executable, str(ROOT / 'benchmarks/fuzz.py'), *argv],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ('', 0), done.stdout
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize('slow', [False, True])
def test_nothing_but_what_is_documented_comes_out(slow: bool) -> None:
    """A few inputs of each target."""
    names = [name for name, target in TARGETS.items() if target.slow == slow and target.parts == 1]
    lines = fuzz('--inputs', '30' if slow else '500', *(word for name in names for word in ('--target', name)))
    assert [line.split(' ')[0] for line in lines] == names
    assert all(' 0 faults' in line for line in lines), lines


@pytest.mark.slow
@pytest.mark.parametrize('name', TARGETS)
def test_many_inputs(name: str) -> None:
    inputs = 150 if TARGETS[name].slow else 4000
    line, = fuzz('--target', name, '--inputs', str(max(1, inputs // TARGETS[name].parts)))
    assert ' 0 faults' in line


@pytest.mark.slow
def test_a_fault_is_found_and_said() -> None:
    """The fuzzer itself: the same seed gives the same inputs, and a fault is reported with one of them."""
    code = ('from benchmarks import fuzz; from benchmarks.fuzz_parsers import Target, STAT, of; import sys; '
            'bad = Target(of(STAT), lambda text: 1 / ("9" in text)); '
            'sys.exit(fuzz.fuzz("bad", bad, 200, 1))')
    seen = {subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60,
                           check=False).stdout.partition('ZeroDivisionError')[2] for _ in range(2)}
    assert len(seen) == 1
    assert " at <string>:1: division by zero\n      '" in seen.pop()
