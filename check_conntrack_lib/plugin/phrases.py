"""What the first line says of each signal; '' says nothing."""

from __future__ import annotations

from ..analysis.hysteresis import Awaited, Crossed, Drops
from ..analysis.losses import Losses
from ..analysis.trend import Rise
from ..assessment import Assessment
from ..defaults import DAY
from ..formatting import clock_time, count, duration, growth, percent, rate
from ..model import Missing, Table
from . import nat_lines

#: usage in percent from which a table that dropped packets is still called full
STILL_FULL = 99.0
#: a growth that fills the table later than this is not worth a place on the first line, in seconds
FAR = 2 * DAY


def usage(table: Table) -> str:
    """How full the table is."""
    if table.unlimited:
        return f'{count(table.entries, "entry")}, no limit (nf_conntrack_max is {table.maximum})'
    text = f'{percent(table.usage)} used ({table.entries} of {table.limit})'
    return text if table.limit == table.maximum else text[:-1] + f', {table.limit_name})'


def full_when(a: Assessment, table: Table) -> str:
    """When the table is full at the present growth; '' when it is full or does not grow."""
    to_full = a.forecast and a.forecast.to_full
    if not a.forecast or not to_full or to_full > FAR or table.unlimited:
        return ''
    if to_full < 60:
        return 'full in under 1 min'
    now = a.snapshot.at.wall
    return f'full in {duration(to_full)} ({clock_time(now + to_full, now)}) at {growth(a.forecast.growth)}'


def crossed(one: Crossed, now: float) -> str:
    """Since when usage is above a threshold, and when that clears."""
    if one.times > 1:
        return (f'above {one.threshold:g}% {one.times} times since {clock_time(one.since, now)}, '
                f'clears at {clock_time(one.until, now)}')
    if one.below is not None:
        return f'above {one.threshold:g}% until {clock_time(one.last, now)}, clears at {clock_time(one.until, now)}'
    clears = f', clears below {one.clears:g}%' if one.clears < one.threshold else ''
    if one.longer and one.since < now:
        return f'above {one.threshold:g}% for {duration(now - one.since)} or longer{clears}'
    return f'above {one.threshold:g}% since {clock_time(one.since, now)}{clears}'


def awaited(one: Awaited, now: float) -> str:
    """When a threshold counts that is exceeded for too short a time as yet."""
    return f'WARNING from {clock_time(one.until, now)} on unless it falls'


def risen(rise: Rise) -> str:
    """A rise that has ended."""
    return (f'rose by {rise.entries} in the last {duration(rise.span)}, '
            f'{"falling" if rise.fell else "steady"} for {duration(rise.ended)}')


def repeated(drops: Drops, now: float) -> str:
    """Packets dropped again and again, and when that clears."""
    return (f'{count(drops.packets, "packet")} dropped at {drops.times} times since {clock_time(drops.first, now)}, '
            f'last at {clock_time(drops.last, now)}, clears at {clock_time(drops.until, now)}')


def usage_or_growth(a: Assessment) -> str:
    table = a.snapshot.table
    return ', '.join(filter(None, (usage(table), full_when(a, table)))) if isinstance(table, Table) else ''


def is_full(a: Assessment) -> bool:
    """Was a full table the cause of the drops? `drop` has other causes, too."""
    table = a.snapshot.table
    full_now = isinstance(table, Table) and not table.unlimited and table.entries >= table.maximum
    logged = not isinstance(a.log, Missing) and bool(a.log.ages)
    return full_now or logged or bool(a.losses and a.losses.packets.get('early_drop'))


def has_room_again(a: Assessment) -> bool:
    """Was the table full within the window, and has it room now?"""
    table = a.snapshot.table
    return is_full(a) and isinstance(table, Table) and (table.unlimited or table.usage < STILL_FULL)


def are_chains_too_long(a: Assessment) -> bool:
    """Were most packets dropped because of long hash chains?"""
    return a.losses is not None and a.losses.mostly_chains


def since(a: Assessment, span: float) -> str:
    """'since 11:00 CET': the time that counters or messages are counted from."""
    now = a.snapshot.at.wall
    return f'since {clock_time(now - span, now)}'


def _since_first_drop(a: Assessment, losses: Losses) -> str:
    """The time and the rate, which thresholds are for; of a time before the first drop the rate says over how long."""
    per_second = rate(losses.rate(losses.lost))
    quiet = None if isinstance(a.history, Missing) or losses.across else a.history.undropped
    ago = a.snapshot.at.uptime - quiet.at.uptime if quiet else losses.span
    if ago >= losses.span:
        return f'{since(a, losses.span)} ({per_second})'
    return f'{since(a, ago)} ({per_second} over {duration(losses.span)})'


def dropped(a: Assessment) -> str:
    if not a.losses or not a.losses.lost:
        return repeated(a.drops, a.snapshot.at.wall) if a.drops else table_full(a)
    text = f'{count(a.losses.lost, "packet")} dropped {_since_first_drop(a, a.losses)}'
    if are_chains_too_long(a):
        return text + ': hash chains too long'
    return f'table {"was " if has_room_again(a) else ""}full, {text}' if is_full(a) else text


def table_full(a: Assessment) -> str:
    if a.drops or (a.losses and a.losses.lost and not are_chains_too_long(a)):
        return dropped(a)
    if isinstance(a.log, Missing) or not a.log.ages:
        return ''
    number = len(a.log.ages)
    times = f'{"once" if number == 1 else f"{number} times"} {since(a, a.log.ages[0])}'
    return f'kernel logged "table full" {times}' if has_room_again(a) else f'table full, logged by the kernel {times}'


def hash_chains(a: Assessment) -> str:
    if a.hash is None:
        return ''
    return (f'hash table too small: {a.hash.per_bucket:.1f} entries per bucket, '
            f'{a.hash.refused:.1%} of new connections dropped')


def early_drop(a: Assessment) -> str:
    # a full table that dropped packets has evicted entries before
    if not a.losses or a.losses.lost:
        return dropped(a) if a.losses else ''
    return f'{count(a.losses.packets["early_drop"], "entry")} evicted (early_drop) {since(a, a.losses.span)}'


def insert_failed(a: Assessment) -> str:
    # long hash chains count in `dropped`
    if not a.losses or not a.losses.clashes:
        return ''
    if a.ports is not None and nat_lines.are_refused(a):
        return nat_lines.used(a)
    by_clashes = a.losses.packets['drop'] - a.losses.dropped
    failed = since(a, a.losses.span) + f' ({rate(a.losses.rate(a.losses.clashes))})'
    if by_clashes:
        return f'{count(by_clashes, "packet")} dropped {failed}: insert_failed ({nat_lines.short_cause(a)})'
    return f'{count(a.losses.clashes, "clash")} (insert_failed) {failed}'


def settings(a: Assessment) -> str:
    if isinstance(a.settings, Missing) or not a.settings:
        return ''
    number = len(a.settings)
    return str(a.settings[0]) + (f' ({number} settings differ)' if number > 1 else '')
