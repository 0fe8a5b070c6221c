"""The cause of a loss that is over: from the profile nearest to the peak, else that it was not seen."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import proctree
import pytest

from check_conntrack_lib.history import profiles
from check_conntrack_lib.model import Instant
from check_conntrack_lib.plugin.cli import main

MAXIMUM = 2000
BEGIN = 1_800_000_000.0
UPTIME = 90_000.0
#: no line of the log, no entry evicted: memory may have been short
UNSEEN = 'cause: unknown, what the table held when packets were dropped was not seen: it was full, or memory was short'
CULPRIT = 'tcp to 203.0.113.9:8080'

Check = Callable[..., tuple[int, list[str]]]


def flow(number: int, source: str, destination: str, port: int, state: str) -> str:
    there, back = 20_000 + number % 40_000, f'src={destination} dst={source}'
    if not state:
        return (f'ipv4     2 udp      17 20 src={source} dst={destination} sport={there} dport={port} '
                f'{back} sport={port} dport={there} mark=0 zone=0 use=2')
    return (f'ipv4     2 tcp      6 100 {state} src={source} dst={destination} sport={there} dport={port} '
            f'{back} sport={port} dport={there} [ASSURED] mark=0 zone=0 use=2')


def quiet(entries: int) -> list[str]:
    return [flow(k, f'10.0.{k % 7}.{k % 200}', '10.0.0.53', 53, '') if k % 2 else
            flow(k, f'10.0.{k % 7}.{k % 200}', f'192.0.2.{k % 3}', 443, 'ESTABLISHED') for k in range(entries)]


def flood(entries: int, state: str = 'ESTABLISHED') -> list[str]:
    return [flow(k, '10.66.0.6', '203.0.113.9', 8080, state) for k in range(entries)]


@pytest.fixture
def check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Check:
    def run(seconds: float, flows: list[str], dropped: int = 0, *argv: str, evicted: int = 0) -> tuple[int, list[str]]:
        counters = ' '.join(f'{value:08x}' for value in (len(flows), *[0] * 9, dropped, evicted, *[0] * 5))
        root = proctree.make(tmp_path / 'proc', len(flows), MAXIMUM, f'{proctree.HEADER}\n{counters}\n')
        # a table with fewer entries than a 64th of its buckets is not profiled while all is well
        (root / 'sys/net/netfilter/nf_conntrack_buckets').write_text(f'{MAXIMUM}\n')
        (root / 'net/nf_conntrack').write_text('\n'.join([*flows, '']))
        at = Instant(BEGIN + seconds, UPTIME + seconds, UPTIME + seconds)
        status = main(['--procfs', str(root), '--kernel-log', 'off', '--history', str(tmp_path / 'history.sqlite'),
                       '--settings-check', 'off', *argv], lambda: at)
        return status, capfd.readouterr().out.splitlines()
    return run


def text(lines: list[str]) -> str:
    return '\n'.join(lines[1:])


def profiled(path: Path) -> list[tuple[float, int]]:
    with sqlite3.connect(path) as database:
        return list(database.execute('SELECT time, quiet FROM profile ORDER BY time'))


def test_the_profile_at_the_peak_names_the_cause(check: Check) -> None:
    for minute in range(10):
        assert check(60 * minute, quiet(600), 0, '--diagnose', 'always')[0] == 0
    status, lines = check(600, [*quiet(600), *flood(1400)], 300)
    assert status > 0
    assert CULPRIT in lines[1]
    status, lines = check(602, quiet(600), 300)
    assert status > 0
    assert re.match(rf'cause at \d\d:\d\d \w+ \(100% used\): {CULPRIT} grew from 0% to 70% of the table '
                    r'\(\+1400 entries\) since .*, mostly from 10\.66\.0\.6$', lines[1])
    # what is there now filled nothing
    assert '10.0.0.53' not in text(lines)
    # performance data are those of now
    assert 'flows_udp=300 ' in lines[0]


@pytest.mark.slow
def test_the_zone_that_grew_is_named(check: Check) -> None:
    for minute in range(10):
        assert check(60 * minute, quiet(600), 0, '--diagnose', 'always')[0] == 0
    tenant = [line.replace('zone=0', 'zone=5') for line in flood(1400)]
    status, lines = check(600, [*quiet(600), *tenant], 300)
    assert status > 0
    assert lines[1].startswith(f'cause: {CULPRIT} grew from 0% to 70% of the table (+1400 entries)')
    assert re.search(r'\nalso: zone 5 grew from 0% to 70% of the table \(\+1400 entries\) since .*\n', text(lines))
    # many sources and targets of one zone
    spread = [flow(k, f'10.9.{k % 199}.{k % 97}', f'198.51.{k % 89}.{k % 101}', 1024 + k, 'ESTABLISHED')
              .replace('zone=0', 'zone=5') for k in range(1400)]
    status, lines = check(660, [*quiet(600), *spread], 400)
    assert re.match(r'cause: zone 5 grew from 0% to 70% of the table', lines[1])
    assert '+1400 zone 5' in lines[0]


def test_what_was_not_seen_is_not_guessed(check: Check) -> None:
    for minute in range(10):
        check(60 * minute, quiet(600), 0, '--diagnose', 'always')
    status, lines = check(600, quiet(590), 300)
    assert status > 0
    assert lines[1] == UNSEEN
    assert '10.0.0.53' not in text(lines)
    assert '443' not in text(lines)


def test_without_a_baseline_either(check: Check) -> None:
    check(0, quiet(600), 0, '--diagnose', 'never', '--baseline-every', 'off')
    lines = check(60, quiet(600), 300)[1]
    assert lines[1] == UNSEEN
    assert '10.0.0.53' not in text(lines)


def test_no_baseline_is_recorded_where_that_is_off(check: Check, tmp_path: Path) -> None:
    """Not even the first one."""
    check(0, quiet(600))
    (tmp_path / 'proc/self/status').write_text('CapEff:\t000001ffffffffff\n')
    check(60, quiet(600), 0, '--baseline-every', 'off')
    assert profiled(tmp_path / 'history.sqlite') == []
    check(120, quiet(600))
    assert len(profiled(tmp_path / 'history.sqlite')) == 1


@pytest.mark.slow
def test_what_is_left_of_a_burst_between_two_checks(check: Check) -> None:
    for minute in range(10):
        check(60 * minute, quiet(600), 0, '--diagnose', 'always')
    lines = check(600, [*quiet(590), *flood(200, 'TIME_WAIT')], 300)[1]
    assert lines[1] == UNSEEN
    assert lines[4] == f'still in the table: +200 entries of {CULPRIT}, mostly from 10.66.0.6'


@pytest.mark.parametrize('entries', [0, 3])
def test_next_to_nothing_explains_nothing(check: Check, entries: int) -> None:
    check(0, [], 0)
    lines = check(60, flood(entries), 300)[1]
    assert lines[1] == UNSEEN
    assert '8080' not in text(lines)
    assert '10.66' not in text(lines)


@pytest.mark.parametrize(('more', 'said'), [
    (0, 'no large growth (600 entries, usually 600)'), (-30, 'no large growth (570 entries, usually 600)'),
    (15, 'no large growth (615 entries, usually 600)'),
    (400, 'growth of 400 entries since 08:00 UTC is spread over many sources and destinations')])
def test_a_growth_that_no_key_explains(check: Check, more: int, said: str) -> None:
    """Below 1 % of the maximum, or by flows of which each has its own source, destination and port."""
    check(0, quiet(600), 0, '--diagnose', 'always')
    flows = [flow(k, f'10.9.{k // 200}.{k % 200}', f'198.51.{k // 200}.{k % 200}', 1000 + k, 'ESTABLISHED')
             for k in range(max(more, 0))]
    lines = check(60, [*quiet(600 + min(more, 0)), *flows], 0, '--diagnose', 'always')[1]
    assert lines[1] == f'cause: {said}'


@pytest.mark.slow
def test_a_table_that_is_still_full_is_told_as_it_is(check: Check) -> None:
    for minute in range(10):
        check(60 * minute, quiet(600), 0, '--diagnose', 'always')
    check(600, [*quiet(600), *flood(1400)], 300)
    lines = check(615, [*quiet(600), *flood(1200)], 300)[1]
    assert lines[1].startswith(f'cause: {CULPRIT} grew from 0% to 67% of the table (+1200 entries)')


@pytest.mark.slow
def test_profiles_of_trouble_are_bounded(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), 'MAXIMUM', 200)
    monkeypatch.setattr(profiles, 'TROUBLE_KEPT', profiles.TROUBLE_KEPT / 3)
    check(0, quiet(60), 0, '--diagnose', 'always')
    for minute in range(1, 70):
        assert check(60 * minute, [*quiet(60), *flood(120 + minute % 7)])[0] > 0
    kept = [time for time, usual in profiled(tmp_path / 'history.sqlite') if not usual]
    last = max(kept)
    assert sum(time >= last - profiles.TROUBLE_KEPT for time in kept) == 21
    assert len(kept) <= 21 + 50 * 60 / profiles.TROUBLE_SLOT + 1


def test_evictions_prove_that_it_was_full(check: Check) -> None:
    check(0, quiet(600))
    lines = check(60, quiet(600), 300, evicted=9)[1]
    assert lines[1] == 'cause: unknown, it has emptied since; what filled it was not seen'
