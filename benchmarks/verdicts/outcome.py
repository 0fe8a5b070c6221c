"""What a course of things was worth: lead time, alerts missed and false, flaps, recovery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .scheduler import Alert, Service, alerts
from .world import Scenario

#: losses with less than so many seconds between them are one episode
EPISODE_GAP = 600.0
#: an alert belongs to what was over so many seconds before
GRACE = 900.0
MOST_FLAPS = 1


class Episode(NamedTuple):
    """Losses that belong together."""

    first: float
    last: float
    packets: int


class Outcome(NamedTuple):
    """One judge in one scenario; times in seconds."""

    episodes: tuple[Episode, ...]
    #: from the first soft and hard alert to the first packet lost; below 0: too late
    soft_lead: float | None
    hard_lead: float | None
    #: the first hard alert since the trouble began
    hard: float | None
    hard_alerts: int
    missed: int
    false: int
    flaps: int
    notified: int
    #: from the last packet lost to OK; infinite: still not
    recovery: float | None


def episodes(lost: Sequence[tuple[float, int]]) -> tuple[Episode, ...]:
    found: list[Episode] = []
    for now, packets in lost:
        if found and now - found[-1].last < EPISODE_GAP:
            found[-1] = Episode(found[-1].first, now, found[-1].packets + packets)
        else:
            found.append(Episode(now, now, packets))
    return tuple(found)


def outcome(scenario: Scenario, lost: Sequence[tuple[float, int]],
            checks: list[tuple[float, Service]]) -> Outcome:
    """How the service with these checks did."""
    found, losses = alerts(checks), episodes(lost)
    begin, end = scenario.trouble or (float('inf'), float('inf'))
    right = [alert for alert in found if begin <= alert.soft <= end + GRACE]
    hard = [alert for alert in right if alert.hard is not None]
    false = [alert for alert in found if alert.hard is not None and alert not in right]
    first = losses[0].first if losses else None
    first_hard = hard[0].hard if hard else None
    flaps = sum(not any(_over(a) < one.first <= (b.hard or 0.0) for one in losses) for a, b in zip(hard, hard[1:]))
    # nobody can see what is not checked
    blind = max(0.0, scenario.unchecked[1] - losses[-1].last) if losses and scenario.unchecked else 0.0
    patience = GRACE + blind
    recovery = None
    if losses and hard:
        recovery = max(0.0, _over(hard[-1]) - losses[-1].last)
    return Outcome(
        losses,
        first - right[0].soft if right and first is not None else None,
        first - first_hard if first_hard is not None and first is not None else None,
        first_hard, len(hard),
        sum(not any(_covers(alert, one, patience) for alert in hard) for one in losses),
        len(false), flaps, sum(len(alert.notified) for alert in found), recovery)


def failures(scenario: Scenario, result: Outcome) -> list[str]:
    """The targets that it misses."""
    found = []
    late = result.hard_lead is None or (scenario.lead is not None and result.hard_lead < scenario.lead)
    if scenario.lead is not None and result.episodes and late:
        found.append('lead')
    if result.missed:
        found.append('missed')
    if result.false:
        found.append('false')
    if result.flaps > MOST_FLAPS:
        found.append('flaps')
    return found


def _over(alert: Alert) -> float:
    return float('inf') if alert.over is None else alert.over


def _covers(alert: Alert, episode: Episode, patience: float) -> bool:
    return alert.hard is not None and alert.hard <= episode.last + patience and _over(alert) > episode.first
