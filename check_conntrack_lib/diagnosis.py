"""What fills the table and what changed, from a sample of its flows. It explains a state and never changes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from .analysis import nat_ports
from .analysis.nat_ports import PortUse
from .analysis.profile import Profile, spares_offloaded, summarize
from .analysis.profile_diff import Growth, growth
from .analysis.rates import Fresh, NewRate
from .assessment import Assessment
from .deadline import OutOfTime, TimeBudget
from .flow import Flow
from .history import profiles
from .history.profiles import Baseline
from .host import Host
from .model import Missing, Sample, Table
from .namedtuples import NamedTuple
from .netns import address_names
from .readers import ctnetlink, proc_conntrack, sockets, sysctl_values
from .readers.kernel_version import read_release
from .readers.sockets import Owner

#: seconds for reading a sample
SAMPLE_SECONDS = 1.0
#: flows of a profile that is recorded while all is well
BASELINE_FLOWS = 2000
#: entries that are counted and not listed: so many are none that came and went meanwhile, and this part of the table
LEAST_UNLISTED, UNLISTED = 100, 0.2
IN_NO_LIST = 'counted entries are in no list: packets that a queue holds, or entries that a module never gave back'
NOT_LISTED = ('sudo conntrack -L unconfirmed, sudo conntrack -L dying and /proc/net/netfilter/nfnetlink_queue show '
              'them, else only a reboot frees them; a larger table does not help')
#: local processes are looked for when so much of the table starts at this host
LOCAL_SHARE = 0.1
#: NAT ports are counted where this part of them may be used
COUNTED = 0.5
#: seconds for that
COUNT_SECONDS = 1.8

#: keys of each sort whose addresses are given a name
NAMED = 4

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
    #: new connections per second by the time left of the entries; None: not known
    rate: NewRate | None = None


def take_profile(host: Host, table: Table, most: int, budget: TimeBudget, netns_file: str = '',
                 watch: Callable[[Iterator[Flow]], Iterator[Flow]] | None = None,
                 ports: bool = True) -> Profile | Missing:
    """The profile of the first `most` flows that the kernel lists: a random sample, in constant time.

    netns_file: of another namespace, whose flows are read from within; watch: what else looks at the same flows;
    ports: count the ports of source NAT where they may be short.
    """
    stay = spares_offloaded(read_release(host))

    def use(flows: Iterator[Flow]) -> Profile:
        return summarize(watch(flows) if watch else flows, table.entries, stay)

    began = time.monotonic()
    profile = checked(host, sample_flows(host, use, most, budget, netns_file), most, began, netns_file)
    if isinstance(profile, Missing):
        return profile
    profile = profile._replace(complete=profile.seen < most and time.monotonic() - began < SAMPLE_SECONDS)
    return count_ports(host, profile, budget, netns_file) if ports else profile


def checked(host: Host, profile: Profile | Missing, most: int | None, began: float,
            netns_file: str = '') -> Profile | Missing:
    """The profile, unless most of what the kernel counts is in no list: a listing that ended by itself is no sample.

    most: entries at most that were asked for, None: all; began: when, on CLOCK_MONOTONIC.
    """
    if isinstance(profile, Missing):
        return profile
    if most is None or (profile.seen < most and time.monotonic() - began < SAMPLE_SECONDS):
        # the listing itself removes the expired entries, which were counted before
        counted = _count(host, netns_file)
        hidden = 0 if counted is None else min(counted, profile.entries) - profile.seen
        if hidden >= LEAST_UNLISTED and hidden > UNLISTED * profile.entries:
            return Missing(f'{hidden} of {profile.entries} {IN_NO_LIST}', NOT_LISTED)
    return profile if profile.seen else Missing('the kernel listed no flow in time')


def _count(host: Host, netns_file: str) -> int | None:
    """The entries that are counted now; None: not known."""
    def read() -> int:
        return sysctl_values.parse(host.read(sysctl_values.COUNT))

    try:
        if not netns_file:
            return read()
        from .netns import enter

        found = enter.run_in_netns(host, netns_file, read)
    except (OSError, ValueError):
        return None
    return None if isinstance(found, Missing) else found


def count_ports(host: Host, profile: Profile, budget: TimeBudget, netns_file: str = '') -> Profile:
    """The same with all ports counted of the pools of source NAT that may be half used or more.

    The share of a sample errs high where expired entries are in nf_conntrack_count.
    """
    if not any(one.share > COUNTED and not one.exact for one in profile.nat_ports) or not host.is_this_kernel():
        return profile
    found = [_count_ports(host, one, budget, netns_file) if one.share > COUNTED and not one.exact else one
             for one in profile.nat_ports]
    return profile._replace(nat_ports=tuple(sorted(found, key=lambda one: (-one.share, one.pool))))


def _count_ports(host: Host, use: PortUse, budget: TimeBudget, netns_file: str) -> PortUse:
    def read() -> PortUse | Missing:
        until = time.monotonic() + COUNT_SECONDS
        return ctnetlink.read_flows(lambda flows: nat_ports.count_exactly(flows, use), until=until, pool=use.pool)

    began = time.monotonic()
    with budget():
        if netns_file:
            from .netns import enter

            counted = enter.run_in_netns(host, netns_file, read)
        else:
            counted = read()
    # a dump that was cut short is no count
    in_time = time.monotonic() - began < COUNT_SECONDS
    return counted if isinstance(counted, PortUse) and in_time else use


def sample_flows(host: Host, use: Callable[[Iterator[Flow]], _T], most: int, budget: TimeBudget,
                 netns_file: str = '') -> _T | Missing:
    """What `use` makes of the first `most` flows, from the first source that answers.

    netns_file: see `take_profile`.
    """
    with budget():
        if not netns_file:
            return _read_flows(host, use, most)
        if not host.is_this_kernel():
            return Missing('flows are read of the running kernel only')
        from .netns import enter  # only where another namespace is the worst

        until = time.monotonic() + SAMPLE_SECONDS
        opened = enter.open_netlink(host, netns_file)
        made = opened if isinstance(opened, Missing) else ctnetlink.read_flows(use, most, until, opened)
        return enter.run_in_netns(host, netns_file, lambda: proc_conntrack.read_flows(host, use, most, until)) \
            if isinstance(made, Missing) and not isinstance(opened, Missing) else made


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
    """The cause behind an assessment, each part within its own share of the time.

    quiet: the check is OK, so the profile counts as a usual one; netns_file: see `take_profile`.
    """
    table, sample = a.snapshot.table, a.snapshot.sample()
    if not isinstance(table, Table):
        return Missing('no connection tracking table')
    if not table.entries:
        return Missing('the table is empty', chosen=True)
    # the timeouts of another namespace are its own
    seconds = sysctl_values.read_timeouts(host) if not netns_file else Missing('another namespace')
    fresh = Fresh({} if isinstance(seconds, Missing) else seconds)
    profile = take_profile(host, table, most, budget, netns_file, fresh.watch)
    if isinstance(profile, Missing):
        return profile
    baseline: Baseline | Missing = Missing('no history')
    if a.history_file and isinstance(sample, Sample):
        with budget():
            baseline = profiles.read_baseline(a.history_file, sample, patience)
    found = explain(host, a.snapshot.at.wall, profile, baseline, budget, netns_file)
    if a.history_file and isinstance(sample, Sample):
        with budget():
            # with the names: who had an address may be gone in the morning
            profiles.record(a.history_file, sample, found.profile, quiet, patience)
    return found._replace(rate=fresh.rate(table.entries))


def explain(host: Host, at: float, profile: Profile, baseline: Baseline | Missing, budget: TimeBudget,
            netns_file: str = '') -> Diagnosis:
    """What a profile of this wall time says beside a baseline; netns_file: see `take_profile`."""
    grown = growth(profile, baseline.profiles) if isinstance(baseline, Baseline) else ()
    local, owned = (0.0, Missing('another namespace', chosen=True)) if netns_file \
        else _local(host, profile, grown, budget)
    return Diagnosis(at, with_names(host, profile, grown, budget), baseline, grown, local, owned)


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
