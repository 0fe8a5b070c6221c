#!/usr/bin/env python3
"""packaging/options_page.py: writes docs/options.md from the parsers; --check only says whether it is up to date."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator

from programs import CHECKOUT, parsers, summary, verbs

PAGE = CHECKOUT / 'docs/options.md'
HEAD = """# Options

Made by `packaging/options_page.py`; also in the manual pages check_conntrack(8) and conntrack-doctor(8).

## check_conntrack

`check_conntrack --help`. In Icinga every long option is a custom variable: `--early-drop-warning` is
`vars.conntrack_early_drop_warning`.

```
"""


def rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    """An option a row."""
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or not action.option_strings:
            continue
        value = '' if action.nargs == 0 else ' ' + (
            '{' + ','.join(map(str, action.choices)) + '}' if action.choices else str(action.metavar))
        text = ' '.join(((action.help or '') % {**vars(action), 'prog': parser.prog}).split())
        flags = ', '.join(f'`{flag}{value}`' for flag in action.option_strings)
        yield f'| {flags} | {text} |'


def text() -> str:
    """The whole page."""
    check, doctor = parsers().values()
    parts = [HEAD + check.format_help() + '```\n']
    titles = summary(doctor)
    for verb, parser in verbs(doctor).items():
        parts.append(f'\n## conntrack-doctor {verb}\n\n{titles[verb][:1].upper()}{titles[verb][1:]}; '
                     f'[doctor.md](doctor.md#{verb}).\n\n| option | |\n|---|---|\n'
                     + ''.join(f'{row}\n' for row in rows(parser)))
    return ''.join(parts)


def folded(page: str) -> str:
    """The page without what argparse of other Pythons prints differently."""
    return re.sub(r'\s+', '', re.sub(r'(-\w) [A-Z]+, --', r'\1, --', page))


def main() -> int:
    if folded(PAGE.read_text()) == folded(text()):
        return 0
    if '--check' in sys.argv[1:]:
        print('docs/options.md is out of date: python3 packaging/options_page.py writes it')
        return 1
    PAGE.write_text(text())
    return 0


if __name__ == '__main__':
    sys.exit(main())
