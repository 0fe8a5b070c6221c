"""The long output: the lines of every signal, then notes, and the one command to look further."""

from __future__ import annotations

from collections.abc import Iterator

from ..assessment import Assessment
from ..formatting import clean
from ..model import History, Missing, NotLoaded, missing
from .options import Options
from .signals import SIGNALS

# no pipe in it: Icinga and Nagios take what follows one for performance data, on every line
LOOK_AT_TABLE = 'sudo conntrack-doctor triage'


def lines(a: Assessment, options: Options, trouble: bool) -> list[str]:
    """Every line there is to say, in reading order; trouble: the state is not OK, else -v asks for it."""
    if isinstance(a.snapshot.table, NotLoaded):
        return ['a firewall rule with connection state loads it, so does modprobe nf_conntrack; '
                'where none is expected, --not-loaded ok says so']
    if isinstance(a.snapshot.table, Missing):
        return []
    return [line for signal in SIGNALS for line in signal.lines(a, options, trouble)] + [*notes(a), *_unreadable(a)]


def command(a: Assessment) -> str:
    """The one command that shows more."""
    if a.losses and a.losses.packets.get('chaintoolong', 0) > a.losses.dropped:
        return 'look further: sysctl net.netfilter.nf_conntrack_buckets net.netfilter.nf_conntrack_count'
    return f'look further: {LOOK_AT_TABLE}'


def notes(a: Assessment) -> Iterator[str]:
    """What was done to the history file, said once."""
    if isinstance(a.history, History) and a.history.note:
        yield f'history: {a.history.note}'


def _unreadable(a: Assessment) -> Iterator[str]:
    for reading, why in missing(a.readings()):
        yield f'not checked: {reading.title}: {clean(why.why)}' + (f'; {clean(why.remedy)}' if why.remedy else '')
    if isinstance(a.history, History) and a.history.unwritten:
        yield f'not recorded: {a.history.unwritten}: losses and trend are counted from older samples'
