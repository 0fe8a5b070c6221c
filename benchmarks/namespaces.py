"""What `--netns all` costs over a normal run with 1,000 namespaces, paired in one run; as root.

    sudo python3 benchmarks/namespaces.py

Half of them are named by `ip netns`, half are held by a process each. Budget: 0.3 s over the normal run. The history
that it writes grows from run to run; `tests/test_fleet.py` has the cost of two weeks of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

from benchmarks.startup import cpu_time, paired, row  # noqa: E402

BUDGET = 0.3
HOLD = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
for _ in range(int(sys.argv[1])):
    if not os.fork():
        libc.prctl(1, 9)  # PR_SET_PDEATHSIG
        if libc.unshare(0x40000000):
            os._exit(1)
        os.write(1, b'x')
        time.sleep(3600)
time.sleep(3600)
"""


@contextlib.contextmanager
def named(number: int) -> Iterator[None]:
    """So many namespaces with a name and without a process."""
    names = [f'ctbench-{os.getpid()}-{k}' for k in range(number)]

    def batch(verb: str) -> None:
        subprocess.run(['ip', '-force', '-batch', '-'], input=''.join(f'netns {verb} {name}\n' for name in names),
                       text=True, check=True)

    batch('add')
    try:
        yield
    finally:
        batch('del')


@contextlib.contextmanager
def held(number: int) -> Iterator[None]:
    """So many namespaces without a name, each held by a process."""
    holder = subprocess.Popen([sys.executable, '-c', HOLD, str(number)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert len(holder.stdout.read(number)) == number
        yield
    finally:
        holder.kill()
        holder.wait()


def both(extra: list[str], runs: int,
         clock: Callable[[], float] = time.perf_counter) -> tuple[list[float], list[float]]:
    """Seconds of runs with these arguments and of normal ones, in turns."""
    with tempfile.TemporaryDirectory() as directory:
        check = [sys.executable, str(ROOT / 'check_conntrack.py'), '-w', 'off', '-c', 'off', '--trend', 'off',
                 '--dropped-warning', 'off', '--dropped-critical', 'off', '--early-drop-warning', 'off',
                 '--insert-failed-warning', 'off', '--table-full-critical', 'off', '--baseline-every', 'off']
        return paired([*check, '--history', f'{directory}/all.sqlite', *extra],
                      [*check, '--history', f'{directory}/one.sqlite'], runs, clock)


def measure(name: str, extra: list[str], runs: int) -> bool:
    """Prints both times and their difference, pair by pair; True when it is within the budget."""
    good = False
    for clock, what in ((cpu_time, ', CPU time'), (time.perf_counter, '')):
        times, normal = both(extra, runs, clock)
        over = [a - b for a, b in zip(times, normal)]
        print(row(name + what, times))
        print(row('normal run' + what, normal))
        print(row('over it' + what, over))
        good = statistics.median(over) <= BUDGET
    return good


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--runs', type=int, default=21)
    options.add_argument('--namespaces', type=int, default=1000)
    given = options.parse_args()
    if os.geteuid():
        print('needs root', file=sys.stderr)
        return 2
    print(f'{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, '
          f'Python {platform.python_version()}, {given.namespaces} namespaces, {given.runs} pairs')
    with named(given.namespaces // 2), held(given.namespaces - given.namespaces // 2):
        good = measure('--netns all', ['--netns', 'all'], given.runs)
        good = measure('the same without history', ['--netns', 'all', '--history', 'off'], given.runs) and good
    print(f'budget {BUDGET} s over the normal run: ' + ('kept' if good else 'NOT KEPT'))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
