"""A whole normal run against its floor, `python -c "import nagiosplugin"` of the same interpreter, paired in one run.

The interpreter has nagiosplugin and nothing else, as where the plugin is installed.

    python3 benchmarks/startup.py             the check on an almost empty table
    python3 benchmarks/startup.py -- --kernel-log off    without the kernel log, of which a busy host has much
    sudo python3 benchmarks/startup.py --million    the same with 1,000,000 entries in the table, against an empty one

Budgets: at most 1.3 times the floor; no slower with 1,000,000 entries.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MILLION = 1_000_000
#: times the floor
STARTUP_BUDGET = 1.3
# an installed plugin is compiled once, like the library it is compared with
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}


def plain_python(directory: str) -> str:
    """An interpreter in a new directory that has nagiosplugin and nothing else, as where the plugin is installed.

    What an editable installation adds to every start of Python, a finder of 10 ms, would make the floor higher.
    """
    library = importlib.util.find_spec('nagiosplugin')
    assert library
    assert library.origin
    venv.create(directory, symlinks=True)
    packages = next(Path(directory).glob('lib/python*/site-packages'))
    for part in Path(library.origin).parent.parent.glob('nagiosplugin*'):
        (packages / part.name).symlink_to(part)
    return f'{directory}/bin/python'


def cpu_time() -> float:
    """Seconds of all processes that have ended: what a busy machine says, too, on which others take the wall time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(command: list[str], clock: Callable[[], float] = time.perf_counter) -> float:
    """What one run takes by the clock; it must end with exit status 0."""
    began = clock()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    return clock() - began


def paired(one: list[str], other: list[str], runs: int,
           clock: Callable[[], float] = time.perf_counter) -> tuple[list[float], list[float]]:
    """Both commands in turn, so that a machine whose speed drifts is fair to both."""
    seconds(one), seconds(other)
    times = [(seconds(one, clock), seconds(other, clock)) for _ in range(runs)]
    return [a for a, _ in times], [b for _, b in times]


def row(name: str, values: list[float], unit: str = 'ms', scale: float = 1e3) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    middle = statistics.median(values)
    return f'{name:34} {middle * scale:8.2f} {unit:3} (quartiles {low * scale:.2f} to {high * scale:.2f})'


def compare(name: str, command: list[str], floor_name: str, floor: list[str], runs: int) -> None:
    """Prints both times and the ratio pair by pair."""
    for clock, what in ((time.perf_counter, ''), (cpu_time, ', CPU time')):
        times, floors = paired(command, floor, runs, clock)
        print(row(name + what, times))
        print(row(floor_name + what, floors))
        print(row('ratio', [a / b for a, b in zip(times, floors)], 'x', 1))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--runs', type=int, default=41)
    options.add_argument('--million', action='store_true', help='with 1,000,000 entries (root)')
    options.add_argument('options', nargs='*', help='further ones of the check, behind --')
    given = options.parse_args()
    print(f'{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, '
          f'Python {platform.python_version()}, {given.runs} pairs')
    with tempfile.TemporaryDirectory() as directory:
        python = plain_python(f'{directory}/python')
        check = [python, str(ROOT / 'check_conntrack.py'), '--history', f'{directory}/history.sqlite',
                 '--dropped-warning', 'off', '--dropped-critical', 'off', '--table-full-critical', 'off',
                 '--baseline-every', 'off', *given.options]
        floor = [python, '-c', 'import nagiosplugin']
        compare('check_conntrack', check, 'import nagiosplugin', floor, given.runs)
        if given.million:
            with _full_and_empty() as names:
                full, empty = (['ip', 'netns', 'exec', name, *check, '-w', 'off', '-c', 'off'] for name in names)
                compare('with 1,000,000 entries', full, 'with an empty table', empty, given.runs)


@contextlib.contextmanager
def _full_and_empty() -> Iterator[tuple[str, str]]:
    """Names of two namespaces of the test laboratory, one with a table of 1,000,000 entries."""
    sys.path.insert(0, str(ROOT / 'tests'))
    import laboratory

    with laboratory.maximum(2 * MILLION), laboratory.namespace() as full, laboratory.namespace() as empty:
        full.fill_to(MILLION)
        yield full.name, empty.name


if __name__ == '__main__':
    main()
