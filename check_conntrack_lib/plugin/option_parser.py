"""argparse's parser of the options: for help, for what is wrong, and for every unusual way to write them."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from .. import __version__
from ..argument_types import corrected
from ..namedtuples import TYPE_CHECKING
from .options import OPTIONS, REQUIRE, UsageError

if TYPE_CHECKING:
    from typing import Any, NoReturn

EPILOG = """\
RANGE is a Nagios range: 85 alerts above 85; off sets no limit. Rates are packets per second over the window.
DURATION is 300, 90s, 5m, 1h or 14d. An empty value means the default.
Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also for wrong use, --help and --version).

examples:
  check_conntrack                              usage, growth and drops, as any user
  sudo check_conntrack --diagnose always       also the kernel log, and what fills the table
  check_conntrack -w 80 -c 90 --require counters
"""


class _Parser(argparse.ArgumentParser):
    """argparse that leaves as a plugin must: wrong use is a UsageError, help and version exit 3."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(corrected(message, self))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise SystemExit(3)


def parser() -> argparse.ArgumentParser:
    """The parser of all options."""
    p = _Parser(
        prog='check_conntrack', add_help=False, allow_abbrev=False, usage='%(prog)s [options]',
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=36, width=110),
        description='Check the Linux connection tracking table: usage, growth, dropped packets, evicted entries, and '
                    '"table full"\nkernel messages.',
        epilog=EPILOG)
    for title, options in OPTIONS.items():
        group = p.add_argument_group(title)
        for option in options:
            shown = f' (default: {option.default})' if option.default else ''
            group.add_argument(*option.flags, metavar=option.metavar, type=_unless_empty(option.convert),
                               help=option.text + shown)
        if title == 'what is read':
            group.add_argument(*REQUIRE.flags, metavar=REQUIRE.metavar, action='append', default=[],
                               type=_unless_empty(REQUIRE.convert), help=REQUIRE.text)
    group.add_argument('-v', '--verbose', action='count', default=0,
                       help='a line for every signal also when the state is OK; -vv: a traceback on an internal error')
    group.add_argument('-V', '--version', action='version', version=f'check_conntrack {__version__}',
                       help='the version')
    group.add_argument('-h', '--help', action='help', help='this help')
    return p


def _unless_empty(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        return convert(text) if text else None
    return converted
