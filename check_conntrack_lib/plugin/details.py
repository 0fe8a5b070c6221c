"""What the long output says of each signal, a line per fact. The last argument: on trouble, else because of -v."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..analysis.losses import INITIAL, UNNAMED, insert_failed_is_loss
from ..analysis.trend import PAST_OF_HORIZON, SHORTEST_PAST
from ..assessment import Assessment
from ..formatting import FLOODED, clock_time, count, duration, growth, rate
from ..model import Missing, Table
from ..namedtuples import TYPE_CHECKING
from .phrases import is_drained, is_full, risen

if TYPE_CHECKING:
    from .options import Options

OWNERS = {INITIAL: 'from the host (initial network namespace), ignored here (check it with --netns all)',
          UNNAMED: 'ignored: this namespace dropped nothing, so they belong to another one'}
#: namespaces named of those that the log says are full
MOST_OWNERS = 3


def table(a: Assessment, options: Options, trouble: bool) -> Iterator[str]:
    table = a.snapshot.table
    # on trouble the first line says it
    if not isinstance(table, Table) or (trouble and not options.verbose):
        return
    if table.unlimited:
        text = f'table: {count(table.entries, "entry")}; nf_conntrack_max is {table.maximum}: only memory limits it'
    else:
        text = f'table: {table.entries} of {table.maximum} entries (nf_conntrack_max)'
    if not isinstance(table.buckets, Missing) and table.buckets > 0:
        text += f', {table.entries / table.buckets:.1f} per bucket'
    yield text


def growth_lines(a: Assessment, options: Options, trouble: bool) -> Iterator[str]:
    if not a.forecast or (trouble and not options.verbose and not a.forecast.to_full):
        return
    text = f'growth: {growth(a.forecast.growth)}'
    if a.forecast.to_full and a.forecast.to_critical is not None:
        from .options import upper_line

        above = upper_line(options.limits['usage'].critical)
        critical, full = duration(a.forecast.to_critical), duration(a.forecast.to_full)
        text += (f'; above {above or 100:g}% in {critical},' if a.forecast.to_critical else ';') + f' full in {full}'
    if a.forecast.rise:
        text += f'; {risen(a.forecast.rise)}'
    if a.forecast.to_critical and a.forecast.lasting is False:
        lasting = max(options.horizon * PAST_OF_HORIZON, SHORTEST_PAST)
        text += f'; no alert yet: must rise for {duration(lasting)} (--horizon)'
    yield text


def dropped(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if not a.losses:
        return
    if not a.losses.lost:
        text = 'no packets dropped'
        if not isinstance(a.log, Missing) and not isinstance(a.snapshot.kernel_log, Missing) and _log_is_quiet(a):
            text += ' and no "table full" message'
        clashes = ' (clashes: see insert_failed)' if a.losses.packets['drop'] else ''
        yield f'{text} in the last {duration(a.losses.span)}{clashes}'
        return
    no_room, too_long = a.losses.dropped, a.losses.packets.get('chaintoolong', 0)
    parts = []
    if no_room:
        parts.append(f'{count(no_room, "packet")} dropped: {_why_dropped(a)}')
    if too_long:
        parts.append(f'{count(too_long, "packet")} dropped: hash chain too long; raise nf_conntrack_buckets')
    if a.losses.across:
        parts.append(f'counted since {clock_time(a.snapshot.at.wall - a.losses.span, a.snapshot.at.wall)}, '
                     f'before and after {a.losses.across}')
    yield '; '.join(parts)


def _why_dropped(a: Assessment) -> str:
    if is_full(a):
        return 'table full' if is_drained(a) else 'table full; new connections fail, existing ones continue'
    # a kernel without clash_resolve does not tell the clashes that cost a packet from the others
    clashes = ', clashes' if a.losses and a.losses.clashes >= a.losses.dropped else ''
    return f'possible causes: table briefly full{clashes}, or out of memory'


def early_drop(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    evicted = a.losses.packets.get('early_drop', 0) if a.losses else 0
    if a.losses and evicted:
        yield (f'early_drop: {count(evicted, "entry")} evicted in the last {duration(a.losses.span)} because the table '
               'was full (not yet ASSURED: half-open TCP, one-way UDP)')


def insert_failed(a: Assessment, options: Options, trouble: bool) -> Iterator[str]:
    if not a.losses or isinstance(a.snapshot.counters, Missing):
        return
    span = duration(a.losses.span)
    failed = a.losses.clashes
    text = f'insert_failed: {failed} in the last {span} ({rate(a.losses.rate(failed))})'
    if failed and insert_failed_is_loss(a.snapshot.counters):
        yield f'{text}: unresolved clashes, one packet dropped each'
        if trouble:
            yield ('what helps: a local DNS cache, resolv.conf "options single-request-reopen", '
                   'SNAT with --random-fully or more addresses; a larger table does not')
    elif failed:
        yield (f'{text}; before Linux 5.10 this counter includes resolved clashes: '
               + ('compared because a threshold is set' if options.requested('insert_failed')
                  else 'not alerted by default'))


def _log_is_quiet(a: Assessment) -> bool:
    return not isinstance(a.log, Missing) and not (a.log.ages or a.log.suppressed or a.log.flooded)


def kernel_log(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if isinstance(a.log, Missing):
        return
    flooded = f'; {FLOODED}' if a.log.flooded else ''
    now = a.snapshot.at.wall
    if a.log.ages:
        newest = clock_time(now - a.log.ages[-1], now, seconds=True)
        text = f'kernel log: {_messages(len(a.log.ages))}'
        if len(a.log.ages) > 1:
            text += f' from {clock_time(now - a.log.ages[0], now, seconds=True).rpartition(" ")[0]} to {newest}'
        else:
            text += f' at {newest}'
        yield f'{text} (rate-limited, not a packet count){flooded}'
    elif not isinstance(a.snapshot.kernel_log, Missing):
        if a.log.suppressed:
            yield (f'kernel log: no "table full" message in the last {duration(a.log.span)}, but '
                   f'{count(a.log.suppressed, "message")} suppressed by rate limiting{flooded}')
        elif flooded or not a.losses or a.losses.lost:
            yield f'kernel log: no "table full" message in the last {duration(a.log.span)}{flooded}'
    yield from _elsewhere(a.log.elsewhere)


def _elsewhere(elsewhere: Mapping[int, int]) -> Iterator[str]:
    for inode, number in list(elsewhere.items())[:MOST_OWNERS]:
        whose = OWNERS.get(inode, f'from network namespace {inode}, ignored here (check it with --netns all)')
        yield f'kernel log: {_messages(number)} {whose}'
    if len(elsewhere) > MOST_OWNERS:
        yield f'kernel log: messages of {len(elsewhere) - MOST_OWNERS} more network namespaces, ignored here'


def _messages(number: int) -> str:
    return count(number, '"table full" message')


def settings(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if not isinstance(a.settings, Missing):
        yield from (f'{drift.reason}. {drift.remedy}' for drift in a.settings)
