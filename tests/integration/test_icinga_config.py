"""icinga/: every option is there, and the real programs read it as it is meant."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stage

from check_conntrack_lib.plugin import options

ICINGA = stage.ICINGA
COMMAND = ICINGA / 'zones.d/global-templates/conntrack-command.conf'
#: root reads or writes a file for whoever may choose these
NAME_A_FILE = {'--history', '--kernel-log', '--procfs'}
LOOK_BACK = 300


def plugin_options() -> dict[str, argparse.Action]:
    """Every option that is for a monitoring system, by its long name."""
    actions = {action.option_strings[-1]: action for action in options.parser()._actions}
    return {name: action for name, action in actions.items() if name not in ('--help', '--version')}


def variable(option: str) -> str:
    return '$conntrack_' + option[2:].replace('-', '_') + '$'


def expected_argument(option: str, action: argparse.Action) -> dict[str, Any]:
    argument: dict[str, Any] = {'set_if' if action.nargs == 0 else 'value': variable(option)}
    if option == '--require':
        argument['repeat_key'] = True
    return {**argument, 'description': action.help}


def dsl_arguments() -> dict[str, dict[str, Any]]:
    """The arguments of the CheckCommand, from its text."""
    found = {}
    for option, body in re.findall(r'^\t\t"(--[a-z-]+)" = \{\n(.*?)^\t\t\}$', COMMAND.read_text(), re.M | re.S):
        pairs = re.findall(r'^\t\t\t(\w+) = (true|".*")$', body, re.M)
        found[option] = {key: json.loads(value) for key, value in pairs}
    return found


def command_lines(file: str, pattern: str) -> list[list[str]]:
    """The plugin's arguments in the command lines of a file, also in those that are comments."""
    lines = re.findall(pattern + r'check_conntrack\.py(.*)$', (ICINGA / file).read_text(), re.M)
    return [shlex.split(re.sub(r'\$ARG\d\$', '', line)) for line in lines]


# what needs no daemon


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, stage.CHECKOUT / 'packaging/icinga_options.py', '--check'],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ('', '', 0), done.stdout


def test_check_command_has_every_option() -> None:
    assert dsl_arguments() == {name: expected_argument(name, action) for name, action in plugin_options().items()}


def test_director_basket_has_every_option() -> None:
    basket = json.loads((ICINGA / 'director/conntrack-basket.json').read_text())
    command = basket['CommandTemplate']['conntrack-options']
    assert command['arguments'] == {
        name: expected_argument(name, action) for name, action in plugin_options().items()}
    shown = {basket['Datafield'][str(field['datafield_id'])]['varname'] for field in command['fields']}
    assert shown == {variable(name).strip('$') for name in plugin_options()}
    assert len(basket['Datafield']) == len(shown)


def test_director_basket_has_no_uuid() -> None:
    """Director 1.10 fails on one in a Command or ServiceTemplate."""
    assert 'uuid' not in (ICINGA / 'director/conntrack-basket.json').read_text()


@pytest.mark.parametrize('file', sorted(path for path in ICINGA.rglob('*') if path.is_file()
                                        and path.suffix not in ('.json', '.md')), ids=lambda path: path.name)
def test_header_says_where_it_goes(file: Path) -> None:
    header = file.read_text()[:900]
    assert re.search(r'\b(Goes to|Goes beside|a line for) ', header)
    assert 'Needs ' in header


@pytest.mark.parametrize(('file', 'pattern', 'count'), [
    ('nrpe.d/check_conntrack.cfg', r'^#?command\[.*', 4),
    ('nagios4/conntrack.cfg', r'^ *command_line .*', 1),
    ('checkmk/mrpe.cfg', r'^Conntrack .*', 1),
])
def test_shipped_command_lines_mean_the_defaults(file: str, pattern: str, count: int) -> None:
    """With an argument that nobody set, too: it arrives empty."""
    lines = command_lines(file, pattern)
    assert len(lines) == count
    for argv in lines:
        assert options.parse(argv).limits['usage'] == options.Limits('85', '95')


