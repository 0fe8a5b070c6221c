"""Live: usage, growth, time to full and losses; refreshed in place on a terminal, a line a time elsewhere."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from ...argument_types import seconds
from ...deadline import OutOfTime
from ...defaults import WINDOW
from .. import DoctorError, error_line, readings
from .view import ScreenLine, WatchState, following, one_line, screen

#: looked at for the states each time: 3 % of error at the most, in a few milliseconds
FLOWS = 2000
#: the width of the usage line without its bar
BESIDE_BAR = 68
COLOURS = ('', '\x1b[33m', '\x1b[1;31m')
RESET = '\x1b[0m'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--every', metavar='DURATION', type=seconds, default=2.0, help='the rhythm (default: 2s)')
    parser.add_argument('--count', metavar='N', type=int, help='end after so many times')
    readings.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.count is not None and arguments.count < 1:
        raise DoctorError(f'--count: {arguments.count} is not at least 1')
    source = readings.host(arguments)
    terminal = Terminal() if sys.stdout.isatty() and os.environ.get('TERM', 'dumb') != 'dumb' else None
    title = f'conntrack-doctor watch: {os.uname().nodename}, every {arguments.every:g} s'
    moment: WatchState | None = None
    shown = 0
    due = time.monotonic()
    try:
        while True:
            try:
                moment = following(moment, readings.take(source, arguments.kernel_log, WINDOW, flows=FLOWS))
                lines, line = screen(moment, terminal.bar() if terminal else 0), one_line(moment)
            except OutOfTime as error:
                line = error_line(error)
                lines = [ScreenLine('reading', line, 1)]
            if terminal:
                terminal.draw(f'{title}, {time.strftime("%H:%M:%S")}', lines)
            else:
                print(f'{time.strftime("%Y-%m-%d %H:%M:%S")} {line}', flush=True)
            shown += 1
            if shown == arguments.count:
                return 0
            # after a suspend or a slow reading the rhythm begins anew
            now = time.monotonic()
            due = max(due + arguments.every, now)
            time.sleep(due - now)
    except KeyboardInterrupt:
        if terminal:
            print()  # the shell's prompt not behind the echo of ^C
        raise


class Terminal:
    """Draws a few lines over those drawn before. Hides no cursor, switches no screen: nothing to restore."""

    def __init__(self) -> None:
        self._height = 0
        self._size = self._now()
        # after Ctrl-Z and fg others have written below our lines
        signal.signal(signal.SIGCONT, lambda *_: self._forget())

    def draw(self, title: str, lines: list[ScreenLine]) -> None:
        size = self._now()
        if size != self._size:
            # lines may have been wrapped anew: nobody knows where ours are
            sys.stdout.write('\x1b[2J\x1b[H')
            self._size = size
            self._forget()
        width = size.columns - 1
        plain = '' if 'NO_COLOR' in os.environ else RESET
        rows = [title[:width]]
        for name, text, severity in lines:
            colour = COLOURS[severity] if plain else ''
            rows.append(f'{colour}{f"{name:14}{text}"[:width]}{plain if colour else ""}')
        rows = rows[:max(1, size.lines - 1)]
        up = f'\x1b[{self._height}A' if self._height else ''
        # before they are written: the stop may come in between
        self._height = len(rows)
        sys.stdout.write(up + ''.join(f'\r{row}\x1b[K\n' for row in rows) + '\x1b[J')
        sys.stdout.flush()

    def bar(self) -> int:
        """How wide a bar of the usage line may be."""
        return max(0, min(50, self._now().columns - BESIDE_BAR))

    def _forget(self) -> None:
        self._height = 0

    def _now(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            size = os.terminal_size((0, 0))
        # a serial console or a pseudo-terminal may not know its size
        return os.terminal_size((size.columns or 80, size.lines or 24))
