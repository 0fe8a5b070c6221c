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
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.mutants_changes import Change, changes

ROOT = Path(__file__).parent.parent
PACKAGES = ('analysis', 'history', 'readers', 'plugin')
#: where else tests of a module are
OTHERS = (*PACKAGES, 'netns', 'security')
GOLDENS = 'tests/plugin/test_golden.py'
EQUIVALENT = ROOT / 'benchmarks/mutants_equivalent.txt'
NOT_COPIED = ('.git', '.venv', '.hypothesis', '.*_cache', '__pycache__', '*.egg-info', 'build', 'dist')
#: in the place of a function: a test that starts other processes
EVERYTHING = '*'
INSIDE, REACH = 'CHECK_CONNTRACK_MUTANTS', 'CHECK_CONNTRACK_REACH'
#: of the CPU time that the tests took before, and beside it, in seconds
SLOWER, LONGER = 10, 10
LONGEST_REACH = 1800
#: a test that takes more seconds of CPU time is left out
SLOWEST = 3.0
KILLED, LATE, SURVIVED, UNREACHED, EQUAL = 'killed', 'too slow', 'survived', 'not reached', 'equivalent'


class Mutant(NamedTuple):
    """A change of one module: its path below the tree."""

    path: str
    change: Change
    source: str

    def __str__(self) -> str:
        return f'{self.path}:{self.change.line}: {self.change.says}'

    def key(self) -> str:
        """As a line of the list of equivalent changes names it: line numbers come and go."""
        return f'{self.path}: {self.change.says}'


def modules(names: Sequence[str]) -> list[str]:
    """Paths of the modules of these packages, or of these modules ('analysis/trend')."""
    found = []
    for name in names:
        path = ROOT / 'check_conntrack_lib' / name
        of_name = sorted(path.glob('*.py')) if path.is_dir() else [path.with_suffix('.py')]
        found += [str(one.relative_to(ROOT)) for one in of_name]
    return found


def sample(names: Sequence[str], seed: int, count: int) -> list[Mutant]:
    """So many of all changes of these modules, each token as likely as every other."""
    places = [(path, group, text) for path in modules(names) for text in [(ROOT / path).read_text()]
              for group in changes(text)]
    random = Random(seed)
    return [Mutant(path, random.choice(group), text)
            for path, group, text in random.sample(places, min(count, len(places)))]


@functools.lru_cache(None)
def tests_of(path: str) -> tuple[str, ...]:
    """Files of tests: those named after it, of its package, that import it; the goldens."""
    _, package, file = path.split('/')
    name = file[:-3]
    imports = re.compile(rf'check_conntrack_lib\.{package}(\.{name}\b| import .*\b{name}\b)')
    files = [test for test in sorted((ROOT / 'tests').glob('*/test_*.py'))
             if test.parent.name in (package, *OTHERS) and (test.parent.name == package or test.name.startswith(
                 f'test_{name}') or imports.search(test.read_text()))]
    files.sort(key=lambda test: not test.name.startswith(f'test_{name}'))
    return tuple(dict.fromkeys([*(str(test.relative_to(ROOT)) for test in files), GOLDENS]))


