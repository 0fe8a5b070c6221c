"""The report of `tune`: the same advice for a reader, and for a machine."""

from __future__ import annotations

import json
import re
import textwrap
import time
from collections.abc import Iterator
from typing import Any

from ...analysis import notrack, timeouts
from ...analysis.hash_chains import others_have_many
from ...analysis.sizing import FEW_DAYS
from ...defaults import DAY
from ...formatting import clean, duration, local_time, percent, size_text
from ...model import Missing
from ..common_options import SCHEMA_VERSION
from ..json_values import plain
from . import rate_lines, sysctl_file
from .plan import Plan, Recorded

#: more memory than this part of what is available is worth a warning
MUCH = 0.25
WIDTH = 110


def text(plan: Plan) -> str:
    """The whole report."""
    r = plan.readings
    inside = f', {clean(r.target.title)}' if r.target.title else ''
    lines = [f'conntrack-doctor tune: {clean(r.node)}{inside}, kernel {clean(r.release)}, '
             f'{local_time("%Y-%m-%d %H:%M %Z", r.at)}']
    for title, part in (('Find the cause first', _first(plan)), ('Size', _size(plan)),
                        ('New connections', rate_lines.rates(plan)), ('NAT ports', rate_lines.nat_ports(plan)),
                        ('Timeouts', _timeouts(plan)),
                        ('Bypass', _bypass(plan)), ('Make it permanent', _keep(plan)), ('Alerts', _alerts(plan))):
        found = list(part)
        if found:
            lines += ['', title, *(row for line in found for row in _rows(line))]
    return '\n'.join(lines) + '\n'


