"""A stage for real monitoring daemons: a mount and network namespace of their own, where icinga/ is installed as its
headers say, so that nothing outside of it changes. Python is the system's: the nagios user cannot run another.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import laboratory
import pytest

CHECKOUT = Path(__file__).parent.parent
ICINGA = CHECKOUT / 'icinga'
PLUGINS = '/usr/lib/nagios/plugins'
PLUGIN = f'{PLUGINS}/check_conntrack.py'
USER = 'nagios'
ENVIRONMENT = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C', 'ICINGA2_USER': USER, 'ICINGA2_GROUP': USER}
PACKAGES = {
    'carbon-cache': 'graphite-carbon graphite-web',
    'icinga2': 'icinga2-bin',
    'icingacli': 'icingacli icingaweb2 icingaweb2-module-director php-mysql',
    'influxd': 'influxdb',
    'mariadbd': 'mariadb-server',
    'nagios4': 'nagios4-core',
    'nrpe': 'nagios-nrpe-server',
    f'{PLUGINS}/check_nrpe': 'nagios-nrpe-plugin',
    'openssl': 'openssl',
    'promtool': 'prometheus',
    'sudo': 'sudo',
    'visudo': 'sudo',
}
T = TypeVar('T')


def need(*programs: str) -> None:
    """Skips the test, with the reason in one line, where it cannot be run."""
    for program in programs:
        if not shutil.which(program, path='/usr/sbin:/usr/bin:/sbin:/bin'):
            pytest.skip(f'no {program}: apt-get install {PACKAGES[program]}')
    if os.geteuid():
        pytest.skip('not root')
    with contextlib.suppress(KeyError):
        pwd.getpwnam(USER)
        return
    pytest.skip(f'no user {USER}: apt-get install icinga2-bin')


def need_plugin() -> None:
    """Skips where user nagios could not run the plugin."""
    done = subprocess.run(['/usr/bin/python3', '-c', 'import nagiosplugin'], capture_output=True, env=ENVIRONMENT)
    if done.returncode:
        pytest.skip('no nagiosplugin for /usr/bin/python3: apt-get install python3-nagiosplugin')


def wait(answer: Callable[[], T], what: str, seconds: float = 10) -> T:
    """The first answer that is true."""
    end = time.monotonic() + seconds
    while not (got := answer()):
        if time.monotonic() > end:
            pytest.fail(f'no {what} within {seconds} s')
        time.sleep(0.03)
    return got


class Stage:
    """Directories of its own in place of those the daemons and the plugin use; with a Namespace, its network too."""

    def __init__(self, network: laboratory.Namespace | None = None) -> None:
        self.network = network
        self.root = Path(tempfile.mkdtemp(prefix='check_conntrack-stage-'))
        self.root.chmod(0o755)
        self._running: list[subprocess.Popen[str]] = []
        self.plugins = self._place(PLUGINS)
        self.sudoers = self._place('/etc/sudoers.d')
        # where the flight recorder's file goes
        self._homes = [self._place(pwd.getpwnam(USER).pw_dir, USER), self._place('/root')]
        shutil.copy(CHECKOUT / 'check_conntrack.py', self.plugins)
        shutil.copytree(CHECKOUT / 'check_conntrack_lib', self.plugins / 'check_conntrack_lib',
                        ignore=shutil.ignore_patterns('__pycache__'))
        if os.path.exists(f'{PLUGINS}/check_nrpe'):
            shutil.copy(f'{PLUGINS}/check_nrpe', self.plugins)
        shutil.copy(ICINGA / 'sudoers.d/check_conntrack', self.sudoers)
        (self.sudoers / 'check_conntrack').chmod(0o440)

    def _place(self, path: str, owner: str = 'root') -> Path:
        """A directory here that is seen as `path` on the stage."""
        mine = self.root / path.strip('/')
        mine.mkdir(parents=True)
        shutil.chown(mine, owner, owner)
        with open(self.root / 'enter', 'a') as script:
            script.write(f'mount --bind {mine} {path} || exit\n')
        return mine

    def directory(self, name: str) -> Path:
        """A new directory that belongs to the daemons' user."""
        made = self.root / name
        made.mkdir()
        shutil.chown(made, USER, USER)
        return made

    def forget(self) -> None:
        """Removes what the plugin recorded here."""
        for home in self._homes:
            shutil.rmtree(home / '.local', ignore_errors=True)

    def _command(self, argv: Sequence[str], user: str | None) -> list[str]:
        outside = ['ip', 'netns', 'exec', self.network.name] if self.network else ['unshare', '--mount']
        inside = ['setpriv', f'--reuid={user}', f'--regid={user}', '--clear-groups'] if user else []
        return [*outside, 'sh', '-c', f'. {self.root}/enter; exec "$@"', 'sh', *inside, *argv]

    def run(self, *argv: str, user: str | None = None, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Runs a command on the stage to its end."""
        return subprocess.run(self._command(argv, user), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, env=ENVIRONMENT, cwd='/')

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts a daemon in the foreground; its output goes to a file. Every link of the chain execs: one pid."""
        with open(self.root / f'{os.path.basename(argv[0])}-{len(self._running)}.out', 'w') as output:
            process = subprocess.Popen(self._command(argv, None), stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, text=True, cwd='/', start_new_session=True,
                                       env={**ENVIRONMENT, **(env or {})})
        self._running.append(process)
        return process

    def close(self) -> None:
        """Ends what was started here, and removes the directories."""
        for process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                # its own session: what it forked goes with it
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
        shutil.rmtree(self.root)

    @contextlib.contextmanager
    def in_netns(self) -> Iterator[None]:
        """This thread in the stage's network."""
        with self.network.in_netns() if self.network else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def stage(network: laboratory.Namespace | None = None) -> Iterator[Stage]:
    """A Stage for as long as the with statement lasts."""
    made = Stage(network)
    try:
        yield made
    finally:
        made.close()


class Authority:
    """Certificates for Icinga: the names as its endpoints have them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate = directory / 'ca.crt'
        self._openssl('req', '-x509', *self._new_key('ca'), '-out', 'ca.crt', '-days', '400')

    def issue(self, name: str, target: Path) -> None:
        """Key and certificate of an endpoint, where Icinga looks for them."""
        extensions = self.directory / 'extensions'
        extensions.write_text(f'subjectAltName=DNS:{name},DNS:localhost')
        self._openssl('req', *self._new_key(name), '-out', f'{name}.csr')
        # below 31 days Icinga would renew it
        self._openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial',
                      '-out', f'{name}.crt', '-days', '390', '-extfile', str(extensions))
        for file in ('ca.crt', f'{name}.crt', f'{name}.key'):
            shutil.copy(self.directory / file, target)
            shutil.chown(target / file, USER, USER)

    def _new_key(self, name: str) -> list[str]:
        return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', f'{name}.key',
                '-subj', f'/CN={name}']

    def _openssl(self, *argv: str) -> None:
        subprocess.run(['openssl', *argv], cwd=self.directory, check=True, capture_output=True, timeout=20)


class Icinga:
    """A private icinga2: everything below one directory of the stage."""

    def __init__(self, stage: Stage, name: str, config: str, zones: Path | None = ICINGA / 'zones.d') -> None:
        self.stage = stage
        self.name = name
        self.home = stage.directory(name)
        for place in ('etc', 'etc/scripts', 'lib', 'lib/certs', 'log', 'cache', 'spool', 'run'):
            stage.directory(f'{name}/{place}')
        if zones:
            shutil.copytree(zones, self.home / 'etc/zones.d')
        else:
            (self.home / 'etc/zones.d').mkdir()
        shutil.copy(ICINGA / 'scripts/conntrack-mail.sh', self.home / 'etc/scripts')
        (self.home / 'etc/icinga2.conf').write_text(
            f'const PluginDir = "{PLUGINS}"\n'
            f'const PluginContribDir = "{PLUGINS}"\n'
            'const ManubulonPluginDir = PluginDir\n'
            f'const NodeName = "{name}"\n'
            'include <itl>\n'
            'include <plugins>\n'
            'object Zone "global-templates" { global = true }\n' + config)
        self._connection: http.client.HTTPSConnection | None = None

    def _argv(self, *command: str) -> list[str]:
        places = {'ConfigDir': 'etc', 'ZonesDir': 'etc/zones.d', 'DataDir': 'lib', 'LogDir': 'log',
                  'CacheDir': 'cache', 'SpoolDir': 'spool', 'InitRunDir': 'run'}
        defines = [part for name, place in places.items() for part in ('-D', f'{name}={self.home / place}')]
        return ['icinga2', *command, *defines]

    def validate(self) -> subprocess.CompletedProcess[str]:
        return self.stage.run(*self._argv('daemon'), '-c', str(self.home / 'etc/icinga2.conf'), '-C')

    def objects(self, kind: str) -> dict[str, str]:
        """Every object of this type, resolved, after validate(): its text by its name."""
        done = self.stage.run(*self._argv('object', 'list'), '--type', kind)
        assert done.returncode == 0, done.stderr
        # a listed object begins in the first column
        listed: dict[str, str] = {}
        for line in done.stdout.splitlines():
            if line.startswith('Object '):
                name = line.split("'")[1]
                listed[name] = ''
            elif line.strip():
                listed[name] += line + '\n'
        return listed

    def start(self, env: Mapping[str, str] | None = None) -> None:
        self.process = self.stage.start(*self._argv('daemon'), '-c', str(self.home / 'etc/icinga2.conf'), env=env)

    def log(self) -> str:
        """What it printed."""
        return '\n'.join(path.read_text() for path in self.stage.root.glob('icinga2-*.out'))

    def _request(self, method: str, path: str, body: Any) -> Any:
        if self._connection is None:
            context = ssl.create_default_context(cafile=str(self.home / 'lib/certs/ca.crt'))
            self._connection = http.client.HTTPSConnection('localhost', 5665, timeout=10, context=context)
            with self.stage.in_netns():
                self._connection.connect()
        login = base64.b64encode(b'root:icinga').decode()
        self._connection.request(method, f'/v1/{path}', body and json.dumps(body), {
            'Accept': 'application/json', 'Authorization': f'Basic {login}'})
        response = self._connection.getresponse()
        answer = json.loads(response.read() or b'{}')
        assert response.status == 200, answer
        return answer['results']

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the connection stays open, and is opened again when it broke."""
        try:
            return self._request(method, path, body)
        except (OSError, http.client.HTTPException):
            # a reload closes the port for a moment, too
            self._connection = None
            self.wait_for_api()
            return self._request(method, path, body)

    def wait_for_api(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._request('GET', 'status/IcingaApplication', None)
                return True
            self._connection = None
            return False
        wait(answers, 'answer of the API')

    def service(self, host: str) -> dict[str, Any]:
        attributes: dict[str, Any] = self.api('GET', f'objects/services/{host}!conntrack')[0]['attrs']
        return attributes

    def _force(self, host: str) -> None:
        self.api('POST', 'actions/reschedule-check', {
            'type': 'Service', 'service': f'{host}!conntrack', 'force': True})

    def check(self, host: str) -> dict[str, Any]:
        """Has the service checked now, and returns it as it is then."""
        before = self._checked(host)
        self._force(host)
        return wait(lambda: self._checked(host) > before and self.service(host), f'check result of {host}')

    def check_until(self, host: str, good: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """Has the service checked, again and again, until its result is good: an agent may be reloading."""
        def answer() -> dict[str, Any] | None:
            self._force(host)
            time.sleep(0.4)
            service = self.service(host)
            return service if service['last_check_result'] and good(service['last_check_result']) else None
        return wait(answer, f'good result of {host}', seconds)

    def _checked(self, host: str) -> float:
        result = self.service(host)['last_check_result']
        return float(result['execution_end']) if result else 0.0


@functools.lru_cache(None)
def perfdata(items: tuple[str, ...]) -> list[dict[str, Any]]:
    """What Icinga's own parser makes of performance data items."""
    calls = ', '.join(f'parse_performance_data({json.dumps(item)})' for item in items)
    fields = ('label', 'value', 'unit', 'counter', 'warn', 'crit', 'min', 'max')
    attributes = ', '.join(f'p.{field}' for field in fields)
    done = subprocess.run(['icinga2', 'console', '--eval', f'Json.encode([{calls}].map(p => [{attributes}]))'],
                          capture_output=True, text=True, timeout=20, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    # a string literal that holds JSON
    return [dict(zip(fields, row)) for row in json.loads(json.loads(done.stdout.splitlines()[-1]))]
