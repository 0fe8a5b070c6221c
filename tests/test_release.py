"""packaging/release.py: one version and one date everywhere, or a refusal and nothing changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'packaging'))
import release  # noqa: E402

FILES = (release.VERSION, release.CHANGELOG, release.DEBIAN, release.SPEC)
CHANGELOG = """# Changelog

## 0.1.0 (unreleased)

The first version.

### Added

- All of it.
"""


def git(checkout: Path, *argv: str) -> None:
    subprocess.run(['git', '-C', checkout, '-c', 'user.name=n', '-c', 'user.email=e', *argv], check=True,
                   stdout=subprocess.DEVNULL)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean one, in which nothing has been released."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / release.CHANGELOG).write_text(CHANGELOG)
    (tmp_path / release.VERSION).write_text("__version__ = '0.1.0'\n")
    (tmp_path / release.DEBIAN).write_text('check-conntrack (0.1.0) unstable; urgency=medium\n\n  * Draft.\n\n'
                                           ' -- A <a@b.invalid>  Fri, 20 Nov 2026 12:00:00 +0000\n')
    git(tmp_path, 'init', '-q')
    commit(tmp_path)
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1798761599')  # a second before 2027
    return tmp_path


def commit(checkout: Path) -> None:
    git(checkout, 'add', '.')
    git(checkout, 'commit', '-q', '-m', 'all')


def texts(checkout: Path) -> list[str]:
    return [(checkout / file).read_text() for file in FILES]


def test_this_checkout_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(['--check']) == 0, capsys.readouterr().out


def test_two_releases(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(['0.1.0'], checkout) == 0
    notes = '# check_conntrack 0.1.0 (2026-12-31)\n\nThe first version.\n\n### Added\n\n- All of it.\n'
    assert capsys.readouterr().out == notes
    first = texts(checkout)
    # again, though nothing of it is committed
    assert release.main(['0.1.0'], checkout) == 0
    assert capsys.readouterr().out == notes
    assert texts(checkout) == first
    assert release.main(['--check'], checkout) == 0

    changelog = checkout / release.CHANGELOG
    changelog.write_text(changelog.read_text().replace('## 0.1.0', '## Unreleased\n\n- More.\n\n## 0.1.0'))
    assert release.main(['--check'], checkout) == 0
    commit(checkout)
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1800000000')
    assert release.main(['0.10.0'], checkout) == 0
    assert capsys.readouterr().out == '# check_conntrack 0.10.0 (2027-01-15)\n\n- More.\n'
    assert release.main(['--check'], checkout) == 0
    version, changes, debian, spec = texts(checkout)
    assert version == "__version__ = '0.10.0'\n"
    assert changes == CHANGELOG.replace('## 0.1.0 (unreleased)', '## 0.10.0 (2027-01-15)\n\n- More.\n\n'
                                                                 '## 0.1.0 (2026-12-31)')
    assert debian == f"""check-conntrack (0.10.0) unstable; urgency=medium

  * New version: CHANGELOG.md.

 -- {release.MAINTAINERS}  Fri, 15 Jan 2027 08:00:00 +0000

check-conntrack (0.1.0) unstable; urgency=medium

  * First version: CHANGELOG.md.

 -- {release.MAINTAINERS}  Thu, 31 Dec 2026 23:59:59 +0000
"""
    assert spec.endswith(f'%changelog\n* Fri Jan 15 2027 {release.MAINTAINERS} - 0.10.0-1\n'
                         '- New version: CHANGELOG.md.\n')
    if shutil.which('dpkg-parsechangelog'):
        said = subprocess.run(['dpkg-parsechangelog', '-l', checkout / release.DEBIAN, '--all', '-S', 'Version'],
                              check=True, capture_output=True, text=True)
        assert (said.stdout.split(), said.stderr) == (['0.10.0'], '')


def refused(checkout: Path, version: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said; nothing has changed."""
    before = texts(checkout)
    assert release.main([version], checkout) == 1
    assert texts(checkout) == before
    return capsys.readouterr().err


def test_what_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 'is not a version' in refused(checkout, 'v0.1.0', capsys)
    (checkout / 'new').touch()
    assert 'the working tree is not clean:\n?? new' in refused(checkout, '0.1.0', capsys)
    (checkout / 'new').unlink()

    assert release.main(['0.9.0'], checkout) == 0
    commit(checkout)
    assert 'nothing unreleased: add "## Unreleased" above 0.9.0' in refused(checkout, '0.10.0', capsys)
    changelog = checkout / release.CHANGELOG
    released = changelog.read_text()
    changelog.write_text(released.replace('## 0.9.0', '## Unreleased\n\n## 0.9.0'))
    commit(checkout)
    assert '"## Unreleased" is empty' in refused(checkout, '0.10.0', capsys)
    changelog.write_text(released.replace('## 0.9.0', '## Unreleased\n\n- More.\n\n## 0.9.0'))
    commit(checkout)
    for version in ('0.9.0', '0.8.9'):
        assert f'{version} is not above 0.9.0, the last release' in refused(checkout, version, capsys)
    assert release.changes(checkout, '0.10.0', 0)
    changelog.write_text(released.replace('## 0.9.0', '## Next\n\n- More.\n\n## 0.9.0'))
    commit(checkout)
    assert '"## Next" is not "## 1.2.3 (2026-12-24)"' in refused(checkout, '0.10.0', capsys)


@pytest.mark.parametrize(('file', 'old', 'new', 'said'), [
    (release.VERSION, '0.1.0', '0.1.1', 'debian/changelog says 0.1.0, check_conntrack_lib/__init__.py 0.1.1'),
    (release.DEBIAN, '0.1.0', '0.0.9', 'debian/changelog says 0.0.9'),
    (release.SPEC, '0.1.0-1', '0.2.0-1', 'packaging/check-conntrack.spec says 0.2.0'),
    (release.DEBIAN, '31 Dec', '30 Dec', '0.1.0 has not one date: CHANGELOG.md 2026-12-31'),
    (release.SPEC, 'Dec 31 2026', 'Dec 31 2025', '0.1.0 has not one date'),
    (release.CHANGELOG, '## 0.1.0', '## 0.1.1', 'CHANGELOG.md: the newest version is not 0.1.0'),
    (release.CHANGELOG, '## 0.1.0', '## 0.2.0 (2027-01-01)\n\n## 0.1.0', 'the newest version is not 0.1.0'),
    (release.CHANGELOG, '## 0.1.0 (2026-12-31)', '## 0.1.0 (unreleased)\n\n## 0.2.0 (2026-12-31)', 'not in the order'),
])
def test_what_does_not_agree_is_said(checkout: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str,
                                     said: str) -> None:
    assert release.main(['0.1.0'], checkout) == 0
    capsys.readouterr()
    path = checkout / file
    path.write_text(path.read_text().replace(old, new, 1))
    assert release.main(['--check'], checkout) == 1
    assert said in capsys.readouterr().out
