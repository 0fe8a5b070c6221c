"""Live view: usage, growth, time to full and drops; refreshed in place on a terminal, elsewhere a line per update."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import closing

from ...argument_types import seconds
from ...deadline import OutOfTime
from ...defaults import WINDOW
from ...formatting import clean, local_time
from ...model import Table
from ...readers import ctnetlink_events
from .. import DoctorError, common_options, error_line, netns_target, readings
from ..netns_target import Target
from ..text_layout import StyledLine
from .terminal import Terminal, live
from .view import WatchState, as_json, labelled, next_state, one_line, screen

#: entries that are looked at for the states each time: 3 points of error at the most, in a few milliseconds
FLOWS = 2000
#: columns of the usage line without its bar
BESIDE_BAR = 68
#: order of --top; as in analysis/top_lists.py, which only --top needs
ORDERS = ('entries', 'new', 'bytes')
#: exit status when there was no table at the end, as of the other verbs
NO_TABLE = 2
#: of each list of --top
MOST_ROWS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--every', '-n', '--interval', metavar='DURATION', type=seconds, default=2.0,
                        help='refresh interval (default: 2s)')
    parser.add_argument('--count', metavar='N', type=int, help='exit after N updates')
    parser.add_argument('--top', action='store_true',
                        help='the sources, targets and services with most entries, from a sample of the table (needs '
                             'root); it is refreshed more rarely where it would take more than 5%% of a core')
    parser.add_argument('--sort', choices=ORDERS, default=None,
                        help='order of --top: by entries, by new connections per second, or by bytes per second, '
                             'which the kernel counts only where nf_conntrack_acct is 1 (default: entries)')
    parser.add_argument('--rows', metavar='N', type=int,
                        help='rows of each list of --top (default: as many as the screen holds, else 5)')
    common_options.add_json(parser, 'one line per update')
    common_options.add_color(parser)
    readings.add_arguments(parser)


def bar_width(terminal: Terminal) -> int:
    """How wide a bar of the usage line may be."""
    return max(0, min(50, terminal.size().columns - BESIDE_BAR))


def host_and_namespace(target: Target) -> str:
    """'gw1', or 'gw1, pod shop/web': the namespace too if it is not the host's."""
    return clean(os.uname().nodename) + (f', {clean(target.title)}' if target.title else '')


def run(arguments: argparse.Namespace) -> int:
    if arguments.count is not None and arguments.count < 1:
        raise DoctorError(f'--count: {arguments.count} is not at least 1')
    if not arguments.top and (arguments.sort or arguments.rows is not None):
        raise DoctorError('--sort and --rows need --top')
    if arguments.rows is not None and not 1 <= arguments.rows <= MOST_ROWS:
        raise DoctorError(f'--rows: {arguments.rows} is not between 1 and {MOST_ROWS}')
    host = readings.host_of(arguments)
    target = netns_target.enter_target(host, arguments.netns)
    if arguments.top:
        from .top import run as run_top

        return run_top(arguments, host, target)
    title = f'conntrack-doctor watch: {host_and_namespace(target)}, every {arguments.every:g} s'
    state: WatchState | None = None
    shown = 0
    due = time.monotonic()
    opened = readings.Rounds(host, arguments.kernel_log, WINDOW, ctnetlink_events.open_listener(host))
    with closing(opened) as rounds, live(arguments) as terminal:
        while True:
            try:
                state = next_state(state, rounds.take(flows=FLOWS))
                lines, line = screen(state, bar_width(terminal) if terminal else 0), one_line(state)
            except OutOfTime as error:
                line = error_line(error)
                lines = [StyledLine('reading', line, 1)]
            if arguments.json:
                print(as_json(state, line), flush=True)
            elif terminal:
                terminal.draw(f'{title}, {local_time("%H:%M:%S %Z", time.time())}', labelled(lines))
            else:
                print(f'{local_time("%Y-%m-%d %H:%M:%S %Z", time.time())} {line}', flush=True)
            shown += 1
            if shown == arguments.count:
                return 0 if state and isinstance(state.snapshot.table, Table) else NO_TABLE
            # after a suspend or a slow reading the interval starts again
            now = time.monotonic()
            due = max(due + arguments.every, now)
            time.sleep(due - now)
