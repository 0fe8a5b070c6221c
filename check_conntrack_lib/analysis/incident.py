"""What is known of an incident, and what follows at once: is the table full, are chains too long, is it one source?"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..defaults import TREND, WARNING
from ..model import Missing, Table
from ..namedtuples import NamedTuple
from ..readers.nat_rules import NatRule
from ..readers.sockets import Owner
from .cloud import CloudLimit
from .hash_chains import ChainLimit
from .losses import Losses
from .profile import Key, Profile
from .profile_diff import Growth
from .rates import NewRate
from .timeouts import Proposal
from .trend import Forecast

#: percent of the maximum: usage from which action is due, and where it rises and is full within SOON seconds
CROWDED, RISING, SOON = WARNING, TREND, 3600.0
#: a source with this share of the table, twice the next one's, is the cause
ONE_SOURCE = 0.25
#: share of the dropped packets that a full table must have dropped before its size is a remedy
LEAST_FULL = 0.1
#: of fewer new connections no source is named
FEWEST = 50


class IncidentFacts(NamedTuple):
    """What the actions are chosen by; what is not known is None or empty."""

    node: str
    table: Table
    #: this is the initial network namespace
    initial: bool
    losses: Losses | None
    forecast: Forecast | None
    #: the kernel log has "table full" messages of this namespace
    logged: bool
    profile: Profile | None
    growth: tuple[Growth, ...]
    #: the target that most flows of a TCP state go to, if many do
    target_of_state: Mapping[str, Key]
    #: the target that nearly all flows of a large source go to, if there is one; with the source
    target_of_source: Mapping[str, Key]
    #: this host's own addresses as text
    own: Collection[str]
    #: share of the table that processes of this host opened, 0 to 1, and which they are
    local: float
    owners: tuple[Owner, ...]
    #: seconds, by the name after nf_conntrack_
    timeouts: Mapping[str, int]
    proposals: tuple[Proposal, ...]
    #: bytes of struct nf_conn, and of memory
    entry: float | Missing
    available: int | Missing
    limit: ChainLimit
    #: names of running programs: those of `mitigations.DRAINS`, and those that set the maximum by themselves
    programs: Collection[str]
    setters: Collection[str]
    #: the host has nft, else iptables
    nft: bool
    #: entries of all network namespaces where many are in others, else 0
    all_entries: int = 0
    #: what runs a command of the host's shell in this namespace; '' where that is there already
    enter: str = ''
    #: new connections per second, and who opens them
    rate: NewRate | None = None
    #: rules of source NAT, read where ports are short
    nat_rules: tuple[NatRule, ...] = ()
    #: the limit of an AWS instance
    cloud: CloudLimit | None = None
    #: share of softirqs by CPU, 0 to 1
    softirqs: Mapping[int, float] = {}
    #: what is printed of entries that are counted and in no list, where most are; '' where not
    unlisted: str = ''


class Action(NamedTuple):
    """One thing to do."""

    title: str
    commands: tuple[str, ...]
    undo: str
    #: what it costs, or breaks
    risk: str


def chains_too_long(facts: IncidentFacts) -> bool:
    """Does the kernel refuse entries because hash chains are too long, or is it about to?"""
    load, limit = load_of(facts), facts.limit.entries_per_bucket
    return bool(facts.losses and facts.losses.packets.get('chaintoolong')) or bool(limit and load and load > limit)


def crowded(facts: IncidentFacts) -> bool:
    """Is the table full, or about to be?"""
    if facts.table.unlimited:
        return False
    soon = facts.forecast is not None and facts.forecast.to_full is not None and facts.forecast.to_full <= SOON
    return facts.table.usage >= CROWDED or (facts.table.usage >= RISING and soon) or was_full(facts)


def was_full(facts: IncidentFacts) -> bool:
    """Was the table full within the window? Where long chains drop the packets, an old message or one eviction does
    not make more room a remedy."""
    full = facts.logged or bool(facts.losses and facts.losses.packets.get('early_drop'))
    return full and not (facts.losses and facts.losses.dropped < LEAST_FULL * facts.losses.lost)


def load_of(facts: IncidentFacts) -> float | None:
    """Entries per bucket of the hash table that all namespaces share, as far as they are seen; None: unknown."""
    return load_at(facts.table, max(facts.table.entries, facts.all_entries))


def load_at(table: Table, entries: int) -> float | None:
    """Entries per bucket with this many entries; None: unknown."""
    return None if isinstance(table.buckets, Missing) or table.buckets <= 0 else entries / table.buckets


def opener(facts: IncidentFacts) -> tuple[str, Key, float] | None:
    """The one source that opens the new connections of now, what it opens, and how many per second."""
    if facts.rate is None or not facts.rate.counted or facts.rate.seen < FEWEST or not facts.rate.openers:
        return None
    first = facts.rate.openers[0]
    next_one = facts.rate.openers[1].seen if len(facts.rate.openers) > 1 else 0
    share = facts.rate.share(first.seen)
    if share < ONE_SOURCE or first.seen < 2 * next_one or first.source in facts.own:
        return None
    return first.source, first.key, share * facts.rate.attempts


def single_source(facts: IncidentFacts) -> tuple[str, Key, int] | None:
    """The one source that is the cause, the flows it opens, and how many entries of the profile they are at most."""
    if facts.profile is None:
        return None
    counts = {key.source: seen for key, seen in facts.profile.sources}
    for one in facts.growth:
        source = one.source or one.key.source
        if source:
            key = one.key._replace(source=source)
            return source, facts.target_of_source.get(source, key), counts.get(source, 0)
    ranked = list(counts.items())
    if not ranked or facts.profile.share(ranked[0][1]).low < ONE_SOURCE:
        return None
    if len(ranked) > 1 and ranked[0][1] < 2 * ranked[1][1]:
        return None
    return ranked[0][0], facts.target_of_source.get(ranked[0][0], Key(source=ranked[0][0])), ranked[0][1]
