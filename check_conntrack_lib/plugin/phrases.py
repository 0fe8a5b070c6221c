"""What the first line says of each signal; '' says nothing."""

from __future__ import annotations

from ..analysis.hysteresis import Crossed, Drops
from ..analysis.trend import Rise
from ..assessment import Assessment
from ..formatting import clock_time, count, duration, growth, percent
from ..model import Missing, Table


def usage(a: Assessment, table: Table, rising: bool) -> str:
    """How full the table is and, where it matters, until when it lasts."""
    if table.unlimited:
        return f'{count(table.entries, "entry")}, no limit (nf_conntrack_max is {table.maximum})'
    text = f'{percent(table.usage)} used ({table.entries} of {table.maximum})'
    if rising and a.forecast and a.forecast.to_full:
        text += f' and rising: full in {duration(a.forecast.to_full)} at {growth(a.forecast.growth)}'
    elif rising and a.forecast and a.forecast.rise and not packets_dropped(a):
        text += f', {risen(a.forecast.rise)}'
    if rising and a.crossed and not packets_dropped(a):
        text += f', {crossed(a.crossed, a.snapshot.at.wall)}'
    return text


def packets_dropped(a: Assessment) -> bool:
    """Were packets dropped? Then that is what the first line is about."""
    return bool(a.drops or is_full(a) or (a.losses and a.losses.lost))


def risen(rise: Rise) -> str:
    """A rise that has ended."""
    return (f'rose by {rise.entries} in the last {duration(rise.span)}, '
            f'{"falling" if rise.fell else "steady"} for {duration(rise.ended)}')


def crossed(one: Crossed, now: float) -> str:
    """Since when usage is above a threshold, and when that clears."""
    if one.times > 1:
        return (f'above {one.threshold:g}% {one.times} times since {clock_time(one.since, now)}, last at '
                f'{clock_time(one.last, now)}: clears at {clock_time(one.until, now)} if it stays below')
    return f'above {one.threshold:g}% since {clock_time(one.since, now)}, clears ' + (
        f'below {one.clears:g}%' if one.clears < one.threshold else 'at once')


def usage_or_growth(a: Assessment) -> str:
    table = a.snapshot.table
    return usage(a, table, rising=True) if isinstance(table, Table) else ''


def is_full(a: Assessment) -> bool:
    """Is a full table what loses the packets? Other causes count in `drop`, too."""
    table = a.snapshot.table
    full_now = isinstance(table, Table) and not table.unlimited and table.entries >= table.maximum
    logged = not isinstance(a.log, Missing) and bool(a.log.ages)
    return full_now or logged or bool(a.losses and a.losses.packets.get('early_drop'))


def dropped(a: Assessment) -> str:
    if not a.losses or not a.losses.lost:
        return repeated(a.drops, a.snapshot.at.wall) if a.drops else table_full(a)
    text = f'{count(a.losses.lost, "packet")} lost in the last {duration(a.losses.span)}'
    if is_full(a):
        return 'table full: ' + text
    too_long = a.losses.packets.get('chaintoolong', 0)
    return text + (' (hash chains too long)' if too_long > a.losses.dropped else '')


def repeated(drops: Drops, now: float) -> str:
    """Packets dropped again and again, and when that clears."""
    return (f'{count(drops.packets, "packet")} lost at {drops.times} times since {clock_time(drops.first, now)}, '
            f'last at {clock_time(drops.last, now)}: clears at {clock_time(drops.until, now)} without more')


def table_full(a: Assessment) -> str:
    if (a.losses and a.losses.lost) or a.drops:
        return dropped(a)
    if isinstance(a.log, Missing) or not a.log.ages:
        return ''
    return f'table full: logged {count(len(a.log.ages), "time")} in the last {duration(a.log.span)}'


def early_drop(a: Assessment) -> str:
    return f'{count(a.losses.packets["early_drop"], "entry")} evicted early in the last {duration(a.losses.span)}' \
        if a.losses else ''


def insert_failed(a: Assessment) -> str:
    # chains too long are told as lost packets
    if not a.losses or not a.losses.clashes:
        return ''
    span = duration(a.losses.span)
    by_clashes = a.losses.packets['drop'] - a.losses.dropped
    if by_clashes:
        return f'{count(by_clashes, "packet")} lost in the last {span} to connections that clashed (insert_failed)'
    return f'insert_failed {a.losses.clashes} times in the last {span}'


def settings(a: Assessment) -> str:
    if isinstance(a.settings, Missing) or not a.settings:
        return ''
    more = len(a.settings) - 1
    return f'{a.settings[0]} (and {count(more, "other setting")})' if more else str(a.settings[0])
