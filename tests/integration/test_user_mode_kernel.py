"""A kernel that is not this machine's, with conntrack as a module: the tests of tests/vm in user-mode Linux."""

from __future__ import annotations

import os
import platform
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
from needed import need

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_the_tests_of_other_kernels_pass_on_one_of_them() -> None:
    """Fetched by apt, once; those of nftables are for qemu's kernels (benchmarks/kernels.py)."""
    if os.getuid():
        pytest.skip('needs root')
    if platform.machine() != 'x86_64':
        pytest.skip('this kernel is not for x86-64, of which user-mode Linux is a process')
    need('gcc', 'gcc')
    done = subprocess.run([sys.executable, 'benchmarks/kernels.py', '--kernel', 'user-mode-6.1'], cwd=ROOT,
                          env={**os.environ, 'HOME': pwd.getpwuid(0).pw_dir}, capture_output=True, text=True,
                          timeout=1200)
    failures = done.stdout.partition('= FAILURES =')[2].partition('= PASSES =')[0] or done.stdout
    assert done.returncode == 0, failures[-20000:] + done.stderr
    row = re.search(r'^user-mode-6\.1 +(\S+) +\d+ +(\d+) +(\d+)  -$', done.stdout, re.MULTILINE)
    assert row, done.stdout
    assert (int(row[2]), int(row[3])) == (9, 2)
