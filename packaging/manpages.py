#!/usr/bin/env python3
"""packaging/manpages.py DIR: writes check_conntrack.8 and conntrack-doctor.8, made from the help, into DIR.

Not by argparse-manpage: Debian 12's (1.2.2) knows section 1 only, and that as well as a new one (4.8) gives the usage
of a verb and the examples of an epilog as one filled paragraph, and a date, which makes every build another one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from programs import SECTION, VERSION, parsers, summary, verbs

NOTES = {
    'check_conntrack': r"""
.SH EXIT STATUS
0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: also for wrong use, help and version.
.SH FILES
.TP
.I /var/lib/check_conntrack/history.sqlite
The history, where that directory belongs to the user who runs the check.
.TP
.I ~/.local/state/check_conntrack/history.sqlite
The same for every other user, also for root with
.BR sudo (8).
.SH ENVIRONMENT
.TP
.B NAGIOS_PLUGIN_STATE_DIRECTORY
Directory of the history, unless run with sudo.
.SH EXAMPLES
.TP
.B check_conntrack
With the defaults, as any user.
.TP
.B sudo check_conntrack \-\-diagnose always
What fills the table, also when the state is OK.
.TP
.B check_conntrack \-w 80 \-c 90 \-\-require counters
Other thresholds, and UNKNOWN where drops cannot be counted.
""",
    'conntrack-doctor': r"""
.SH EXIT STATUS
0, or 2 with one line on standard error that says what went wrong.
.SH ENVIRONMENT
.TP
.B NO_COLOR
No colours, if it is not empty; see
.BR \-\-color .
.SH FILES
.TP
.I /var/lib/check_conntrack/history.sqlite, ~/.local/state/check_conntrack/history.sqlite
The history that
.BR check_conntrack (8)
records.
""",
}
#: noun phrases, as man-pages(7) has them
PURPOSE = {
    'check_conntrack': 'monitoring plugin for the Linux connection tracking table',
    'conntrack-doctor': 'inspect and tune the Linux connection tracking table',
}
SEE_ALSO = {
    'check_conntrack': ['conntrack-doctor', 'conntrack', 'icinga2', 'nrpe'],
    'conntrack-doctor': ['check_conntrack', 'conntrack', 'sysctl'],
}


def escaped(text: str) -> str:
    """Text as roff prints it unchanged; a hyphen stays one that can be copied."""
    lines = text.replace('\\', r'\e').replace('-', r'\-').replace("'", r'\(aq').split('\n')
    return '\n'.join(r'\&' + line if line.startswith('.') else line for line in lines)


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def invocation(action: argparse.Action) -> str:
    """The line that heads an option."""
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else '')
    if action.choices and not action.metavar:
        value = '{' + ','.join(map(str, action.choices)) + '}'
    if not action.option_strings:
        return rf'\fI{escaped(str(value))}\fR'
    given = rf' \fI{escaped(str(value))}\fR' if action.nargs != 0 else ''
    return ', '.join(rf'\fB{escaped(flag)}\fR{given}' for flag in action.option_strings)


def options(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    """Every option under its group's title."""
    for group in parser._action_groups:
        actions = [action for action in group._group_actions
                   if not isinstance(action, argparse._SubParsersAction) and action.help != argparse.SUPPRESS]
        if not actions:
            continue
        yield f'.{heading} "{escaped(sentence(str(group.title)))}"'
        if group.description:
            yield escaped(group.description)
        for action in actions:
            text = (action.help or '') % {**vars(action), 'prog': parser.prog}
            yield from ('.TP', invocation(action), escaped(text))


def page(name: str, parser: argparse.ArgumentParser) -> str:
    """The whole manual page of a program."""
    description = str(parser.description)
    lines = [
        f'.TH {escaped(name.upper())} {SECTION} "" "check_conntrack {VERSION}" "System Administration"',
        '.SH NAME',
        rf'{escaped(name)} \- {escaped(PURPOSE[name])}',
        '.SH SYNOPSIS',
    ]
    commands = verbs(parser)
    lines += [rf'.B {escaped(name)}' + '\n' + (r'.I verb' + '\n' if commands else '') + r'.RI [ options ]']
    lines += ['.SH DESCRIPTION', escaped(description)]
    if parser.epilog:
        # they have a section of their own
        lines += ['.PP', escaped(parser.epilog.partition('\nexamples:')[0] % {'prog': parser.prog})]
    if commands:
        lines.append('.SH OPTIONS')
        lines += options(parser, 'SS')
        for verb, text in summary(parser).items():
            lines += [f'.SH "{escaped(verb.upper())}"', rf'.B {escaped(name)} {escaped(verb)}', '.RI [ options ]',
                      '.PP', escaped(sentence(text) + '.')]
            lines += options(commands[verb], 'SS')
            if commands[verb].epilog:
                lines += ['.PP', escaped(str(commands[verb].epilog))]
    else:
        lines.append('.SH OPTIONS')
        lines += options(parser, 'SS')
    others = ' ,\n'.join(f'.BR {escaped(other)} (8)' for other in SEE_ALSO[name])
    return '\n'.join([*lines, *NOTES[name].strip().splitlines(), '.SH SEE ALSO', others]) + '\n'


def main(directory: str) -> None:
    Path(directory).mkdir(parents=True, exist_ok=True)
    for name, parser in parsers().items():
        Path(directory, f'{name}.{SECTION}').write_text(page(name, parser), encoding='ascii')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
