"""What `watch --top` shows: lists of sources, targets and services, in as many columns as there is room for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...analysis.top_lists import BYTES, NEW, Row, TopLists
from ...analysis.traffic import SORTS
from ...formatting import clean, count, rate, share_text, size_text
from ...model import Missing, Table
from ...namedtuples import NamedTuple
from ..common_options import SCHEMA_VERSION
from . import view
from .view import ScreenLine, WatchState

#: lines of a screen besides the rows: title, usage, growth, new/s, dropped, bytes, sample, and a heading for each list
BESIDES = 7 + len(SORTS) + 1
TITLES = {'sources': 'source', 'targets': 'target', 'services': 'service'}
#: the columns behind the name: title and width, the first to go last
COLUMNS = (('entries', 10), ('share', 10), ('new/s', 9), ('bytes/s', 11))
#: a name is not made narrower for another column
NARROWEST = 24
#: without a screen
WIDTH = 80


class Board(NamedTuple):
    """One refresh."""

    state: WatchState
    #: None: the flows could not be read, or there are none
    lists: TopLists | None
    names: Mapping[str, str]
    order: str
    #: why new connections were not counted by events
    uncounted: Missing | None = None
    unread: Missing | None = None
    #: why there are no bytes though the order asks for them
    no_bytes: Missing | None = None

    def errors(self) -> dict[str, str]:
        """What could not be read, by signal."""
        found = {name: why.why for name, why in self.state.reading.errors().items()}
        own = {'flows': self.unread, 'new-connections': self.uncounted, 'bytes': self.no_bytes}
        return {**found, **{name: why.why for name, why in own.items() if why}}


def addresses(found: TopLists) -> set[str]:
    """Those that are shown."""
    keys = [row.key for rows in found.rows.values() for row in rows]
    return {address for key in keys for address in (key.source, key.destination)} - {''}


def room(lines: int) -> int:
    """Rows of each list on a screen of so many lines."""
    return max(1, (lines - BESIDES) // len(SORTS))


def screen(board: Board, width: int, bar: int) -> list[tuple[str, int]]:
    """Rows with their severity; width: columns; bar: of the usage bar."""
    shown = [line for line in view.screen(board.state, bar) if line.name in ('usage', 'growth', 'dropped')]
    return [*view.labelled([*shown, *_rates(board), *_notes(board)]), *((row, 0) for row in _lists(board, width))]


def block(board: Board, stamp: str) -> list[str]:
    """The same without a screen, below a line of the whole table."""
    return [f'{stamp} {view.one_line(board.state)}',
            *(f'{name:14}{text}' for name, text, _severity in (*_rates(board), *_notes(board))),
            *_lists(board, WIDTH), '']


def as_json(board: Board | None, error: str) -> str:
    """One line of JSON; error: what is wrong where there are no readings."""
    if board is None or error:
        return json.dumps({'schema_version': SCHEMA_VERSION, 'error': error})
    found = board.lists
    table = board.state.snapshot.table if isinstance(board.state.snapshot.table, Table) else None
    return json.dumps({
        'schema_version': SCHEMA_VERSION, 'time': board.state.snapshot.at.wall,
        'entries': table.entries if table else None, 'maximum': table.maximum if table else None,
        'usage_percent': table.usage if table else None,
        'sampled': found.seen if found else 0, 'complete': bool(found and found.complete),
        'with_counters': found.counted if found else 0,
        'new_per_s': found.new_per_s if found else None,
        'new_by_events': bool(found and found.by_events),
        'packets_per_s': found.packets_per_s if found else None, 'bytes_per_s': found.bytes_per_s if found else None,
        **{sort: [_row(row, board.names) for row in found.rows[sort]] if found else [] for sort in SORTS},
        'errors': board.errors()})


def _row(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    return {**row.key._asdict(), 'name': names.get(row.key.destination or row.key.source, ''), 'entries': row.entries,
            'share': row.share, 'new_per_s': row.new_per_s, 'packets_per_s': row.packets_per_s,
            'bytes_per_s': row.bytes_per_s}


def _rates(board: Board) -> Iterator[ScreenLine]:
    found = board.lists
    if found is None:
        return
    if found.new_per_s is not None:
        how = 'counted' if found.by_events else 'by the difference of two samples'
        why = '' if found.by_events or board.uncounted is None else f' ({clean(board.uncounted.why).partition(":")[0]})'
        yield ScreenLine('new/s', f'{rate(found.new_per_s)}, {how}{why}')
    if found.bytes_per_s is not None and found.packets_per_s is not None:
        # a few connections carry most of the bytes: a sample has them or not
        part = '' if found.complete else ', of the entries looked at only'
        yield ScreenLine('bytes/s', f'{_size(found.bytes_per_s)}/s in {rate(found.packets_per_s)} packets{part}')


def _notes(board: Board) -> Iterator[ScreenLine]:
    found = board.lists
    if found is not None:
        sampled = f'{found.seen} of {count(found.entries, "entry")}'
        margin = f': shares +-{found.margin * 100:.1f} points' if found.margin else ''
        yield ScreenLine('looked at', f'{sampled}{margin}')
    for name, why in board.errors().items():
        if name not in ('usage', 'bytes') and not (name == 'new-connections' and found and found.new_per_s is not None):
            yield ScreenLine('not shown', f'{name}: {clean(why)}')
    if board.no_bytes:
        yield ScreenLine('not shown', clean(board.no_bytes.why))
    elif board.order in (BYTES, NEW) and found and _unknown(found, board.order):
        yield ScreenLine('order', f'by entries until {board.order}/s is known: from the next refresh on')


def _unknown(found: TopLists, order: str) -> bool:
    return (found.bytes_per_s if order == BYTES else found.new_per_s) is None


def _lists(board: Board, width: int) -> Iterator[str]:
    found = board.lists
    if found is None:
        return
    known = [True, True, found.new_per_s is not None, found.bytes_per_s is not None]
    columns: list[tuple[int, str, int]] = []
    left = width
    for place, (title, wide) in enumerate(COLUMNS):
        # what is sorted by is never left out
        if known[place] and (left - wide >= NARROWEST or title == f'{board.order}/s'):
            columns.append((place, title, wide))
            left -= wide
    for sort in SORTS:
        yield _line(TITLES[sort], left, [f'{title:>{wide}}' for _place, title, wide in columns])
        for row in found.rows[sort]:
            cells = _cells(row)
            yield _line(_called(row, board.names), left, [f'{cells[place]:>{wide}}' for place, _title, wide in columns])


def _line(name: str, width: int, cells: Sequence[str]) -> str:
    width = max(width, 8)
    cut = name if len(name) <= width else f'{name[:width - 3]}...'
    return f'{cut:{width}}{"".join(cells)}'.rstrip()


def _called(row: Row, names: Mapping[str, str]) -> str:
    name = names.get(row.key.destination or row.key.source, '')
    return f'{row.key.short()} ({clean(name)})' if name else row.key.short()


def _cells(row: Row) -> tuple[str, str, str, str]:
    return (f'{row.entries}', share_text(row.share), '' if row.new_per_s is None else rate(row.new_per_s)[:-2],
            '' if row.bytes_per_s is None else _size(row.bytes_per_s))


def _size(number: float) -> str:
    return size_text(number) if number >= 1024 else f'{number:.0f} B' if number else '0'
