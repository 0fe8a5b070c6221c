"""What is shipped for Checkmk, Zabbix and Telegraf names what the programs have, in the formats of those systems."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from check_conntrack_lib.doctor import cli
from check_conntrack_lib.plugin import options

ROOT = Path(__file__).parent.parent
TEMPLATE = (ROOT / 'icinga/zabbix/conntrack-template.yaml').read_text()
AGENT = (ROOT / 'icinga/zabbix/conntrack.conf').read_text()
PLUGIN = '/usr/lib/nagios/plugins/check_conntrack.py'
GOLDENS = sorted((ROOT / 'tests/golden').glob('*.txt'))
QUIET = ROOT / 'tests/hosts/quiet-gateway'


def accepted(command: list[str]) -> bool:
    """Whether the program has these options; it runs on no host."""
    if command[:2] == ['/usr/bin/sudo', '-n']:
        command = command[2:]
    if command[0] == PLUGIN:
        options.parse(command[1:])
        return True
    assert command[0] == '/usr/sbin/conntrack-doctor'
    cli.parser([command[1]]).parse_args(command[1:])
    return True


# Checkmk


@pytest.fixture(scope='module')
def local() -> ModuleType:
    path = str(ROOT / 'icinga/checkmk/local/conntrack')
    loader = importlib.machinery.SourceFileLoader('checkmk_local', path)
    spec = importlib.util.spec_from_loader('checkmk_local', loader)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(made)
    sys.dont_write_bytecode = before
    return made


@pytest.mark.parametrize('golden', GOLDENS, ids=lambda path: path.stem)
def test_checkmk_line(local: ModuleType, golden: Path) -> None:
    """One line: state, quoted name, metrics that are numbers, text; the whole output is in it."""
    _, *lines, last = golden.read_text().splitlines()
    state = int(last.rsplit(' ', 1)[1])
    said = local.local_check(state, '\n'.join(lines))
    number = r'-?\d+(\.\d+)?'
    metric = rf'conntrack_\w+={number}(;({number})?)*'
    assert re.fullmatch(rf'{state} "Conntrack" (-|{metric}(\|{metric})*) \S.*', said), said
    text, *details = said.split('" ', 1)[1].partition(' ')[2].split(r'\n')
    assert f'CONNTRACK {("OK", "WARNING", "CRITICAL", "UNKNOWN")[state]} - {text}' == lines[0].partition(' | ')[0]
    assert details == lines[1:]
    names = re.findall(r'(\w+)=', lines[0].partition(' | ')[2])
    assert re.findall(r'conntrack_(\w+)=', said.split(' ', 3)[2]) == names


def test_checkmk_gets_no_threshold_that_is_a_range(local: ModuleType) -> None:
    assert local.metric('left=40.5%;15:;5:;0;100') == 'conntrack_left=40.5;;;0;100'


def test_checkmk_runs_the_check(local: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    assert accepted(local.COMMAND)
    monkeypatch.setattr(local, 'COMMAND', [sys.executable, str(ROOT / 'check_conntrack.py'), '--kernel-log', 'off',
                                           '--procfs', str(QUIET / 'proc'), '--history', 'off'])
    local.main()
    said = capsys.readouterr().out
    assert said.startswith('0 "Conntrack" conntrack_usage=12.4;85;95;0;100|conntrack_entries=32512;'), said
    monkeypatch.setattr(local, 'COMMAND', ['/nonexistent'])
    local.main()
    assert capsys.readouterr().out.startswith('3 "Conntrack" - ')
    assert local.local_check(-9, '') == '3 "Conntrack" - no output'


# Zabbix


def test_zabbix_agent_runs_what_there_is() -> None:
    lines = re.findall(r'^#?UserParameter=([\w.]+)(?:\[\*\])?,(.+)$', AGENT, re.M)
    assert [key for key, _ in lines] == ['conntrack.check', 'conntrack.export', 'conntrack.check']
    values = {'$1': '85', '$2': '95', '$3': '70'}
    for _, command in lines:
        assert accepted([values.get(part, part) for part in shlex.split(command)])


def test_zabbix_sudo_line_is_what_the_rule_allows() -> None:
    rule = (ROOT / 'icinga/sudoers.d/check_conntrack').read_text()
    pattern = re.findall(r'check_conntrack\.py (\^\(.*\$)', rule)[-1].replace('\\,', ',')
    line = re.findall(rf'^#UserParameter=.*{PLUGIN} (.*)$', AGENT, re.M)[0]
    assert re.fullmatch(pattern, re.sub(r"'\$\d'", '85', line))


def test_zabbix_template_asks_for_what_the_agent_has() -> None:
    keys = re.findall(r"^          key: '(.*)'$", TEMPLATE, re.M)
    assert len(set(keys)) == len(keys) > 10
    asked = set(re.findall(r"^          key: '([\w.]+).*'\n          delay: '1m'$", TEMPLATE, re.M))
    assert asked == {'conntrack.check', 'conntrack.export'}
    masters = set(re.findall(r"master_item:\n            key: '(.*)'", TEMPLATE))
    assert masters == {key for key in keys if key.partition('[')[0] in asked}
    macros = set(re.findall(r"- macro: '(\{\$[A-Z.]+\})'", TEMPLATE))
    assert macros == set(re.findall(r'\{\$[A-Z.]+\}', TEMPLATE))
    triggers = re.findall(r'/Linux conntrack by Zabbix agent/([\w.]+)', TEMPLATE)
    assert set(triggers) <= set(keys)
    ids = re.findall(r'uuid: (\w+)', TEMPLATE)
    assert len(set(ids)) == len(ids)
    assert all(uuid.UUID(one).version == 4 for one in ids)


def test_zabbix_paths_are_in_the_export() -> None:
    """Each JSONPath leads to a number."""
    done = subprocess.run([sys.executable, '-m', 'check_conntrack_lib', 'export', '--json', '--procfs', QUIET / 'proc',
                           '--kernel-log', QUIET / 'kmsg.log'], cwd=ROOT, capture_output=True, text=True, check=True)
    export: Any = json.loads(done.stdout)
    paths = re.findall(r"- '\$\.([\w.]+)'", TEMPLATE)
    assert len(paths) > 8
    for path in paths:
        value = export
        for name in path.split('.'):
            value = value[name]
        assert isinstance(value, (int, float)), path


@pytest.mark.parametrize('golden', GOLDENS, ids=lambda path: path.stem)
def test_zabbix_finds_state_and_line(golden: Path) -> None:
    """As the two preprocessing steps do it."""
    pattern = re.findall(r"- type: REGEX\n              parameters:\n                - '(.*)'", TEMPLATE)[0]
    names = re.findall(r"return \[(.*)\]\.indexOf\(value\.split\('' ''\)\[1\]\)", TEMPLATE)[0]
    _, *lines, last = golden.read_text().splitlines()
    output = '\n'.join(lines)
    assert names.replace("''", '').split(', ').index(output.split(' ')[1]) == int(last.rsplit(' ', 1)[1])
    found = re.search(pattern, output)
    assert found is not None
    assert f'CONNTRACK {found[1]}' == lines[0].partition(' | ')[0]


# Telegraf


def test_telegraf_runs_what_there_is() -> None:
    text = (ROOT / 'icinga/telegraf/conntrack.conf').read_text()
    commands = re.findall(r'^  commands = \["(.*)"\]$', text, re.M)
    assert len(commands) == text.count('\n[[inputs.exec]]') == 2
    assert all(accepted(shlex.split(command)) for command in commands)
    assert re.findall(r'^  data_format = "(\w+)"$', text, re.M) == ['nagios', 'prometheus']
