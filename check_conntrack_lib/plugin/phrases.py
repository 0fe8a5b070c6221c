"""What the first line says of each signal; '' says nothing."""

from __future__ import annotations

from ..assessment import Assessment
from ..formatting import count, duration, growth, percent
from ..model import Missing, Table


def usage(a: Assessment, table: Table, rising: bool) -> str:
    """How full the table is and, where it matters, until when it lasts."""
    if table.unlimited:
        return f'{count(table.entries, "entry")}, no limit (nf_conntrack_max is {table.maximum})'
    text = f'{percent(table.usage)} used ({table.entries} of {table.maximum})'
    if rising and a.forecast and a.forecast.to_full:
        text += f' and rising: full in {duration(a.forecast.to_full)} at {growth(a.forecast.growth)}'
    return text


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
        return table_full(a)
    text = f'{count(a.losses.lost, "packet")} lost in the last {duration(a.losses.span)}'
    if is_full(a):
        return 'table full: ' + text
    too_long = a.losses.packets.get('chaintoolong', 0)
    return text + (' (hash chains too long)' if too_long > a.losses.dropped else '')


def table_full(a: Assessment) -> str:
    if a.losses and a.losses.lost:
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
