"""What fills the table and what changed, from a sample of its flows. It explains a state and never changes it."""

from __future__ import annotations

from ..analysis.profile import Profile
from ..analysis.profile_diff import Growth
from ..analysis.rates import NewEntryCounter, NewRate
from ..assessment import Assessment
from ..deadline import OutOfTime, TimeBudget
from ..history import profiles
from ..history.profiles import EMPTY, Baseline
from ..host import Host
from ..model import Missing, Sample, Table
from ..namedtuples import NamedTuple
from ..netns import address_names
from ..readers import sockets, sysctl_values
from ..readers.sockets import Owner
from .emptied import Cause, cause_at, has_emptied
from .named_growth import large_growth
from .sample import take_profile

#: flows of a profile that is recorded while all is well
BASELINE_FLOWS = 2000
#: local processes are looked for when at least this part of the table was opened by this host
LOCAL_SHARE = 0.1
#: the largest keys of each kind whose addresses are looked up by name
NAMED = 4


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
    #: new connections per second, derived from the seconds that entries have left; None: not known
    rate: NewRate | None = None
    #: the table has emptied since the losses; `cause` is what it held nearest to its peak
    emptied: bool = False
    cause: Cause | None = None
    #: then: is it known that it was full, and why its flows could not be read now
    was_full: bool = False
    unread: Missing | None = None
    #: see `Cause`
    spread: int = 0


def diagnose(host: Host, a: Assessment, most: int, budget: TimeBudget, patience: float, quiet: bool,
             netns_file: str = '') -> Diagnosis | Missing:
    """The cause behind an assessment, each part within its own share of the time.

    quiet: the check is OK, so the profile counts as a usual one; netns_file: see `take_profile`.
    """
    table, sample = a.snapshot.table, a.snapshot.sample()
    if not isinstance(table, Table):
        return Missing('no connection tracking table')
    emptied, was_full, highest = (False, False, None) if quiet else has_emptied(a, table, sample, budget, patience)
    unread: Missing | None = None
    if not table.entries and not emptied:
        return Missing('the table is empty', chosen=True)
    # the timeouts of another namespace are its own
    seconds = sysctl_values.read_timeouts(host) if not netns_file else Missing('another namespace')
    fresh = NewEntryCounter({} if isinstance(seconds, Missing) else seconds)
    profile = take_profile(host, table, most, budget, netns_file, fresh.watch) if table.entries else EMPTY
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
                cause = cause_at(a.history_file, table, highest, patience)
    found = explain(host, a.snapshot.at.wall, profile, baseline, budget, netns_file, table.maximum)
    if a.history_file and isinstance(sample, Sample) and profile is not EMPTY:
        with budget():
            # with the names: who had an address may be gone in the morning
            profiles.record(a.history_file, sample, found.profile, quiet, patience)
    if not emptied:
        return found._replace(rate=fresh.rate(table.entries))
    return found._replace(local=0.0, owners=(), emptied=True, cause=cause, was_full=was_full, unread=unread)


def explain(host: Host, at: float, profile: Profile, baseline: Baseline | Missing, budget: TimeBudget,
            netns_file: str = '', maximum: int = 0) -> Diagnosis:
    """What a profile of this wall time says beside a baseline.

    netns_file: see `take_profile`; maximum: of the table.
    """
    grown, spread = large_growth(profile, baseline, maximum)
    local, owned = (0.0, Missing('another namespace', chosen=True)) if netns_file \
        else _local(host, profile, grown, budget) if profile.seen else (0.0, ())
    return Diagnosis(at, with_names(host, profile, grown, budget), baseline, grown, local, owned, spread=spread)


def with_names(host: Host, profile: Profile, grown: tuple[Growth, ...], budget: TimeBudget) -> Profile:
    """The profile with what this host knows of the addresses that are mentioned."""
    keys = [key for keys in (profile.sources, profile.destinations, profile.targets) for key, _seen in keys[:NAMED]]
    keys += [one.key for one in grown]
    wanted = {address for key in keys for address in (key.source, key.destination)} | {one.source for one in grown}
    try:
        with budget():
            return profile._replace(names=address_names.resolve(host, wanted - {''}))
    except OutOfTime:
        return profile


def keep_baseline(host: Host, a: Assessment, budget: TimeBudget, patience: float,
                  netns_file: str = '') -> Profile | None:
    """While all is well: takes and records a small baseline profile."""
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
    """The share of the table that this host opened, 0 to 1, and the processes that own the most of it."""
    if not host.is_this_kernel():
        return 0.0, Missing('another host', chosen=True)
    with budget():
        local = sum(count for key, count in profile.sources if sockets.is_local(key.source)) / profile.seen
    if local < LOCAL_SHARE:
        return local, ()
    key = grown[0].key if grown else None
    with budget():
        return local, sockets.owners(*((key.destination, key.port) if key else ()))
