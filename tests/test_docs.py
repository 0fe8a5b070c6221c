"""README and docs are true: links lead somewhere, options and labels are those of the program, outputs are real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from check_conntrack_lib.doctor import cli
from check_conntrack_lib.plugin import options
from check_conntrack_lib.plugin.signals import SIGNALS

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'packaging'))
import notes_url  # noqa: E402

README = (ROOT / 'README.md').read_text()
DOCS = sorted((ROOT / 'docs').glob('*.md'))
PAGES = [ROOT / 'README.md', *DOCS, ROOT / 'CONTRIBUTING.md']


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.+)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for target in re.findall(r'\]\((?!https?:)([^)\s]*)\)', text):
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f'{page.name}: {target}'
        assert not anchor or anchor in anchors(file), f'{page.name}: {target}'


@pytest.mark.parametrize('page', DOCS, ids=lambda page: page.name)
def test_every_page_is_one_click_from_the_readme(page: Path) -> None:
    assert f'](docs/{page.name})' in README


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_page_of_options_is_made_of_the_parsers() -> None:
    done = subprocess.run([sys.executable, ROOT / 'packaging/options_page.py', '--check'], capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_options_in_the_pages_exist() -> None:
    known = {flag for action in options.parser()._actions for flag in action.option_strings}
    for verb in cli.VERBS:
        for action in cli.parser([verb])._actions:
            for one in getattr(action, 'choices', None) or {}:
                known |= {flag for other in action.choices[one]._actions for flag in other.option_strings}
    # of other programs
    known |= {'--random-fully', '--system', '--enable-command-args', '--update-golden', '--dist', '--now'}
    for page in [ROOT / 'README.md', ROOT / 'docs/alerts.md', ROOT / 'docs/doctor.md', ROOT / 'docs/privileges.md',
                 ROOT / 'docs/history-file.md', ROOT / 'docs/performance-data.md', ROOT / 'docs/install.md']:
        assert set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', page.read_text())) <= known, page.name


def test_performance_data_are_documented() -> None:
    """Every label of every golden output."""
    page = (ROOT / 'docs/performance-data.md').read_text()
    labels = set()
    for golden in (ROOT / 'tests/golden').glob('*.txt'):
        labels.update(re.findall(r'(\w+)=', golden.read_text().splitlines()[1].partition(' | ')[2]))
    assert len(labels) > 15
    assert [label for label in sorted(labels) if f'`{label}`' not in page] == [], 'add to docs/performance-data.md'


def test_outputs_in_the_pages_are_real() -> None:
    """Each block that begins as an output does is in a golden file, performance data left out."""
    texts = [path.read_text() for path in (ROOT / 'tests/golden').rglob('*.txt')]
    golden = texts + ['\n'.join(line.partition(' | ')[0] for line in text.splitlines()) for text in texts]
    found = 0
    for page in [ROOT / 'README.md', *DOCS]:
        for block in re.findall(r'```\n(.*?)\n```', page.read_text(), re.DOTALL):
            if block.startswith(('CONNTRACK ', 'conntrack-doctor tune:', 'connection tracking, 20')):
                found += 1
                assert any(block in text for text in golden), f'{page.name}: {block[:80]}'
    assert found >= 3


def codes() -> set[str]:
    source = (ROOT / 'check_conntrack_lib/plugin/alerts.py').read_text()
    named = set(re.findall(r"return '([a-z]+(?:-[a-z]+)*)'", source)) - {'not-readable'} | {'not-readable'}
    return named | {signal.name.replace('_', '-') for signal in SIGNALS} - {'hash', 'table-full'} | {'table-full'}


def test_every_kind_of_alert_has_a_section() -> None:
    sections = anchors(ROOT / 'docs/alerts.md')
    assert codes() - sections == set(), 'add a section to docs/alerts.md: rows Meaning, Impact, Now, Clears'
    for golden in (ROOT / 'tests/golden').glob('*.txt'):
        for code in re.findall(r'^alert: ([a-z-]+) ', golden.read_text(), re.MULTILINE):
            assert code in sections, golden.name
    page = (ROOT / 'docs/alerts.md').read_text()
    for code in codes():
        section = page.partition(f'\n## {code}\n')[2].partition('\n## ')[0]
        rows = set(re.findall(r'^\| (\w[\w ]*) \|', section, re.MULTILINE))
        assert {'Meaning', 'Impact', 'Now', 'Clears'} <= rows, code


def test_all_shipped_definitions_point_to_one_address() -> None:
    found = notes_url.addresses()
    assert set(found) == {'conntrack-services.conf', 'conntrack.cfg', 'conntrack-alerts.yml', 'conntrack-basket.json'}
    assert len(set().union(*found.values())) == 1
    rules = (ROOT / 'icinga/prometheus/conntrack-alerts.yml').read_text()
    assert rules.count('runbook_url: ') == rules.count('- alert: ')
    assert set(re.findall(r'alerts\.md#([a-z-]+)', rules)) <= anchors(ROOT / 'docs/alerts.md')


def test_ci_runs_the_command_of_the_readme() -> None:
    command = next(line.strip() for line in README.splitlines() if '.venv/bin/pytest -n auto' in line)
    assert f'\n{command}\n' in (ROOT / '.ci/run').read_text()
