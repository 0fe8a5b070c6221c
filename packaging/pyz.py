#!/usr/bin/env python3
"""packaging/pyz.py [DIR]: writes check_conntrack.pyz and conntrack-doctor.pyz into DIR (dist).

Each is one file with all it needs, nagiosplugin from this interpreter among it, and runs under the system's Python 3.9
or later. An import from an archive compiles anew at every start, so the archive also holds what this interpreter's
version has compiled; another version takes the source.

The same checkout, library and interpreter give the same bytes: members in the order of their names, all dated
SOURCE_DATE_EPOCH (1980 without it). The library's content must be one of those whose hashes stand here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import py_compile
import shutil
import sys
import tempfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

from made_files import CHECKOUT

#: isolated: root runs this, and takes no module from the caller's environment
INTERPRETER = '/usr/bin/python3 -I'
DOCTOR = """import sys

from check_conntrack_lib.doctor.cli import main

sys.exit(main())
"""
#: SHA-256 of nagiosplugin's modules as `library_hash` counts it, by version (PyPI's wheels; Debian 12 has the first)
LIBRARY_HASHES = {
    '1.3.2': '9a5854491b02db0963ddaebccdf0bbb242a8d505642777124a0e29a62147597b',
    '1.3.3': '628d587077199b13988b847b4af4adb804e8c8ae20ee8bf71aa5c3233ac9d044',
    '1.4.0': 'a82cf09d89c27fd77eb76c1164d16426f6e96164e1a775ff7231e205ec90b28b',
}
#: the first date that an archive can hold (1980-01-01)
EARLIEST = 315532800
SKIP = shutil.ignore_patterns('__pycache__', '*.pyc', 'tests', 'examples')


def copy_library(target: Path) -> None:
    """nagiosplugin, as this interpreter imports it, with its licence."""
    spec = find_spec('nagiosplugin')
    if spec is None or not spec.submodule_search_locations:
        sys.exit('nagiosplugin is not installed: apt install python3-nagiosplugin, or pip install nagiosplugin')
    shutil.copytree(spec.submodule_search_locations[0], target / 'nagiosplugin', ignore=SKIP)
    metadata = importlib.metadata.distribution('nagiosplugin').metadata
    found = library_hash(target / 'nagiosplugin')
    if LIBRARY_HASHES.get(metadata['Version']) != found:
        sys.exit(f'nagiosplugin {metadata["Version"]} of this interpreter has the hash {found}, which is not one of '
                 'those in packaging/pyz.py: compare it with a fresh download before you add it')
    (target / 'nagiosplugin/LICENCE').write_text(
        ''.join(f'{field}: {metadata[field]}\n' for field in ('Name', 'Version', 'Author', 'Home-page', 'License')
                if metadata[field]) + 'Zope Public License 2.1, https://spdx.org/licenses/ZPL-2.1\n')


def library_hash(package: Path) -> str:
    """Of the names and contents of all its modules."""
    found = hashlib.sha256()
    for source in sorted(package.rglob('*.py')):
        found.update(f'{source.relative_to(package)}\0'.encode() + hashlib.sha256(source.read_bytes()).digest())
    return found.hexdigest()


def build(name: str, target: Path, main: str) -> None:
    """One archive."""
    with tempfile.TemporaryDirectory() as made:
        tree = Path(made)
        shutil.copytree(CHECKOUT / 'check_conntrack_lib', tree / 'check_conntrack_lib', ignore=SKIP)
        (tree / '__main__.py').write_text(main)
        shutil.copy(CHECKOUT / 'LICENSE', tree)
        copy_library(tree)
        for source in sorted(tree.rglob('*.py')):
            if source.name != '__main__.py':
                # beside its source, and never compared with its time, which an archive rounds
                py_compile.compile(str(source), str(source) + 'c', dfile=str(source.relative_to(tree)), doraise=True,
                                   invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        archive(tree, target / name)
    print(target / name)


def archive(tree: Path, path: Path) -> None:
    """The tree as an executable archive, without anything of this moment or this machine in it."""
    date = time.gmtime(max(EARLIEST, int(os.environ.get('SOURCE_DATE_EPOCH', EARLIEST))))[:6]
    with open(path, 'wb') as file:
        file.write(f'#!{INTERPRETER}\n'.encode('ascii'))
        with zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as made:
            for source in sorted(tree.rglob('*')):
                if source.is_file():
                    member = zipfile.ZipInfo(source.relative_to(tree).as_posix(), date)
                    member.external_attr = 0o100644 << 16
                    made.writestr(member, source.read_bytes())
    path.chmod(0o755)


def main(directory: str = 'dist') -> None:
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    build('check_conntrack.pyz', target, (CHECKOUT / 'check_conntrack.py').read_text())
    build('conntrack-doctor.pyz', target, DOCTOR)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Writes check_conntrack.pyz and conntrack-doctor.pyz.')
    parser.add_argument('directory', metavar='DIR', nargs='?', default='dist', help='where to (default: dist)')
    main(parser.parse_args().directory)
