"""--netns all, or several: the worst namespace determines the state, the others are listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nagiosplugin import Metric

from ..analysis.commands import within
from ..formatting import TABLE_FULL_MESSAGE, clean, clean_name, count, percent
from ..host import Host
from ..model import Missing, Table
from ..netns.assess import NamespaceAssessment, NamespaceAssessments
from ..netns.snapshots import INVISIBLE
from .options import Options
from .ranking import MOST_NAMED, Ranking

#: names in /run/netns that lead to no namespace, as far as they are listed
MOST_STALE = 3
#: an estimate: a bare entry takes 320 bytes, one with NAT and accounting 450
BYTES_AN_ENTRY = 400


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
            f'{title} {_how_full(member)}' for title, member in ranking.shown)
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
    table = member.evaluated.snapshot.table
    if not isinstance(table, Table):
        return '(unreadable)'
    parts = [count(table.entries, 'entry')]
    if member.lost:
        parts.append(f'{count(member.lost, "packet")} dropped')
    if member.logged:
        parts.append(count(member.logged, TABLE_FULL_MESSAGE))
    return ', '.join(parts) if table.unlimited else f'{percent(table.usage)} ({", ".join(parts)})'
