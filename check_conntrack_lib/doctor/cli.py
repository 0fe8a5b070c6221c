"""conntrack-doctor VERB: one module a verb, with `add_arguments(parser)` and `run(arguments) -> exit status`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .. import __version__
from . import DoctorError, error_line

NAME = 'conntrack-doctor'
#: exit statuses as a shell knows them: wrong use or no result, SIGINT, SIGPIPE
EXIT_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

#: Each verb is the module of its name, imported only when it is asked for. To add a verb, add a line and the module.
VERBS = {
    'triage': 'the first five minutes: who fills the table, what changed, what contains it',
    'history': 'what the check recorded, as a picture: usage, growth, losses',
    'tune': 'what size, timeouts and rules would help, with their measured effect',
    'watch': 'live: usage, growth, time to full and losses, refreshed in place',
    'export': 'the same readings as Prometheus metrics: printed, in a file, or served',
}


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise DoctorError(f'{message} (see {self.prog} --help)')


def parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line; only the verbs that it names bring their options."""
    p = _Parser(prog=NAME, allow_abbrev=False, formatter_class=_format,
                description='Looks into the Linux connection tracking table. It only reads, and prints what to run.',
                epilog=f'{NAME} VERB --help shows the options of a verb. Exit status: 0, or 2 with one line that says '
                       'what went wrong.')
    p.add_argument('--version', action='version', version=f'{NAME} {__version__}')
    verbs = p.add_subparsers(title='verbs', metavar='VERB', dest='verb', required=True)
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + '.', allow_abbrev=False,
                                formatter_class=_format)
        if name in argv:
            module = import_module(f'.{name}', __package__)
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit status; every way out is quiet and clean."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser(argv).parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # nothing more may be written to it when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except (DoctorError, OSError) as error:
        # an OSError comes from what the caller named: a file to write, an address to listen on
        print(f'{NAME}: {error_line(error)}', file=sys.stderr)
        return EXIT_ERROR
    return status


def _format(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=32, width=110)
