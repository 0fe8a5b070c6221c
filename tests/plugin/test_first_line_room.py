"""The first line in less and less room: what goes first, and what stays to the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from assessments import NOON, assessment, logged, lost
from nagiosplugin import Critical, Metric, Ok, Result

from check_conntrack_lib.analysis.hysteresis import Awaited, Crossed
from check_conntrack_lib.analysis.trend import Forecast, Rise
from check_conntrack_lib.assessment import Assessment
from check_conntrack_lib.model import History, Missing, Table
from check_conntrack_lib.plugin import first_line

FULL, ROOM = Table(1000, 1000, 1000), Table(750, 1000, 1000)
CROSSED = Crossed(70, 65, NOON - 7200, NOON - 600, 76, False)
NOT_READ = {'kernel-log': Missing('no right'), 'settings': Missing('no sysctl.d')}
DROPPED = 'table full, 60 packets dropped since 11:50 UTC (0.1/s)'
WAS_FULL = 'table was full, 60 packets dropped since 11:50 UTC (0.1/s)'


def known(table: Table = ROOM, **more: Any) -> Assessment:
    return assessment(table, **{'history': History(first_run=False), 'losses': lost(), **more})


def shorter_and_shorter(monkeypatch: pytest.MonkeyPatch, a: Assessment, metrics: dict[str, Any], cause: str = '',
                        among: str = '') -> list[str]:
    """Every line that there is between room enough and none."""
    results = [Result(Ok if isinstance(value, Missing) else Critical, metric=Metric(name, value))
               for name, value in metrics.items()]
    lines = []
    for room in range(300, 0, -1):
        monkeypatch.setattr(first_line, 'LONGEST', room)
        lines.append(first_line.first_line(a, results, among, cause))
        # no more is left out than must be
        assert lines[-1] == lines[0] or len(lines[-2]) > room - len('CONNTRACK CRITICAL - ') or lines[-1] == lines[-2]
    return list(dict.fromkeys(lines))


CAUSE = {'cause': '+790 udp from 10.1.1.1', 'among': 'worst of 9'}


@pytest.mark.parametrize(('a', 'metrics', 'more', 'lines'), [
    (known(ROOM._replace(other_limit=800), forecast=Forecast(1, 60, 600), crossed=CROSSED),
     {'usage': 75, **NOT_READ}, CAUSE, (
        '93.8% used (750 of 800, --limit), full in 10 min (12:10 UTC) at +60 entries/min'
        ', above 70% since 10:00 UTC, clears below 65%: +790 udp from 10.1.1.1, worst of 9'
        ', not checked: kernel log (no right), settings (no sysctl.d)',
        '93.8% used (750 of 800, --limit), full in 10 min (12:10 UTC) at +60 entries/min'
        ', above 70% since 10:00 UTC: +790 udp from 10.1.1.1, worst of 9'
        ', not checked: kernel log (no right), settings (no sysctl.d)',
        '93.8% used (750 of 800, --limit), full in 10 min (12:10 UTC) at +60 entries/min'
        ', above 70% since 10:00 UTC: +790 udp from 10.1.1.1, worst of 9, not checked: kernel log, settings',
        '93.8% used (750 of 800, --limit), full in 10 min (12:10 UTC) at +60 entries/min'
        ', above 70% since 10:00 UTC: +790 udp from 10.1.1.1, worst of 9',
        '93.8% used, full in 10 min (12:10 UTC) at +60 entries/min'
        ', above 70% since 10:00 UTC: +790 udp from 10.1.1.1, worst of 9',
        '93.8% used, full in 10 min (12:10 UTC), above 70% since 10:00 UTC: +790 udp from 10.1.1.1, worst of 9',
        '93.8% used, above 70% since 10:00 UTC: +790 udp from 10.1.1.1, worst of 9',
        '93.8% used: +790 udp from 10.1.1.1, worst of 9',
        '93.8% used: +790 udp from 10.1.1.1',
        '93.8% used: +790 udp',
        '93.8% used')),
    (known(crossed=CROSSED._replace(held=True), forecast=Forecast(0, None, None)),
     {'usage': 75, **NOT_READ}, CAUSE, (
        '75.0% used (750 of 1000), above 70% since 10:00 UTC, clears below 65%: +790 udp from 10.1.1.1'
        ', worst of 9, not checked: kernel log (no right), settings (no sysctl.d)',
        '75.0% used (750 of 1000), above 70% since 10:00 UTC, clears below 65%: +790 udp from 10.1.1.1'
        ', worst of 9, not checked: kernel log, settings',
        '75.0% used (750 of 1000), above 70% since 10:00 UTC, clears below 65%: +790 udp from 10.1.1.1, worst of 9',
        '75.0% used, above 70% since 10:00 UTC, clears below 65%: +790 udp from 10.1.1.1, worst of 9',
        '75.0% used, above 70% since 10:00 UTC, clears below 65%: +790 udp from 10.1.1.1',
        '75.0% used, above 70% since 10:00 UTC: +790 udp from 10.1.1.1',
        '75.0% used, above 70% since 10:00 UTC: +790 udp',
        '75.0% used, above 70% since 10:00 UTC',
        '75.0% used')),
    (known(losses=lost(drop=60), log=logged(9)),
     {'dropped_per_s': 1, 'early_drop_per_s': 1, 'usage': 75}, CAUSE, (
        WAS_FULL + ', 75.0% used (750 of 1000): +790 udp from 10.1.1.1, worst of 9',
        WAS_FULL + ', 75.0% used: +790 udp from 10.1.1.1, worst of 9',
        WAS_FULL + ', 75.0% used: +790 udp from 10.1.1.1',
        WAS_FULL + ', 75.0% used: +790 udp',
        WAS_FULL + ', 75.0% used',
        WAS_FULL)),
    (known(FULL, losses=lost(drop=60), log=logged(9)),
     {'dropped_per_s': 1, 'other_namespaces': '2 others', **NOT_READ}, CAUSE, (
        DROPPED + ', 2 others, 100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9'
        ', not checked: kernel log (no right), settings (no sysctl.d)',
        DROPPED + ', 100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9'
        ', not checked: kernel log (no right), settings (no sysctl.d)',
        DROPPED + ', 100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9, not checked: kernel log, settings',
        DROPPED + ', 100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9',
        DROPPED + ', 100% used: +790 udp from 10.1.1.1, worst of 9',
        DROPPED + ': +790 udp from 10.1.1.1, worst of 9',
        DROPPED + ': +790 udp from 10.1.1.1',
        DROPPED + ': +790 udp',
        DROPPED)),
    (assessment(FULL), {'usage': 75, **NOT_READ}, CAUSE, (
        '100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9, not checked: kernel log (no right)'
        ', settings (no sysctl.d), first run: drops are counted from now on',
        '100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9, not checked: kernel log (no right)'
        ', settings (no sysctl.d), first run',
        '100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9, not checked: kernel log (no right)'
        ', settings (no sysctl.d)',
        '100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9, not checked: kernel log, settings',
        '100% used (1000 of 1000): +790 udp from 10.1.1.1, worst of 9',
        '100% used: +790 udp from 10.1.1.1, worst of 9',
        '100% used: +790 udp from 10.1.1.1',
        '100% used: +790 udp',
        '100% used')),
    (assessment(ROOM, awaited=Awaited(85, NOON + 60)), NOT_READ, {'among': '2 of 9 are not known'}, (
        '75.0% used (750 of 1000), WARNING from 12:01 UTC on unless it falls'
        ', 2 of 9 are not known'
        ', not checked: kernel log (no right), settings (no sysctl.d), first run: drops are counted from now on',
        '75.0% used (750 of 1000), WARNING from 12:01 UTC on unless it falls'
        ', 2 of 9 are not known, not checked: kernel log (no right), settings (no sysctl.d), first run',
        '75.0% used (750 of 1000), WARNING from 12:01 UTC on unless it falls'
        ', 2 of 9 are not known, not checked: kernel log (no right), settings (no sysctl.d)',
        '75.0% used (750 of 1000), WARNING from 12:01 UTC on unless it falls'
        ', not checked: kernel log (no right), settings (no sysctl.d)',
        '75.0% used (750 of 1000), not checked: kernel log (no right), settings (no sysctl.d)',
        '75.0% used (750 of 1000), not checked: kernel log, settings',
        '75.0% used, not checked: kernel log, settings')),
    (known(forecast=Forecast(1, None, None, rise=Rise(9, 600, 60, 0))), {'usage': 75}, {}, (
        '75.0% used (750 of 1000), rose by 9 in the last 10 min, steady for 60 s',
        '75.0% used, rose by 9 in the last 10 min, steady for 60 s',
        '75.0% used')),
    (known(FULL, losses=lost(early_drop=60)), {'usage': 100, 'early_drop_per_s': 1}, CAUSE, (
        '100% used (1000 of 1000), 60 entries evicted (early_drop) since 11:50 UTC: +790 udp from 10.1.1.1'
        ', worst of 9',
        '100% used, 60 entries evicted (early_drop) since 11:50 UTC: +790 udp from 10.1.1.1, worst of 9',
        '100% used, 60 entries evicted (early_drop) since 11:50 UTC: +790 udp from 10.1.1.1',
        '100% used, 60 entries evicted (early_drop) since 11:50 UTC: +790 udp',
        '100% used, 60 entries evicted (early_drop) since 11:50 UTC',
        '100% used')),
])
def test_what_goes_first(monkeypatch: pytest.MonkeyPatch, a: Assessment, metrics: dict[str, Any],
                         more: dict[str, str], lines: Sequence[str]) -> None:
    assert shorter_and_shorter(monkeypatch, a, metrics, **more) == list(lines)
