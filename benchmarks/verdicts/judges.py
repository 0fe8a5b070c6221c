"""Those who judge: the project's own evaluation, and what is in use today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from check_conntrack_lib.assessment import Assessment, evaluate, history_query
from check_conntrack_lib.history import database
from check_conntrack_lib.model import Counters, Missing, Sample, Table
from check_conntrack_lib.namedtuples import NamedTuple
from check_conntrack_lib.plugin.contexts import SEVERITY, Results, contexts
from check_conntrack_lib.plugin.options import parse, upper_threshold
from check_conntrack_lib.plugin.resource import metrics, question_of
from check_conntrack_lib.snapshot import Snapshot

#: the readings of all namespaces, the initial one first -> the exit status, and which signals were not OK
Judge = Callable[[Sequence[Snapshot]], 'tuple[int, str]']

#: seconds after which a drop no longer counts: the window, and an hour for which an alert may be held
HOLD = 7200.0
#: what the shipped CheckCommand of Icinga sets, by whose rules alerts are counted
SHIPPED = ('--warning-after=3m',)


class Stand(NamedTuple):
    """What a context asks of a resource."""

    assessment: Assessment


def own(file: str, arguments: Sequence[str] = (), kernel_log: bool = True) -> Judge:
    """check_conntrack as Icinga runs it, with these options, the recorder in this file; kernel_log: may it be read?"""
    options = parse([*SHIPPED, *arguments])
    question = question_of(options)._replace(history=file, settings=False)
    judges = {context.name: context for context in contexts(options)}
    look = history_query(question)

    def judge(snapshots: Sequence[Snapshot]) -> tuple[int, str]:
        samples = [sample for sample in (one.sample() for one in snapshots) if isinstance(sample, Sample)]
        histories = database.query_and_record_all(file, samples, look, options.history_days)
        if isinstance(histories, Missing) or len(histories) != len(snapshots):
            raise RuntimeError(f'the recorder has no answer: {histories}')
        results = Results()
        for snapshot, history in zip(snapshots, histories):
            seen = snapshot if kernel_log else snapshot._replace(kernel_log=Missing('needs root'))
            a = evaluate(seen, history, file, question)
            for metric in metrics(a):
                results.add(judges[metric.context or metric.name].evaluate(metric, Stand(a)))
        state = results.most_significant_state
        worst = sorted({r.metric.name for r in results if r.state == state}) if state != SEVERITY[-1] else ()
        return state.code, ' '.join(worst)
    return judge


def constant(name: str, value: float | None = None) -> float:
    """A constant of check_conntrack_lib/analysis such as trend.ODD_ONE_OF, set where there is a value."""
    module, _, attribute = name.partition('.')
    there = import_module(f'check_conntrack_lib.analysis.{module}')
    before: float = getattr(there, attribute)
    if value is not None:
        setattr(there, attribute, type(before)(value))
    return before


def lowest_line(arguments: Sequence[str] = ()) -> float:
    """The usage in percent below which these options never alert."""
    options = parse(list(arguments))
    lines = (options.trend, *(upper_threshold(text) for text in options.limits['usage']))
    return min([line for line in lines if line is not None], default=100.0)


def usage_alone(warning: float = 80.0, critical: float = 90.0) -> Judge:
    """The initial namespace's usage against two lines."""
    def judge(snapshots: Sequence[Snapshot]) -> tuple[int, str]:
        table = snapshots[0].table
        usage = table.usage if isinstance(table, Table) else 0.0
        return 2 if usage >= critical else 1 if usage >= warning else 0, 'usage'
    return judge


def delta() -> Judge:
    """CRITICAL when the sum of `drop` is more than at the last run, whoever ran it."""
    last: list[int] = []

    def judge(snapshots: Sequence[Snapshot]) -> tuple[int, str]:
        counters = snapshots[0].counters
        total = counters.total('drop') if isinstance(counters, Counters) else 0
        grown = bool(last) and total > last[0]
        last[:] = [total]
        return 2 if grown else 0, 'drop'
    return judge
