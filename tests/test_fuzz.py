"""A short run of the fuzzer for each of its targets; benchmarks/README.md has the long ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import TARGETS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize('name', TARGETS)
def test_nothing_but_what_is_documented_comes_out(name: str) -> None:
    """In a process of its own, whose memory is limited."""
    inputs = '150' if TARGETS[name].slow else '4000'
    done = subprocess.run([sys.executable, str(ROOT / 'benchmarks/fuzz.py'), '--target', name, '--inputs', inputs],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ('', 0), done.stdout
    assert ' 0 faults' in done.stdout


def test_a_fault_is_found_and_said() -> None:
    """The fuzzer itself: the same seed gives the same inputs, and a fault is reported with one of them."""
    code = ('from benchmarks import fuzz; from benchmarks.fuzz_parsers import Target, STAT, of; import sys; '
            'bad = Target(of(STAT), lambda text: 1 / ("9" in text)); '
            'sys.exit(fuzz.fuzz("bad", bad, 200, 1))')
    seen = {subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60,
                           check=False).stdout.partition('ZeroDivisionError')[2] for _ in range(2)}
    assert len(seen) == 1
    assert " at <string>:1: division by zero\n      '" in seen.pop()
