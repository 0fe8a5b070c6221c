"""Options that several verbs have: one name, one converter, one text for each."""

from __future__ import annotations

import argparse
import os
import sys

from ..argument_types import entries, path_or, seconds
from ..defaults import SAMPLE
from ..formatting import clean
from . import DoctorError

#: of every JSON output; another number when a field is renamed or removed
SCHEMA_VERSION = 1
#: seconds that `triage` and `tune` may read the history, so that there is time left to read the table
LONGEST_HISTORY_READING = 6.0


def add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--history', metavar='FILE', type=path_or(),
                        help="history file of check_conntrack (default: the newest of this user's, of "
                             '/var/lib/check_conntrack and, for root, of monitoring users)')


def check_history(path: str | None) -> None:
    """Raises DoctorError when a history file was named that is not there."""
    if path is not None and not os.path.exists(path):
        raise DoctorError(f'--history: {clean(path)}: No such file or directory')


def add_procfs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--procfs', metavar='DIR', default='/proc',
                        help="proc mount point, e.g. the host's /proc in a container (default: /proc)")


def add_kernel_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--kernel-log', metavar='SOURCE', type=path_or('auto', 'kmsg', 'journal', 'off'),
                        default='auto', help='auto (kmsg, else journal), kmsg, journal, off, or a FILE in /dev/kmsg '
                                             'format, with a "/" in its name (default: auto)')


def add_netns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--netns', metavar='NAME',
                        help='another network namespace: name of ip netns, container, pod as NAMESPACE/NAME, '
                             'container ID prefix or inode; needs root')


def add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sample', metavar='N', type=entries, default=SAMPLE,
                        help=f'maximum number of entries to sample (default: {SAMPLE})')
    parser.add_argument('--exact', dest='sample', action='store_const', const=None,
                        help='read all entries: about as expensive as conntrack -L')


def add_timeout(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument('-t', '--timeout', metavar='DURATION', type=seconds, default=seconds(default),
                        help=f'maximum time for all readings (default: {default})')


def add_color(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--color', choices=('auto', 'always', 'never'), default='auto',
                        help='colours: auto (on a terminal, unless NO_COLOR is set), always or never')


def add_json(parser: argparse._ActionsContainer, what: str) -> None:
    parser.add_argument('--json', action='store_true', help=f'print {what} as JSON, with its schema_version')


def colours(choice: str) -> bool:
    """Are colours wanted on standard output? As no-color.org says, an empty NO_COLOR counts for nothing."""
    if choice == 'auto':
        return on_terminal() and not os.environ.get('NO_COLOR')
    return choice == 'always'


def on_terminal() -> bool:
    """Is standard output a terminal that can do more than print?"""
    return sys.stdout.isatty() and os.environ.get('TERM', 'dumb') != 'dumb'
