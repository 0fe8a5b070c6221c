"""The first line: what set the state, then what else is known, in the words a pager shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from nagiosplugin import Ok, Result

from ..assessment import Assessment
from ..formatting import clean, count, duration, growth, percent
from ..model import Missing, NotLoaded, Table

SIGNAL_NAMES = {'kernel-log': 'kernel log'}


def first_line(a: Assessment, results: list[Result], among: str = '') -> str:
    """One line out of the results, the worst first; among: how this namespace stands among others."""
    table = a.snapshot.table
    if isinstance(table, NotLoaded):
        return f'connection tracking is not loaded: no {clean(table.path)}'
    troubles = [result for result in results if result.state != Ok]
    # sorted() is stable: the worst state stays in front
    places = {state: place for place, state in enumerate(dict.fromkeys(result.state for result in troubles))}
    troubles.sort(key=lambda result: (places[result.state], _rank(result.metric.name)))
    phrases = [_phrase(a, result) for result in troubles]
    if isinstance(table, Table):
        rising = any(result.metric.name in ('usage', 'growth_per_s') for result in troubles)
        phrases.append(usage(a, table, rising))
    phrases.append(among)
    phrases.extend(_not_checked(results))
    phrases.extend(_not_yet(a))
    return ', '.join(dict.fromkeys(phrase for phrase in phrases if phrase))


def usage(a: Assessment, table: Table, rising: bool) -> str:
    """How full the table is and, where it matters, until when it lasts."""
    if table.unlimited:
        return f'{count(table.entries, "entry")}, no limit (nf_conntrack_max is {table.maximum})'
    text = f'{percent(table.usage)} used ({table.entries} of {table.maximum})'
    if rising and a.forecast and a.forecast.to_full:
        text += f' and rising: full in {duration(a.forecast.to_full)} at {growth(a.forecast.growth)}'
    return text


def is_full(a: Assessment) -> bool:
    """Is a full table what loses the packets? Other causes count in `drop`, too."""
    table = a.snapshot.table
    full_now = isinstance(table, Table) and not table.unlimited and table.entries >= table.maximum
    logged = not isinstance(a.log, Missing) and bool(a.log.ages)
    return full_now or logged or bool(a.losses and a.losses.packets.get('early_drop'))


def _usage(a: Assessment) -> str:
    table = a.snapshot.table
    return usage(a, table, rising=True) if isinstance(table, Table) else ''


def _lost(a: Assessment) -> str:
    if not a.losses or not a.losses.lost:
        return _table_full(a)
    text = f'{count(a.losses.lost, "packet")} lost in the last {duration(a.losses.span)}'
    if is_full(a):
        return 'table full: ' + text
    too_long = a.losses.packets.get('chain_too_long', 0)
    return text + (' (hash chains too long)' if too_long > a.losses.dropped else '')


def _table_full(a: Assessment) -> str:
    if a.losses and a.losses.lost:
        return _lost(a)
    if isinstance(a.log, Missing) or not a.log.ages:
        return ''
    return f'table full: logged {count(len(a.log.ages), "time")} in the last {duration(a.log.span)}'


def _early_drop(a: Assessment) -> str:
    return f'{count(a.losses.packets["early_drop"], "entry")} evicted early in the last {duration(a.losses.span)}' \
        if a.losses else ''


def _insert_failed(a: Assessment) -> str:
    # chains too long are told as lost packets
    if not a.losses or not a.losses.clashes:
        return ''
    span = duration(a.losses.span)
    by_clashes = a.losses.packets['drop'] - a.losses.dropped
    if by_clashes:
        return f'{count(by_clashes, "packet")} lost in the last {span} to connections that clashed (insert_failed)'
    return f'insert_failed {a.losses.clashes} times in the last {span}'


def _settings(a: Assessment) -> str:
    if isinstance(a.settings, Missing) or not a.settings:
        return ''
    more = len(a.settings) - 1
    return f'{a.settings[0]} (and {count(more, "other setting")})' if more else str(a.settings[0])


#: the phrase for each metric that can be in trouble, in the order in which equally bad ones are told
PHRASES: Mapping[str, Callable[[Assessment], str]] = {
    'lost_per_s': _lost,
    'table_full_lines': _table_full,
    'usage': _usage,
    'growth_per_s': _usage,
    'early_drop_per_s': _early_drop,
    'insert_failed_per_s': _insert_failed,
    'settings': _settings,
}


def _rank(name: str) -> int:
    return list(PHRASES).index(name) if name in PHRASES else len(PHRASES)


def _phrase(a: Assessment, result: Result) -> str:
    name, value = result.metric.name, result.metric.value
    if isinstance(value, Missing):
        return f'cannot read {_signal(name)}: {clean(value.why)}' if name == 'usage' \
            else f'{_signal(name)} required but not readable: {clean(value.why)}'
    return PHRASES[name](a)


def _not_checked(results: list[Result]) -> Iterator[str]:
    missing = [f'{_signal(result.metric.name)} ({clean(result.metric.value.why)})' for result in results
               if isinstance(result.metric.value, Missing) and result.state == Ok and not result.metric.value.chosen]
    if missing:
        yield 'not checked: ' + '; '.join(missing)


def _not_yet(a: Assessment) -> Iterator[str]:
    """Why losses are not counted although both counters and history are there."""
    if a.losses or isinstance(a.snapshot.counters, Missing) or isinstance(a.history, Missing) or a.history.unwritten:
        return
    yield 'first run: losses from now on' if a.history.first_run else 'counters were reset: losses from now on'


def _signal(name: str) -> str:
    return SIGNAL_NAMES.get(name, name)
