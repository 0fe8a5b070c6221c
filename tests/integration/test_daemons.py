"""The check as the monitoring daemons run it: icinga2 with an agent, NRPE and Nagios, over a real table."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import laboratory
import pytest
import stage

pytestmark = pytest.mark.daemons

MAXIMUM = 10000
OK, WARNING, CRITICAL, UNKNOWN = range(4)
SOFT, HARD = 0, 1
MASTER_ADDRESS, AGENT_ADDRESS = '10.99.7.1', '10.99.7.2'
#: what the shipped CheckCommands set, last but for --window in Icinga's order
SHIPPED = ('--warning-after', '3m')
NRPE_PORT = '5667'
ALWAYS = {'usage', 'entries', 'buckets', 'dropped_per_s', 'drop_per_s', 'insert_failed_per_s', 'early_drop_per_s',
          'invalid_per_s'}

ENDPOINTS = f"""
object Endpoint "master.test" {{ }}
object Endpoint "agent.test" {{ host = "{AGENT_ADDRESS}" }}
object Zone "master" {{ endpoints = [ "master.test" ] }}
object Zone "agent.test" {{ endpoints = [ "agent.test" ]; parent = "master" }}
"""
MASTER = ENDPOINTS + f"""
object ApiListener "api" {{ bind_host = "0.0.0.0"; bind_port = 5665 }}
object ApiUser "root" {{ password = "icinga"; permissions = [ "*" ] }}
object CheckerComponent "checker" {{ }}
object NotificationComponent "notification" {{ }}
object User "night" {{ email = "night@example.org" }}
template Host "test" {{
	check_command = "dummy"
	enable_active_checks = false
	zone = "master"
	address = "127.0.0.1"
	vars.conntrack = true
}}
object Host "gw1" {{ import "test" }}
object Host "lossy" {{
	import "test"
	display_name = "NAT gateway 2"
	vars.notification.mail.users = [ "night" ]
}}
object Host "sudo" {{
	import "test"
	vars.conntrack_sudo = true
	vars.conntrack_warning = "80"
	vars.conntrack_trend = "off"
}}
object Host "router" {{ import "test"; vars.conntrack_sudo = true; vars.conntrack_netns = "all" }}
object Host "sudo-refused" {{ import "test"; vars.conntrack_sudo = true; vars.conntrack_procfs = "/proc" }}
object Host "everything" {{
	import "test"
	vars.conntrack_window = 10m
	vars.conntrack_require = [ "usage", "counters" ]
	vars.conntrack_verbose = true
	vars.conntrack_dropped_warning = 0
}}
object Host "unset" {{ import "test"; vars.conntrack_warning = null; vars.conntrack_critical = "" }}
object Host "wrong" {{ import "test"; vars.conntrack_warning = "abc" }}
object Host "upside-down" {{ import "test"; vars.conntrack_warning = 96 }}
object Host "nrpe" {{ import "test"; vars.conntrack_nrpe = true; vars.nrpe_port = {NRPE_PORT} }}
object Host "nrpe-absent" {{ import "test"; vars.conntrack_nrpe = true; vars.nrpe_port = 1 }}
object Host "agent" {{
	import "test"
	vars.agent_endpoint = "agent.test"
	vars.conntrack_warning = "0.0001"
	vars.conntrack_critical = "off"
}}
"""
AGENT = ENDPOINTS + f"""
object ApiListener "api" {{
	bind_host = "{AGENT_ADDRESS}"
	bind_port = 5665
	accept_commands = true
	accept_config = true
}}
"""
NRPE = f"""
server_address=127.0.0.1
server_port={NRPE_PORT}
nrpe_user={stage.USER}
nrpe_group={stage.USER}
allowed_hosts=127.0.0.1
disable_syslog=1
command_timeout=20
"""
NAGIOS = """
log_file={0}/nagios.log
cfg_dir={0}/conf.d
object_cache_file={0}/objects.cache
resource_file={0}/resource.cfg
status_file={0}/status.dat
status_update_interval=1
nagios_user=nagios
nagios_group=nagios
check_external_commands=0
lock_file={0}/nagios.lock
temp_file={0}/nagios.tmp
check_result_path={0}/results
query_socket={0}/nagios.qh
use_syslog=0
interval_length=60
service_inter_check_delay_method=n
host_inter_check_delay_method=n
max_service_check_spread=1
illegal_macro_output_chars=`~$&|'"<>
"""
NAGIOS_HOST = """
define timeperiod {{
    timeperiod_name     24x7
    alias               always
    {0}
}}
define contact {{
    contact_name                    night
    email                           night@example.org
    host_notification_commands      notify-conntrack-by-email
    service_notification_commands   notify-conntrack-by-email
    host_notification_period        24x7
    service_notification_period     24x7
    host_notification_options       n
    service_notification_options    n
}}
define host {{
    host_name               gw1
    address                 127.0.0.1
    max_check_attempts      1
    check_period            24x7
    contacts                night
    active_checks_enabled   0
}}
define service {{
    use                     conntrack-service
    host_name               gw1
    check_command           check_conntrack!70!90
    contacts                night
}}
define service {{
    use                     conntrack-service
    host_name               gw1
    service_description     conntrack unset
    check_command           check_conntrack
    contacts                night
}}
"""


@pytest.fixture(scope='module')
def networks() -> Iterator[tuple[laboratory.Namespace, laboratory.Namespace]]:
    """Two namespaces with a wire between them."""
    stage.need()
    if why_not := laboratory.why_not():
        pytest.skip(why_not)
    with laboratory.namespace() as master, laboratory.namespace() as agent:
        subprocess.run(['ip', '-netns', master.name, 'link', 'add', 'wire', 'type', 'veth',
                        'peer', 'name', 'wire', 'netns', agent.name], check=True)
        for network, address in ((master, MASTER_ADDRESS), (agent, AGENT_ADDRESS)):
            subprocess.run(['ip', '-netns', network.name, 'address', 'add', f'{address}/24', 'dev', 'wire'], check=True)
            subprocess.run(['ip', '-netns', network.name, 'link', 'set', 'wire', 'up'], check=True)
        yield master, agent


@pytest.fixture(scope='module')
def gateway(networks: tuple[laboratory.Namespace, laboratory.Namespace]) -> Iterator[stage.Stage]:
    """The stage in the master's namespace, and a table that its daemons' own connections can't fill."""
    stage.need_plugin()
    with stage.stage(networks[0]) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_past(gateway: stage.Stage) -> None:
    """No test sees the losses of another."""
    gateway.forget()


@pytest.fixture(scope='module')
def icinga(gateway: stage.Stage, networks: tuple[laboratory.Namespace, laboratory.Namespace]) -> Iterator[stage.Icinga]:
    """A master with its agent; what the sendmail of the stage gets lies in the directory mails."""
    stage.need('icinga2', 'openssl', 'sudo', f'{stage.PLUGINS}/check_nrpe')
    with stage.stage(networks[1]) as there:
        # the agent gets command and templates from the master, as a fleet does
        agent = stage.Icinga(there, 'agent.test', AGENT, zones=None)
        master = stage.Icinga(gateway, 'master.test', MASTER)
        authority = stage.Authority(gateway.directory('ca'))
        for node in (agent, master):
            authority.issue(node.name, node.home / 'lib/certs')
        mails = gateway.directory('mails')
        sendmail = gateway.root / 'sendmail'
        sendmail.write_text(f'#!/bin/sh\ncat > {mails}/$$.part\necho "$@" >> {mails}/$$.part\n'
                            f'mv {mails}/$$.part {mails}/$$\n')
        sendmail.chmod(0o755)
        agent.start()
        # a master that comes first tries again after 10 s only
        stage.wait(lambda: 'Started new listener' in agent.log(), 'listening agent')
        master.start({'SENDMAIL': str(sendmail)})
        master.wait_for_api()
        yield master


@pytest.fixture(scope='module')
def nrpe(gateway: stage.Stage) -> None:
    """An NRPE daemon with the shipped commands."""
    stage.need('nrpe', f'{stage.PLUGINS}/check_nrpe', 'sudo')
    config = gateway.root / 'nrpe.cfg'
    config.write_text(NRPE + f'pid_file={gateway.root}/nrpe.pid\n'
                      + (stage.ICINGA / 'nrpe.d/check_conntrack.cfg').read_text())
    daemon = gateway.start('nrpe', '-c', str(config), '-f')

    def listens() -> bool:
        assert daemon.poll() is None
        return gateway.run(f'{stage.PLUGINS}/check_nrpe', '-H', '127.0.0.1', '-p', NRPE_PORT).returncode == 0
    stage.wait(listens, 'listening NRPE')


@contextlib.contextmanager
def small_table(network: laboratory.Namespace) -> Iterator[None]:
    """MAXIMUM for the moment; afterwards no entry is left that a lower one could choke on."""
    with laboratory.maximum(MAXIMUM):
        try:
            yield
        finally:
            network.drain()


def fill(network: laboratory.Namespace, entries: int) -> None:
    """About so many entries: the daemons' own connections come and go."""
    network.drain()
    network.fill(laboratory.mixed_flows(entries, {laboratory.Flow('tcp', '10.1.0.0/24'): 1}))


def performance(service: dict[str, Any]) -> dict[str, str]:
    return dict(item.split('=') for item in service['last_check_result']['performance_data'])


def output(service: dict[str, Any]) -> str:
    return str(service['last_check_result']['output'])


def without_numbers(text: str) -> str:
    return re.sub(r'\d[\d.]*', 'N', text)


def by_hand(stage_: stage.Stage, *argv: str) -> str:
    """The plugin's output, run as the daemons' user."""
    return stage_.run(stage.PLUGIN, *argv, user=stage.USER).stdout


def judged(service: dict[str, Any]) -> tuple[int, int, int]:
    return int(service['state']), int(service['state_type']), int(service['check_attempt'])


# icinga2


def test_from_ok_to_critical(icinga: stage.Icinga, gateway: stage.Stage) -> None:
    """Soft states until the third check, then hard, worse at once; perfdata and long output as they were printed."""
    with small_table(gateway.network):
        fill(gateway.network, 1000)
        service = icinga.check('gw1')
        assert judged(service) == (OK, HARD, 1), output(service)
        assert output(service).startswith('CONNTRACK OK - 1')
        assert service['last_check_result']['command'] == [stage.PLUGIN, *SHIPPED]
        fill(gateway.network, 8800)
        # with a past of less, the warning threshold would wait for a burst to end
        gateway.forget()
        states = [judged(icinga.check('gw1')) for _ in range(3)]
        assert states == [(WARNING, SOFT, 1), (WARNING, SOFT, 2), (WARNING, HARD, 1)]
        # drops are counted from a run at least a second ago: so that both runs that are compared have one
        time.sleep(1.05)
        fill(gateway.network, 9700)
        service = icinga.check('gw1')
        assert judged(service)[:2] == (CRITICAL, HARD)
        printed = by_hand(gateway)
    first, *rest = printed.splitlines()
    assert without_numbers(output(service)) == without_numbers('\n'.join([first.split('|')[0], *rest]))
    assert [item.split('=')[0] for item in service['last_check_result']['performance_data']] == \
        [item.split('=')[0] for item in first.split('|')[1].split()]
    assert performance(service)['usage'].endswith('%;85;95;0;100')
    assert performance(service)['entries'].endswith(';8500;9500;0;10000')
    assert performance(service).keys() >= ALWAYS


def test_losses_once_turn_hard_and_are_notified(icinga: stage.Icinga, gateway: stage.Stage) -> None:
    """The table is full for a moment between two checks; Icinga's own re-checks still see what was lost."""
    # the shipped 15 s would take their time
    icinga.api('POST', 'objects/services/lossy!conntrack', {'attrs': {'retry_interval': 1}})
    with small_table(gateway.network):
        fill(gateway.network, 100)
        icinga.check('lossy')
        time.sleep(1)
        before = gateway.network.cpu_stats()
        fill(gateway.network, MAXIMUM - 50)
        assert gateway.network.flood(refused=3000).refused >= 3000
        fill(gateway.network, 100)
        after = gateway.network.cpu_stats()
        assert judged(icinga.check('lossy')) == (CRITICAL, SOFT, 1)
    lost = sum(after[name] - before[name] for name in ('drop', 'chainlength') if name in after)
    hard = stage.wait(lambda: (service := icinga.service('lossy'))['state_type'] == HARD and service, 'hard state')
    assert judged(hard)[0] == CRITICAL
    assert hard['last_state'] == CRITICAL
    assert re.match(rf'CONNTRACK CRITICAL - .*\b{lost} packets dropped since', output(hard)), output(hard)
    assert float(performance(hard)['usage'].split('%')[0]) < 85
    mails = gateway.root / 'mails'
    mail = stage.wait(lambda: [path for path in mails.iterdir() if not path.suffix], 'mail')
    assert len(mail) == 1
    header, body = mail[0].read_text().split('\n\n', 1)
    subject, = re.findall(r'^Subject: (.*)', header, re.M)
    assert re.match(rf'\[PROBLEM\] conntrack on NAT gateway 2 is CRITICAL: .*\b{lost} packets dropped', subject)
    assert header.startswith('To: night@example.org\n')
    # the whole output: the verdict, its finding below, and the last line
    assert len(re.findall(rf'^(?:CONNTRACK CRITICAL .*|){lost} packets dropped', body, re.M)) == 2
    assert body.splitlines()[-2:] == [output(hard).splitlines()[-1], '-t -i']


def test_sudo_reads_the_kernel_log_too(icinga: stage.Icinga) -> None:
    """In Icinga's order of arguments, by the shipped sudoers rule."""
    service = icinga.check('sudo')
    argv = ['/usr/bin/sudo', '-n', stage.PLUGIN, '--trend', 'off', '--warning', '80', *SHIPPED]
    assert service['last_check_result']['command'] == argv
    # the tests' own /dev/kmsg is none
    assert 'table_full_lines' in performance(service) or "is not the kernel's log" in output(service)
    assert ';80;95;' in performance(service)['usage']
    assert 'not checked: history' not in output(service)


def test_a_router_is_checked_in_every_namespace(icinga: stage.Icinga) -> None:
    """From one of them, by sudo; which is the worst one here is not this test's to say."""
    service = icinga.check('router')
    assert service['last_check_result']['command'] == ['/usr/bin/sudo', '-n', stage.PLUGIN, '--netns', 'all', *SHIPPED]
    assert float(performance(service)['namespaces'].split(';')[0]) >= 2
    assert 'namespaces' in performance(service)


def test_arguments_reach_the_plugin(icinga: stage.Icinga) -> None:
    service = icinga.check('everything')
    assert service['last_check_result']['command'] == [
        stage.PLUGIN, '--dropped-warning', '0', '--require', 'usage', '--require', 'counters', '--verbose',
        *SHIPPED, '--window', '600']
    assert service['state'] != UNKNOWN, output(service)


def test_bad_configuration_is_never_ok(icinga: stage.Icinga) -> None:
    """A clear UNKNOWN; only sudo itself exits with 1, which is WARNING."""
    for host, says in (('wrong', "'abc' is not a Nagios range"),
                       ('upside-down', '--warning 96 is above --critical 95')):
        service = icinga.check(host)
        assert service['state'] == UNKNOWN
        assert output(service).startswith('CONNTRACK UNKNOWN - ')
        assert says in output(service)
    refused = icinga.check('sudo-refused')
    assert (refused['state'], output(refused)) == (WARNING, 'sudo: a password is required')


def test_unset_variables_mean_the_defaults(icinga: stage.Icinga) -> None:
    """Icinga hands over an empty value for null: that must not switch the limit off."""
    service = icinga.check('unset')
    assert service['last_check_result']['command'] == [stage.PLUGIN, '--critical', '', '--warning', '', *SHIPPED]
    assert ';85;95;' in performance(service)['usage']


def test_icinga_keeps_every_item(icinga: stage.Icinga) -> None:
    """Its own parser, over every item of every golden output: value, lines and bounds arrive."""
    golden = Path(__file__).parents[1] / 'golden'
    items = {item for file in golden.glob('*.txt') for line in file.read_text().splitlines()
             if line.startswith('CONNTRACK ') and ' | ' in line for item in line.split(' | ')[1].split()}
    items.update(icinga.check('gw1')['last_check_result']['performance_data'])
    assert {item.split('=')[0] for item in items} > ALWAYS
    ordered = tuple(sorted(items))
    for item, kept in zip(ordered, stage.perfdata(ordered)):
        label, numbers = item.split('=')
        value, *bounds = numbers.split(';')
        assert kept['label'] == label
        assert kept['unit'] == ('percent' if value.endswith('%') else '')
        assert kept['value'] == float(value.rstrip('%'))
        assert kept['counter'] is False
        for name, text in zip(('warn', 'crit', 'min', 'max'), [*bounds, '', '', '', '']):
            assert kept[name] == (float(text) if text else None), item


# NRPE


def check_nrpe(gateway: stage.Stage, command: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return gateway.run(f'{stage.PLUGINS}/check_nrpe', '-H', '127.0.0.1', '-p', NRPE_PORT, *argv, '-c', command)


@pytest.mark.usefixtures('nrpe')
@pytest.mark.parametrize('command', ['check_conntrack', 'check_conntrack_sudo'])
def test_nrpe(gateway: stage.Stage, command: str) -> None:
    """The verdict and all performance data within the 1024 bytes of the old protocols; the new one keeps all."""
    with small_table(gateway.network):
        fill(gateway.network, 100)
        # more samples of quiet times than of trouble, or the last run takes trouble for usual
        for _ in range(4):
            check_nrpe(gateway, command)
        time.sleep(1.05)
        fill(gateway.network, MAXIMUM - 30)
        # so many that it stays above 10/s on the slowest machine
        gateway.network.flood(refused=20_000)
        fill(gateway.network, 9700)
        for _ in range(3):  # two runs may lie on both sides of a change of state
            new, *old = (check_nrpe(gateway, command, *protocol) for protocol in ((), ('-3',), ('-2',)))
            whole = gateway.run(stage.PLUGIN, user=None if 'sudo' in command else stage.USER).stdout
            if without_numbers(new.stdout) == without_numbers(whole):
                break
    first, *rest = without_numbers(whole).splitlines()
    assert re.match(r'CONNTRACK CRITICAL - table (was )?full, N packets dropped', first)
    assert len(rest) >= 4
    assert 'table_full_lines=' not in first or 'sudo' in command
    assert (new.returncode, without_numbers(new.stdout)) == (CRITICAL, without_numbers(whole))
    for done in old:
        assert done.returncode == CRITICAL
        assert len(done.stdout.encode()) <= 1024 + 1
        assert without_numbers(done.stdout).splitlines()[0] == first


@pytest.mark.usefixtures('nrpe')
def test_icinga_over_nrpe(icinga: stage.Icinga) -> None:
    service = icinga.check('nrpe')
    assert output(service).startswith('CONNTRACK ')
    assert service['state'] != UNKNOWN
    assert ';85;95;' in performance(service)['usage']
    # a host without the daemon: check_nrpe's own words
    absent = icinga.check('nrpe-absent')
    assert absent['state'] in (CRITICAL, UNKNOWN)
    assert 'refused' in output(absent)


# Nagios 4


def test_nagios(gateway: stage.Stage) -> None:
    """It finds state, performance data and long output."""
    stage.need('nagios4')
    home = gateway.directory('nagios')
    for place in ('conf.d', 'results'):
        gateway.directory(f'nagios/{place}')
    days = '\n    '.join(f'{day} 00:00-24:00' for day in (
        'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'))
    (home / 'nagios.cfg').write_text(NAGIOS.format(home))
    (home / 'resource.cfg').write_text(f'$USER1$={stage.PLUGINS}\n')
    (home / 'conf.d/conntrack.cfg').write_text((stage.ICINGA / 'nagios4/conntrack.cfg').read_text())
    (home / 'conf.d/gw1.cfg').write_text(NAGIOS_HOST.format(days))
    checked = gateway.run('nagios4', '-v', str(home / 'nagios.cfg'))
    assert checked.returncode == 0, checked.stdout
    assert 'Total Errors:   0' in checked.stdout
    assert 'Total Warnings: 0' in checked.stdout, checked.stdout

    def services() -> dict[str, dict[str, str]]:
        found = {}
        text = (home / 'status.dat').read_text() if (home / 'status.dat').exists() else ''
        for block in re.findall(r'^servicestatus \{\n(.*?)^\t\}', text, re.M | re.S):
            status = dict(line.strip().split('=', 1) for line in block.splitlines() if '=' in line)
            if status['has_been_checked'] == '1':
                found[status['service_description']] = status
        return found

    with small_table(gateway.network):
        fill(gateway.network, 8800)
        # with a past, the plugin has all to say
        by_hand(gateway)
        time.sleep(1.05)
        gateway.start('nagios4', str(home / 'nagios.cfg'))
        seen = stage.wait(lambda: len(services()) == 2 and services(), 'two results of Nagios')
        printed = by_hand(gateway, '-w', '70', '-c', '90')
    status = seen['conntrack']
    assert status['current_state'] == str(WARNING)
    assert status['retry_interval'] == '0.250000'
    first, rest = printed.split('\n', 1)
    text, items = first.split(' | ')
    assert without_numbers(status['plugin_output']) == without_numbers(text)
    assert without_numbers(status['performance_data']) == without_numbers(items)
    assert without_numbers(status['long_plugin_output'].replace('\\n', '\n').strip()) == without_numbers(rest.strip())
    assert ';70;90;' in status['performance_data']
    # arguments that nobody gave
    assert ';85;95;' in seen['conntrack unset']['performance_data']


# an agent of its own


def test_agent_in_its_own_namespace(icinga: stage.Icinga,
                                    networks: tuple[laboratory.Namespace, laboratory.Namespace]) -> None:
    """The master's zones.d brings the command to the agent, which judges its own table."""
    fill(networks[1], 100)
    # until the agent has reloaded with the command: its reconnect timer counts 10 s
    service = icinga.check_until('agent', lambda result: 'does not exist' not in result['output'], 25)
    result = service['last_check_result']
    assert result['check_source'] == 'agent.test'
    assert result['scheduling_source'] == 'master.test'
    assert result['command'] == [stage.PLUGIN, '--critical', 'off', '--warning', '0.0001', *SHIPPED]
    assert service['state'] == WARNING, output(service)
    assert '\nalert: usage' in output(service)
    assert 100 <= int(performance(service)['entries'].split(';')[0]) < 200
