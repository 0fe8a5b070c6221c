"""What follows from the readings of `triage`: the facts that its actions are chosen by."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from ...analysis import cloud, hash_chains, timeouts
from ...analysis.cloud import CloudLimit
from ...analysis.host_role import RoleCounter
from ...analysis.incident import IncidentFacts
from ...analysis.losses import Losses, losses
from ...analysis.mitigations import DRAINS
from ...analysis.rates import NewEntryCounter, NewRate, counted
from ...assessment import Assessment
from ...diagnosis import Diagnosis
from ...diagnosis.sample import IN_NO_LIST
from ...flow import address_text
from ...history.cloud_limit import Counted
from ...host import Host
from ...model import Missing, Table
from ...namedtuples import NamedTuple
from ...readers import kernel_version, meminfo, processes, slabinfo
from ...readers.ctnetlink_events import NewConnections
from ...snapshot import Snapshot
from .. import lifeline


class Now(NamedTuple):
    """What changed between the first reading and the last."""

    #: seconds
    span: float
    entries: int
    #: None: the counters are Missing
    losses: Losses | None


def now_of(first: Snapshot, last: Snapshot) -> Now | None:
    """None: no time passed, or a snapshot is not complete."""
    span = last.at.uptime - first.at.uptime
    old, new = first.sample(), last.sample()
    if span <= 0 or isinstance(old, Missing) or isinstance(new, Missing):
        return None
    return Now(span, new.entries - old.entries, losses(old, new))


def cloud_of(first: Counted | None, last: Counted | None) -> CloudLimit | None:
    """What was counted meanwhile at the limits of an AWS instance."""
    if first is None or last is None:
        return None
    (then, old), (now, new) = first, last
    known = cloud.allowances(new)
    return None if known is None else cloud.compare(cloud.allowances(old), now.uptime - then.uptime, known, None)


def rate_of(new: NewConnections | Missing, now: Now | None, fresh: NewEntryCounter, table: Table) -> NewRate | None:
    """New connections as they were counted, else as the time left of the entries tells of them."""
    if isinstance(new, Missing):
        return fresh.rate(table.entries)
    refused = now.losses.rate(now.losses.dropped + now.losses.clashes) if now and now.losses else 0.0
    return counted(new.rate, new.flows)._replace(refused=refused)


def facts_of(host: Host, node: str, release: str, table: Table, a: Assessment, found: Diagnosis | Missing,
             own: frozenset[bytes] | Missing, roles: RoleCounter, known: Mapping[str, int]) -> IncidentFacts:
    """All but what was measured in the meantime.

    found: what the flows say; own: this host's addresses; known: timeouts in seconds, by the name after nf_conntrack_.
    """
    diagnosis = None if isinstance(found, Missing) else found
    others = a.hash is not None and hash_chains.others_have_many(table.entries, a.hash.entries)
    return IncidentFacts(
        node=node, table=table, initial=a.snapshot.initial, losses=a.losses, forecast=a.forecast,
        logged=not isinstance(a.log, Missing) and bool(a.log.ages),
        profile=diagnosis.profile if diagnosis else None, growth=diagnosis.growth if diagnosis else (),
        target_of_state=roles.target_of_state(), target_of_source=roles.target_of_source(),
        own=frozenset() if isinstance(own, Missing) else frozenset(map(address_text, own)),
        local=diagnosis.local if diagnosis else 0.0,
        owners=() if diagnosis is None or isinstance(diagnosis.owners, Missing) else diagnosis.owners,
        timeouts=known, proposals=timeouts.proposals(diagnosis.profile, known) if diagnosis else (),
        entry=slabinfo.read(host), available=meminfo.read(host),
        limit=hash_chains.chain_limit(release, kernel_version.read_stable(host)),
        programs=processes.read_running(host, DRAINS), setters={one.name for one in processes.read_setters(host)},
        nft=_has_program('nft') or not _has_program('iptables'),
        all_entries=a.hash.entries if a.hash and others else 0,
        unlisted=found.why if isinstance(found, Missing) and IN_NO_LIST in found.why else '')


def _has_program(name: str) -> bool:
    return shutil.which(name, path=lifeline.SYSTEM_PATH) is not None
