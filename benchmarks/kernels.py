#!/usr/bin/env python3
"""The tests on other distributions' kernels, each booted in qemu by emulation, or as a process of this host; one table.

    python3 benchmarks/kernels.py                             every kernel that can be had, tests/vm: an hour
    python3 benchmarks/kernels.py --kernel debian11-5.10      one of them; --list names them
    python3 benchmarks/kernels.py --kernel user-mode-6.1      without emulation, two minutes
    python3 benchmarks/kernels.py -k 'reload or chains'       some of the tests, as pytest's -k
    python3 benchmarks/kernels.py --tests tests/plugin/test_kernel.py    other kernel tests
    python3 benchmarks/kernels.py --kernel sid --command 'modprobe nf_conntrack; ./check_conntrack.py -v'

Needs qemu-system-x86, busybox-static, xz-utils and zstd; for user-mode Linux gcc instead. Kernels come by apt into a
cache, with its signatures and a state of its own; nothing is installed, and the guest writes to nothing of the host
but the directory of --out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.vm.boot import Ended, run
from benchmarks.vm.packages import KERNELS, fetch

ROOT = Path(__file__).resolve().parent.parent
EMULATION = ('qemu-system-x86_64', 'busybox', 'xz', 'zstd', 'apt-get', 'dpkg')
USER_MODE = ('gcc', 'apt-get', 'dpkg')


class Row(NamedTuple):
    """One kernel in the table."""

    kernel: str
    release: str
    seconds: float
    passed: int
    skipped: int
    #: names of the tests that did not pass, each with how it ended
    others: tuple[str, ...]
    #: the whole run came to its end with no failure
    good: bool


def summarize(name: str, release: str, ended: Ended) -> Row:
    """A row out of what `pytest -v` printed; a test that was cut off counts as not passed."""
    outcome: dict[str, str] = {}
    for line in ended.output.splitlines():
        match = re.match(r'(\S+\.py::\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b|(\S+\.py::\S+.*?) *$', line)
        if match:
            outcome[(match[1] or match[3]).split('::', 1)[1]] = match[2] or 'cut off'
    kinds = list(outcome.values())
    others = tuple(f'{test}: {kind}' for test, kind in outcome.items() if kind not in ('PASSED', 'SKIPPED', 'XFAIL'))
    if ended.status is None:
        others += ('stopped by the time limit' if ended.output else 'the kernel did not come up',)
    return Row(name, release, ended.seconds, kinds.count('PASSED'), kinds.count('SKIPPED'), others, ended.status == 0)


def table(rows: list[Row]) -> str:
    lines = [f'{"kernel":20}{"release":26}{"seconds":>8}{"passed":>8}{"skipped":>9}  not passed']
    for row in rows:
        lines.append(f'{row.kernel:20}{row.release:26}{row.seconds:8.0f}{row.passed:8}{row.skipped:9}  '
                     + ('; '.join(row.others) or '-'))
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kernel', action='append', choices=KERNELS, help='may be given again; default: all')
    parser.add_argument('-k', metavar='TESTS', dest='chosen', default='', help="as pytest's")
    parser.add_argument('--tests', nargs='+', metavar='PATH', default=['tests/vm'], help='default: tests/vm')
    parser.add_argument('--command', help='run this instead of tests, and print what it prints')
    parser.add_argument('--argument', action='append', default=[], help='of the kernel, such as log_buf_len=1M')
    parser.add_argument('--count-instructions', action='store_true',
                        help="the guest's clock counts its instructions: for figures that other work does not change")
    parser.add_argument('--timeout', type=float, default=900.0, help='seconds for one kernel (default: 900)')
    parser.add_argument('--out', type=Path, help='keep the logs in this directory, with what the commands said')
    parser.add_argument('--list', action='store_true', help='name the kernels')
    options = parser.parse_args()
    if options.list:
        print('\n'.join(KERNELS))
        return 0
    names = options.kernel or list(KERNELS)
    needed = {program for name in names for program in (USER_MODE if KERNELS[name].user_mode else EMULATION)}
    missing = sorted(program for program in needed if not shutil.which(program))
    if missing:
        parser.error(f'no {", ".join(missing)}: apt-get install qemu-system-x86 busybox-static xz-utils zstd gcc')
    # as in the guest: paths are the host's
    command = ['bash', '-c', options.command] if options.command else [
        # -rP: what the commands said on this kernel is kept of tests that pass, too
        sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', '-v', '-rP', '--tb=short', '--durations=5',
        '-m', 'kernel', '-k', options.chosen, *options.tests]
    rows = []
    for name in names:
        try:
            kernel = fetch(name)
        except (subprocess.CalledProcessError, LookupError, OSError) as error:
            rows.append(Row(name, '-', 0.0, 0, 0, (f'not to be had: {error}',), False))
            continue
        with tempfile.TemporaryDirectory() as scratch:
            out = (options.out or Path(scratch)) / name
            ended = run(kernel, command, out, options.timeout, options.argument,
                        by_instructions=options.count_instructions)
        row = summarize(name, kernel.release, ended)
        if options.command or not row.good:
            print(ended.output, end='')
        began = 'never' if ended.began is None else f'after {ended.began:.0f} s'
        print(f'{name}: {kernel.release}, {ended.seconds:.0f} s, up {began}, exit status {ended.status}',
              file=sys.stderr)
        rows.append(row)
    if options.command:
        return 0 if all(row.good for row in rows) else 1
    print(table(rows))
    return 0 if all(row.good for row in rows) else 1


if __name__ == '__main__':
    sys.exit(main())
