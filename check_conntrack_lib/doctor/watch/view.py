"""What `watch` shows: the readings of one moment, and what follows from those before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from ...analysis.hash_chains import per_bucket_text
from ...analysis.losses import Losses, counted_between
from ...analysis.profile import Profile
from ...analysis.trend import FEWEST_POINTS, Forecast, project
from ...defaults import CRITICAL, WARNING
from ...formatting import FLOODED, TABLE_FULL_MESSAGE, clean, count, duration, growth, percent, rate
from ...model import Missing, NotLoaded, Point, Table
from ...namedtuples import NamedTuple
from ...readers.ctnetlink_events import NewConnections
from ...snapshot import Snapshot, hash_of
from ..common_options import SCHEMA_VERSION
from ..readings import LiveReadings
from ..state_shares import states_line
from ..text_layout import StyledLine

#: growth is measured over this many seconds, and not before the shorter time; the slope of more points takes too long
GROWTH_SPAN, SHORTEST_SPAN, MOST_POINTS = 60.0, 10.0, 60
#: a rate over less than this many seconds says nothing
SHORTEST_RATE = 0.2
#: what is shown, and the counter behind it; `lost` is what `Losses` makes of several
SHOWN = {'dropped': 'lost', 'evicted': 'early_drop', 'insert_failed': 'insert_failed'}


class WatchState(NamedTuple):
    """One round of readings, and what is known by them and those before."""

    reading: LiveReadings
    #: seconds and counts up to now
    points: tuple[Point, ...] = ()
    #: since the round before; None: there was none, or the counters were reset
    since_last: Losses | None = None
    #: packets by counter since `watch` began, `lost` among them
    since_start: Mapping[str, int] = {}
    forecast: Forecast | None = None
    #: new connections per second since the last moment; None: not known
    new_per_s: float | None = None

    @property
    def snapshot(self) -> Snapshot:
        return self.reading.snapshot


def next_state(before: WatchState | None, reading: LiveReadings) -> WatchState:
    """The state after another round of readings; before: None at the first."""
    now, table = reading.snapshot, reading.snapshot.table
    if not isinstance(table, Table):
        return WatchState(reading, since_start=before.since_start if before else {})
    points = (*(before.points if before else ()), Point(now.at.uptime, table.entries))
    # with a long interval at least the last four count
    first = next(k for k, point in enumerate(points)
                 if now.at.uptime - point.uptime <= GROWTH_SPAN or k >= len(points) - 4)
    points = points[max(first, len(points) - MOST_POINTS):]
    old, new = before.snapshot.sample() if before else None, now.sample()
    counted = None if old is None or isinstance(old, Missing) or isinstance(new, Missing) else counted_between(old, new)
    total = dict(before.since_start) if before else {}
    for name, packets in _packets(counted).items() if counted else ():
        total[name] = total.get(name, 0) + packets
    known = len(points) >= FEWEST_POINTS and points[-1].uptime - points[0].uptime >= SHORTEST_SPAN
    return WatchState(reading, points, counted, total, project(points, table, 100.0) if known else None,
                      _new_per_s(before, reading))


def _new_per_s(before: WatchState | None, reading: LiveReadings) -> float | None:
    old, new = before.reading.new if before else None, reading.new
    if not isinstance(new, NewConnections):
        return None
    # at the first round, since the command began
    since = old if isinstance(old, NewConnections) else NewConnections(0.0, 0)
    span = new.seconds - since.seconds
    return (new.connections - since.connections) / span if span >= SHORTEST_RATE else None


def screen(state: WatchState, bar: int) -> list[StyledLine]:
    """The lines of the screen; bar: width of the usage bar in characters."""
    return [*_usage(state, bar), *_growth(state), *_new(state), *_counters(state), *_states(state), *_log(state),
            *_unreadable(state)]


def labelled(lines: Iterable[StyledLine]) -> list[tuple[str, int]]:
    """Rows for a terminal, each with its severity."""
    return [(f'{label:14}{text}', severity) for label, text, severity in lines]


def one_line(state: WatchState) -> str:
    """The same in one line, without a date."""
    table = state.snapshot.table
    if not isinstance(table, Table):
        return '; '.join(line.text for line in _usage(state, 0))
    parts = [_how_full(table)]
    if state.forecast:
        parts.append(growth(state.forecast.growth) + _full_in(state.forecast))
    if state.new_per_s is not None:
        parts.append(f'new {rate(state.new_per_s)}')
    if state.since_last:
        now = _packets(state.since_last)
        parts.extend(f'{name} {rate(state.since_last.rate(now.get(counter, 0)))}'
                     f' (total {state.since_start.get(counter, 0)})' for name, counter in SHOWN.items())
    if isinstance(state.reading.profile, Profile):
        parts.append(states_line(state.reading.profile, 2))
    return ', '.join(parts)


def as_json(state: WatchState | None, error: str) -> str:
    """One line of JSON; error: what is wrong where there are no readings."""
    if state is None:
        return json.dumps({'schema_version': SCHEMA_VERSION, 'error': error})
    table, last = state.snapshot.table, state.since_last
    now = None if last is None else {name: last.rate(_packets(last).get(counter, 0)) for name, counter in SHOWN.items()}
    return json.dumps({
        'schema_version': SCHEMA_VERSION, 'time': state.snapshot.at.wall,
        'entries': table.entries if isinstance(table, Table) else None,
        'maximum': table.maximum if isinstance(table, Table) else None,
        'usage_percent': table.usage if isinstance(table, Table) else None,
        'growth_per_s': state.forecast.growth if state.forecast else None,
        'seconds_to_full': state.forecast.to_full if state.forecast else None, 'per_s': now,
        'since_start': {name: state.since_start.get(counter, 0) for name, counter in SHOWN.items()},
        'errors': {name: missing.why for name, missing in state.reading.errors().items()}})


def _usage(state: WatchState, bar: int) -> Iterator[StyledLine]:
    table = state.snapshot.table
    if isinstance(table, NotLoaded):
        yield StyledLine('usage', f'nf_conntrack is not loaded (no {clean(table.path)})', 1)
    elif isinstance(table, Missing):
        yield StyledLine('usage', f'cannot be read: {clean(table.why)}', 1)
    else:
        text = _how_full(table)
        if bar and not table.unlimited:
            filled = min(bar, int(table.usage * bar / 100))
            text = f'[{"#" * filled}{"-" * (bar - filled)}] {text}'
        text = ', '.join(filter(None, (text, per_bucket_text(table, hash_of(state.snapshot)))))
        yield StyledLine('usage', text, (table.usage > WARNING) + (table.usage > CRITICAL))


def _growth(state: WatchState) -> Iterator[StyledLine]:
    if state.forecast:
        span = duration(state.points[-1].uptime - state.points[0].uptime)
        yield StyledLine('growth', f'{growth(state.forecast.growth)} in the last {span}{_full_in(state.forecast)}')
    elif isinstance(state.snapshot.table, Table):
        yield StyledLine('growth', f'measuring ({duration(SHORTEST_SPAN)})')


def _new(state: WatchState) -> Iterator[StyledLine]:
    new = state.reading.new
    if state.new_per_s is None or not isinstance(new, NewConnections):
        return
    text = f'{rate(state.new_per_s)} now, {new.connections} since the start'
    refused = state.since_last.dropped + state.since_last.clashes if state.since_last else 0
    if refused and state.since_last:
        text += f'; {rate(state.since_last.rate(refused))} more were refused'
    yield StyledLine('new/s', text)


def _counters(state: WatchState) -> Iterator[StyledLine]:
    if isinstance(state.snapshot.counters, Missing):
        return
    for name, counter in SHOWN.items():
        total = state.since_start.get(counter, 0)
        if state.since_last:
            now = _packets(state.since_last).get(counter, 0)
            text = f'{rate(state.since_last.rate(now))} now, {total} since start'
            if total and name == 'dropped':
                too_long = state.since_start.get('chaintoolong', 0)
                text += f' ({total - too_long} drop, {too_long} chaintoolong)'
            yield StyledLine(name, text, 2 if now and name == 'dropped' else 1 if total else 0)
        else:
            yield StyledLine(name, 'counted from now on')


def _states(state: WatchState) -> Iterator[StyledLine]:
    if isinstance(state.reading.profile, Profile):
        yield StyledLine('states', states_line(state.reading.profile))


def _log(state: WatchState) -> Iterator[StyledLine]:
    evidence = state.reading.log
    if isinstance(evidence, Missing):
        return
    others = sum(evidence.elsewhere.values())
    more = f'; {others} of other network namespaces' if others else ''
    span, flooded = f'in the last {duration(evidence.span)}', f'; {FLOODED}' if evidence.flooded else ''
    if evidence.ages:
        text = f'{count(len(evidence.ages), TABLE_FULL_MESSAGE)} {span}, last {duration(evidence.ages[-1])} ago'
        yield StyledLine('kernel log', text + more + flooded, 1)
    else:
        yield StyledLine('kernel log', f'no "table full" message {span}{more}{flooded}')


def _unreadable(state: WatchState) -> Iterator[StyledLine]:
    for name, missing in state.reading.errors().items():
        if name != 'usage':
            yield StyledLine('not shown', f'{name}: {clean(missing.why)}')


def _how_full(table: Table) -> str:
    if table.unlimited:
        return f'{count(table.entries, "entry")}, no limit'
    return f'{percent(table.usage)} used ({table.entries} of {table.maximum})'


def _full_in(forecast: Forecast) -> str:
    if forecast.to_full is None:
        return ''
    return f', full in {duration(forecast.to_full)}' if forecast.to_full else ', full'


def _packets(counted: Losses) -> Mapping[str, int]:
    return {**counted.packets, 'lost': counted.lost}
