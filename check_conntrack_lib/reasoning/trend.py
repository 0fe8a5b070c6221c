"""Is the table filling, and when is it full? A slope that one odd sample cannot bend."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Point, Table
from ..noun import NamedTuple

#: the slope comes from so many windows
WINDOWS = 3
FEWEST_POINTS = 3
SHORTEST_SPAN = 120.0


class Forecast(NamedTuple):
    """Where the table is heading."""

    #: entries per second
    growth: float
    #: seconds until the critical line; None when the table does not grow towards it
    to_critical: float | None
    #: seconds until nf_conntrack_max
    to_full: float | None


def slope(points: Sequence[Point]) -> float:
    """Entries per second: Siegel's repeated medians, which one odd point among four or more cannot bend.

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


def forecast(points: Sequence[Point], table: Table, window: float, critical: float) -> Forecast | None:
    """The forecast from points up to now; None while there are too few over too short a time.

    window: of the look-back, in seconds; critical: the line that matters, in percent of the maximum.
    """
    if len(points) < FEWEST_POINTS or points[-1].uptime - points[0].uptime < min(SHORTEST_SPAN, window):
        return None
    growth = slope(points)
    # emptier than at any time of the look-back: whatever filled it is over
    over = points[-1].entries < min(point.entries for point in points[:-1])
    if growth <= 0 or over or table.unlimited:
        return Forecast(growth, None, None)
    line = table.maximum * critical / 100
    return Forecast(growth, max(0.0, line - table.entries) / growth, max(0, table.maximum - table.entries) / growth)


def _lower_median(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2] if values else 0.0
