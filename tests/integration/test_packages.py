"""What is released: built as the release is, installed for real, and gone again without a trace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import stage
from packaging.metadata import Metadata

from check_conntrack_lib import __version__

pytestmark = pytest.mark.packages

CHECKOUT = stage.CHECKOUT
PACKAGING = CHECKOUT / 'packaging'
PROGRAMS = ('check_conntrack', 'conntrack-doctor')
QUIET = CHECKOUT / 'tests/hosts/quiet-gateway'
ON_A_QUIET_HOST = ['--procfs', str(QUIET / 'proc'), '--kernel-log', str(QUIET / 'kmsg.log'), '--history', 'off']
UNKNOWN = 3
BUILD_TOOLS = {
    'ansible-lint': 'ansible-lint',
    'ansible-playbook': 'ansible-core',
    'bash': 'bash',
    'dh': 'debhelper',
    'dh_python3': 'dh-python',
    'dpkg-buildpackage': 'dpkg-dev',
    'fakeroot': 'fakeroot',
    'g++': 'build-essential',
    'groff': 'groff-base',
    'lintian': 'lintian',
}


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program, path='/usr/bin:/bin'):
            pytest.skip(f'no {program}: apt-get install {BUILD_TOOLS[program]}')


def run(*argv: str | Path, timeout: float = 60, cwd: Path | str = '/') -> subprocess.CompletedProcess[str]:
    """Runs a command with nothing of this environment."""
    return subprocess.run([str(part) for part in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, cwd=cwd, env=stage.ENVIRONMENT)


def build(*argv: str | Path) -> None:
    done = run(*argv)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manual pages."""
    target = tmp_path_factory.mktemp('made')
    build(sys.executable, PACKAGING / 'manpages.py', target / 'man')
    return target


def options(program: str) -> set[str]:
    """Every long option in the help, of every verb."""
    module = ['-m', 'check_conntrack_lib'] if program == 'conntrack-doctor' else ['check_conntrack.py']
    text = run(sys.executable, *module, '--help', cwd=CHECKOUT).stdout
    for verb in re.findall(r'^    (\w+) ', text, re.M) if len(module) > 1 else []:
        text += run(sys.executable, *module, verb, '--help', cwd=CHECKOUT).stdout
    return set(re.findall(r'^  (?:-\w[ \w]*, )?(--[a-z-]+)', text, re.M))


def test_one_version_everywhere() -> None:
    assert (CHECKOUT / 'debian/changelog').read_text().startswith(f'check-conntrack ({__version__}) ')


# manual pages


@pytest.mark.parametrize('program', PROGRAMS)
def test_manual_page(made: Path, program: str) -> None:
    """Rendered without a warning, with every option of the help."""
    need('groff')
    done = run('groff', '-ww', '-man', '-Tascii', '-P-cbou', made / f'man/{program}.8')
    assert (done.returncode, done.stderr) == (0, '')
    assert re.search(rf'^NAME\n +{program} +- +\w.*', done.stdout, re.M)
    assert options(program) >= {'--kernel-log', '--help', '--version'}
    for option in options(program):
        assert re.search(rf'^ +(-\w( \w+)?, )?{option}\b', done.stdout, re.M), option


# one file


@pytest.fixture(scope='module')
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage.need_plugin()
    target = tmp_path_factory.mktemp('pyz')
    # the interpreter that will run them
    build('/usr/bin/python3', PACKAGING / 'pyz.py', target)
    return target


#: without what is installed: no site-packages, no environment
ALONE = ['/usr/bin/python3', '-I', '-S']


