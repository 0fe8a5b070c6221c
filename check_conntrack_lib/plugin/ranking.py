"""The namespaces of --netns in order, the worst first, and which of them are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nagiosplugin import Context, Metric, Ok

from ..assessment import Assessment
from ..host import Host
from ..model import Table
from ..namedtuples import TYPE_CHECKING, NamedTuple
from ..netns import enter_command
from ..netns.assess import NamespaceAssessment, NamespaceAssessments
from ..netns.owner import is_of_another_user
from ..netns.snapshots import ALL
from .contexts import SEVERITY, MissingReadingContext, SignalContext
from .options import Options, upper_threshold
from .resource import missing_readings

if TYPE_CHECKING:
    from typing import Any

    from ..analysis.nat_ports import PortUse

#: namespaces that the long output names; and at most, with the trusted ones in trouble, which are always named
MOST_NAMED, MOST_SHOWN = 5, 25


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
        worst = NamespaceAssessment(self.worst.namespace, self.worst.assessment._replace(ports=ports))
        return self._replace(order=(worst, *self.order[1:]))


class _Rank(NamedTuple):
    """What a namespace is sorted by, the worst first."""

    fine: bool
    of_another_user: bool
    #: a place in SEVERITY
    state: int
    #: these three are negative
    lost: int
    usage: float
    logged: int


def rank_namespaces(host: Host, assessments: NamespaceAssessments, contexts: Sequence[Context],
                    options: Options) -> Ranking:
    """Puts the namespaces in order: by state, then packets dropped, usage and messages. At least one member.

    Everybody can make namespaces and fill them: those come behind all others that are in trouble.
    """
    signals = [context for context in contexts if isinstance(context, SignalContext)]
    unread = next(context for context in contexts if isinstance(context, MissingReadingContext))
    ranks: dict[int, _Rank] = {}
    fine_rank = SEVERITY.index(Ok)
    over = 0
    # many were evaluated as one
    known: dict[int, tuple[bool, _Rank]] = {}
    for place, member in enumerate(assessments.members):
        a = member.evaluated
        if id(a) not in known:
            bad = [(name, SEVERITY.index(found)) for name, found in _states(a, signals, unread) if found != Ok]
            known[id(a)] = 'usage' in dict(bad), _Rank(
                not bad, False, min((rank for _name, rank in bad), default=fine_rank),
                -member.lost, -member.usage, -member.logged)
        over_warning, rank = known[id(a)]
        over += over_warning
        if not rank.fine and not _is_trusted(assessments, member) and is_of_another_user(host, member.namespace):
            rank = rank._replace(of_another_user=True)
        ranks[place] = rank
    places = sorted(ranks, key=lambda place: ranks[place])
    order = tuple(assessments.members[place] for place in places)
    in_trouble = sum(not rank.fine for rank in ranks.values())
    shown = [number for number, member in enumerate(order)
             if number < MOST_NAMED or (number < in_trouble and _is_trusted(assessments, member))][:MOST_SHOWN]
    unnamed = in_trouble - sum(number < in_trouble for number in shown)
    worst = min(places, key=lambda place: ranks[place].state)
    state = ranks[worst].state
    worse = None
    if state < ranks[places[0]].state:
        worse = WorseNamespace(str(SEVERITY[state]), assessments.name(host, assessments.members[worst]).title)
    limit = upper_threshold(options.limits['usage'].warning)
    over_text = 'outside the warning range' if limit is None else f'above {limit:g}%'
    # what is idle is not named
    titles = tuple((assessments.name(host, member).title, member) for number, member in
                   ((number, order[number]) for number in shown) if number == 0 or member.entries or member.lost)
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
