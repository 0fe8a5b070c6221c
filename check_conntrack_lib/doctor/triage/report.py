"""The screen of `triage`: one fact a line, then what contains the incident."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...analysis import incident, mitigations
from ...analysis.incident import Action
from ...analysis.losses import Losses
from ...analysis.profile import Key, Profile
from ...analysis.state_notes import meaning_of
from ...defaults import CRITICAL
from ...diagnosis import Diagnosis
from ...formatting import FLOODED, clean, count, duration, growth, percent, rate, share_text
from ...history.profiles import Baseline
from ...model import Missing
from ..terminal import StyledLine, TextLayout
from .reading import TriageReadings

TOP = 4
#: a talker with less is noise
LEAST = 0.01
#: a CPU that spends more of its time in softirqs has no reserve left
BUSY = 0.7
MOST_CPUS = 8


def text(scene: TriageReadings, paper: TextLayout) -> str:
    """The whole screen."""
    stamp = time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(scene.assessment.snapshot.at.wall))
    host = f'{clean(scene.node or "?")}, kernel {clean(scene.release or "?")}'
    rows = list(map(paper.bold, paper.fold(f'conntrack-doctor triage: {host}, {stamp}')))
    for part in (_role, _usage, _losses, _log, _changed, _state, _hash, _softirqs):
        rows += [row for line in part(scene) for row in paper.rows(line)]
    rows += _top_sources(scene, paper)
    rows += [row for part in (_processes, _missing) for line in part(scene) for row in paper.rows(line)]
    found = mitigations.actions(scene.picture)
    if not found:
        return '\n'.join([*rows, '', *paper.fold(f'What to do: {mitigations.why_none(scene.picture)}')]) + '\n'
    rows += ['', *map(paper.bold, paper.fold('What to do, the safest first (nothing of it is done yet):'))]
    for place, move in enumerate(found, 1):
        rows += _move(place, move, paper)
    rows += paper.fold('Then: conntrack-doctor watch shows whether it helps, conntrack-doctor tune what to keep.')
    return '\n'.join(rows) + '\n'


def _move(place: int, move: Action, paper: TextLayout) -> Iterator[str]:
    yield from map(paper.bold, paper.fold(move.title, '   ', f'{place}. '))
    for command in move.commands:
        # to be pasted as it is: never folded
        yield from (f'     {row}' for row in command.split('\n'))
    yield from paper.fold(f'risk: {move.risk}', '   ')
    if move.undo:
        yield f'   undo: {move.undo}'


def _role(scene: TriageReadings) -> Iterator[StyledLine]:
    profile = scene.picture.profile
    if profile is None:
        return
    source, destination = profile.share(profile.snat).value, profile.share(profile.dnat).value
    nat = f'{share_text(source)} source NAT, {share_text(destination)} destination NAT'
    roles = scene.roles
    if isinstance(roles, Missing):
        yield StyledLine('role', f'{"translates addresses" if profile.nat else "no NAT"}: {nat}')
        return
    parts = {'forwards': roles.forwarded, 'serves': roles.served, 'opens': roles.open_database, 'within': roles.within}
    said = ', '.join(f'{name} {share_text(roles.share(seen))}' for name, seen in parts.items() if seen)
    yield StyledLine('role', f'{roles.name}: {said}; {nat}')


def _usage(scene: TriageReadings) -> Iterator[StyledLine]:
    table, a = scene.table, scene.assessment
    if table.unlimited:
        said = f'{count(table.entries, "entry")}, no limit (nf_conntrack_max is {table.maximum})'
    else:
        said = f'{percent(table.usage)} used ({table.entries} of {table.maximum})'
    if a.forecast:
        said += f', {growth(a.forecast.growth)}'
        if a.forecast.to_full is not None:
            said += f', full in {duration(a.forecast.to_full)}' if a.forecast.to_full else ', full'
    elif scene.now:
        said += f', {scene.now.entries:+d} in the last {duration(scene.now.span)} (no trend yet)'
    bad = incident.crowded(scene.picture)
    yield StyledLine('usage', said, bad + (bad and table.usage >= CRITICAL))


def _losses(scene: TriageReadings) -> Iterator[StyledLine]:
    a = scene.assessment
    now = ''
    if scene.now and scene.now.losses:
        now = f'; just now {rate(scene.now.losses.rate(scene.now.losses.lost))}'
    if a.losses is None:
        if isinstance(a.snapshot.counters, Missing):
            return
        counters = a.snapshot.counters
        total = Losses(0.0, {name: counters.total(name) for name in counters.per_cpu}).lost
        yield StyledLine('losses', f'{count(total, "packet")} since this namespace was made{now}', 1 if total else 0)
        return
    since = _clock(a.snapshot.at.wall - a.losses.span, a.snapshot.at.wall)
    span = f'since {since} ({duration(a.losses.span)})'
    packets = a.losses.packets
    if not a.losses.lost:
        yield StyledLine('losses', f'none {span}' + (', but for clashes' if packets['drop'] else '') + now)
    else:
        causes = {'drop': a.losses.dropped, 'chaintoolong': packets.get('chaintoolong', 0)}
        parts = ', '.join(f'{number} {name}' for name, number in causes.items() if number)
        yield StyledLine('losses', f'{count(a.losses.lost, "packet")} {span}, '
                                   f'{rate(a.losses.rate(a.losses.lost))} ({parts})'
                             f'{now}', 2)
    if packets.get('early_drop'):
        yield StyledLine('', f'{count(packets["early_drop"], "unassured entry")} evicted to make room', 1)
    if a.losses.clashes:
        yield StyledLine('', f'insert_failed {a.losses.clashes} times: connections that clashed', 1)


def _log(scene: TriageReadings) -> Iterator[StyledLine]:
    log, at = scene.assessment.log, scene.assessment.snapshot.at.wall
    if isinstance(log, Missing):
        return
    flooded = f'; {FLOODED}' if log.flooded else ''
    if not log.ages:
        yield StyledLine('log', f'no table-full line in the last {duration(log.span)}{flooded}')
        return
    first, newest = _clock(at - log.ages[0], at), _clock(at - log.ages[-1], at)
    times = f'at {first}' if len(log.ages) == 1 else f'from {first} to {newest}'
    more = f'; {log.suppressed} more network messages suppressed' if log.suppressed else ''
    yield StyledLine('log', f'{count(len(log.ages), "table-full line")} {times}{more}{flooded}', 2)


def _changed(scene: TriageReadings) -> Iterator[StyledLine]:
    why = scene.diagnosis
    if isinstance(why, Missing):
        return
    if isinstance(why.baseline, Missing):
        if not isinstance(scene.assessment.history, Missing):
            yield StyledLine('changed', f'unknown, {clean(why.baseline.why)}')
        return
    label = 'changed'
    for one in why.growth:
        source = f', most from {one.source}' if one.source else ''
        yield StyledLine(label, f'{one.key}: {share_text(one.before)} -> {share_text(one.now)} of the table '
                                f'({one.entries:+d} entries){_since(why.baseline, why.at)}{source}', 1)
        label = ''
    if not why.growth:
        yield StyledLine(label, 'no single service, destination or source explains the growth')


def _since(baseline: Baseline, at: float) -> str:
    return ' since more than a day' if baseline.since is None else f' since {_clock(baseline.since, at)}'


def _state(scene: TriageReadings) -> Iterator[StyledLine]:
    profile = scene.picture.profile
    if profile is None:
        return
    (protocol, state), seen = max(profile.states.items(), key=lambda item: item[1])
    share, meaning = profile.share(seen), meaning_of(profile, protocol, state)
    said = f'{share_text(share.value)} is {Key(protocol)} {state}'.rstrip() + (f': {meaning}' if meaning else '')
    yield StyledLine('state', said)
    how = f'{profile.seen} of {profile.entries} entries seen, +-{share.margin * 100:.1f}%' if share.margin \
        else f'all {profile.seen} entries seen'
    yield StyledLine('', f'{share_text(profile.share(profile.assured).value)} is assured and never gives way, '
                   f'{share_text(profile.share(profile.unreplied).value)} never answered ({how})')


def _hash(scene: TriageReadings) -> Iterator[StyledLine]:
    load, limit = incident.load_of(scene.table), scene.picture.limit.entries_per_bucket
    if load is None:
        return
    said = f'{load:.1f} entries a bucket'
    if not scene.table.unlimited:
        full = incident.load_of(scene.table._replace(entries=scene.table.maximum))
        said += f', {full:.1f} when full'
    if scene.release:
        said += '; this kernel has no limit for hash chains' if limit is None else \
            f'; this kernel refuses new ones above about {limit:g}'
    yield StyledLine('hash', said, 2 * incident.chains_too_long(scene.picture))


def _softirqs(scene: TriageReadings) -> Iterator[StyledLine]:
    if isinstance(scene.softirqs, Missing) or not scene.softirqs:
        return
    ranked = sorted(scene.softirqs.items(), key=lambda item: (-item[1], item[0]))
    said = ', '.join(f'cpu{cpu} {share:.0%}' for cpu, share in ranked[:MOST_CPUS])
    if len(ranked) > MOST_CPUS:
        said += f', {len(ranked) - MOST_CPUS} others less'
    busy = sum(share >= BUSY for _cpu, share in ranked)
    if busy:
        said += ': no reserve there, packets may be lost before conntrack sees them'
    yield StyledLine('softirq', said, 1 if busy else 0)


def _top_sources(scene: TriageReadings, paper: TextLayout) -> list[str]:
    profile = scene.picture.profile
    if profile is None:
        return []
    columns = [(title, [f'{name} {share_text(share)}' for name, share in top(profile, sort)])
               for title, sort in (('source', 'sources'), ('target', 'destinations'), ('port', 'services'))]
    if not any(cells for _title, cells in columns):
        return paper.rows(StyledLine('top', 'no address or port has 1% of the table'))
    return paper.columns('top', columns)


def top(profile: Profile, sort: str) -> list[tuple[str, float]]:
    """The most frequent keys of a sort, in short, with their shares of the table."""
    shares = ((key, profile.share(seen).value) for key, seen in getattr(profile, sort)[:TOP])
    return [(str(key).removeprefix('from ').removeprefix('to ').replace(' port ', ' '), share)
            for key, share in shares if share >= LEAST]


def _processes(scene: TriageReadings) -> Iterator[StyledLine]:
    why = scene.diagnosis
    if isinstance(why, Diagnosis) and not isinstance(why.owners, Missing) and why.owners:
        names = ', '.join(f'{one.name} (pid {one.pid}) {count(one.sockets, "socket")}' for one in why.owners)
        yield StyledLine('processes', f'{share_text(why.local)} starts at this host: {names}')


def _missing(scene: TriageReadings) -> Iterator[StyledLine]:
    label = 'not known'
    for name, missing in scene.missing().items():
        remedy = f'; {clean(missing.remedy)}' if missing.remedy else ''
        yield StyledLine(label, f'{name}: {clean(missing.why)}{remedy}')
        label = ''


def _clock(moment: float, at: float) -> str:
    then = time.localtime(moment)
    return time.strftime('%H:%M:%S' if then[:3] == time.localtime(at)[:3] else '%Y-%m-%d %H:%M:%S', then)
