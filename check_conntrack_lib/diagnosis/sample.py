"""A sample of the table: the first entries that the kernel lists, as a profile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..analysis import nat_ports
from ..analysis.nat_ports import PortUse
from ..analysis.profile import Profile
from ..analysis.profile_counter import spares_offloaded, summarize
from ..deadline import TimeBudget
from ..flow import Flow
from ..host import Host
from ..model import Missing, Table
from ..readers import ctnetlink, proc_conntrack, sysctl_values
from ..readers.kernel_version import read_release

#: seconds for reading a sample
SAMPLE_SECONDS = 1.0
#: entries that are counted but not listed are reported from this number on (fewer may have come and gone meanwhile), if
#: they are more than this part of the table
LEAST_UNLISTED, UNLISTED = 100, 0.2
IN_NO_LIST = 'counted entries are in no list: packets that a queue holds, or entries that a module never gave back'
NOT_LISTED = ('sudo conntrack -L unconfirmed, sudo conntrack -L dying and /proc/net/netfilter/nfnetlink_queue show '
              'them, else only a reboot frees them; a larger table does not help')
#: all ports of a pool of source NAT are counted where the sample says that more than this part of them is used
COUNTED = 0.5
#: seconds for counting them
COUNT_SECONDS = 1.8

_T = TypeVar('_T')


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
        from ..netns import enter

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
            from ..netns import enter

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
        from ..netns import enter  # only where another namespace is the worst

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
