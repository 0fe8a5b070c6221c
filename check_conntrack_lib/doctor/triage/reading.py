"""What `triage` reads: one moment of the host, each part a value or Missing with its reason. Nothing is recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from ...analysis import resources
from ...analysis.host_role import RoleCounter, Roles
from ...analysis.incident import IncidentFacts
from ...analysis.losses import LONGEST_LOG_SPAN
from ...analysis.profile import Profile
from ...analysis.profile_counter import spares_offloaded, summarize
from ...analysis.rates import NewEntryCounter
from ...assessment import Assessment, Question, evaluate, history_query
from ...deadline import OutOfTime, TimeBudget
from ...defaults import CRITICAL, HORIZON, WINDOW
from ...diagnosis import Diagnosis, explain
from ...diagnosis.sample import checked, count_ports, sample_flows
from ...flow import Flow
from ...history import cloud_limit, readonly
from ...history.profiles import Baseline
from ...host import Host
from ...model import History, Missing, NotLoaded, Reading, Sample, Table, missing
from ...namedtuples import NamedTuple
from ...readers import (
    addresses,
    cpu_times,
    ctnetlink,
    ctnetlink_events,
    kernel_version,
    nat_rules,
    sysctl_values,
)
from ...readers.ctnetlink_events import Listener
from ...snapshot import Snapshot, take_snapshot, with_log
from .. import DoctorError, lifeline
from ..netns_target import INITIAL, Target
from .facts import Now, cloud_of, facts_of, now_of, rate_of

#: the time between two readings of CPU times and counters is at least so long, in seconds
PAUSE = 0.5
#: new connections are counted for so long, in seconds; after the first part it is known how many of them to look at
LISTEN, FIRST_PART = 1.0, 0.1


class TriageReadings(NamedTuple):
    """What was read, and what follows from it."""

    #: `uname -n`, `uname -r`; '' if they are hidden
    node: str
    release: str
    table: Table
    assessment: Assessment
    #: None: no time passed
    now: Now | None
    diagnosis: Diagnosis | Missing
    roles: Roles | Missing
    #: share of softirqs by CPU, 0 to 1
    softirqs: Mapping[int, float] | Missing
    facts: IncidentFacts
    target: Target = INITIAL
    #: why new connections were not counted
    uncounted: Missing | None = None
    #: rules that keep the monitoring and SSH out of the full table; None: it is not full
    lifeline: str | Missing | None = None

    def readings(self) -> Iterator[Reading]:
        """What was asked for."""
        yield from self.assessment.readings()
        yield Reading('flows', self.diagnosis)
        yield Reading('role', self.roles)
        yield Reading('softirqs', self.softirqs)
        if self.uncounted is not None:
            yield Reading('new connections', self.uncounted)
        if isinstance(self.diagnosis, Diagnosis):
            yield Reading('processes', self.diagnosis.owners)

    def missing(self) -> dict[str, Missing]:
        """What was asked for and could not be had, by title."""
        return {reading.title: why for reading, why in missing(self.readings())}


def gather(host: Host, kernel_log: str, history: str | None, most: int | None, budget: TimeBudget,
           pause: Callable[[float], None] = time.sleep, window: float = WINDOW,
           target: Target = INITIAL, history_budget: TimeBudget | None = None) -> TriageReadings:
    """Reads everything, each source failing alone. Raises DoctorError where there is no table.

    most: entries of the table to look at; None: all. target: the namespace that host shows. history_budget: bounds
    the time for the history, which may be another user's and of any size; None: as `budget`.
    """
    cpus, began = cpu_times.read(host), host.clock().monotonic
    snapshot = with_log(take_snapshot(host, budget), host, kernel_log, LONGEST_LOG_SPAN, budget)
    table = snapshot.table
    if isinstance(table, NotLoaded):
        raise DoctorError(f'connection tracking is not loaded: no {table.path}')
    if isinstance(table, Missing):
        raise DoctorError(f'cannot read the table: {table.why}')
    question = Question(window, HORIZON, CRITICAL, kernel_log, history or '', 0.0)
    try:
        with (history_budget or budget)():
            recorded = _recorded(history, snapshot.sample(), question)
    except OutOfTime as error:
        late = Missing.because(error, 'history')
        recorded = late, late
    listener = ctnetlink_events.open_listener(host)
    try:
        return _gather(host, snapshot, table, question, recorded, most, budget, pause, cpus, began, listener, target)
    finally:
        if not isinstance(listener, Missing):
            listener.close()


def _gather(host: Host, snapshot: Snapshot, table: Table, question: Question,
            recorded: tuple[History | Missing, Baseline | Missing], most: int | None,
            budget: TimeBudget, pause: Callable[[float], None],
            cpus: Mapping[int, cpu_times.CpuTime] | Missing, began: float,
            listener: Listener | Missing, target: Target) -> TriageReadings:
    past, baseline = recorded
    a = evaluate(snapshot, past, '', question)
    own = addresses.read() if host.is_this_kernel() else Missing('another host', chosen=True)
    began_cloud = cloud_limit.read_now(host)
    role_counter = RoleCounter(frozenset() if isinstance(own, Missing) else own)
    seconds = sysctl_values.read_timeouts(host)
    known = {} if isinstance(seconds, Missing) else seconds
    fresh = NewEntryCounter(known)
    if not isinstance(listener, Missing):
        pause(max(0.0, FIRST_PART - listener.seconds()))
        ctnetlink_events.start_sample(listener, LISTEN)
    profile, roles = _flows(host, table, own, role_counter, fresh, most, budget)
    found = profile if isinstance(profile, Missing) else explain(host, snapshot.at.wall, profile, baseline, budget,
                                                                 maximum=table.maximum)
    listened = 0.0 if isinstance(listener, Missing) else LISTEN - listener.seconds()
    pause(max(0.0, PAUSE - (host.clock().monotonic - began), listened))
    new = listener if isinstance(listener, Missing) else ctnetlink_events.finish(listener)
    later, after = take_snapshot(host, budget), cpu_times.read(host)
    busy = cpus if isinstance(cpus, Missing) else after if isinstance(after, Missing) else cpu_times.shares(cpus, after)
    node, release = _name(host, 'hostname'), kernel_version.read_release(host)
    now = now_of(snapshot, later)
    facts = facts_of(host, node, release, table, a, found, own, role_counter, known)
    facts = facts._replace(
        rate=rate_of(new, now, fresh, table), softirqs={} if isinstance(busy, Missing) else busy, enter=target.enter,
        losses=now.losses if a.losses is None and now else a.losses,
        cloud=cloud_of(began_cloud, cloud_limit.read_now(host)))
    if resources.worst(facts) == resources.NAT:
        rules = nat_rules.read() if host.is_this_kernel() else ()
        facts = facts._replace(nat_rules=() if isinstance(rules, Missing) else rules)
    return TriageReadings(node, release, table, a, now, found, roles, busy, facts, target,
                          new if isinstance(new, Missing) else None, lifeline.for_full_table(host, table))


def _name(host: Host, file: str) -> str:
    try:
        return host.read(f'sys/kernel/{file}').strip()
    except (OSError, ValueError):
        return ''


def _recorded(path: str | None, sample: Sample | Missing,
              question: Question) -> tuple[History | Missing, Baseline | Missing]:
    if isinstance(sample, Missing):
        return sample, sample
    path = path or readonly.newest(readonly.candidate_files(os.environ))
    if path is None:
        none = Missing('no history yet', 'it is kept from the first run of check_conntrack on')
        return none, none
    return readonly.read_history(path, sample, history_query(question)), readonly.read_baseline(path, sample)


def _flows(host: Host, table: Table, own: frozenset[bytes] | Missing, role_counter: RoleCounter,
           fresh: NewEntryCounter, most: int | None, budget: TimeBudget) -> tuple[Profile | Missing, Roles | Missing]:
    """The profile, and the role of the same flows."""
    if not table.entries:
        empty = Missing('the table is empty', chosen=True)
        return empty, empty

    stay = spares_offloaded(kernel_version.read_release(host))

    def use(flows: Iterable[Flow]) -> Profile:
        return summarize(role_counter.watch(fresh.watch(flows)), table.entries, stay)

    profile: Profile | Missing
    began = time.monotonic()
    if most is not None:
        profile = sample_flows(host, use, most, budget)
    elif host.is_this_kernel():
        profile = ctnetlink.read_flows(use)
    else:
        profile = Missing('all flows are read of the running kernel only')
    profile = checked(host, profile, most, began)
    if isinstance(profile, Missing):
        if profile.why == ctnetlink.NEEDS_ROOT.why:
            profile = profile._replace(remedy='sudo conntrack-doctor triage shows who fills the table')
        return profile, profile._replace(chosen=True)
    return count_ports(host, profile, budget), own if isinstance(own, Missing) else role_counter.roles()
