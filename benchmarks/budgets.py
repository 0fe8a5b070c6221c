"""Every budget against this machine, in one table: `python3 benchmarks/budgets.py`, as root on an otherwise idle host.

Each figure is the median of pairs of runs in turns (quartiles behind it). It takes some three minutes; for one of them
a table of 1,000,000 entries lies in a namespace of its own, and nf_conntrack_max is raised meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import laboratory  # noqa: E402

from benchmarks import namespaces, sample  # noqa: E402
from benchmarks.startup import STARTUP_BUDGET, cpu_time, paired, plain_python  # noqa: E402
from check_conntrack_lib.analysis.losses import comparable  # noqa: E402
from check_conntrack_lib.analysis.profile import Profile  # noqa: E402
from check_conntrack_lib.analysis.profile_counter import summarize  # noqa: E402
from check_conntrack_lib.history import database, profiles  # noqa: E402
from check_conntrack_lib.history.queries import HistoryQuery  # noqa: E402
from check_conntrack_lib.host import Host, system_clock  # noqa: E402
from check_conntrack_lib.model import Counters, Instant, Missing, Sample  # noqa: E402
from check_conntrack_lib.readers import cpu_counters  # noqa: E402

MINUTE, DAYS = 60.0, 14
EARLIER_BOOT = '5a0e6a4c-0000-4000-8000-000000000001'
#: what two runs of the same command differ by on a machine that does something else, too
NOISE = 0.05
UNJUDGED = [word for option in ('-w', '-c', '--trend', '--dropped-warning', '--dropped-critical',
                                       '--early-drop-warning',
                                '--insert-failed-warning', '--table-full-critical') for word in (option, 'off')]
CHECK = [sys.executable, str(ROOT / 'check_conntrack.py'), *UNJUDGED, '--baseline-every', 'off']


class Line(NamedTuple):
    """One budget and what was measured."""

    what: str
    values: list[float]
    most: float
    unit: str = 'x'

    @property
    def kept(self) -> bool:
        return statistics.median(self.values) <= self.most

    def __str__(self) -> str:
        middle = statistics.median(self.values)
        low, high = (statistics.quantiles(self.values, n=4)[k] for k in (0, 2)) if len(self.values) > 1 else \
            (middle, middle)
        return (f'{self.what:58} {self.most:7.3g} {self.unit:3} {middle:8.3f} {low:8.3f} to {high:.3f}'
                f'  {"kept" if self.kept else "NOT KEPT"}')


def ratios(pairs: tuple[list[float], list[float]]) -> list[float]:
    return [one / other for one, other in zip(*pairs)]


def normal_run(directory: str, runs: int) -> Iterator[Line]:
    python = plain_python(f'{directory}/python')
    check = [python, *CHECK[1:], '--history', f'{directory}/normal.sqlite']
    floor = [python, '-c', 'import nagiosplugin']
    yield Line('a normal run / import nagiosplugin', ratios(paired(check, floor, runs)), STARTUP_BUDGET)
    yield Line('the same in CPU time', ratios(paired(check, floor, runs, cpu_time)), STARTUP_BUDGET)


def two_weeks(directory: str, runs: int) -> Iterator[Line]:
    """A history of a run a minute, recorded for real, against an empty one."""
    full = f'{directory}/full.sqlite'
    # 20,000 transactions would wait for the disk each
    with tempfile.TemporaryDirectory(dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None) as quick:
        record_two_weeks(f'{quick}/full.sqlite')
        shutil.copy(f'{quick}/full.sqlite', full)
    yield Line('14 days of history: its file', [os.path.getsize(full) / 1e6], 10, 'MB')
    check = [*CHECK, '--history']
    with_it, without = paired([*check, full], [*check, f'{directory}/empty.sqlite'], runs)
    over = [(a - b) * 1e3 for a, b in zip(with_it, without)]
    yield Line('14 days of history: a run over one with none', over, 3, 'ms')


def record_two_weeks(path: str) -> None:
    """This host's past, its last boot included: a sample a minute, a profile in ten."""
    host, now = Host(), system_clock()
    boot_id, netns, counters = host.boot_id(), host.netns(), cpu_counters.read(host)
    assert not isinstance(boot_id, Missing)
    assert not isinstance(netns, Missing)
    counted = counters if isinstance(counters, Counters) else Counters({'drop': (0,), 'invalid': (0,)})
    usual = profile()
    look = HistoryQuery(300, 2700, comparable, 900)
    for k in range(DAYS * 1440, 0, -1):
        ago = k * MINUTE
        booted = ago < now.uptime - MINUTE
        at = Instant(now.wall - ago, now.uptime - ago if booted else DAYS * 86400 - ago + 3600, 0)
        one = Sample(at, boot_id if booted else EARLIER_BOOT, netns, 20000 + k % 1440 * 30, 262144, 65536, counted)
        answer = database.query_and_record(path, one, look, DAYS)
        assert not isinstance(answer, Missing), answer
        if k % 10 == 0:
            assert profiles.record(path, one, usual, True, 1) is None


