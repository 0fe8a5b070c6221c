"""The first line: what set the state, then what else is known, in the words a pager shows."""

from __future__ import annotations

from collections.abc import Iterator

from nagiosplugin import Ok, Result

from ..assessment import Assessment
from ..formatting import clean
from ..model import Missing, NotLoaded, Reading, Table
from .phrases import usage
from .signals import SIGNALS

RANKS = {signal.label: signal.rank for signal in SIGNALS}


def first_line(a: Assessment, results: list[Result], among: str = '') -> str:
    """One line out of the results, the worst first; among: how this namespace stands among others."""
    table = a.snapshot.table
    if isinstance(table, NotLoaded):
        return f'connection tracking is not loaded: no {clean(table.path)}'
    troubles = [result for result in results if result.state != Ok]
    # the worst state is in front: it stays there
    order = {state: index for index, state in enumerate(dict.fromkeys(result.state for result in troubles))}
    troubles.sort(key=lambda result: (order[result.state], RANKS.get(result.metric.name, len(RANKS) + 1)))
    phrases = [_phrase(a, result) for result in troubles]
    if isinstance(table, Table):
        rising = any(result.metric.name in ('usage', 'growth_per_s') for result in troubles)
        phrases.append(usage(a, table, rising))
    phrases.append(among)
    phrases.extend(_not_checked(results))
    phrases.extend(_not_yet(a))
    return ', '.join(dict.fromkeys(phrase for phrase in phrases if phrase))


def _phrase(a: Assessment, result: Result) -> str:
    name, value = result.metric.name, result.metric.value
    if isinstance(value, Missing):
        return f'cannot read {_title(name)}: {clean(value.why)}' if name == 'usage' \
            else f'{_title(name)} required but not readable: {clean(value.why)}'
    return next(signal.phrase(a) for signal in SIGNALS if signal.label == name)


def _not_checked(results: list[Result]) -> Iterator[str]:
    missing = [f'{_title(result.metric.name)} ({clean(result.metric.value.why)})' for result in results
               if isinstance(result.metric.value, Missing) and result.state == Ok and not result.metric.value.chosen]
    if missing:
        yield 'not checked: ' + '; '.join(missing)


def _not_yet(a: Assessment) -> Iterator[str]:
    """Why losses are not counted although both counters and history are there."""
    if a.losses or isinstance(a.snapshot.counters, Missing) or isinstance(a.history, Missing) or a.history.unwritten:
        return
    yield 'first run: losses from now on' if a.history.first_run else 'counters were reset: losses from now on'


def _title(name: str) -> str:
    return Reading(name, None).title
