#!/usr/bin/env python3
"""packaging/completion.py DIR: writes each program's completion for bash, zsh and tcsh into DIR, made from its parser.

zsh and tcsh by shtab (other_shells.py), bash by this module: the shtab of Debian 12 (1.5.5) offers in bash only the
first of several words, also of the verbs, and none (1.13) completes the value of `--option=value`, which bash splits
in three.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import other_shells
from programs import ALIASES, parsers, verbs
from values import known_words, takes_directory, takes_file, words

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


def value_line(pattern: str, action: argparse.Action, found: list[str]) -> str:
    """The branch that completes an option's value; where there is nothing to offer, nothing."""
    commands = []
    if found:
        commands.append(f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(found))} -- "$current"))')
    if '--netns' in action.option_strings:
        commands.append('COMPREPLY=($(compgen -W "current all $(ip netns list 2>/dev/null | cut -d \' \' -f 1)" '
                        '-- "$current"))')
    if takes_directory(action):
        commands.append(FILES.format('-d'))
    elif takes_file(action):
        commands.append(FILES.format('-f'))
    return f'        {pattern}) {"; ".join([*commands, "return"])} ;;'


def script(name: str, parser: argparse.ArgumentParser) -> str:
    """The completion of a program."""
    commands = verbs(parser)
    values, offered = [], []
    known = known_words()
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
        for file, text in other_shells.scripts(name, parser):
            (place / file).write_text(text, encoding='ascii')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
