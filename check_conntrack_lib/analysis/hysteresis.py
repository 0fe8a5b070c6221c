"""Why an alert neither begins nor clears at once: bursts are waited for, thresholds that were crossed clear lower,
repeated trouble clears later.

All of it follows from the history, so that re-checks, runs by hand and those of other users come to the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Instant, Point, Sample
from ..namedtuples import NamedTuple
from .losses import losses

#: nothing is held for longer than this after the threshold was last crossed, in seconds
LONGEST = 3600.0
#: usage must be below the point where a threshold clears for so long: load that swings about it clears once, in seconds
QUIET = 600.0
#: trouble that came at least twice in this many seconds clears only after LONGEST without it
REPEATED_WITHIN = 21600.0
#: a usage above the threshold for less than this is held by nothing: the third check 15 s apart makes an alert hard
CONFIRMED = 30.0
#: what is emptier by more than this share than it was while a burst was waited for is falling: the burst ends
FALLEN = 0.01


class Crossing(NamedTuple):
    """Usage above a threshold, until it was below the point where it clears for long enough. Seconds since boot."""

    first: float
    #: of the last sample above the threshold, and its entries
    last: float
    entries: int
    #: it has not cleared
    standing: bool
    #: of the first sample above the threshold, which may have been too early to count
    began: float
    #: of the first sample since which all were below the point where it clears
    below: float | None = None

    @property
    def confirmed(self) -> bool:
        return self.last - self.first >= CONFIRMED


class Crossed(NamedTuple):
    """A usage threshold whose alert has not cleared. Percent of the maximum; times in seconds since 1970."""

    threshold: float
    #: usage below which it clears
    clears: float
    since: float
    #: when the threshold was last exceeded, and the usage then
    last: float
    usage: float
    #: the threshold is not exceeded now
    held: bool
    #: how many times it was crossed, where that is why it is held; then it clears after LONGEST
    times: int = 1
    #: it was above already when the history begins
    longer: bool = False
    #: since when usage is below the point where it clears; None: it is not
    below: float | None = None

    @property
    def until(self) -> float:
        """When it clears unless usage rises again."""
        latest = self.last + LONGEST
        return latest if self.below is None or self.times > 1 else min(latest, self.below + QUIET)


class Awaited(NamedTuple):
    """A usage threshold that is exceeded, for too short a time as yet. Percent of the maximum; seconds since 1970."""

    threshold: float
    #: when it counts unless usage falls
    until: float


class Drops(NamedTuple):
    """Packets dropped at several times. Seconds since 1970."""

    times: int
    packets: int
    first: float
    #: when the last of these times began and ended, and its packets per second
    began: float
    last: float
    rate: float

    @property
    def until(self) -> float:
        return self.last + LONGEST


def crossings(points: Sequence[Point], threshold: float, clears: float, lasting: float = 0.0) -> list[Crossing]:
    """Every crossing in points, oldest first; threshold, clears: in entries.

    lasting: in seconds; it counts where in that time no sample was below the point where it clears, and usage has not
    fallen.
    """
    found: list[Crossing] = []
    low = began = None
    for place, point in enumerate(points):
        standing = bool(found) and found[-1].standing
        if point.entries < clears:
            low, began = point.uptime, None
        if point.entries > threshold:
            began = point.uptime if began is None else began
            if standing:
                found[-1] = found[-1]._replace(last=point.uptime, entries=point.entries, below=None)
            elif (low is None or point.uptime - low >= lasting) \
                    and fuller_before(points[:place], point, lasting) is None:
                found.append(Crossing(point.uptime, point.uptime, point.entries, True, began))
        elif standing:
            one = found[-1]
            below = None if point.entries >= clears else point.uptime if one.below is None else one.below
            cleared = below is not None and (point.uptime - below >= QUIET or not one.confirmed)
            found[-1] = one._replace(below=below, standing=not cleared and point.uptime - one.last <= LONGEST)
    return found


def fuller_before(points: Sequence[Point], now: Point, span: float) -> float | None:
    """When the table was last so much fuller within `span` seconds that it is falling now; seconds since boot."""
    for point in reversed(points):
        if now.uptime - point.uptime >= span:
            return None
        if point.entries * (1 - FALLEN) > now.entries:
            return point.uptime
    return None


def clearing_usage(threshold: float, clear: float) -> float:
    """The usage below which a threshold clears, in percent; clear: points. Half of it at least: usage can get there."""
    return max(threshold - clear, threshold / 2)


def usage(points: Sequence[Point], at: Instant, maximum: int, thresholds: Sequence[float], clear: float,
          wait: float) -> tuple[Crossed | None, Awaited | None]:
    """The highest usage threshold whose alert stands (see `highest`); where there is none, the one that may soon."""
    standing = highest(points, at, maximum, thresholds, clear, wait)
    return standing, None if standing else awaited(points, at, maximum, thresholds, clear, wait)


def highest(points: Sequence[Point], at: Instant, maximum: int, thresholds: Sequence[float],
            clear: float, wait: float = 0.0) -> Crossed | None:
    """The highest threshold whose alert stands at the last of the points; thresholds: the lowest first.

    wait: seconds for which the lowest of several waits for a burst to end. While all that is waited for is that usage
    stays below the point where the lowest one clears, the others stand, too: a table that empties is not reported
    twice, first as WARNING and then as OK.
    """
    waits = [wait] * (len(thresholds) - 1) + [0.0]
    found = [crossed(points, at, maximum, threshold, clear, seconds) for threshold, seconds in zip(thresholds, waits)]
    lowest = found[0] if found else None
    if lowest and lowest.held and lowest.times == 1 and lowest.below is not None:
        before = [point for point in points if at.uptime - point.uptime > at.wall - lowest.below]
        then = [crossed(before, at, maximum, threshold, clear, hard=True) for threshold in thresholds[1:]]
        stood = next((one for one in reversed(then) if one and at.wall - one.last <= LONGEST), None)
        if stood:
            return stood._replace(held=True, below=lowest.below)
    return next((one for one in reversed(found) if one), None)


def awaited(points: Sequence[Point], at: Instant, maximum: int, thresholds: Sequence[float],
            clear: float, wait: float) -> Awaited | None:
    """The lowest threshold where it is exceeded at the last of the points and `highest` knows of none that stands."""
    if not points or not thresholds or maximum <= 0 or points[-1].entries <= thresholds[0] * maximum / 100:
        return None
    lower = clearing_usage(thresholds[0], clear)
    fuller = fuller_before(points[:-1], points[-1], wait)
    since = max([point.uptime for point in points if point.entries < lower * maximum / 100]
                + ([] if fuller is None else [fuller]), default=at.uptime)
    return Awaited(thresholds[0], _wall(at, since + wait))


def crossed(points: Sequence[Point], at: Instant, maximum: int, threshold: float, clear: float, wait: float = 0.0,
            hard: bool = False) -> Crossed | None:
    """Whether the alert of a usage threshold (percent) stands at the last of the points.

    at: now; clear: points of percent; wait: as `lasting` of `crossings`; hard: only where the threshold was exceeded
    long enough to be held.
    """
    if maximum <= 0 or not points:
        return None
    lower = clearing_usage(threshold, clear)
    found = crossings(points, threshold * maximum / 100, lower * maximum / 100, wait)
    if not found:
        return None
    now, newest = points[-1], found[-1]
    exceeded = newest.last == now.uptime
    confirmed = [one for one in found if one.confirmed]
    times = 1
    if hard and not newest.confirmed:
        return None
    if not exceeded:
        if clear <= 0 or now.uptime - newest.last > LONGEST or not newest.confirmed:
            return None
        if not newest.standing:
            times = len(confirmed)
            if times < 2:
                return None
    first = confirmed[0].began if times > 1 else newest.began
    return Crossed(threshold, lower, _wall(at, first), _wall(at, newest.last), newest.entries * 100.0 / maximum,
                   not exceeded, times, first == points[0].uptime,
                   None if newest.below is None else _wall(at, newest.below))


def drops(slots: Sequence[Sample], now: Sample, window: float) -> Drops | None:
    """The times at which packets were dropped, where there were several and the last is over.

    slots: about one sample a window, oldest first. A drop is in an alert for a window, so that what is dropped within
    two of them belongs together.
    """
    times: list[tuple[float, float, int]] = []
    for before, after in zip(slots, (*slots[1:], now)):
        found = losses(before, after)
        if found is None or not found.lost:
            continue
        if times and before.at.uptime - times[-1][1] <= 2 * window:
            times[-1] = (times[-1][0], after.at.uptime, times[-1][2] + found.lost)
        else:
            times.append((before.at.uptime, after.at.uptime, found.lost))
    if len(times) < 2 or now.at.uptime - times[-1][1] > LONGEST:
        return None
    began, last, packets = times[-1]
    return Drops(len(times), sum(one[2] for one in times), _wall(now.at, times[0][0]), _wall(now.at, began),
                 _wall(now.at, last), packets / max(window, last - began))


def _wall(at: Instant, uptime: float) -> float:
    return at.wall - (at.uptime - uptime)
