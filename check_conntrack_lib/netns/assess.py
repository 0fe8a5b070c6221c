"""Every namespace assessed: each on its own against the one maximum, never summed; and what they are together.

The kernel gives the inode of a dead namespace to a new one, whose counters then mostly went back: a new baseline. Where
they did not, losses of its first minutes are counted from the dead one's. Log lines go to nobody who dropped nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..analysis.losses import LONGEST_LOG_SPAN, seconds_without_drops
from ..assessment import Assessment, Question, evaluate, history_file, history_query
from ..deadline import TimeBudget
from ..history import database
from ..host import Host
from ..model import History, Missing, Sample, Table
from ..namedtuples import NamedTuple
from ..snapshot import Snapshot, take_snapshot, with_log
from .discover import Namespace
from .snapshots import NamespaceSnapshot, NamespaceSnapshots, read_snapshots, title


class NamespaceAssessment(NamedTuple):
    """One namespace of the fleet."""

    namespace: Namespace
    assessment: Assessment

    @property
    def entries(self) -> int:
        table = self.assessment.snapshot.table
        return table.entries if isinstance(table, Table) else 0

    @property
    def usage(self) -> float:
        """Percent of the maximum."""
        table = self.assessment.snapshot.table
        return table.usage if isinstance(table, Table) else 0.0

    @property
    def lost(self) -> int:
        """Packets lost since the base."""
        return self.assessment.losses.lost if self.assessment.losses else 0

    @property
    def without_drops(self) -> float:
        """For so many seconds it has certainly dropped nothing."""
        counters = self.assessment.snapshot.counters
        return seconds_without_drops(None if isinstance(counters, Missing) else counters, self.assessment.losses)

    @property
    def logged(self) -> int:
        """Table-full lines of the look-back."""
        return 0 if isinstance(self.assessment.log, Missing) else len(self.assessment.log.ages)


class NamespaceAssessments(NamedTuple):
    """All namespaces that were asked for. Without a single one, `own` tells why."""

    members: tuple[NamespaceAssessment, ...]
    #: of the namespace that host shows, whether it was asked for or not
    own: Snapshot
    snapshots: NamespaceSnapshots
    #: log lines of the window for namespaces that are not among the members, by inode; 0 is the initial one
    other_owners: Mapping[int, int]
    #: did log lines that name no namespace go to the likeliest one?
    guessed: bool = False

    @property
    def entries(self) -> int:
        """Of all members: memory is what they share."""
        return sum(member.entries for member in self.members)

    def title(self, host: Host, member: NamespaceAssessment) -> str:
        """What people call it."""
        return title(host, NamespaceSnapshot(member.namespace, member.assessment.snapshot), self.own)


def assess_all(host: Host, question: Question, wanted: tuple[str, ...],
               budget: TimeBudget, patience: float = 1.5) -> NamespaceAssessments:
    """Reads every namespace that is wanted (see `read_snapshots`), records all in one transaction, evaluates each."""
    longest = max(question.window, LONGEST_LOG_SPAN)
    own = with_log(take_snapshot(host, budget), host, question.kernel_log, longest, budget)
    seen = read_snapshots(host, own, wanted, budget)
    with budget():
        file, histories = _histories([one.snapshot for one in seen.seen], question, patience)
    members = tuple(
        NamespaceAssessment(one.namespace,
                            evaluate(one.snapshot, history, '' if isinstance(history, Missing) else file, question))
        for one, history in zip(seen.seen, histories))
    other_owners = _other_owners(seen, own.at.monotonic, question.window)
    return _with_guess(NamespaceAssessments(members, own, seen, other_owners), question)


def _histories(snapshots: list[Snapshot], question: Question,
               patience: float) -> tuple[str, list[History | Missing]]:
    """The recorder's file, and its answer for each of the snapshots."""
    file = history_file(question.history)
    if isinstance(file, Missing):
        return '', [file] * len(snapshots)
    samples = [snapshot.sample() for snapshot in snapshots]
    kept = [sample for sample in samples if isinstance(sample, Sample)]
    answers = database.query_and_record_all(file, kept, history_query(question), question.history_days,
                                            patience) if kept else []
    if isinstance(answers, Missing):
        return file, [answers] * len(snapshots)
    left = iter(answers)
    return file, [sample if isinstance(sample, Missing) else next(left) for sample in samples]


def _with_guess(assessments: NamespaceAssessments, question: Question) -> NamespaceAssessments:
    """Lines that name no namespace (before 6.18) go to the one that lost the most packets, else to the fullest."""
    log = assessments.snapshots.unattributed
    if isinstance(log, Missing) or not assessments.snapshots.nameless or not assessments.members:
        return assessments
    suspect = max(assessments.members, key=lambda member: (member.lost, -member.without_drops, member.usage))
    a = suspect.assessment
    snapshot = a.snapshot._replace(kernel_log=log)
    told = suspect._replace(assessment=evaluate(snapshot, a.history, a.history_file, question))
    return assessments._replace(members=tuple(told if member is suspect else member for member in assessments.members),
                          guessed=bool(told.logged))


def _other_owners(seen: NamespaceSnapshots, now: float, span: float) -> dict[int, int]:
    lines: dict[int, int] = {}
    if not isinstance(seen.unattributed, Missing) and not seen.nameless:
        for line in reversed(seen.unattributed.table_full):  # the newest first: few are named
            if now - line.stamp <= span:
                lines[line.netns or 0] = lines.get(line.netns or 0, 0) + 1
    return lines
