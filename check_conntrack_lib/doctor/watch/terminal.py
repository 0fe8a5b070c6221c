"""A screen that is refreshed: rows are drawn over those drawn before."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .. import common_options
from ..text_layout import COLOURS, RESET


class Terminal:
    """Draws a few rows over those drawn before. Hides no cursor, switches no screen: nothing to restore."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours
        self._height = 0
        self._size = self.size()
        # after Ctrl-Z and fg others have written below our rows
        signal.signal(signal.SIGCONT, lambda *_: self._forget())

    def draw(self, title: str, lines: Sequence[tuple[str, int]]) -> None:
        """Rows of text with what is wrong: 0 nothing, 1 warning, 2 critical; cut to the width."""
        size = self.size()
        if size != self._size:
            # rows may have been wrapped again: nobody knows where ours are
            sys.stdout.write('\x1b[2J\x1b[H')
            self._size = size
            self._forget()
        width = size.columns - 1
        rows = [title[:width]]
        for text, severity in lines:
            colour = COLOURS[severity] if self._colours else ''
            rows.append(f'{colour}{text[:width]}{RESET if colour else ""}')
        rows = rows[:max(1, size.lines - 1)]
        up = f'\x1b[{self._height}A' if self._height else ''
        # before they are written: the stop may come in between
        self._height = len(rows)
        sys.stdout.write(up + ''.join(f'\r{row}\x1b[K\n' for row in rows) + '\x1b[J')
        sys.stdout.flush()

    def size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            size = os.terminal_size((0, 0))
        # a serial console or a pseudo-terminal may not know its size
        return os.terminal_size((size.columns or 80, size.lines or 24))

    def _forget(self) -> None:
        self._height = 0


@contextmanager
def live(arguments: argparse.Namespace) -> Iterator[Terminal | None]:
    """The terminal to draw on; None where JSON is asked for, or a line per update because nothing else can be shown."""
    terminal = Terminal(common_options.colours(arguments.color)) \
        if common_options.on_terminal() and not arguments.json else None
    try:
        yield terminal
    except KeyboardInterrupt:
        if terminal:
            print()  # the shell's prompt not behind the echo of ^C
        raise
