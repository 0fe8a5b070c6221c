"""The picture of an incident: what is known of it, and what it says by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..defaults import HORIZON, TREND, WARNING
from ..model import Missing, Table
from ..namedtuples import NamedTuple
from ..readers.sockets import Owner
from .losses import Losses
from .profile import Key, Profile
from .profile_diff import Growth
from .sizing import ChainLimit
from .timeouts import Proposal
from .trend import Forecast

#: percent of the maximum: from there on a move is due; a rising table that is full within the time, from here on
CROWDED, RISING, SOON = WARNING, TREND, HORIZON
#: a source with this share of the table, twice the next one's, is to blame
ONE_SOURCE = 0.25


class IncidentFacts(NamedTuple):
    """What the moves are chosen by; what is not known is None or empty."""

    node: str
    table: Table
    #: this is the initial network namespace
    initial: bool
    losses: Losses | None
    forecast: Forecast | None
    #: the kernel log has table-full lines of this namespace
    logged: bool
    profile: Profile | None
    growth: tuple[Growth, ...]
    #: of each TCP state the target that has most of its flows, if one has many
    targets: Mapping[str, Key]
    #: of each large source the flows it aims at one target, if that is nearly all it does
    aims: Mapping[str, Key]
    #: this host's own addresses as text
    own: Collection[str]
    #: share of the table that local processes opened, 0 to 1, and which they are
    local: float
    owners: tuple[Owner, ...]
    #: seconds, by the name after nf_conntrack_
    timeouts: Mapping[str, int]
    proposals: tuple[Proposal, ...]
    #: bytes of struct nf_conn, and of memory
    entry: float | Missing
    available: int | Missing
    limit: ChainLimit
    #: names of running programs: those of DRAINS, and those that set the maximum by themselves
    programs: Collection[str]
    keepers: Collection[str]
    #: the host has nft, else iptables
    nft: bool


class Action(NamedTuple):
    """One thing to do."""

    title: str
    commands: tuple[str, ...]
    undo: str
    #: what it costs, or breaks
    risk: str


def chains_too_long(p: IncidentFacts) -> bool:
    """Does the kernel refuse entries because hash chains are too long, or is it about to?"""
    load, limit = load_of(p.table), p.limit.entries_per_bucket
    return bool(p.losses and p.losses.packets.get('chaintoolong')) or bool(limit and load and load > limit)


def crowded(p: IncidentFacts) -> bool:
    """Is the table full, or about to be?"""
    if p.table.unlimited:
        return False
    soon = p.forecast is not None and p.forecast.to_full is not None and p.forecast.to_full <= SOON
    return p.table.usage >= CROWDED or (p.table.usage >= RISING and soon) or was_full(p)


def was_full(p: IncidentFacts) -> bool:
    """Was the table full within the look-back?"""
    return p.logged or bool(p.losses and p.losses.packets.get('early_drop'))


def load_of(table: Table) -> float | None:
    """Entries a bucket; None: unknown."""
    return None if isinstance(table.buckets, Missing) or table.buckets <= 0 else table.entries / table.buckets


def culprit(p: IncidentFacts) -> tuple[str, Key, int] | None:
    """The one source to blame, the flows it opens, and how many entries of the profile they are at most."""
    if p.profile is None:
        return None
    counts = {key.source: seen for key, seen in p.profile.sources}
    for one in p.growth:
        source = one.source or one.key.source
        if source:
            key = one.key._replace(source=source)
            return source, p.aims.get(source, key), counts.get(source, 0)
    ranked = list(counts.items())
    if not ranked or p.profile.share(ranked[0][1]).low < ONE_SOURCE:
        return None
    if len(ranked) > 1 and ranked[0][1] < 2 * ranked[1][1]:
        return None
    return ranked[0][0], p.aims.get(ranked[0][0], Key(source=ranked[0][0])), ranked[0][1]
