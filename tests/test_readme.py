"""README keeps its word: options, commands and texts are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

from check_conntrack_lib.plugin import options

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()


def test_every_option_and_default_is_told() -> None:
    block = README.split('## Options')[1].split('```')[1]
    told = re.sub(r'\s+', ' ', block)
    for group in options.OPTIONS.values():
        for option in group:
            assert f'{option.flags[-1]} {option.metavar}' in told
            default = f' (default: {option.default})' if option.default else ''
            assert re.sub(r'\s+', '', option.text + default) in re.sub(r'\s+', '', block)
    flags = set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', block))
    assert flags == {flag for action in options.parser()._actions for flag in action.option_strings
                     if flag.startswith('--')}


def test_performance_data_are_told() -> None:
    """Every label of every golden output."""
    labels = set()
    for golden in (ROOT / 'tests/golden').glob('*.txt'):
        labels.update(re.findall(r'(\w+)=', golden.read_text().splitlines()[1].partition(' | ')[2]))
    assert len(labels) > 15
    assert [label for label in sorted(labels) if f'`{label}`' not in README] == []


def test_ci_runs_the_command_of_the_readme() -> None:
    command = next(line.strip() for line in README.splitlines() if line.strip().endswith('.venv/bin/pytest'))
    assert f'\n{command}\n' in (ROOT / '.ci/run').read_text()
