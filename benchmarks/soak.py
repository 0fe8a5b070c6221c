"""A busy monitoring satellite for some minutes, and the exporter for a thousand readings: as root, on a real table.

    sudo python3 benchmarks/soak.py                     two minutes of 500 checks each, 1,000 scrapes, 1,000 textfiles
    sudo python3 benchmarks/soak.py --minutes 60 --rate 100 --namespaces 1

The checks are of one user, share one history file, and begin on time: several run at once when one is late. Meanwhile
entries come and go. Demanded: proper answers, all OK and in time; every run recorded; a sound file; nothing left over.
Of the exporter: no more memory, descriptors or threads after a thousand readings than after a hundred.
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
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import laboratory  # noqa: E402

from benchmarks.demand import Demand  # noqa: E402
from benchmarks.footprint import grown, scraped, written  # noqa: E402
from benchmarks.output import STATES, proper  # noqa: E402

#: the check's own --timeout
TIMEOUT = 10.0
#: runs at once at most, as many as a small satellite allows
AT_ONCE = 64
#: entries that come and go, every so many seconds: enough for a profile, and few, each of which the exporter reads
CHURN, FEW, AGAIN = 5000, 500, 0.5
#: a history that was busy, refused or damaged says one of these
RECORDER_TROUBLE = ('history', 'not recorded')
FIRST_RUN = 'first run'


class Run(NamedTuple):
    """One run of the check."""

    #: inode of its namespace
    netns: int
    #: seconds since the soak began
    began: float
    seconds: float
    status: int
    text: str
    #: what is wrong with its output; '' when nothing is
    fault: str


def check(place: laboratory.Namespace, history: str, since: float) -> Run:
    """One run of the check with its defaults."""
    command = [sys.executable, str(ROOT / 'check_conntrack.py'), '--history', history]
    began = time.monotonic()
    # a child is where the thread is that starts it
    with place.in_netns():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            out, err = process.communicate(timeout=3 * TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    seconds = time.monotonic() - began
    try:
        assert err == b'', f'on standard error: {err!a}'
        proper(out.decode('utf-8'), process.returncode)
        fault = ''
    except (AssertionError, UnicodeDecodeError) as error:
        fault = str(error)
    return Run(place.inode, began - since, seconds, process.returncode, out.decode('utf-8', 'replace'), fault)


def paced(work: Callable[[int, float], Run], number: int, gap: float) -> list[Run]:
    """Begins one every `gap` seconds, whether the last one has ended or not."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        since = time.monotonic()
        begun = []
        for k in range(number):
            time.sleep(max(0.0, since + k * gap - time.monotonic()))
            begun.append(pool.submit(work, k, since))
        return [one.result() for one in begun]


