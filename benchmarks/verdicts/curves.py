"""python3 -m benchmarks.verdicts --series DIR: every series at every quiet peak, through every judge."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from pathlib import Path
from types import MappingProxyType

from . import rivals
from .figures import SLOW, SLOWEST, Figures, add, figures, median
from .judges import constant, delta, own, usage_alone
from .replay import Judged, judged, recording, skipping
from .series import Course, Series, read_all

PEAKS = (60.0, 75.0, 84.0, 110.0)
OWN = 'check_conntrack'
#: the figures by (series, peak) and judge
Found = Mapping[tuple[str, float], Mapping[str, Figures]]
COLUMNS = (('hard', 6), ('growth', 7), ('usage', 6), ('dropped', 8), ('in vain', 8), ('false growth', 13), ('again', 6),
           ('notifications', 14), ('losses', 7), ('unannounced', 12), ('>=6 min: n', 11), ('median', 7), ('worst', 6),
           ('>=12 min: n', 12), ('median', 7), ('worst', 6))


def own_alerts(course: Course, arguments: Sequence[str] = (), skip: bool = True) -> list[Judged]:
    """The plugin with these options; skip: leave out the runs that can only say OK."""
    place = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as directory:
        file = f'{directory}/history.sqlite'
        if not skip:
            return judged(course, own(file, arguments))
        return judged(course, own(file, arguments), skipping(course, arguments), recording(course, file))


def judges(course: Course, arguments: Sequence[str], every: bool) -> dict[str, list[Judged]]:
    """The alerts of each; every: those of others, too."""
    found = {OWN: own_alerts(course, arguments)}
    if not every:
        return found
    found['without growth'] = own_alerts(course, [*arguments, '--trend', 'off'])
    found['80/90 of usage'] = judged(course, usage_alone(), lambda k, ran: course.usage[k] < 80)
    found['delta of drop'] = judged(course, delta(), lambda k, ran: not course.loss_within(k, 120.0))
    others = {'netdata': rivals.netdata(course), 'node-mixin > 75 %': rivals.above(course),
              'node-mixin for: 5m': rivals.above(course, lasting=rivals.MIXIN_FOR),
              'predict_linear': rivals.predict_linear(course)}
    found.update({name: [Judged(alert, 'usage') for alert in alerts] for name, alerts in others.items()})
    return found


def job(task: tuple[Series, float], arguments: Sequence[str], every: bool, seed: int,
        constants: Mapping[str, float]) -> dict[str, Figures]:
    series, peak = task
    for name, value in constants.items():
        constant(name, value)
    course = Course(series, peak, seed)
    return {name: figures(course, alerts) for name, alerts in judges(course, arguments, every).items()}


def measure(directory: Path, peaks: Sequence[float], arguments: Sequence[str] = (), every: bool = True,
            seed: int = 1, constants: Mapping[str, float] = MappingProxyType({})) -> Found:
    """The figures; constants: of check_conntrack_lib/analysis, with other values than theirs."""
    # the longest first
    tasks = sorted(((series, peak) for series in read_all(directory) for peak in peaks),
                   key=lambda task: (-task[1], -task[0].days))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(partial(job, arguments=arguments, every=every, seed=seed, constants=dict(constants)), tasks)
        return {(series.name, peak): result for (series, peak), result in zip(tasks, results)}


def total(found: Found, peak: float, without: str = '') -> dict[str, Figures]:
    """Summed over the series, except for one."""
    parts = [result for (name, of), result in found.items() if of == peak and name != without]
    return {name: reduce(add, (part[name] for part in parts)) for name in parts[0]}


def spread(found: Found, peak: float, judge: str) -> list[list[float | None]]:
    """The lowest and the highest of each column, each series left out once."""
    rows = [row(total(found, peak, name)[judge]) for name in sorted({name for name, _ in found})]
    known = [[value for value in column if value is not None] for column in zip(*rows)]
    return [[edge(values) if values else None for values in known] for edge in (min, max)]


def row(f: Figures) -> list[float | None]:
    """The columns: of alerts so many per 30 days, leads in minutes."""
    month = 30 / f.days
    leads = []
    for least in (SLOW, SLOWEST):
        part = [lead / 60 for took, lead in f.leads if took >= least]
        leads += [len(part), median(part), min(part, default=None)]
    return [f.hard * month, *(f.kinds.get(kind, 0) * month for kind in ('growth', 'usage', 'dropped')),
            f.in_vain * month, f.false_growth * month, f.again * month, f.notifications * month, f.losses,
            f.unannounced, *leads]


def lines(found: Found, peaks: Sequence[float],
          leave_one_out: bool = False) -> list[str]:
    """The tables, one for each peak; leave_one_out: with the spread of each figure."""
    said = []
    for peak in peaks:
        summed = total(found, peak)
        series, days = len({name for name, _ in found}), next(iter(summed.values())).days
        said.append(f'quiet peak {peak:g} %: {series} series, {days:.0f} days; alerts per 30 days, leads in minutes')
        said.append(f'  {"":20}' + ''.join(name.rjust(width) for name, width in COLUMNS))
        for name, f in summed.items():
            said.append(_line(name, row(f)))
            if leave_one_out and series > 1:
                lowest, highest = spread(found, peak, name)
                said += [_line('  one left out: from', lowest), _line('  to', highest)]
    return said


def _line(name: str, values: Sequence[float | None]) -> str:
    return f'  {name:20}' + cells(values, [width for _, width in COLUMNS])


def cells(values: Sequence[float | None], widths: Sequence[int]) -> str:
    """A row of numbers, '-' where there is none."""
    texts = ['-' if value is None else f'{value:.2f}' if isinstance(value, float) else str(value) for value in values]
    return ''.join(text.rjust(width) for text, width in zip(texts, widths))


def as_json(found: Found) -> str:
    """One object for each series and peak."""
    return json.dumps([{'series': name, 'peak': peak, 'judges': {judge: f._asdict() for judge, f in result.items()}}
                       for (name, peak), result in sorted(found.items())], indent=1)