def choose(mutant: Mutant, reached: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The tests that may notice it, the most likely and the quickest first."""
    files = tests_of(mutant.path)
    wanted = [mutant.path, mutant.change.function]
    chosen = []
    for test, found in reached.items():
        file = test.partition('::')[0]
        if file in files and found['passed'] and found['seconds'] <= SLOWEST:
            starts = [EVERYTHING, 0] in found['called']
            if not mutant.change.function or wanted in found['called'] or starts:
                chosen.append((starts, files.index(file) > 0, found['seconds'], test))
    return [test for *_, test in sorted(chosen)]


class Worker:
    """A process that runs tests in a copy of the tree of its own."""

    def __init__(self, directory: Path) -> None:
        self.tree = directory / 'tree'
        shutil.copytree(ROOT, self.tree, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
        (directory / 'tmp').mkdir()
        environment = {name: value for name, value in os.environ.items() if name not in ('CI', 'PYTHONPATH')}
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.mutants_worker'], cwd=self.tree, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env={**environment, 'TMPDIR': str(directory / 'tmp')})

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + '\n')
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def separate(directory: Path) -> None:
    """Nothing but `directory` can be written from now on; it is in memory."""
    subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', directory], check=True)
    for line in Path('/proc/self/mountinfo').read_text().splitlines():
        place = line.split()[4].encode().decode('unicode_escape')
        # a device file can be written on a read-only mount, too
        if place not in (str(directory), '/dev/pts'):
            subprocess.run(['mount', '-o', 'remount,bind,ro', place], stderr=subprocess.DEVNULL)
    if os.access('/etc', os.W_OK):
        raise SystemExit('/ cannot be made read-only here')


def attempt(mutants: Sequence[Mutant], workers: Sequence[Worker],
            reached: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Mutant, str, str]]:
    """Each with what became of it and the test that noticed it, in their order as far as they are done."""
    equivalent = read_equivalent()
    waiting = list(enumerate(mutants))[::-1]
    done: dict[int, tuple[str, str]] = {}
    news = threading.Condition()

    def work(worker: Worker) -> None:
        while True:
            with news:
                if not waiting:
                    return
                number, mutant = waiting.pop()
            result = ('not tried', '')
            try:
                result = (EQUAL, '') if mutant.key() in equivalent else one(number, mutant, worker, reached)
            finally:
                with news:
                    done[number] = result
                    news.notify()

    for worker in workers:
        threading.Thread(target=work, args=(worker,), daemon=True).start()
    for number, mutant in enumerate(mutants):
        with news:
            while number not in done:
                news.wait()
        yield (mutant, *done[number])


def one(number: int, mutant: Mutant, worker: Worker, reached: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    tests = choose(mutant, reached)
    if not tests:
        return UNREACHED, ''
    limit = LONGER + SLOWER * sum(reached[test]['seconds'] for test in tests)
    answer = worker.ask({'path': mutant.path, 'text': mutant.change.applied(mutant.source), 'tests': tests,
                         'seconds': limit, 'number': 1_000_000_000 + number})
    if answer['status'] is None:
        return (LATE if answer['late'] else KILLED), ''
    if answer['status'] not in (0, 1, 2):
        raise SystemExit(f'{mutant}: exit status {answer["status"]} of pytest\n{answer["said"]}')
    return (KILLED if answer['status'] else SURVIVED), answer['failed']


def read_equivalent() -> set[str]:
    """Lines 'path: change', each below a line '# why'."""
    return {line for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith('#')}


def reach(names: Sequence[str], worker: Worker, file: Path | None) -> dict[str, dict[str, Any]]:
    """Of each test of these modules which functions it calls; says which do not pass as the tree is."""
    if file and file.exists() and file.stat().st_size:
        recorded: dict[str, dict[str, Any]] = json.loads(file.read_text())
        return recorded
    tests: dict[str, dict[str, Any]] = {}
    for called in sorted({test for path in modules(names) for test in tests_of(path)}):
        answer = worker.ask({'files': [called], 'seconds': LONGEST_REACH})
        if answer['status'] not in (0, 1, 5):
            print(f'left out, ended early: {called}\n{answer["said"][-2000:]}', flush=True)
        tests.update(answer.get('tests', {}))
    for test, found in tests.items():
        if not found['passed']:
            print(f'left out, does not pass here: {test}', flush=True)
    if file:
        # opened when it could still be written
        os.write(int(os.environ[REACH]), json.dumps(tests).encode())
    return tests


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
    reached = reach(names, workers[0], given.reach)
    print(f'seed {given.seed}: {len(mutants)} changes; {len(reached)} tests, run once in '
          f'{time.monotonic() - began:.0f} s', flush=True)
    results = []
    for mutant, became, test in attempt(mutants, workers, reached):
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
