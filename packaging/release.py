#!/usr/bin/env python3
"""packaging/release.py VERSION: makes the unreleased section of CHANGELOG.md that version, of today, in
check_conntrack_lib/__init__.py, CHANGELOG.md, debian/changelog and the spec, and prints the release notes, which are
that section. The working tree must be clean, and the version above the last release. A second run changes nothing and
prints the same. With --check it writes nothing, and fails where the files do not agree. SOURCE_DATE_EPOCH, if set, is
the day. The RPM, the archives and PyPI take the version from the library; a role of Ansible has none of its own.

bump-my-version replaces a version's text: it knows neither entries of debian/changelog with their dates nor sections.
dch writes that one file, where there is Debian. towncrier wants a file for each change, which this project writes as a
line.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
VERSION, CHANGELOG = 'check_conntrack_lib/__init__.py', 'CHANGELOG.md'
DEBIAN, SPEC = 'debian/changelog', 'packaging/check-conntrack.spec'
MAINTAINERS = 'The check_conntrack maintainers <maintainers@check-conntrack.invalid>'
NUMBERS = r'\d+\.\d+\.\d+'


class Section(NamedTuple):
    """Of CHANGELOG.md. `version` is '' for a heading "Unreleased", `date` for what is not released."""

    version: str
    date: str
    heading: str
    text: str


class Unfit(Exception):
    """What keeps a release from being made."""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split('.'))


def sections(checkout: Path) -> list[Section]:
    """Newest first. Raises Unfit."""
    found = []
    for part in re.split(r'^(?=## )', (checkout / CHANGELOG).read_text(), flags=re.M)[1:]:
        heading, _, text = part.partition('\n')
        match = re.fullmatch(rf'## (?:Unreleased|({NUMBERS}) \((?:unreleased|(\d{{4}}-\d\d-\d\d))\))', heading)
        if not match:
            raise Unfit(f'{CHANGELOG}: "{heading}" is not "## 1.2.3 (2026-12-24)", "## 1.2.3 (unreleased)" or '
                        '"## Unreleased"')
        found.append(Section(match[1] or '', match[2] or '', heading, text.strip('\n')))
    if not found:
        raise Unfit(f'{CHANGELOG} has no section')
    return found


def find(checkout: Path, file: str, pattern: str) -> tuple[str, ...]:
    """The groups of the first match. Raises Unfit."""
    match = re.search(pattern, (checkout / file).read_text(), re.M)
    if not match:
        raise Unfit(f'{file} has no version')
    return match.groups()


def disagreements(checkout: Path) -> list[str]:
    """What of the files contradicts the library's version. Raises Unfit."""
    version = find(checkout, VERSION, rf"^__version__ = '({NUMBERS})'$")[0]
    wrong = []
    debian, day = find(checkout, DEBIAN, rf'\A\S+ \(({NUMBERS})\).*\n(?:.*\n)*? -- .*  \w+, (\d+ \w+ \d+) ')
    rpm_day, rpm = find(checkout, SPEC, rf'^%changelog\n\* \w+ (\w+ \d+ \d+) .* - ({NUMBERS})-1$')
    for file, other in ((DEBIAN, debian), (SPEC, rpm)):
        if other != version:
            wrong.append(f'{file} says {other}, {VERSION} {version}')
    told = sections(checkout)
    current = next((section for section in told if section.version == version), None)
    if current is None or any(section.date for section in told[:told.index(current)]):
        wrong.append(f'{CHANGELOG}: the newest version is not {version}')
    elif current.date and {time.strptime(day, '%d %b %Y'), time.strptime(rpm_day, '%b %d %Y'),
                           time.strptime(current.date, '%Y-%m-%d')} != {time.strptime(current.date, '%Y-%m-%d')}:
        wrong.append(f'{version} has not one date: {CHANGELOG} {current.date}, {DEBIAN} {day}, {SPEC} {rpm_day}')
    released = [numbers(section.version) for section in told if section.version]
    if released != sorted(set(released), reverse=True) or not all(section.date for section in told[1:]):
        wrong.append(f'{CHANGELOG}: the sections are not in the order of their versions, or an older one has no date')
    return wrong


