"""What `triage` reads: one moment of the host, each part a value or Missing with its reason. Nothing is recorded."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from ...analysis import sizing, timeouts
from ...analysis.host_role import RoleCounter, Roles
from ...analysis.incident import IncidentFacts
from ...analysis.losses import LONGEST_LOG_SPAN, Losses, losses
from ...analysis.mitigations import DRAINS
from ...analysis.profile import Profile, summarize
from ...assessment import Assessment, Question, evaluate, history_query
from ...deadline import TimeBudget
from ...defaults import CRITICAL, HORIZON, WINDOW
from ...diagnosis import Diagnosis, explain, sample_flows
from ...flow import Flow, address_text
from ...history import readonly
from ...history.profiles import Baseline
from ...host import Host
from ...model import History, Missing, NotLoaded, Reading, Sample, Table, missing
from ...namedtuples import NamedTuple
from ...readers import addresses, cpu_times, ctnetlink, keepers, meminfo, programs, slabinfo, sysctl_values
from ...snapshot import Snapshot, take_snapshot, with_log
from .. import DoctorError

#: the time between two readings of CPU times and counters is at least so long, in seconds
PAUSE = 0.5
#: where programs of the administrator are, whatever the PATH of this user
SYSTEM_PATH = os.pathsep.join((os.environ.get('PATH', ''), '/usr/sbin', '/sbin'))


class Now(NamedTuple):
    """What moved between the first reading and the last."""

    #: seconds
    span: float
    entries: int
    #: None: the counters are Missing
    losses: Losses | None


class TriageReadings(NamedTuple):
    """The readings."""

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
    picture: IncidentFacts

    def readings(self) -> Iterator[Reading]:
        """What was asked for."""
        yield from self.assessment.readings()
        yield Reading('flows', self.diagnosis)
        yield Reading('role', self.roles)
        yield Reading('softirqs', self.softirqs)
        if isinstance(self.diagnosis, Diagnosis):
            yield Reading('processes', self.diagnosis.owners)

    def missing(self) -> dict[str, Missing]:
        """What was asked for and could not be had, by title."""
        return {reading.title: why for reading, why in missing(self.readings())}


def gather(host: Host, kernel_log: str, history: str | None, most: int | None, share: TimeBudget,
           pause: Callable[[float], None] = time.sleep) -> TriageReadings:
    """Reads everything, each source failing alone. Raises Trouble where there is no table.

    most: entries of the table to look at; None: all.
    """
    cpus, began = cpu_times.read(host), host.clock().monotonic
    snapshot = with_log(take_snapshot(host, share), host, kernel_log, LONGEST_LOG_SPAN, share)
    table = snapshot.table
    if isinstance(table, NotLoaded):
        raise DoctorError(f'connection tracking is not loaded: no {table.path}')
    if isinstance(table, Missing):
        raise DoctorError(f'cannot read the table: {table.why}')
    question = Question(WINDOW, HORIZON, CRITICAL, kernel_log, history or '', 0.0)
    before, usual = _recorded(history, snapshot.sample(), question)
    a = evaluate(snapshot, before, '', question)
    own = addresses.read() if host.is_this_kernel() else Missing('another host', chosen=True)
    tally = RoleCounter(frozenset() if isinstance(own, Missing) else own)
    profile, roles = _flows(host, table, own, tally, most, share)
    found = profile if isinstance(profile, Missing) else explain(host, snapshot.at.wall, profile, usual, share,
                                                                        maximum=table.maximum)
    pause(max(0.0, PAUSE - (host.clock().monotonic - began)))
    later, after = take_snapshot(host, share), cpu_times.read(host)
    busy = cpus if isinstance(cpus, Missing) else after if isinstance(after, Missing) else cpu_times.shares(cpus, after)
    node, release = _name(host, 'hostname'), _name(host, 'osrelease')
    now = _now(snapshot, later)
    picture = _picture(host, node, release, table, a, found, own, tally)
    if a.losses is None and now:
        picture = picture._replace(losses=now.losses)
    return TriageReadings(node, release, table, a, now, found, roles, busy, picture)


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


def _flows(host: Host, table: Table, own: frozenset[bytes] | Missing, tally: RoleCounter, most: int | None,
           share: TimeBudget) -> tuple[Profile | Missing, Roles | Missing]:
    """The profile, and the role of the same flows."""
    if not table.entries:
        empty = Missing('the table is empty', chosen=True)
        return empty, empty

    def use(flows: Iterable[Flow]) -> Profile:
        return summarize(tally.watch(flows), table.entries)

    profile: Profile | Missing
    if most is not None:
        profile = sample_flows(host, use, most, share)
    elif host.is_this_kernel():
        profile = ctnetlink.read_flows(use)
    else:
        profile = Missing('all flows are read of the running kernel only')
    if isinstance(profile, Profile) and not profile.seen:
        profile = Missing('the kernel listed no flow in time')
    if isinstance(profile, Missing):
        if profile.why == ctnetlink.NEEDS_ROOT.why:
            profile = profile._replace(remedy='sudo conntrack-doctor triage shows who fills the table')
        return profile, profile._replace(chosen=True)
    return profile, own if isinstance(own, Missing) else tally.roles()


def _now(first: Snapshot, last: Snapshot) -> Now | None:
    span = last.at.uptime - first.at.uptime
    old, new = first.sample(), last.sample()
    if span <= 0 or isinstance(old, Missing) or isinstance(new, Missing):
        return None
    return Now(span, new.entries - old.entries, losses(old, new))


def _picture(host: Host, node: str, release: str, table: Table, a: Assessment, found: Diagnosis | Missing,
             own: frozenset[bytes] | Missing, tally: RoleCounter) -> IncidentFacts:
    diagnosis = None if isinstance(found, Missing) else found
    seconds = sysctl_values.read_timeouts(host)
    known = {} if isinstance(seconds, Missing) else seconds
    return IncidentFacts(
        node, table, a.snapshot.initial, a.losses, a.forecast, not isinstance(a.log, Missing) and bool(a.log.ages),
        diagnosis.profile if diagnosis else None, diagnosis.growth if diagnosis else (), tally.targets(),
        tally.aims(),
        frozenset() if isinstance(own, Missing) else frozenset(map(address_text, own)),
        diagnosis.local if diagnosis else 0.0,
        () if diagnosis is None or isinstance(diagnosis.owners, Missing) else diagnosis.owners, known,
        timeouts.proposals(diagnosis.profile, known) if diagnosis else (), slabinfo.read(host), meminfo.read(host),
        sizing.chain_limit(release), programs.read(host, DRAINS), {one.name for one in keepers.read(host)},
        bool(shutil.which('nft', path=SYSTEM_PATH)) or not shutil.which('iptables', path=SYSTEM_PATH))
