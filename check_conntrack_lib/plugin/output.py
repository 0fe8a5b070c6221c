"""Presentation: nagiosplugin's results as the text that Icinga, Nagios, NRPE and a terminal show."""

from __future__ import annotations

from nagiosplugin import Check, Ok, Summary

from ..assessment import Assessment
from ..formatting import clean
from . import long_output
from .contexts import Results
from .first_line import first_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..analysis.profile import Profile
    from ..diagnosis import Diagnosis
    from ..model import Missing
    from .options import Options
    from .resource import ConnectionTracking

NAME = 'CONNTRACK'


class Verdict(Summary):
    """The first line for any state, and the lines below it."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def ok(self, results: Results) -> str:
        ranking = _resource(results).ranking
        if ranking is None:
            return first_line(_assessment(results), list(results))
        from . import all_namespaces

        text = first_line(ranking.worst.assessment, list(results), all_namespaces.phrase(ranking))
        return f'{ranking.titles[0]}: {text}'

    problem = ok

    def verbose(self, results: Results) -> list[str]:
        """On trouble, or when asked to, every finding; the command to look further only on trouble."""
        a = _assessment(results)
        trouble = results.most_significant_state != Ok
        whole = trouble or self.options.verbose > 0
        lines = long_output.lines(a, self.options, trouble) if whole else list(long_output.notes(a))
        ranking = _resource(results).ranking
        if ranking is not None and whole:
            from . import all_namespaces

            lines = [*all_namespaces.lines(ranking), *lines]
        return [*lines, long_output.command(a)] if trouble and a.losses is not None else lines


def render(check: Check, why: Profile | Diagnosis | Missing | None = None) -> str:
    """The plugin's whole output. Performance data stand on the first line: NRPE may cut what follows."""
    performance = [str(p) for p in (result.metric.performance() for result in check.results.results) if p]
    first = f'{NAME} {str(check.state).upper()} - {check.summary_str}'
    lines = list(check.verbose_str)
    if why is not None:
        from . import diagnosis_lines  # only where flows were looked at

        performance += diagnosis_lines.performance(why)
        lines = diagnosis_lines.merge(why, lines)
    ranking = _resource(check.results).ranking
    if ranking is not None:
        from . import all_namespaces

        lines = all_namespaces.commands(ranking, lines)
    return '\n'.join([f'{first} | {" ".join(performance)}' if performance else first, *lines]) + '\n'


def unknown(reason: str) -> str:
    """The whole output of a run that came to no verdict."""
    return f'{NAME} UNKNOWN - {clean(reason, 400)}\n'


def _resource(results: Results) -> ConnectionTracking:
    resource: ConnectionTracking = results.results[0].metric.resource
    return resource


def _assessment(results: Results) -> Assessment:
    return _resource(results).assessment

