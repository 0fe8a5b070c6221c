"""Rules of layout and style that a test can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / 'check_conntrack_lib'
QUIET = ROOT / 'tests/hosts/quiet-gateway/proc'
#: a package or module imports from the lines below its own only
LAYERS = (
    ('plugin', 'doctor'),
    ('diagnosis',),
    ('netns',),
    ('assessment',),
    ('history', 'snapshot'),
    ('analysis',),
    ('readers',),
    ('host', 'deadline'),
    ('counters', 'model', 'flow', 'argument_types', 'defaults'),
    ('formatting', 'namedtuples', 'streams'),
)


def modules() -> list[Path]:
    return sorted(LIBRARY.rglob('*.py'))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def top_name(dotted: str) -> str:
    return dotted.split('.')[1] if '.' in dotted else ''


def imports(path: Path) -> Iterator[str]:
    """Names of all modules that a file imports, relative ones made absolute."""
    package = ['check_conntrack_lib', *path.relative_to(LIBRARY).parts[:-1]]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] if node.level else []
            name = '.'.join([*base, *(node.module or '').split('.')]).strip('.')
            yield name
            yield from (f'{name}.{alias.name}' for alias in node.names)


def layer(name: str) -> int:
    found = [k for k, names in enumerate(LAYERS) if name in names]
    assert found, f'{name} is not in LAYERS'
    return found[0]


def test_imports_run_one_way() -> None:
    wrong = []
    for path in modules():
        own = path.relative_to(LIBRARY).parts[0].removesuffix('.py')
        if own in ('__init__', '__main__'):
            continue
        for name in imports(path):
            other = top_name(name) if name.startswith('check_conntrack_lib.') else ''
            if other not in (own, '__version__', '') and layer(own) >= layer(other):
                wrong.append(f'{path} imports {name}')
            if name.split('.')[0] == 'nagiosplugin' and own != 'plugin':
                wrong.append(f'{path} imports nagiosplugin')
    assert wrong == []


def test_no_module_is_long() -> None:
    assert [str(path) for path in modules() if len(path.read_text().splitlines()) > 260] == []


def test_no_broad_except() -> None:
    """A broad except in a reader would swallow the timeout."""
    broad = [f'{path}:{node.lineno}' for path in modules() if path.name != 'cli.py'
             for node in ast.walk(parsed(path)) if isinstance(node, ast.ExceptHandler)
             and (node.type is None or (isinstance(node.type, ast.Name)
                                        and node.type.id in ('Exception', 'BaseException', 'RuntimeError')))
             and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))]
    assert broad == []


#: what a normal run imports beside nagiosplugin and our own, some of it by nagiosplugin in some versions; not sqlite3,
#: which imports datetime
STANDARD = {'contextlib', 'errno', 'fcntl', 'json', 'pwd'}
RUN = """
import sys
import nagiosplugin

before, statements, files = set(sys.modules), [], []
from check_conntrack_lib.history import database
from check_conntrack_lib.plugin import cli

connect = database.sqlite3.connect


def traced(*args, **kwargs):
    connection = connect(*args, **kwargs)
    connection.set_trace_callback(statements.append)
    return connection


database.sqlite3.connect = traced
sys.addaudithook(lambda event, args: files.append(args[0]) if event == 'open' else None)
status = cli.main(sys.argv[1:])
print(status, len(statements), len(files), *sorted(set(sys.modules) - before), sep='\\n', file=sys.stderr)
"""


def test_a_normal_run_does_nothing_that_it_need_not(tmp_path: Path) -> None:
    """Modules, SQL statements and files, counted: what is added here costs every host every minute."""
    # what the interpreter's own start has loaded (an editable installation does) is not ours
    # a host of the tests: on this one there may be something to tell that needs more
    command = [sys.executable, '-c', RUN, '--procfs', str(QUIET), '--history', str(tmp_path / 'history.sqlite'),
               '--baseline-every', 'off', '--kernel-log', str(QUIET.parent / 'kmsg.log'), '-w', '85', '--critical=95']
    for _ in range(2):  # the first makes the file
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    status, statements, files, *loaded = done.stderr.split('\n')
    assert (status, done.stdout[:13]) == ('0', 'CONNTRACK OK ')
    own = [name for name in loaded if name.startswith('check_conntrack_lib')]
    others = {name.partition('.')[0] for name in loaded if name and name not in own and not name.startswith('_')}
    assert others <= STANDARD
    assert not [name for name in own if name.startswith(('check_conntrack_lib.doctor', 'check_conntrack_lib.netns'))]
    assert len(own) <= 50
    assert int(statements) <= 31
    assert int(files) <= 20


def test_few_modules_lie_on_top() -> None:
    assert len([path for path in LIBRARY.glob('*.py') if not path.name.startswith('__')]) <= 12


def test_one_version() -> None:
    from check_conntrack_lib import __version__
    assert f'\n## {__version__}' in (ROOT / 'CHANGELOG.md').read_text()


def test_contributing_names_what_is_there() -> None:
    """Files and folders in CONTRIBUTING.md, from the checkout or from the library."""
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    named = set(re.findall(r'[\w.-]+(?:/[\w.-]+)+\.(?:py|md)', text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not re.search('NAME|FORMAT', name)
            and not (ROOT / name).exists() and not (LIBRARY / name).exists()] == []
