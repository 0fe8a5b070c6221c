"""Every namespace in one verdict: which one leads, and what is said of the others."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from nagiosplugin import Context, Metric, Ok

from ..assessment import Assessment
from ..formatting import clean, count, percent
from ..host import Host
from ..model import Missing, Table
from ..namedtuples import NamedTuple
from ..netns.assess import Fleet, Member
from ..netns.snapshots import ALL
from .contexts import SEVERITY
from .options import Options, upper_line
from .resource import metrics

#: namespaces that the long output names
MOST_NAMED = 5
#: an estimate: a bare entry takes 320 bytes, one with NAT and accounting 450
BYTES_AN_ENTRY = 400


class _Stand(NamedTuple):
    """What a context asks of a resource."""

    assessment: Assessment


class Roll(NamedTuple):
    """The fleet in order, the worst first, and what it is called."""

    fleet: Fleet
    order: tuple[Member, ...]
    #: of the first few in that order
    titles: tuple[str, ...]
    over_warning: int
    #: the usage line that those are over, in words
    line: str
    #: is none in trouble?
    fine: bool
    #: was every namespace asked for, or some by name?
    everything: bool

    @property
    def leader(self) -> Member:
        return self.order[0]

    @property
    def leads_abroad(self) -> bool:
        """Is the first in order another namespace than the one this process is in?"""
        return self.leader.namespace.inode != self.fleet.own.netns


def call(host: Host, fleet: Fleet, contexts: Sequence[Context], options: Options) -> Roll:
    """Puts the fleet in order: by state, then packets lost, log lines and usage. At least one member."""
    judges = {context.name: context for context in contexts}
    ranks: dict[int, tuple[int, int, int, float]] = {}
    over = 0
    for place, member in enumerate(fleet.members):
        stand, worst = _Stand(member.assessment), len(SEVERITY)
        for metric in metrics(member.assessment):
            name = metric.context or metric.name
            if name in ('shown', 'entries'):
                continue  # never judged
            state = judges[name].evaluate(metric, stand).state
            worst = min(worst, SEVERITY.index(state))
            over += name == 'usage' and state != Ok
        ranks[place] = (worst, -member.lost, -member.logged, -member.usage)
    order = tuple(fleet.members[place] for place in sorted(ranks, key=lambda place: ranks[place]))
    limit = upper_line(options.usage.warning)
    line = 'outside the warning range' if limit is None else f'over {limit:g}%'
    titles = tuple(fleet.title(host, member) for member in order[:MOST_NAMED])
    fine = min(ranks.values())[0] == SEVERITY.index(Ok)
    return Roll(fleet, order, titles, over, line, fine, options.netns == (ALL,))


def fleet_metrics(roll: Roll) -> Iterator[Metric]:
    """What is counted over all; a namespace that was asked for by name and not seen is UNKNOWN."""
    yield Metric('namespaces', len(roll.order), min=0, context='shown')
    yield Metric('namespaces_over_warning', roll.over_warning, min=0, context='shown')
    yield Metric('entries_all_namespaces', roll.fleet.entries, min=0, context='shown')
    unseen = missing(roll.fleet)
    if unseen:
        yield Metric('namespaces' if roll.everything else 'usage', unseen, context='missing')


def missing(fleet: Fleet) -> Missing | None:
    """What was asked for and not seen."""
    tour = fleet.tour
    parts = [f'no network namespace {clean(word, 60)}' for word in tour.unknown]
    parts += [f'{number} not entered: {clean(why.why)}' for why, number in tour.unseen.items()]
    if tour.hidden:
        parts.append(f'those of {count(tour.hidden, "process")} not told apart: needs root')
    if tour.closed:
        parts.append(f'named ones unknown: no access to {clean(tour.closed)}')
    remedy = next((why.remedy for why in tour.unseen if why.remedy), '')
    return Missing('; '.join(parts), remedy) if parts else None


def phrase(roll: Roll) -> str:
    """How the leader stands among the others."""
    number = len(roll.order)
    if roll.over_warning:
        return f'{roll.over_warning} of {count(number, "namespace")} {roll.line}'
    return f'the {"fullest" if roll.fine else "worst"} of {number} namespaces' if number > 1 else ''


def lines(roll: Roll) -> list[str]:
    """What the long output says of all namespaces."""
    fleet = roll.fleet
    said = []
    if len(roll.order) > 1:
        said.append(('fullest' if roll.fine else 'worst') + ' namespaces: ' + ', '.join(
            f'{title} {_how_full(member)}' for place, (title, member) in enumerate(zip(roll.titles, roll.order))
            if place == 0 or member.entries or member.lost))
        megabytes = fleet.entries * BYTES_AN_ENTRY / 1e6
        said.append(f'memory: {len(roll.order)} namespaces hold {count(fleet.entries, "entry")} together, '
                    f'about {megabytes:.{0 if megabytes >= 10 else 1}f} MB; nf_conntrack_max limits each one alone')
    if fleet.guessed:
        said.append('kernel log: this kernel does not say which namespace: '
                    'taken for the one that lost most, else the fullest')
    if fleet.strays and roll.everything:
        owners = ', '.join(f'network namespace {inode}' if inode else 'the initial network namespace'
                           for inode in list(fleet.strays)[:MOST_NAMED])
        said.append(f'kernel log: {count(sum(fleet.strays.values()), "table-full line")} for {owners}: '
                    'gone, or not among those looked at')
    unseen = missing(fleet)
    if unseen:
        said.append(f'not checked: namespaces: {unseen.why}' + (f'; {unseen.remedy}' if unseen.remedy else ''))
    if fleet.tour.stale:
        said.append(f'names in /run/netns that lead to no namespace: {fleet.tour.stale}')
    return said


def commands(roll: Roll, told: list[str]) -> list[str]:
    """The lines, the command to look further among them made to look into the leader's namespace."""
    prefix = 'look further: sudo '
    one = roll.leader.namespace
    if not roll.leads_abroad or not (one.name or one.pids):
        return told
    enter = f'ip netns exec {shlex.quote(clean(one.name))}' if one.name else f'nsenter -t {one.pids[0]} -n'
    return [f'{prefix}{enter} {line[len(prefix):]}' if line.startswith(prefix) else line for line in told]


def abroad(host: Host, roll: Roll) -> str:
    """The file to enter the leader's namespace by; '' when this process is in it."""
    one = roll.leader.namespace
    return (one.path or host.path(f'{one.pids[0] if one.pids else 0}/ns/net')) if roll.leads_abroad else ''


def _how_full(member: Member) -> str:
    table = member.assessment.snapshot.table
    if not isinstance(table, Table):
        return '(unreadable)'
    parts = [count(table.entries, 'entry')]
    if member.lost:
        parts.append(f'{count(member.lost, "packet")} lost')
    if member.logged:
        parts.append(count(member.logged, 'table-full line'))
    return ', '.join(parts) if table.unlimited else f'{percent(table.usage)} ({", ".join(parts)})'
