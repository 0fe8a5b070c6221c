"""Which namespace a recorded sample is of: the kernel gives the inode of a dead one to the next, mostly at once.

A namespace differs from the one before it by its cookie where both are known, else by its processes: it is another one
if none of them was there when the last sample was taken. With it is recorded what it is called, so that the history of
a name goes on over restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..formatting import clean_title
from ..model import Sample
from ..namedtuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

SCHEMA = """
CREATE TABLE netns (
    boot INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    since REAL NOT NULL,      -- seconds since boot: samples of the inode from here on are this namespace's
    cookie INTEGER,           -- SO_NETNS_COOKIE, where it is known
    name TEXT NOT NULL,       -- the same over restarts, '' without one
    named REAL NOT NULL,      -- when it was looked up, in seconds since boot
    PRIMARY KEY (boot, inode, since)
) WITHOUT ROWID;
CREATE INDEX netns_by_name ON netns (name)"""
#: a name is looked up again after this many seconds, of this many namespaces in one run
RENAMED, MOST_LOOKUPS = 3600.0, 100
#: namespaces in one question
AT_ONCE = 500

_BOOT = '(SELECT id FROM boot WHERE boot_id = :boot_id)'
#: SQL: where the next namespace with an inode begins
_NEXT = ('coalesce((SELECT min(later.since) FROM netns AS later WHERE later.boot = netns.boot '
         'AND later.inode = netns.inode AND later.since > netns.since), 1e18)')
#: SQL condition: the rows of one namespace of one boot, for the values :boot_id and :netns
# with a plus: of two lower bounds the index would take this one, and read all of the namespace's rows
HERE = (f'boot = {_BOOT} AND netns = :netns AND +uptime >= '
        f'coalesce((SELECT max(since) FROM netns WHERE boot = {_BOOT} AND inode = :netns), 0)')


class Identify(NamedTuple):
    """How the namespaces that exist now are distinguished and named (netns.identify)."""

    #: was the sample's namespace there at this uptime?
    existed: Callable[[Sample, float], bool] = lambda _sample, _uptime: True
    #: what it is called, the same over restarts; '' for nothing that lasts
    name: Callable[[Sample], str] = lambda _sample: ''


class Known(NamedTuple):
    """What is recorded of the namespace that had a sample's inode last."""

    since: float
    cookie: int | None
    name: str
    named: float


def known(database: sqlite3.Connection, samples: Sequence[Sample]) -> list[Known | None]:
    """The newest one recorded for each sample's inode; all samples are of one boot."""
    found: dict[int, Known] = {}
    for first in range(0, len(samples), AT_ONCE):
        inodes = ', '.join(f'{one.netns:d}' for one in samples[first:first + AT_ONCE])
        for inode, since, cookie, name, named_at in database.execute(
                f'SELECT inode, since, cookie, name, named FROM netns WHERE boot = {_BOOT} AND inode IN ({inodes}) '
                'ORDER BY inode, since', {'boot_id': samples[0].boot_id}):
            found[int(inode)] = Known(float(since), None if cookie is None else int(cookie), str(name), float(named_at))
    return [found.get(one.netns) for one in samples]


def is_another(database: sqlite3.Connection, now: Sequence[Sample], known: Sequence[Known | None],
               identify: Identify) -> list[bool]:
    """Of each: has the inode been given to another namespace since it was recorded last?"""
    cookies = [(one.cookie, before.cookie if before else None) for one, before in zip(now, known)]
    doubtful = [one for one, before, pair in zip(now, known, cookies) if before and None in pair]
    last = dict(pair for first in range(0, len(doubtful), AT_ONCE)
                for pair in _last_uptimes(database, doubtful[first:first + AT_ONCE]))
    return [before is not None and (mine != recorded if mine is not None and recorded is not None else
                                    one.netns in last and not identify.existed(one, last[one.netns]))
            for one, before, (mine, recorded) in zip(now, known, cookies)]


def _last_uptimes(database: sqlite3.Connection, samples: Sequence[Sample]) -> Iterator[tuple[int, float]]:
    """The inode, and when it was recorded last, of each that was."""
    wanted = ', '.join(f'({one.netns:d})' for one in samples)
    for inode, last in database.execute(
            f'WITH wanted (inode) AS (VALUES {wanted}), here AS (SELECT {_BOOT} AS boot) SELECT inode, '
            '(SELECT max(uptime) FROM sample WHERE sample.boot = here.boot AND netns = inode) FROM wanted, here',
            {'boot_id': samples[0].boot_id}):
        if last is not None:
            yield int(inode), float(last)


