"""The screen of `triage`: a line per fact, then the actions."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis import incident, mitigations, resources
from ...analysis.commands import within
from ...analysis.incident import Action
from ...analysis.losses import Losses
from ...analysis.nat_ports import CAUSE_TEXT, cause
from ...analysis.profile import Key, Profile
from ...analysis.rates import Opener, about
from ...analysis.state_notes import meaning_of
from ...diagnosis import Diagnosis
from ...diagnosis.named_growth import without_keys
from ...formatting import FLOODED, TABLE_FULL_MESSAGE, clean, clock_time, count, duration, local_time, rate, share_text
from ...history.profiles import Baseline
from ...model import Missing
from ..text_layout import StyledLine, TextLayout
from ..zones_and_bytes import LEAST, bytes_rows, zones_text
from . import resource_lines
from .reading import TriageReadings

#: keys in each list
TOP = 4
#: a source that opens so much of the new connections is named
WORTH = 0.1


def text(readings: TriageReadings, layout: TextLayout) -> str:
    """The whole screen."""
    stamp = local_time('%Y-%m-%d %H:%M:%S %Z', readings.assessment.snapshot.at.wall)
    inside = f', {clean(readings.target.title)}' if readings.target.title else ''
    host = f'{clean(readings.node or "?")}{inside}, kernel {clean(readings.release or "?")}'
    rows = list(map(layout.bold, layout.fold(f'conntrack-doctor triage: {host}, {stamp}')))
    for part in (_role, resource_lines.lines, _losses, _log, _new, _changed, _state):
        rows += [row for line in part(readings) for row in layout.rows(line)]
    rows += _top_sources(readings, layout)
    rows += [row for part in (_names, _processes, _missing) for line in part(readings) for row in layout.rows(line)]
    found = mitigations.actions(readings.facts)
    if not found:
        rows += ['', *layout.fold(f'Actions: {mitigations.why_none(readings.facts)}'), *_lifeline(readings, layout)]
        return '\n'.join(rows) + '\n'
    rows += ['', *map(layout.bold, layout.fold('Actions, least disruptive first (nothing has been changed):'))]
    for place, action in enumerate(found, 1):
        rows += _action(place, action, layout)
    doctor = within('sudo conntrack-doctor', readings.target.enter) if readings.target.enter else 'conntrack-doctor'
    rows += layout.fold(f'Afterwards: {doctor} watch to verify, {doctor} tune for permanent settings.')
    return '\n'.join([*rows, *_lifeline(readings, layout)]) + '\n'


def _lifeline(readings: TriageReadings, layout: TextLayout) -> Iterator[str]:
    """How the monitoring and SSH get through a full table."""
    if readings.lifeline is None:
        return
    yield ''
    yield from map(layout.bold, layout.fold('The way to the monitoring (connections that are open go on, new ones are '
                                          'refused: restart neither the agent nor sshd now)'))
    if isinstance(readings.lifeline, Missing):
        yield from layout.fold(clean(readings.lifeline.why, 400), '   ')
        if 'name the addresses' in readings.lifeline.why:
            yield f'     {readings.lifeline.remedy}'
        return
    yield from layout.fold('rules that keep them out of the table; what to know before is in the lines with #:', '   ')
    yield from (f'     {row}' for row in readings.lifeline.splitlines())


def _action(place: int, action: Action, layout: TextLayout) -> Iterator[str]:
    yield from map(layout.bold, layout.fold(action.title, '   ', f'{place}. '))
    for command in action.commands:
        # to be pasted as it is: never folded
        yield from (f'     {row}' for row in command.split('\n'))
    yield from layout.fold(f'risk: {action.risk}', '   ')
    if action.undo:
        yield f'   undo: {action.undo}'


def _role(readings: TriageReadings) -> Iterator[StyledLine]:
    profile = readings.facts.profile
    if profile is None:
        return
    source, destination = profile.share(profile.snat).value, profile.share(profile.dnat).value
    nat = f'{share_text(source)} source NAT, {share_text(destination)} destination NAT'
    roles = readings.roles
    if isinstance(roles, Missing):
        yield StyledLine('role', f'{"translates addresses" if profile.nat else "no NAT"}: {nat}')
        return
    parts = {'forwards': roles.forwarded, 'serves': roles.served, 'opens': roles.opened, 'local': roles.within}
    said = ', '.join(f'{name} {share_text(roles.share(seen))}' for name, seen in parts.items() if seen)
    yield StyledLine('role', f'{roles.name}: {said}; {nat}')


def _losses(readings: TriageReadings) -> Iterator[StyledLine]:
    a = readings.assessment
    now = ''
    if readings.now and readings.now.losses:
        now = f'; now {rate(readings.now.losses.rate(readings.now.losses.lost))}'
    if a.losses is None:
        if isinstance(a.snapshot.counters, Missing):
            return
        counters = a.snapshot.counters
        total = Losses(0.0, {name: counters.total(name) for name in counters.per_cpu})
        origin = 'the module was loaded' if a.snapshot.initial else 'this namespace was created'
        failed = total.packets['drop'] > total.dropped
        clashed = f', {total.clashes} more by insert_failed (clash or NAT)' if failed else ''
        yield StyledLine('dropped', f'{count(total.lost, "packet")} since {origin}{clashed}{now}',
                         1 if total.lost or clashed else 0)
        return
    since = _clock(a.snapshot.at.wall - a.losses.span, a.snapshot.at.wall)
    span = f'since {since} ({duration(a.losses.span)})'
    packets = a.losses.packets
    if not a.losses.lost:
        yield StyledLine('dropped', f'none{" except clashes" if packets["drop"] else ""} {span}{now}')
    else:
        causes = {'drop': a.losses.dropped, 'chaintoolong': packets.get('chaintoolong', 0)}
        parts = ', '.join(f'{number} {name}' for name, number in causes.items() if number)
        speed = rate(a.losses.rate(a.losses.lost))
        yield StyledLine('dropped', f'{count(a.losses.lost, "packet")} {span}, {speed} ({parts}){now}', 2)
    if packets.get('early_drop'):
        yield StyledLine('', f'{count(packets["early_drop"], "entry")} evicted (early_drop)', 1)
    if a.losses.clashes:
        yield StyledLine('', f'{count(a.losses.clashes, "clash")} (insert_failed): {_failed(readings, a.losses)}', 1)


def _failed(readings: TriageReadings, lost: Losses) -> str:
    return CAUSE_TEXT[cause(lost, resources.fullest(readings.facts))]


def _log(readings: TriageReadings) -> Iterator[StyledLine]:
    log, at = readings.assessment.log, readings.assessment.snapshot.at.wall
    if isinstance(log, Missing):
        return
    flooded = f'; {FLOODED}' if log.flooded else ''
    if not log.ages:
        yield StyledLine('log', f'no "table full" message in the last {duration(log.span)}{flooded}')
        return
    first, newest = _clock(at - log.ages[0], at), _clock(at - log.ages[-1], at)
    times = f'at {first}' if len(log.ages) == 1 else f'from {first.rpartition(" ")[0]} to {newest}'
    more = ' (rate-limited, not a packet count)'
    yield StyledLine('log', f'{count(len(log.ages), TABLE_FULL_MESSAGE)} {times}{more}{flooded}', 2)


def _changed(readings: TriageReadings) -> Iterator[StyledLine]:
    diagnosis = readings.diagnosis
    if isinstance(diagnosis, Missing):
        return
    if isinstance(diagnosis.baseline, Missing):
        if not isinstance(readings.assessment.history, Missing):
            yield StyledLine('cause', f'unknown, {clean(diagnosis.baseline.why)}')
        return
    since = _since(diagnosis.baseline, diagnosis.at)
    for place, one in enumerate(diagnosis.growth):
        yield StyledLine('' if place else 'cause', one.line(diagnosis.profile, since), 1)
    if not diagnosis.growth:
        yield StyledLine('cause', without_keys(diagnosis.profile, diagnosis.baseline, diagnosis.spread, since))


def _since(baseline: Baseline, at: float) -> str:
    return ' for more than a day' if baseline.since is None else f' since {_clock(baseline.since, at)}'


def _new(readings: TriageReadings) -> Iterator[StyledLine]:
    new = readings.facts.rate
    if new is None:
        return
    if not new.counted:
        yield StyledLine('new', f'{about(new.rate)} new connections/s, by the time left of the entries')
        return
    said = f'{new.rate:.0f} new connections/s' if new.rate >= 9.5 else f'{new.rate:.1f} new connections/s'
    if new.refused >= 0.5:
        said += f', and {new.refused:.0f} packets/s refused: about {new.attempts:.0f} attempts/s'
    largest = [(one, new.share(one.seen)) for one in new.openers[:2]]
    named = [f'{one.source} opens {share_text(share)}{_target_of(one)}' for one, share in largest if share >= WORTH]
    yield StyledLine('new', said + (f'; {", ".join(named)}' if named else ''), bool(incident.opener(readings.facts)))


def _target_of(one: Opener) -> str:
    """' (tcp to 192.0.2.1:443)': what a source opens nearly all its connections to; '' for several targets."""
    target = str(one.key._replace(source=''))
    return f' ({target})' if target else ''


def _state(readings: TriageReadings) -> Iterator[StyledLine]:
    profile = readings.facts.profile
    if profile is None or not profile.states:
        return
    (protocol, state), seen = max(profile.states.items(), key=lambda item: item[1])
    share, meaning = profile.share(seen), meaning_of(profile, protocol, state)
    said = f'{share_text(share.value)} is {Key(protocol)} {state}'.rstrip() + (f': {meaning}' if meaning else '')
    yield StyledLine('state', said)
    how = f' (sampled {profile.seen} of {profile.entries}, +-{share.margin * 100:.1f}%)' if share.margin else ''
    or_offloaded = ' or offloaded' if profile.spared else ''
    assured, unreplied = profile.share(profile.assured).value, profile.share(profile.unreplied).value
    yield StyledLine('', f'{share_text(assured)} ASSURED{or_offloaded} (never evicted), '
                         f'{share_text(unreplied)} UNREPLIED{how}')
    zones = zones_text(profile)
    if zones:
        yield StyledLine('zones', zones)


def _top_sources(readings: TriageReadings, layout: TextLayout) -> list[str]:
    profile = readings.facts.profile
    if profile is None:
        return []
    columns = [(title, [f'{name} {share_text(share)}' for name, share in top(profile, sort)])
               for title, sort in (('source', 'sources'), ('target', 'destinations'), ('port', 'services'))]
    if not any(cells for _title, cells in columns):
        return layout.rows(StyledLine('top', 'no address or port exceeds 1%'))
    return layout.columns('top', columns) + bytes_rows(profile, layout)


def top(profile: Profile, sort: str) -> list[tuple[str, float]]:
    """The most frequent keys of a sort, in short, with their shares of the table."""
    shares = ((key, profile.share(seen).value) for key, seen in getattr(profile, sort)[:TOP])
    return [(key.short(), share) for key, share in shares if share >= LEAST]


def _names(readings: TriageReadings) -> Iterator[StyledLine]:
    profile = readings.facts.profile
    if profile is not None and profile.names:
        yield StyledLine('names', ', '.join(f'{address} is {name}' for address, name in profile.names.items()))


def _processes(readings: TriageReadings) -> Iterator[StyledLine]:
    diagnosis = readings.diagnosis
    if isinstance(diagnosis, Diagnosis) and not isinstance(diagnosis.owners, Missing) and diagnosis.owners:
        names = ', '.join(f'{one.name} (pid {one.pid}) {count(one.sockets, "socket")}' for one in diagnosis.owners)
        yield StyledLine('processes', f'{share_text(diagnosis.local)} opened by this host: {names}')


def _missing(readings: TriageReadings) -> Iterator[StyledLine]:
    label = 'unavailable'
    for name, missing in readings.missing().items():
        remedy = f'; {clean(missing.remedy)}' if missing.remedy else ''
        yield StyledLine(label, f'{name}: {clean(missing.why)}{remedy}')
        label = ''


def _clock(moment: float, at: float) -> str:
    return clock_time(moment, at, seconds=True)
