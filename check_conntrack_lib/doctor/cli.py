"""The command conntrack-doctor VERB: a package for each verb, with `add_arguments(parser)` and `run(arguments)`, which
returns the exit status.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .. import __version__
from ..argument_types import corrected
from ..namedtuples import TYPE_CHECKING
from ..streams import discard
from . import DoctorError, error_line

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

NAME = 'conntrack-doctor'
#: exit statuses as a shell knows them: wrong use or no result, SIGINT, SIGPIPE
EXIT_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

#: Each verb is the package of its name, imported only when it is asked for. To add a verb, add a line and the package.
VERBS = {
    'triage': 'incident overview: what fills the table, what changed, what to do',
    'history': 'chart and summary of the recorded history',
    'tune': 'recommended table size, timeouts and bypass rules',
    'watch': 'live view: usage, growth, time to full and drops',
    'export': 'Prometheus metrics: print, textfile or HTTP',
}
EXAMPLES = {
    'triage': ('sudo conntrack-doctor triage', 'sudo conntrack-doctor triage --netns router',
               'sudo conntrack-doctor triage --json >incident.json'),
    'history': ('conntrack-doctor history --from 6h',
                "conntrack-doctor history --from '2026-11-20 02:00' --html incident.html",
                'conntrack-doctor history --json'),
    'tune': ('sudo conntrack-doctor tune', 'sudo conntrack-doctor tune --drop-in --expires 48h',
             'sudo conntrack-doctor tune --rules nft >bypass.nft'),
    'watch': ('sudo conntrack-doctor watch', 'sudo conntrack-doctor watch --top --sort bytes',
              'conntrack-doctor watch -n 10 --count 6', 'conntrack-doctor watch --json'),
    'export': ('conntrack-doctor export',
               'conntrack-doctor export --textfile /var/lib/node_exporter/conntrack.prom --every 15s',
               'conntrack-doctor export --listen :9318'),
}


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, without the usage."""

    #: the command whose --help explains an error: argparse reports an unknown option of a verb here
    explained_by = ''

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse's own ignores that a text could not be printed
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        raise DoctorError(f'{corrected(message, self)} (see {self.explained_by or self.prog} --help)')


def parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line; only the verbs that it names bring their options."""
    p = _Parser(prog=NAME, allow_abbrev=False, formatter_class=_format,
                description='Inspect the Linux connection tracking table. Read-only: commands are printed, never run.',
                epilog=f'{NAME} help VERB shows the options of a verb and examples. Exit status: 0, or 2 with one line '
                       'that says what went wrong.')
    p.add_argument('-V', '--version', action='version', version=f'{NAME} {__version__}')
    verbs = p.add_subparsers(title='verbs', metavar='VERB', dest='verb', required=True)
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + '.', allow_abbrev=False,
                                formatter_class=_format_examples)
        if name == next(iter(argv), ''):
            p.explained_by = f'{NAME} {name}'
        if name in argv:
            module = import_module(f'.{name}', __package__)
            module.add_arguments(verb)
            verb.epilog = _examples(name, verb.epilog)
            verb.set_defaults(run=module.run)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit status; whatever goes wrong is one line on standard error."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ['help']:
        argv = [*argv[1:2], '--help']
    open_streams()
    try:
        if not argv:
            _print_error(SHORT_HELP)
            return EXIT_ERROR
        try:
            arguments = parser(argv).parse_args(argv)
            status: int = arguments.run(arguments)
        finally:
            # also of a help text
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_rest()
        return BROKEN_PIPE
    except (DoctorError, OSError, UnicodeEncodeError) as error:
        # an OSError comes from what the caller named: a file to write, an address to listen on
        _print_error(f'{NAME}: {error_line(error)}')
        return EXIT_ERROR
    except (MemoryError, RecursionError):
        _print_error(f'{NAME}: out of memory')
        return EXIT_ERROR
    except Exception as error:
        # the last border; `python3 -X dev` shows where it was
        if sys.flags.dev_mode:
            raise
        _print_error(f'{NAME}: internal error: {type(error).__name__}: {error_line(error)} (please report it)')
        return EXIT_ERROR
    return status


def open_streams() -> None:
    """Opens what the caller has closed of the first three descriptors: else a file that is opened would get the number,
    and what is printed. Printing to one that was closed is an error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # the lowest number that is free
            os.open(os.devnull, os.O_RDONLY)
    for stream in (sys.stdout, sys.stderr):
        # a letter that the encoding of the terminal does not have becomes a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='replace')
    sys.stdout = sys.stdout or os.fdopen(1, 'w', encoding='utf-8', closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, 'w', encoding='utf-8', closefd=False)


def _print_error(text: str) -> None:
    """A line on standard error, if it takes one."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    _discard_rest()


def _discard_rest() -> None:
    """What cannot be written now would fail again when the interpreter ends, and change the exit status."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            discard(stream.fileno())


SHORT_HELP = '\n'.join([f'{NAME} VERB [options]', *(f'  {name:9}{text}' for name, text in VERBS.items()),
                        f'Example: sudo {NAME} triage        Help: {NAME} help [VERB]'])


def _examples(name: str, epilog: str | None) -> str:
    text = '\n'.join([*textwrap.wrap(epilog or '', 110), *([''] if epilog else []), 'examples:',
                      *(f'  {line}' for line in EXAMPLES[name])])
    return text.replace('%', '%%')


def _format_examples(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=110)


def _format(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=32, width=110)
