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
from ..text_layout import StyledLine
from . import view
from .view import WatchState

#: lines of a screen besides the rows: title, usage, growth, new/s, dropped, bytes, sample, and a heading for each list
BESIDES = 7 + len(SORTS) + 1
TITLES = {'sources': 'source', 'targets': 'target', 'services': 'service'}
#: the columns behind the name: title and width, the first to go last
COLUMNS = (('entries', 10), ('share', 10), ('new/s', 9), ('bytes/s', 11))
#: a name is not made narrower for another column
NARROWEST = 24
#: without a screen
WIDTH = 80


class TopRefresh(NamedTuple):
    """What one refresh of `watch --top` has to show."""

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


def screen(refresh: TopRefresh, width: int, bar: int) -> list[tuple[str, int]]:
    """Rows with their severity; width: columns; bar: of the usage bar."""
    shown = [line for line in view.screen(refresh.state, bar) if line.label in ('usage', 'growth', 'dropped')]
    return [*view.labelled([*shown, *_rates(refresh), *_notes(refresh)]), *((row, 0) for row in _lists(refresh, width))]


def block(refresh: TopRefresh, stamp: str) -> list[str]:
    """The same without a screen, below a line of the whole table."""
    return [f'{stamp} {view.one_line(refresh.state)}',
            *(f'{label:14}{text}' for label, text, _severity in (*_rates(refresh), *_notes(refresh))),
            *_lists(refresh, WIDTH), '']


def as_json(refresh: TopRefresh | None, error: str) -> str:
    """One line of JSON; error: what is wrong where there are no readings."""
    if refresh is None or error:
        return json.dumps({'schema_version': SCHEMA_VERSION, 'error': error})
    found = refresh.lists
    table = refresh.state.snapshot.table if isinstance(refresh.state.snapshot.table, Table) else None
    return json.dumps({
        'schema_version': SCHEMA_VERSION, 'time': refresh.state.snapshot.at.wall,
        'entries': table.entries if table else None, 'maximum': table.maximum if table else None,
        'usage_percent': table.usage if table else None,
        'sampled': found.seen if found else 0, 'complete': bool(found and found.complete),
        'with_counters': found.counted if found else 0,
        'new_per_s': found.new_per_s if found else None,
        'new_by_events': bool(found and found.by_events),
        'packets_per_s': found.packets_per_s if found else None, 'bytes_per_s': found.bytes_per_s if found else None,
        **{sort: [_row(row, refresh.names) for row in found.rows[sort]] if found else [] for sort in SORTS},
        'errors': refresh.errors()})


def _row(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    return {**row.key._asdict(), 'name': names.get(row.key.destination or row.key.source, ''), 'entries': row.entries,
            'share': row.share, 'new_per_s': row.new_per_s, 'packets_per_s': row.packets_per_s,
            'bytes_per_s': row.bytes_per_s}


def _rates(refresh: TopRefresh) -> Iterator[StyledLine]:
    found = refresh.lists
    if found is None:
        return
    if found.new_per_s is not None:
        how = 'counted' if found.by_events else 'by the difference of two samples'
        if not found.by_events and refresh.uncounted is not None:
            how += f' ({clean(refresh.uncounted.why).partition(":")[0]})'
        yield StyledLine('new/s', f'{rate(found.new_per_s)}, {how}')
    if found.bytes_per_s is not None and found.packets_per_s is not None:
        # a few connections carry most of the bytes: a sample has them or not
        part = '' if found.complete else ', of the entries looked at only'
        yield StyledLine('bytes/s', f'{_size(found.bytes_per_s)}/s in {rate(found.packets_per_s)} packets{part}')


def _notes(refresh: TopRefresh) -> Iterator[StyledLine]:
    found = refresh.lists
    if found is not None:
        sampled = f'{found.seen} of {count(found.entries, "entry")}'
        margin = f': shares +-{found.margin * 100:.1f} points' if found.margin else ''
        yield StyledLine('looked at', f'{sampled}{margin}')
    for name, why in refresh.errors().items():
        if name not in ('usage', 'bytes') and not (name == 'new-connections' and found and found.new_per_s is not None):
            yield StyledLine('not shown', f'{name}: {clean(why)}')
    if refresh.no_bytes:
        yield StyledLine('not shown', clean(refresh.no_bytes.why))
    elif refresh.order in (BYTES, NEW) and found and _unknown(found, refresh.order):
        yield StyledLine('order', f'by entries until {refresh.order}/s is known: from the next refresh on')


def _unknown(found: TopLists, order: str) -> bool:
    return (found.bytes_per_s if order == BYTES else found.new_per_s) is None


def _lists(refresh: TopRefresh, width: int) -> Iterator[str]:
    found = refresh.lists
    if found is None:
        return
    known = [True, True, found.new_per_s is not None, found.bytes_per_s is not None]
    columns: list[tuple[int, str, int]] = []
    left = width
    for place, (title, wide) in enumerate(COLUMNS):
        # what is sorted by is never left out
        if known[place] and (left - wide >= NARROWEST or title == f'{refresh.order}/s'):
            columns.append((place, title, wide))
            left -= wide
    for sort in SORTS:
        yield _line(TITLES[sort], left, [f'{title:>{wide}}' for _place, title, wide in columns])
        for row in found.rows[sort]:
            cells = _cells(row)
            name = _called(row, refresh.names)
            yield _line(name, left, [f'{cells[place]:>{wide}}' for place, _title, wide in columns])


def _line(name: str, width: int, cells: Sequence[str]) -> str:
    width = max(width, 8)
    cut = name if len(name) <= width else f'{name[:width - 3]}...'
    return f'{cut:{width}}{"".join(cells)}'.rstrip()


def _called(row: Row, names: Mapping[str, str]) -> str:
    name = names.get(row.key.destination or row.key.source, '')
    return f'{row.key.short()} ({clean(name)})' if name else row.key.short()


def _cells(row: Row) -> tuple[str, str, str, str]:
    return (f'{row.entries}', share_text(row.share),
            '' if row.new_per_s is None else rate(row.new_per_s).removesuffix('/s'),
            '' if row.bytes_per_s is None else _size(row.bytes_per_s))


def _size(number: float) -> str:
    return size_text(number) if number >= 1024 else f'{number:.0f} B' if number else '0'
