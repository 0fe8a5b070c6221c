"""What the alerts of a judge were worth on real load curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .outcome import GRACE, Episode
from .replay import Judged
from .scheduler import Alert
from .series import STEP, Course

#: usage in percent that makes an alert a right one, while it stands or within so many seconds
NEAR, SOON = 95.0, 7200.0
#: an alert so many seconds after the last one is one again
AGAIN = 3600.0
#: a rise begins below this usage
BEGIN = 85.0
#: seconds from there to the first packet dropped, at least
SLOW, SLOWEST = 360.0, 720.0
#: which of the signals names the kind of an alert
KINDS = {'dropped': ('lost_per_s', 'dropped_per_s', 'drop_per_s', 'table_full_lines', 'table_full'),
         'usage': ('usage',), 'growth': ('growth_per_s', 'growth')}


class Figures(NamedTuple):
    """Of one judge on one course, or summed over many."""

    days: float
    #: hard alerts by kind
    kinds: dict[str, int]
    in_vain: int
    false_growth: int
    #: hard alerts within an hour of the end of the last one
    again: int
    notifications: int
    losses: int
    unannounced: int
    #: (seconds that the rise took, lead in seconds) of every rise that took 6 minutes or more
    leads: tuple[tuple[float, float], ...]

    @property
    def hard(self) -> int:
        return sum(self.kinds.values())


def figures(course: Course, found: Sequence[Judged]) -> Figures:
    hard = [one for one in found if one.alert.hard is not None]
    kinds: dict[str, int] = {}
    vain = false = again = 0
    ended = float('-inf')
    for one in hard:
        name = kind(one.signals)
        kinds[name] = kinds.get(name, 0) + 1
        if not _right(course, one.alert):
            vain += 1
            false += name == 'growth'
        again += (one.alert.hard or 0.0) - ended < AGAIN
        ended = _over(one.alert)
    episodes = course.episodes()
    unannounced = sum(not any((one.alert.hard or 0.0) <= loss.last + GRACE and _over(one.alert) > loss.first
                              for one in hard) for loss in episodes)
    return Figures(course.days, kinds, vain, false, again, sum(len(one.alert.notified) for one in hard),
                   len(episodes), unannounced, tuple(_leads(course, episodes, hard)))


def add(one: Figures, other: Figures) -> Figures:
    kinds = {name: one.kinds.get(name, 0) + other.kinds.get(name, 0) for name in {**one.kinds, **other.kinds}}
    return Figures(one.days + other.days, kinds, one.in_vain + other.in_vain, one.false_growth + other.false_growth,
                   one.again + other.again, one.notifications + other.notifications, one.losses + other.losses,
                   one.unannounced + other.unannounced, one.leads + other.leads)


def kind(signals: str) -> str:
    """What an alert was about: packets dropped rather than usage, usage rather than growth."""
    words = signals.split()
    return next((name for name, labels in KINDS.items() if any(label in words for label in labels)), 'other')


def _right(course: Course, alert: Alert) -> bool:
    first = int(alert.soft / STEP)
    last = min(len(course.usage) - 1, int(min(max(_over(alert), (alert.hard or 0.0) + SOON), 1e12) / STEP))
    return max(course.usage[first:last + 1]) >= NEAR


def _leads(course: Course, episodes: Sequence[Episode], hard: Sequence[Judged]) -> list[tuple[float, float]]:
    """Of each rise from below 85 % without a loss on the way."""
    found = []
    before = float('-inf')
    for loss in episodes:
        k = int(loss.first / STEP)
        while k > 0 and course.usage[k] >= BEGIN:
            k -= 1
        took = loss.first - k * STEP
        if k * STEP > before and took >= SLOW:
            right = [one.alert for one in hard if _over(one.alert) > loss.first]
            # no alert at all is as bad as one after all is over
            moment = right[0].hard if right and right[0].hard is not None else loss.last + GRACE
            found.append((took, loss.first - moment))
        before = loss.last
    return found


def _over(alert: Alert) -> float:
    return float('inf') if alert.over is None else alert.over


def median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else None
