"""An incident on one screen: what fills the table, what changed, what to do. It prints, changes nothing."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from functools import partial

from ...argument_types import seconds
from ...deadline import Deadline
from ...defaults import WINDOW
from .. import common_options, netns_target, readings
from ..text_layout import TextLayout
from . import json_output, reading, report

WIDTH, NARROWEST, WIDEST = 80, 40, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = ('As root it looks at the flows by netlink: where nf_conntrack_netlink is a module, the kernel '
                     'loads it then, as for conntrack -L.')
    common_options.add_json(parser, 'everything')
    common_options.add_history(parser)
    common_options.add_sample(parser)
    parser.add_argument('--window', metavar='DURATION', type=seconds, default=WINDOW,
                        help='minimum time over which drops are counted (default: 5m)')
    common_options.add_timeout(parser, '20s')
    common_options.add_color(parser)
    readings.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    common_options.check_history(arguments.history)
    seen = _gather(arguments)
    if arguments.json:
        print(json_output.as_json(seen))
        return 0
    terminal = common_options.on_terminal()
    layout = TextLayout(_width() if terminal else WIDTH, terminal, common_options.colours(arguments.color))
    sys.stdout.write(report.text(seen, layout))
    return 0


def _gather(arguments: argparse.Namespace) -> reading.TriageReadings:
    host = readings.host_of(arguments)
    target = netns_target.enter_target(host, arguments.netns)
    if arguments.sample is None:
        return reading.gather(host, arguments.kernel_log, arguments.history, None, contextlib.nullcontext,
                              window=arguments.window, target=target)
    deadline = Deadline(arguments.timeout)
    deadline.start()
    try:
        return reading.gather(host, arguments.kernel_log, arguments.history, arguments.sample, deadline.budget,
                              window=arguments.window, target=target,
                              history_budget=partial(deadline.budget, common_options.LONGEST_HISTORY_READING))
    finally:
        deadline.stop()


def _width() -> int:
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        columns = 0
    # a pseudo-terminal may not know its size
    return max(NARROWEST, min(WIDEST, columns or WIDTH))
