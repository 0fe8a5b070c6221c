"""The diagnosis in words: what the table grew by, what dominates it, and the top source; a line per fact."""

from __future__ import annotations

from collections.abc import Iterator

from ..analysis.profile import OFFLOADED, Key, Profile
from ..analysis.rates import about
from ..analysis.state_notes import meaning_of
from ..diagnosis import Diagnosis
from ..diagnosis.emptied import Cause
from ..diagnosis.named_growth import without_keys
from ..flow import TCP, UDP
from ..formatting import clean, clock_time, count, percent, share_text
from ..history.profiles import Baseline
from ..model import Missing
from .contexts import number

WORTH_A_LINE = 0.10
#: 'most' of the new connections
MOST = 0.5


def short_cause(found: Profile | Diagnosis | Missing) -> str:
    """What grew most, for the first line; '' when that is not known."""
    if isinstance(found, (Missing, Profile)):
        return ''
    grown = (found.cause.growth if found.cause else ()) if found.emptied else found.growth
    if not grown:
        return ''
    one = grown[0]
    source = f' from {one.source}' if one.source else ''
    return f'{one.entries:+d} {one.key}{source}'


def causes(found: Profile | Diagnosis | Missing) -> list[str]:
    """What the table grew by, or why that is not known; a profile taken for later says nothing."""
    if isinstance(found, Profile) or (isinstance(found, Missing) and found.chosen):
        return []
    if isinstance(found, Missing):
        return [f'cause not determined: {clean(found.why)}' + (f' ({clean(found.remedy)})' if found.remedy else '')]
    return list(_emptied(found) if found.emptied else _grown(found))


def details(found: Profile | Diagnosis | Missing) -> list[str]:
    """What else a diagnosis says, in reading order."""
    if isinstance(found, (Missing, Profile)):
        return []
    if found.emptied:
        return [] if found.cause is None else [f'then {line}' for line in (
            *_state(found.cause.profile), *_evictable(found.cause.profile), *_top_source(found.cause))]
    return [*_new(found), *_state(found.profile), *_evictable(found.profile), *_top_source(found), *_nat(found.profile),
            *_owners(found)]


def performance(found: Profile | Diagnosis | Missing) -> Iterator[str]:
    """Estimated entries by kind, for the graph."""
    if isinstance(found, Missing) or (isinstance(found, Diagnosis) and found.unread):
        return
    profile = found if isinstance(found, Profile) else found.profile
    states = profile.states
    named = {state: states.get((TCP, state), 0) for state in ('ESTABLISHED', 'TIME_WAIT', 'SYN_SENT')}
    if profile.offloaded:
        named[OFFLOADED] = states.get((TCP, OFFLOADED), 0)
    tcp, udp = profile.protocol(TCP), profile.protocol(UDP)
    kinds = {f'tcp_{state.lower()}': seen for state, seen in named.items()}
    kinds.update(tcp_other=tcp - sum(named.values()), udp=udp, other=profile.seen - tcp - udp,
                 unreplied=profile.unreplied)
    for kind, seen in kinds.items():
        yield f'flows_{kind}={number(profile.estimate(seen), 0)}'


def _emptied(found: Diagnosis) -> Iterator[str]:
    """The cause of what is over: from the profile nearest to the peak, else what is left of it."""
    if found.cause is not None:
        when = clock_time(found.cause.at, found.at)
        yield from _grown(found.cause, f' at {when} ({percent(found.cause.usage)} used)')
        return
    yield 'cause: unknown, it has emptied since; what filled it was not seen' if found.was_full else \
        'cause: unknown, what the table held when packets were dropped was not seen: it was full, or memory was short'
    if found.unread and not found.unread.chosen:
        remedy = f' ({clean(found.unread.remedy)})' if found.unread.remedy else ''
        yield f'flows not read: {clean(found.unread.why)}{remedy}'
    for one in found.growth:
        source = f', mostly from {one.source}' if one.source else ''
        yield f'still in the table: {one.entries:+d} entries of {one.key}{source}'


def _grown(found: Diagnosis | Cause, when: str = '') -> Iterator[str]:
    """when: the time of the profile, where that is not now."""
    if isinstance(found.baseline, Missing):
        yield f'cause{when}: unknown, {clean(found.baseline.why)}'
        return
    for place, one in enumerate(found.growth):
        yield f'{"also" if place else "cause" + when}: {one.line(found.profile, _since(found.baseline, found.at))}'
    if not found.growth:
        since = _since(found.baseline, found.at)
        yield f'cause{when}: {without_keys(found.profile, found.baseline, found.spread, since)}'


def _new(found: Diagnosis) -> Iterator[str]:
    new = found.rate
    if new is None:
        return
    first, share = (new.targets[0][0], new.share(new.targets[0][1])) if new.targets else (None, 0.0)
    opener = new.busiest()
    text = f'{about(new.rate)} new connections/s'
    if first is not None and share >= MOST:
        text += f', most {first}'
    if opener and new.share(opener.seen) >= MOST:
        text += f', most from {opener.source}'
    yield text


def _since(baseline: Baseline, at: float) -> str:
    return ' for more than a day' if baseline.since is None else f' since {clock_time(baseline.since, at)}'


def _state(profile: Profile) -> Iterator[str]:
    if not profile.states:
        return  # all that was counted had expired
    (protocol, state), seen = max(profile.states.items(), key=lambda item: item[1])
    share = profile.share(seen)
    name = f'{Key(protocol)} {state}'.strip()
    meaning = meaning_of(profile, protocol, state)
    how = f' (sampled {profile.seen} of {profile.entries})' if share.margin else ''
    yield f'{share_text(share.value)} of the table is {name}' + (f': {meaning}' if meaning else '') + how


def _evictable(profile: Profile) -> Iterator[str]:
    assured = profile.share(profile.assured).value
    unreplied = profile.share(profile.unreplied).value
    or_offloaded = ' or offloaded' if profile.spared else ''
    yield f'{share_text(assured)} ASSURED{or_offloaded} (never evicted), {share_text(unreplied)} UNREPLIED'


def _top_source(found: Diagnosis | Cause) -> Iterator[str]:
    named_sources = {one.source or one.key.source for one in found.growth}
    for key, seen in found.profile.sources[:1]:
        share = found.profile.share(seen).value
        if share >= WORTH_A_LINE and key.source not in named_sources:
            yield f'top source: {found.profile.named(key.source)} opened {share_text(share)} of the table'
    named = [one.key for one in found.growth]
    for key, seen in found.profile.targets[:1]:
        share = found.profile.share(seen).value
        if share >= WORTH_A_LINE and not any(one.covers(key) for one in named):
            yield f'top service: {key}{found.profile.name_behind(key)} is {share_text(share)} of the table'


def _nat(profile: Profile) -> Iterator[str]:
    if profile.share(profile.nat).value >= WORTH_A_LINE:
        kinds = [name for name, seen in (('source', profile.snat), ('destination', profile.dnat)) if seen]
        yield f'{share_text(profile.share(profile.nat).value)} of entries use {" and ".join(kinds)} NAT on this host'


def _owners(found: Diagnosis) -> Iterator[str]:
    if isinstance(found.owners, Missing):
        if not found.owners.chosen:
            yield f'{share_text(found.local)} opened by this host; processes unknown: {clean(found.owners.why)}'
    elif found.owners:
        names = ', '.join(f'{one.name} (pid {one.pid}) {count(one.sockets, "socket")}' for one in found.owners)
        yield f'{share_text(found.local)} opened by this host: {names}'
