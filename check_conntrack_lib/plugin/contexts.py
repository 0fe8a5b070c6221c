"""nagiosplugin contexts: a state for each metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import nagiosplugin
from nagiosplugin import Context, Critical, Metric, Ok, Performance, Result, ScalarContext, Unknown, Warn

from ..namedtuples import TYPE_CHECKING
from .options import Limits, Options, upper_threshold
from .signals import SIGNALS, Signal

if TYPE_CHECKING:
    from typing import Any

    from ..assessment import Assessment

#: worst first; nagiosplugin itself puts UNKNOWN above CRITICAL
SEVERITY = (Critical, Warn, Unknown, Ok)
RANKS: Mapping[str, int] = {signal.label: signal.rank for signal in SIGNALS}
STATES = {'ok': Ok, 'warning': Warn, 'critical': Critical, 'unknown': Unknown}


class Results(nagiosplugin.Results):
    """Results, the worst first: what could not be read never hides what was found."""

    def __iter__(self) -> Iterator[Result]:
        return iter(sorted(self.results, key=lambda result: SEVERITY.index(result.state)))

    @property
    def most_significant_state(self) -> Any:
        return min((result.state for result in self.results), key=SEVERITY.index)


def troubles(results: Iterable[Result]) -> list[Result]:
    """The results that are not OK: the worst state first, within a state the signal of the lowest rank."""
    bad = [result for result in results if result.state != Ok]
    order = {state: index for index, state in enumerate(dict.fromkeys(result.state for result in bad))}
    return sorted(bad, key=lambda result: (order[result.state], RANKS.get(result.metric.name, len(RANKS))))


class SignalContext(ScalarContext):
    """A signal against its ranges, or by its own rule; performance data carry those ranges that are plain numbers."""

    def __init__(self, signal: Signal, options: Options) -> None:
        limits = options.limits.get(signal.name, Limits('', ''))
        super().__init__(signal.label, limits.warning, limits.critical)
        self.signal, self.options, self.limits = signal, options, limits
        #: states of numbers that were compared before: those of idle namespaces are the same
        self._compared: dict[float, Any] = {}

    def _applies(self, a: Assessment) -> bool:
        return self.signal.applies is None or self.signal.applies(a, self.options)

    def state(self, a: Assessment, value: Any) -> Any:
        """The state of this signal's value in an assessment."""
        if self.signal.state:
            return STATES[self.signal.state(a, self.options)]
        if not (self.limits.warning or self.limits.critical) or not self._applies(a):
            return Ok
        number = value if self.signal.compared is None else self.signal.compared(a)
        if number not in self._compared:
            self._compared[number] = super().evaluate(Metric(self.signal.label, number), None).state
        return self._compared[number]

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        # performance data show the value, whatever is compared
        return Result(self.state(resource.assessment, metric.value), metric=metric)

    def performance(self, metric: Metric, resource: Any) -> Performance | None:
        if not isinstance(metric.value, (int, float)):
            return None
        if not self._applies(resource.assessment):
            return performance(metric)
        return performance(metric, upper_threshold(self.limits.warning), upper_threshold(self.limits.critical))


class ValueContext(Context):
    """A number that is compared with nothing."""

    def performance(self, metric: Metric, resource: Any) -> Performance:
        return performance(metric)


class EntriesContext(Context):
    """The count of entries, compared as usage; its performance data carry the same thresholds as counts."""

    def __init__(self, limits: Limits) -> None:
        super().__init__('entries')
        self.limits = limits

    def performance(self, metric: Metric, resource: Any) -> Performance:
        thresholds = (upper_threshold(self.limits.warning), upper_threshold(self.limits.critical))
        return performance(metric, *(
            None if one is None or metric.max is None else int(one * metric.max / 100) for one in thresholds))


class MissingReadingContext(Context):
    """A reading that could not be had leaves the state alone, unless it is required."""

    def __init__(self, require: tuple[str, ...]) -> None:
        super().__init__('missing')
        self.require = {'usage', *require}

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        return Result(Unknown if metric.name in self.require else Ok, metric=metric)


class OtherNamespacesContext(Context):
    """Namespaces of other users: the state of the worst of them."""

    def __init__(self) -> None:
        super().__init__('other_namespaces')

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        return Result(STATES[metric.value.state], metric=metric)


class NotLoadedContext(Context):
    """Connection tracking is not loaded: the administrator says what that means."""

    def __init__(self, state: str) -> None:
        super().__init__('not_loaded')
        self.state = STATES[state]

    def evaluate(self, metric: Metric, resource: Any) -> Result:
        return Result(self.state, metric=metric)


def contexts(options: Options) -> tuple[Context, ...]:
    """A context for each metric that `resource.metrics` yields."""
    return (
        *(SignalContext(signal, options) for signal in SIGNALS),
        EntriesContext(options.limits['usage']),
        ValueContext('value'),
        MissingReadingContext(options.require),
        OtherNamespacesContext(),
        NotLoadedContext(options.not_loaded),
    )


def performance(metric: Metric, warning: float | None = None, critical: float | None = None) -> Performance:
    """Performance data as every monitoring system reads them: rounded plain numbers, no exponent."""
    # a rate below 1 gets six decimals: one dropped packet in an hour is not 0
    places = 2 if metric.uom == '%' or abs(metric.value) >= 1 else 6
    warn, crit, low, high = (None if n is None else number(n, 6) for n in (warning, critical, metric.min, metric.max))
    # without thresholds the minimum 0 says nothing, and NRPE's old protocol has 1024 bytes for all
    low = None if low == '0' and not (warn or crit or high) else low
    return Performance(metric.name, number(metric.value, places), metric.uom, warn, crit, low, high)


def number(value: float, places: int) -> str:
    """A number with at most so many decimals, never with an exponent."""
    text = f'{value:.{places}f}'
    text = text.rstrip('0').rstrip('.') if '.' in text else text
    return '0' if text == '-0' else text
