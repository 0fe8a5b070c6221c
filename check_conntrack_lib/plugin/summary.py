"""Presentation: nagiosplugin's results as the text that Icinga, Nagios, NRPE and a terminal show."""

from __future__ import annotations

from nagiosplugin import Check, Ok, Summary

from ..assessment import Assessment
from ..text import clean
from . import findings
from .contexts import Results
from .headline import headline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..diagnosis import Diagnosis
    from ..model import Missing
    from ..reasoning.profile import Profile
    from .resource import ConnectionTracking

NAME = 'CONNTRACK'


class Verdict(Summary):
    """The first line for any state, and the lines below it."""

    def __init__(self, verbose: int) -> None:
        self.wordy = verbose > 0

    def ok(self, results: Results) -> str:
        roll = _resource(results).roll
        if roll is None:
            return headline(_assessment(results), list(results))
        from . import everywhere

        return f'{roll.titles[0]}: ' + headline(roll.leader.assessment, list(results), everywhere.phrase(roll))

    problem = ok

    def verbose(self, results: Results) -> list[str]:
        """On trouble, or when asked to, every finding; the command to look further only on trouble."""
        a = _assessment(results)
        trouble = results.most_significant_state != Ok
        lines = findings.findings(a) if trouble or self.wordy else _only_notes(a)
        roll = _resource(results).roll
        if roll is not None and (trouble or self.wordy):
            from . import everywhere

            lines = [*everywhere.lines(roll), *lines]
        return [*lines, findings.command(a)] if trouble and a.losses is not None else lines


def render(check: Check, why: Profile | Diagnosis | Missing | None = None) -> str:
    """The plugin's whole output. Performance data stand on the first line: NRPE may cut what follows."""
    performance = [str(p) for p in (result.metric.performance() for result in check.results.results) if p]
    first = f'{NAME} {str(check.state).upper()} - {check.summary_str}'
    lines = list(check.verbose_str)
    if why is not None:
        from . import reasons  # only where flows were looked at

        performance += reasons.performance(why)
        lines = reasons.merge(why, lines)
    roll = _resource(check.results).roll
    if roll is not None:
        from . import everywhere

        lines = everywhere.commands(roll, lines)
    return '\n'.join([f'{first} | {" ".join(performance)}' if performance else first, *lines]) + '\n'


def unknown(reason: str) -> str:
    """The whole output of a run that came to no verdict."""
    return f'{NAME} UNKNOWN - {clean(reason, 400)}\n'


def _resource(results: Results) -> ConnectionTracking:
    resource: ConnectionTracking = results.results[0].metric.resource
    return resource


def _assessment(results: Results) -> Assessment:
    return _resource(results).assessment


def _only_notes(a: Assessment) -> list[str]:
    return [line for line in findings.findings(a) if line.startswith('history: ')]
