"""What `watch` shows: the readings of one moment with what they say beside the moments before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from ...analysis.losses import Losses, counted_between
from ...analysis.profile import Profile
from ...analysis.trend import FEWEST_POINTS, Forecast, project
from ...defaults import CRITICAL, WARNING
from ...formatting import FLOODED, clean, count, duration, growth, percent, rate
from ...model import Missing, NotLoaded, Point, Table
from ...namedtuples import NamedTuple
from ...readers.ctnetlink_events import NewConnections
from ...snapshot import Snapshot
from ..common_options import SCHEMA_VERSION
from ..readings import LiveReadings
from ..state_shares import states_line

#: growth is measured over this many seconds, and not before the shorter time; the slope of more points takes too long
GROWTH_SPAN, SHORTEST_SPAN, MOST_POINTS = 60.0, 10.0, 60
#: a rate over less than this many seconds says nothing
SHORTEST_RATE = 0.2
#: what is shown, and the counter behind it; `lost` is what `Losses` makes of several
SHOWN = {'dropped': 'lost', 'evicted': 'early_drop', 'insert_failed': 'insert_failed'}


TABLE_FULL = '"table full" message'


class ScreenLine(NamedTuple):
    """One line of the screen; trouble: 0 none, 1 warning, 2 critical."""

    name: str
    text: str
    severity: int = 0


class WatchState(NamedTuple):
    """One round of readings and what is known by now."""

    reading: LiveReadings
    #: seconds and counts up to now
    points: tuple[Point, ...] = ()
    #: None: there is nothing to count from yet, or the counters were reset
    since_last: Losses | None = None
    #: counted since the watch began, `lost` among them
    since_start: Mapping[str, int] = {}
    forecast: Forecast | None = None
    #: new connections per second since the last moment; None: not known
    new_per_s: float | None = None

    @property
    def snapshot(self) -> Snapshot:
        return self.reading.snapshot


def following(before: WatchState | None, reading: LiveReadings) -> WatchState:
    """The next moment."""
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
    # at first since the command began, which is a moment ago
    since = old if isinstance(old, NewConnections) else NewConnections(0.0, 0)
    span = new.seconds - since.seconds
    return (new.connections - since.connections) / span if span >= SHORTEST_RATE else None


def screen(moment: WatchState, bar: int) -> list[ScreenLine]:
    """The lines of the picture; bar: width of the usage bar in characters."""
    return [*_usage(moment, bar), *_growth(moment), *_new(moment), *_counters(moment), *_states(moment), *_log(moment),
            *_unreadable(moment)]


def labelled(lines: Iterable[ScreenLine]) -> list[tuple[str, int]]:
    """Rows for a terminal, each with its severity."""
    return [(f'{name:14}{text}', severity) for name, text, severity in lines]


def one_line(moment: WatchState) -> str:
    """The same in one line, without a date."""
    table = moment.snapshot.table
    if not isinstance(table, Table):
        return '; '.join(line.text for line in _usage(moment, 0))
    parts = [_how_full(table)]
    if moment.forecast:
        parts.append(growth(moment.forecast.growth) + _full_in(moment.forecast))
    if moment.new_per_s is not None:
        parts.append(f'new {rate(moment.new_per_s)}')
    if moment.since_last:
        now = _packets(moment.since_last)
        parts.extend(f'{name} {rate(moment.since_last.rate(now.get(counter, 0)))}'
                     f' (total {moment.since_start.get(counter, 0)})' for name, counter in SHOWN.items())
    if isinstance(moment.reading.profile, Profile):
        parts.append(states_line(moment.reading.profile, 2))
    return ', '.join(parts)


def as_json(moment: WatchState | None, error: str) -> str:
    """One line of JSON; error: what is wrong where there are no readings."""
    if moment is None:
        return json.dumps({'schema_version': SCHEMA_VERSION, 'error': error})
    table, last = moment.snapshot.table, moment.since_last
    now = None if last is None else {name: last.rate(_packets(last).get(counter, 0)) for name, counter in SHOWN.items()}
    return json.dumps({
        'schema_version': SCHEMA_VERSION, 'time': moment.snapshot.at.wall,
        'entries': table.entries if isinstance(table, Table) else None,
        'maximum': table.maximum if isinstance(table, Table) else None,
        'usage_percent': table.usage if isinstance(table, Table) else None,
        'growth_per_s': moment.forecast.growth if moment.forecast else None,
        'seconds_to_full': moment.forecast.to_full if moment.forecast else None, 'per_s': now,
        'since_start': {name: moment.since_start.get(counter, 0) for name, counter in SHOWN.items()},
        'errors': {name: missing.why for name, missing in moment.reading.errors().items()}})


def _usage(moment: WatchState, bar: int) -> Iterator[ScreenLine]:
    table = moment.snapshot.table
    if isinstance(table, NotLoaded):
        yield ScreenLine('usage', f'nf_conntrack is not loaded (no {clean(table.path)})', 1)
    elif isinstance(table, Missing):
        yield ScreenLine('usage', f'cannot be read: {clean(table.why)}', 1)
    else:
        text = _how_full(table)
        if bar and not table.unlimited:
            filled = min(bar, int(table.usage * bar / 100))
            text = f'[{"#" * filled}{"-" * (bar - filled)}] {text}'
        if not isinstance(table.buckets, Missing) and table.buckets > 0:
            text += f', {table.entries / table.buckets:.1f} per bucket'
        yield ScreenLine('usage', text, (table.usage > WARNING) + (table.usage > CRITICAL))


def _growth(moment: WatchState) -> Iterator[ScreenLine]:
    if moment.forecast:
        span = duration(moment.points[-1].uptime - moment.points[0].uptime)
        yield ScreenLine('growth', f'{growth(moment.forecast.growth)} in the last {span}{_full_in(moment.forecast)}')
    elif isinstance(moment.snapshot.table, Table):
        yield ScreenLine('growth', f'measuring ({duration(SHORTEST_SPAN)})')


def _new(moment: WatchState) -> Iterator[ScreenLine]:
    new = moment.reading.new
    if moment.new_per_s is None or not isinstance(new, NewConnections):
        return
    text = f'{rate(moment.new_per_s)} now, {new.connections} since the start'
    refused = moment.since_last.dropped + moment.since_last.clashes if moment.since_last else 0
    if refused and moment.since_last:
        text += f'; {rate(moment.since_last.rate(refused))} more were refused'
    yield ScreenLine('new/s', text)


def _counters(moment: WatchState) -> Iterator[ScreenLine]:
    if isinstance(moment.snapshot.counters, Missing):
        return
    for name, counter in SHOWN.items():
        total = moment.since_start.get(counter, 0)
        if moment.since_last:
            now = _packets(moment.since_last).get(counter, 0)
            text = f'{rate(moment.since_last.rate(now))} now, {total} since start'
            if total and name == 'dropped':
                too_long = moment.since_start.get('chaintoolong', 0)
                text += f' ({total - too_long} drop, {too_long} chaintoolong)'
            yield ScreenLine(name, text, 2 if now and name == 'dropped' else 1 if total else 0)
        else:
            yield ScreenLine(name, 'counted from now on')


def _states(moment: WatchState) -> Iterator[ScreenLine]:
    if isinstance(moment.reading.profile, Profile):
        yield ScreenLine('states', states_line(moment.reading.profile))


def _log(moment: WatchState) -> Iterator[ScreenLine]:
    evidence = moment.reading.log
    if isinstance(evidence, Missing):
        return
    others = sum(evidence.elsewhere.values())
    more = f'; {others} of other network namespaces' if others else ''
    span, flooded = f'in the last {duration(evidence.span)}', f'; {FLOODED}' if evidence.flooded else ''
    if evidence.ages:
        text = f'{count(len(evidence.ages), TABLE_FULL)} {span}, last {duration(evidence.ages[-1])} ago'
        yield ScreenLine('kernel log', text + more + flooded, 1)
    else:
        yield ScreenLine('kernel log', f'no "table full" message {span}{more}{flooded}')


def _unreadable(moment: WatchState) -> Iterator[ScreenLine]:
    for name, missing in moment.reading.errors().items():
        if name != 'usage':
            yield ScreenLine('not shown', f'{name}: {clean(missing.why)}')


def _how_full(table: Table) -> str:
    if table.unlimited:
        return f'{count(table.entries, "entry")}, no limit'
    return f'{percent(table.usage)} used ({table.entries} of {table.maximum})'


def _full_in(outlook: Forecast) -> str:
    if outlook.to_full is None:
        return ''
    return f', full in {duration(outlook.to_full)}' if outlook.to_full else ', full'


def _packets(counted: Losses) -> Mapping[str, int]:
    return {**counted.packets, 'lost': counted.lost}
