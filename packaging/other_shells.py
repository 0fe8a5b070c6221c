"""The completion of zsh and tcsh, by shtab.

What it does not know of itself is said to it here: the words that our converters take, and the names of network
namespaces. `--option value` is completed, `--option=value` is not; tcsh offers every verb's options with every verb,
and words without file names where an option takes both.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import shtab
from programs import ALIASES, verbs
from values import known_words, takes_directory, takes_file, words

LIST = "ip netns list 2>/dev/null | cut -d ' ' -f 1"
#: completes the names of network namespaces
NAMESPACES = {'zsh': '_conntrack_netns', 'tcsh': '`echo current all; ip netns list | cut "-d " -f 1`'}
#: as shtab's FILE and DIRECTORY
PLACES = {'file': {'zsh': '_files', 'tcsh': 'f'}, 'directory': {'zsh': '_files -/', 'tcsh': 'd'}}
#: stands for '%', which only newer versions of shtab expand
PERCENT = '\N{FULLWIDTH PERCENT SIGN}'
ZSH = f"""
_conntrack_netns() {{
    compadd "$@" -- current all ${{(f)"$({LIST})"}}
}}
"""
WORDS_AND_FILES = """
{name}() {{
    _alternative 'words:word:({words})' 'files:file:_files'
}}
"""


def prepare(parser: argparse.ArgumentParser) -> str:
    """Says to shtab what the values of each option are; returns functions that zsh needs for it.

    The parser then is good for nothing else.
    """
    functions, known = [], known_words()
    for one in [parser, *verbs(parser).values()]:
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction) or not action.option_strings:
                continue
            if action.help and action.help != argparse.SUPPRESS:
                # one line, as the help has it
                expanded = action.help % {**vars(action), 'prog': parser.prog}
                action.help = ' '.join(expanded.replace('%', PERCENT).split())
            if action.nargs == 0:
                continue
            found = words(action, str(one.epilog)) or known.get(action.option_strings[-1], [])
            complete: dict[str, str] = {}
            if '--netns' in action.option_strings:
                complete, found = NAMESPACES, []
            elif takes_directory(action):
                complete = PLACES['directory']
            elif takes_file(action):
                complete = PLACES['file']
                if found:
                    name = f'_{parser.prog}_{one.prog.split()[-1]}_{action.dest}'.replace('-', '_')
                    functions.append(WORDS_AND_FILES.format(name=name, words=' '.join(found)))
                    complete = {'zsh': name, 'tcsh': f'({" ".join(found)})'}
            action.choices = found or None
            if complete:
                action.complete = complete  # type: ignore[attr-defined]
            # newer versions of shtab print it where zsh takes a ':' for a separator
            action.metavar = None
    return ''.join(functions)


def scripts(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """The files that the shells read, and their text. The parser then is good for nothing else."""
    functions = prepare(parser)
    names = [name, *ALIASES[name]]
    text = shtab.complete(parser, 'zsh', preamble=ZSH + functions).replace(PERCENT, '%')
    yield f'_{name}', text.replace(f'#compdef {name}\n', f'#compdef {" ".join(names)}\n', 1).rstrip() + '\n'
    # the options come out of a set
    text = re.sub(r"('c/--?/\()([^)]+)", lambda found: found[1] + ' '.join(sorted(found[2].split())),
                  shtab.complete(parser, 'tcsh'))
    yield f'{name}.tcsh', '\n'.join(text.replace(f'complete {name} ', f'complete {other} ').rstrip() + '\n'
                                    for other in names)
