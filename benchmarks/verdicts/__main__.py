"""python3 -m benchmarks.verdicts: every scenario, through every judge."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import vary
from .curves import PEAKS, Found, as_json, lines, measure
from .judges import Judge, delta, own, usage_alone
from .outcome import Outcome, failures, outcome
from .scenarios import scenarios
from .sparing import sparing
from .world import Course, Scenario, run

OWN, UNPRIVILEGED = 'check_conntrack', 'without the kernel log'
RIVALS = ('80/90 of usage', 'delta of drop')


def judges(directory: str, unprivileged: bool = False) -> dict[str, Judge]:
    """The project's own judge first."""
    found = {OWN: sparing(own(file := f'{directory}/own.sqlite'), file)}
    if unprivileged:
        found[UNPRIVILEGED] = sparing(own(file := f'{directory}/unprivileged.sqlite', kernel_log=False), file)
    return {**found, RIVALS[0]: usage_alone(), RIVALS[1]: delta()}


def play(scenario: Scenario, seed: int = 1, unprivileged: bool = False) -> tuple[Course, dict[str, Outcome]]:
    """One scenario through all judges."""
    # in memory where there is such a place: the recorder writes at every check
    place = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as directory:
        course = run(scenario, judges(directory, unprivileged), seed)
    return course, {name: outcome(scenario, course.lost, checks) for name, checks in course.checks.items()}


def moment(seconds: float | None) -> str:
    """A duration, short; '-' where there is none."""
    if seconds is None:
        return '-'
    if seconds == float('inf'):
        return 'stands'
    sign, seconds = '-' if seconds < 0 else '', abs(round(seconds))
    if seconds < 600:
        return f'{sign}{seconds}s'
    return f'{sign}{seconds / 60:.0f}m' if seconds < 6 * 3600 else f'{sign}{seconds / 3600:.1f}h'


def rows(scenario: Scenario, course: Course, results: dict[str, Outcome]) -> list[str]:
    """The lines of one scenario."""
    lost = next(iter(results.values())).episodes
    said = [f'{scenario.name}: {scenario.what}; peak {course.peak:.0f} %, '
            f'{sum(one.packets for one in lost)} lost in {len(lost)} episodes, {course.evicted} evicted']
    for name, r in results.items():
        wrong = failures(scenario, r)
        said.append(f'  {name:23} {moment(r.soft_lead):>7} {moment(r.hard_lead):>7} {r.hard_alerts:5} {r.missed:6} '
                    f'{r.false:5} {r.flaps:5} {r.notified:8} {moment(r.recovery):>8}  {", ".join(wrong) or "ok"}')
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description='Replays what can happen to a table through check_conntrack and '
                                                 'through what is in use today.')
    parser.add_argument('--days', type=float, default=30.0, help='of the quiet time (default: %(default)g)')
    parser.add_argument('--scenario', action='append', default=[], help='only this one; repeatable')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--seeds', type=int, default=1, help='so many courses of each scenario: the first in full, of '
                                                             'the others what is missed')
    parser.add_argument('--unprivileged', action='store_true', help='also without the kernel log')
    parser.add_argument('-v', '--verbose', action='store_true', help='every change of state')
    parser.add_argument('--series', type=Path, metavar='DIR', help='real load curves instead: every CSV file of a '
                                                                   'folder, columns timestamp and value')
    parser.add_argument('--peak', type=lambda text: [float(part) for part in text.split(',')], default=PEAKS,
                        help='of the series: their quiet peaks in percent (default: 60,75,84,110)')
    parser.add_argument('--option', action='append', default=[], help='of the series: an option of the check, such as '
                                                                      '--option=--trend=off; repeatable')
    parser.add_argument('--own', action='store_true', help='of the series: only check_conntrack, not the others')
    parser.add_argument('--leave-one-out', action='store_true', help='of the series: also the lowest and the highest '
                                                                     'of each figure, each series left out once')
    parser.add_argument('--vary', action='append', default=[], type=vary.varied, metavar='NAME=VALUE,...',
                        help='of the series: what other values of a constant of check_conntrack_lib/analysis change '
                             '(trend.ODD_ONE_OF=4,16), or of an option (--vary=--horizon=1h), on all and on each half '
                             'of them; repeatable')
    parser.add_argument('--json', action='store_true', help='of the series: all figures of each as JSON')
    given = parser.parse_args()
    if given.series and given.vary:
        def of(arguments: Sequence[str], constants: Mapping[str, float]) -> Found:
            return measure(given.series, given.peak, [*given.option, *arguments], False, given.seed, constants)
        print('\n'.join(vary.lines(given.vary, given.peak, of)))
        return 0
    if given.series:
        found = measure(given.series, given.peak, given.option, not given.own, given.seed)
        print(as_json(found) if given.json else '\n'.join(lines(found, given.peak, given.leave_one_out)))
        return 0
    wanted = [s for s in scenarios(given.days) if not given.scenario or s.name in given.scenario]
    if not wanted:
        parser.error('no such scenario; there are: ' + ', '.join(s.name for s in scenarios()))
    started = time.monotonic()
    missed: list[str] = []
    unknown: list[str] = []
    print(f'  {"":23} {"soft":>7} {"hard":>7} {"hard":>5} {"":6} {"":5} {"":5} {"notifi-":>8}')
    print(f'  {"":23} {"lead":>7} {"lead":>7} alerts missed false flaps {"cations":>8} recovery  targets missed')
    for scenario in wanted:
        course, results = play(scenario, given.seed, given.unprivileged)
        print('\n'.join(rows(scenario, course, results)), flush=True)
        if given.verbose:
            for name, changes in course.changes.items():
                for now, service, signals in changes:
                    print(f'    {name:23} {now:9.0f}s {"hard" if service.hard else "soft"} {service.state} {signals}')
        wrong = {word for name in (OWN, UNPRIVILEGED) if name in results for word in failures(scenario, results[name])}
        if wrong:
            missed.append(scenario.name)
        unknown += sorted(wrong - set(scenario.known))
        for seed in range(given.seed + 1, given.seed + given.seeds):
            result = play(scenario, seed)[1][OWN]
            rare = [word for word in failures(scenario, result) if word not in scenario.known]
            if rare:
                print(f'  {"seed " + str(seed):23} {moment(result.soft_lead):>7} {moment(result.hard_lead):>7} '
                      f'{result.hard_alerts:5} {result.missed:6} {result.false:5} {result.flaps:5} {result.notified:8} '
                      f'{moment(result.recovery):>8}  {", ".join(rare)}', flush=True)
    print(f'{len(wanted)} scenarios in {time.monotonic() - started:.0f} s; check_conntrack misses a target in: '
          + (', '.join(missed) or 'none') + (f'; new: {", ".join(unknown)}' if unknown else ''))
    return 1 if unknown else 0


if __name__ == '__main__':
    sys.exit(main())