@contextlib.contextmanager
def churning(places: Iterable[laboratory.Namespace], entries: int) -> Iterator[None]:
    """So many entries come and go in each of these namespaces."""
    over = threading.Event()
    flows = [laboratory.Flow('tcp' if n % 3 else 'udp', f'10.0.{n // 250}.{n % 250}', f'198.18.0.{n % 99}', 1000 + n)
             for n in range(entries)]

    def churn(place: laboratory.Namespace) -> None:
        while True:
            # what was not freed yet is refused as a double
            with contextlib.suppress(OSError):
                place.fill(flows)
            if over.wait(AGAIN):
                break
            place.drain()

    threads = [threading.Thread(target=churn, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def satellite(places: list[laboratory.Namespace], number: int, gap: float) -> Iterator[Demand]:
    """Checks of all namespaces in turn, and what was demanded of them."""
    with tempfile.TemporaryDirectory() as directory:
        history = f'{directory}/history.sqlite'
        with churning(places, CHURN):
            runs = paced(lambda k, since: check(places[k % len(places)], history, since), number, gap)
        load = os.getloadavg()[0]
        yield from judged(runs, gap, load)
        yield from recorded(runs, history)
        left = [pid for pid in filter(str.isdecimal, os.listdir('/proc')) if history in _command_line(pid)]
        yield Demand('processes left behind', not left, ', '.join(left) or 'none')
        files = sorted(set(os.listdir(directory)) - {'history.sqlite'})
        yield Demand('files left behind', not files, ', '.join(files) or 'none')


def judged(runs: list[Run], gap: float, load: float) -> Iterator[Demand]:
    """What the runs said, and when."""
    took = sorted(run.seconds for run in runs)
    last = max(run.began for run in runs) + gap
    at_once = max(sum(one.began <= run.began < one.began + one.seconds for one in runs) for run in runs)
    yield Demand('runs', True, f'{len(runs)} in {last:.0f} s ({60 * len(runs) / last:.0f} a minute), '
                               f'at most {at_once} at once, load {load:.1f}')
    states = Counter(STATES[run.status] if 0 <= run.status < 4 else str(run.status) for run in runs)
    wrong = next((run.text for run in runs if run.status), '')
    yield Demand('exit statuses: all OK', states['OK'] == len(runs),
                 ', '.join(f'{number} {state}' for state, number in states.items()) + (wrong and f': {wrong!a}'))
    faults = [run.fault for run in runs if run.fault]
    yield Demand('outputs that are no proper plugin output', not faults, f'{len(faults)} {faults[:1] or ""}')
    troubled = [run.text for run in runs if not without_trouble(run)]
    yield Demand('states without the history', not troubled, f'{len(troubled)} {troubled[:1] or ""}')
    yield Demand(f'runs longer than {TIMEOUT:g} s', took[-1] <= TIMEOUT, str(sum(one > TIMEOUT for one in took)))
    yield Demand('seconds: median, 95th percentile, most', True,
                 f'{statistics.median(took):.2f}, {took[len(took) * 95 // 100]:.2f}, {took[-1]:.2f}')


def recorded(runs: list[Run], history: str) -> Iterator[Demand]:
    """Is every run in the file? No row of the last day is thinned."""
    with contextlib.closing(sqlite3.connect(f'file:{history}?mode=ro', uri=True)) as database:
        rows = dict(database.execute('SELECT netns, count(*) FROM sample GROUP BY netns'))
        sound, = database.execute('PRAGMA integrity_check').fetchone()
        profiles, = database.execute('SELECT count(*) FROM profile').fetchone()
    began = Counter(run.netns for run in runs)
    should = Counter(run.netns for run in runs if without_trouble(run))
    # of one that ran out of time nobody knows
    yield Demand('samples recorded, one of each run that did not say otherwise',
                 all(should[netns] <= rows.get(netns, 0) <= began[netns] for netns in began),
                 f'{sum(rows.values())}, {sum(should.values())} of {len(runs)} runs')
    first = sum(FIRST_RUN in run.text for run in runs)
    yield Demand('runs that saw none before, at least one a namespace', len(should) <= first <= AT_ONCE, str(first))
    yield Demand('profiles recorded, at least one a namespace', profiles >= len(should), str(profiles))
    yield Demand('PRAGMA integrity_check', sound == 'ok', str(sound))


def without_trouble(run: Run) -> bool:
    """Does the verdict say nothing against the history?"""
    return not any(word in run.text for word in RECORDER_TROUBLE)


def _command_line(pid: str) -> str:
    try:
        return Path('/proc', pid, 'cmdline').read_text(errors='replace')
    except OSError:
        return ''  # it has just ended


def exporter(place: laboratory.Namespace, readings: int) -> Iterator[Demand]:
    """The exporter in a namespace whose entries come and go, everything asked of it."""
    looks = max(readings // 10, 10), readings
    with churning([place], FEW):
        options = ['--per-host', '--kernel-log', 'off']
        yield grown(f'{readings} scrapes', looks, scraped(options, looks, place.in_netns))
        yield grown(f'{readings} textfiles', looks, written(options, looks, place.in_netns))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--minutes', type=float, default=2.0, help='of checks (%(default)s)')
    options.add_argument('--rate', type=float, default=500.0, help='of them a minute (%(default)s)')
    options.add_argument('--namespaces', type=int, default=2, help='that they look at in turn (%(default)s)')
    options.add_argument('--readings', type=int, default=1000, help='of the exporter, each way (%(default)s)')
    given = options.parse_args()
    why = laboratory.why_not()
    if why:
        print(f'no soak without a laboratory: {why}', file=sys.stderr)
        return 2
    print(f'{time.strftime("%Y-%m-%d")}: {platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, '
          f'Linux {platform.release()}, Python {platform.python_version()}')
    good = True
    # the maximum is one for all: no other laboratory may lower it meanwhile
    with contextlib.ExitStack() as stack:
        stack.enter_context(laboratory.maximum(262144))
        places = [stack.enter_context(laboratory.namespace()) for _ in range(given.namespaces)]
        parts = [satellite(places, round(given.minutes * given.rate), 60 / given.rate)]
        try:
            import prometheus_client  # noqa: F401
        except ImportError:
            print('without the exporter: pip install prometheus_client', file=sys.stderr)
            good = False
        else:
            parts.append(exporter(places[0], given.readings))
        for part in parts:
            for demand in part:
                print(demand, flush=True)
                good = demand.kept and good
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
