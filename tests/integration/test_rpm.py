"""The RPM: built, read by rpmlint, installed into a bare root, and run from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: said of every RPM that is built outside a distribution
NOT_OURS = {'no-signature', 'no-packager-tag', 'no-group-tag'}
pytestmark = [pytest.mark.packages, pytest.mark.skipif(not shutil.which('rpmbuild'), reason='apt install rpm')]


@pytest.fixture(scope='module')
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp('rpm')
    environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    subprocess.run([ROOT / 'packaging/rpm.sh', target, sys.executable], check=True, stdout=subprocess.DEVNULL,
                   env=environment)
    return next(target.glob('*.noarch.rpm'))


@pytest.mark.skipif(not shutil.which('rpmlint'), reason='apt install rpmlint')
def test_rpmlint(rpm: Path) -> None:
    done = subprocess.run(['rpmlint', rpm], capture_output=True, text=True, check=False)
    errors = set(re.findall(r'^\S+: E: ([\w-]+)', done.stdout, re.M))
    assert errors <= NOT_OURS, done.stdout


def test_what_it_needs(rpm: Path) -> None:
    needs = subprocess.run(['rpm', '-qp', '--requires', rpm], capture_output=True, text=True, check=True).stdout
    assert {line for line in needs.splitlines() if not line.startswith('rpmlib(')} == {sys.executable}


@pytest.mark.parametrize(('macros', 'python'), [
    (['rhel 8', 'dist .el8'], '/usr/bin/python3.9'),
    (['rhel 9', 'dist .el9'], '/usr/bin/python3'),
    (['fedora 42', 'dist .fc42'], '/usr/bin/python3'),
    (['suse_version 1500'], '/usr/bin/python3.11'),
    (['suse_version 1600'], '/usr/bin/python3'),
    ([], '/usr/bin/python3'),
])
def test_interpreter_of_each_distribution(macros: list[str], python: str) -> None:
    """As their rpmbuild defines it."""
    said = subprocess.run(['rpmspec', '-q', '--requires', '--define', 'version_of_checkout 1', '--undefine', 'python',
                           *(part for macro in macros for part in ('--define', macro)),
                           ROOT / 'packaging/check-conntrack.spec'], capture_output=True, text=True, check=True)
    # what rpm itself has, such as Lua for the scriptlets, counts as no need
    assert [line for line in said.stdout.splitlines() if not line.startswith('rpmlib(')] == [python]


def test_installed_into_a_bare_root(rpm: Path, tmp_path: Path) -> None:
    root = tmp_path / 'root'
    root.mkdir()
    # the interpreter is this machine's: no package of the bare root has it
    subprocess.run(['rpm', '--root', root, '--install', '--nodeps', rpm], check=True)
    assert sorted(path.name for path in (root / 'usr/lib/systemd/system').iterdir()) == [
        'conntrack-exporter.service', 'conntrack-textfile.service', 'conntrack-textfile.timer']
    for name in ('usr/lib/nagios/plugins/check_conntrack.py', 'usr/lib64/nagios/plugins/check_conntrack.py',
                 'usr/sbin/check_conntrack'):
        done = subprocess.run([root / name, '--procfs', ROOT / 'tests/hosts/quiet-gateway/proc', '--history', 'off',
                               '--kernel-log', 'off'], cwd='/', capture_output=True, text=True, check=False)
        assert done.stdout.startswith('CONNTRACK OK - 12.4% used (32512 of 262144)'), done.stderr
        assert done.returncode == 0
    done = subprocess.run([root / 'usr/sbin/conntrack-doctor', '--version'], cwd='/', capture_output=True, text=True,
                          check=False)
    assert done.stdout.startswith('conntrack-doctor ')
    subprocess.run(['rpm', '--root', root, '--erase', 'check-conntrack'], check=True)
    assert not (root / 'usr/lib/systemd/system/conntrack-exporter.service').exists()
    files = subprocess.run(['rpm', '-qplv', rpm], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {f'/usr/share/{place}' for name in ('check_conntrack', 'conntrack-doctor') for place in (
        f'bash-completion/completions/{name}', f'zsh/site-functions/_{name}', f'check-conntrack/{name}.tcsh')} \
        <= {line.split()[-1] for line in files}
    modes = r'(-rw-r--r--|-rwxr-xr-x|drwxr-xr-x|lrwxrwxrwx) .* root +root '
    assert [line for line in files if not re.match(modes, line)] == []
