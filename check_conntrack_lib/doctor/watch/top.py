"""watch --top: who has most entries, opens most and carries most, refreshed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection
from contextlib import closing

from ...analysis import top_lists
from ...analysis.top_lists import BYTES, ENTRIES, TableSample, TopLists
from ...deadline import Deadline, OutOfTime
from ...defaults import WINDOW
from ...diagnosis.sample import SAMPLE_SECONDS, sample_flows
from ...formatting import local_time
from ...host import Host
from ...model import Missing, Table
from ...netns import address_names
from ...readers import ctnetlink_events
from ...readers.ctnetlink_events import NewConnections
from .. import error_line, readings
from ..netns_target import Target
from ..text_layout import StyledLine
from . import NO_TABLE, bar_width, host_and_namespace, pace, top_view
from .pace import Pace
from .terminal import Terminal, live
from .top_view import TopRefresh
from .view import WatchState, labelled, next_state

#: new connections are counted for so long before each refresh, in seconds, and for at most this part of the time
LISTEN, LISTEN_PART = 1.0, 0.5
#: after the first part it is known how many of them to look at
FIRST_PART = 0.1
#: seconds after which addresses may have other names, and between two searches for the names of others
NAMES_KEPT, NAMES_EVERY = 60.0, 10.0
#: seconds for one search
NAMES_LONGEST = 1.0
#: rows of each list where there is no screen
ROWS = 5


class AddressNames:
    """AddressNames of addresses: the search goes through all namespaces, so it is not made at each refresh."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, str] = {}
        self._asked: set[str] = set()
        self._began = self._last = float('-inf')

    def of(self, wanted: Collection[str], now: float, deadline: Deadline) -> dict[str, str]:
        """AddressNames by address; now: seconds on CLOCK_MONOTONIC."""
        if now - self._began > NAMES_KEPT:
            self._known, self._asked, self._began, self._last = {}, set(), now, float('-inf')
        unknown = set(wanted) - self._asked
        if unknown and now - self._last >= NAMES_EVERY:
            self._last = now
            self._asked |= unknown
            try:
                with deadline.budget(NAMES_LONGEST):
                    self._known.update(address_names.resolve(self._host, unknown))
            except OutOfTime:
                pass  # their addresses say enough
        return self._known


class Reader:
    """Takes the readings of one refresh after the other."""

    def __init__(self, host: Host, order: str) -> None:
        self._host, self._order = host, order
        # the kernel log costs more than it tells here
        self._rounds = readings.Rounds(host, 'off', WINDOW)
        self._names = AddressNames(host)
        self._state: WatchState | None = None
        self._before: TableSample | None = None

    def close(self) -> None:
        self._rounds.close()

    def refresh(self, sample: int, rows: int, listen: float) -> TopRefresh:
        """Counts new connections for `listen` seconds, then looks at a sample. Raises OutOfTime."""
        new = _listen(self._host, listen)
        self._state = state = next_state(self._state, self._rounds.take())
        table = state.snapshot.table
        seen: TableSample | Missing | None = None
        found: TopLists | None = None
        deadline = Deadline(readings.LONGEST_ROUND)
        deadline.start()
        try:
            if isinstance(table, Table):
                buckets = table.buckets if isinstance(table.buckets, int) else 0
                entries = table.entries
                began = time.monotonic()
                seen = sample_flows(self._host, lambda flows: top_lists.observe(flows, began, entries, buckets), sample,
                                    deadline.budget)
                in_time = time.monotonic() - began < SAMPLE_SECONDS
            if isinstance(seen, TableSample):
                seen = seen._replace(complete=seen.seen < sample and in_time)
                found = top_lists.compare(self._before, seen, None if isinstance(new, Missing) else new, rows,
                                        self._order)
                self._before = seen
            names = self._names.of(top_view.addresses(found), time.monotonic(), deadline) if found else {}
        finally:
            deadline.stop()
        no_bytes = readings.why_no_bytes(self._host) if self._order == BYTES and not (found and found.counted) else None
        return TopRefresh(state, found, names, self._order, new if isinstance(new, Missing) else None,
                     seen if isinstance(seen, Missing) else None, no_bytes)


def run(arguments: argparse.Namespace, host: Host, target: Target) -> int:
    """The live screen, or a block of text or a line of JSON for each refresh. Returns the exit status."""
    speed = Pace(arguments.every, arguments.every)
    refresh: TopRefresh | None = None
    shown = 0
    due = time.monotonic()
    with closing(Reader(host, arguments.sort or ENTRIES)) as reader, live(arguments) as terminal:
        while True:
            began, cpu = time.monotonic(), time.process_time()
            listen = min(LISTEN, LISTEN_PART * arguments.every)
            room = top_view.room(terminal.size().lines) if terminal else ROWS
            try:
                refresh = reader.refresh(speed.sample, arguments.rows or room, listen)
                error = ''
            except OutOfTime as late:
                error = error_line(late)
            title = f'conntrack-doctor watch --top: {host_and_namespace(target)}, every {speed.period:.3g} s'
            _show(refresh, error, title, terminal, arguments.json)
            shown += 1
            if shown == arguments.count:
                return 0 if refresh and isinstance(refresh.state.snapshot.table, Table) else NO_TABLE
            now = time.monotonic()
            # what only the first one costs, imports and names, need not be made up for
            if shown > 1:
                speed = pace.after(speed, time.process_time() - cpu, max(0.0, now - began - listen))
            # after a suspend or a slow reading the interval starts again
            due = max(due + speed.period, now + listen)
            time.sleep(due - listen - now)


def _show(refresh: TopRefresh | None, error: str, title: str, terminal: Terminal | None, as_json: bool) -> None:
    if as_json:
        print(top_view.as_json(refresh, error), flush=True)
    elif terminal:
        rows = labelled([StyledLine('reading', error, 1)]) if error or refresh is None else \
            top_view.screen(refresh, terminal.size().columns - 1, bar_width(terminal))
        terminal.draw(f'{title}, {local_time("%H:%M:%S %Z", time.time())}', rows)
    else:
        stamp = local_time('%Y-%m-%d %H:%M:%S %Z', time.time())
        lines = [f'{stamp} {error}'] if error or refresh is None else top_view.block(refresh, stamp)
        print('\n'.join(lines), flush=True)


def _listen(host: Host, seconds: float) -> NewConnections | Missing:
    """New connections of the next `seconds`; where they are not counted, the time passes all the same."""
    until = time.monotonic() + seconds
    listener = ctnetlink_events.open_listener(host)
    if isinstance(listener, Missing):
        time.sleep(max(0.0, until - time.monotonic()))
        return listener
    try:
        time.sleep(min(FIRST_PART, seconds / 2))
        ctnetlink_events.start_sample(listener, seconds)
        time.sleep(max(0.0, until - time.monotonic()))
        return ctnetlink_events.finish(listener)
    finally:
        listener.close()
