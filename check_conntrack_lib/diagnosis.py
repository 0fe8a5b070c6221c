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
from .history import profiles
from .history.profiles import Baseline
from .host import Host
from .model import Missing, Sample, Table
from .namedtuples import NamedTuple
from .readers import ctnetlink, proc_conntrack, sockets
from .readers.sockets import Owner

#: seconds for reading a sample
SAMPLE_SECONDS = 1.0
#: flows of a profile that is recorded while all is well
BASELINE_FLOWS = 2000
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
    if not table.entries:
        return Missing('the table is empty', chosen=True)
    profile = take_profile(host, table, most, budget, netns_file)
    if isinstance(profile, Missing):
        return profile
    baseline: Baseline | Missing = Missing('no history')
    if a.history_file and isinstance(sample, Sample):
        with budget():
            baseline = profiles.read_baseline(a.history_file, sample, patience)
        with budget():
            profiles.record(a.history_file, sample, profile, quiet, patience)
    return explain(host, a.snapshot.at.wall, profile, baseline, budget, netns_file)


def explain(host: Host, at: float, profile: Profile, baseline: Baseline | Missing, budget: TimeBudget,
            netns_file: str = '') -> Diagnosis:
    """What a profile of this wall time says beside a baseline; abroad: see `take_profile`."""
    grown = growth(profile, baseline.profiles) if isinstance(baseline, Baseline) else ()
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
