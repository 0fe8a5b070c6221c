"""The page of figures is what was recorded, and no figure of it stands elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import BENCHMARKS, Benchmark

ROOT = Path(__file__).parent.parent


def test_the_page_is_what_is_recorded() -> None:
    assert (ROOT / 'docs/figures.md').read_text() == figures.page(figures.recorded()), \
        'python3 -m benchmarks.figures writes it'


@pytest.mark.parametrize('one', BENCHMARKS, ids=lambda one: one.name)
def test_what_is_recorded_is_of_that_command(one: Benchmark) -> None:
    assert any((ROOT / 'benchmarks' / file).exists() for file in (f'{one.name}.py', f'{one.name}/__main__.py'))
    result = figures.recorded().get(one.name)
    # a longer run has more options
    assert result is None or result.command.startswith(one.command.partition(' --')[0])


def test_no_figure_stands_in_the_explanations_too() -> None:
    explained = (ROOT / 'benchmarks/README.md').read_text()
    for result in figures.recorded().values():
        for line in result.output.splitlines():
            assert not (re.search(r'\d', line) and len(line) > 20 and line in explained), line


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, 'RESULTS', tmp_path / 'results')
    monkeypatch.setattr(figures, 'NAMES', ('one', 'two'))
    monkeypatch.setattr(figures, 'BENCHMARKS', (Benchmark('one', 'One of them', ('-c', 'print("a row 5")')),
                                                Benchmark('two', 'Two', ('-c', 'print(6); raise SystemExit(2)'))))
    return tmp_path / 'results'


def test_what_a_command_prints_is_recorded_with_the_machine(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert figures.measure(figures.BENCHMARKS) == ['two']
    assert 'exit status 2' in capfd.readouterr().out
    assert [path.name for path in place.iterdir()] == ['one.json']
    result = figures.recorded()['one']
    assert (result.output, result.exit_status, result.command) == ('a row 5\n', 0, 'python3 -c print("a row 5")')
    text = figures.page({'one': result._replace(seconds=None)})
    assert f'\n## One of them\n\n`python3 -c print("a row 5")`, {result.when}: {result.machine}, Linux ' in text
    assert text.endswith('\n```\na row 5\n```\n')
    assert '| [One of them](#one-of-them) | ' in text
    assert '## Two' not in text


@pytest.mark.parametrize('change', [{'name': 'two'}, {'unknown': 1}])
def test_a_file_that_is_no_result(place: Path, change: dict[str, object]) -> None:
    figures.measure(figures.BENCHMARKS[:1])
    file = place / 'one.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match='not the result of one of one, two'):
        figures.recorded()


def test_what_needs_root_is_not_begun_without(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures.os, 'geteuid', lambda: 1000)
    assert figures.measure([figures.BENCHMARKS[0]._replace(root=True)]) == ['one']
    assert not place.exists()
