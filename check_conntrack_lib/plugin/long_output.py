"""The long output: cause, the next command and the kind of alert, then the lines of every signal, then notes."""

from __future__ import annotations

from collections.abc import Iterator

from ..assessment import Assessment
from ..formatting import clean
from ..model import History, Missing, NotLoaded, missing
from .options import Options
from .signals import SIGNALS

#: of the whole long output
MOST_LINES = 12


def lines(a: Assessment, options: Options, trouble: bool) -> list[str]:
    """Every line there is to say of the signals, in reading order; trouble: the state is not OK, else because of -v."""
    if isinstance(a.snapshot.table, (NotLoaded, Missing)):
        return []
    return [line for signal in SIGNALS for line in signal.lines(a, options, trouble)] + [*notes(a), *_unreadable(a)]


def notes(a: Assessment) -> Iterator[str]:
    """What was done to the history file, reported once."""
    if isinstance(a.history, History) and a.history.note:
        yield f'history: {a.history.note}'


def _unreadable(a: Assessment) -> Iterator[str]:
    for reading, why in missing(a.readings()):
        yield f'{reading.title} not checked: {clean(why.why)}' + (f'; {clean(why.remedy)}' if why.remedy else '')
    if isinstance(a.history, History) and a.history.unwritten:
        yield f'not recorded: {a.history.unwritten}: drop rates and growth use older samples'