def test_archive_needs_nothing_else(archives: Path) -> None:
    assert run(*ALONE, '-c', 'import nagiosplugin').returncode
    expected = run('/usr/bin/python3', CHECKOUT / 'check_conntrack.py', *ON_A_QUIET_HOST)
    assert expected.stdout.startswith('CONNTRACK OK - ')
    done = run(*ALONE, archives / 'check_conntrack.pyz', *ON_A_QUIET_HOST)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected.stdout, '')
    doctor = run(*ALONE, archives / 'conntrack-doctor.pyz', 'watch', '--count', '1', *ON_A_QUIET_HOST[:4])
    assert (doctor.returncode, doctor.stderr) == (0, '')
    # by themselves, and under the name that the shipped configuration calls
    assert run(archives / 'conntrack-doctor.pyz', '--version').stdout == f'conntrack-doctor {__version__}\n'
    plugin = shutil.copy(archives / 'check_conntrack.pyz', archives / 'check_conntrack.py')
    done = run(plugin, '--version')
    assert (done.returncode, done.stdout) == (UNKNOWN, f'check_conntrack {__version__}\n')


def test_archive_is_compiled_and_another_python_takes_the_source(archives: Path, tmp_path: Path) -> None:
    code = ('import sys; sys.path.insert(0, sys.argv[1]); import check_conntrack_lib.snapshot, nagiosplugin; '
            'print(check_conntrack_lib.snapshot.__file__, nagiosplugin.__file__)')
    files = run(*ALONE, '-c', code, archives / 'check_conntrack.pyz').stdout.split()
    assert [Path(file).suffix for file in files] == ['.pyc', '.pyc']
    foreign = tmp_path / 'foreign.pyz'
    with zipfile.ZipFile(archives / 'check_conntrack.pyz') as ours, zipfile.ZipFile(foreign, 'w') as theirs:
        for name in ours.namelist():
            theirs.writestr(name, b'????' + ours.read(name)[4:] if name.endswith('.pyc') else ours.read(name))
    done = run(*ALONE, foreign, *ON_A_QUIET_HOST)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('CONNTRACK OK - ')


def test_archive_carries_the_licences(archives: Path) -> None:
    with zipfile.ZipFile(archives / 'check_conntrack.pyz') as archive:
        assert archive.read('LICENSE') == (CHECKOUT / 'LICENSE').read_bytes()
        assert b'Zope' in archive.read('nagiosplugin/LICENCE')


# wheel and sdist


