"""Ansible's role: its variables are the check's options, and a host that it has configured runs the check through NRPE.

The archives are what it installs here: apt's module alone takes longer than all the rest. Before a release also
ROLE_INSTALL=deb and ROLE_INSTALL=pip .venv/bin/pytest -n 0 tests/integration/test_ansible.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stage
from test_packages import PACKAGING, Machine, build, need, opened, run

from check_conntrack_lib.plugin import options

INSTALL = os.environ.get('ROLE_INSTALL', 'pyz')
BUILD: dict[str, list[str | Path]] = {
    'pyz': ['/usr/bin/python3', PACKAGING / 'pyz.py'],
    'deb': ['sh', PACKAGING / 'deb.sh'],
    'pip': [sys.executable, '-m', 'build', '--no-isolation', '--wheel', stage.CHECKOUT, '--outdir'],
}
ANSIBLE = stage.CHECKOUT / 'packaging/ansible'
ROLE = ANSIBLE / 'roles/check_conntrack'
LOCALE = ['env', 'LC_ALL=C.UTF-8']
HOSTS = f"""
conntrack:
  vars:
    ansible_connection: local
    ansible_python_interpreter: /usr/bin/python3
    check_conntrack_install: {INSTALL}
    check_conntrack_agent: nrpe
    check_conntrack_sudo: true
    # all of this is the machine's already, and nothing there runs services
    check_conntrack_agent_packages: []
    check_conntrack_reload: false
    check_conntrack_nrpe_allowed_hosts: [192.0.2.10]
  children:
    gateways:
      hosts:
        gw1:
          check_conntrack_critical: 98
          check_conntrack_verbose: true
      vars:
        check_conntrack_warning: 75
        check_conntrack_trend: off
        check_conntrack_require: [counters, history]
        check_conntrack_netns: all
conntrack_icinga_server:
  hosts:
    monitor:
      ansible_connection: local
      ansible_python_interpreter: /usr/bin/python3
      check_conntrack_reload: false
      check_conntrack_icinga_hosts: [gw1, monitor]
      check_conntrack_icinga_mail_groups: [icingaadmins]
      check_conntrack_icinga_templates: /etc/icinga2/conf.d
      check_conntrack_icinga_zone: /etc/icinga2/conf.d
      check_conntrack_warning: 70
      check_conntrack_trend: off
      check_conntrack_verbose: true
      check_conntrack_require: [counters]
"""
ARGUMENTS = '--warning 75 --critical 98 --trend off {}--require counters --require history --verbose'
NRPE = f"""# Ansible managed: role check_conntrack
# Do not add -v: NRPE protocol 2 truncates output at 1024 bytes.

allowed_hosts=127.0.0.1,::1,192.0.2.10
command[check_conntrack]={stage.PLUGIN} {ARGUMENTS.format('--netns all ')}
command[check_conntrack_sudo]=/usr/bin/sudo -n {stage.PLUGIN} {ARGUMENTS.format('--netns all ')}
command[check_conntrack_netns]=/usr/bin/sudo -n {stage.PLUGIN} {ARGUMENTS.format('')} --netns all
"""
OBJECTS = """/* Ansible managed: role check_conntrack */

object Host "gw1" {
	/* always UP: a full table lets no ping through, and Icinga sends nothing about services of a host that is DOWN */
	check_command = "dummy"
	address = "gw1"

	vars.conntrack = true
	vars.notification.mail.groups = ["icingaadmins"]
	vars.conntrack_nrpe = true
	vars.conntrack_sudo = true
}

object Host "monitor" {
	/* always UP: a full table lets no ping through, and Icinga sends nothing about services of a host that is DOWN */
	check_command = "dummy"
	address = "monitor"

