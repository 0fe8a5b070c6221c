"""Lines of text: a label and a fact, folded to the width, coloured where that is wanted."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ..namedtuples import NamedTuple

#: columns of the label
LABEL = 12
BOLD, RESET = '\x1b[1m', '\x1b[0m'
#: by severity: none, yellow, bold red
COLOURS = ('', '\x1b[33m', '\x1b[1;31m')


class StyledLine(NamedTuple):
    """One fact."""

    label: str
    text: str
    #: 0 nothing is wrong, 1 warning, 2 critical
    severity: int = 0


class TextLayout(NamedTuple):
    """How lines become rows of a terminal, or of a file."""

    #: columns
    width: int
    #: it is a terminal: lists may stand side by side
    tables: bool = False
    colours: bool = False

    def fold(self, text: str, indent: str = '', first: str | None = None) -> list[str]:
        """Rows of words; what is longer than a row stays whole."""
        return textwrap.wrap(text, self.width, initial_indent=indent if first is None else first,
                             subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

    def bold(self, row: str) -> str:
        return f'{BOLD}{row}{RESET}' if self.colours else row

    def rows(self, line: StyledLine) -> list[str]:
        colour = COLOURS[line.severity] if self.colours else ''
        return [f'{colour}{row}{RESET if colour else ""}'
                for row in self.fold(line.text, ' ' * LABEL, line.label.ljust(LABEL))]

    def columns(self, label: str, columns: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """Lists with their titles as rows: side by side on a terminal with room for that, else one below the other."""
        wide = [max(map(len, (title, *cells))) for title, cells in columns]
        if not self.tables or LABEL + sum(wide) + 2 * len(wide) > self.width:
            return [row for title, cells in columns if cells for row in self.rows(StyledLine(title, ', '.join(cells)))]
        found = []
        for place in range(1 + max(len(cells) for _title, cells in columns)):
            row = '  '.join((title, *cells, *[''] * place)[place].ljust(width)
                            for (title, cells), width in zip(columns, wide)).rstrip()
            found.append(' ' * LABEL + row if place else label.ljust(LABEL) + self.bold(row))
        return found
