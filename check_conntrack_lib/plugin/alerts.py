"""Kinds of alerts: the code of each is its section in docs/alerts.md; with it its cause, the next command, and when
it clears. The cause is '' where only the flows can say it (see diagnosis_lines).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from nagiosplugin import Result

from ..analysis.hash_chains import enough_buckets, memory_text
from ..analysis.hysteresis import QUIET, clearing_usage
from ..assessment import Assessment
from ..formatting import clean, clock_time, duration
from ..model import Missing, NotLoaded, Table
from ..namedtuples import TYPE_CHECKING, NamedTuple
from . import nat_lines, other_maximum
from .contexts import troubles
from .phrases import are_chains_too_long, has_room_again, is_full
from .signals import SIGNALS

if TYPE_CHECKING:
    from .options import Options

# no pipe in a command: Icinga and Nagios take what follows one for performance data, on every line
TRIAGE = 'sudo conntrack-doctor triage'
#: entries per bucket from which more buckets are the remedy for long hash chains
TOO_FEW_BUCKETS = 2

NAMES: Mapping[str, str] = {signal.label: signal.name.replace('_', '-') for signal in SIGNALS}


class Alert(NamedTuple):
    """What the state was set by, in the terms of docs/alerts.md."""

    #: the section's anchor, such as 'table-full'
    code: str
    #: '' where the signals themselves do not say it
    cause: str
    #: one command
    next: str
    #: when the state is OK again; '' where that is obvious
    clears: str

    def lines(self) -> list[str]:
        """The first lines of the long output, without the cause."""
        clears = f'; clears {self.clears}' if self.clears else ''
        return [f'next: {self.next}', f'alert: {self.code} (docs/alerts.md#{self.code}){clears}']


def alert(a: Assessment, results: Iterable[Result], options: Options) -> Alert | None:
    """The alert that the worst result is; None when all are OK."""
    # of a namespace of another user only the state is known here
    bad = [result for result in troubles(results) if result.metric.name != 'other_namespaces']
    if not bad:
        return None
    code = _code(a, bad[0])
    cause, command = _cause(a, code), _next(a, code, bad[0], options)
    other = other_maximum.before(a, options) if code in other_maximum.CODES else None
    if other:
        cause, command = other_maximum.cause(a, other), other_maximum.command(a, other) or command
    return Alert(code, cause, command, _clears(a, code, bad[0], options))


def _code(a: Assessment, result: Result) -> str:
    name = result.metric.name
    if isinstance(a.snapshot.table, NotLoaded):
        return 'not-loaded'
    if isinstance(result.metric.value, Missing):
        return 'not-readable'
    if name == 'hash_refused':
        return 'hash-chains'
    if name in ('dropped_per_s', 'table_full_lines', 'early_drop_per_s') and a.losses and a.losses.lost \
            and are_chains_too_long(a):
        return 'hash-chains'
    if name == 'insert_failed_per_s' and nat_lines.are_refused(a):
        return 'nat-ports'
    if name == 'table_full_lines' or (name == 'dropped_per_s' and is_full(a)):
        return 'table-full'
    return NAMES.get(name, 'not-readable')


def _cause(a: Assessment, code: str) -> str:
    table = a.snapshot.table
    if code == 'hash-chains' and isinstance(table, Table) and not isinstance(table.buckets, Missing):
        # all network namespaces share the buckets
        entries = a.hash.entries if a.hash else table.entries
        load = entries / max(table.buckets, 1)
        base = None if isinstance(a.history, Missing) else a.history.base
        if load < TOO_FEW_BUCKETS and base and base.buckets and base.buckets < table.buckets:
            return f'nf_conntrack_buckets was {base.buckets} when packets were dropped, and is {table.buckets} since'
        if load < TOO_FEW_BUCKETS:
            unseen = '' if a.hash and a.hash.all_namespaces else \
                ', or entries of other network namespaces, which share the buckets (only root sees them)'
            return (f'single hash chains are too long although there are {load:.1f} entries per bucket: '
                    f'many flows with the same address and port, or too few buckets at the peak{unseen}')
        whose = ' of all network namespaces' if entries > table.entries else ''
        return f'nf_conntrack_buckets is {table.buckets} for {entries} entries{whose} ({load:.0f} per bucket)'
    if code == 'nat-ports':
        return nat_lines.why(a)
    if code == 'insert-failed':
        return ('two packets tried to create the same entry (DNS A and AAAA queries from one socket), '
                'or SNAT has no free source port')
    if code in ('allowance-exceeded', 'allowance-available'):
        return ("AWS's own table for security groups: rules that need no tracking, shorter idle timeouts or a larger "
                'instance help, nf_conntrack_max does not')
    if code == 'dropped':
        return 'not known from the counters: the table was full for a moment, or memory was short'
    return ''


def _next(a: Assessment, code: str, result: Result, options: Options) -> str:
    table = a.snapshot.table
    value = result.metric.value
    if isinstance(value, Missing) and options.netns != ('current',) and 'not found' in value.why:
        return 'sudo check_conntrack --netns all -v'
    if isinstance(value, Missing) and 'needs root' in value.why:
        from shlex import quote  # only in this alert

        where = '' if options.netns == ('current',) else f' --netns {quote(clean(",".join(options.netns)))}'
        return f'sudo check_conntrack{where} (to run it so always: docs/privileges.md)'
    if code == 'not-loaded':
        return 'systemctl status nftables (or firewalld, ufw, docker: whatever sets up the firewall or NAT here)'
    if code == 'settings' and not isinstance(a.settings, Missing) and a.settings:
        return a.settings[0].command
    entries = a.hash.entries if a.hash else table.entries if isinstance(table, Table) else 0
    if code == 'hash-chains' and isinstance(table, Table) and isinstance(table.buckets, int) and a.snapshot.initial \
            and table.buckets * TOO_FEW_BUCKETS <= entries:
        wanted = enough_buckets(entries, table.maximum)
        return (f'sudo sysctl -w net.netfilter.nf_conntrack_buckets={wanted} '
                f'({memory_text(wanted)} of memory; undo: ={table.buckets})')
    if code == 'table-full' and has_room_again(a):
        # there is nothing left to look at now
        span = a.losses.span if a.losses else a.log.span if not isinstance(a.log, Missing) else 0.0
        begin = time.localtime(a.snapshot.at.wall - span - 600)
        return f"sudo conntrack-doctor history --from '{time.strftime('%Y-%m-%d %H:%M', begin)}'"
    return TRIAGE


def _clears(a: Assessment, code: str, result: Result, options: Options) -> str:
    """When the alert ends, and the option that determines it."""
    window = duration(options.window)
    if a.drops and code in ('table-full', 'dropped'):
        return f'at {clock_time(a.drops.until, a.snapshot.at.wall)} unless more packets are dropped (--clear)'
    if code == 'table-full' and has_room_again(a) and not isinstance(a.log, Missing) and a.log.ages:
        now = a.snapshot.at.wall
        at = clock_time(now - a.log.ages[-1] + options.window, now)
        return f'at about {at} unless more packets are dropped (--window)'
    if result.metric.name == 'hash_refused':
        return 'when there are enough buckets (--hash-warning)'
    if code in ('table-full', 'hash-chains', 'dropped', 'early-drop'):
        return f'{window} after the last {"eviction" if code == "early-drop" else "drop"} (--window)'
    if code == 'usage':
        return _usage_clears(a, options)
    if code == 'growth':
        return f'when the critical threshold is more than {duration(options.horizon)} away (--trend, --horizon)'
    if result.metric.name == 'insert_failed_per_s':
        flag = '--insert-failed-warning'
        return f'below {options.limits["insert_failed"].warning or "the threshold"}/s over {window} ({flag})'
    if code in ('allowance-exceeded', 'linklocal-exceeded'):
        return f'{window} after the last dropped packet (--window)'
    if code == 'settings':
        return 'when file and kernel agree; off: --settings-check off'
    if code == 'not-loaded':
        return 'when the module is loaded; if that is intended: --not-loaded ok (vars.conntrack_not_loaded)'
    if code == 'not-readable':
        return f'when {clean(result.metric.name)} can be read (docs/troubleshooting.md)'
    limits = options.limits.get(code.replace('-', '_'))
    if limits is None:
        return ''
    level, limit = ('warning', limits.warning) if limits.warning else ('critical', limits.critical)
    return f'{_inside(limit)} (--{code}-{level})'


def _inside(limit: str) -> str:
    """'below 60', or '15 or more' for the range '15:'."""
    return f'below {limit}' if limit.isdecimal() else f'at {limit[:-1]} or more' if limit[:-1].isdecimal() and \
        limit.endswith(':') else f'inside the range {limit}'


def _usage_clears(a: Assessment, options: Options) -> str:
    limits = options.limits['usage']
    flag, variable = ('-w', 'warning') if limits.warning else ('-c', 'critical')
    limit = limits.warning or limits.critical
    if a.crossed and a.crossed.times > 1:
        return f'at {clock_time(a.crossed.until, a.snapshot.at.wall)} unless it is crossed again (--clear)'
    if a.crossed and a.crossed.below is not None:
        return f'at {clock_time(a.crossed.until, a.snapshot.at.wall)} unless usage rises again (--clear)'
    if a.crossed and limit.isdecimal():
        lower = clearing_usage(int(limit), options.clear)
        lasting = f' for {duration(QUIET)}' if options.clear else ''
        return f'below {lower:g}%{lasting} ({flag}, --clear; Icinga: vars.conntrack_{variable})'
    below = f'below {limit}%' if limit.isdecimal() else f'inside {limit}'
    return f'{below} ({flag}, Icinga: vars.conntrack_{variable})'
