"""Every namespace assessed: each on its own against the one maximum, never summed; and what they are together.

The kernel gives the inode of a dead namespace to a new one, whose counters then mostly went back: a new baseline. Where
they did not, losses of its first minutes are counted from the dead one's. Log lines go to nobody who dropped nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..analysis.losses import LONGEST_LOG_SPAN, innocent_for
from ..assessment import Assessment, Question, conclude, history_file, lookback
from ..deadline import Share
from ..history import database
from ..host import Host
from ..model import History, Missing, Sample, Snapshot, Table
from ..namedtuples import NamedTuple
from ..snapshot import survey, with_log
from .discover import Namespace
from .snapshots import Seen, Tour, title, tour


class Member(NamedTuple):
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
    def innocent(self) -> float:
        """For so many seconds it has certainly dropped nothing."""
        counters = self.assessment.snapshot.counters
        return innocent_for(None if isinstance(counters, Missing) else counters, self.assessment.losses)

    @property
    def logged(self) -> int:
        """Table-full lines of the look-back."""
        return 0 if isinstance(self.assessment.log, Missing) else len(self.assessment.log.ages)


class Fleet(NamedTuple):
    """All namespaces that were asked for. Without a single one, `own` tells why."""

    members: tuple[Member, ...]
    #: of the namespace that host shows, whether it was asked for or not
    own: Snapshot
    tour: Tour
    #: log lines of the window for namespaces that are not among the members, by inode; 0 is the initial one
    strays: Mapping[int, int]
    #: did log lines that name no namespace go to the likeliest one?
    guessed: bool = False

    @property
    def entries(self) -> int:
        """Of all members: memory is what they share."""
        return sum(member.entries for member in self.members)

    def title(self, host: Host, member: Member) -> str:
        """What people call it."""
        return title(host, Seen(member.namespace, member.assessment.snapshot), self.own)


def assess_all(host: Host, question: Question, wanted: tuple[str, ...],
               share: Share, patience: float = 1.5) -> Fleet:
    """Reads every namespace that is wanted (see `tour`), remembers in one transaction, and reasons."""
    longest = max(question.window, LONGEST_LOG_SPAN)
    own = with_log(survey(host, share), host, question.kernel_log, longest, share)
    seen = tour(host, own, wanted, share)
    with share():
        file, histories = _histories([one.snapshot for one in seen.seen], question, patience)
    members = tuple(
        Member(one.namespace, conclude(one.snapshot, history, '' if isinstance(history, Missing) else file, question))
        for one, history in zip(seen.seen, histories))
    strays = _strays(seen, own.at.monotonic, question.window)
    return _with_guess(Fleet(members, own, seen, strays), question)


def _histories(snapshots: list[Snapshot], question: Question,
               patience: float) -> tuple[str, list[History | Missing]]:
    """The recorder's file, and its answer for each of the snapshots."""
    file = history_file(question.history)
    if isinstance(file, Missing):
        return '', [file] * len(snapshots)
    samples = [snapshot.sample() for snapshot in snapshots]
    kept = [sample for sample in samples if isinstance(sample, Sample)]
    answers = database.consult_all(file, kept, lookback(question), question.history_days, patience) if kept else []
    if isinstance(answers, Missing):
        return file, [answers] * len(snapshots)
    left = iter(answers)
    return file, [sample if isinstance(sample, Missing) else next(left) for sample in samples]


def _with_guess(fleet: Fleet, question: Question) -> Fleet:
    """Lines that name no namespace (before 6.18) go to the one that lost the most packets, else to the fullest."""
    log = fleet.tour.stray
    if isinstance(log, Missing) or not fleet.tour.nameless or not fleet.members:
        return fleet
    suspect = max(fleet.members, key=lambda member: (member.lost, -member.innocent, member.usage))
    a = suspect.assessment
    snapshot = a.snapshot._replace(kernel_log=log)
    told = suspect._replace(assessment=conclude(snapshot, a.history, a.history_file, question))
    return fleet._replace(members=tuple(told if member is suspect else member for member in fleet.members),
                          guessed=bool(told.logged))


def _strays(seen: Tour, now: float, span: float) -> dict[int, int]:
    lines: dict[int, int] = {}
    if not isinstance(seen.stray, Missing) and not seen.nameless:
        for line in reversed(seen.stray.table_full):  # the newest first: few are named
            if now - line.stamp <= span:
                lines[line.netns or 0] = lines.get(line.netns or 0, 0) + 1
    return lines
