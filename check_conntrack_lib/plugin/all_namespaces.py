"""All namespaces in one state: the worst one determines it, the others are listed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from nagiosplugin import Context, Metric, Ok

from ..assessment import Assessment
from ..formatting import clean, count, percent
from ..host import Host
from ..model import Missing, Table
from ..namedtuples import NamedTuple
from ..netns.assess import NamespaceAssessment, NamespaceAssessments
from ..netns.snapshots import ALL
from .contexts import SEVERITY
from .options import Options, upper_line
from .resource import metrics

#: namespaces that the long output names
MOST_NAMED = 5
#: an estimate: a bare entry takes 320 bytes, one with NAT and accounting 450
BYTES_AN_ENTRY = 400
TABLE_FULL = '"table full" message'


class _ResourceStub(NamedTuple):
    """What a context asks of a resource."""

    assessment: Assessment


class Ranking(NamedTuple):
    """The fleet in order, the worst first, and what it is called."""

    assessments: NamespaceAssessments
    order: tuple[NamespaceAssessment, ...]
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
    def worst(self) -> NamespaceAssessment:
        return self.order[0]

    @property
    def is_other_netns(self) -> bool:
        """Is the first in order another namespace than the one this process is in?"""
        return self.worst.namespace.inode != self.assessments.own.netns


def rank_namespaces(host: Host, assessments: NamespaceAssessments, contexts: Sequence[Context],
                    options: Options) -> Ranking:
    """Puts the fleet in order: by state, then packets lost, log lines and usage. At least one member."""
    judges = {context.name: context for context in contexts}
    ranks: dict[int, tuple[int, int, int, float]] = {}
    over = 0
    for place, member in enumerate(assessments.members):
        stand, worst = _ResourceStub(member.assessment), len(SEVERITY)
        for metric in metrics(member.assessment):
            name = metric.context or metric.name
            if name in ('value', 'entries'):
                continue  # never judged
            state = judges[name].evaluate(metric, stand).state
            worst = min(worst, SEVERITY.index(state))
            over += name == 'usage' and state != Ok
        ranks[place] = (worst, -member.lost, -member.logged, -member.usage)
    order = tuple(assessments.members[place] for place in sorted(ranks, key=lambda place: ranks[place]))
    limit = upper_line(options.limits['usage'].warning)
    line = 'outside the warning range' if limit is None else f'above {limit:g}%'
    titles = tuple(assessments.title(host, member) for member in order[:MOST_NAMED])
    fine = min(ranks.values())[0] == SEVERITY.index(Ok)
    return Ranking(assessments, order, titles, over, line, fine, options.netns == (ALL,))


def namespace_metrics(ranking: Ranking) -> Iterator[Metric]:
    """What is counted over all; a namespace that was asked for by name and not seen is UNKNOWN."""
    yield Metric('namespaces', len(ranking.order), min=0, context='value')
    yield Metric('namespaces_over_warning', ranking.over_warning, min=0, context='value')
    yield Metric('entries_all_namespaces', ranking.assessments.entries, min=0, context='value')
    unseen = missing(ranking.assessments)
    if unseen:
        yield Metric('namespaces' if ranking.everything else 'usage', unseen, context='missing')


def missing(assessments: NamespaceAssessments) -> Missing | None:
    """What was asked for and not seen."""
    snapshots = assessments.snapshots
    parts = [f'network namespace {clean(word, 60)} not found' for word in snapshots.unknown]
    parts += [f'{number} not entered: {clean(why.why)}' for why, number in snapshots.unseen.items()]
    if snapshots.hidden:
        parts.append(f'namespaces of {count(snapshots.hidden, "process")} not identified: needs root')
    if snapshots.closed:
        parts.append(f'named ones unknown: no access to {clean(snapshots.closed)}')
    remedy = next((why.remedy for why in snapshots.unseen if why.remedy), '')
    return Missing('; '.join(parts), remedy) if parts else None


def phrase(ranking: Ranking) -> str:
    """How the worst namespace stands among the others."""
    number = len(ranking.order)
    if number == 1:
        return ''
    if ranking.over_warning:
        return f'{ranking.over_warning} of {number} namespaces {ranking.line}'
    return f'the {"fullest" if ranking.fine else "worst"} of {number} namespaces'


def lines(ranking: Ranking, options: Options) -> list[str]:
    """What the long output says of all namespaces."""
    assessments = ranking.assessments
    found = []
    if len(ranking.order) > 1:
        found.append(('fullest' if ranking.fine else 'worst') + ' namespaces: ' + ', '.join(
            f'{title} {_how_full(member)}' for place, (title, member) in enumerate(zip(ranking.titles, ranking.order))
            if place == 0 or member.entries or member.lost))
        if options.verbose:
            megabytes = assessments.entries * BYTES_AN_ENTRY / 1e6
            found.append(f'memory: {count(assessments.entries, "entry")} in total, about '
                         f'{megabytes:.{0 if megabytes >= 10 else 1}f} MB; nf_conntrack_max applies per namespace')
    if assessments.guessed:
        found.append('kernel log: this kernel does not name the namespace: '
                     'attributed to the namespace with most drops, else the fullest')
    if assessments.other_owners and ranking.everything:
        for inode, number in list(assessments.other_owners.items())[:MOST_NAMED]:
            owner = f'network namespace {inode}, which no longer exists or was not checked' if inode \
                else 'the host (initial network namespace), which was not checked'
            found.append(f'kernel log: {count(number, TABLE_FULL)} for {owner}')
    unseen = missing(assessments)
    if unseen:
        found.append(f'namespaces not checked: {unseen.why}' + (f'; {unseen.remedy}' if unseen.remedy else ''))
    if assessments.snapshots.stale:
        found.append(f'stale names in /run/netns: {assessments.snapshots.stale}')
    return found


def commands(ranking: Ranking, given: list[str]) -> list[str]:
    """The lines, their next command made to look into the worst namespace."""
    prefix = 'next: sudo conntrack-doctor'
    one = ranking.worst.namespace
    if not ranking.is_other_netns or not (one.name or one.pids):
        return given
    enter = f'ip netns exec {shlex.quote(clean(one.name))}' if one.name else f'nsenter -t {one.pids[0]} -n'
    return [f'next: sudo {enter} conntrack-doctor{line[len(prefix):]}' if line.startswith(prefix) else line
            for line in given]


def netns_file(host: Host, ranking: Ranking) -> str:
    """The file to enter the worst namespace by; '' when this process is in it."""
    one = ranking.worst.namespace
    return (one.path or host.path(f'{one.pids[0] if one.pids else 0}/ns/net')) if ranking.is_other_netns else ''


def _how_full(member: NamespaceAssessment) -> str:
    table = member.assessment.snapshot.table
    if not isinstance(table, Table):
        return '(unreadable)'
    parts = [count(table.entries, 'entry')]
    if member.lost:
        parts.append(f'{count(member.lost, "packet")} dropped')
    if member.logged:
        parts.append(count(member.logged, TABLE_FULL))
    return ', '.join(parts) if table.unlimited else f'{percent(table.usage)} ({", ".join(parts)})'
