"""What people call the recorded namespaces, as far as they are there now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...analysis.timeline import Interval, RecordedNamespace
from ...host import Host
from ...namedtuples import NamedTuple
from ...netns import discover
from ...netns.discover import Namespace
from ...readers import sysctl_values
from .. import DoctorError


class Names(NamedTuple):
    """The namespaces of this host, if the past is its own and of this boot: the kernel gives inodes away again."""

    present: tuple[Namespace, ...] = ()
    titles: Mapping[int, str] = {}

    def of(self, netns: int) -> str:
        """'NAME (INODE)', or the inode alone."""
        return f'{self.titles[netns]} ({netns})' if netns in self.titles else str(netns)


def names(host: Host, everything: Sequence[Interval]) -> Names:
    """Empty where the newest sample is of another boot; without root, only what this user may see."""
    boot_id = host.boot_id()
    if everything[-1].sample.boot_id != boot_id:
        return Names()
    recorded = {interval.sample.netns for interval in everything if interval.sample.boot_id == boot_id}
    try:
        present = discover.find(host).namespaces
    except (OSError, ValueError):
        return Names()
    titles = {one.inode: discover.title(host, one) for one in present if one.own_inode and one.inode in recorded}
    own = host.netns()
    if own in titles and sysctl_values.is_initial_namespace(host):
        titles[own] = 'host'
    return Names(present, {inode: title for inode, title in titles.items() if str(inode) not in title})


def choose(host: Host, places: Sequence[RecordedNamespace], wanted: str | None, called: Names) -> RecordedNamespace:
    """The place that is wanted by inode or name, else the first. Raises Trouble."""
    if wanted is None:
        return places[0]
    inodes = {wanted} if wanted.isdigit() else set()
    if wanted == 'host':
        inodes |= {str(inode) for inode, title in called.titles.items() if title == 'host'}
    if called.present and not inodes:
        inodes = {str(one.inode) for one in discover.select(host, called.present, (wanted,))[wanted]}
    for recorded in places:
        if str(recorded.netns) in inodes:
            return recorded
    names = ', '.join(called.of(recorded.netns) for recorded in places[:9])
    raise DoctorError(f'no namespace {wanted} is recorded, but {names}')
