"""benchmarks/versions.py counts what a run of the suite says; its own runs are too long for a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import versions

SUITE = """
import pytest
def test_good(): pass
def test_bad(): assert False
@pytest.fixture
def broken(): assert False
def test_error(broken): pass
@pytest.mark.skip(reason='no such thing')
def test_left_out(): pass
@pytest.mark.kernel
def test_elsewhere(): assert False
"""


@pytest.mark.slow
def test_every_outcome_is_counted(tmp_path: Path) -> None:
    for name in ('tree', 'memory'):
        (tmp_path / name).mkdir()
    (tmp_path / 'tree/test_it.py').write_text(SUITE)
    result = versions.run_suite(Path(sys.executable), tmp_path / 'tree', tmp_path / 'memory')
    assert (result.passed, result.failed, result.skipped) == (1, ['test_it::test_bad', 'test_it::test_error'],
                                                              ['no such thing'])
    assert not result.good
    assert result.row().startswith(f'| {versions.name(sys.executable)} | 1.')


def test_a_suite_that_does_not_start_is_no_success(tmp_path: Path) -> None:
    result = versions.run_suite(Path('/bin/false'), tmp_path, tmp_path)
    assert (result.good, result.trouble) == (False, 'it said nothing')


@pytest.mark.slow
def test_each_interpreter_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, 'PLACES', (str(tmp_path), '/nonexistent', str(tmp_path)))
    for name in ('python3.8', 'python3.9', 'python3.9-config', 'python3.10'):
        (tmp_path / name).symlink_to(sys.executable)
    (tmp_path / 'python3.11').symlink_to('/nonexistent')
    (tmp_path / 'python3.12').write_text('not executable')
    found = versions.here()
    assert [path.parent for path in found] == [tmp_path]
    assert [versions.name(path) for path in found] == [versions.name(sys.executable)]
