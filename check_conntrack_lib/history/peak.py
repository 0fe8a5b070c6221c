"""The peak of a recent time in the history: how full a table was, and the profile that was taken nearest to it."""

from __future__ import annotations

import sqlite3

from ..analysis.profile import Profile
from ..formatting import clean
from ..model import Instant, Missing, Sample
from ..namedtuples import NamedTuple
from .codec import checked_time, fault, whole
from .database import BrokenFile, RefusedFile, open_database
from .identity import HERE
from .profile_json import from_json


class Peak(NamedTuple):
    """Of the samples of one namespace, without the newest one."""

    #: most entries of a sample, and the smallest nf_conntrack_max
    entries: int
    maximum: int
    #: the fullest sample of which there is a profile taken while the check was not OK
    sample: Sample | None = None
    profile: Profile | None = None


def read_peak(path: str, now: Sample, span: float, patience: float) -> Peak | Missing | None:
    """The peak of the last `span` seconds before `now`; None without a sample then."""
    try:
        with open_database(path, patience) as database:
            return peak_before(database, now, span)
    except (OSError, sqlite3.Error, BrokenFile, RefusedFile) as error:
        return Missing(f'{clean(path)}: {fault(error)}')


def peak_before(database: sqlite3.Connection, now: Sample, span: float) -> Peak | None:
    """The same of an open file. Raises sqlite3.Error, or ValueError for a row that is none of ours."""
    values = {'boot_id': now.boot_id, 'netns': now.netns, 'since': now.at.uptime - span, 'now': now.at.uptime}
    most, limit = database.execute(
        f'SELECT max(entries), min(maximum) FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now',
        values).fetchone()
    if most is None:
        return None
    row = database.execute(
        'SELECT profile.time, profile.uptime, sample.entries, sample.maximum, text FROM profile JOIN sample '
        'USING (boot, netns, uptime) WHERE boot = (SELECT id FROM boot WHERE boot_id = :boot_id) AND netns = :netns '
        'AND NOT quiet AND uptime >= :since AND uptime < :now ORDER BY sample.entries DESC, uptime LIMIT 1',
        values).fetchone()
    if row is None:
        return Peak(whole(most), whole(limit))
    wall, uptime = checked_time(row[0]), checked_time(row[1])
    sample = now._replace(at=Instant(wall, uptime, uptime), entries=whole(row[2]), maximum=whole(row[3]))
    return Peak(whole(most), whole(limit), sample, from_json(row[4]))
