"""The replay of real load curves: it reads them right, leaves out only what changes nothing, and counts right."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.verdicts import vary
from benchmarks.verdicts.curves import COLUMNS, Found, lines, own_alerts, spread, total
from benchmarks.verdicts.figures import Figures, figures
from benchmarks.verdicts.judges import constant
from benchmarks.verdicts.replay import Judged
from benchmarks.verdicts.rivals import above, netdata
from benchmarks.verdicts.scheduler import Alert
from benchmarks.verdicts.series import LABELS, Course, Series, quiet_peak, read_all
from check_conntrack_lib.analysis import trend

BEGIN = 1_400_000_000.0


def curve(*values: float, every: float = 300.0, name: str = 'made') -> Series:
    return Series(name, [BEGIN + every * k for k in range(len(values))], values, ())


#: twice to the top, the second time higher, half an hour between
WORK = (*[30.0] * 3, 60.0, 88.0, 90.0, 60.0, *[30.0] * 5, 60.0, 100.0, 100.0, 55.0, *[30.0] * 6)


def test_files_and_labels(tmp_path: Path) -> None:
    (tmp_path / 'nab_web_requests.csv').write_text(
        'timestamp,value\n2014-02-14 14:30:00,10\n2014-02-14 14:35:00.00,99\n2014-02-14 14:40:00,20\n')
    (tmp_path / 'server.csv').write_text('timestamp,value,label\n60,1,0\n120,9,1\n180,,0\n240,3,0\n')
    (tmp_path / LABELS).write_text(json.dumps({'web/requests.csv': [['2014-02-14 14:34:00', '2014-02-14 14:36:00']]}))
    web, server = read_all(tmp_path)
    assert (web.name, list(web.values), web.times[1] - web.times[0]) == ('nab_web_requests', [10, 99, 20], 300)
    assert (list(server.times), list(server.values)) == ([60, 120, 240], [1, 9, 3])
    assert (quiet_peak(web), quiet_peak(server)) == (20, 3)


def test_what_exceeds_the_table_is_dropped() -> None:
    course = Course(curve(*WORK), 105.0)
    assert max(course.usage) > 100
    assert len(course.episodes()) == 1
    assert course.dropped[-1] == sum(one.packets for one in course.episodes())
    assert course.snapshot(course.losing[0]).table.entries == 262144  # type: ignore[union-attr]


@pytest.mark.slow
def test_leaving_out_the_quiet_time_changes_nothing() -> None:
    course = Course(curve(*WORK), 105.0)
    found = own_alerts(course)
    assert found == own_alerts(course, skip=False)
    assert len([one for one in found if one.alert.hard is not None]) == 2


@pytest.mark.slow
def test_what_is_dropped_again_and_again_is_notified_once() -> None:
    course = Course(curve(*[30.0] * 3, 60.0, 101.5, 60.0, *[30.0] * 5, 60.0, 101.5, 60.0, *[30.0] * 16), 100.5)
    found = [one.alert for one in own_alerts(course, skip=False)]
    # so few packets a second that they alone would be a WARNING: it is the log that makes it CRITICAL, to the end
    assert [one.notified for one in found] == [(2,), (2,)]
    assert (found[1].over or 0.0) - course.losing[-1] * 15 >= 3600


def judged(soft: float, over: float, signals: str) -> Judged:
    return Judged(Alert(soft, soft + 30, over, (1,)), signals)


def test_what_is_counted() -> None:
    course = Course(curve(*[50.0] * 24, *[84.0] * 12, *[50.0] * 24, *[99.0] * 12, *[50.0] * 36), 102.0)
    found = figures(course, [judged(3600, 3900, 'growth_per_s'), judged(7200, 10800, 'usage'),
                             judged(18000, 21600, 'usage growth_per_s')])
    assert (found.kinds, found.false_growth, found.in_vain, found.again) == ({'growth': 1, 'usage': 2}, 1, 2, 1)
    assert (found.losses, found.unannounced, found.notifications) == (1, 0, 3)


def test_others() -> None:
    course = Course(curve(*WORK), 105.0)
    assert len(above(course)) == 2
    # a clearing waits, so the second one is the same
    assert 1 <= len(netdata(course)) <= 2
    assert all(alert.over is None or alert.over - alert.soft >= 300 for alert in netdata(course))


def made(false: int, lead: float) -> Figures:
    return Figures(30.0, {'usage': 3}, 1, false, 0, 5, 1, 0, ((800.0, lead),))


def test_each_series_left_out_once() -> None:
    leads = {'a': (6, 600.0), 'b': (0, 1200.0), 'c': (0, 1800.0), 'd': (2, 2400.0)}
    found = {(name, 75.0): {'check_conntrack': made(*of)} for name, of in leads.items()}
    column, worst = [name for name, _ in COLUMNS].index('false growth'), len(COLUMNS) - 1
    lowest, highest = spread(found, 75.0, 'check_conntrack')
    assert (lowest[column], highest[column]) == (pytest.approx(2 / 3), pytest.approx(8 / 3))
    assert (lowest[worst], highest[worst]) == (10, 20)
    assert total(found, 75.0, 'a')['check_conntrack'].false_growth == 2
    printed = lines(found, (75.0,), leave_one_out=True)
    assert [line[:22].strip() for line in printed[2:]] == ['check_conntrack', 'one left out: from', 'to']


def test_what_other_values_change_on_each_half() -> None:
    asked: list[tuple[tuple[str, ...], dict[str, float]]] = []

    def measure(arguments: Sequence[str], constants: Mapping[str, float]) -> Found:
        asked.append((tuple(arguments), dict(constants)))
        return {(name, 75.0): {'check_conntrack': made(len(asked) * number ** 2, 600.0)}
                for number, name in enumerate('abc')}

    printed = vary.lines([vary.varied('trend.ODD_ONE_OF=4,16'), vary.varied('--horizon=1h')], (75.0,), measure)
    assert asked == [((), {}), ((), {'trend.ODD_ONE_OF': 4}), ((), {'trend.ODD_ONE_OF': 16}), (('--horizon=1h',), {})]
    assert [line[:22].strip() for line in printed[2:]] == [
        name for first in ('as it is', 'trend.ODD_ONE_OF=4', 'trend.ODD_ONE_OF=16', '--horizon=1h')
        for name in (first, '', '')]
    # false growth of a, b and c, of a and c, of b
    assert [line.split()[-7] for line in printed[2:5]] == ['1.67', '2.00', '1.00']
    assert [line.split()[-7] for line in printed[5:8]] == ['3.33', '4.00', '2.00']


@pytest.mark.parametrize('text', ['trend.NO_SUCH=1', 'nothing.ODD_ONE_OF=1', 'trend.ODD_ONE_OF=few'])
def test_no_such_constant(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        vary.varied(text)


def test_a_constant_is_set_for_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trend, 'ODD_ONE_OF', trend.ODD_ONE_OF)
    assert constant('trend.ODD_ONE_OF', 4.0) == 8
    assert trend.ODD_ONE_OF == 4
    assert isinstance(trend.ODD_ONE_OF, int)