	vars.conntrack = true
	vars.notification.mail.groups = ["icingaadmins"]
	vars.conntrack_warning = "70"
	vars.conntrack_trend = "off"
	vars.conntrack_require = ["counters"]
	vars.conntrack_verbose = true
}
"""


def variables(file: str, indent: str = '') -> list[str]:
    return re.findall(rf'^{indent}(check_conntrack_\w+):', (ROLE / file).read_text(), re.M)


def test_every_variable_is_documented() -> None:
    """The options of the check have no default here: what is not set is not passed."""
    own = {'check_conntrack_' + action.option_strings[-1][2:].replace('-', '_') for action in options.parser()._actions}
    own -= {'check_conntrack_help', 'check_conntrack_version'}
    defaults = variables('defaults/main.yml')
    assert len(set(defaults)) == len(defaults)
    assert not own & set(defaults)
    assert set(variables('meta/argument_specs.yml', ' {6}')) == own | set(defaults)


def test_the_example_names_variables_that_there_are() -> None:
    named = re.findall(r'^ *(check_conntrack_\w+):', (ANSIBLE / 'inventory.example.yml').read_text(), re.M)
    assert len(named) > 5
    assert set(named) <= set(variables('meta/argument_specs.yml', ' {6}'))


def test_the_example_is_that_of_the_page() -> None:
    text = (ANSIBLE / 'inventory.example.yml').read_text().partition('---\n')[2]
    assert f'```\n{text}```' in (stage.CHECKOUT / 'docs/ansible.md').read_text()


@pytest.mark.packages
def test_ansible_lint(tmp_path: Path) -> None:
    need('ansible-lint')
    done = run(*LOCALE, f'HOME={tmp_path}', 'ansible-lint', '--offline', '--strict', '--nocolor', '--project-dir',
               ANSIBLE, ANSIBLE / 'site.yml', ROLE, cwd=ANSIBLE, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    # fewer: it has not found the role
    assert int(re.findall(r'on (\d+) files', done.stdout + done.stderr)[-1]) >= len(list(ROLE.rglob('*.*')))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """With a checkout below /mnt, where the package has been built."""
    stage.need('sudo', 'nrpe', f'{stage.PLUGINS}/check_nrpe', 'icinga2')
    stage.need_plugin()
    need('ansible-playbook')
    shutil.copytree(stage.ICINGA, tmp_path / 'icinga')
    shutil.copytree(ANSIBLE, tmp_path / 'packaging/ansible')
    build(*BUILD[INSTALL], tmp_path / 'dist')
    (tmp_path / 'hosts.yml').write_text(HOSTS)
    with opened(tmp_path) as made:
        yield made


def play(machine: Machine, *more: str) -> subprocess.CompletedProcess[str]:
    # pipelining: half the processes
    return run('unshare', '--mount', 'sh', machine.root / 'enter', *LOCALE, 'HOME=/root', 'ANSIBLE_PIPELINING=1',
               'ansible-playbook', '-i', '/mnt/hosts.yml', '--diff', '/mnt/packaging/ansible/site.yml', *more,
               timeout=300)


def played(machine: Machine, *more: str) -> str:
    """The output of a run without a failure."""
    done = play(machine, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counted(output: str, host: str) -> dict[str, int]:
    """The line of the recap."""
    line = output.partition('PLAY RECAP')[2].partition(f'\n{host} ')[2].partition('\n')[0]
    return {name: int(number) for name, number in re.findall(r'(\w+)=(\d+)', line)}


@pytest.mark.packages
def test_a_host_from_nothing_to_the_first_answer(machine: Machine) -> None:
    # sudo would refuse it
    refused = play(machine, '--check', '-l', 'gw1', '-e', 'check_conntrack_history=/tmp/history.sqlite')
    assert refused.returncode
    assert 'check_conntrack_history: the sudoers rule lets no option name a file' in refused.stdout, refused.stdout

    # what would be done is said, and nothing is
    looked = played(machine, '--check', '-l', 'gw1', '-e', '{"check_conntrack_reload": true}')
    assert counted(looked, 'gw1')['changed'] >= 4, looked
    assert '+command[check_conntrack_sudo]=' in looked
    assert [path for path in machine.traces() if 'conntrack' in path] == []

    machine.do('sh', '-c', 'cd /etc/icinga2; mkdir -p conf.d; chown nagios conf.d; chmod 750 conf.d')
    done = played(machine)
    assert machine.do('stat', '-c', '%U %a', '/etc/icinga2/conf.d') == 'nagios 750\n', 'what is there is left as it is'
    assert counted(done, 'gw1')['changed'] >= 4, done
    assert machine.do('cat', '/etc/nagios/nrpe.d/check_conntrack.cfg') == NRPE
    assert machine.do('cat', '/etc/icinga2/conf.d/conntrack-hosts.conf') == OBJECTS
    assert machine.do('stat', '-c', '%U:%G %a', '/var/lib/check_conntrack') == 'nagios:nagios 750\n'
    assert machine.do('stat', '-c', '%U:%G %a', '/etc/sudoers.d/check_conntrack') == 'root:root 440\n'

    again = played(machine, '-l', 'gw1')
    assert counted(again, 'gw1')['changed'] == 0, again

    # as the monitoring server asks, in a network of its own where the port is free
    check_nrpe = f'{stage.PLUGINS}/check_nrpe -H 127.0.0.1'
    answers = machine.run('unshare', '--net', 'sh', '-c', 'ip link set lo up; mkdir -p /run/nagios; '
                          'nrpe -c /etc/nagios/nrpe.cfg -f & '
                          f'for k in 1 2 3 4 5 6 7 8 9; do sleep 0.2; {check_nrpe} && break; done; '
                          f'{check_nrpe} -c check_conntrack_sudo; kill $!').stdout
    # other tests' full tables are namespaces of this machine, too: its state is theirs
    assert re.search(r'^CONNTRACK (OK|WARNING|CRITICAL) - ', answers, re.M), answers
    assert re.search(r'usage=[\d.]+%;75;98;0;100', answers), answers
