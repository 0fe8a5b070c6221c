"""What `conntrack-doctor watch --top` costs: `python3 benchmarks/top.py`, as root.

A namespace with 100,000 entries, then one with 1,000,000: the CPU time of the command, as anybody runs it, over the
time it runs, and the time of each refresh; beside `conntrack -L` and, where it is installed, flowtop of netsniff-ng
(which switches accounting on, so it gets the same namespace last).
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import laboratory  # type: ignore[import-not-found,unused-ignore]  # noqa: E402

from benchmarks.demand import Demand  # noqa: E402
from benchmarks.sample import filled  # noqa: E402

#: of a core; seconds of a refresh
SHARE, LONGEST = 0.05, 0.2
#: the refreshes of the loop of the command, timed one by one: seconds, CPU seconds, entries looked at
REFRESH = """
import sys, time
from check_conntrack_lib.doctor.watch import pace, top, top_view
from check_conntrack_lib.host import Host
reader, speed = top.Reader(Host(), 'entries'), pace.Pace(float(sys.argv[2]), 0.0)
for number in range(int(sys.argv[1])):
    began, cpu = time.monotonic(), time.process_time()
    board = reader.refresh(speed.sample, 10, 0.0)
    top_view.screen(board, 80, 20)
    wall, used = time.monotonic() - began, time.process_time() - cpu
    if number:
        print(wall, used, board.lists.seen)
        speed = pace.after(speed, used, wall)
"""


class Used(NamedTuple):
    """What one command has used."""

    wall: float
    cpu: float


def run(lab: Any, *command: str) -> Used:
    """One command in the namespace, until it ends."""
    began = time.monotonic()
    process = subprocess.Popen(['ip', 'netns', 'exec', lab.name, *command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, cwd=ROOT)
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f'{" ".join(command)}: {process.returncode}'
    return Used(time.monotonic() - began, used.ru_utime + used.ru_stime)


def on_terminal(lab: Any, seconds: float, *command: str) -> tuple[Used, int]:
    """The same of a program that needs a terminal, for so many seconds; and how many bytes it has drawn."""
    began, drawn = time.monotonic(), 0
    pid, handle = pty.fork()
    if pid == 0:
        os.environ['TERM'] = 'xterm'
        os.execvp('ip', ['ip', 'netns', 'exec', lab.name, *command])
    while time.monotonic() - began < seconds:
        if select.select([handle], [], [], 0.2)[0]:
            try:
                drawn += len(os.read(handle, 1 << 16))
            except OSError:
                break
    wall = time.monotonic() - began
    os.kill(pid, signal.SIGKILL)
    used = os.wait4(pid, 0)[2]
    os.close(handle)
    return Used(wall, used.ru_utime + used.ru_stime), drawn


def watch(lab: Any, every: float, count: int) -> Used:
    """The command as anybody runs it, without its start."""
    command = (sys.executable, '-m', 'check_conntrack_lib', 'watch', '--top', '--json', '--every', f'{every:g}')
    first, all_of_them = run(lab, *command, '--count', '1'), run(lab, *command, '--count', str(count + 1))
    return Used(all_of_them.wall - first.wall, all_of_them.cpu - first.cpu)


def refreshes(lab: Any, count: int, every: float) -> list[tuple[float, float, int]]:
    """(seconds, CPU seconds, entries looked at) of each."""
    done = lab.run([sys.executable, '-c', REFRESH, str(count + 1), str(every)],
                   env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(float(wall), float(cpu), int(seen)) for wall, cpu, seen in rows]


def measure(lab: Any, entries: int, every: float, count: int) -> list[Demand]:
    """Prints the figures for a table of so many entries."""
    with filled(lab, entries, 0):
        used = watch(lab, every, count)
        times = refreshes(lab, count, every)
        listing = run(lab, 'conntrack', '-L')
        print(f'{entries} entries, --every {every:g}, {count} refreshes')
        walls, cpus = sorted(one[0] for one in times), sorted(one[1] for one in times)
        print(f'  a refresh             median {median(walls):.3f} s, least {walls[0]:.3f}, most {walls[-1]:.3f}; CPU '
              f'{median(cpus):.3f} s; {median(one[2] for one in times):.0f} entries looked at')
        print(f'  watch --top           {used.cpu / used.wall:.1%} of a core, a refresh each {used.wall / count:.1f} s')
        print(f'  conntrack -L, once    {listing.wall:.2f} s, CPU {listing.cpu:.2f} s: '
              f'{listing.cpu / every:.0%} of a core each {every:g} s')
        if shutil.which('flowtop'):
            other, drawn = on_terminal(lab, 15, 'flowtop', '-n', '-G')
            print(f'  flowtop -n -G, {other.wall:.0f} s   {other.cpu / other.wall:.1%} of a core, {drawn} bytes drawn')
    return [Demand(f'{entries} entries: a refresh takes {LONGEST:g} s or less', median(walls) <= LONGEST,
                   f'{median(walls):.3f} s'),
            Demand(f'{entries} entries: {SHARE:.0%} of a core or less', used.cpu / used.wall <= SHARE,
                   f'{used.cpu / used.wall:.1%}')]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--entries', type=int, nargs='+', default=[100_000, 1_000_000])
    parser.add_argument('--every', type=float, default=2.0, help='of watch --top (%(default)s)')
    parser.add_argument('--count', type=int, default=15, help='refreshes (%(default)s)')
    options = parser.parse_args()
    if laboratory.why_not():
        sys.exit(f'benchmarks/top.py: {laboratory.why_not()}')
    print(f'{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Linux {os.uname().release}, '
          f'Python {sys.version.split()[0]}')
    demands = []
    for entries in options.entries:
        with laboratory.namespace() as lab:
            demands += measure(lab, entries, options.every, options.count)
    print(*demands, sep='\n')
    return 0 if all(one.kept for one in demands) else 1


if __name__ == '__main__':
    sys.exit(main())
