"""Shared fixtures: scenario hosts, a clock that stands still, output as a monitoring system sees it."""

from __future__ import annotations

import os
import time

import nagiosplugin
import pytest

# numpy's threads (by matplotlib) would take the alarms that the tested thread holds back
os.environ['OPENBLAS_NUM_THREADS'] = '1'
REASONS_CI_CANNOT_CURE = ('this kernel', 'no Python ')


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--update-golden', action='store_true', help='write tests/golden anew from what is printed now')


@pytest.fixture(autouse=True)
def _fresh_nagiosplugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """nagiosplugin's runtime is a singleton."""
    monkeypatch.setattr(nagiosplugin.Runtime, 'instance', None)


@pytest.fixture(autouse=True)
def _private_state(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test may write to this user's real history."""
    monkeypatch.setenv('NAGIOS_PLUGIN_STATE_DIRECTORY', str(tmp_path_factory.mktemp('state')))
    monkeypatch.delenv('SUDO_UID', raising=False)
    monkeypatch.setenv('TZ', 'UTC')
    time.tzset()


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
