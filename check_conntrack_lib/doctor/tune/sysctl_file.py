"""The sysctl.d file that `tune` proposes: every value with the old one, the reason and the date."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...analysis.mitigations import MEMORY
from ...formatting import clean, local_time, size_text
from ...model import Missing
from ...namedtuples import NamedTuple
from ...readers.processes import SysctlSetter
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
    #: why the line is only a comment until the administrator decides; '' for what is safe
    commented_because: str = ''


def values(plan: Plan) -> Iterator[Value]:
    """What would change."""
    table, size = plan.readings.table, plan.size
    buckets = None if isinstance(table.buckets, Missing) else table.buckets
    short = _short_of_memory(plan)
    if size.buckets > (buckets or 0) and plan.limit.by_sysctl:
        # first: a larger table in a small hash drops packets
        yield Value('net.netfilter.nf_conntrack_buckets', buckets, size.buckets, 'one bucket per entry', short)
    if size.maximum != table.maximum:
        yield Value('net.netfilter.nf_conntrack_max', table.maximum, size.maximum, why_size(plan),
                    short or ('without a limit nothing is dropped' if table.unlimited else ''))
    for p in plan.timeouts:
        yield Value(f'net.netfilter.nf_conntrack_{p.name}', p.now, p.proposed,
                    f'frees about {p.share.value:.1%} of the table; risk: {p.risk}',
                    commented_because='it can cut connections in use' if p.risky else '')


def _short_of_memory(plan: Plan) -> str:
    """Why this host cannot hold a full table of the proposed size; '' if it can."""
    more, available = plan.size.more, plan.readings.available
    if isinstance(available, Missing):
        return ''
    return (f'a full table would take {size_text(more)} more, {size_text(available)} are available'
            if more > MEMORY * available else '')


def why_size(plan: Plan) -> str:
    """The peak behind the size."""
    peak = plan.peak
    when = time.strftime('%Y-%m-%d %H:%M', time.localtime(peak.at))
    return (f'the peak of {peak.entries} entries ({when}, {peak.days:.1f} days recorded) fills '
            f'{peak.entries / plan.size.maximum:.0%} of it')


def text(plan: Plan, expires: float | None) -> str:
    """The file, for sysctl -p; expires: seconds until the values shall be taken back."""
    r = plan.readings
    date, zone = local_time('%Y-%m-%d', r.at), local_time('%Z', r.at)
    note = '' if expires is None else time.strftime('# expires: %Y-%m-%d %H:%M', time.localtime(r.at + expires))
    lines = [f'# conntrack-doctor tune, {date}, {clean(r.node)}',
             f'# Save as {FILE}, apply with: sysctl -p {FILE}',
             '# sysctl.d has no effect if applied before the module is loaded; load it first:',
             f'#   echo nf_conntrack > {MODULES}']
    if note:
        lines.append(f'# Temporary: check_conntrack warns when the date has passed (times in {zone}). '
                     'Then restore the old values.')
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
        if value.commented_because:
            lines.append(f'# Commented out because {value.commented_because}. Uncomment to apply.')
        lines += [note] if note else []
        lines.append(f'{"#" if value.commented_because else ""}{value.key} = {value.new}')
    if not changes:
        lines += ['', '# No change needed.']
    return '\n'.join(lines) + '\n'


def hindrances(plan: Plan) -> Iterator[str]:
    """Who else sets these values, and where they cannot be set."""
    r = plan.readings
    for setter in r.setters:
        yield setter_line(setter)
    if not r.initial:
        where = f'a container ({r.container})' if r.container else 'not the initial network namespace'
        yield (f'this is {where}: nf_conntrack_max and nf_conntrack_buckets are for the host to set, and its sysctl.d '
               'does not reach the timeouts in here')
    elif r.container:
        yield f'this is a container ({r.container}) with the network of its host: the files belong on the host'


def setter_line(setter: SysctlSetter) -> str:
    """What a process that sets sysctls itself would undo, and its own options for that."""
    given = f', {" ".join(setter.settings)}' if setter.settings else ''
    return (f'{setter.name} (pid {setter.pid}{given}) sets nf_conntrack_max, tcp_timeout_established and '
            'tcp_timeout_close_wait whenever it starts: set its conntrack.min and maxPerCore (--conntrack-min, '
            '--conntrack-max-per-core; 0 and 0 leave the maximum alone) and its timeouts instead')
