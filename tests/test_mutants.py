"""The changes that benchmarks/mutants.py tries: each is one token of the text, none is left out, and who is asked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import mutants, mutants_run
from benchmarks.mutants_changes import changes
from benchmarks.mutants_run import EQUAL, KILLED, LATE, SURVIVED, UNREACHED, Mutant, choose, modules

ROOT = Path(__file__).parent.parent
SOURCE = '''"""A docstring."""
from x import y

LIMIT: int = 3


@decorated
def f(a, b=1, *, c=True):
    """Another."""
    if not a < b and c is not None:
        return a[1:b]
    b += -2.5
    g(
        b)
    return 0


TABLE = {'a': lambda n: n in (5,)}
'''


def said(text: str) -> list[tuple[int, int, str]]:
    return [(one.line, one.function, one.says) for group in changes(text) for one in group]


def test_every_token_that_can_be_changed() -> None:
    whole = 'not a < b and c is not None'
    assert said(SOURCE) == [
        (4, 0, '3 becomes 4'), (4, 0, '3 becomes 2'), (8, 0, '1 becomes 2'), (8, 0, '1 becomes 0'),
        (8, 0, 'True becomes False'),
        (10, 7, f'{whole} becomes {whole.replace(" and ", " or ")}'),
        (10, 7, 'not a < b becomes a < b'), (10, 7, 'a < b becomes a <= b'), (10, 7, 'a < b becomes a >= b'),
        (10, 7, 'c is not None becomes c is None'),
        (11, 7, 'return a[1:b] becomes return None'), (11, 7, 'return a[1:b] becomes pass'),
        (11, 7, '1:b becomes :b'), (11, 7, '1:b becomes 1:'), (11, 7, '1 becomes 2'), (11, 7, '1 becomes 0'),
        (12, 7, 'b += -2.5 becomes pass'), (12, 7, '-2.5 becomes 2.5'), (12, 7, '2.5 becomes 3.5'),
        (12, 7, '2.5 becomes 1.5'), (13, 7, 'g( b) becomes pass'), (15, 7, 'return 0 becomes pass'),
        (15, 7, '0 becomes 1'), (15, 7, '0 becomes -1'),
        (18, 18, 'n in (5,) becomes n not in (5,)'), (18, 18, '5 becomes 6'), (18, 18, '5 becomes 4')]


def test_operators_and_texts_of_several_bytes() -> None:
    assert said("x = 'ä' + a * b - (c // d)  # a + b\n") == [
        (1, 0, "'ä' + a * b - (c // d) becomes 'ä' + a * b + (c // d)"), (1, 0, "'ä' + a * b becomes 'ä' - a * b"),
        (1, 0, 'a * b becomes a / b'), (1, 0, 'c // d becomes c * d')]
    group, = changes('x = a and (\n    # or not\n    b)\n')
    assert group[0].applied('x = a and (\n    # or not\n    b)\n') == 'x = a or (\n    # or not\n    b)\n'


@pytest.mark.parametrize('module', modules(['analysis/trend', 'history/codec', 'readers/log_files', 'plugin/signals']))
def test_each_change_of_the_library_is_another_program(module: str) -> None:
    text = (ROOT / module).read_text()
    before = ast.dump(ast.parse(text))
    for group in changes(text)[::9]:
        for change in group:
            assert ast.dump(ast.parse(change.applied(text))) != before, change.says


def test_a_seed_is_always_the_same_sample() -> None:
    first, again, other = (mutants.sample(['analysis/trend', 'plugin/signals'], seed, 30) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len({(one.path, one.change.begin, one.change.new) for one in first}) == 30
    assert {one.path.split('/')[1] for one in mutants.sample(['analysis/trend'], 1, 9)} == {'analysis'}


def test_who_is_asked() -> None:
    files = mutants_run.tests_of('check_conntrack_lib/analysis/nat_ports.py')
    assert files[0].startswith('tests/analysis/test_nat_ports')
    assert 'tests/plugin/test_nat_ports_signal.py' in files[:4]
    assert {'tests/analysis/test_trend.py', mutants_run.GOLDENS} <= set(files)
    assert not any('/doctor/' in file or '/integration/' in file for file in files)
    change = changes(SOURCE)[3][0]._replace(function=7)
    mutant = Mutant('check_conntrack_lib/analysis/nat_ports.py', change, SOURCE)
    called = [[mutant.path, 7]]

    def found(seconds: float = 1.0, passed: bool = True, of: list[list[object]] | None = None) -> dict[str, object]:
        return {'seconds': seconds, 'passed': passed, 'called': called if of is None else of}

    reached = {'tests/analysis/test_trend.py::slow': found(2), 'tests/analysis/test_trend.py::quick': found(),
               f'{files[0]}::own': found(2.5), f'{files[0]}::starts': found(of=[['*', 0]]),
               f'{files[0]}::fails': found(passed=False), f'{files[0]}::long': found(3.1),
               f'{files[0]}::elsewhere': found(of=[[mutant.path, 8]]), 'tests/doctor/test_x.py::foreign': found()}
    names = [test.partition('::')[2] for test in choose(mutant, reached)]
    assert names == ['own', 'quick', 'slow', 'starts']
    on_import = mutant._replace(change=change._replace(function=0))
    assert 'elsewhere' in [test.partition('::')[2] for test in choose(on_import, reached)]


def test_the_table_and_the_share_that_survives() -> None:
    group = changes(SOURCE)
    results = [(Mutant(f'check_conntrack_lib/{package}/x.py', group[0][0], SOURCE), became, '')
               for package, became in (('plugin', KILLED), ('plugin', LATE), ('plugin', SURVIVED), ('history', EQUAL),
                                       ('history', UNREACHED), ('history', KILLED))]
    text, share = mutants.table(results)
    assert share == 40.0
    assert [line.split() for line in text.splitlines()[1:]] == [
        ['history', '3', '1', '0', '1', '1', '0', '50.0'], ['plugin', '3', '1', '1', '0', '0', '1', '33.3'],
        ['all', '6', '2', '1', '1', '1', '1', '40.0']]


def test_every_equivalent_change_is_still_one_and_has_its_reason() -> None:
    lines = mutants.EQUIVALENT.read_text().splitlines()
    paths = {line.partition(':')[0] for line in mutants.read_equivalent()}
    possible = {Mutant(path, change, text).key() for path in paths for text in [(ROOT / path).read_text()]
                for group in changes(text) for change in group}
    assert mutants.read_equivalent() - possible == set()
    reason = ''
    for line in lines:
        reason = line if line.startswith('# ') else reason if line else ''
        assert not line or len(reason) > 20, f'no reason above {line}'
