"""What `tune` knows and proposes: the readings of one moment, and the advice that follows from them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from ...analysis import hash_chains, notrack, sizing, timeouts
from ...analysis.hash_chains import ChainLimit
from ...analysis.notrack import Candidate, Refused
from ...analysis.profile import Profile
from ...analysis.profile_counter import spares_offloaded, summarize
from ...analysis.rates import NewEntryCounter, NewRate
from ...analysis.sizing import Peak, Size
from ...analysis.timeouts import Proposal
from ...deadline import OutOfTime, TimeBudget
from ...defaults import DAY
from ...diagnosis.sample import IN_NO_LIST, take_profile
from ...formatting import clean
from ...history import readonly
from ...host import Host
from ...model import Missing, NotLoaded, Sample, Table
from ...namedtuples import NamedTuple
from ...readers import (
    ctnetlink,
    ctnetlink_events,
    kernel_version,
    meminfo,
    nat_rules,
    processes,
    slabinfo,
    sysctl_values,
)
from ...readers.ctnetlink_events import NewConnections
from ...readers.nat_rules import NatRule
from ...readers.processes import SysctlSetter
from .. import DoctorError
from ..netns_target import INITIAL, Target

#: a recorded profile speaks for the peak if it was taken within this many seconds of it
NEAR = 1800.0
#: new connections are counted for so long, in seconds
LISTEN = 1.0
#: pools of NAT ports are reported from this share of their ports on
WORTH_REPORTING = 0.3


class Recorded(NamedTuple):
    """What the history says of the peak."""

    path: str
    #: the highest of all namespaces: the maximum is one for all
    peak: Peak
    #: inode of the namespace that had it, and its name
    netns: int
    name: str = ''


class TuneReadings(NamedTuple):
    """What was read, each a value or Missing with its reason."""

    #: seconds since 1970
    at: float
    #: `uname -n`, `uname -r`
    node: str
    release: str
    table: Table
    #: is this the initial network namespace?
    initial: bool
    netns: int | Missing
    recorded: Recorded | Missing
    profile: Profile | Missing
    #: taken near the recorded peak
    peak_profile: Profile | None
    #: seconds, by the name after nf_conntrack_
    timeouts: dict[str, int] | Missing
    #: bytes of struct nf_conn
    entry: float | Missing
    #: bytes of memory
    available: int | Missing
    setters: tuple[SysctlSetter, ...]
    container: str
    #: the upstream release that this kernel is built from; '' if it is not known
    stable: str = ''
    #: entries of all network namespaces, which share the hash table
    all_entries: int | Missing = Missing('not read', chosen=True)
    #: seconds, by name; none where the kernel has no such sysctls
    flowtable_timeouts: Mapping[str, int] = {}
    target: Target = INITIAL
    #: new connections, estimated by the time left of the entries; None: too few are new
    rate: NewRate | None = None
    #: new connections, counted for a second
    counted: NewConnections | Missing | None = None
    #: rules of source NAT, read where many ports are used
    nat_rules: tuple[NatRule, ...] | Missing = ()


class Plan(NamedTuple):
    """The advice."""

    readings: TuneReadings
    #: what the size is for: the recorded peak, or the entries of now where they are more
    peak: Peak
    limit: ChainLimit
    size: Size
    #: what alone makes the table large, at the recorded peak or now: to be looked at first
    first: tuple[str, ...]
    timeouts: tuple[Proposal, ...]
    candidates: tuple[Candidate, ...]
    refused: tuple[Refused, ...]
    #: thresholds of usage for the proposed size, in percent
    warning: int
    critical: int


def gather(host: Host, history: str | None, most: int | None,
           budget: TimeBudget, target: Target = INITIAL, pause: Callable[[float], None] = time.sleep,
           history_budget: TimeBudget | None = None) -> TuneReadings:
    """Reads everything, each source failing alone. Raises DoctorError where there is no table.

    most: entries of the table to look at; None: all. target: the namespace that host shows. history_budget: bounds
    the time for the history, which may be another user's and of any size; None: as `budget`.
    """
    at = host.clock().wall
    table = sysctl_values.read(host)
    if isinstance(table, NotLoaded):
        raise DoctorError(f'connection tracking is not loaded: no {table.path}')
    if isinstance(table, Missing):
        raise DoctorError(f'cannot read the table: {table.why}')
    recorded, peak_profile = _recorded_in_time(history, host, target, history_budget or budget)
    names = os.uname()
    seconds = sysctl_values.read_timeouts(host)
    fresh = NewEntryCounter({} if isinstance(seconds, Missing) else seconds)
    listener = ctnetlink_events.open_listener(host)
    try:
        profile = _profile(host, table, most, budget, fresh)
        if isinstance(listener, Missing):
            counted: NewConnections | Missing = listener
        else:
            pause(max(0.0, LISTEN - listener.seconds()))
            counted = ctnetlink_events.finish(listener)
    finally:
        if not isinstance(listener, Missing):
            listener.close()
    many_ports = isinstance(profile, Profile) and any(one.share >= WORTH_REPORTING for one in profile.nat_ports)
    rules = nat_rules.read() if many_ports and host.is_this_kernel() else ()
    return TuneReadings(
        at=at, node=names.nodename, release=names.release, table=table,
        initial=sysctl_values.is_initial_namespace(host), netns=host.netns(), recorded=recorded, profile=profile,
        peak_profile=peak_profile, timeouts=seconds, entry=slabinfo.read(host), available=meminfo.read(host),
        setters=processes.read_setters(host), container=processes.read_container(host),
        stable=kernel_version.read_stable(host), all_entries=slabinfo.read_entries(host),
        flowtable_timeouts=sysctl_values.read_flowtable_timeouts(host), target=target,
        rate=fresh.rate(table.entries), counted=counted, nat_rules=rules)


def make(r: TuneReadings) -> Plan:
    """The advice that follows from the readings."""
    now = Peak(r.table.entries, r.at, 0.0, 1, r.table.maximum)
    peak = now if isinstance(r.recorded, Missing) else r.recorded.peak
    if peak.entries < now.entries:
        peak = now._replace(days=peak.days, samples=peak.samples)
    size = sizing.propose(peak.entries, r.table, r.entry)
    if not isinstance(r.all_entries, Missing):
        size = size._replace(buckets=max(size.buckets, hash_chains.rounded_buckets(r.all_entries)))
    first: tuple[str, ...] = ()
    if isinstance(r.profile, Missing) and IN_NO_LIST in r.profile.why:
        first = (r.profile.why,)
        if size.maximum > r.table.maximum > 0:
            size = size._replace(maximum=r.table.maximum, buckets=r.table.buckets if isinstance(r.table.buckets, int)
                                 else size.buckets, more=0)
    if r.peak_profile:
        first += tuple(f'at the recorded peak {line}' for line in sizing.concentration(r.peak_profile))
    proposals: tuple[Proposal, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    refused: tuple[Refused, ...] = ()
    if isinstance(r.profile, Profile):
        first += tuple(sizing.concentration(r.profile))
        candidates, refused = notrack.candidates(r.profile)
        if not isinstance(r.timeouts, Missing):
            proposals = timeouts.proposals(r.profile, r.timeouts)
            first += tuple(timeouts.leaks(proposals))
    warning, critical = sizing.alert_thresholds(peak, size.maximum)
    limit = hash_chains.chain_limit(r.release, r.stable)
    return Plan(r, peak, limit, size, first, proposals, candidates, refused, warning, critical)


def _profile(host: Host, table: Table, most: int | None, budget: TimeBudget,
             fresh: NewEntryCounter) -> Profile | Missing:
    if not table.entries:
        return Missing('the table is empty', chosen=True)
    if most is not None:
        return take_profile(host, table, most, budget, watch=fresh.watch)
    if not host.is_this_kernel():
        return Missing('all flows are read of the running kernel only')
    stay = spares_offloaded(kernel_version.read_release(host))
    return ctnetlink.read_flows(lambda flows: summarize(fresh.watch(flows), table.entries, stay))


def _recorded_in_time(path: str | None, host: Host, target: Target,
                      budget: TimeBudget) -> tuple[Recorded | Missing, Profile | None]:
    """What was recorded, if it does not take too much of the time: another user's file may be as large as he likes."""
    try:
        with budget():
            return _recorded(path, host, target)
    except OutOfTime as error:
        return Missing.because(error, 'history'), None


