"""What the long output says of each signal, a line per fact. trouble: the state is not OK; else -v asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..analysis.hash_chains import enough_buckets, memory_text, per_bucket_text
from ..analysis.losses import INITIAL, UNNAMED, LogEvidence, insert_failed_is_loss
from ..analysis.trend import PAST_OF_HORIZON, SHORTEST_PAST
from ..assessment import Assessment
from ..formatting import FLOODED, TABLE_FULL_MESSAGE, clock_time, count, duration, growth, rate
from ..model import Missing, Table
from ..namedtuples import TYPE_CHECKING
from . import nat_lines
from .phrases import has_room_again, is_full, risen

if TYPE_CHECKING:
    from .options import Options

OWNERS = {INITIAL: 'from the host (initial network namespace), ignored here (check it with --netns all)',
          UNNAMED: 'ignored: by its counters this namespace dropped nothing then'}
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
        text = f'table: {table.entries} of {table.limit} entries ({table.limit_name})'
        if table.limit != table.maximum:
            text += f', nf_conntrack_max is {table.maximum}'
    yield ', '.join(filter(None, (text, per_bucket_text(table, a.hash))))


def growth_lines(a: Assessment, options: Options, trouble: bool) -> Iterator[str]:
    if not a.forecast or (trouble and not options.verbose and not a.forecast.to_full):
        return
    text = f'growth: {growth(a.forecast.growth)}'
    if a.forecast.to_full and a.forecast.to_critical is not None:
        from .options import upper_threshold

        above = upper_threshold(options.limits['usage'].critical)
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
            text += f' and {_no_message(a.log)}'
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
        return 'table full' if has_room_again(a) else 'table full; new connections fail, existing ones continue'
    # a kernel without clash_resolve does not tell the clashes that cost a packet from the others
    clashes = ', clashes' if a.losses and a.losses.clashes >= a.losses.dropped else ''
    return f'possible causes: table briefly full{clashes}, or out of memory'


def hash_chains(a: Assessment, _options: Options, trouble: bool) -> Iterator[str]:
    load = a.hash
    # of a calm hash table the line of the table says enough
    if load is None or not (trouble and load.refused >= 0.0001):
        return
    whose = 'of all network namespaces' if load.all_namespaces else 'of this network namespace (others are not seen)'
    where = '' if a.snapshot.initial else ' in the initial network namespace'
    wanted = enough_buckets(load.entries, a.snapshot.table.maximum if isinstance(a.snapshot.table, Table) else 0)
    yield (f'hash table: {load.entries} entries {whose} in {count(load.buckets, "bucket")}: above about {load.limit} '
           f'per bucket this kernel drops new connections and logs nothing. Remedy: sudo sysctl -w '
           f'net.netfilter.nf_conntrack_buckets={wanted}{where} ({memory_text(wanted)} of memory)')


def early_drop(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if a.losses and a.losses.packets.get('early_drop'):
        evicted = a.losses.packets['early_drop']
        yield (f'early_drop: {count(evicted, "entry")} evicted in the last {duration(a.losses.span)} because the table '
               'was full (not yet ASSURED: half-open TCP, one-way UDP)')


def insert_failed(a: Assessment, options: Options, trouble: bool) -> Iterator[str]:
    if not a.losses or isinstance(a.snapshot.counters, Missing):
        return
    span = duration(a.losses.span)
    failed = a.losses.clashes
    text = f'insert_failed: {failed} in the last {span} ({rate(a.losses.rate(failed))})'
    if failed and insert_failed_is_loss(a.snapshot.counters):
        yield f'{text}: {nat_lines.cause_text(a)}, one packet dropped each'
        if trouble and not nat_lines.are_refused(a):
            yield ('what helps: a local DNS cache, resolv.conf "options single-request-reopen", '
                   'SNAT with --random-fully or more addresses; a larger table does not')
    elif failed:
        yield (f'{text}; before Linux 5.10 this counter includes clashes that were resolved: '
               + ('compared because a threshold is set' if options.requested('insert_failed')
                  else 'not alerted by default'))


def _log_is_quiet(a: Assessment) -> bool:
    return not isinstance(a.log, Missing) and not (a.log.ages or a.log.suppressed or a.log.flooded)


def nat_ports(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    text = nat_lines.details(a)
    if text:
        yield text


def kernel_log(a: Assessment, options: Options, trouble: bool) -> Iterator[str]:
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
        if a.log.partial:
            text += f'; the log goes back {duration(a.log.covered)} only'
        yield f'{text} (rate-limited, not a packet count){flooded}'
    elif a.log.partial:
        text = f'kernel log: {_no_message(a.log)} in the last {duration(a.log.covered)}, as far as the log goes back'
        if a.log.can_hide:
            text += '; a larger ring (log_buf_len=) or the journal keeps more'
        yield text + flooded
    elif not isinstance(a.snapshot.kernel_log, Missing):
        if a.log.suppressed:
            yield (f'kernel log: {_no_message(a.log)} in the last {duration(a.log.span)}, but '
                   f'{count(a.log.suppressed, "message")} suppressed by rate limiting{flooded}')
        elif flooded or not a.losses or a.losses.lost:
            yield f'kernel log: {_no_message(a.log)} in the last {duration(a.log.span)}{flooded}'
    # those of others are compared with nothing: on trouble they would only take the place of what matters
    if options.verbose or not trouble:
        yield from _elsewhere(a.log.elsewhere)


def _no_message(log: LogEvidence) -> str:
    # an administrator who reads the log sees those of others
    return f'no {TABLE_FULL_MESSAGE}' + (' of this network namespace' if log.elsewhere else '')


def _elsewhere(elsewhere: Mapping[int, int]) -> Iterator[str]:
    for inode, number in list(elsewhere.items())[:MOST_OWNERS]:
        whose = OWNERS.get(inode, f'from network namespace {inode}, ignored here (check it with --netns all)')
        yield f'kernel log: {_messages(number)} {whose}'
    if len(elsewhere) > MOST_OWNERS:
        yield f'kernel log: messages of {len(elsewhere) - MOST_OWNERS} more network namespaces, ignored here'


def _messages(number: int) -> str:
    return count(number, TABLE_FULL_MESSAGE)


def settings(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if a.settings and not isinstance(a.settings, Missing):
        from ..analysis import sysctl_drift  # only where something is wrong

        yield from sysctl_drift.lines(a.settings)