def test_losses_outlive_the_soft_states() -> None:
    """Before the look-back ends, the state is hard: in every configuration that sets intervals."""
    service = (ICINGA / 'zones.d/master/conntrack-services.conf').read_text()
    nagios = (ICINGA / 'nagios4/conntrack.cfg').read_text()
    template = json.loads((ICINGA / 'director/conntrack-basket.json').read_text())['ServiceTemplate']['conntrack']
    seconds = {'s': 1, 'm': 60}

    def dsl(name: str) -> float:
        number, unit = re.findall(rf'^\t{name} = (\d+)([sm]?)$', service, re.M)[0]
        return float(number) * seconds.get(unit, 1)

    def object_file(name: str) -> float:
        return float(re.findall(rf'^ +{name} +([\d.]+)$', nagios, re.M)[0])

    names = ('check_interval', 'retry_interval', 'max_check_attempts')
    intervals = [
        [dsl(name) for name in names],
        [object_file(name) * scale for name, scale in zip(names, (60, 60, 1))],
        [float(template[name]) for name in names],
    ]
    assert intervals[1:] == intervals[:-1]
    for check, retry, attempts in intervals:
        assert check + (attempts - 1) * retry < LOOK_BACK / 2


@pytest.mark.parametrize('golden', sorted((stage.CHECKOUT / 'tests/golden').glob('*.txt')), ids=lambda path: path.stem)
def test_verdict_and_performance_data_fit_old_nrpe(golden: Path) -> None:
    """Protocols 2 and 3 cut at 1024 bytes: with room for numbers that are longer than these."""
    first = next(line for line in golden.read_text().splitlines() if line.startswith('CONNTRACK '))
    assert len(first.encode()) + 2 * len(re.findall(r'\d+', first)) < 1024


# the sudo rule, as a regular expression: sudo itself is run below

REFUSED = [
    ['-w', '85', '-c', '95', '--history', '/etc/passwd'],
    ['-w', '85', '-c', '95', '-v'],
    ['-w', '85'],
    ['-w', '85', '-c', '95', '--netns', 'all', '-v'],
    ['-w', '85 --history /x', '-c', '95'],
    ['--critical', '95', '--warning', '80', '--procfs', '/tmp'],
    ['--critical', '95', '--lines', '5'],
    ['--critical=95'],
    ['--warning', ''],
    ['--kernel-log', 'kmsg/../x'],
    ['--netns', '/etc/shadow'],
    ['--netns', '-x'],
    ['--version'],
    ['anything'],
]


#: options that the rule has not, with a value: a file, and what deletes root's history
NOT_ALLOWED = {'--procfs': '/proc', '--history-days': '7'}


def rule() -> list[str]:
    """The patterns of the plugin's arguments."""
    text = (ICINGA / 'sudoers.d/check_conntrack').read_text().replace('\\\n', '')
    patterns = re.findall(r'check_conntrack\.py (""|\^.*?\$)(?=,|$)', text, re.M)
    return [pattern.strip('"').replace('\\,', ',') for pattern in patterns]


def matched(*argv: str) -> bool:
    """sudo compares all arguments as one text."""
    return any(re.fullmatch(pattern, ' '.join(argv)) for pattern in rule())


def example(option: str) -> list[str]:
    """The option with a value that somebody would set."""
    if plugin_options()[option].nargs == 0:
        return [option]
    special = {'--not-loaded': 'critical', '--kernel-log': 'journal', '--history': 'off', '--require': 'kernel-log',
               '--diagnose': 'always', '--sample': '5000', '--baseline-every': '0', '--settings-check': 'off',
               '--netns': 'web-1_a,4f2',
               '--trend': '65', '--window': '300', '--horizon': '2h', '--timeout': '10s',
               '--clear': '5', '--warning-after': '4m', '--limit': '500000'}
    return [option, special.get(option, '@0:20.5')]


@pytest.mark.parametrize('option', sorted(plugin_options()))
def test_the_sudo_rule_has_each_option(option: str) -> None:
    assert len(rule()) == 3
    if option in NOT_ALLOWED:
        assert not matched(option, NOT_ALLOWED[option])
        return
    assert matched(*example(option)), f'written by hand: add {option} to icinga/sudoers.d/check_conntrack'
    assert not matched(option, '/etc/shadow')


def test_the_sudo_rule_has_what_is_shipped() -> None:
    lines = command_lines('nrpe.d/check_conntrack.cfg', r'^command\[\w+\]=/usr/bin/sudo .*')
    everything = [part for option in sorted(plugin_options()) if option not in NOT_ALLOWED for part in example(option)]
    required = [['--require', signal] for signal in options.REQUIRABLE]
    assert lines
    for argv in ([], *lines, *required, everything):
        assert matched(*argv), f'written by hand: icinga/sudoers.d/check_conntrack refuses {argv}'


