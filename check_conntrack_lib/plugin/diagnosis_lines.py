"""The diagnosis in words: what changed, what dominates, who does it; each line a fact and its consequence."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..analysis.commands import conntrack
from ..analysis.profile import Key, Profile
from ..analysis.state_notes import meaning_of
from ..diagnosis import Cause, Diagnosis
from ..flow import TCP, UDP
from ..formatting import clean, clock_time, count, percent, share_text
from ..history.profiles import Baseline
from ..model import Missing
from .contexts import number

#: of the whole long output, the command to look further included
MOST_LINES = 12
WORTH_A_LINE = 0.10


def lines(why: Profile | Diagnosis | Missing) -> list[str]:
    """What a diagnosis says, in reading order; a profile taken for later says nothing."""
    if isinstance(why, (Missing, Profile)):
        return []
    if why.emptied:
        return [*_emptied(why)]
    return [*_grown(why), *_state(why.profile), *_evictable(why.profile), *_top_source(why), *_nat(why.profile),
            *_owners(why), *_command(why)]


def merge(why: Profile | Diagnosis | Missing, found: list[str]) -> list[str]:
    """Reasons first, then findings; the last line stays the one command, the reasons' own rather than the general."""
    both = [*lines(why), *found]
    commands = [line for line in both if line.startswith('look further: ')][:1]
    told = [line for line in both if not line.startswith('look further: ')]
    unread = why if isinstance(why, Missing) else why.unread if isinstance(why, Diagnosis) else None
    if unread and not unread.chosen:
        told.append(f'not diagnosed: {clean(unread.why)}' + (f'; {clean(unread.remedy)}' if unread.remedy else ''))
    return [*told[:MOST_LINES - len(commands)], *commands]


def performance(why: Profile | Diagnosis | Missing) -> Iterator[str]:
    """Estimated entries by kind, for the graph."""
    if isinstance(why, Missing):
        return
    profile = why if isinstance(why, Profile) else why.profile
    states = profile.states
    named = {state: states.get((TCP, state), 0) for state in ('ESTABLISHED', 'TIME_WAIT', 'SYN_SENT')}
    tcp, udp = profile.protocol(TCP), profile.protocol(UDP)
    kinds = {f'tcp_{state.lower()}': seen for state, seen in named.items()}
    kinds.update(tcp_other=tcp - sum(named.values()), udp=udp, other=profile.seen - tcp - udp,
                 unreplied=profile.unreplied)
    for kind, seen in kinds.items():
        yield f'flows_{kind}={number(profile.estimate(seen), 0)};;;0'


def _grown(why: Diagnosis | Cause) -> Iterator[str]:
    if isinstance(why.baseline, Missing):
        yield f'what changed: unknown, {clean(why.baseline.why)}'
        return
    for one in why.growth:
        source = f', most from {one.source}' if one.source else ''
        yield (f'{one.key}: {share_text(one.before)} -> {share_text(one.now)} of the table ({one.entries:+d} entries)'
               f'{_since(why.baseline, why.at)}{source}')
    if not why.growth:
        yield 'what changed: no single service, destination or source explains the growth'


def _emptied(why: Diagnosis) -> Iterator[str]:
    """The cause of what is over: from the profile nearest to the peak, else what is left of it."""
    if why.cause is None:
        yield 'it has emptied since; what filled it was not seen' if why.was_full else \
            'what the table held when packets were dropped was not seen'
        for one in why.growth:
            source = f', most from {one.source}' if one.source else ''
            yield f'still in the table: {one.entries:+d} entries of {one.key}{source}'
        return
    yield (f'it has emptied since; what filled it, as seen at {clock_time(why.cause.at, why.at)} '
           f'({percent(why.cause.usage)} used):')
    yield from _grown(why.cause)
    yield from _state(why.cause.profile)
    yield from _evictable(why.cause.profile)


def _since(baseline: Baseline, at: float) -> str:
    if baseline.since is None:
        return ' since more than a day'
    then, now = time.localtime(baseline.since), time.localtime(at)
    today = then[:3] == now[:3]
    return ' since ' + time.strftime('%H:%M' if today else '%Y-%m-%d %H:%M', then)


def _state(profile: Profile) -> Iterator[str]:
    (protocol, state), seen = max(profile.states.items(), key=lambda item: item[1])
    share = profile.share(seen)
    name = f'{Key(protocol)} {state}'.strip()
    meaning = meaning_of(profile, protocol, state)
    how = f'{profile.seen} of {profile.entries} entries seen, +-{share.margin * 100:.1f}%' if share.margin \
        else 'all entries seen'
    yield f'{share_text(share.value)} of the table is {name}' + (f': {meaning}' if meaning else '') + f' ({how})'


def _evictable(profile: Profile) -> Iterator[str]:
    assured = profile.share(profile.assured).value
    unreplied = profile.share(profile.unreplied).value
    yield (f'{share_text(assured)} is assured and never gives way to new connections; '
           f'{share_text(unreplied)} was never answered')


def _top_source(why: Diagnosis) -> Iterator[str]:
    told = {one.source or one.key.source for one in why.growth}
    for key, seen in why.profile.sources[:1]:
        share = why.profile.share(seen).value
        if share >= WORTH_A_LINE and key.source not in told:
            yield f'top source: {key.source} opened {share_text(share)} of the table'
    named = [one.key for one in why.growth]
    for key, seen in why.profile.targets[:1]:
        share = why.profile.share(seen).value
        if share >= WORTH_A_LINE and not any(one.covers(key) for one in named):
            yield f'top service: {key} is {share_text(share)} of the table'


def _nat(profile: Profile) -> Iterator[str]:
    if profile.share(profile.nat).value >= WORTH_A_LINE:
        kinds = [name for name, seen in (('source', profile.snat), ('destination', profile.dnat)) if seen]
        yield f'{share_text(profile.share(profile.nat).value)} is {" and ".join(kinds)} NAT: this host is their gateway'


def _owners(why: Diagnosis) -> Iterator[str]:
    if isinstance(why.owners, Missing):
        if not why.owners.chosen:
            yield f'{share_text(why.local)} starts at this host, its processes are unknown: {clean(why.owners.why)}'
    elif why.owners:
        names = ', '.join(f'{one.name} (pid {one.pid}) {count(one.sockets, "socket")}' for one in why.owners)
        yield f'{share_text(why.local)} starts at this host: {names}'


def _command(why: Diagnosis) -> Iterator[str]:
    key = why.growth[0].key if why.growth else why.profile.targets[0][0] if why.profile.targets else None
    if key is not None:
        yield f"look further: {conntrack('-L', key)}"
