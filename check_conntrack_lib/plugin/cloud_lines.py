"""AWS's limit of tracked connections in words."""

from __future__ import annotations

from collections.abc import Iterator

from ..assessment import Assessment
from ..formatting import count, duration, rate
from ..model import Missing
from ..namedtuples import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.cloud import CloudLimit
    from .options import Options


def limit_of(a: Assessment) -> CloudLimit | None:
    """None: there is none, or it could not be read."""
    return None if isinstance(a.cloud, Missing) else a.cloud


def exceeded_rate(a: Assessment) -> float | None:
    """Packets per second dropped at the limit; None: not known, or no AWS."""
    limit = limit_of(a)
    return limit.rate(limit.exceeded) if limit and limit.span else None


def linklocal_rate(a: Assessment) -> float | None:
    """Packets per second to link-local services that were dropped; None as above."""
    limit = limit_of(a)
    return limit.rate(limit.linklocal) if limit and limit.span else None


def left(a: Assessment) -> float | None:
    """What is left of the limit in percent of the most that was seen; None: not reported, or no AWS."""
    limit = limit_of(a)
    return limit.left if limit else None


def exceeded(a: Assessment) -> str:
    limit = limit_of(a)
    if not limit or not limit.exceeded:
        return ''
    return (f'AWS limit of tracked connections: {count(limit.exceeded, "packet")} dropped in the last '
            f'{duration(limit.span)}{f", {_left(limit)}" if limit.left is not None else ""}')


def available(a: Assessment) -> str:
    limit = limit_of(a)
    if not limit or limit.left is None:
        return ''
    return exceeded(a) or f'AWS limit of tracked connections: {_left(limit)}'


def linklocal(a: Assessment) -> str:
    limit = limit_of(a)
    if not limit or not limit.linklocal:
        return ''
    return f'AWS: {rate(limit.rate(limit.linklocal))} packets to DNS, metadata or time service dropped'


def exceeded_line(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    limit = limit_of(a)
    if limit and limit.span:
        yield (f'AWS: {count(limit.exceeded, "packet")} dropped at the limit of tracked connections in the last '
               f'{duration(limit.span)}, {limit.queued} queued or dropped at those of bandwidth and packets per second')


def available_line(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    limit = limit_of(a)
    if limit:
        yield 'AWS: ' + ('how many tracked connections still fit is not reported by this driver or instance'
                         if limit.left is None else f'tracked connections: {_left(limit)}')


def linklocal_line(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    limit = limit_of(a)
    if limit and limit.span:
        yield f'AWS: {count(limit.linklocal, "packet")} to link-local services (DNS, metadata, time) dropped'


def _left(limit: CloudLimit) -> str:
    return f'{limit.left:.0f}% left ({limit.available} of about {limit.most})'
