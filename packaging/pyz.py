#!/usr/bin/env python3
"""packaging/pyz.py [DIR]: writes check_conntrack.pyz and conntrack-doctor.pyz into DIR (dist).

Each is one file with all it needs, nagiosplugin from this interpreter among it, and runs under the system's Python 3.9
or later. An import from an archive compiles anew at every start, so the archive also holds what this interpreter's
version has compiled; another version takes the source.
"""

from __future__ import annotations

import importlib.metadata
import py_compile
import shutil
import sys
import tempfile
import zipapp
from importlib.util import find_spec
from pathlib import Path

from programs import CHECKOUT

#: isolated: root runs this, and takes no module from the caller's environment
INTERPRETER = '/usr/bin/python3 -I'
DOCTOR = """import sys

from check_conntrack_lib.doctor.cli import main

sys.exit(main())
"""
SKIP = shutil.ignore_patterns('__pycache__', '*.pyc', 'tests', 'examples')


def copy_library(target: Path) -> None:
    """nagiosplugin, as this interpreter imports it, with its licence."""
    spec = find_spec('nagiosplugin')
    if spec is None or not spec.submodule_search_locations:
        sys.exit('nagiosplugin is not installed: apt install python3-nagiosplugin, or pip install nagiosplugin')
    shutil.copytree(spec.submodule_search_locations[0], target / 'nagiosplugin', ignore=SKIP)
    metadata = importlib.metadata.distribution('nagiosplugin').metadata
    (target / 'nagiosplugin/LICENCE').write_text(
        ''.join(f'{field}: {metadata[field]}\n' for field in ('Name', 'Version', 'Author', 'Home-page', 'License')
                if metadata[field]) + 'Zope Public License 2.1, https://spdx.org/licenses/ZPL-2.1\n')


def build(name: str, target: Path, main: str) -> None:
    """One archive."""
    with tempfile.TemporaryDirectory() as made:
        tree = Path(made)
        shutil.copytree(CHECKOUT / 'check_conntrack_lib', tree / 'check_conntrack_lib', ignore=SKIP)
        (tree / '__main__.py').write_text(main)
        shutil.copy(CHECKOUT / 'LICENSE', tree)
        copy_library(tree)
        for source in tree.rglob('*.py'):
            if source.name != '__main__.py':
                # beside its source, and never compared with its time, which an archive rounds
                py_compile.compile(str(source), str(source) + 'c', dfile=str(source.relative_to(tree)), doraise=True,
                                   invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        zipapp.create_archive(tree, target / name, INTERPRETER, compressed=False)
    (target / name).chmod(0o755)
    print(target / name)


def main(directory: str = 'dist') -> None:
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    build('check_conntrack.pyz', target, (CHECKOUT / 'check_conntrack.py').read_text())
    build('conntrack-doctor.pyz', target, DOCTOR)


if __name__ == '__main__':
    main(*sys.argv[1:2])
