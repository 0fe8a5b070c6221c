"""The first line: what set the state, since when, how full the table is, and the cause, within 120 characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nagiosplugin import Ok, Result

from ..assessment import Assessment
from ..formatting import clean, growth, percent
from ..model import Missing, NotLoaded, Reading, Table
from ..namedtuples import NamedTuple
from .contexts import troubles
from .phrases import are_chains_too_long, awaited, crossed, full_when, has_room_again, risen, usage
from .signals import SIGNALS

#: of the whole first line up to its performance data, names of containers excepted
LONGEST = 120
#: metrics that say that packets are dropped, beside which the usage is no more than a remark
LOSING = {'dropped_per_s', 'table_full_lines', 'insert_failed_per_s'}
#: those that say how full it is, or will be
FILLING = {'usage', 'growth_per_s'}
HALF = 50.0
#: the cause of a single reading on the first line
LONGEST_REASON = 50


class Part(NamedTuple):
    """One part of the line with its separator in front."""

    #: the same in fewer and fewer words
    texts: tuple[str, ...]
    #: parts of a higher weight are shortened first
    weight: int


def first_line(a: Assessment, results: Sequence[Result], among: str = '', cause: str = '') -> str:
    """One line out of the results, the worst first.

    among: how this namespace stands among others; cause: what the flows say, '' when that is not known.
    """
    table = a.snapshot.table
    bad = troubles(results)
    if isinstance(table, NotLoaded):
        path = clean(table.path)
        return f'nf_conntrack is not loaded (no {"" if path.startswith("/") else "/"}{path})' if bad \
            else 'nf_conntrack is not loaded, as configured (--not-loaded ok)'
    phrases = list(dict.fromkeys(filter(None, (_phrase(a, result) for result in bad))))
    usage_first = isinstance(table, Table) and bool(bad) and bad[0].metric.name in FILLING
    parts = [Part((f', {phrase}', ''), 10 * place) if place else Part((phrase, _shorter(phrase)), 6)
             for place, phrase in enumerate(phrases)]
    if usage_first and parts:
        # usage has set the state, and the rest may go
        parts[0] = Part((f', {phrases[0]}', ''), 2)
    if isinstance(table, Table):
        of_usage = list(_usage(a, table, bad, first=usage_first or not phrases))
        parts = of_usage + parts if usage_first else parts + of_usage
    if cause and bad:
        shorter = cause.partition(' from ')[0]
        parts.append(Part(tuple(dict.fromkeys((f': {cause}', f': {shorter}', ''))), 3))
    if among:
        parts.append(Part((f', {among}', ''), 4))
    parts += _not_checked(results, kept=not bad)
    parts += _not_yet(a)
    return _fitted(parts, LONGEST - len(f'CONNTRACK {str(bad[0].state if bad else Ok).upper()} - '))


def _shorter(phrase: str) -> str:
    """Without the time that a rate is of: '(9.2/s over 5 min)'."""
    before, over, after = phrase.partition('/s over ')
    return f'{before}/s){after.partition(")")[2]}' if over else phrase


def _fitted(parts: list[Part], room: int) -> str:
    """The parts in their order, the heaviest of them shortened until all fit, or nothing is left to shorten."""
    while sum(len(part.texts[0]) for part in parts) > room:
        heaviest = max((part for part in parts if len(part.texts) > 1), key=lambda part: part.weight, default=None)
        if heaviest is None:
            break
        parts[parts.index(heaviest)] = heaviest._replace(texts=heaviest.texts[1:])
    return ''.join(part.texts[0] for part in parts)


def _phrase(a: Assessment, result: Result) -> str:
    name, value = result.metric.name, result.metric.value
    if isinstance(value, Missing):
        why = _reason(value)
        if name == 'usage':
            return why if why.startswith('network namespace ') else f'cannot read usage: {why}'
        if name == 'kernel-log' and not isinstance(a.log, Missing):
            return f'{_title(name)} {why} (--require {name})'
        return f'{_title(name)} not readable (--require {name}): {why}'
    if name == 'other_namespaces':
        return str(value)
    if name in FILLING:
        return ''  # see _usage
    return next(signal.phrase(a) for signal in SIGNALS if signal.label == name)


def _usage(a: Assessment, table: Table, bad: list[Result], first: bool) -> Iterator[Part]:
    """How full the table is, and where that is the trouble, since when and until when."""
    if table.unlimited:
        yield Part((f'{"" if first else ", "}{usage(table)}',), 0)
        return
    full = percent(table.usage)
    names = {result.metric.name for result in bad}
    before = '' if first else ', '
    if names & LOSING and not names & FILLING:
        before += 'only ' if are_chains_too_long(a) else 'now ' if has_room_again(a) else \
            'table only ' if table.usage < HALF else ''
    # a phrase says already that it is full
    weight = 4 if table.entries >= table.maximum else 2
    yield Part((f'{before}{full} used', ''), weight) if not first else Part((f'{full} used',), 0)
    whose = '' if table.limit == table.maximum else f', {table.limit_name}'
    yield Part((f' ({table.entries} of {table.limit}{whose})', ''), 5 if bad else 1)
    if a.awaited and not bad:
        yield Part((f', {awaited(a.awaited, a.snapshot.at.wall)}', ''), 3)
    trouble = next((result for result in bad if result.metric.name in FILLING), None)
    if trouble is None or table.entries >= table.limit:
        return
    when = full_when(a, table)
    if when:
        yield Part((f', {when}', f', {when.partition(" at ")[0]}', ''), 4)
    if a.crossed and trouble.metric.name == 'usage':
        since, _, clears = crossed(a.crossed, a.snapshot.at.wall).partition(', clears')
        # where the alert is held, this is why
        yield Part((f', {since}', ''), 2 if a.crossed.held else 4)
        # the long output says it, too
        yield Part((f', clears{clears}', ''), 3 if a.crossed.held else 7)
    if not when and trouble.metric.name == 'usage' and not (a.crossed and a.crossed.held):
        yield Part((_not_growing(a), ''), 4)


def _not_growing(a: Assessment) -> str:
    if a.forecast is None:
        return ''
    if a.forecast.rise:
        return f', {risen(a.forecast.rise)}'
    return ', not growing' if a.forecast.to_full is None else f', {growth(a.forecast.growth)}'


def _not_checked(results: Sequence[Result], kept: bool) -> Iterator[Part]:
    """kept: of an OK this is the most important part."""
    missing = [(_title(result.metric.name), _reason(result.metric.value)) for result in results
               if isinstance(result.metric.value, Missing) and result.state.code == 0
               and not result.metric.value.chosen]
    if missing:
        texts = (', not checked: ' + ', '.join(f'{title} ({why})' for title, why in missing),
                 ', not checked: ' + ', '.join(title for title, _why in missing))
        yield Part(texts if kept else (*texts, ''), 2 if kept else 6)


def _not_yet(a: Assessment) -> Iterator[Part]:
    """Why drops are not counted although both counters and history are there."""
    if a.losses or isinstance(a.snapshot.counters, Missing) or isinstance(a.history, Missing) \
            or a.history.unwritten or a.stale_base is not None:
        return
    why = 'first run' if a.history.first_run else 'no earlier counters to compare with'
    yield Part((f', {why}: drops are counted from now on', f', {why}', ''), 7)


def _reason(missing: Missing) -> str:
    """Why a reading is missing; of a long path the end."""
    why = clean(missing.why)
    if len(why) <= LONGEST_REASON:
        return why
    return f'...{why[3 - LONGEST_REASON:]}' if why.startswith('/') else clean(why, LONGEST_REASON)


def _title(name: str) -> str:
    return Reading(name, None).title
