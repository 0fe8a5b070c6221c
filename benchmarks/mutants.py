"""Mutation: what becomes of the tests when one token of the library is changed.

    sudo python3 -m benchmarks.mutants --seed 1 --count 400            of all four packages below
    sudo python3 -m benchmarks.mutants --module analysis/trend --count 1000

Changes taken at random (comparison, + and -, and/or, constants by one, True/False, a returned value, a statement left
out, a `not`, a bound of a slice) are tried one at a time: by the tests of the module's package, those that import the
module, and the goldens, as far as they call the changed function; without tests that need a kernel, daemons or
packages, and without those of more than 3 s.

mutmut 3 changes function bodies only, not the tables and constants of modules, and takes no sample; cosmic-ray changes
the working tree itself, and starts pytest anew for each change. Neither keeps a changed program from the machine.

Everything happens in a copy of the tree in memory, in mount, process and network namespaces in which nothing else can
be written; memory, file size and CPU time are limited. benchmarks/mutants_equivalent.txt lists changes that change
nothing. A change after which the tests never end counts as noticed.
Exit status 1: more than --most percent survived.
"""

from __future__ import annotations

import argparse
import collections
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from benchmarks.mutants_changes import changes
from benchmarks.mutants_run import (
    EQUAL,
    KILLED,
    LATE,
    PACKAGES,
    REACH,
    ROOT,
    SURVIVED,
    UNREACHED,
    Mutant,
    Worker,
    attempt,
    modules,
    reach,
    separate,
    shared,
)

EQUIVALENT = ROOT / 'benchmarks/mutants_equivalent.txt'
INSIDE = 'CHECK_CONNTRACK_MUTANTS'


def sample(names: Sequence[str], seed: int, count: int) -> list[Mutant]:
    """So many of all changes of these modules, each token as likely as every other."""
    places = [(path, group, text) for path in modules(names) for text in [(ROOT / path).read_text()]
              for group in changes(text)]
    random = Random(seed)
    return [Mutant(path, random.choice(group), text)
            for path, group, text in random.sample(places, min(count, len(places)))]


def read_equivalent() -> set[str]:
    """Lines 'path: line => changed line', each below a line '# why'."""
    return {line for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith('#')}


def table(results: Sequence[tuple[Mutant, str, str]]) -> tuple[str, float]:
    """A line for each package, and how many percent survived of those that are not equivalent."""
    lines = [f'{"":10} {"mutants":>8} {"killed":>8} {"too slow":>9} {"equivalent":>11} {"not reached":>12} '
             f'{"survived":>9}   of 100']
    share = 0.0
    packages = list(dict.fromkeys(mutant.path.split('/')[1] for mutant, *_ in results))
    for name in (*sorted(packages), 'all'):
        seen = collections.Counter(became for mutant, became, _ in results
                                   if name in ('all', mutant.path.split('/')[1]))
        alive = seen[SURVIVED] + seen[UNREACHED]
        share = 100 * alive / max(1, sum(seen.values()) - seen[EQUAL])
        lines.append(f'{name:10} {sum(seen.values()):8} {seen[KILLED]:8} {seen[LATE]:9} {seen[EQUAL]:11} '
                     f'{seen[UNREACHED]:12} {seen[SURVIVED]:9}   {share:6.1f}')
    return '\n'.join(lines), share


def inside(given: argparse.Namespace, directory: Path) -> int:
    separate(directory)
    os.nice(10)
    workers = []
    for number in range(given.jobs):
        (directory / str(number)).mkdir()
        workers.append(Worker(directory / str(number)))
    names = given.module or PACKAGES
    mutants = sample(names, given.seed, given.count)
    began = time.monotonic()
    reached = reach(names, workers, given.reach)
    print(f'seed {given.seed}: {len(mutants)} changes; {len(reached)} tests, run once in '
          f'{time.monotonic() - began:.0f} s', flush=True)
    results = []
    equivalent = read_equivalent()
    for mutant, (became, test) in shared(mutants, workers, lambda number, mutant, worker: attempt(
            number, mutant, worker, reached, equivalent)):
        results.append((mutant, became, test))
        if given.verbose or became in (SURVIVED, UNREACHED):
            print(f'{became}: {mutant}{f" ({test})" if test else ""}', flush=True)
    text, share = table(results)
    print(f'\n{text}\n{time.monotonic() - began:.0f} s')
    return 1 if share > given.most else 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--seed', type=int, default=1)
    options.add_argument('--count', type=int, default=100, help='changes (default: 100)')
    options.add_argument('--module', action='append', metavar='NAME',
                         help=f'a package or a module of it, repeatable (default: {", ".join(PACKAGES)})')
    options.add_argument('--jobs', type=int, default=1)
    options.add_argument('--most', type=float, default=10, metavar='PERCENT', help='that may survive (default: 10)')
    options.add_argument('--reach', type=Path, metavar='FILE',
                         help='which test calls what: used, or written when it is not there')
    options.add_argument('--verbose', action='store_true', help='those that were noticed, too, and by which test')
    given = options.parse_args()
    if os.geteuid():
        raise SystemExit("needs root: without it a changed program could not be kept from this user's files")
    if INSIDE in os.environ:
        return inside(given, Path(os.environ[INSIDE]))
    # what was started ends with this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix='check_conntrack-mutants-') as directory, \
            open(given.reach or os.devnull, 'a') as record:
        return subprocess.run(
            ['unshare', '--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', sys.executable, '-m',
             'benchmarks.mutants', *sys.argv[1:]], cwd=ROOT, pass_fds=[record.fileno()],
            env={**os.environ, INSIDE: directory, REACH: str(record.fileno())}).returncode


if __name__ == '__main__':
    sys.exit(main())
