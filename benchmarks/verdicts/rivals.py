"""What others run, on a course of usage: each function gives the alerts that it would have raised."""

from __future__ import annotations

from collections import deque

from .scheduler import Alert
from .series import STEP, Course

MINUTE = int(60 / STEP)
#: netdata's stock alarm netfilter_conntrack_full: (raise above, back below) in percent
NETDATA = ((90.0, 85.0), (95.0, 90.0))
#: delay: down 5m multiplier 1.5 max 1h
FIRST_DELAY, MULTIPLIER, LONGEST_DELAY = 300.0, 1.5, 3600.0
#: node-mixin: NodeHighNumberConntrackEntriesUsed
MIXIN, MIXIN_FOR = 75.0, 300.0
PAST, AHEAD = 60, 240


def netdata(course: Course) -> list[Alert]:
    """Raised at once; a clearing waits until it has lasted 5 minutes, longer each time that it was taken back."""
    found: list[Alert] = []
    status, standing = 0, False
    delay, cleared = FIRST_DELAY, 0.0
    for k, usage in enumerate(course.usage):
        if usage < NETDATA[0][1] and not standing:
            continue
        now = k * STEP
        before = status
        status = sum(usage > (low if status > place else high) for place, (high, low) in enumerate(NETDATA))
        if status > before:
            if not standing:
                found.append(Alert(now, now))
                standing, delay = True, FIRST_DELAY
            elif not before:
                delay = min(delay * MULTIPLIER, LONGEST_DELAY)
            if status not in found[-1].notified[-1:]:
                found[-1] = found[-1]._replace(notified=(*found[-1].notified, status))
        elif before and not status:
            cleared = now
        if standing and not status and now - cleared >= delay:
            found[-1] = found[-1]._replace(over=now)
            standing = False
    return found


def above(course: Course, line: float = MIXIN, lasting: float = 0.0) -> list[Alert]:
    """A Prometheus rule evaluated every minute: usage above the line for so many seconds."""
    found: list[Alert] = []
    since: float | None = None
    for k in range(0, len(course.usage), MINUTE):
        now = k * STEP
        since = _rule(found, now, course.usage[k] > line, since, lasting)
    return found


def predict_linear(course: Course) -> list[Alert]:
    """predict_linear(entries[1h], 4 * 3600) > limit: least squares over the samples of an hour, one a minute."""
    found: list[Alert] = []
    since: float | None = None
    past: deque[float] = deque(maxlen=PAST)
    # with x = 0, 1, ... for the oldest sample and on
    mean_x = (PAST - 1) / 2
    var_x = sum((x - mean_x) ** 2 for x in range(PAST))
    total = cross = 0.0
    for k in range(0, len(course.usage), MINUTE):
        new = min(100.0, course.usage[k])
        if len(past) < PAST:
            cross += len(past) * new
            total += new
            past.append(new)
            if len(past) < PAST:
                continue
        else:
            # every x falls by one, the oldest goes
            oldest = past[0]
            cross += oldest - total + (PAST - 1) * new
            total += new - oldest
            past.append(new)
        slope = (cross - mean_x * total) / var_x
        ahead = total / PAST + slope * (PAST - 1 - mean_x + AHEAD)
        since = _rule(found, k * STEP, ahead > 100.0, since, 0.0)
    return found


def _rule(found: list[Alert], now: float, holds: bool, since: float | None, lasting: float) -> float | None:
    """One evaluation of a Prometheus rule; returns since when it holds."""
    standing = bool(found) and found[-1].over is None
    if not holds:
        if standing:
            found[-1] = found[-1]._replace(over=now)
        return None
    since = now if since is None else since
    if not standing and now - since >= lasting:
        found.append(Alert(now, now, notified=(1,)))
    return since
