"""Runs tests for `benchmarks/mutants.py`, in the copy of the tree that is its working directory.

Reads one job a line (JSON) from its standard input, and prints one answer a line. Each job runs in a process forked
from this one, which has imported what takes long, but nothing of the tree. Nothing but benchmarks/mutants.py starts
it: by that it is in namespaces of its own, where nothing but the copy can be written.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import hypothesis.strategies  # noqa: F401
import nagiosplugin  # noqa: F401
import pytest

TREE = Path.cwd()
LIBRARY = str(TREE / 'check_conntrack_lib') + os.sep
MEMORY, FILE_SIZE, FILES = 2 << 30, 1 << 28, 1024
#: not one of these has run before on the machine
SELECTION = 'not kernel and not daemons and not packages'
OPTIONS = ('-q', '-m', SELECTION, '-p', 'no:cacheprovider', '--hypothesis-seed=0', '--no-header',
           '--tb=line')
#: a test that does one of these may run any function of the library in another process
STARTS = {'subprocess.Popen', 'os.fork', 'os.posix_spawn', 'os.exec'}
#: what a test calls first after so many calls is not noticed: to look at each makes Python many times slower
CALLS = 200_000
#: wall-clock time for each second of CPU time: the machine has other things to do
WAITS = 4
#: seconds without any CPU time after which the tests wait for something that never comes
IDLE = 120.0


def forget() -> None:
    """Empties the library's caches: what a test before remembered is not called again, and so not tested."""
    for name, module in list(sys.modules.items()):
        if name.startswith('check_conntrack_lib'):
            for value in vars(module).values():
                if hasattr(value, 'cache_clear'):
                    value.cache_clear()


class Reach:
    """pytest plugin: of each test which functions of the library it calls, how long it takes, whether it passes."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._called: set[CodeType] = set()
        self._calls = 0
        self._starts = False
        sys.addaudithook(self._audit)

    def _audit(self, event: str, _arguments: object) -> None:
        self._starts = self._starts or event in STARTS

    def _trace(self, frame: FrameType, _event: str, _argument: object) -> None:
        self._called.add(frame.f_code)
        self._calls += 1
        if self._calls > CALLS:
            sys.settrace(None)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        forget()
        self._called, self._calls, self._starts = set(), 0, False
        self.found[item.nodeid] = {'passed': False}
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        began = os.times()
        yield
        sys.settrace(None)
        threading.settrace(None)
        called = [[code.co_filename[len(str(TREE)) + 1:], code.co_firstlineno] for code in self._called
                  if code.co_filename.startswith(LIBRARY)]
        self.found[item.nodeid].update(seconds=sum(os.times()[:4]) - sum(began[:4]),
                                       called=called + [['*', 0]] * self._starts)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == 'call':
            self.found[report.nodeid]['passed'] = report.passed
        elif report.failed:
            self.found[report.nodeid]['passed'] = False


class Chosen:
    """pytest plugin: only these tests, in this order; remembers the one that failed.

    Of a test whose parameters are the library's own, and so may have changed, all are taken.
    """

    def __init__(self, names: list[str]) -> None:
        self.order = {name: number for number, name in enumerate(names)}
        self.failed = ''

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        gone = self.order.keys() - {item.nodeid for item in items}
        changed = {name.partition('[')[0]: self.order[name] for name in gone}
        order = {item.nodeid: self.order.get(item.nodeid, changed.get(item.nodeid.partition('[')[0])) for item in items}
        items[:] = sorted((item for item in items if order[item.nodeid] is not None),
                          key=lambda item: order[item.nodeid] or 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


def reach(files: list[str]) -> dict[str, Any]:
    plugin = Reach()
    status = int(pytest.main([*OPTIONS, *files], [plugin]))
    return {'status': status, 'tests': plugin.found}


def attempt(tests: list[str]) -> dict[str, Any]:
    plugin = Chosen(tests)
    status = int(pytest.main([*OPTIONS, '-x', *sorted({test.partition('::')[0] for test in tests})], [plugin]))
    return {'status': status, 'failed': plugin.failed}


def limited(seconds: float) -> None:
    """What a mutant may take of the machine."""
    os.setsid()
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE_SIZE),
                       (resource.RLIMIT_NOFILE, FILES), (resource.RLIMIT_CORE, 0),
                       (resource.RLIMIT_CPU, int(seconds) + 1)):
        resource.setrlimit(kind, (most, most))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    said = os.open(os.environ['TMPDIR'] + '/said', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)


def ticks_of(session: int) -> int:
    """CPU time of all processes of a session, in clock ticks (proc(5))."""
    ticks = 0
    for path in Path('/proc').glob('[0-9]*/stat'):
        with suppress(OSError):  # it ended meanwhile
            fields = path.read_text().rpartition(') ')[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Its answer; {'status': None} when it ended without one, or took more seconds of CPU time than it may."""
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory, 'answer')
        # the tests put themselves into a process namespace, whose first process answers with the exit status
        child = os.fork()
        if not child:
            limited(job['seconds'])
            sys.argv = ['pytest']
            done = reach(job['files']) if 'files' in job else attempt(job['tests'])
            answer.write_text(json.dumps(done))
            os._exit(0)
        end = time.monotonic() + WAITS * job['seconds']
        used, looked_at = -1, time.monotonic()
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            idle = False
            if time.monotonic() > looked_at + IDLE:
                before, used, looked_at = used, ticks_of(child), time.monotonic()
                idle = used == before
            if idle or time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.02)
        if answer.exists():
            made: dict[str, Any] = json.loads(answer.read_text())
        else:
            late = ended == (0, 0) or os.waitstatus_to_exitcode(ended[1]) == 128 + signal.SIGXCPU
            made = {'status': None, 'late': late}
        return {**made, 'said': Path(os.environ['TMPDIR'], 'said').read_text()}


def main() -> None:
    answers = os.fdopen(os.dup(1), 'w')
    for line in sys.stdin:
        job = json.loads(line)
        path, before = TREE / job.get('path', 'setup.cfg'), b''
        if 'text' in job:
            before, times = path.read_bytes(), path.stat()
            path.write_text(job['text'])
            # what was compiled is recognized by second and size: no two changes may have both in common
            os.utime(path, (job['number'], job['number']))
        answers.write(json.dumps(run(job)) + '\n')
        answers.flush()
        if before:
            path.write_bytes(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


if __name__ == '__main__':
    main()
