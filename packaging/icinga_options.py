#!/usr/bin/env python3
"""Writes the plugin's options into icinga/, the CheckCommand and the Director's basket, and into Ansible's role, whose
variables have the same names. Run it after any change of an option; tests/integration/test_icinga_config.py fails
until then. With --check it writes nothing and fails where there is something to write. The sudoers rule stays
handmade: what root may be told is for a person to decide.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from typing import TYPE_CHECKING

from made_files import CHECKOUT, update
from programs import parsers

if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import Any

COMMAND = CHECKOUT / 'icinga/zones.d/global-templates/conntrack-command.conf'
BASKET = CHECKOUT / 'icinga/director/conntrack-basket.json'
ROLE = CHECKOUT / 'packaging/ansible/roles/check_conntrack'
NAMES = ROLE / 'vars/main.yml'
SPECS = ROLE / 'meta/argument_specs.yml'
MADE = '# made by packaging/icinga_options.py from here on\n'


def variable(option: str) -> str:
    """The custom variable that Icinga takes an option's value from."""
    return 'conntrack_' + option[2:].replace('-', '_')


def argument(option: str, action: argparse.Action) -> dict[str, Any]:
    """How Icinga passes the option."""
    made: dict[str, Any] = {'set_if' if action.nargs == 0 else 'value': f'${variable(option)}$'}
    if isinstance(action.default, list):
        made['repeat_key'] = True
    return {**made, 'description': action.help}


def datafield(option: str, action: argparse.Action) -> dict[str, Any]:
    """The form field that the Director shows for the option."""
    kind = 'Boolean' if action.nargs == 0 else 'Array' if isinstance(action.default, list) else 'String'
    return {
        'varname': variable(option),
        'caption': 'Conntrack: ' + option[2:].replace('-', ' '),
        'description': action.help,
        'datatype': rf'Icinga\Module\Director\DataType\DataType{kind}',
        'format': None,
        'settings': {'visibility': 'visible'} if kind == 'String' else {},
    }


def role_names(shown: dict[str, argparse.Action]) -> str:
    """The lists of the role's variables that are options, without their prefix."""
    lists = {'check_conntrack_option_names': shown,
             'check_conntrack_flag_names': [name for name, action in shown.items() if action.nargs == 0]}
    return ''.join(f'{variable}:\n' + ''.join(f"  - {name[2:].replace('-', '_')}\n" for name in names)
                   for variable, names in lists.items())


def role_specs(shown: dict[str, argparse.Action]) -> str:
    """What the role's documentation says of each of them. Raw: a RANGE may be a number, and off is false in YAML."""
    made = ''
    for name, action in shown.items():
        made += f'      check_{variable(name)}:\n        type: {"bool" if action.nargs == 0 else "raw"}\n'
        made += '        description: >-\n' + textwrap.fill(
            action.help or '', 130, initial_indent=' ' * 10, subsequent_indent=' ' * 10, break_on_hyphens=False) + '\n'
    return made


def contents() -> dict[Path, str]:
    """The files as they have to be."""
    actions = {action.option_strings[-1]: action for action in parsers()['check_conntrack']._actions}
    shown = {name: action for name, action in actions.items() if name not in ('--help', '--version')}
    arguments = {name: argument(name, action) for name, action in shown.items()}

    text = ''.join(
        f'\t\t"{name}" = {{\n'
        + ''.join(f'\t\t\t{key} = {json.dumps(value)}\n' for key, value in content.items())
        + '\t\t}\n' for name, content in arguments.items())
    command_text = re.sub(r'(\targuments = \{\n).*?(^\t\}\n)', lambda found: found[1] + text + found[2],
                          COMMAND.read_text(), count=1, flags=re.M | re.S)

    basket = json.loads(BASKET.read_text())
    command = basket['CommandTemplate']['conntrack-options']
    command['arguments'] = arguments
    command['fields'] = [{'datafield_id': k, 'is_required': 'n', 'var_filter': None}
                         for k, _ in enumerate(shown, 1)]
    basket['Datafield'] = {str(k): datafield(name, action) for k, (name, action) in enumerate(shown.items(), 1)}
    made = {COMMAND: command_text, BASKET: json.dumps(basket, indent=4) + '\n'}
    for path, text in ((NAMES, role_names(shown)), (SPECS, role_specs(shown))):
        made[path] = path.read_text().partition(MADE)[0] + MADE + text
    return made


if __name__ == '__main__':
    sys.exit(update(contents(), 'icinga_options.py'))
