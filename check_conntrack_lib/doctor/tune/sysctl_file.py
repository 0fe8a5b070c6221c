"""The sysctl.d file: every value with the old one, the reason and the date."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...formatting import clean
from ...model import Missing
from ...namedtuples import NamedTuple
from ...readers.keepers import SysctlSetter
from .plan import Plan

FILE = '/etc/sysctl.d/99-conntrack.conf'
MODULES = '/etc/modules-load.d/nf_conntrack.conf'


class Value(NamedTuple):
    """One line of the file."""

    #: with dots
    key: str
    old: int | None
    new: int
    why: str
    #: why it is only a comment until somebody decides; '' for what is safe
    asked: str = ''


def values(plan: Plan) -> Iterator[Value]:
    """What would change."""
    table, size = plan.readings.table, plan.size
    buckets = None if isinstance(table.buckets, Missing) else table.buckets
    if size.buckets > (buckets or 0) and plan.limit.by_sysctl:
        # first: a larger table in a small hash loses packets
        yield Value('net.netfilter.nf_conntrack_buckets', buckets, size.buckets, 'one bucket for each entry')
    if size.maximum != table.maximum:
        yield Value('net.netfilter.nf_conntrack_max', table.maximum, size.maximum, why_size(plan),
                    asked='without a limit nothing is refused' if table.unlimited else '')
    for p in plan.timeouts:
        yield Value(f'net.netfilter.nf_conntrack_{p.name}', p.now, p.proposed,
                    f'frees about {p.share.value:.1%} of the table; risk: {p.risk}',
                    asked='it cuts connections that may be in use' if p.risky else '')


def why_size(plan: Plan) -> str:
    """The peak behind the size."""
    peak = plan.peak
    when = time.strftime('%Y-%m-%d %H:%M', time.localtime(peak.at))
    return (f'the peak of {peak.entries} entries ({when}, {peak.days:.1f} days recorded) fills '
            f'{peak.entries / plan.size.maximum:.0%} of it')


def text(plan: Plan, expires: float | None) -> str:
    """The file, for sysctl -p; expires: seconds until the values shall be taken back."""
    r = plan.readings
    date = time.strftime('%Y-%m-%d', time.localtime(r.at))
    note = '' if expires is None else time.strftime('# expires: %Y-%m-%d %H:%M', time.localtime(r.at + expires))
    lines = [f'# conntrack-doctor tune, {date}, {clean(r.node)}',
             f'# Save as {FILE}, apply by: sysctl -p {FILE}',
             '# At boot it is applied before the module is loaded, and in vain, unless that is loaded first:',
             f'#   echo nf_conntrack > {MODULES}']
    if note:
        lines.append('# Temporary: check_conntrack warns when the date has passed. Then set the old values again.')
    lines += [f'# {line}' for line in hindrances(plan)]
    if plan.size.buckets and not plan.limit.by_sysctl:
        lines += ['# This kernel takes the buckets as a parameter of the module only:',
                  f'#   echo {plan.size.buckets} > /sys/module/nf_conntrack/parameters/hashsize',
                  f'#   echo options nf_conntrack hashsize={plan.size.buckets} > /etc/modprobe.d/nf_conntrack.conf']
    changes = list(values(plan))
    for value in changes:
        old = '?' if value.old is None else value.old
        name = value.key.rpartition('.')[2]
        lines += ['', f'# {name}: {old} -> {value.new}, {date}: {value.why}']
        if value.asked:
            lines.append(f'# Not set as long as it is a comment: {value.asked}.')
        lines += [note] if note else []
        lines.append(f'{"#" if value.asked else ""}{value.key} = {value.new}')
    if not changes:
        lines += ['', '# Nothing needs to change.']
    return '\n'.join(lines) + '\n'


def hindrances(plan: Plan) -> Iterator[str]:
    """Who else sets these values, and where they cannot be set."""
    r = plan.readings
    for keeper in r.keepers:
        yield setter_line(keeper)
    if not r.initial:
        where = f'a container ({r.container})' if r.container else 'not the initial network namespace'
        yield (f'this is {where}: nf_conntrack_max and nf_conntrack_buckets are for the host to set, and its sysctl.d '
               'does not reach the timeouts in here')
    elif r.container:
        yield f'this is a container ({r.container}) with the network of its host: the files belong on the host'


def setter_line(keeper: SysctlSetter) -> str:
    given = f', {" ".join(keeper.settings)}' if keeper.settings else ''
    return (f'{keeper.name} (pid {keeper.pid}{given}) sets nf_conntrack_max, tcp_timeout_established and '
            'tcp_timeout_close_wait whenever it starts: set its conntrack.min and maxPerCore (--conntrack-min, '
            '--conntrack-max-per-core; 0 and 0 leave the maximum alone) and its timeouts instead')
