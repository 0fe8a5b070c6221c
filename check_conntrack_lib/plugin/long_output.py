"""The long output: cause, the next command and the kind of alert, then the lines of every signal, then notes."""

from __future__ import annotations

from collections.abc import Iterator

from ..assessment import Assessment
from ..formatting import clean, duration
from ..model import History, Missing, NotLoaded, missing
from .options import Options
from .output import notes
from .signals import SIGNALS

#: of the whole long output
MOST_LINES = 12


def lines(a: Assessment, options: Options, trouble: bool) -> list[str]:
    """The lines of all signals, in reading order. trouble: the state is not OK; else -v asks for the lines."""
    if isinstance(a.snapshot.table, NotLoaded):
        return []
    hidden = a.snapshot.table if isinstance(a.snapshot.table, Missing) else None
    if hidden and a.snapshot.counted is None:
        return [f'usage: {clean(hidden.remedy)}'] if hidden.remedy else []
    return [line for signal in SIGNALS for line in signal.lines(a, options, trouble)] + [*notes(a), *_unreadable(a)]


def _unreadable(a: Assessment) -> Iterator[str]:
    for reading, why in missing(a.readings()):
        yield f'{reading.title} not checked: {clean(why.why)}' + (f'; {clean(why.remedy)}' if why.remedy else '')
    if a.snapshot.network:
        yield f'network not checked: {a.snapshot.network.why}; {a.snapshot.network.remedy}'
    if isinstance(a.history, History) and a.history.unwritten:
        effect = 'drop rates and growth use older samples'
        if a.stale_base is not None:
            effect = f'drops are not counted: the newest sample is {duration(a.stale_base)} old'
        yield f'not recorded: {a.history.unwritten}: {effect}'
