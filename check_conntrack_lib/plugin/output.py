"""Presentation: nagiosplugin's results as the text that Icinga, Nagios, NRPE and a terminal show."""

from __future__ import annotations

from collections.abc import Iterator

from nagiosplugin import Check, Summary

from ..assessment import Assessment
from ..formatting import clean
from ..model import History, Missing
from ..namedtuples import TYPE_CHECKING
from .contexts import Results, troubles
from .first_line import first_line

if TYPE_CHECKING:
    from ..analysis.profile import Profile
    from ..diagnosis import Diagnosis
    from .options import Options
    from .resource import ConnectionTracking

NAME = 'CONNTRACK'


class CheckSummary(Summary):
    """The first line for any state, and the lines below it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        #: set once the state is known
        self.diagnosis: Profile | Diagnosis | Missing | None = None

    def ok(self, results: Results) -> str:
        ranking = _resource(results).ranking
        cause = ''
        if self.diagnosis is not None:
            from . import diagnosis_lines  # only where flows were looked at

            cause = diagnosis_lines.short_cause(self.diagnosis)
        if troubles(results):
            from . import other_maximum

            other = other_maximum.before(_assessment(results), self.options)
            cause = other_maximum.short(other) if other else cause
        if ranking is None:
            return first_line(_assessment(results), list(results), '', cause)
        from . import all_namespaces

        text = first_line(ranking.worst.assessment, list(results), all_namespaces.phrase(ranking), cause)
        return f'{ranking.shown[0][0]}: {text}'

    problem = ok

    def verbose(self, results: Results) -> list[str]:
        """On trouble the cause, the next command and the kind of alert; then, or with -v, every detail."""
        a = _assessment(results)
        causes, details = self._diagnosed()
        if not self.options.verbose and not troubles(results):
            return [*causes, *details, *notes(a)]
        from . import alerts, long_output  # most runs are OK

        found = alerts.alert(a, results, self.options)
        if found is None and not self.options.verbose:
            return [*causes, *details, *notes(a)]
        ranking = _resource(results).ranking
        details = details if found else [*causes, *details]
        heads: list[str] = []
        if found is not None:
            # what the flows say of dropped packets is more than what the counters say
            if found.cause and not (found.code == 'dropped' and causes and not isinstance(self.diagnosis, Missing)):
                heads.append(f'cause: {found.cause}')
                causes = [line.replace('cause not determined:', 'flows not read:').replace('cause: ', 'flows: ', 1)
                          for line in causes if not line.startswith('cause: unknown')]
                details = [*details, *causes]
            else:
                heads += causes[:1]
                details = [*causes[1:], *details]
            heads += found.lines()
        lines = [*details, *long_output.lines(a, self.options, trouble=found is not None)]
        if ranking is not None:
            from . import all_namespaces

            heads = all_namespaces.commands(ranking, heads)
            lines = [*all_namespaces.lines(ranking, self.options), *lines]
        return [*heads, *lines][:long_output.MOST_LINES]

    def _diagnosed(self) -> tuple[list[str], list[str]]:
        if self.diagnosis is None:
            return [], []
        from . import diagnosis_lines

        return diagnosis_lines.causes(self.diagnosis), diagnosis_lines.details(self.diagnosis)


def render(check: Check, diagnosis: Profile | Diagnosis | Missing | None = None) -> str:
    """The plugin's whole output. Performance data stand on the first line: NRPE may cut what follows."""
    check.summary.diagnosis = diagnosis
    performance = [str(p) for p in (result.metric.performance() for result in check.results.results) if p]
    first = f'{NAME} {str(check.state).upper()} - {check.summary_str}'
    if diagnosis is not None:
        from . import diagnosis_lines

        performance += diagnosis_lines.performance(diagnosis)
    return '\n'.join([f'{first} | {" ".join(performance)}' if performance else first, *check.verbose_str]) + '\n'


def notes(a: Assessment) -> Iterator[str]:
    """What was done to the history file, reported once."""
    if isinstance(a.history, History) and a.history.note:
        yield f'history: {a.history.note}'


def unknown(reason: str) -> str:
    """The whole output of a run that ended before the state was known."""
    return f'{NAME} UNKNOWN - {clean(reason, 400)}\n'


def _resource(results: Results) -> ConnectionTracking:
    resource: ConnectionTracking = results.results[0].metric.resource
    return resource


def _assessment(results: Results) -> Assessment:
    return _resource(results).assessment

