"""Is the table filling, and when is it full? A slope that one odd sample does not change."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Point, Table
from ..namedtuples import NamedTuple

#: the growth comes from so many windows, or from this many points where they are rarer
WINDOWS = 3
FEWEST_POINTS = 3
SHORTEST_SPAN = 120.0
#: a forecast for an hour needs growth for three quarters of an hour: the load of a quarter is mostly noise
PAST_OF_HORIZON = 0.75
#: and however short the horizon, so that no burst of half an hour passes for growth, in seconds
SHORTEST_PAST = 2700.0
#: a sample is seldom just that old
WHOLE = 0.8
#: ten for each third of three quarters of an hour; more take longer and say no more
MOST_POINTS = 30
#: growth shows in each of so many parts of the past, each fuller than the one before
PARTS = 3
#: of so many samples of a part one may be odd
ODD_ONE_OF = 8
#: growth that slows down by less than a tenth from part to part is steady
SLOWING = 1.1
#: a growth that is more than this many times as fast as in the part before has just begun
MOST_FASTER = 4.0
#: one odd sample among so many does not end a growth
FEWEST_TO_END = 4
#: a table that stays within this share of its entries is steady
STEADY = 0.01


class Rise(NamedTuple):
    """A rise within the newest part of the past that has ended."""

    #: by this many, in this many seconds
    entries: int
    span: float
    #: seconds since it ended
    ended: float
    #: the table has fallen by so many since
    fell: int


class Forecast(NamedTuple):
    """Where the table is heading."""

    #: entries per second
    growth: float
    #: seconds until the critical threshold; None when the table does not grow towards it
    to_critical: float | None
    #: seconds until nf_conntrack_max
    to_full: float | None
    #: growing for so long that the critical threshold is expected within the horizon; None: it is not within it
    lasting: bool | None = None
    #: the rise that is over, where the table grew in this part of the past and does not now
    rise: Rise | None = None


def slope(points: Sequence[Point]) -> float:
    """Entries per second: Siegel's repeated medians, which one odd point among four or more does not change.

    Of three points any could be the odd one: there the lower median errs to the side of silence.
    """
    if all(point.entries == points[0].entries for point in points):
        return 0.0  # an idle namespace, of which there may be hundreds
    medians = []
    for i, one in enumerate(points):
        slopes = [(other.entries - one.entries) / (other.uptime - one.uptime)
                  for j, other in enumerate(points) if j != i and other.uptime != one.uptime]
        if slopes:
            medians.append(_lower_median(slopes))
    return _lower_median(medians)


def points_span(window: float, horizon: float) -> float:
    """How far back a forecast that looks `horizon` seconds ahead wants points, in seconds."""
    return max(WINDOWS * window, PAST_OF_HORIZON * horizon, SHORTEST_PAST)


def forecast(points: Sequence[Point], table: Table, window: float, horizon: float, critical: float) -> Forecast | None:
    """The forecast from points up to now; None while there are too few over too short a time.

    points: of the window, oldest first; window, horizon: in seconds; critical: the threshold that it is about, in
    percent of the maximum.
    """
    recent = since_a_fall(recent_of(points, WINDOWS * window))
    if len(recent) < FEWEST_POINTS or recent[-1].uptime - recent[0].uptime < min(SHORTEST_SPAN, window):
        return None
    found = project(recent, table, critical)
    if found.to_critical is None or found.to_critical > horizon:
        return found
    past = points_span(window, horizon)
    whole = since_a_fall(spread(points, past / MOST_POINTS))
    parts = parts_of(whole, past)
    threshold = table.limit * critical / 100
    lasting = whole[-1].uptime - whole[0].uptime >= WHOLE * past and fuller_in_each(parts) \
        and leads_to(parts) >= threshold
    if lasting:
        slowest = slope(whole)
        lasting = slowest > 0 and table.entries + slowest * horizon >= threshold
    return found._replace(lasting=lasting)


def parts_of(points: Sequence[Point], past: float) -> list[list[Point]]:
    """The points of each third of the last `past` seconds, the emptiest first; the newest third first."""
    parts: list[list[Point]] = [[] for _ in range(PARTS)]
    for point in points:
        age = points[-1].uptime - point.uptime
        parts[min(PARTS - 1, int(age * PARTS / past))].append(point)
    return [sorted(part, key=lambda point: point.entries) for part in parts]


def fuller_in_each(parts: Sequence[list[Point]]) -> bool:
    """Was the table in each part fuller all the time than at any time of the part before? The newest part first.

    A burst fills the newest part only, noise and load that swings fill none more than the one before. One sample of
    eight in each part may be odd.
    """
    return all(parts) and all(newer[len(newer) // ODD_ONE_OF].entries > older[-1 - len(older) // ODD_ONE_OF].entries
                              for newer, older in zip(parts, parts[1:]))


def leads_to(parts: Sequence[list[Point]]) -> float:
    """The entries that a growth ends at which slows down from part to part as it did; infinite when it does not."""
    (now, newest), (then, middle), (past, oldest) = (_middle(part) for part in parts)
    before, after = (middle - oldest) / (then - past), (newest - middle) / (now - then)
    if before * MOST_FASTER < after:
        return newest  # it has just begun: what grew before was noise
    ratio = SLOWING * after / before if before > 0 else 1.0
    return newest + (newest - middle) * ratio / (1 - ratio) if ratio < 1 else float('inf')


def _middle(part: Sequence[Point]) -> tuple[float, float]:
    """The mean time of a part, and the median of its entries."""
    high, low = part[len(part) // 2], part[(len(part) - 1) // 2]
    return sum(point.uptime for point in part) / len(part), (high.entries + low.entries) / 2


def project(points: Sequence[Point], table: Table, critical: float) -> Forecast:
    """Where the growth of these points leads, at least one."""
    growth = slope(points)
    # emptier than at any time of the window: whatever filled it has ended
    emptied = all(points[-1].entries < point.entries for point in points[:-1])
    if growth <= 0 or emptied or table.unlimited:
        return Forecast(growth, None, None)
    ended = _ended(points, growth)
    if ended:
        newest, peak = points[-1], max(point.entries for point in points)
        rise = Rise(peak - min(point.entries for point in points), newest.uptime - points[0].uptime, ended,
                    max(0, peak - newest.entries))
        return Forecast(growth, None, None, rise=rise)
    threshold = table.limit * critical / 100
    return Forecast(growth, max(0.0, threshold - table.entries) / growth, max(0, table.limit - table.entries) / growth)


def _ended(points: Sequence[Point], growth: float) -> float:
    """Seconds since the growth of these points ended; 0: it goes on.

    It goes on in the newest third, too, and by now it would have left the band in which the table has stayed.
    """
    newest = points[-1]
    band = STEADY * newest.entries
    inside = next((k for k in range(len(points) - 1, 0, -1)
                   if abs(points[k - 1].entries - newest.entries) > band), 0)
    steady = newest.uptime - points[inside].uptime
    if growth * steady > 2 * band:
        return steady
    last = recent_of(points, (newest.uptime - points[0].uptime) / PARTS, FEWEST_TO_END)
    return 0.0 if slope(last) > 0 else newest.uptime - max(points, key=lambda point: point.entries).uptime


def recent_of(points: Sequence[Point], span: float, fewest: int = FEWEST_POINTS) -> Sequence[Point]:
    """Those of the last `span` seconds, or the newest few."""
    first = next((k for k, point in enumerate(points) if points[-1].uptime - point.uptime <= span), 0)
    return points[max(0, min(first, len(points) - fewest)):]


def spread(points: Sequence[Point], slot: float) -> Sequence[Point]:
    """The newest point of each slot of this many seconds: minutes with many checks count no more than others."""
    return tuple({int((points[-1].uptime - point.uptime) / slot): point for point in points}.values())


def since_a_fall(points: Sequence[Point]) -> Sequence[Point]:
    """Those since the table was last emptied by half at once: what refills after a flush or a reload is no trend."""
    falls = (k for k in range(len(points) - 1, 0, -1) if points[k].entries < points[k - 1].entries / 2)
    return points[next(falls, 0):]


def _lower_median(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2] if values else 0.0
