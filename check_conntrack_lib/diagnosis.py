"""Why: who fills the table and what changed, from a sample of its flows. It explains a verdict and never makes one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from .analysis.profile import Profile, summarize
from .analysis.profile_diff import Growth, growth
from .assessment import Assessment
from .deadline import TimeBudget
from .flow import Flow
from .history import peak, profiles
from .history.peak import Peak
from .history.profiles import EMPTY, Baseline
from .host import Host
from .model import Missing, Sample, Table
from .namedtuples import NamedTuple
from .readers import ctnetlink, proc_conntrack, sockets
from .readers.sockets import Owner

#: seconds for reading a sample
SAMPLE_SECONDS = 1.0
#: flows of a profile that is recorded while all is well
BASELINE_FLOWS = 2000
#: a table below this part of its peak has emptied since
EMPTIED = 0.75
#: what was there at this part of the way back up to the peak shows what filled it
NEAR_PEAK = 0.25
#: entries below this part of nf_conntrack_max explain nothing
NEWS = 0.01
#: how far before the trouble its peak is looked for, in seconds
BEFORE = 300.0
#: local processes are looked for when so much of the table starts at this host
LOCAL_SHARE = 0.1

_T = TypeVar('_T')


class Diagnosis(NamedTuple):
    """What a sample of the flows says."""

    #: wall time of the sample
    at: float
    profile: Profile
    baseline: Baseline | Missing
    growth: tuple[Growth, ...]
    #: share of the table, 0 to 1, that this host's own addresses opened; only the largest sources are looked at
    local: float
    owners: tuple[Owner, ...] | Missing
    #: the table has emptied since the trouble, of which `cause` is what was seen nearest to its peak
    emptied: bool = False
    cause: Cause | None = None
    #: then: is it known that it was full, and why its flows could not be read now
    was_full: bool = False
    unread: Missing | None = None


class Cause(NamedTuple):
    """What filled a table that has emptied since."""

    #: wall time of the profile, and usage then in percent
    at: float
    usage: float
    profile: Profile
    baseline: Baseline | Missing
    growth: tuple[Growth, ...]


def take_profile(host: Host, table: Table, most: int, budget: TimeBudget, netns_file: str = '') -> Profile | Missing:
    """The profile of the first `most` flows that the kernel lists: a random sample, in constant time.

    abroad: the file of another namespace, whose flows are read from within.
    """
    profile = sample_flows(host, lambda flows: summarize(flows, table.entries), most, budget, netns_file)
    if isinstance(profile, Profile) and not profile.seen:
        return Missing('the kernel listed no flow in time')
    return profile


def sample_flows(host: Host, use: Callable[[Iterator[Flow]], _T], most: int, budget: TimeBudget,
                 netns_file: str = '') -> _T | Missing:
    """What `use` makes of the first `most` flows, from the first source that answers; abroad: see `take_profile`."""
    with budget():
        if not netns_file:
            return _read_flows(host, use, most)
        if not host.is_this_kernel():
            return Missing('flows are read of the running kernel only')
        from .netns import enter  # only where another namespace is the worst

        return enter.run_in_netns(host, netns_file, lambda: _read_flows(host, use, most))


def _read_flows(host: Host, use: Callable[[Iterator[Flow]], _T], most: int) -> _T | Missing:
    until = time.monotonic() + SAMPLE_SECONDS
    made: _T | Missing = Missing('flows are read of the running kernel only')
    if host.is_this_kernel():
        made = ctnetlink.read_flows(use, most, until)
    if isinstance(made, Missing):
        # quadratic below 6.18: its first lines only
        lines = proc_conntrack.read_flows(host, use, most, until)
        made = made if isinstance(lines, Missing) and host.is_this_kernel() else lines
    return made


def diagnose(host: Host, a: Assessment, most: int, budget: TimeBudget, patience: float, quiet: bool,
             netns_file: str = '') -> Diagnosis | Missing:
    """The reason behind an assessment, each part within its own share of the time.

    quiet: the check is OK, so the profile counts as a usual one; abroad: see `take_profile`.
    """
    table, sample = a.snapshot.table, a.snapshot.sample()
    if not isinstance(table, Table):
        return Missing('no connection tracking table')
    emptied, was_full, highest = (False, False, None) if quiet else _emptied(a, table, sample, budget, patience)
    unread: Missing | None = None
    if not table.entries and not emptied:
        return Missing('the table is empty', chosen=True)
    profile = take_profile(host, table, most, budget, netns_file) if table.entries else EMPTY
    if isinstance(profile, Missing):
        if not emptied:
            return profile
        unread = profile
        profile = EMPTY
    baseline: Baseline | Missing = Missing('no history')
    cause = None
    if a.history_file and isinstance(sample, Sample):
        with budget():
            baseline = profiles.read_baseline(a.history_file, sample, patience)
        if highest is not None:
            with budget():
                cause = _cause(a.history_file, table, highest, patience)
        if profile is not EMPTY:
            with budget():
                profiles.record(a.history_file, sample, profile, quiet, patience)
    if not emptied:
        return explain(host, a.snapshot.at.wall, profile, baseline, budget, netns_file, table.maximum)
    left = () if isinstance(baseline, Missing) else worth_telling(growth(profile, baseline.profiles), table.maximum)
    return Diagnosis(a.snapshot.at.wall, profile, baseline, left, 0.0, (), True, cause, was_full, unread)


def _emptied(a: Assessment, table: Table, sample: Sample | Missing, budget: TimeBudget,
             patience: float) -> tuple[bool, bool, Peak | None]:
    """Is the table well below the peak of the trouble that the check reports? Is it known that it was full then?

    And that peak, where it was recorded.
    """
    now = a.snapshot.at.wall
    logged = () if isinstance(a.log, Missing) else a.log.ages
    was_full = bool(logged or (a.losses and a.losses.packets.get('early_drop')))
    # a packet is dropped for want of memory, too
    full = was_full or bool(a.drops or (a.losses and a.losses.dropped))
    spans = [BEFORE, *logged, *(now - one for one in (a.crossed and a.crossed.since, a.drops and a.drops.first) if one)]
    if a.losses and a.losses.lost:
        spans.append(a.losses.span)
    highest: Peak | Missing | None = None
    if a.history_file and isinstance(sample, Sample):
        with budget():
            highest = peak.read_peak(a.history_file, sample, max(spans) + BEFORE, patience)
    if not isinstance(highest, Peak):
        return full and not table.unlimited and table.entries < EMPTIED * table.maximum, was_full, None
    # without a limit, or where it was raised since, the table was as full as it was seen
    limit = min(highest.maximum, table.maximum) if highest.maximum > 0 else 0
    most = max(highest.entries, limit) if full and not table.unlimited else highest.entries
    troubled = full or (a.crossed is not None and a.crossed.held)
    return (troubled and table.entries < EMPTIED * most, was_full or table.entries < EMPTIED * highest.entries,
            highest._replace(entries=most))


def _cause(file: str, table: Table, highest: Peak, patience: float) -> Cause | None:
    """What the profile nearest to the peak says, where much of what filled the table was still there."""
    then, profile = highest.sample, highest.profile
    if then is None or profile is None \
            or then.entries - table.entries < NEAR_PEAK * (highest.entries - table.entries):
        return None
    baseline = profiles.read_baseline(file, then, patience)
    grown = () if isinstance(baseline, Missing) else growth(profile, baseline.profiles)
    usage = then.entries * 100.0 / then.maximum if then.maximum > 0 else 0.0
    return Cause(then.at.wall, usage, profile, baseline, worth_telling(grown, then.maximum))


def worth_telling(grown: tuple[Growth, ...], maximum: int) -> tuple[Growth, ...]:
    """Those that grew by more than next to nothing."""
    return tuple(one for one in grown if one.entries >= NEWS * maximum)


def explain(host: Host, at: float, profile: Profile, baseline: Baseline | Missing, budget: TimeBudget,
            netns_file: str = '', maximum: int = 0) -> Diagnosis:
    """What a profile of this wall time says beside a baseline.

    netns_file: see `take_profile`; maximum: of the table.
    """
    grown = worth_telling(growth(profile, baseline.profiles), maximum) if isinstance(baseline, Baseline) else ()
    local, owned = (0.0, Missing('another namespace', chosen=True)) if netns_file \
        else _local(host, profile, grown, budget)
    return Diagnosis(at, profile, baseline, grown, local, owned)


def keep_baseline(host: Host, a: Assessment, budget: TimeBudget, patience: float,
                  netns_file: str = '') -> Profile | None:
    """While all is well: takes and records a small profile of what is usual."""
    table, sample = a.snapshot.table, a.snapshot.sample()
    if not (a.history_file and isinstance(table, Table) and isinstance(sample, Sample)):
        return None
    profile = take_profile(host, table, BASELINE_FLOWS, budget, netns_file)
    if isinstance(profile, Missing):
        return None
    with budget():
        profiles.record(a.history_file, sample, profile, quiet=True, patience=patience)
    return profile


def _local(host: Host, profile: Profile, grown: tuple[Growth, ...],
           budget: TimeBudget) -> tuple[float, tuple[Owner, ...] | Missing]:
    """How much of the table starts at this host, and which processes own the most of it."""
    if not host.is_this_kernel():
        return 0.0, Missing('another host', chosen=True)
    with budget():
        local = sum(count for key, count in profile.sources if sockets.is_local(key.source)) / profile.seen
    if local < LOCAL_SHARE:
        return local, ()
    key = grown[0].key if grown else None
    with budget():
        return local, sockets.owners(*((key.destination, key.port) if key else ()))
