"""Shared fixtures: scenario hosts, a clock that stands still, output as a monitoring system sees it."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import isolation
import nagiosplugin
import pytest

from check_conntrack_lib.deadline import Deadline
from check_conntrack_lib.diagnosis import sample
from check_conntrack_lib.plugin import cli

# numpy's threads (by matplotlib) would take the alarms that the tested thread holds back
os.environ['OPENBLAS_NUM_THREADS'] = '1'
MEMORY = '/dev/shm'
#: tests of these marks run in one process of pytest-xdist
GROUPS = {'machine': ('kernel', 'daemons'), 'packages': ('packages',)}
_numbers = itertools.count()
REASONS_CI_CANNOT_CURE = ('this kernel', 'no Python ', 'no base image')

os.environ['TZ'] = 'UTC'
time.tzset()

# as with an installed plugin, here and in what the tests start: without it each process compiles the library, and each
# run rewrites all asserts, which is a third of what the quick tests cost
sys.dont_write_bytecode = False
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)

# no test is about how fast this machine is: readings in this process have ten times the time. Tests of what comes late
# set limits of their own, or start a process
_budget = Deadline.budget
Deadline.budget = lambda deadline, most=2.0: _budget(deadline, 10 * most)  # type: ignore[method-assign,misc]
sample.SAMPLE_SECONDS *= 10
sample.COUNT_SECONDS *= 10
hypothesis.settings.register_profile('any machine', deadline=None)
hypothesis.settings.load_profile('any machine')

# thousands of collected tests stay until the end: to look through them for garbage again and again takes a tenth
gc.set_threshold(50_000, 20, 100)

# a shell ignores it for what it starts with '&', and ignored it would stay in all that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--update-golden', action='store_true', help='write tests/golden anew from what is printed now')


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main() -> int | None:
    """Root's tests run in namespaces of their own."""
    status = isolation.enter()
    if status is not None:
        # nothing of this process is of use any more; at its exit it would write over what the tests' process wrote
        os._exit(status)
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Those that look at all namespaces run one after the other; xdist reads the mark as soon as all are collected."""
    group = next((name for name, marks in GROUPS.items() if any(map(item.get_closest_marker, marks))), None)
    if group:
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is begun first."""
    items.sort(key=lambda item: (item.get_closest_marker('xdist_group') is None,
                                 item.get_closest_marker('slow') is None))


def pytest_collection_finish() -> None:
    gc.freeze()


@pytest.fixture(scope='session')
def _places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where directories are made: of tests that fill them, and of the others, whose databases a disk makes slow."""
    disk = tmp_path_factory.mktemp('tests')
    in_memory = isolation.isolated() and not tmp_path_factory._given_basetemp
    return disk, Path(tempfile.mkdtemp(dir=os.environ[isolation.MARK])) if in_memory else disk


@pytest.fixture
def tmp_path(_places: tuple[Path, Path], request: pytest.FixtureRequest) -> Path:
    """A new directory, with --basetemp=DIR one that is still there after the tests.

    pytest's own fixture looks for each at all that were made before, of which there are thousands at the end.
    """
    fills = any(map(request.node.get_closest_marker, itertools.chain(*GROUPS.values())))
    name = re.sub(r'[^0-9A-Za-z_]', '_', request.node.name)[:30]
    path = _places[0 if fills else 1] / f'{name}-{next(_numbers)}'
    path.mkdir(0o700)
    return path


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, _places: tuple[Path, Path],
           request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test would leave to another, or take from this user. One fixture: each costs a millisecond a test."""
    # nagiosplugin's runtime is a singleton
    monkeypatch.setattr(nagiosplugin.Runtime, 'instance', None)
    # it ends the process, which is the tests' own here; what it does is tried with whole runs (tests/security)
    monkeypatch.setattr(cli, '_last_resort', None)
    # no test may write to this user's real history
    state = _places[1] / f'state-{next(_numbers)}'
    state.mkdir(0o700)
    monkeypatch.setenv('NAGIOS_PLUGIN_STATE_DIRECTORY', str(state))
    monkeypatch.delenv('SUDO_UID', raising=False)
    # packages are installed from where pip finds them
    with isolation.true_network() if request.node.get_closest_marker('packages') else contextlib.nullcontext():
        yield


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A directory for databases: on a disk each of thousands of transactions would be waited for."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else tmp_path) as directory:
        yield Path(directory)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """In CI a skipped test is a failure, unless nothing there could cure the reason."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get('CI') and report.skipped and not hasattr(report, 'wasxfail'):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(known in reason for known in REASONS_CI_CANNOT_CURE):
            report.outcome = 'failed'
            report.longrepr = f'skipped in CI: {reason}'
