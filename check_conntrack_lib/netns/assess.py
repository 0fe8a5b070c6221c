"""Every namespace assessed: each on its own against the one maximum, never summed; and the sum for their memory.

The kernel gives the inode of a dead namespace to a new one: that begins with an empty history (netns.identify).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter

from ..analysis.losses import LONGEST_LOG_SPAN, seconds_without_drops
from ..assessment import Assessment, Question, evaluate, history_file, history_query
from ..deadline import TimeBudget
from ..defaults import PATIENCE
from ..history import database, lookups
from ..history.identity import Identify
from ..host import Host
from ..model import History, Missing, Sample, Table
from ..namedtuples import NamedTuple
from ..readers import kernel_log, log_clock
from ..snapshot import Snapshot, take_snapshot, with_log
from .discover import Namespace
from .identify import identify
from .names import Name
from .snapshots import NamespaceSnapshot, NamespaceSnapshots, name_of, read_snapshots


class NamespaceAssessment(NamedTuple):
    """One of the namespaces that are assessed."""

    namespace: Namespace
    #: of this namespace, or of one that differs in nothing but its namespace
    evaluated: Assessment
    #: its own readings and history, where another namespace was evaluated
    own: tuple[Snapshot, History | Missing] | None = None

    @property
    def assessment(self) -> Assessment:
        """Made when it is asked for: of a thousand idle ones it mostly is not."""
        return self.evaluated._replace(snapshot=self.own[0], history=self.own[1]) if self.own else self.evaluated

    @property
    def entries(self) -> int:
        table = self.evaluated.snapshot.table
        return table.entries if isinstance(table, Table) else 0

    @property
    def usage(self) -> float:
        """Percent of the maximum."""
        table = self.evaluated.snapshot.table
        return table.usage if isinstance(table, Table) else 0.0

    @property
    def lost(self) -> int:
        """Packets dropped since the base."""
        return self.evaluated.losses.lost if self.evaluated.losses else 0

    @property
    def without_drops(self) -> float:
        """Seconds for which it has certainly dropped nothing."""
        counters = self.evaluated.snapshot.counters
        return seconds_without_drops(None if isinstance(counters, Missing) else counters, self.evaluated.losses)

    @property
    def logged(self) -> int:
        """'Table full' messages of the window."""
        return 0 if isinstance(self.evaluated.log, Missing) else len(self.evaluated.log.ages)


class NamespaceAssessments(NamedTuple):
    """All namespaces that were asked for. Without a single one, `own` tells why."""

    members: tuple[NamespaceAssessment, ...]
    #: of the namespace that host shows, whether it was asked for or not
    own: Snapshot
    snapshots: NamespaceSnapshots
    #: log lines of the window for namespaces that are not among the members, by inode; 0 is the initial one
    other_owners: Mapping[int, int]
    #: were log lines that name no namespace attributed to the likeliest one?
    guessed: bool = False
    #: of words that mean no namespace: the name in the history, and when it was recorded last
    recorded: Mapping[str, tuple[str, float]] = {}

    @property
    def entries(self) -> int:
        """Of all members: memory is what they share."""
        return sum(member.entries for member in self.members)

    def past(self, word: str) -> str:
        """When the history had a namespace of this name last, for the end of a sentence; '' if never."""
        if word not in self.recorded:
            return ''
        return f', seen until {time.strftime("%m-%d %H:%M", time.localtime(self.recorded[word][1]))}'

    def name(self, host: Host, member: NamespaceAssessment) -> Name:
        """Its name (see `names.name_of`)."""
        return name_of(host, NamespaceSnapshot(member.namespace, member.evaluated.snapshot), self.own)


def assess_all(host: Host, question: Question, wanted: tuple[str, ...],
               budget: TimeBudget, patience: float = PATIENCE) -> NamespaceAssessments:
    """Reads every namespace that is wanted (see `read_snapshots`), records all in one transaction, evaluates each."""
    longest = LONGEST_LOG_SPAN + question.window
    own = take_snapshot(host, budget, own_network=True)
    source = kernel_log.remembered_source(question.kernel_log)
    with budget():
        file = history_file(question.history)
        memory = lookups.read_log_memory(file, own.boot_id, source, patience) \
            if source and isinstance(file, str) and isinstance(own.boot_id, str) else None
    own = with_log(own, host, question.kernel_log, longest, budget, partial(kernel_log.read, memory=memory))
    seen = read_snapshots(host, own, wanted, budget)
    if isinstance(own.all_entries, Missing):
        seen = _with_all_entries(seen)
    memory = log_clock.memory_of(own.kernel_log, own.at.monotonic, longest, memory)
    log_reader = database.LogReader(source, lambda _history, _memory: memory) if source else None
    with budget():
        initial = own.netns if own.initial and isinstance(own.netns, int) else None
        known = identify(host, [one.namespace for one in seen.seen], initial)
        histories = _histories(file, [one.snapshot for one in seen.seen], question, patience, known, log_reader)
        recorded = lookups.last_seen(file, seen.unknown, patience) \
            if not isinstance(file, Missing) and seen.unknown else {}
    file = '' if isinstance(file, Missing) else file
    members = tuple(_evaluate_each(seen.seen, histories, file, question))
    other_owners = _other_owners(seen, own.at.monotonic, question.window)
    return _with_guess(NamespaceAssessments(members, own, seen, other_owners, recorded=recorded), question)


def _evaluate_each(seen: Sequence[NamespaceSnapshot], histories: Sequence[History | Missing], file: str,
                   question: Question) -> Iterator[NamespaceAssessment]:
    """Most of many namespaces are idle: of those that differ in nothing but their inodes one is evaluated."""
    before: tuple[object, ...] = ()
    for one, history in zip(seen, histories):
        # the log lines in it are those for this namespace only
        found = _without_namespace(one.snapshot, history)
        if found != before:
            before = found
            a = evaluate(one.snapshot, history, '' if isinstance(history, Missing) else file, question)
            yield NamespaceAssessment(one.namespace, a)
        else:
            yield NamespaceAssessment(one.namespace, a, (one.snapshot, history))


#: every field but those that tell which namespace it is
_OF_SNAPSHOT = attrgetter(*(name for name in Snapshot._fields if name not in ('netns', 'cookie')))
_OF_SAMPLE = attrgetter(*(name for name in Sample._fields if name not in ('netns', 'cookie')))
_OF_HISTORY = attrgetter(*(name for name in History._fields if name != 'base'))


def _without_namespace(snapshot: Snapshot, history: History | Missing) -> tuple[object, ...]:
    if isinstance(history, Missing):
        return _OF_SNAPSHOT(snapshot), history
    return _OF_SNAPSHOT(snapshot), _OF_HISTORY(history), _OF_SAMPLE(history.base) if history.base else None


def with_points(a: Assessment, question: Question, patience: float) -> Assessment:
    """The same with the trend, which almost empty ones of many namespaces are assessed without."""
    sample = a.snapshot.sample()
    if isinstance(a.history, Missing) or a.history.first_run or a.history.points or isinstance(sample, Missing):
        return a
    points = lookups.points(a.history_file, sample, history_query(question), patience)
    return evaluate(a.snapshot, a.history._replace(points=points), a.history_file, question) if points else a


def _with_all_entries(seen: NamespaceSnapshots) -> NamespaceSnapshots:
    """Gives each the sum of all entries that were seen: they share one hash table."""
    total = sum(one.snapshot.table.entries for one in seen.seen if isinstance(one.snapshot.table, Table))
    return seen._replace(seen=tuple(one._replace(snapshot=one.snapshot._replace(all_entries=total))
                                    for one in seen.seen))


def _histories(file: str | Missing, snapshots: list[Snapshot], question: Question, patience: float, known: Identify,
               log_reader: database.LogReader | None) -> list[History | Missing]:
    """What the file answers for each of the snapshots."""
    if isinstance(file, Missing):
        return [file] * len(snapshots)
    samples = [snapshot.sample() for snapshot in snapshots]
    kept = [sample for sample in samples if isinstance(sample, Sample)]
    answers = database.query_and_record_all(file, kept, history_query(question)._replace(identify=known),
                                            question.history_days, patience, log_reader) if kept else []
    if isinstance(answers, Missing):
        return [answers] * len(snapshots)
    left = iter(answers)
    return [sample if isinstance(sample, Missing) else next(left) for sample in samples]


def _with_guess(assessments: NamespaceAssessments, question: Question) -> NamespaceAssessments:
    """Lines that name no namespace (before 6.17) go to the one that lost the most packets, else to the fullest."""
    log = assessments.snapshots.unattributed
    if isinstance(log, Missing) or not assessments.snapshots.nameless or not assessments.members:
        return assessments
    likeliest = max(assessments.members, key=lambda member: (member.lost, -member.without_drops, member.usage))
    a = likeliest.assessment
    snapshot = a.snapshot._replace(kernel_log=log)
    evaluated = NamespaceAssessment(likeliest.namespace, evaluate(snapshot, a.history, a.history_file, question))
    return assessments._replace(
        members=tuple(evaluated if member is likeliest else member for member in assessments.members),
        guessed=bool(evaluated.logged))


def _other_owners(seen: NamespaceSnapshots, now: float, span: float) -> dict[int, int]:
    lines: dict[int, int] = {}
    if not isinstance(seen.unattributed, Missing) and not seen.nameless:
        for line in reversed(seen.unattributed.table_full):  # the newest first: few are named
            if now - line.stamp <= span:
                lines[line.netns or 0] = lines.get(line.netns or 0, 0) + 1
    return lines
