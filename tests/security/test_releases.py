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


@pytest.mark.packages
def test_root_runs_the_archives_in_a_directory_of_somebody(tmp_path: Path) -> None:
    """Modules, programs and settings lie ready there: none of them is taken."""
    assert build(tmp_path / 'made').returncode == 0
    trap = tmp_path / 'trap'
    trap.mkdir()
    taken = tmp_path / 'taken'
    for name in ('sqlite3', 'nagiosplugin', 'check_conntrack_lib', 'argparse', 'socket', 'os', 'gc', 'sitecustomize',
                 'usercustomize', '__main__', 'zipimport', 'json'):
        (trap / f'{name}.py').write_text(f'open({str(taken)!r}, "w")\n')
        (trap / name).mkdir()
        (trap / name / '__init__.py').write_text(f'open({str(taken)!r}, "w")\n')
    for name in ('journalctl', 'nft', 'iptables-save', 'python3', 'env', 'sh'):
        (trap / name).write_text(f'#!/bin/sh\n: > {taken}\n')
        (trap / name).chmod(0o755)
    (trap / 'pyvenv.cfg').write_text('home = .\n')
    (trap / 'x.pth').write_text(f'import os; open({str(taken)!r}, "w")\n')
    before = sorted(trap.rglob('*'))
    hostile = {name: str(trap) for name in (
        'PYTHONPATH', 'PYTHONHOME', 'PYTHONUSERBASE', 'PYTHONPLATLIBDIR', 'TMPDIR', 'SQLITE_TMPDIR', 'XDG_STATE_HOME',
        'XDG_CONFIG_HOME', 'HOME', 'LOCPATH', 'GCONV_PATH', 'TERMINFO', 'PROMETHEUS_MULTIPROC_DIR', 'KUBECONFIG')}
    hostile.update(PYTHONSTARTUP=str(trap / 'os.py'), PYTHONINSPECT='1', PYTHONWARNINGS='error', TZ=':/etc/passwd',
                   PYTHONPYCACHEPREFIX=str(trap), COLUMNS='-1', LC_ALL='x' * 5000, NO_COLOR='', TERM='../../x')
    made = tmp_path / 'made'
    for command in ((made / 'check_conntrack.pyz', '--history', 'off', '--kernel-log', 'off'),
                    (made / 'conntrack-doctor.pyz', 'triage', '--kernel-log', 'off')):
        done = subprocess.run(list(map(str, command)), cwd=trap, env={'PATH': '/usr/bin:/bin', **hostile},
                              capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        assert done.stderr == ''
        assert done.stdout.startswith(('CONNTRACK ', 'conntrack-doctor triage: '))
        assert not taken.exists()
    assert sorted(trap.rglob('*')) == before
