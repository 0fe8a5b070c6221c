"""Names of the recorded namespaces, as far as they exist now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...analysis.timeline import Interval, RecordedNamespace
from ...formatting import clean
from ...history.identity import by_whom, means
from ...history.readonly import PastProfile
from ...host import Host
from ...model import Missing, Sample
from ...namedtuples import NamedTuple
from ...netns import discover
from ...netns import names as netns_names
from ...netns.discover import Namespace
from ...netns.selection import select
from ...readers import sysctl_values
from .. import DoctorError

#: namespaces that had the same inode one after the other: more are not searched for a profile
MOST_SPANS = 100


class NamespaceNames(NamedTuple):
    """What the namespaces of this host are called, if the past is its own and of this boot."""

    present: tuple[Namespace, ...] = ()
    #: by inode, of those that have no lasting name
    titles: Mapping[int, str] = {}
    boot_id: str = ''

    def of(self, sample: Sample) -> str:
        """'NAME (INODE)', or the inode alone."""
        name = sample.name or (self.titles.get(sample.netns, '') if sample.boot_id == self.boot_id else '')
        return f'{name} ({sample.netns})' if name else str(sample.netns)


def names(host: Host, everything: Sequence[Interval]) -> NamespaceNames:
    """Empty where the newest sample is of another boot; without root, only what this user may see."""
    boot_id = host.boot_id()
    if isinstance(boot_id, Missing) or everything[-1].sample.boot_id != boot_id:
        return NamespaceNames()
    unnamed = {one.sample.netns for one in everything if one.sample.boot_id == boot_id and not one.sample.name}
    try:
        present = discover.find(host).namespaces
    except (OSError, ValueError):
        return NamespaceNames()
    titles = {one.inode: netns_names.name_of(host, one).title for one in present
              if one.own_inode and one.inode in unnamed}
    own = host.netns()
    if own in titles and sysctl_values.is_initial_namespace(host):
        titles[own] = netns_names.HOST
    titles = {inode: title for inode, title in titles.items() if str(inode) not in title}
    return NamespaceNames(present, titles, boot_id)


def choose(host: Host, namespaces: Sequence[RecordedNamespace], wanted: str | None,
           called: NamespaceNames) -> RecordedNamespace:
    """The namespace that is wanted by inode or name, else the first. Raises DoctorError."""
    if wanted is None:
        return namespaces[0]
    # names that root gave first: any user may record the same for his own
    for recorded in sorted(namespaces, key=lambda one: by_whom(one.newest.name)):
        if means(wanted, recorded.newest.name) or means(wanted, called.titles.get(recorded.newest.netns, '')):
            return recorded
    inodes = {wanted} if wanted.isdigit() else set()
    if called.present and not inodes:
        inodes = {str(one.inode) for one in select(host, called.present, (wanted,))[wanted]}
    # the newest first: an inode is given away again
    for recorded in sorted(namespaces, key=lambda one: -one.last):
        if str(recorded.newest.netns) in inodes:
            return recorded
    named = ', '.join(called.of(recorded.newest) for recorded in namespaces[:9])
    raise DoctorError(f"namespace '{clean(wanted)}' is not in the history; recorded: {named}")


def profiles_of(own: Sequence[Interval], profiles: Sequence[PastProfile]) -> list[PastProfile]:
    """Those taken in the namespaces of these intervals, while each was there."""
    spans: dict[tuple[str, int, float], list[float]] = {}
    for interval in own:
        s = interval.sample
        spans.setdefault((s.boot_id, s.netns, s.since), []).append(s.at.wall)
    of_inode: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for (boot_id, netns, _since), walls in spans.items():
        of_inode.setdefault((boot_id, netns), []).append((walls[0] - 1, walls[-1] + 1))
    return [past for past in profiles if any(
        begin <= past.at <= end for begin, end in of_inode.get((past.boot_id, past.netns), ())[:MOST_SPANS])]