def record(database: sqlite3.Connection, boot: int, now: Sample, before: Known | None, another: bool,
           identify: Identify) -> bool:
    """Within a transaction: keeps what is new of the sample's namespace. Was its name looked up?"""
    if before is None or another:
        # samples from before there was this table are the first one's
        since = 0.0 if before is None else now.at.uptime
        database.execute('INSERT OR REPLACE INTO netns VALUES (?, ?, ?, ?, ?, ?)',
                         (boot, now.netns, since, now.cookie, identify.name(now), now.at.uptime))
        return True
    if before.cookie is None and now.cookie is not None:
        database.execute('UPDATE netns SET cookie = ? WHERE boot = ? AND inode = ? AND since = ?',
                         (now.cookie, boot, now.netns, before.since))
    if abs(now.at.uptime - before.named) < RENAMED:
        return False
    # a program that ended leaves its namespace the name that was known
    database.execute('UPDATE netns SET name = ?, named = ? WHERE boot = ? AND inode = ? AND since = ?',
                     (identify.name(now) or before.name, now.at.uptime, boot, now.netns, before.since))
    return True


def names(database: sqlite3.Connection) -> list[tuple[str, int, float, str]]:
    """(boot id, inode, since, name) of every recorded namespace, by time."""
    rows = database.execute(
        'SELECT boot_id, inode, since, name FROM netns JOIN boot ON boot.id = netns.boot ORDER BY boot.id, since')
    return [(str(boot_id), int(inode), float(since), clean_title(str(name))) for boot_id, inode, since, name in rows]


def with_names(samples: Iterable[Sample], recorded: Iterable[tuple[str, int, float, str]]) -> list[Sample]:
    """The samples with the fields `since` and `name` of their namespace; recorded: see `names`."""
    from bisect import bisect_right  # not for the check

    by_inode: dict[tuple[str, int], tuple[list[float], list[str]]] = {}
    # another user's file may have a boot twice
    for boot_id, inode, since, name in sorted(recorded, key=lambda one: one[2]):
        begins, called = by_inode.setdefault((boot_id, inode), ([], []))
        begins.append(since)
        called.append(name)
    found = []
    for sample in samples:
        begins, called = by_inode.get((sample.boot_id, sample.netns), ((), ()))  # type: ignore[assignment]
        # an inode may have been given away thousands of times
        place = bisect_right(begins, sample.at.uptime) - 1
        found.append(sample._replace(since=begins[place], name=called[place]) if place >= 0 else sample)
    return found


def means(word: str, name: str) -> bool:
    """Does a word of --netns stand for this recorded name? 'web' does for 'container web (docker)'."""
    bare = name.partition(' (')[0]
    return bool(name) and word in (name, bare, bare.partition(' ')[2])


def by_whom(name: str) -> int:
    """Of two that a word stands for, the lower one: 0 for a name that root gave, then a container's root, then a user.

    As netns.runtimes.Container.who says it.
    """
    inside = name.partition(' (')[2]
    return 2 if 'uid ' in inside else int('in a container' in inside)


def last_seen(database: sqlite3.Connection, word: str) -> tuple[str, float] | None:
    """The name that a word stood for, and the wall time of its last sample."""
    recorded = database.execute("SELECT DISTINCT name FROM netns WHERE name <> ''")
    found = sorted((str(name) for name, in recorded if means(word, str(name))), key=by_whom)
    if not found:
        return None
    last, = database.execute(
        f'SELECT max(time) FROM netns JOIN sample ON sample.boot = netns.boot AND sample.netns = netns.inode '
        f'AND uptime >= since AND uptime < {_NEXT} WHERE name = ?', (found[0],)).fetchone()
    return None if last is None else (found[0], float(last))


def forget(database: sqlite3.Connection, part: int, parts: int) -> None:
    """Deletes namespaces without a sample, of the inodes that are `part` modulo `parts`."""
    database.execute(
        'DELETE FROM netns WHERE inode % ? = ? AND NOT EXISTS (SELECT 1 FROM sample WHERE sample.boot = netns.boot '
        f'AND sample.netns = netns.inode AND uptime >= since AND uptime < {_NEXT})', (parts, part))


def add_table(database: sqlite3.Connection) -> None:
    """Adds the table to a file from before namespaces had names."""
    present = "SELECT 1 FROM sqlite_master WHERE name = 'netns'"
    if not database.execute(present).fetchone():
        database.execute('BEGIN IMMEDIATE')
        if not database.execute(present).fetchone():
            for statement in SCHEMA.split(';'):
                database.execute(statement)
        database.execute('COMMIT')
