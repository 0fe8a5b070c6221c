"""--netns all, or several: the worst namespace determines the state, the others are listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nagiosplugin import Context, Metric, Ok

from ..analysis.commands import within
from ..assessment import Assessment
from ..formatting import TABLE_FULL_MESSAGE, clean, clean_name, count, percent
from ..host import Host
from ..model import Missing, Table
from ..namedtuples import TYPE_CHECKING, NamedTuple
from ..netns import enter_command
from ..netns.assess import NamespaceAssessment, NamespaceAssessments
from ..netns.owner import is_of_another_user
from ..netns.snapshots import ALL, INVISIBLE
from .contexts import SEVERITY, MissingReadingContext, SignalContext
from .options import Options, upper_threshold
from .resource import missing_readings

if TYPE_CHECKING:
    from typing import Any

    from ..analysis.nat_ports import PortUse

#: namespaces that the long output names; and at most, with the trusted ones in trouble, which are always named
MOST_NAMED, MOST_SHOWN = 5, 25
#: names in /run/netns that lead to no namespace, as far as they are listed
MOST_STALE = 3
#: an estimate: a bare entry takes 320 bytes, one with NAT and accounting 450
BYTES_AN_ENTRY = 400


class WorseNamespace(NamedTuple):
    """One of another user that is in a worse state than what is named first."""

    #: a key of contexts.STATES
    state: str
    title: str

    def __str__(self) -> str:
        return f'{self.state.upper()} in {self.title} of another user'


class Ranking(NamedTuple):
    """The namespaces in order, the worst first, and what is reported of them together."""

    assessments: NamespaceAssessments
    order: tuple[NamespaceAssessment, ...]
    #: those that are named, each with its title
    shown: tuple[tuple[str, NamespaceAssessment], ...]
    #: so many in trouble are not named
    unnamed: int
    #: the worst state of all, and the title of the first that has it, if that is another than the first in order
    worse: WorseNamespace | None
    over_warning: int
    #: what they are over, in words: 'above 85%'
    over_text: str
    #: is none in trouble?
    fine: bool
    #: was every namespace asked for, or some by name?
    everything: bool
    #: what makes a command run in the first one; '' where it is this process's own
    enter: str = ''

    @property
    def worst(self) -> NamespaceAssessment:
        return self.order[0]

    @property
    def is_other_netns(self) -> bool:
        """Is the first in order another namespace than the one this process is in?"""
        return self.worst.namespace.inode != self.assessments.own.netns

    def with_ports(self, ports: PortUse) -> Ranking:
        """The same with the use of NAT ports of the worst one."""
        worst = self.worst._replace(assessment=self.worst.assessment._replace(ports=ports))
        return self._replace(order=(worst, *self.order[1:]))


def rank_namespaces(host: Host, assessments: NamespaceAssessments, contexts: Sequence[Context],
                    options: Options) -> Ranking:
    """Puts the namespaces in order: by state, then packets dropped, usage and messages. At least one member.

    Everybody can make namespaces and fill them: those come behind all others that are in trouble.
    """
    signals = [context for context in contexts if isinstance(context, SignalContext)]
    unread = next(context for context in contexts if isinstance(context, MissingReadingContext))
    ranks: dict[int, tuple[bool, bool, int, int, float, int]] = {}
    fine_rank = SEVERITY.index(Ok)
    over = 0
    known: dict[int, tuple[int, bool]] = {}
    for place, member in enumerate(assessments.members):
        a = member.equal or member.assessment
        if id(a) not in known:
            bad = [(name, SEVERITY.index(found)) for name, found in _states(a, signals, unread) if found != Ok]
            known[id(a)] = min((rank for _name, rank in bad), default=fine_rank), 'usage' in dict(bad)
        state, over_warning = known[id(a)]
        over += over_warning
        trouble = state != fine_rank
        of_another_user = trouble and not _is_trusted(assessments, member) \
            and is_of_another_user(host, member.namespace)
        ranks[place] = (not trouble, of_another_user, state, -member.lost, -member.usage, -member.logged)
    places = sorted(ranks, key=lambda place: ranks[place])
    order = tuple(assessments.members[place] for place in places)
    in_trouble = sum(not rank[0] for rank in ranks.values())
    shown = [number for number, member in enumerate(order)
             if number < MOST_NAMED or (number < in_trouble and _is_trusted(assessments, member))][:MOST_SHOWN]
    unnamed = in_trouble - sum(number < in_trouble for number in shown)
    worst = min(places, key=lambda place: ranks[place][2])
    worse = None
    if ranks[worst][2] < ranks[places[0]][2]:
        worse = WorseNamespace(str(SEVERITY[ranks[worst][2]]), assessments.name(host, assessments.members[worst]).title)
    limit = upper_threshold(options.limits['usage'].warning)
    over_text = 'outside the warning range' if limit is None else f'above {limit:g}%'
    titles = tuple((assessments.name(host, order[number]).title, order[number]) for number in shown)
    first = order[0].namespace
    enter = enter_command.prefix(host, first) if first.inode != assessments.own.netns else ''
    return Ranking(assessments, order, titles, unnamed, worse, over, over_text, not in_trouble, options.netns == (ALL,),
                   enter)


def _states(a: Assessment, signals: Sequence[SignalContext],
            unread: MissingReadingContext) -> Iterator[tuple[str, Any]]:
    """The state of each signal and of what could not be read: no metrics are made of a thousand namespaces."""
    if not isinstance(a.snapshot.table, Table):
        yield 'missing', unread.evaluate(Metric('usage', a.snapshot.table), None).state
        return
    for context in signals:
        value = context.signal.value(a)
        if value is not None:
            yield context.signal.name, context.state(a, value)
    for metric in missing_readings(a):
        yield 'missing', unread.evaluate(metric, None).state


def _is_trusted(assessments: NamespaceAssessments, member: NamespaceAssessment) -> bool:
    """Is it the host's own namespace, or one to which root gave a name? Others anybody may have made."""
    return bool(member.namespace.name) or (
        assessments.own.initial and member.namespace.inode == assessments.own.netns)