def changes(checkout: Path, version: str, now: float) -> dict[str, str]:
    """Each file as it has to be. Raises Unfit."""
    told = sections(checkout)
    if told[0].version == version and told[0].date:
        return {}
    last = next((section.version for section in told if section.date), '')
    if told[0].date:
        raise Unfit(f'{CHANGELOG} has nothing unreleased: add "## Unreleased" above {last}, with what is new')
    if not told[0].text:
        raise Unfit(f'{CHANGELOG}: "{told[0].heading}" is empty')
    if last and numbers(version) <= numbers(last):
        raise Unfit(f'{version} is not above {last}, the last release')
    date = time.strftime('%Y-%m-%d', time.gmtime(now))
    texts = {file: (checkout / file).read_text() for file in (VERSION, CHANGELOG, DEBIAN, SPEC)}
    texts[VERSION] = re.sub(rf"^__version__ = '{NUMBERS}'$", f"__version__ = '{version}'", texts[VERSION], flags=re.M)
    texts[CHANGELOG] = texts[CHANGELOG].replace(told[0].heading, f'## {version} ({date})', 1)
    # what is not released has at most a draft of its entry there
    older = [part for part in re.split(r'^(?=\S)', texts[DEBIAN], flags=re.M) if part
             and numbers(re.findall(rf'\(({NUMBERS})\)', part)[0]) <= numbers(last or '0')]
    what = 'New version' if last else 'First version'
    texts[DEBIAN] = '\n'.join([f'check-conntrack ({version}) unstable; urgency=medium\n\n  * {what}: CHANGELOG.md.\n\n'
                               f' -- {MAINTAINERS}  {formatdate(now)[:-5]}+0000\n', *older])
    weekday, day, month, year = formatdate(now).replace(',', '').split()[:4]
    texts[SPEC] = texts[SPEC].partition('%changelog\n')[0] + (
        f'%changelog\n* {weekday} {month} {day} {year} {MAINTAINERS} - {version}-1\n- {what}: CHANGELOG.md.\n')
    return texts


def dirty(checkout: Path) -> str:
    """What is not committed."""
    return subprocess.run(['git', '-C', checkout, 'status', '--porcelain'], check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def release(checkout: Path, version: str, now: float) -> str:
    """Writes the files and returns the notes. Raises Unfit."""
    texts = changes(checkout, version, now)
    if texts and dirty(checkout):
        raise Unfit('the working tree is not clean:\n' + dirty(checkout).rstrip())
    for file, text in texts.items():
        (checkout / file).write_text(text)
    newest = sections(checkout)[0]
    return f'# check_conntrack {newest.version} ({newest.date})\n\n{newest.text}'


def main(argv: list[str], checkout: Path = CHECKOUT) -> int:
    parser = argparse.ArgumentParser(description='Sets the version and prints the release notes.')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('version', nargs='?', metavar='VERSION', help='such as 1.2.3')
    what.add_argument('--check', action='store_true', help='only say whether all files agree')
    arguments = parser.parse_args(argv)
    try:
        if arguments.check:
            wrong = disagreements(checkout)
            print('\n'.join(wrong), end='\n' * bool(wrong))
            return int(bool(wrong))
        if not re.fullmatch(NUMBERS, arguments.version):
            raise Unfit(f'{arguments.version} is not a version such as 1.2.3')
        print(release(checkout, arguments.version, float(os.environ.get('SOURCE_DATE_EPOCH', time.time()))))
    except Unfit as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\nnext: git commit -am 'Version {arguments.version}' && git tag -a v{arguments.version}, then build what "
          'docs/install.md lists', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
