"""Icinga's rules: when a service is checked next, and when its state is soft or hard."""

from __future__ import annotations

from typing import NamedTuple

RETRY_INTERVAL = 15.0
MAX_CHECK_ATTEMPTS = 3


class Service(NamedTuple):
    """A service after a check: state 0 to 3 as the plugin's exit status."""

    state: int = 0
    hard: bool = True
    attempt: int = 1


def after(before: Service, state: int) -> Service:
    """The service when its next check gives `state`."""
    if not state:
        return Service()
    if before.state and before.hard:
        return before._replace(state=state)
    attempt = before.attempt + 1 if before.state else 1
    return Service(state, attempt >= MAX_CHECK_ATTEMPTS, attempt)


def pause(service: Service, check_interval: float) -> float:
    """Seconds until the next check."""
    return check_interval if service.hard else min(RETRY_INTERVAL, check_interval)


class Alert(NamedTuple):
    """A time in which the service was not OK; None: it never came to that."""

    soft: float
    hard: float | None = None
    over: float | None = None
    #: hard states it went through, each a notification
    notified: tuple[int, ...] = ()


def alerts(checks: list[tuple[float, Service]]) -> list[Alert]:
    """The alerts in a series of (when, what the service was after the check)."""
    found: list[Alert] = []
    for now, service in checks:
        standing = bool(found) and found[-1].over is None
        if not service.state:
            if standing:
                found[-1] = found[-1]._replace(over=now)
            continue
        if not standing:
            found.append(Alert(now))
        last = found[-1]
        if service.hard and (not last.notified or last.notified[-1] != service.state):
            found[-1] = last._replace(hard=now if last.hard is None else last.hard,
                                      notified=(*last.notified, service.state))
    return found