@pytest.mark.parametrize('argv', REFUSED)
def test_the_sudo_rule_has_nothing_else(argv: list[str]) -> None:
    assert not matched(*argv)


# Icinga's daemon reads it

HOSTS = """
object Endpoint NodeName { }
object Zone "master" { endpoints = [ NodeName ] }
object Endpoint "agent.test" { }
object Zone "agent.test" { endpoints = [ "agent.test" ]; parent = "master" }
object User "night" { email = "night@example.org" }
template Host "test" { check_command = "dummy" }
object Host "none" { import "test" }
object Host "local" { import "test"; vars.conntrack = true }
object Host "local-sudo" { import "test"; vars.conntrack = true; vars.conntrack_sudo = true }
object Host "agent" {
	import "test"
	zone = "master"
	vars.conntrack = true
	vars.agent_endpoint = "agent.test"
	vars.notification.mail.users = [ "night" ]
}
object Host "agent-sudo" {
	import "test"
	zone = "master"
	vars.conntrack = true
	vars.agent_endpoint = "agent.test"
	vars.conntrack_sudo = true
}
object Host "nrpe" { import "test"; vars.conntrack = true; vars.conntrack_nrpe = true }
object Host "router" {
	import "test"
	vars.conntrack = true
	vars.conntrack_sudo = true
	vars.conntrack_netns = "all"
}
object Host "nrpe-router" { import "test"; vars.conntrack = true; vars.conntrack_nrpe = "check_conntrack_netns" }
object Host "nrpe-sudo" {
	import "test"
	vars.conntrack = true
	vars.conntrack_nrpe = true
	vars.conntrack_sudo = true
}
"""


@pytest.fixture(scope='module')
def plain_stage() -> Iterator[stage.Stage]:
    stage.need('sudo', 'visudo')
    with stage.stage() as made:
        yield made


@pytest.fixture(scope='module')
def validated(plain_stage: stage.Stage) -> stage.Icinga:
    stage.need('icinga2')
    icinga = stage.Icinga(plain_stage, 'master.test', HOSTS)
    done = icinga.validate()
    assert done.returncode == 0, done.stdout + done.stderr
    # a rule that matches no host is a warning only, and so is all that is obsolete
    assert 'does not match anywhere' not in done.stdout
    assert 'warning/' not in done.stdout, done.stdout
    return icinga


@pytest.mark.daemons
def test_icinga_accepts_the_configuration(validated: stage.Icinga) -> None:
    services = validated.objects('Service')
    assert set(services) == {f'{host}!conntrack' for host in (
        'local', 'local-sudo', 'agent', 'agent-sudo', 'nrpe', 'nrpe-sudo', 'router', 'nrpe-router')}
    assert set(validated.objects('Notification')) == {'agent!conntrack!conntrack-mail'}


@pytest.mark.daemons
@pytest.mark.parametrize(('host', 'command', 'endpoint', 'nrpe'), [
    ('local', 'conntrack', '', ''),
    ('local-sudo', 'conntrack_sudo', '', ''),
    ('agent', 'conntrack', 'agent.test', ''),
    ('agent-sudo', 'conntrack_sudo', 'agent.test', ''),
    ('router', 'conntrack_sudo', '', ''),
    ('nrpe', 'nrpe', '', 'check_conntrack'),
    ('nrpe-router', 'nrpe', '', 'check_conntrack_netns'),
    ('nrpe-sudo', 'nrpe', '', 'check_conntrack_sudo'),
])
def test_each_rule_resolves(validated: stage.Icinga, host: str, command: str, endpoint: str, nrpe: str) -> None:
    text = validated.objects('Service')[f'{host}!conntrack']

    def attribute(name: str) -> str:
        return ''.join(re.findall(rf'^ *\* {name} = "?(.*?)"?$', text, re.M))

    assert attribute('check_command') == command
    assert attribute('command_endpoint') == endpoint
    assert attribute('nrpe_command') == nrpe
    assert [attribute(name) for name in ('check_interval', 'retry_interval', 'max_check_attempts', 'check_timeout')] \
        == ['60', '15', '3', '30']
    if nrpe:
        assert f'command[{nrpe}]=' in (ICINGA / 'nrpe.d/check_conntrack.cfg').read_text()


@pytest.mark.daemons
def test_commands_as_icinga_sees_them(validated: stage.Icinga) -> None:
    commands = validated.objects('CheckCommand')
    for name, head in (('conntrack', [stage.PLUGIN]), ('conntrack_sudo', ['/usr/bin/sudo', '-n', stage.PLUGIN])):
        text = commands[name]
        assert json.dumps(head)[1:-1] in re.findall(r'^ *\* command = \[ (.*) \]$', text, re.M)
        assert set(re.findall(r'^ *\* (--[a-z-]+)$', text, re.M)) == set(plugin_options())


