"""A table that is full, nearly, or was full, because nf_conntrack_max was another: no traffic is the cause."""

from __future__ import annotations

from ..assessment import Assessment
from ..formatting import clock_time
from ..model import History, Sample, Table
from ..namedtuples import TYPE_CHECKING
from .options import upper_threshold
from .phrases import has_room_again

if TYPE_CHECKING:
    from .options import Options

#: a table with more entries than this factor of those before has grown, too
GROWN = 1.25
#: alerts of a full table, or one that fills
CODES = ('usage', 'table-full', 'dropped', 'early-drop', 'growth')


def before(a: Assessment, options: Options) -> Sample | None:
    """A sample with a larger maximum, with which what the table holds now would alert nobody, or with a smaller one
    that it had reached.
    """
    table = a.snapshot.table
    other = a.history.other_maximum if isinstance(a.history, History) else None
    if other is None or not isinstance(table, Table) or table.limit != table.maximum:
        return None
    if 0 < other.maximum < table.maximum:
        return other if has_room_again(a) and other.entries >= other.maximum else None
    if table.entries > GROWN * other.entries:
        return None
    threshold = min((one for one in map(upper_threshold, options.limits['usage']) if one is not None), default=100.0)
    return other if other.maximum <= 0 or table.entries <= other.maximum * threshold / 100 else None


def cause(a: Assessment, other: Sample) -> str:
    """For the long output."""
    table = a.snapshot.table
    now = table.maximum if isinstance(table, Table) else 0
    when = clock_time(other.at.wall, a.snapshot.at.wall)
    if 0 < other.maximum < now:
        return f'nf_conntrack_max was {other.maximum} until {when}, which was reached, and is {now} since'
    old = other.maximum if other.maximum > 0 else 'no limit'
    return f'nf_conntrack_max was lowered from {old} to {now} after {when}'


def short(other: Sample) -> str:
    """For the first line."""
    return f'nf_conntrack_max was {other.maximum if other.maximum > 0 else "unlimited"}'


def command(a: Assessment, other: Sample) -> str:
    """What undoes it; '' where it is undone, or cannot be: from another namespace, or on kernels that take no 0."""
    table = a.snapshot.table
    if not a.snapshot.initial or not isinstance(table, Table) or other.maximum <= table.maximum:
        return ''
    return f'sudo sysctl -w net.netfilter.nf_conntrack_max={other.maximum} (undo: ={table.maximum})'