def namespace_metrics(ranking: Ranking) -> Iterator[Metric]:
    """What is counted over all; a namespace that was asked for by name and not seen is UNKNOWN."""
    yield Metric('namespaces', len(ranking.order), min=0, context='value')
    yield Metric('namespaces_over_warning', ranking.over_warning, min=0, context='value')
    yield Metric('entries_all_namespaces', ranking.assessments.entries, min=0, context='value')
    if ranking.worse:
        yield Metric('other_namespaces', ranking.worse)
    unseen = missing(ranking.assessments)
    if unseen:
        yield Metric('namespaces' if ranking.everything else 'usage', unseen, context='missing')


def missing(assessments: NamespaceAssessments) -> Missing | None:
    """What was asked for and not seen."""
    snapshots = assessments.snapshots
    parts = [f'{clean_name(word)} in /run/netns leads to no namespace from here' if word in snapshots.stale else
             _not_found(assessments, word) for word in snapshots.unknown]
    parts += [f'{count(number, "namespace")} not entered: {clean(why.why)}' for why, number in snapshots.unseen.items()]
    if snapshots.hidden:
        parts.append(f'namespaces of {count(snapshots.hidden, "process")} not identified: needs root')
    if snapshots.invisible:
        parts.append(INVISIBLE)
    if snapshots.closed:
        parts.append(f'named ones unknown: no access to {clean(snapshots.closed)}')
    stale = [name for name in snapshots.stale if name not in snapshots.unknown]
    if stale:
        shown = ', '.join(clean(name, 60) for name in stale[:MOST_STALE]) + (' ...' if len(stale) > MOST_STALE else '')
        parts.append(f'{count(len(stale), "name")} in /run/netns that leads to no namespace from here ({shown}): '
                     'left over, or made in another mount namespace')
    remedy = next((why.remedy for why in snapshots.unseen if why.remedy), '')
    return Missing('; '.join(parts), remedy) if parts else None


def _not_found(assessments: NamespaceAssessments, word: str) -> str:
    past = assessments.past(word)
    # on the first line there is room for some 60 characters
    return f'{clean_name(word)} not found{past}' if past else f'network namespace {clean_name(word)} not found'


def phrase(ranking: Ranking) -> str:
    """How the worst namespace stands among the others."""
    number = len(ranking.order)
    if number == 1:
        return ''
    if ranking.over_warning:
        return f'{ranking.over_warning} of {number} namespaces {ranking.over_text}'
    return f'the {"fullest" if ranking.fine else "worst"} of {number} namespaces'


def lines(ranking: Ranking, options: Options) -> list[str]:
    """What the long output says of all namespaces."""
    assessments = ranking.assessments
    found = []
    if len(ranking.order) > 1:
        found.append(('fullest' if ranking.fine else 'worst') + ' namespaces: ' + ', '.join(
            f'{title} {_how_full(member)}' for place, (title, member) in enumerate(ranking.shown)
            if place == 0 or member.entries or member.lost)
            + (f', and {ranking.unnamed} more in trouble' if ranking.unnamed else ''))
        if options.verbose:
            megabytes = assessments.entries * BYTES_AN_ENTRY / 1e6
            found.append(f'memory: {count(assessments.entries, "entry")} in total, about '
                         f'{megabytes:.{0 if megabytes >= 10 else 1}f} MB; nf_conntrack_max applies per namespace')
    if assessments.guessed:
        found.append('kernel log: this kernel does not name the namespace: '
                     'attributed to the namespace with most drops, else the fullest')
    if assessments.other_owners and ranking.everything:
        found += _other_owners(assessments.other_owners, options.verbose > 0)
    unseen = missing(assessments)
    if unseen:
        found.append(f'namespaces not checked: {unseen.why}' + (f'; {unseen.remedy}' if unseen.remedy else ''))
    if assessments.snapshots.same:
        found.append(f'{count(assessments.snapshots.same, "name")} of container networks not matched with '
                     'namespaces of processes: needs root')
    return found


def _other_owners(messages: Mapping[int, int], each: bool) -> Iterator[str]:
    """What the log says of namespaces that were not looked at; without `each` in one line."""
    if len(messages) > 1 and not each:
        yield (f'kernel log: {count(sum(messages.values()), TABLE_FULL_MESSAGE)} for {len(messages)} network '
               'namespaces that no longer exist or were not checked')
        return
    for inode, number in list(messages.items())[:MOST_NAMED]:
        owner = f'network namespace {inode}, which no longer exists or was not checked' if inode \
            else 'the host (initial network namespace), which was not checked'
        yield f'kernel log: {count(number, TABLE_FULL_MESSAGE)} for {owner}'


def commands(ranking: Ranking, given: list[str]) -> list[str]:
    """The lines, their next command made to look into the worst namespace."""
    prefix = 'next: sudo conntrack-doctor'
    return [f'next: {within(line[len("next: "):], ranking.enter)}' if line.startswith(prefix) else line
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
        parts.append(count(member.logged, TABLE_FULL_MESSAGE))
    return ', '.join(parts) if table.unlimited else f'{percent(table.usage)} ({", ".join(parts)})'