# sudo obeys it


@pytest.mark.daemons
def test_visudo_accepts_the_rule(plain_stage: stage.Stage) -> None:
    """Strictly: an alias that nobody defined is else only a warning."""
    done = plain_stage.run('visudo', '-csf', '/etc/sudoers.d/check_conntrack')
    assert done.returncode == 0, done.stdout + done.stderr


def allowed(stage_: stage.Stage, *argv: str) -> bool:
    """Would sudo let the daemons' user run the plugin so? It asks, and runs nothing."""
    done = stage_.run('sudo', '-n', '-l', stage.PLUGIN, *argv, user=stage.USER)
    return done.returncode == 0


@pytest.mark.daemons
def test_sudo_allows_what_is_shipped(plain_stage: stage.Stage) -> None:
    lines = command_lines('nrpe.d/check_conntrack.cfg', r'^command\[\w+\]=/usr/bin/sudo .*')
    assert lines == [['-w', '85', '-c', '95'], ['-w', '85', '-c', '95', '--netns', 'all']]
    # every option at once, in Icinga's order
    everything = [part for option in sorted(plugin_options()) if option not in NOT_ALLOWED for part in example(option)]
    assert options.parse(everything)
    required = [['--require', signal] for signal in options.REQUIRABLE]
    for argv in ([], *lines, *required, ['--critical', '95', '--warning', '80%'], everything):
        assert allowed(plain_stage, *argv), argv


@pytest.mark.daemons
@pytest.mark.parametrize('option', sorted(plugin_options()))
def test_sudo_and_each_option(plain_stage: stage.Stage, option: str) -> None:
    """Every option that changes nothing may be used as root, but none may name a file."""
    if option in NOT_ALLOWED:
        assert not allowed(plain_stage, option, NOT_ALLOWED[option])
        return
    assert allowed(plain_stage, *example(option))
    if option in NAME_A_FILE:
        assert not allowed(plain_stage, option, '/etc/shadow')
        assert not allowed(plain_stage, option, 'file')


@pytest.mark.daemons
@pytest.mark.parametrize('argv', REFUSED)
def test_sudo_refuses_another_command_line(plain_stage: stage.Stage, argv: list[str]) -> None:
    assert not allowed(plain_stage, *argv)
    done = plain_stage.run('sudo', '-n', stage.PLUGIN, *argv, user=stage.USER)
    assert (done.returncode, done.stdout) == (1, '')
    assert 'password is required' in done.stderr


@pytest.mark.daemons
@pytest.mark.parametrize('argv', [
    ['--history', 'off --verbose'],
    ['--history', 'off--verbose'],
    ['--history', 'off '],
    ['--kernel-log', 'kmsg --verbose'],
    ['--kernel-log', 'kmsg '],
    ['--warning', '85 --history off'],
])
def test_no_argument_smuggles_a_file(plain_stage: stage.Stage, argv: list[str]) -> None:
    """sudo compares all arguments as one text: one that looks like two is the plugin's to refuse."""
    with pytest.raises(options.UsageError):
        options.parse(argv)
    done = plain_stage.run('sudo', '-n', stage.PLUGIN, *argv, user=stage.USER)
    # where the rule lets it pass
    assert done.returncode in (1, 3), done.stdout
    assert not done.stdout or done.stdout.startswith('CONNTRACK UNKNOWN - ')


@pytest.mark.daemons
def test_sudo_runs_it_as_root_without_the_callers_environment() -> None:
    """PATH finds the interpreter, PYTHON* what it loads: neither may be the caller's."""
    stage.need('sudo')
    with stage.stage() as made:
        (made.plugins / 'check_conntrack.py').write_text(
            '#!/usr/bin/env python3\nimport os\nprint(os.geteuid(), *sorted(os.environ), os.environ["PATH"])\n')
        trap = made.directory('trap')
        (trap / 'python3').write_text('#!/bin/sh\necho trapped\n')
        (trap / 'python3').chmod(0o755)
        done = made.run('env', f'PATH={trap}:/usr/bin', f'PYTHONPATH={trap}', 'NAGIOS_PLUGIN_STATE_DIRECTORY=/tmp',
                        '/usr/bin/sudo', '-n', stage.PLUGIN, user=stage.USER)
    uid, *names, path = done.stdout.split()
    assert uid == '0', done.stderr
    assert not [name for name in names if name.startswith(('PYTHON', 'NAGIOS'))]
    assert path == '/usr/sbin:/usr/bin:/sbin:/bin'