@pytest.fixture(scope='module')
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist; from a copy, since setuptools leaves its traces."""
    copy = tmp_path_factory.mktemp('checkout') / 'checkout'
    shutil.copytree(CHECKOUT, copy, symlinks=True,
                    ignore=shutil.ignore_patterns('.*', '__pycache__', '*.egg-info', 'build', 'dist'))
    target = tmp_path_factory.mktemp('dist')
    build(sys.executable, '-m', 'build', '--no-isolation', '--outdir', target, copy)
    return target


def shipped(folder: str) -> set[str]:
    return {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / folder).rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}


def test_sdist_is_the_checkout(distributions: Path) -> None:
    """All but the tests: setuptools drops the links in their captured /proc trees."""
    with tarfile.open(next(distributions.glob('*.tar.gz'))) as sdist:
        names = {name.partition('/')[2] for name in sdist.getnames()}
    for folder in ('check_conntrack_lib', 'icinga', 'packaging', 'debian', 'docs', 'benchmarks'):
        assert names >= shipped(folder), folder
    top = {path.name for path in CHECKOUT.iterdir() if path.is_file() and not path.name.startswith('.')}
    assert names >= top >= {'README.md', 'CONTRIBUTING.md', 'LICENSE', 'check_conntrack.py', 'setup.cfg'}


def test_metadata(distributions: Path) -> None:
    """Valid, as PyPI asks for it; every Python from the oldest on is named."""
    with zipfile.ZipFile(next(distributions.glob('*.whl'))) as wheel:
        found = Metadata.from_email(wheel.read(f'check_conntrack-{__version__}.dist-info/METADATA'), validate=True)
    assert found.description == (CHECKOUT / 'README.md').read_text()
    assert found.license_expression == 'MIT'
    assert found.description_content_type == 'text/markdown'
    minors = [int(named) for named in re.findall(r'Python :: 3\.(\d+)\n', '\n'.join(found.classifiers or []) + '\n')]
    assert str(found.requires_python) == f'>=3.{minors[0]}'
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert sys.version_info[1] in minors


def test_wheel_in_a_fresh_environment(distributions: Path, tmp_path: Path) -> None:
    build(sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'venv')
    done = subprocess.run([sys.executable, '-m', 'pip', '--python', str(tmp_path / 'venv/bin/python'), 'install', '-q',
                           '--disable-pip-version-check', str(next(distributions.glob('*.whl')))],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    programs = tmp_path / 'venv/bin'
    version = run(programs / 'check_conntrack', '--version')
    assert (version.returncode, version.stdout) == (UNKNOWN, f'check_conntrack {__version__}\n')
    checked = run(programs / 'check_conntrack', *ON_A_QUIET_HOST)
    assert checked.returncode == 0
    assert checked.stdout.startswith('CONNTRACK OK - ')
    assert run(programs / 'conntrack-doctor', '--version').stdout == f'conntrack-doctor {__version__}\n'
    share = tmp_path / 'venv/share/check_conntrack'
    assert {str(path.relative_to(share)) for path in share.rglob('*') if path.is_file()} == shipped('icinga')


# Debian


class Machine:
    """This machine, with whatever is changed on it kept apart: the real dpkg, and nothing installed afterwards."""

    def __init__(self, debs: Path) -> None:
        # an overlay cannot keep its changes on another overlay, such as a container's root
        self.root = Path(tempfile.mkdtemp(prefix='check_conntrack-machine-', dir='/dev/shm'))
        self.changes = self.root / 'changes'
        for place in ('changes', 'work', 'seen'):
            (self.root / place).mkdir(mode=0o755)
        self.root.chmod(0o755)
        seen = self.root / 'seen'
        mounts = [f'mount -t overlay overlay -o lowerdir=/,upperdir={self.changes},workdir={self.root}/work {seen}',
                  *(f'mount --rbind /{place} {seen}/{place}' for place in ('proc', 'sys', 'dev')),
                  f'mount --bind {debs} {seen}/mnt', f'exec chroot {seen} "$@"']
        (self.root / 'enter').write_text(' || exit\n'.join(mounts) + '\n')

    def run(self, *argv: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        inside = ['setpriv', f'--reuid={user}', f'--regid={user}', '--clear-groups'] if user else []
        return run('unshare', '--mount', 'sh', self.root / 'enter', *inside, *argv)

    def do(self, *argv: str, user: str | None = None) -> str:
        """Runs what must succeed."""
        done = self.run(*argv, user=user)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *packages: str) -> None:
        self.do('dpkg', '-i', *(f'/mnt/{package}.deb' for package in packages))

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of the administrator's."""
        self.do('sh', '-c', 'cat > "$1" <<"EOF"\n' + text + '\nEOF\nchmod "$2" "$1"', 'sh', path, oct(mode)[2:])

    def traces(self) -> list[str]:
        """What is on it now and was not before, but for the journals and caches of dpkg and man, and root's own."""
        new = []
        for path in sorted(self.changes.rglob('*')):
            inside = '/' + str(path.relative_to(self.changes))
            known = os.path.lexists(inside)
            if not known and not re.match('/(var/(lib/dpkg|log|cache/man)|root|run)/', inside):
                new.append(inside)
        return new

    def close(self) -> None:
        shutil.rmtree(self.root)


@pytest.fixture(scope='module')
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages under their bare names, and a later version of the plugin's."""
    stage.need('icinga2', 'sudo', 'nrpe', f'{stage.PLUGINS}/check_nrpe')
    stage.need_plugin()
    need('dpkg-buildpackage', 'dh', 'dh_python3', 'fakeroot', 'g++')
    target = tmp_path_factory.mktemp('debs')
    build('sh', PACKAGING / 'deb.sh', target)
    target.chmod(0o755)
    for name in ('check-conntrack', 'check-conntrack-icinga2'):
        (target / f'{name}_{__version__}_all.deb').rename(target / f'{name}.deb')
    later = target / 'later'
    build('dpkg-deb', '-R', target / 'check-conntrack.deb', later)
    control = later / 'DEBIAN/control'
    control.write_text(control.read_text().replace(f'Version: {__version__}', f'Version: {__version__}+later'))
    build('dpkg-deb', '--root-owner-group', '-b', later, target / 'check-conntrack-later.deb')
    return target


