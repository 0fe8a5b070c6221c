"""A short run of the soak; benchmarks/README.md has the long one."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import laboratory
import proctree
import pytest

from benchmarks import footprint, soak

ROOT = Path(__file__).parents[2]
GOOD = 'CONNTRACK OK - 5.0% used (50 of 1000) | usage=5%;85;95;0;100\n'


def need_exporter() -> None:
    if not importlib.util.find_spec('prometheus_client'):
        pytest.skip('pip install prometheus_client')


@pytest.mark.kernel
@pytest.mark.slow
def test_a_busy_satellite_and_the_exporter() -> None:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    need_exporter()
    done = subprocess.run([sys.executable, str(ROOT / 'benchmarks/soak.py'), '--minutes', '0.1', '--rate', '300',
                           '--readings', '60'], capture_output=True, text=True, timeout=300, check=False)
    assert (done.stderr, done.returncode) == ('', 0), done.stdout
    assert len(done.stdout.splitlines()) == 15
    assert ' 30, 30 of 30 runs\n' in done.stdout


@pytest.mark.slow
def test_every_scrape_reads_anew_and_costs_no_memory(tmp_path: Path) -> None:
    need_exporter()
    tree = proctree.make(tmp_path / 'proc')
    feet = footprint.scraped(['--procfs', str(tree), '--kernel-log', 'off'], (50, 300), contextlib.nullcontext)
    assert footprint.grown('scrapes', (50, 300), feet).kept, feet


@pytest.mark.slow
def test_the_textfile_again_and_again_costs_no_memory(tmp_path: Path) -> None:
    need_exporter()
    tree = proctree.make(tmp_path / 'proc')
    feet = footprint.written(['--procfs', str(tree), '--kernel-log', 'off'], (50, 300), contextlib.nullcontext)
    assert footprint.grown('textfiles', (50, 300), feet).kept, feet


def run(**changes: object) -> soak.Run:
    return soak.Run(7, 0.0, 0.2, 0, GOOD, '')._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(('bad', 'complaint'), [
    (run(status=3, text='CONNTRACK UNKNOWN - timed out after 10 s (--timeout)\n'), 'exit statuses: all OK'),
    (run(fault='no whole line'), 'outputs that are no proper plugin output'),
    (run(text=GOOD.replace(' |', ', not checked: history (database is locked) |')), 'states without the history'),
    (run(text=GOOD + 'not recorded: h.sqlite: database is locked\n'), 'states without the history'),
    (run(seconds=10.5), 'runs longer than 10 s'),
])
def test_the_soak_itself_sees_what_is_wrong(bad: soak.Run, complaint: str) -> None:
    assert [demand.what for demand in soak.judged([run(), bad, run()], 0.1, 0.0) if not demand.kept] == [complaint]


def test_growth_is_seen() -> None:
    before = footprint.Footprint(20000, 7, 1)
    assert footprint.grown('it', (1, 2), (before, before)).kept
    for after in (before._replace(kib=20000 + footprint.NOISE + 1), before._replace(descriptors=8),
                  before._replace(threads=2)):
        assert not footprint.grown('it', (1, 2), (before, after)).kept