@pytest.mark.daemons
def test_a_hostile_environment_changes_nothing_under_sudo() -> None:
    """The plugin itself: no foreign module, no foreign place for the history, the same text whatever the language."""
    stage.need('sudo')
    stage.need_plugin()
    with stage.stage() as made:
        trap = made.directory('trap')
        for name in ('nagiosplugin', 'sqlite3', 'sitecustomize'):
            (trap / f'{name}.py').write_text('print("trapped")\n')
        as_root = ('/usr/bin/sudo', '-n', stage.PLUGIN, '--critical', '95')
        foreign = ('env', f'PYTHONPATH={trap}', f'PYTHONHOME={trap}', f'PYTHONSTARTUP={trap}/nagiosplugin.py',
                   'PYTHONINSPECT=1', 'PYTHONIOENCODING=utf-16', f'NAGIOS_PLUGIN_STATE_DIRECTORY={trap}',
                   f'HOME={trap}', 'LC_ALL=tr_TR.UTF-8', 'LANGUAGE=de', 'TZ=Pacific/Apia', 'COLUMNS=3')
        made.run(*as_root, user=stage.USER)
        time.sleep(1.1)
        plain, odd = made.run(*as_root, user=stage.USER), made.run(*foreign, *as_root, user=stage.USER)
        left = sorted(path.name for path in trap.rglob('*'))
    assert plain.stdout.startswith('CONNTRACK OK - '), plain
    # the numbers of a busy machine move
    assert [re.sub(r'[\d.]+', '0', part) for part in odd.stdout.split()] == \
        [re.sub(r'[\d.]+', '0', part) for part in plain.stdout.split()]
    assert (odd.returncode, odd.stderr) == (plain.returncode, plain.stderr) == (0, '')
    assert left == ['nagiosplugin.py', 'sitecustomize.py', 'sqlite3.py']


# the guide


def test_rollout_guide_names_what_exists() -> None:
    """Its variables, its commands, its files; and its intervals keep the rule that it gives."""
    guide = ''.join((stage.CHECKOUT / f'docs/{page}.md').read_text() for page in ('install', 'rollout', 'privileges'))
    known = {variable(name).strip('$') for name in plugin_options()} | {'conntrack_sudo', 'conntrack_nrpe'}
    # counters of AWS's driver
    known |= {'conntrack_allowance_exceeded', 'conntrack_allowance_available'}
    assert set(re.findall(r'\bconntrack_[a-z_]+\b', guide)) <= known
    commands = re.findall(r'^#?command\[(\w+)\]', (ICINGA / 'nrpe.d/check_conntrack.cfg').read_text(), re.M)
    assert set(re.findall(r'"(check_conntrack_\w+)"', guide)) <= set(commands)
    for file in re.findall(r'`(?:icinga/|packaging/)[\w./*-]+`', guide):
        assert list(stage.CHECKOUT.glob(file.strip('`'))), file
    rows = re.findall(r'^\| (\d+) min \| (\d+) (s|min) \| (\d) \| ([\d.]+) min \| (\d+) min', guide, re.M)
    assert len(rows) >= 4
    for check, retry, unit, attempts, hard, window in rows:
        latest = float(check) + (int(attempts) - 1) * float(retry) * (1 if unit == 'min' else 1 / 60)
        assert latest == float(hard) < float(window) / 2


def test_a_timeout_of_nrpe_is_critical_and_agent_hosts_are_not_pinged() -> None:
    """A full table refuses new connections: NRPE's, and a ping's."""
    service = (ICINGA / 'zones.d/master/conntrack-services.conf').read_text()
    assert 'vars.nrpe_timeout_unknown = false' in service
    assert re.search(r'template Host "conntrack-agent-host" {\n\tcheck_command = "cluster-zone"', service)
    nagios = (ICINGA / 'nagios4/conntrack.cfg').read_text()
    line, = re.findall(r'^ +command_line +(.*check_nrpe.*)$', nagios, re.M)
    assert '-u' not in line.split()
    basket = json.loads((ICINGA / 'director/conntrack-basket.json').read_text())
    assert basket['HostTemplate']['conntrack-agent-host']['check_command'] == 'cluster-zone'
