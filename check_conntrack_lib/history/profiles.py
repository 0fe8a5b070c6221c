"""Profiles of the flows in the history file: the baseline, recorded while the check is OK."""

from __future__ import annotations

import sqlite3

from ..analysis.profile import Profile
from ..defaults import DAY
from ..formatting import clean
from ..model import Missing, Sample
from ..namedtuples import NamedTuple
from .codec import checked_entries, checked_time, fault
from .database import BrokenFile, RefusedFile, limit_size, open_database
from .identity import HERE
from .profile_json import from_json, to_json

#: profiles from this many seconds before a rise or an incident are the baseline
BASELINE_SPAN = DAY
#: a table that held less than this part of today's entries needs no profile: its baseline has no flows
NEXT_TO_NOTHING = 0.2
#: profiles of every run while the check is not OK are kept for so long, then one of each slot, in seconds
TROUBLE_KEPT, TROUBLE_SLOT = 3600.0, 600.0
EMPTY = Profile(0, 0, {}, 0, 0, 0, 0, 0, 0, (), (), (), ())


class Baseline(NamedTuple):
    """The usual profiles, and since when the table is not like them."""

    #: oldest first; never empty
    profiles: tuple[Profile, ...]
    #: wall time of the last sample before the table rose; None: not found within a day
    since: float | None


def record(path: str, sample: Sample, profile: Profile, quiet: bool, patience: float) -> Missing | None:
    """Keeps a profile taken with this sample; quiet: while the check was OK."""
    try:
        with open_database(path, patience) as database:
            limit_size(database)
            database.execute(
                'INSERT INTO profile SELECT ?, id, ?, ?, ?, ? FROM boot WHERE boot_id = ?',
                (sample.at.wall, sample.netns, sample.at.uptime, quiet, to_json(profile), sample.boot_id))
            if not quiet:
                _thin(database, sample)
    except (OSError, sqlite3.Error, BrokenFile, RefusedFile) as error:
        return Missing(f'{clean(path)}: {fault(error)}')
    return None


def _thin(database: sqlite3.Connection, sample: Sample) -> None:
    """Of the profiles of trouble that is an hour old and more, keeps the one of the fullest table in each slot."""
    database.execute(
        f"""DELETE FROM profile WHERE rowid IN (SELECT id FROM (
            SELECT profile.rowid AS id, row_number() OVER (
                PARTITION BY CAST(uptime / :slot AS INTEGER) ORDER BY sample.entries DESC, uptime) AS place
            FROM profile LEFT JOIN sample USING (boot, netns, uptime)
            WHERE {HERE} AND NOT quiet AND uptime < :until AND uptime >= :until - :span) WHERE place > 1)""",
        {'boot_id': sample.boot_id, 'netns': sample.netns, 'slot': TROUBLE_SLOT, 'span': 2 * TROUBLE_SLOT,
         'until': sample.at.uptime - TROUBLE_KEPT})


def _smallest_size(database: sqlite3.Connection, sample: Sample) -> int | None:
    """The fewest entries recorded in the last day; None without any."""
    values = {'boot_id': sample.boot_id, 'netns': sample.netns, 'since': sample.at.uptime - BASELINE_SPAN,
              'now': sample.at.uptime}
    fewest, = database.execute(f'SELECT min(entries) FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now',
                               values).fetchone()
    return None if fewest is None else checked_entries(fewest)


def read_baseline(path: str, sample: Sample, patience: float) -> Baseline | Missing:
    """The quiet profiles of the day before this namespace's table rose, else the last one."""
    try:
        with open_database(path, patience) as database:
            return baseline_before(database, sample)
    except (OSError, sqlite3.Error, BrokenFile, RefusedFile) as error:
        return Missing(f'{clean(path)}: {fault(error)}')


def baseline_before(database: sqlite3.Connection, sample: Sample) -> Baseline | Missing:
    """The same of an open file. Raises sqlite3.Error, or ValueError for a row that is none of ours."""
    values = {'boot_id': sample.boot_id, 'netns': sample.netns}
    rows = [(checked_time(uptime), from_json(text)) for uptime, text in database.execute(
        f'SELECT uptime, text FROM profile WHERE {HERE} AND quiet AND uptime >= :since ORDER BY uptime',
        {**values, 'since': sample.at.uptime - 2 * BASELINE_SPAN})]
    if not rows:
        size = _smallest_size(database, sample)
        if size is None or size > sample.entries * NEXT_TO_NOTHING:
            return Missing('no baseline recorded yet (recorded every 10 min while OK)')
        rows = [(0.0, EMPTY._replace(entries=size))]
    entries = sorted(profile.entries for _, profile in rows)
    middle = entries[(len(entries) - 1) // 2]
    # the last moment when the table was near its usual size
    near = middle + max(0, sample.entries - middle) // 10
    rise = database.execute(
        f'SELECT uptime, time FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now '
        'AND entries <= :near ORDER BY uptime DESC LIMIT 1',
        {**values, 'since': sample.at.uptime - BASELINE_SPAN, 'now': sample.at.uptime, 'near': near}).fetchone()
    began = checked_time(rise[0]) if rise else sample.at.uptime
    before = [profile for uptime, profile in rows if began - BASELINE_SPAN <= uptime <= began]
    return Baseline(tuple(before or [rows[-1][1]]), checked_time(rise[1]) if rise else None)
