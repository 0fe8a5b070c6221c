"""What `tune` knows and proposes: the readings of one moment, and the advice that follows from them."""

from __future__ import annotations

import os

from ...analysis import notrack, sizing, timeouts
from ...analysis.notrack import Candidate, Refused
from ...analysis.profile import Profile, summarize
from ...analysis.sizing import ChainLimit, Peak, Size
from ...analysis.timeouts import Proposal
from ...deadline import TimeBudget
from ...diagnosis import take_profile
from ...formatting import clean
from ...history import readonly
from ...host import Host
from ...model import Missing, NotLoaded, Sample, Table
from ...namedtuples import NamedTuple
from ...readers import ctnetlink, keepers, meminfo, slabinfo, sysctl_values
from ...readers.keepers import SysctlSetter
from .. import DoctorError

DAY = 86400.0
#: a recorded profile speaks for the peak if it was taken within so many seconds of it
NEAR = 1800.0


class Recorded(NamedTuple):
    """What the check's recorder has seen."""

    path: str
    #: the highest of all namespaces: the maximum is one for all
    peak: Peak
    #: inode of its namespace
    netns: int


class Readings(NamedTuple):
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
    keepers: tuple[SysctlSetter, ...]
    container: str


class Plan(NamedTuple):
    """The advice."""

    readings: Readings
    #: what the size is for: the recorded peak, or the entries of now where they are more
    peak: Peak
    limit: ChainLimit
    size: Size
    #: what alone makes the table large, at the recorded peak or now
    first: tuple[str, ...]
    timeouts: tuple[Proposal, ...]
    candidates: tuple[Candidate, ...]
    refused: tuple[Refused, ...]
    #: alert lines for the proposed size, in percent
    warning: int
    critical: int


def gather(host: Host, history: str | None, most: int | None,
           share: TimeBudget) -> Readings:
    """Reads everything, each source failing alone. Raises Trouble where there is no table.

    most: entries of the table to look at; None: all.
    """
    at = host.clock().wall
    table = sysctl_values.read(host)
    if isinstance(table, NotLoaded):
        raise DoctorError(f'connection tracking is not loaded: no {table.path}')
    if isinstance(table, Missing):
        raise DoctorError(f'cannot read the table: {table.why}')
    recorded, peak_profile = _recorded(history)
    names = os.uname()
    return Readings(at, names.nodename, names.release, table, sysctl_values.is_initial_namespace(host), host.netns(),
                    recorded, _profile(host, table, most, share), peak_profile, sysctl_values.read_timeouts(host),
                    slabinfo.read(host), meminfo.read(host), keepers.read(host), keepers.read_container(host))


def make(r: Readings) -> Plan:
    """The advice that follows from the readings."""
    now = Peak(r.table.entries, r.at, 0.0, 1, r.table.maximum)
    peak = now if isinstance(r.recorded, Missing) else r.recorded.peak
    if peak.entries < now.entries:
        peak = now._replace(days=peak.days, samples=peak.samples)
    size = sizing.propose(peak.entries, r.table, r.entry)
    first: tuple[str, ...] = ()
    if r.peak_profile:
        first = tuple(f'at the recorded peak {line}' for line in sizing.concentration(r.peak_profile))
    proposals: tuple[Proposal, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    refused: tuple[Refused, ...] = ()
    if isinstance(r.profile, Profile):
        first += tuple(sizing.concentration(r.profile))
        candidates, refused = notrack.candidates(r.profile)
        if not isinstance(r.timeouts, Missing):
            proposals = timeouts.proposals(r.profile, r.timeouts)
            first += tuple(timeouts.leaks(proposals))
    warning, critical = sizing.alert_lines(peak, size.maximum)
    return Plan(r, peak, sizing.chain_limit(r.release), size, first, proposals, candidates, refused, warning, critical)


def _profile(host: Host, table: Table, most: int | None,
             share: TimeBudget) -> Profile | Missing:
    if most is not None:
        return take_profile(host, table, most, share)
    if not host.is_this_kernel():
        return Missing('all flows are read of the running kernel only')
    return ctnetlink.read_flows(lambda flows: summarize(flows, table.entries))


def _recorded(path: str | None) -> tuple[Recorded | Missing, Profile | None]:
    path = path or readonly.newest(readonly.candidate_files(os.environ))
    if path is None:
        return Missing('no history yet', 'it is kept from the first run of check_conntrack on'), None
    samples = readonly.read_samples(path, float('-inf'), float('inf'))
    if isinstance(samples, Missing):
        return samples, None
    if not samples:
        return Missing(f'{clean(path)}: nothing is recorded yet'), None
    top = max(samples, key=lambda sample: (sample.entries, sample.at.wall))
    days = (samples[-1].at.wall - samples[0].at.wall) / DAY
    peak = Peak(top.entries, top.at.wall, days, len(samples), top.maximum)
    return Recorded(path, peak, top.netns), _near(path, top)


def _near(path: str, top: Sample) -> Profile | None:
    """What was in the table around the moment of a sample."""
    profiles = readonly.read_profiles(path, top.at.wall - NEAR, top.at.wall + NEAR)
    if isinstance(profiles, Missing):
        return None
    own = [past for past in profiles if (past.boot_id, past.netns) == (top.boot_id, top.netns)]
    return min(own, key=lambda past: abs(past.at - top.at.wall)).profile if own else None
