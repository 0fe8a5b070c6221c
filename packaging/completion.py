#!/usr/bin/env python3
"""packaging/completion.py DIR: writes the bash completion of each program into DIR, made from its parser."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

from programs import parsers, verbs

#: also called by these names
ALIASES = {'check_conntrack': ['check_conntrack.py', 'check_conntrack.pyz'],
           'conntrack-doctor': ['conntrack-doctor.pyz']}
#: takes the names of network namespaces
NAMESPACES = {':--netns'}
#: names may hold blanks
FILES = 'compopt -o filenames; mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen {} -- "$current")'
FUNCTION = """
{function}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    # bash splits --option=value in three
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = && $COMP_CWORD -gt 2 ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    COMPREPLY=()
    local verb= word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ " {verbs} " == *" $word "* ]] && {{ verb=$word; break; }}
    done
    case $verb:$previous in
{values}
    esac
    case $verb in
{options}
    esac
}}
complete -F {function} {names}
"""


def accepts(action: argparse.Action, text: str) -> bool:
    """Would the parser take this value?"""
    if action.choices is not None:
        return text in action.choices
    try:
        action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError, TypeError):
        return False
    return True


def words(action: argparse.Action, epilog: str) -> list[str]:
    """The words among its values: those in the help that it accepts, if it does not accept just anything."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if accepts(action, 'no-such-word'):
        return []
    return [word for word in dict.fromkeys(re.findall(r'\b[a-z][a-z-]+\b', f'{action.help} {epilog}'))
            if accepts(action, word)]


def value_line(pattern: str, action: argparse.Action, found: list[str]) -> str:
    """The branch that completes an option's value; where there is nothing to offer, nothing."""
    commands = []
    if found:
        commands.append(f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(found))} -- "$current"))')
    kind = str(action.metavar or action.dest).upper()
    if pattern in NAMESPACES:
        commands.append('COMPREPLY=($(compgen -W "current all $(ip netns list 2>/dev/null | cut -d \' \' -f 1)" '
                        '-- "$current"))')
    if 'DIR' in kind:
        commands.append(FILES.format('-d'))
    elif accepts(action, '/dev/null') and not isinstance(action.choices, (list, tuple)) \
            and re.search(r'FILE|PATH|SOURCE', kind):
        commands.append(FILES.format('-f'))
    return f'        {pattern}) {"; ".join([*commands, "return"])} ;;'


def script(name: str, parser: argparse.ArgumentParser) -> str:
    """The completion of a program."""
    commands = verbs(parser)
    values, offered = [], []
    # an option of the same name takes the same words, also where its parser lets everything pass
    known = {action.option_strings[-1]: words(action, str(other.epilog)) for other in parsers().values()
             for action in other._actions if action.option_strings and action.nargs != 0}
    for verb, one in {'': parser, **commands}.items():
        flags: list[str] = []
        for action in one._actions:
            if action.help == argparse.SUPPRESS or not action.option_strings:
                continue
            flags += action.option_strings
            if action.nargs != 0:
                pattern = '|'.join(f'{verb}:{flag}' for flag in action.option_strings)
                found = words(action, str(one.epilog)) or known.get(action.option_strings[-1], [])
                values.append(value_line(pattern, action, found))
        flags += [] if verb else commands
        choices = shlex.quote(' '.join(flags))
        offered.append(f"        '{verb}') COMPREPLY=($(compgen -W {choices} -- \"$current\")) ;;")
    return f'# bash completion for {name}, made from its help\n' + FUNCTION.format(
        function='_' + name.replace('-', '_'), verbs=' '.join(commands), values='\n'.join(values),
        options='\n'.join(offered), names=' '.join([name, *ALIASES[name]]))


def main(directory: str) -> None:
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    for name, parser in parsers().items():
        (place / name).write_text(script(name, parser), encoding='ascii')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