@contextmanager
def opened(directory: Path) -> Iterator[Machine]:
    """A machine with this directory at /mnt, or the test is skipped."""
    made = Machine(directory)
    try:
        tried = made.run('true')
        if tried.returncode:
            pytest.skip(f'this kernel or container lets nobody mount an overlay: {tried.stderr.strip()}')
        yield made
    finally:
        made.close()


@pytest.fixture
def machine(debs: Path) -> Iterator[Machine]:
    with opened(debs) as made:
        yield made


PLUGIN = stage.PLUGIN
HISTORY = '/var/lib/check_conntrack/history.sqlite'
NRPE = '/etc/nagios/nrpe.d/check_conntrack.cfg'
ICINGA = f"""
const PluginDir = "{stage.PLUGINS}"
const PluginContribDir = "{stage.PLUGINS}"
const ManubulonPluginDir = PluginDir
const NodeName = "test"
include <itl>
include <plugins>
include <plugins-contrib>
object Host "gw1" {{ check_command = "conntrack" }}
object Host "gw2" {{ check_command = "conntrack_sudo" }}
"""


def test_lintian(debs: Path) -> None:
    need('lintian')
    done = run('lintian', '--allow-root', '--fail-on', 'error', *debs.glob('check-conntrack*[!r].deb'))
    assert done.returncode == 0, done.stdout
    assert 'E: ' not in done.stdout


