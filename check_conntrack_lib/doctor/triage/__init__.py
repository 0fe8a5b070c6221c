"""The first five minutes on one screen: what it is, who does it, and what contains it. It prints, changes nothing."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from ...deadline import Deadline
from .. import readings
from ..terminal import TextLayout
from ..tune import SAMPLE, entries
from . import json_output, reading, report

#: for all readings, in seconds; the whole table may take longer
LONGEST = 20.0
WIDTH, NARROWEST, WIDEST = 80, 40, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', action='store_true', help='everything as JSON')
    parser.add_argument('--history', metavar='FILE', help="the recorder's file (default: where the check keeps it)")
    parser.add_argument('--sample', metavar='N', type=entries, default=SAMPLE,
                        help=f'entries of the table at most that are looked at (default: {SAMPLE})')
    parser.add_argument('--exact', dest='sample', action='store_const', const=None,
                        help='look at all of them: about as expensive as conntrack -L')
    readings.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    seen = _gather(arguments)
    if arguments.json:
        print(json_output.as_json(seen))
        return 0
    terminal = sys.stdout.isatty() and os.environ.get('TERM', 'dumb') != 'dumb'
    paper = TextLayout(_width(), True, 'NO_COLOR' not in os.environ) if terminal else TextLayout(WIDTH)
    sys.stdout.write(report.text(seen, paper))
    return 0


def _gather(arguments: argparse.Namespace) -> reading.TriageReadings:
    host = readings.host(arguments)
    if arguments.sample is None:
        return reading.gather(host, arguments.kernel_log, arguments.history, None, contextlib.nullcontext)
    deadline = Deadline(LONGEST)
    deadline.start()
    try:
        return reading.gather(host, arguments.kernel_log, arguments.history, arguments.sample, deadline.budget)
    finally:
        deadline.stop()


def _width() -> int:
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        columns = 0
    # a pseudo-terminal may not know its size
    return max(NARROWEST, min(WIDEST, columns or WIDTH))
