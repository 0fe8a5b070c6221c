#!/usr/bin/env python3
"""packaging/notes_url.py URL: sets the address of docs/alerts.md in every shipped definition: notes_url of
Icinga, Nagios and the Director, runbook_url of Prometheus. Without URL it prints the present one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ICINGA = Path(__file__).resolve().parent.parent / 'icinga'
#: up to the anchor; in JSON slashes may be escaped
ADDRESS = re.compile(r'https?:(?://|\\/\\/)[^\s"\'#]*alerts\.md')


def definitions() -> Iterator[Path]:
    """The shipped files that name the address."""
    for path in sorted(ICINGA.rglob('*')):
        if path.is_file() and path.suffix in ('.conf', '.cfg', '.yml', '.json') and ADDRESS.search(path.read_text()):
            yield path


def addresses() -> dict[str, set[str]]:
    """Of each file every address in it."""
    return {path.name: {found.replace('\\/', '/') for found in ADDRESS.findall(path.read_text())}
            for path in definitions()}


def main(url: str) -> None:
    if not ADDRESS.fullmatch(url):
        sys.exit(f'{url}: not the address of an alerts.md')
    for path in definitions():
        path.write_text(ADDRESS.sub(url, path.read_text()))


if __name__ == '__main__':
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        print('\n'.join(sorted(set().union(*addresses().values()))))