def test_debian_package_from_installation_to_purge(machine: Machine) -> None:
    machine.install('check-conntrack', 'check-conntrack-icinga2')
    assert machine.do('stat', '-c', '%U:%G %a', '/var/lib/check_conntrack').strip() == 'nagios:nagios 750'
    assert machine.do(PLUGIN, '-w', 'off', '-c', 'off', '--trend', 'off', user=stage.USER).startswith('CONNTRACK OK')
    assert machine.do('stat', '-c', '%U', HISTORY).strip() == 'nagios'
    version = machine.run('check_conntrack', '--version')
    assert (version.returncode, version.stdout) == (UNKNOWN, f'check_conntrack {__version__}\n')
    assert machine.do('conntrack-doctor', '--version') == f'conntrack-doctor {__version__}\n'
    for program in PROGRAMS:
        assert machine.do('man', '-w', program).strip() == f'/usr/share/man/man8/{program}.8.gz'
        for file in (f'bash-completion/completions/{program}', f'zsh/vendor-completions/_{program}',
                     f'check-conntrack/{program}.tcsh'):
            assert machine.do('test', '-r', f'/usr/share/{file}') == ''

    # nothing of the caller's Python reaches it
    machine.put('/tmp/nagiosplugin.py', 'raise SystemExit("trapped")')
    assert machine.do('env', 'PYTHONPATH=/tmp', PLUGIN, '--kernel-log', 'off').startswith('CONNTRACK OK')

    # sudo, by the example
    refused = machine.run('sudo', '-n', PLUGIN, user=stage.USER)
    assert (refused.returncode, refused.stdout) == (1, '')
    assert 'password is required' in refused.stderr
    machine.do('install', '-m', '440', '/usr/share/doc/check-conntrack/examples/sudoers.d/check_conntrack',
               '/etc/sudoers.d/check_conntrack')
    # a host whose name only the DNS knows: sudo's warning would come before the first line
    machine.put('/etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files')
    machine.put('/etc/hosts', '127.0.0.1 localhost')
    checked = machine.run('sudo', '-n', PLUGIN, user=stage.USER)
    assert checked.stdout.startswith('CONNTRACK OK')
    assert (checked.returncode, checked.stderr) == (0, '')

    # NRPE as Debian configures it finds its commands, in a network of its own where the port is free
    script = ('ip link set lo up; mkdir -p /run/nagios; nrpe -c /etc/nagios/nrpe.cfg -f & '
              f'for k in 1 2 3 4 5 6 7 8 9; do sleep 0.2; {stage.PLUGINS}/check_nrpe -H 127.0.0.1 && break; done; '
              f'for c in check_conntrack check_conntrack_sudo; do {stage.PLUGINS}/check_nrpe -H 127.0.0.1 -c $c; done; '
              'kill $!')
    answers = machine.run('unshare', '--net', 'sh', '-c', script).stdout
    assert len(re.findall(r'^CONNTRACK OK - 0\.0% used', answers, re.M)) == 2, answers

    # Icinga finds the commands, and the plugin where they look for it
    machine.put('/tmp/icinga2.conf', ICINGA)
    places = [part for name in ('DataDir', 'LogDir', 'CacheDir', 'SpoolDir', 'InitRunDir', 'ConfigDir', 'ZonesDir')
              for part in ('-D', f'{name}=/tmp/icinga2')]
    machine.do('mkdir', '/tmp/icinga2')
    as_root = ['env', 'ICINGA2_USER=root', 'ICINGA2_GROUP=root', 'icinga2']
    machine.do(*as_root, 'daemon', '-C', '-c', '/tmp/icinga2.conf', *places)
    for command in ('conntrack', 'conntrack_sudo'):
        listed = machine.do(*as_root, 'object', 'list', '--type', 'CheckCommand', '--name', command, *places)
        assert f'"{PLUGIN}" ]' in listed

    # an upgrade keeps what is recorded and what was configured
    machine.do('sh', '-c', f'echo "# mine" >> {NRPE}')
    before = machine.do('stat', '-c', '%U %i', HISTORY)
    machine.install('check-conntrack-later')
    assert machine.do('dpkg-query', '-W', '-f', '${Version}', 'check-conntrack') == f'{__version__}+later'
    assert machine.do('stat', '-c', '%U %i', HISTORY) == before
    assert machine.do('tail', '-n', '1', NRPE) == '# mine\n'
    assert machine.do(PLUGIN, '--kernel-log', 'off', user=stage.USER).startswith('CONNTRACK OK')

    # so does a removal
    machine.do('rm', '-r', '/tmp/nagiosplugin.py', '/tmp/icinga2.conf', '/tmp/icinga2',
               '/etc/sudoers.d/check_conntrack')
    machine.do('dpkg', '-r', 'check-conntrack', 'check-conntrack-icinga2')
    # Debian's own record of units that may be enabled
    assert [name for name in machine.traces() if 'deb-systemd-helper' not in name] == [
        NRPE, '/var/lib/check_conntrack', HISTORY]
    machine.do('dpkg', '-P', 'check-conntrack', 'check-conntrack-icinga2')
    assert machine.traces() == []


def test_debian_package_where_nothing_monitors_yet(machine: Machine) -> None:
    """No user nagios: the plugin works for root, and makes no user of its own."""
    machine.do('sed', '-i', '/^nagios:/d', '/etc/passwd', '/etc/group')
    machine.install('check-conntrack')
    assert machine.run('test', '-e', '/var/lib/check_conntrack').returncode == 1
    assert machine.do(PLUGIN, '--kernel-log', 'off', '--history', 'off').startswith('CONNTRACK OK')

    # the daemon that comes afterwards keeps its history at home, also after an upgrade
    machine.do('useradd', '--system', '--user-group', '--create-home', '--home-dir', '/srv/home', 'nagios')
    history = '/srv/home/.local/state/check_conntrack/history.sqlite'
    assert machine.do(PLUGIN, '--kernel-log', 'off', user='nagios').startswith('CONNTRACK OK')
    machine.do('test', '-s', history)
    machine.install('check-conntrack-later')
    assert machine.run('test', '-e', '/var/lib/check_conntrack').returncode == 1
    machine.do('userdel', '--remove', 'nagios')

    machine.do('dpkg', '-P', 'check-conntrack')
    assert machine.traces() == []
