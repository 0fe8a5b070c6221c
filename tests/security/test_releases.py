"""What is released: the same bytes at every build, and nothing in it that nobody looked at."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILDER = ROOT / 'packaging/pyz.py'


def build(target: Path, *, epoch: str | None = None, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != 'SOURCE_DATE_EPOCH'}
    environment['PYTHONPATH'] = str(path or '')
    if epoch:
        environment['SOURCE_DATE_EPOCH'] = epoch
    return subprocess.run([sys.executable, str(BUILDER), str(target)], capture_output=True, text=True, timeout=120,
                          env=environment, check=False)


def hashes(target: Path) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(target.glob('*.pyz'))]


@pytest.mark.packages
def test_two_builds_have_the_same_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / 'a', epoch='1795188600')
    time.sleep(2.1)  # an archive's dates are even seconds
    old = os.umask(0o077)
    try:
        second = build(tmp_path / 'b', epoch='1795188600')
    finally:
        os.umask(old)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert len(hashes(tmp_path / 'a')) == 2
    assert hashes(tmp_path / 'a') == hashes(tmp_path / 'b')
    with zipfile.ZipFile(tmp_path / 'a/check_conntrack.pyz') as archive:
        assert {member.date_time for member in archive.infolist()} == {(2026, 11, 20, 15, 30, 0)}
        assert archive.namelist() == sorted(archive.namelist())
    assert build(tmp_path / 'c').returncode == 0
    done = subprocess.run([sys.executable, str(tmp_path / 'c/conntrack-doctor.pyz'), '--version'],
                          capture_output=True, text=True, check=False)
    assert done.stdout.startswith('conntrack-doctor ')


@pytest.mark.packages
def test_a_library_of_another_content_is_refused(tmp_path: Path) -> None:
    import nagiosplugin
    installed = Path(nagiosplugin.__file__).parent
    shutil.copytree(installed, tmp_path / 'nagiosplugin')
    for metadata in installed.parent.glob('nagiosplugin-*'):
        shutil.copytree(metadata, tmp_path / metadata.name)
    with open(tmp_path / 'nagiosplugin/check.py', 'a') as module:
        module.write('\nimport os\n')
    done = build(tmp_path / 'out', path=tmp_path)
    assert done.returncode == 1
    assert 'not one of those in packaging/pyz.py' in done.stderr
    assert hashes(tmp_path / 'out') == []
