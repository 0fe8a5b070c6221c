"""Against one source that fills the table: a limit for its new connections, or the end of its entries."""

from __future__ import annotations

from collections.abc import Iterator

from . import rate_limit
from .commands import conntrack
from .incident import Action, IncidentFacts, opener, single_source
from .profile import Key

#: the rate of another source is known from so many of its new connections on
FEWEST_OTHERS = 10
#: what is opened most speaks for all from this share on
MOST = 0.9
#: the measured rate of others is taken while it fills no more than this many times what the table leaves to a source
MORE = 5


def actions(facts: IncidentFacts) -> Iterator[Action]:
    """At most one: against who opens the new connections of now, else against who opened what is there."""
    now = opener(facts)
    if now is not None:
        source, key, per_second = now
        limit, why = _limit(facts, source, key)
        if per_second > limit:
            share = facts.rate.share(facts.rate.openers[0].seen) if facts.rate else 0.0
            yield _limit_to(facts, key, limit, why, f'opens {share:.0%} of the new connections', _held(facts, source))
            return
    found = single_source(facts)
    if found is None or facts.profile is None or found[0] in facts.own:
        return
    source, key, seen = found
    share_of_table = f'opened {facts.profile.share(seen).value:.0%} of the table' if seen else 'opens what grew'
    if now is None and facts.rate is not None and facts.rate.counted and seen and not any(
            one.source == source for one in facts.rate.openers):
        # it has ended: a limit would change nothing, its entries are what is left
        if key.protocol is not None and facts.profile.unreplied >= 0.5 * seen:
            yield Action(f'remove the entries of {facts.profile.named(source)}, which {share_of_table} and opens '
                         'nothing now',
                         (conntrack('-D', key),), '', 'none of them was ever answered')
        return
    limit, why = _limit(facts, source, key)
    yield _limit_to(facts, key, limit, why, share_of_table, seen)


def _limit(facts: IncidentFacts, source: str, key: Key) -> tuple[int, str]:
    """New connections per second that are left to a source, and where the number comes from."""
    room = facts.table.entries if facts.table.unlimited else facts.table.maximum
    if key.protocol is None and facts.rate and facts.rate.protocols:
        # a source that aims at many targets: its entries live by the timeout of what is opened most
        protocol, seen = max(facts.rate.protocols.items(), key=lambda item: item[1])
        key = key._replace(protocol=protocol if facts.rate.share(seen) >= MOST else None)
    of_table = rate_limit.rate(room, facts.profile, key, facts.timeouts) if facts.profile else 1
    others = [one.seen for one in facts.rate.openers if one.source != source] \
        if facts.rate and facts.rate.counted else []
    if facts.rate and others and others[0] >= FEWEST_OTHERS:
        busiest = max(1, round(facts.rate.share(others[0]) * facts.rate.attempts))
        if busiest <= MORE * of_table:
            return busiest, ', as many as the busiest other source opens'
    return of_table, ''


def _limit_to(facts: IncidentFacts, key: Key, limit: int, why: str, share: str, seen: int) -> Action:
    made, undo = rate_limit.nft(key, limit) if facts.nft else rate_limit.iptables(key, limit)
    commands = [made]
    # what was UNREPLIED is no connection that could be cut; what else the source does is left alone
    if key.protocol is not None and seen and facts.profile and facts.profile.unreplied >= 0.5 * seen:
        commands.append(conntrack('-D', key))
    named = facts.profile.named(key.source) if facts.profile else key.source
    return Action(f'rate-limit {named}, which {share}, to {limit} new connections per second{why}',
                  tuple(commands), undo,
                  'if this address is a proxy or NAT gateway, all clients behind it are limited')


def _held(facts: IncidentFacts, source: str) -> int:
    """Entries of the profile that a source opened."""
    return next((seen for key, seen in facts.profile.sources if key.source == source), 0) if facts.profile else 0
