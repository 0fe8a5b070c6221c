"""The long output: one line a finding, each a fact and its consequence, and the one command to look further."""

from __future__ import annotations

from collections.abc import Iterator

from ..analysis.losses import INITIAL, UNNAMED, insert_failed_is_loss
from ..assessment import Assessment
from ..formatting import FLOODED, clean, count, duration, growth, percent, rate
from ..model import History, Missing, NotLoaded, Table
from .first_line import is_full

# no pipe in it: Icinga and Nagios take what follows one for performance data, on every line
LOOK_AT_TABLE = 'sudo conntrack-doctor triage'
OWNERS = {INITIAL: 'the initial network namespace',
          UNNAMED: 'some other network namespace, as this one has dropped nothing'}
#: namespaces named of those that the log says are full
MOST_OWNERS = 3


def lines(a: Assessment) -> list[str]:
    """Every line there is to say, in reading order."""
    if isinstance(a.snapshot.table, NotLoaded):
        return ['a firewall rule with connection state loads it, so does modprobe nf_conntrack; '
                'where none is expected, --not-loaded ok says so']
    if isinstance(a.snapshot.table, Missing):
        return []
    return [*_table(a, a.snapshot.table), *_lost(a), *_counters(a), *_log(a), *_settings(a), *_recorder(a),
            *_unreadable(a)]


def command(a: Assessment) -> str:
    """The one command that shows more."""
    if a.losses and a.losses.packets.get('chain_too_long', 0) > a.losses.dropped:
        return 'look further: sysctl net.netfilter.nf_conntrack_buckets net.netfilter.nf_conntrack_count'
    return f'look further: {LOOK_AT_TABLE}'


def _table(a: Assessment, table: Table) -> Iterator[str]:
    if table.unlimited:
        text = f'table: {count(table.entries, "entry")}; nf_conntrack_max is {table.maximum}: only memory limits it'
    else:
        text = f'table: {percent(table.usage)} of nf_conntrack_max: {table.entries} of {table.maximum} entries'
    if not isinstance(table.buckets, Missing) and table.buckets > 0:
        text += f', {table.entries / table.buckets:.1f} a bucket'
    yield text
    if a.forecast:
        text = f'trend: {growth(a.forecast.growth)}'
        if a.forecast.to_full and a.forecast.to_critical is not None:
            critical, full = duration(a.forecast.to_critical), duration(a.forecast.to_full)
            text += (f', at the critical line in {critical}' if a.forecast.to_critical else '') + f', full in {full}'
        if a.forecast.to_critical and a.forecast.lasting is False:
            text += '; judged when it has lasted longer'
        yield text


def _lost(a: Assessment) -> Iterator[str]:
    if not a.losses:
        return
    span = duration(a.losses.span)
    if not a.losses.lost:
        yield f'losses: no packet lost in the last {span}' + (', but for clashes' if a.losses.packets['drop'] else '')
        return
    dropped, too_long = a.losses.dropped, a.losses.packets.get('chain_too_long', 0)
    text = f'losses: {count(a.losses.lost, "packet")} in the last {span} ({rate(a.losses.rate(a.losses.lost))})'
    if a.losses.across:
        text += f', counted on across {a.losses.across}'
    if dropped:
        text += f'; {dropped} dropped: {_why_dropped(a)}'
    if too_long:
        text += f'; {too_long} refused: hash chain too long, raise nf_conntrack_buckets'
    yield text


def _why_dropped(a: Assessment) -> str:
    if is_full(a):
        return 'no room for a new entry'
    # a kernel without clash_resolve does not tell the clashes that cost a packet from the others
    clashes = ', connections clashed' if a.losses and a.losses.clashes >= a.losses.dropped else ''
    return f'the table was full for a moment{clashes}, or memory was short'


def _counters(a: Assessment) -> Iterator[str]:
    if not a.losses or isinstance(a.snapshot.counters, Missing):
        return
    span = duration(a.losses.span)
    evicted = a.losses.packets.get('early_drop', 0)
    if evicted:
        yield (f'evicted: {count(evicted, "unassured entry")} gave way to new ones in the last {span}: '
               'the table was full, half-open connections were cut')
    failed = a.losses.clashes
    if failed and insert_failed_is_loss(a.snapshot.counters):
        yield (f'insert_failed: {failed} in the last {span} ({rate(a.losses.rate(failed))}): '
               'connections that clashed, such as two DNS queries from one port, and lost a packet each')
    elif failed:
        yield (f'insert_failed: {failed} in the last {span}; '
               'this kernel counts solved clashes in it: not judged by default')


def _log(a: Assessment) -> Iterator[str]:
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


def _settings(a: Assessment) -> Iterator[str]:
    if not isinstance(a.settings, Missing):
        yield from (f'settings: {drift}; {drift.remedy}' for drift in a.settings)


def _recorder(a: Assessment) -> Iterator[str]:
    if isinstance(a.history, History) and a.history.note:
        yield f'history: {a.history.note}'


def _unreadable(a: Assessment) -> Iterator[str]:
    missing = (('counters', a.snapshot.counters), ('kernel log', a.log), ('history', a.history),
               ('settings', a.settings))
    for name, reading in missing:
        if isinstance(reading, Missing) and not reading.chosen:
            remedy = f'; {clean(reading.remedy)}' if reading.remedy else ''
            yield f'not checked: {name}: {clean(reading.why)}{remedy}'
    if isinstance(a.history, History) and a.history.unwritten:
        yield f'not recorded: {a.history.unwritten}: losses and trend are counted from older samples'
