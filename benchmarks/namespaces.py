"""What `--netns all` costs over a normal run with 1,000 namespaces, paired in one run; as root.

    sudo python3 benchmarks/namespaces.py

Half of them are named by `ip netns`, half are held by a process each. Budget: three times the normal run. The history
that it writes grows from run to run; `--past` begins with one of so many hours, a sample a minute in the last of them
and one an hour before, as the check keeps what does not change.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sqlite3
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

#: times a normal run
BUDGET = 3.0
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


def add_past(file: str, hours: float) -> None:
    """To each namespace of a history that has one run: the samples of so many hours before it."""
    ages = [*range(int(hours * 3600), 3600, -3600), *range(3600, 0, -60)] if hours else []
    with contextlib.closing(sqlite3.connect(file)) as database:
        for age in ages:
            database.execute('INSERT INTO sample SELECT time - :age, boot, netns, uptime - :age, entries, maximum, '
                             'buckets, counters FROM sample WHERE uptime > :age AND uptime = (SELECT max(uptime) '
                             'FROM sample)', {'age': age})
        # each was there, and got its name, an hour ago at the earliest
        database.execute('UPDATE netns SET since = 0')
        database.execute('UPDATE upkeep SET done = (SELECT max(time) FROM sample) - 60 * part')
        database.commit()


def both(extra: list[str], runs: int, clock: Callable[[], float] = time.perf_counter,
         past: float = 0.0) -> tuple[list[float], list[float]]:
    """Seconds of runs with these arguments and of normal ones, in turns; past: hours of history before them."""
    with tempfile.TemporaryDirectory() as directory:
        check = [sys.executable, str(ROOT / 'check_conntrack.py'), '-w', 'off', '-c', 'off', '--trend', 'off',
                 '--dropped-warning', 'off', '--dropped-critical', 'off', '--early-drop-warning', 'off',
                 '--insert-failed-warning', 'off', '--table-full-critical', 'off', '--baseline-every', 'off']
        several, one = [*check, '--history', f'{directory}/all.sqlite', *extra], \
            [*check, '--history', f'{directory}/one.sqlite']
        if past:
            for command, file in ((several, 'all'), (one, 'one')):
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                add_past(f'{directory}/{file}.sqlite', past)
        return paired(several, one, runs, clock)


def measure(name: str, extra: list[str], runs: int, past: float) -> bool:
    """Prints both times and their ratio, pair by pair; True when it is within the budget."""
    good = False
    for clock, what in ((cpu_time, ', CPU time'), (time.perf_counter, '')):
        times, normal = both(extra, runs, clock, past)
        ratios = [a / b for a, b in zip(times, normal)]
        print(row(name + what, times))
        print(row('normal run' + what, normal))
        print(row('ratio' + what, ratios, 'x', 1))
        good = statistics.median(ratios) <= BUDGET
    return good


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--runs', type=int, default=21)
    options.add_argument('--namespaces', type=int, default=1000)
    options.add_argument('--past', type=float, default=0.0, metavar='HOURS', help='of history before the first run')
    given = options.parse_args()
    if os.geteuid():
        print('needs root', file=sys.stderr)
        return 2
    print(f'{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, '
          f'Python {platform.python_version()}, {given.namespaces} namespaces, {given.runs} pairs')
    with named(given.namespaces // 2), held(given.namespaces - given.namespaces // 2):
        good = measure('--netns all', ['--netns', 'all'], given.runs, given.past)
        good = measure('the same without history', ['--netns', 'all', '--history', 'off'], given.runs, 0.0) and good
    print(f'budget {BUDGET:g} times the normal run: ' + ('kept' if good else 'NOT KEPT'))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
