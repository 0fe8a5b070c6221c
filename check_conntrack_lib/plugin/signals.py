"""The signals: what the check compares with thresholds, a row each.

Options, contexts, metrics, the phrase of the first line and the lines of details follow from a row. To add a signal,
add a row, its phrase (phrases.py) and its lines (details.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..analysis.losses import insert_failed_is_loss
from ..argument_types import seconds
from ..assessment import Assessment
from ..defaults import CLEAR, CRITICAL, TREND, WARNING
from ..model import Counters, History, Missing, Table
from ..namedtuples import TYPE_CHECKING, NamedTuple
from . import cloud_lines, details, nat_lines, phrases
from .converters import an_hour_at_most, percent_or_off, points, range_text

if TYPE_CHECKING:
    from typing import Any

    from .options import Options


class Option(NamedTuple):
    """One option with a value, whose '' means its default: what Icinga and NRPE hand over for an unset variable."""

    flags: tuple[str, ...]
    #: raises ArgumentTypeError
    convert: Callable[[str], Any]
    metavar: str
    default: str
    text: str

    @property
    def name(self) -> str:
        return self.flags[-1].lstrip('-').replace('-', '_')


class Signal(NamedTuple):
    """One signal. It is left out where it has no value."""

    #: stem of its thresholds' options ('' for usage: --warning), key of `Options.limits`
    name: str
    #: of its metric and performance data; without performance data, the metric's name only
    label: str
    #: heading in the help
    group: str
    options: tuple[Option, ...]
    #: what is shown, in the unit; None: not known here
    value: Callable[[Assessment], Any]
    #: for the first line; '' says nothing
    phrase: Callable[[Assessment], str]
    #: for the long output; the last argument: the state is not OK, else -v asks for them
    lines: Callable[[Assessment, Options, bool], Iterable[str]]
    #: of several equally bad signals the lowest is named first
    rank: int
    unit: str = ''
    minimum: float | None = 0
    maximum: float | None = None
    #: what is compared with the thresholds where it is not the value
    compared: Callable[[Assessment], float] | None = None
    #: is it compared at all on this kernel and with these options?
    applies: Callable[[Assessment, Options], bool] | None = None
    #: the state ('ok', 'warning' ...) where that is no matter of ranges
    state: Callable[[Assessment, Options], str] | None = None


def thresholds(name: str, warning: str, critical: str, what: str) -> tuple[Option, Option]:
    """The two options of a signal."""
    return (Option((f'--{name}-warning',), range_text, 'RANGE', warning, f'WARNING when {what} is outside'),
            Option((f'--{name}-critical',), range_text, 'RANGE', critical, f'CRITICAL when {what} is outside'))


def rate_of(counter: str) -> Callable[[Assessment], float | None]:
    """Packets per second of one counter."""
    def rate(a: Assessment) -> float | None:
        packets = a.losses and a.losses.packets.get(counter)
        return None if a.losses is None or packets is None else a.losses.rate(packets)
    return rate


def _usage(a: Assessment) -> float | None:
    return a.snapshot.table.usage if isinstance(a.snapshot.table, Table) else None


def _usage_compared(a: Assessment) -> float:
    """Usage; while an alert is held, what it was when it last exceeded the threshold; at most one that still waits."""
    usage = _usage(a) or 0.0
    if a.awaited:
        return min(usage, a.awaited.threshold)
    return max(usage, a.crossed.usage) if a.crossed and a.crossed.held else usage


def _dropped_compared(a: Assessment) -> float:
    """Packets per second; where they are dropped again and again, at least those of the last time."""
    now = a.losses.rate(a.losses.lost) if a.losses else 0.0
    return max(now, a.drops.rate) if a.drops else now


def _growing(a: Assessment, options: Options) -> str:
    table = a.snapshot.table
    if not isinstance(table, Table) or not a.forecast or not a.forecast.lasting:
        return 'ok'
    fullest = table.entries
    if table.usage >= options.trend - options.clear and isinstance(a.history, History):
        # it clears lower, too
        fullest = max([table.entries, *(point.entries for point in a.history.points)])
    return 'warning' if not table.unlimited and fullest * 100.0 / table.maximum >= options.trend else 'ok'


def _clashes_are_losses(a: Assessment, options: Options) -> bool:
    """Kernels before 5.10 count clashes that were resolved in insert_failed: compared there only on request."""
    counters = a.snapshot.counters
    return options.requested('insert_failed') or (isinstance(counters, Counters) and insert_failed_is_loss(counters))


FULL, DROPS, CLOUD = 'usage and growth', 'dropped packets', 'AWS'

#: in the order of the help and of the performance data
SIGNALS: tuple[Signal, ...] = (
    Signal('usage', 'usage', FULL,
           (Option(('-w', '--warning'), range_text, 'RANGE', f'{WARNING:g}',
                   'WARNING when usage in percent of nf_conntrack_max is outside'),
            Option(('-c', '--critical'), range_text, 'RANGE', f'{CRITICAL:g}', 'CRITICAL when usage is outside')),
           _usage, phrases.usage_or_growth, details.table, rank=3, unit='%', maximum=100, compared=_usage_compared),
    Signal('growth', 'growth_per_s', FULL,
           (Option(('--trend',), percent_or_off, 'PERCENT', f'{TREND:g}',
                   'WARNING from this usage on when the critical threshold will be reached within the horizon; or off'),
            Option(('--horizon',), seconds, 'DURATION', '20m',
                   'how far ahead growth is projected; it must have lasted three quarters of that, 45 min at least, '
                   'each third of them fuller than the one before'),
            Option(('--clear',), points, 'POINTS', f'{CLEAR:g}',
                   'a usage threshold that was crossed for 30 s clears when usage has been this many percentage points '
                   'below it for 10 min, after 1 h at the latest; where it is crossed, or packets are dropped, again '
                   'within 6 h, it clears after an hour without; 0: at once'),
            Option(('--warning-after',), an_hour_at_most, 'DURATION', '0',
                   'the lower of two usage thresholds counts once usage has been above the point where it clears for '
                   'this long, 1h at most, and has not fallen meanwhile: a shorter burst alerts nobody; 0: at once')),
           lambda a: a.forecast.growth if a.forecast else None, phrases.usage_or_growth, details.growth_lines, rank=4,
           minimum=None, state=_growing),
    Signal('dropped', 'dropped_per_s', DROPS,
           thresholds('dropped', '0', '10', 'the rate of dropped packets (without those of clashes)'),
           lambda a: a.losses.rate(a.losses.lost) if a.losses else None, phrases.dropped, details.dropped, rank=1,
           compared=_dropped_compared),
    Signal('hash', 'hash_refused', DROPS,
           thresholds('hash', '0.1', 'off',
                      'the share of new connections in percent that are dropped because of long hash chains'),
           lambda a: a.hash.refused * 100 if a.hash else None, phrases.hash_chains, details.hash_chains, rank=8,
           unit='%', maximum=100),
    Signal('early_drop', 'early_drop_per_s', DROPS,
           thresholds('early-drop', '0', 'off', 'the rate of entries evicted (early_drop)'),
           rate_of('early_drop'), phrases.early_drop, details.early_drop, rank=5),
    Signal('insert_failed', 'insert_failed_per_s', DROPS,
           thresholds('insert-failed', '1', '10', 'the rate of clashes that were not resolved (insert_failed)'),
           rate_of('insert_failed'), phrases.insert_failed, details.insert_failed, rank=6,
           # chains too long count in it, too, and are dropped packets: compared once
           compared=lambda a: a.losses.rate(a.losses.clashes) if a.losses else 0.0, applies=_clashes_are_losses),
    Signal('table_full', 'table_full_lines', DROPS,
           thresholds('table-full', 'off', '0', "the number of 'table full' messages in the kernel log"),
           lambda a: None if isinstance(a.log, Missing) else len(a.log.ages), phrases.table_full, details.kernel_log,
           rank=2),
    Signal('nat_ports', 'nat_ports', DROPS,
           thresholds('nat-ports', '60', '90', 'the use in percent of the fullest range of source NAT ports'),
           lambda a: None if a.ports is None else 100.0 * nat_lines.most_used(a), nat_lines.used, details.nat_ports,
           rank=7, unit='%', maximum=100),
    Signal('allowance_exceeded', 'conntrack_allowance_exceeded_per_s', CLOUD,
           thresholds('allowance-exceeded', 'off', '0',
                      'the rate of packets dropped at the limit of tracked connections (conntrack_allowance_exceeded)'),
           cloud_lines.exceeded_rate, cloud_lines.exceeded, cloud_lines.exceeded_line, rank=0),
    Signal('allowance_available', 'conntrack_allowance_available', CLOUD,
           thresholds('allowance-available', '15:', '5:', 'what is left of that limit, in percent of the most that was '
                      'seen,'),
           cloud_lines.left, cloud_lines.available, cloud_lines.available_line, rank=9, unit='%', maximum=100),
    Signal('linklocal_exceeded', 'linklocal_allowance_exceeded_per_s', CLOUD,
           thresholds('linklocal-exceeded', '1', 'off', 'the rate of packets to DNS, metadata and time service that '
                      'were dropped (linklocal_allowance_exceeded)'),
           cloud_lines.linklocal_rate, cloud_lines.linklocal, cloud_lines.linklocal_line, rank=10),
    Signal('settings', 'settings', '', (), lambda a: None if isinstance(a.settings, Missing) else a.settings or None,
           phrases.settings, details.settings, rank=11, state=lambda a, options: 'warning'),
)


def options_of(group: str) -> tuple[Option, ...]:
    """The options of all signals under a heading of the help."""
    return tuple(option for signal in SIGNALS if signal.group == group for option in signal.options)