def profile() -> Profile:
    """Of a gateway's flows, as many keys as are recorded."""
    from check_conntrack_lib.flow import Flow

    flows = (Flow(6, ('ESTABLISHED', 'TIME_WAIT')[k % 2], 6, 60, bytes((10, 0, 0, k % 12)), bytes((192, 0, 2, k % 12)),
                  1024 + k, 80 + k % 12, b'', b'') for k in range(2000))
    return summarize(flows, 20000)


def a_million(directory: str, runs: int, rounds: int, entries: int) -> Iterator[Line]:
    check = [*CHECK, '--history', f'{directory}/million.sqlite']
    with laboratory.namespace() as full, laboratory.namespace() as empty, sample.filled(full, entries, 0):
        there, nowhere = (['ip', 'netns', 'exec', one.name, *check] for one in (full, empty))
        of_runs = ratios(paired(there, nowhere, runs))
        times, memory = sample.timings(full, entries, rounds)
    listed = times['conntrack -L']
    yield Line(f'a normal run with {entries} entries / with none', of_runs, 1 + NOISE)
    yield Line('a sample of them / conntrack -L', ratios((times['sample'], listed)), sample.SAMPLE_BUDGET)
    yield Line('the exact profile / conntrack -L', ratios((times['exact'], listed)), sample.EXACT_BUDGET)
    yield Line('the exact profile: memory', [max(memory.values())], sample.MEMORY_BUDGET, 'MB')


def many_namespaces(number: int, runs: int) -> Iterator[Line]:
    with namespaces.named(number // 2), namespaces.held(number - number // 2):
        times, normal = namespaces.both(['--netns', 'all'], runs)
    yield Line(f'--netns all with {number} of them / a normal run', [a / b for a, b in zip(times, normal)],
               namespaces.BUDGET, 'x')


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--runs', type=int, default=21, help='pairs of whole runs (%(default)s)')
    options.add_argument('--rounds', type=int, default=3, help='of reading the large table (%(default)s)')
    options.add_argument('--entries', type=int, default=1_000_000, help='of that table (%(default)s)')
    options.add_argument('--namespaces', type=int, default=1000, help='for --netns all (%(default)s)')
    given = options.parse_args()
    processor = next((line.split(':')[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines()
                      if line.startswith('model name')), platform.machine())
    print(f'{time.strftime("%Y-%m-%d")}: {processor}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, '
          f'Linux {platform.release()}, Python {platform.python_version()}; {given.runs} pairs')
    if os.getloadavg()[0] > 0.5:
        print('this host is busy: its figures say little', file=sys.stderr)
    print(f'{"":58} {"budget":>11} {"median":>8} {"quartiles":>17}')
    why = laboratory.why_not()
    good = True
    with tempfile.TemporaryDirectory() as directory:
        parts = [normal_run(directory, given.runs), two_weeks(directory, given.runs)]
        if not why:
            parts += [a_million(directory, given.runs, given.rounds, given.entries),
                      many_namespaces(given.namespaces, given.runs)]
        for part in parts:
            for line in part:
                print(line, flush=True)
                good = line.kept and good
    if why:
        print(f'without the budgets that need a laboratory: {why}', file=sys.stderr)
        return 2
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