def _rows(line: str) -> list[str]:
    """A line of the report, folded where it is long; rules and commands stay as they are."""
    if len(line) <= WIDTH or not line.strip() or line.lstrip().startswith(('#', 'sudo ', 'undo: ')):
        return [f'  {line}'.rstrip()]
    # what follows a label stands below what it labels
    label = re.match(r' *(?:[a-z]+ {2,})?', line)
    indent = ' ' * (2 + (label.end() if label else 0))
    return textwrap.wrap(f'  {line}', WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _first(plan: Plan) -> Iterator[str]:
    yield from plan.first
    if plan.first:
        yield 'a larger table would only hide this'


def _size(plan: Plan) -> Iterator[str]:
    r, size, peak = plan.readings, plan.size, plan.peak
    buckets = r.table.buckets
    limit = f'nf_conntrack_max {r.table.maximum}'
    yield (f'now        {r.table.entries} entries, '
           f'{f"{percent(r.table.usage)} of {limit}" if not r.table.unlimited else f"no limit ({limit})"}, '
           f'nf_conntrack_buckets {"unknown" if isinstance(buckets, Missing) else buckets}')
    yield f'peak       {_peak(plan)}'
    if peak.cut_off:
        yield '           the table was full at that time: actual demand may be higher'
    changed = size.maximum != r.table.maximum
    yield (f'proposed   nf_conntrack_max = {size.maximum}{"" if changed else " (as it is)"}, '
           f'nf_conntrack_buckets = {size.buckets}{"" if size.buckets != buckets else " (as it is)"}')
    yield f'           the peak fills {peak.entries / size.maximum:.0%} of it'
    if r.table.unlimited:
        yield '           without a limit, a flood takes all of the memory'
    yield f'hash       {_hash(plan)}'
    yield from _memory(plan)


def _peak(plan: Plan) -> str:
    recorded, peak = plan.readings.recorded, plan.peak
    if not isinstance(recorded, Recorded):
        remedy = f'; {recorded.remedy}' if recorded.remedy else ''
        return f'{peak.entries} entries (now): {clean(recorded.why)}{clean(remedy)}'
    when = time.strftime('%Y-%m-%d %H:%M', time.localtime(peak.at))
    said = (f'{peak.entries} entries, {when}, maximum of {duration(peak.days * DAY)} of history '
            f'({peak.samples} samples)')
    if recorded.peak == peak and recorded.netns != plan.readings.netns:
        said += f', in {clean(recorded.name) or f"network namespace {recorded.netns}"}'
    return said if peak.days >= FEW_DAYS else said + '; at least one week is recommended'


def _hash(plan: Plan) -> str:
    limit, table = plan.limit.entries_per_bucket, plan.readings.table
    if limit is None:
        return 'this kernel has no limit for hash chains: more than 8 entries per bucket only cost time'
    said = f'this kernel silently drops new connections above about {plan.limit} entries per bucket'
    if isinstance(table.buckets, Missing) or not table.buckets:
        return said
    ratio = table.maximum / table.buckets
    everywhere = plan.readings.all_entries
    if not isinstance(everywhere, Missing) and others_have_many(table.entries, everywhere):
        said += f' (now {everywhere / table.buckets:.1f}, with those of other network namespaces)'
    elif isinstance(everywhere, Missing):
        said += ' of the hash table that all network namespaces share (others are not seen)'
    return said + (f'; with {ratio:.1f} when full, packets are dropped from {round(limit * table.buckets)} entries on, '
                   'before the table is full' if ratio > limit else f', this table has {ratio:.1f} when full')


def _memory(plan: Plan) -> Iterator[str]:
    size, available = plan.size, plan.readings.available
    how = 'measured' if size.measured else 'estimated: only root reads /proc/slabinfo'
    yield (f'memory     {size_text(size.memory)} when full ({size.entry:.0f} bytes per entry, {how}), '
           f'{size_text(size.more)} more than now; each network namespace can use as much')
    if isinstance(available, Missing):
        yield f'           memory available: unknown ({clean(available.why)})'
    elif size.more > available:
        yield f'           only {size_text(available)} available: shorten timeouts or add memory first'
    else:
        much = ', a large part of it' if size.more > MUCH * available else ''
        yield f'           {size_text(available)} available{much}'


def _timeouts(plan: Plan) -> Iterator[str]:
    r = plan.readings
    if isinstance(r.profile, Missing):
        yield f'not counted: {clean(r.profile.why)}{"; " if r.profile.remedy else ""}{clean(r.profile.remedy)}'
        return
    if isinstance(r.timeouts, Missing):
        yield f'not counted: {clean(r.timeouts.why)}'
        return
    if r.profile.offloaded:
        share = r.profile.share(r.profile.offloaded)
        names = ', '.join(f'{name} {value} s' for name, value in r.flowtable_timeouts.items()) or '30 s of silence'
        yield (f'offloaded: {_share(share)} of the table; the flowtable keeps their time ({names}), not the '
               'timeouts below')
    if not plan.timeouts:
        yield f'no change would free {timeouts.LEAST:.0%} of the table'
        return
    yield f'{"nf_conntrack_...":28}{"now":>8}{"proposed":>10}{"frees":>10}{"of the table":>20}'
    for p in plan.timeouts:
        yield f'{p.name:28}{p.now:8}{p.proposed:10}{p.freed:10}{_share(p.share):>20}'
        yield f'    {p.risk}{" (in the drop-in only as a comment)" if p.risky else ""}'
        if p.foreign:
            yield ('    many of these have a longer timeout: a timeout policy of a rule, or a value changed '
                   'recently; the number is an estimate')
    if len(plan.timeouts) > 1:
        both = timeouts.total(r.profile, plan.timeouts)
        yield f'{"together":28}{"":18}{round(both.value * r.profile.entries):10}{_share(both):>20}'
    longest = max(plan.timeouts, key=lambda p: p.now)
    yield (f'counted in {r.profile.seen} of {r.profile.entries} entries; existing entries keep their timeout; '
           f'full effect {longest.until_then}')


def _bypass(plan: Plan) -> Iterator[str]:
    if not plan.candidates:
        yield why_no_bypass(plan) or 'no service without NAT is large enough'
    for c in plan.candidates:
        servers = ', '.join(c.addresses) if c.addresses else 'any server'
        yield f'{c.name} ({c.key}): {_share(c.share)} of the table, {servers}'
    for refused in plan.refused:
        name = refused.name if refused.name == str(refused.key) else f'{refused.name} ({refused.key})'
        yield f'not bypassed: {name}, {_share(refused.share)} of the table: {refused.why}'
    if plan.candidates:
        yield from (f'careful: {line}' for line in notrack.warnings(plan.candidates))
        yield ''
        yield from notrack.nft(plan.candidates).replace('\t', '    ').splitlines()
        yield ''
        for version, tool in ((4, 'iptables'), (6, 'ip6tables')):
            if notrack.iptables(plan.candidates, version):
                yield f'the same for {tool}: conntrack-doctor tune --rules {tool}'


def why_no_bypass(plan: Plan) -> str:
    """Why there are no candidates; '' if there are."""
    profile = plan.readings.profile
    if isinstance(profile, Missing):
        return clean(profile.why)
    return '' if plan.candidates else 'no service without NAT is large enough'


def _keep(plan: Plan) -> Iterator[str]:
    yield f'conntrack-doctor tune --drop-in >{sysctl_file.FILE}  (--expires 48h: temporary)'
    yield f'echo nf_conntrack >{sysctl_file.MODULES}  (sysctl.d is applied before the module is loaded)'
    yield from sysctl_file.hindrances(plan)


def _alerts(plan: Plan) -> Iterator[str]:
    yield f'check_conntrack -w {plan.warning} -c {plan.critical}'
    yield f'vars.conntrack_warning = "{plan.warning}"'
    yield f'vars.conntrack_critical = "{plan.critical}"'


def as_json(plan: Plan, expires: float | None) -> str:
    """Everything."""
    record = {'schema_version': SCHEMA_VERSION, **plain(plan)}
    record['drop_in'] = sysctl_file.text(plan, expires)
    record['rules'] = {'nft': notrack.nft(plan.candidates), 'iptables': notrack.iptables(plan.candidates, 4),
                       'ip6tables': notrack.iptables(plan.candidates, 6),
                       'warnings': list(notrack.warnings(plan.candidates))} if plan.candidates else None
    return json.dumps(record, indent=2)


def _share(share: Any) -> str:
    return f'{share.value:.1%} +-{share.margin * 100:.1f}'
