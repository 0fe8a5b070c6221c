"""Evaluation: the only place where a state is born."""

from __future__ import annotations

from collections.abc import Iterator

import nagiosplugin
from nagiosplugin import Context, Critical, Metric, Ok, Performance, Result, ScalarContext, Unknown, Warn

from ..analysis.losses import insert_failed_is_loss
from ..model import Counters, Table
from ..namedtuples import TYPE_CHECKING
from .options import Limits, Options, upper_line

if TYPE_CHECKING:
    from typing import Any

#: worst first; nagiosplugin itself puts UNKNOWN above CRITICAL
SEVERITY = (Critical, Warn, Unknown, Ok)
STATES = {'ok': Ok, 'warning': Warn, 'critical': Critical, 'unknown': Unknown}


class Results(nagiosplugin.Results):
    """Results, the worst first: what could not be read never hides what was found."""

    def __iter__(self) -> Iterator[Result]:
        return iter(sorted(self.results, key=lambda result: SEVERITY.index(result.state)))

    @property
    def most_significant_state(self) -> Any:
        return min((result.state for result in self.results), key=SEVERITY.index)


class Judged(ScalarContext):
    """A number against its ranges; performance data carry those that are plain numbers."""

    def __init__(self, name: str, limits: Limits) -> None:
        super().__init__(name, limits.warning, limits.critical)
        self.limits = limits

    def performance(self, metric: Metric, resource: Any) -> Performance:
        return performance(metric, upper_line(self.limits.warning), upper_line(self.limits.critical))


class Shown(Context):
    """A number that is never judged."""

    def performance(self, metric: Metric, resource: Any) -> Performance:
        return performance(metric)


class Entries(Context):
    """The count of entries, judged as usage; its performance data carry the same lines as counts."""

    def __init__(self, limits: Limits) -> None:
        super().__init__('entries')
        self.limits = limits

    def performance(self, metric: Metric, resource: Any) -> Performance:
        lines = (upper_line(self.limits.warning), upper_line(self.limits.critical))
        return performance(metric, *(
            None if line is None or metric.max is None else int(line * metric.max / 100) for line in lines))


class InsertFailed(Judged):
    """insert_failed, less chains too long, which are lost packets: on request where solved clashes count in it."""

    def __init__(self, options: Options) -> None:
        super().__init__('insert_failed_per_s', options.insert_failed)
        self.requested = options.insert_failed_requested

    def _is_judged(self, resource: Any) -> bool:
        counters = resource.assessment.snapshot.counters
        return self.requested or (isinstance(counters, Counters) and insert_failed_is_loss(counters))

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        found = resource.assessment.losses
        if not self._is_judged(resource) or found is None:
            return Result(Ok, metric=metric)
        judged = super().evaluate(metric.replace(value=found.rate(found.clashes)), resource)
        # performance data show the kernel's counter
        return Result(judged.state, judged.hint, metric)

    def performance(self, metric: Metric, resource: Any) -> Performance:
        return super().performance(metric, resource) if self._is_judged(resource) else performance(metric)


class Trend(Context):
    """Growth: WARNING at the trend line or above, when it has lasted and leads to the critical line in time."""

    def __init__(self, options: Options) -> None:
        super().__init__('growth_per_s')
        self.line = options.trend

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        table, forecast = resource.assessment.snapshot.table, resource.assessment.forecast
        rising = isinstance(table, Table) and table.usage >= self.line and forecast.lasting
        return Result(Warn if rising else Ok, metric=metric)

    def performance(self, metric: Metric, resource: Any) -> Performance:
        return performance(metric)


class MissingSignal(Context):
    """A signal that could not be read leaves the state alone, unless it is required."""

    def __init__(self, require: tuple[str, ...]) -> None:
        super().__init__('missing')
        self.require = {'usage', *require}

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        return Result(Unknown if metric.name in self.require else Ok, metric=metric)


class Settings(Context):
    """Configured values that are expired or not running."""

    def __init__(self) -> None:
        super().__init__('settings')

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        return Result(Warn, metric=metric)


class NoConntrack(Context):
    """Connection tracking is not loaded: the administrator says what that means."""

    def __init__(self, state: str) -> None:
        super().__init__('not_loaded')
        self.state = STATES[state]

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        return Result(self.state, metric=metric)


def contexts(options: Options) -> tuple[Context, ...]:
    """A context for each metric that `resource.metrics` yields."""
    return (
        Judged('usage', options.usage),
        Entries(options.usage),
        Trend(options),
        Judged('lost_per_s', options.drop),
        InsertFailed(options),
        Judged('early_drop_per_s', options.early_drop),
        Judged('table_full_lines', options.table_full),
        Shown('shown'),
        Settings(),
        MissingSignal(options.require),
        NoConntrack(options.not_loaded),
    )


def performance(metric: Metric, warning: float | None = None, critical: float | None = None) -> Performance:
    """Performance data as every monitoring system reads them: rounded plain numbers, no exponent."""
    # a rate below 1 gets six decimals: one lost packet in an hour is not 0
    places = 2 if metric.uom == '%' or abs(metric.value) >= 1 else 6
    warn, crit, low, high = (None if n is None else number(n, 6) for n in (warning, critical, metric.min, metric.max))
    return Performance(metric.name, number(metric.value, places), metric.uom, warn, crit, low, high)


def number(value: float, places: int) -> str:
    """A number with at most so many decimals, never with an exponent."""
    text = f'{value:.{places}f}'
    text = text.rstrip('0').rstrip('.') if '.' in text else text
    return '0' if text == '-0' else text
