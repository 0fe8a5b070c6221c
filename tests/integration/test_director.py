"""The basket in a real Icinga Director, which deploys to a real icinga2."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import laboratory
import pytest
import stage

from check_conntrack_lib.plugin import options

pytestmark = [pytest.mark.daemons, pytest.mark.slow]

MASTER = """
object Endpoint "master.test" { host = "127.0.0.1" }
object Zone "master" { endpoints = [ "master.test" ] }
object Zone "director-global" { global = true }
object ApiListener "api" { bind_host = "127.0.0.1"; bind_port = 5665 }
object ApiUser "root" { password = "icinga"; permissions = [ "*" ] }
object CheckerComponent "checker" { }
"""
RESOURCES = """
[director]
type = "db"
db = "mysql"
host = "127.0.0.1"
port = "3307"
dbname = "director"
username = "director"
password = "director"
charset = "utf8"
"""
KICKSTART = """
[config]
endpoint = "master.test"
host = "127.0.0.1"
port = "5665"
username = "root"
password = "icinga"
"""
MODULES = '/usr/share/icingaweb2/modules'
SETUP = """
create database director character set utf8;
create user director@localhost identified by 'director';
create user director@127.0.0.1 identified by 'director';
grant all on director.* to director@localhost;
grant all on director.* to director@127.0.0.1;
"""


class Director:
    """icingacli with a configuration of its own."""

    def __init__(self, on: stage.Stage) -> None:
        self.stage = on
        self.config = on.directory('web')
        for place in ('modules', 'modules/director', 'enabledModules'):
            on.directory(f'web/{place}')
        (self.config / 'resources.ini').write_text(RESOURCES)
        (self.config / 'config.ini').write_text(
            f'[global]\nconfig_resource = "director"\nmodule_path = "{MODULES}"\n[logging]\nlog = "none"\n')
        (self.config / 'modules/director/config.ini').write_text('[db]\nresource = "director"\n')
        (self.config / 'modules/director/kickstart.ini').write_text(KICKSTART)
        for module in ('director', 'incubator', 'reactbundle'):
            (self.config / 'enabledModules' / module).symlink_to(f'{MODULES}/{module}')

    def __call__(self, *argv: str, stdin: str = '/dev/null') -> str:
        script = f'ICINGAWEB_CONFIGDIR={self.config} exec icingacli director "$@" < {stdin}'
        done = self.stage.run('sh', '-c', script, 'sh', *argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def create(self, kind: str, name: str, **attributes: Any) -> None:
        self(kind, 'create', name, '--json', json.dumps({'object_type': 'object', **attributes}))


def database(on: stage.Stage) -> None:
    """A MariaDB for the stage's network alone."""
    data = on.directory('db')
    place = [f'--datadir={data}', f'--user={stage.USER}']
    made = on.run('mariadb-install-db', '--no-defaults', *place, '--auth-root-authentication-method=normal',
                  '--skip-test-db')
    assert made.returncode == 0, made.stdout + made.stderr
    (on.root / 'setup.sql').write_text(SETUP)
    on.start('mariadbd', '--no-defaults', *place, '--bind-address=127.0.0.1', '--port=3307',
             f'--socket={data}/socket', f'--pid-file={data}/pid', f'--init-file={on.root}/setup.sql')
    login = ['mariadb', '--no-defaults', '-h', '127.0.0.1', '-P', '3307', '-u', 'director', '-pdirector', 'director']
    stage.wait(lambda: on.run(*login, '-e', 'select 1').returncode == 0, 'answer of MariaDB')


@pytest.fixture(scope='module')
def network() -> Iterator[laboratory.Namespace]:
    stage.need('icinga2', 'openssl', 'sudo', 'mariadbd', 'icingacli')
    stage.need_plugin()
    if not os.path.isdir(f'{MODULES}/director'):
        pytest.skip('no Director: apt-get install icingaweb2-module-director')
    if why_not := laboratory.why_not():
        pytest.skip(why_not)
    with laboratory.namespace() as made:
        yield made


def test_basket_is_deployed_and_checks(network: laboratory.Namespace) -> None:
    with stage.stage(network) as on:
        icinga = stage.Icinga(on, 'master.test', MASTER, zones=None)
        stage.Authority(on.directory('ca')).issue('master.test', icinga.home / 'lib/certs')
        icinga.start()
        database(on)
        director = Director(on)
        director('migration', 'run')
        icinga.wait_for_api()
        director('kickstart', 'run')
        basket = stage.ICINGA / 'director/conntrack-basket.json'
        # a second time changes nothing
        for _ in range(2):
            assert 'have been restored' in director('basket', 'restore', stdin=str(basket))
        shown = director('command', 'show', 'conntrack-options')
        for option in options.parser()._actions:
            assert (f'"{option.option_strings[-1]}" = {{' in shown) == (option.dest not in ('help', 'version'))
        director.create('host', 'gw1', check_command='dummy', address='127.0.0.1', has_agent=True,
                        master_should_connect=False, accept_config=True, vars={'conntrack': True})
        director.create('host', 'gw2', check_command='dummy', address='127.0.0.1')
        director.create('service', 'conntrack', host='gw2', imports=['conntrack'],
                        vars={'conntrack_warning': '80', 'conntrack_require': ['counters'], 'conntrack_verbose': True})
        director('config', 'deploy')

        def deployed() -> bool:
            names = {service['name'] for service in icinga.api('GET', 'objects/services')}
            return names == {'gw1!conntrack', 'gw2!conntrack'}
        stage.wait(deployed, 'deployed services', 20)
        by_agent = icinga.service('gw1')
        assert (by_agent['check_command'], by_agent['command_endpoint']) == ('conntrack', 'gw1')
        intervals = [by_agent[name] for name in ('check_interval', 'retry_interval', 'max_check_attempts')]
        assert intervals == [60, 15, 3]
        result = icinga.check('gw2')['last_check_result']
        assert result['command'] == [stage.PLUGIN, '--require', 'counters', '--verbose', '--warning', '80',
                                     '--warning-after', '3m']
        assert result['state'] == 0, result['output']
        assert result['performance_data'][0].endswith(';80;95;0;100')
