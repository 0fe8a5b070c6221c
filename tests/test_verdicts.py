"""The verdict replay: its kernel and its scheduler are right, and the check keeps its targets in short scenarios."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from benchmarks.verdicts import judges
from benchmarks.verdicts.__main__ import OWN, RIVALS, play
from benchmarks.verdicts.outcome import episodes, failures, outcome
from benchmarks.verdicts.scenarios import scenarios, steady, with_extra
from benchmarks.verdicts.scheduler import Service, after, alerts, pause
from benchmarks.verdicts.sparing import sparing
from benchmarks.verdicts.table import (
    CPUS,
    LINUX_5_15,
    LINUX_6_1,
    WRAP,
    Kernel,
    SimulatedLog,
    SimulatedTable,
    refused_share,
)
from benchmarks.verdicts.world import Scenario, run
from check_conntrack_lib.snapshot import Snapshot

CHECKOUT = Path(__file__).resolve().parent.parent
SHORT = {scenario.name: scenario for scenario in scenarios(days=0.5)}
LONG = ('quiet', 'leak')
#: scenarios of days, each of more than ten seconds, of many hours, and others much like one that is quick
SLOW = ('bursts', 'evenings', 'heavy tails', 'black friday',
        'jumps', 'leak of hours', 'ramp', 'slow ramp', 'assured', 'container', 'by hand', 'few buckets',
        'syn flood', 'udp scan', 'two blips', 'burst', 'wrap', 'dns races', 'solved races',
        'reload', 'reboot in a blip', 'missed checks', '5m, ramp')


def table(maximum: int = 1000, kernel: Kernel = LINUX_6_1, counted: int = 0) -> SimulatedTable:
    return SimulatedTable(maximum, maximum, kernel, Random(1), counted)


@pytest.mark.parametrize(('ratio', 'share'), [(2, 0.0010), (3, 0.013), (4, 0.054), (5, 0.12), (6, 0.21), (8, 0.39)])
def test_chains_of_5_15(ratio: int, share: float) -> None:
    assert refused_share(10 * ratio, *LINUX_5_15.chains) == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize(('ratio', 'share'), [(8, 0.0), (16, 0.00011), (20, 0.0085), (24, 0.093)])
def test_chains_of_6_1(ratio: int, share: float) -> None:
    assert refused_share(10 * ratio, *LINUX_6_1.chains) == pytest.approx(share, rel=0.05, abs=1e-9)


def test_a_full_table_of_assured_connections_refuses_all() -> None:
    one = table()
    one.fill({'dead client': 1000 / 432000}, 0.0)
    before = one.entries
    refused = sum(sum(one.step(now, 1.0, {'dns': 50.0})) for now in range(1, 21))
    assert before >= 960
    assert one.entries <= 1000
    assert refused == one.readings().total('drop') > 800
    assert one.readings().total('early_drop') <= 1000 - before


def test_unassured_entries_make_room() -> None:
    one = table()
    one.fill({'udp scan': 1000 / 30}, 0.0)
    refused = sum(sum(one.step(now, 1.0, {'udp scan': 400.0})) for now in range(1, 21))
    assert one.entries <= 1000
    assert refused == 0
    assert one.readings().total('early_drop') > 5000


def test_a_full_table_is_freed_of_what_is_closing_uncounted() -> None:
    one = table()
    # connections closed long ago, all in TIME_WAIT
    one.herds['tcp'][1].add(1000, 1e6)
    for now in range(1, 130):
        one.step(now, 1.0, {'dead client': 2.0})
    assert one.readings().total('early_drop') == 0
    assert one.herds['tcp'][1].size < 960


def test_what_comes_goes() -> None:
    one = table(100_000)
    one.fill({'tcp': 50.0, 'dns': 100.0}, 0.0)
    assert one.entries == pytest.approx(50 * 420 + 100 * 30, rel=0.01)
    for now in range(1, 1200):
        one.step(now, 1.0, {'tcp': 50.0, 'dns': 100.0})
    assert one.entries == pytest.approx(50 * 420 + 100 * 30, rel=0.05)
    for now in range(1200, 6000):
        one.step(now, 1.0, {})
    assert one.entries == 0


def test_counters_wrap_on_each_cpu() -> None:
    one = table(counted=WRAP - 2)
    one.count('drop', 10)
    counters = one.readings()
    assert len(counters.per_cpu['drop']) == CPUS
    assert max(counters.per_cpu['drop']) < 3


def test_the_log_is_limited_and_late() -> None:
    log = SimulatedLog()
    log.refuse(100.0, 8, None)
    log.refuse(101.0, 190, None)
    assert len(log.readings().table_full) == 10
    assert not log.readings().suppressed
    log.refuse(105.6, 1, None)
    assert len(log.readings().table_full) == 11
    assert [one.messages for one in log.readings().suppressed] == [188]


def states(*codes: int) -> list[tuple[float, Service]]:
    service, now, found = Service(), 0.0, []
    for code in codes:
        service = after(service, code)
        found.append((now, service))
        now += pause(service, 60.0)
    return found


def test_the_third_check_makes_a_state_hard() -> None:
    checks = states(0, 1, 2, 1, 1, 0)
    assert [service.hard for _, service in checks] == [True, False, False, True, True, True]
    assert [now for now, _ in checks] == [0, 60, 75, 90, 150, 210]
    (alert,) = alerts(checks)
    assert (alert.soft, alert.hard, alert.over, alert.notified) == (60, 90, 210, (1,))


def test_what_recovers_before_is_never_hard() -> None:
    assert [alert.hard for alert in alerts(states(0, 2, 2, 0, 2, 0))] == [None, None]


def test_a_hard_state_changes_at_once() -> None:
    assert alerts(states(1, 1, 1, 2, 1, 0))[0].notified == (1, 2, 1)


def test_an_outcome() -> None:
    scenario = Scenario('one', '', 3600, (), (1000, 2000))
    checks = [(900.0, Service())] + [(now + 1000, service) for now, service in states(1, 1, 1, 0)]
    late = outcome(scenario, [(1010.0, 5), (1011.0, 5)], checks)
    assert [(one.first, one.packets) for one in late.episodes] == [(1010, 10)]
    assert (late.soft_lead, late.hard_lead, late.missed, late.false, late.recovery) == (10, -20, 0, 0, 79)
    assert failures(scenario._replace(lead=600), late) == ['lead']
    assert failures(scenario, outcome(scenario, [(1010.0, 5)], checks[:2])) == ['missed']
    assert failures(scenario._replace(trouble=()), outcome(scenario._replace(trouble=()), [], checks)) == ['false']


def test_losses_apart_are_two_episodes() -> None:
    assert [(one.first, one.last) for one in episodes([(0, 1), (500, 1), (1200, 1)])] == [(0, 500), (1200, 1200)]


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
                                  for name in SHORT if name not in LONG])
def test_targets(name: str) -> None:
    scenario = SHORT[name]
    course, results = play(scenario)
    # a target that is no longer missed is no longer known to be
    assert set(failures(scenario, results[OWN])) == set(scenario.known), course.changes[OWN]


@pytest.mark.slow
def test_a_quiet_half_day() -> None:
    scenario = SHORT['quiet']
    course, results = play(scenario)
    assert course.peak < 80
    assert failures(scenario, results[OWN]) == []


@pytest.mark.slow
def test_what_is_in_use_misses_a_blip() -> None:
    results = play(SHORT['blip'])[1]
    assert [results[name].missed for name in (OWN, *RIVALS)] == [0, 1, 1]


@pytest.mark.slow
def test_a_judge_that_is_spared_says_the_same(tmp_path: Path) -> None:
    hour = 3600.0
    # quiet, a blip, quiet, a rise to the top and back
    load = with_extra(steady((5.5 * hour, 74), (6 * hour, 96), (6.2 * hour, 96), (6.3 * hour, 50), noise=0.005),
                      'health check', (3 * hour, 12000.0), (3 * hour + 15, 0.0))
    scenario = Scenario('made', '', 7 * hour, (load,), step=15.0, check_interval=120.0)
    asked = 0

    def counted(snapshots: Sequence[Snapshot]) -> tuple[int, str]:
        nonlocal asked
        asked += 1
        return spared(snapshots)

    spared, file = judges.own(str(tmp_path / 'spared.sqlite')), str(tmp_path / 'all.sqlite')
    course = run(scenario, {'all': judges.own(file), 'spared': sparing(counted, str(tmp_path / 'spared.sqlite'))}, 1)
    assert course.checks['spared'] == course.checks['all']
    assert [name for name in ('dropped', 'usage') if any(name in change[2] for change in course.changes['all'])] \
        == ['dropped', 'usage']
    assert asked < 0.8 * len(course.checks['all'])


@pytest.mark.slow
def test_a_leak_of_days() -> None:
    scenario = SHORT['leak']
    assert set(failures(scenario, play(scenario)[1][OWN])) == set(scenario.known)


@pytest.mark.slow
def test_a_quiet_month() -> None:
    scenario = scenarios(30.0)[0]
    results = play(scenario)[1]
    assert set(failures(scenario, results[OWN])) <= set(scenario.known)


@pytest.mark.slow
def test_the_same_again() -> None:
    assert play(SHORT['burst'], seed=7)[1] == play(SHORT['burst'], seed=7)[1]


def test_the_check_is_judged_as_icinga_runs_it() -> None:
    command = (CHECKOUT / 'icinga/zones.d/global-templates/conntrack-command.conf').read_text()
    basket = json.loads((CHECKOUT / 'icinga/director/conntrack-basket.json').read_text())
    (option,) = judges.SHIPPED
    name, _, value = option.partition('=')
    variable = 'conntrack_' + name[2:].replace('-', '_')
    assert f'\tvars.{variable} = "{value}"\n' in command
    assert basket['CommandTemplate']['conntrack-options']['vars'] == {variable: value}