def _recorded(path: str | None, host: Host, target: Target) -> tuple[Recorded | Missing, Profile | None]:
    path = path or readonly.newest(readonly.candidate_files(os.environ))
    if path is None:
        return Missing('no history yet', 'it is kept from the first run of check_conntrack on'), None
    samples = readonly.read_samples(path, float('-inf'), float('inf'), readonly.IN_AN_INCIDENT)
    if isinstance(samples, Missing):
        return samples, None
    if target.title:  # what another namespace had says nothing of this one; the host's maximum is one for all
        own = host.boot_id(), host.netns()
        last = max((one.since for one in samples if (one.boot_id, one.netns) == own), default=0.0)
        samples = [one for one in samples if (one.name == target.lasting if target.lasting else
                                              (one.boot_id, one.netns) == own and one.since == last)]
    if not samples:
        return Missing(f'{clean(path)}: nothing is recorded yet' + (f' of {clean(target.title)}' if target.title else
                                                                    '')), None
    top = max(samples, key=lambda sample: (sample.entries, sample.at.wall))
    days = (samples[-1].at.wall - samples[0].at.wall) / DAY
    peak = Peak(top.entries, top.at.wall, days, len(samples), top.maximum)
    return Recorded(path, peak, top.netns, top.name), _near(path, top)


def _near(path: str, top: Sample) -> Profile | None:
    """What was in the table around the moment of a sample."""
    profiles = readonly.read_profiles(path, top.at.wall - NEAR, top.at.wall + NEAR, readonly.IN_AN_INCIDENT)
    if isinstance(profiles, Missing):
        return None
    own = [past for past in profiles if (past.boot_id, past.netns) == (top.boot_id, top.netns)]
    return min(own, key=lambda past: abs(past.at - top.at.wall)).profile if own else None
