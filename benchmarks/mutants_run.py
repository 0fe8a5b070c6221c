"""Tries the changes of `benchmarks/mutants.py` by the tests, in copies of the tree that nothing leads out of."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks.mutants_changes import Change

ROOT = Path(__file__).parent.parent
PACKAGES = ('analysis', 'history', 'readers', 'plugin')
#: where else tests of a module are
OTHERS = (*PACKAGES, 'netns', 'security')
GOLDENS = 'tests/plugin/test_golden.py'
MEMORY = Path('/dev/shm')
NOT_COPIED = ('.git', '.venv', '.hypothesis', '.*_cache', '__pycache__', '*.egg-info', 'build', 'dist')
#: in the place of a function: a test that starts other processes
EVERYTHING = '*'
#: the descriptor of the file that `reach` is recorded in
REACH = 'CHECK_CONNTRACK_REACH'
#: of the CPU time that the tests took before, and beside it, in seconds
SLOWER, LONGER = 5, 10
LONGEST_REACH = 1800
#: a test that takes more seconds of CPU time is left out
SLOWEST = 3.0
KILLED, LATE, SURVIVED, UNREACHED, EQUAL = 'killed', 'too slow', 'survived', 'not reached', 'equivalent'
Job = TypeVar('Job')
Answer = TypeVar('Answer')


class Mutant(NamedTuple):
    """A change of one module: its path below the tree."""

    path: str
    change: Change
    source: str

    def __str__(self) -> str:
        return f'{self.path}:{self.change.line}: {self.change.says}'

    def key(self) -> str:
        """As a line of the list of equivalent changes names it: line numbers come and go."""
        (first, start), (last, end) = self.change.begin, self.change.end
        lines = [line.encode() for line in self.source.splitlines()[first - 1:last]]
        before = b' '.join(line.strip() for line in lines)
        after = lines[0][:start] + self.change.new.encode() + lines[-1][end:]
        return f'{self.path}: {before.decode()} => {after.decode().strip()}'


def modules(names: Sequence[str]) -> list[str]:
    """Paths of the modules of these packages, or of these modules ('analysis/trend')."""
    found = []
    for name in names:
        path = ROOT / 'check_conntrack_lib' / name
        of_name = sorted(path.glob('*.py')) if path.is_dir() else [path.with_suffix('.py')]
        found += [str(one.relative_to(ROOT)) for one in of_name]
    return found


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
    """Nothing but `directory` and a /dev/shm of its own can be written from now on; both are in memory."""
    subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', directory], check=True)
    for line in Path('/proc/self/mountinfo').read_text().splitlines():
        place = line.split()[4].encode().decode('unicode_escape')
        # a device file can be written on a read-only mount, too
        if place not in (str(directory), '/dev/pts'):
            subprocess.run(['mount', '-o', 'remount,bind,ro', place], stderr=subprocess.DEVNULL)
    if os.access('/etc', os.W_OK):
        raise SystemExit('/ cannot be made read-only here')
    if MEMORY.is_dir():
        # the tests' databases: in their place the long names below `directory` would be cut in what is printed
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'mode=1777', 'tmpfs', MEMORY], check=True)


def shared(jobs: Sequence[Job], workers: Sequence[Worker], do: Callable[[int, Job, Worker], Answer]
           ) -> Iterator[tuple[Job, Answer]]:
    """Each job with its answer, in their order as far as they are done; every worker does one at a time."""
    waiting = list(enumerate(jobs))[::-1]
    done: dict[int, Answer | BaseException] = {}
    news = threading.Condition()

    def work(worker: Worker) -> None:
        while True:
            with news:
                if not waiting:
                    return
                number, job = waiting.pop()
            answer: Answer | BaseException
            try:
                answer = do(number, job, worker)
            except BaseException as error:  # for the thread that waits for it
                answer = error
            with news:
                done[number] = answer
                news.notify()

    for worker in workers:
        threading.Thread(target=work, args=(worker,), daemon=True).start()
    for number, job in enumerate(jobs):
        with news:
            while number not in done:
                news.wait()
            answer = done[number]
        if isinstance(answer, BaseException):
            raise answer
        yield job, answer


def attempt(number: int, mutant: Mutant, worker: Worker, reached: Mapping[str, Mapping[str, Any]],
            equivalent: Collection[str]) -> tuple[str, str]:
    """What became of it, and the test that noticed it."""
    if mutant.key() in equivalent:
        return EQUAL, ''
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


def reach(names: Sequence[str], workers: Sequence[Worker], record: Path | None) -> dict[str, dict[str, Any]]:
    """Of each test of these modules which functions it calls; says which do not pass as the tree is.

    record: a file with that of before, as far as neither the file of tests nor the library has changed since.
    """
    known = json.loads(record.read_text() or '{}') if record and record.exists() else {}
    library = b''.join(path.read_bytes() for path in sorted((ROOT / 'check_conntrack_lib').rglob('*.py')))
    files = {test: hashlib.sha256(library + (ROOT / test).read_bytes()).hexdigest()
             for path in modules(names) for test in tests_of(path)}
    new = [test for test, version in files.items() if known.get(test, {}).get('version') != version]
    for test, answer in shared(new, workers, lambda _number, test, worker: worker.ask(
            {'files': [test], 'seconds': LONGEST_REACH})):
        if answer['status'] not in (0, 1, 5):
            print(f'left out, ended early: {test}\n{answer["said"][-2000:]}', flush=True)
        known[test] = {'version': files[test], 'tests': answer.get('tests', {})}
    if record and new:
        # opened when it could still be written
        os.ftruncate(int(os.environ[REACH]), 0)
        os.write(int(os.environ[REACH]), json.dumps(known).encode())
    tests: dict[str, dict[str, Any]] = {name: found for test in files for name, found in known[test]['tests'].items()}
    for name, found in tests.items():
        if not found['passed']:
            print(f'left out, does not pass here: {name}', flush=True)
    return tests
