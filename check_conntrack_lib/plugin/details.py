"""What the long output says of each signal, a line a fact. The last argument: on trouble, else asked for with -v."""

from __future__ import annotations

from collections.abc import Iterator

from ..analysis.losses import INITIAL, UNNAMED, insert_failed_is_loss
from ..assessment import Assessment
from ..formatting import FLOODED, count, duration, growth, percent, rate
from ..model import Missing, Table
from ..namedtuples import TYPE_CHECKING
from .phrases import crossed, is_full, packets_dropped, risen

if TYPE_CHECKING:
    from .options import Options

OWNERS = {INITIAL: 'the initial network namespace',
          UNNAMED: 'some other network namespace, as this one has dropped nothing'}
#: namespaces named of those that the log says are full
MOST_OWNERS = 3


def table(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    table = a.snapshot.table
    if not isinstance(table, Table):
        return
    if table.unlimited:
        text = f'table: {count(table.entries, "entry")}; nf_conntrack_max is {table.maximum}: only memory limits it'
    else:
        text = f'table: {percent(table.usage)} of nf_conntrack_max: {table.entries} of {table.maximum} entries'
    if not isinstance(table.buckets, Missing) and table.buckets > 0:
        text += f', {table.entries / table.buckets:.1f} a bucket'
    if a.crossed and packets_dropped(a):
        text += f'; {crossed(a.crossed, a.snapshot.at.wall)}'
    yield text


def growth_lines(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if a.forecast:
        text = f'trend: {growth(a.forecast.growth)}'
        if a.forecast.to_full and a.forecast.to_critical is not None:
            critical, full = duration(a.forecast.to_critical), duration(a.forecast.to_full)
            text += (f', at the critical line in {critical}' if a.forecast.to_critical else '') + f', full in {full}'
        if a.forecast.rise:
            text += f'; {risen(a.forecast.rise)}'
        if a.forecast.to_critical and a.forecast.lasting is False:
            text += '; judged when it has lasted longer'
        yield text


def dropped(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if not a.losses:
        return
    span = duration(a.losses.span)
    if not a.losses.lost:
        yield f'losses: no packet lost in the last {span}' + (', but for clashes' if a.losses.packets['drop'] else '')
        return
    no_room, too_long = a.losses.dropped, a.losses.packets.get('chaintoolong', 0)
    text = f'losses: {count(a.losses.lost, "packet")} in the last {span} ({rate(a.losses.rate(a.losses.lost))})'
    if a.losses.across:
        text += f', counted on across {a.losses.across}'
    if no_room:
        text += f'; {no_room} dropped: {_why_dropped(a)}'
    if too_long:
        text += f'; {too_long} refused: hash chain too long, raise nf_conntrack_buckets'
    yield text


def _why_dropped(a: Assessment) -> str:
    if is_full(a):
        return 'no room for a new entry'
    # a kernel without clash_resolve does not tell the clashes that cost a packet from the others
    clashes = ', connections clashed' if a.losses and a.losses.clashes >= a.losses.dropped else ''
    return f'the table was full for a moment{clashes}, or memory was short'


def early_drop(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    evicted = a.losses.packets.get('early_drop', 0) if a.losses else 0
    if a.losses and evicted:
        yield (f'evicted: {count(evicted, "unassured entry")} gave way to new ones in the last '
               f'{duration(a.losses.span)}: the table was full, half-open connections were cut')


def insert_failed(a: Assessment, options: Options, _trouble: bool) -> Iterator[str]:
    if not a.losses or isinstance(a.snapshot.counters, Missing):
        return
    span = duration(a.losses.span)
    failed = a.losses.clashes
    if failed and insert_failed_is_loss(a.snapshot.counters):
        yield (f'insert_failed: {failed} in the last {span} ({rate(a.losses.rate(failed))}): '
               'connections that clashed, such as two DNS queries from one port, and lost a packet each')
    elif failed:
        yield (f'insert_failed: {failed} in the last {span}; this kernel counts solved clashes in it, too: '
               + ('judged because you asked' if options.requested('insert_failed') else 'not judged by default'))


def kernel_log(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if isinstance(a.log, Missing):
        return
    flooded = f'; {FLOODED}' if a.log.flooded else ''
    if a.log.ages:
        text = f'kernel log: {count(len(a.log.ages), "table-full line")} in the last {duration(a.log.span)}, ' \
               f'the newest {duration(a.log.ages[-1])} ago'
        if a.log.suppressed:
            text += f'; {count(a.log.suppressed, "more network message")} suppressed'
        yield f'{text} (rate-limited: lines are not packets){flooded}'
    elif not isinstance(a.snapshot.kernel_log, Missing):
        text = f'kernel log: no table-full line in the last {duration(a.log.span)}'
        if a.log.suppressed:
            text += f', but {count(a.log.suppressed, "network message")} suppressed'
        yield text + flooded
    if a.log.elsewhere:
        owners = ', '.join(OWNERS.get(inode, f'network namespace {inode}')
                           for inode in list(a.log.elsewhere)[:MOST_OWNERS])
        more = f' and {len(a.log.elsewhere) - MOST_OWNERS} more' if len(a.log.elsewhere) > MOST_OWNERS else ''
        lines = count(sum(a.log.elsewhere.values()), 'table-full line')
        yield f'kernel log: {lines} of {owners}{more}: not judged here'


def settings(a: Assessment, _options: Options, _trouble: bool) -> Iterator[str]:
    if not isinstance(a.settings, Missing):
        yield from (f'settings: {drift}; {drift.remedy}' for drift in a.settings)
