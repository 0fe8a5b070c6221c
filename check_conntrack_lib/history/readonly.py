"""Reads what the flight recorder wrote, without writing: also another user's file, also while the check runs."""

from __future__ import annotations

import os
import pwd
import sqlite3
import stat
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from ..analysis.profile import Profile
from ..formatting import clean
from ..model import History, Missing, Sample
from ..namedtuples import NamedTuple
from . import profiles
from .codec import checked_time, sample_of, whole
from .database import APPLICATION_ID, SCHEMA_VERSION
from .location import NAME, SYSTEM_DIRECTORY
from .profile_json import from_json
from .profiles import Baseline
from .queries import HistoryQuery, history_before

#: who usually runs the check: root may look into their files
MONITORING_USERS = ('nagios', 'icinga', 'nrpe')
#: how long to wait for a run that is writing, in seconds
PATIENCE = 5.0

SAMPLES = """SELECT boot_id, netns, time, uptime, entries, maximum, buckets, counters
    FROM sample JOIN boot ON boot.id = sample.boot WHERE time >= ? AND time <= ? ORDER BY time, sample.rowid"""
PROFILES = """SELECT boot_id, netns, time, quiet, text
    FROM profile JOIN boot ON boot.id = profile.boot WHERE time >= ? AND time <= ? ORDER BY time, profile.rowid"""

_T = TypeVar('_T')


class PastProfile(NamedTuple):
    """A profile of the flows, and when it was taken."""

    #: seconds since 1970
    at: float
    boot_id: str
    netns: int
    #: taken while the check was OK
    quiet: bool
    profile: Profile


def candidate_files(environment: Mapping[str, str]) -> list[str]:
    """Where the check of this user, or of one that this user may look after, keeps its history."""
    uid = os.geteuid()
    found = []
    given = environment.get('NAGIOS_PLUGIN_STATE_DIRECTORY')
    if given:
        found.append(os.path.join(given, f'check_conntrack-{uid}', NAME))
    found.append(os.path.join(SYSTEM_DIRECTORY, NAME))
    users = [uid]
    if uid == 0:
        users += [user.pw_uid for user in pwd.getpwall() if user.pw_name in MONITORING_USERS]
    for user in users:
        try:
            found.append(os.path.join(pwd.getpwuid(user).pw_dir, '.local', 'state', 'check_conntrack', NAME))
        except KeyError:
            continue  # this uid has no home
    return found


def newest(paths: list[str]) -> str | None:
    """The file that was written last; None when there is none of them."""
    written = {}
    for path in paths:
        try:
            written[path] = os.stat(path).st_mtime
        except OSError:
            continue  # not there, or not for this user to see
    return max(written, key=lambda path: written[path]) if written else None


def read_samples(path: str, since: float, until: float) -> list[Sample] | Missing:
    """The samples of all boots and namespaces between two moments (seconds since 1970), by time."""
    return _rows(path, SAMPLES, since, until, _sample)


def read_profiles(path: str, since: float, until: float) -> list[PastProfile] | Missing:
    """The profiles of all boots and namespaces between two moments, by time."""
    return _rows(path, PROFILES, since, until, _profile)


def read_history(path: str, now: Sample, look: HistoryQuery) -> History | Missing:
    """What the recorder would answer to a run of the check, without recording it."""
    return _asked(path, lambda database: history_before(database, now, look))


def read_baseline(path: str, now: Sample) -> Baseline | Missing:
    """The profiles of quieter times (see `baselines.recall`)."""
    return _asked(path, lambda database: profiles.baseline_before(database, now))


def _rows(path: str, query: str, since: float, until: float, make: Callable[..., _T]) -> list[_T] | Missing:
    return _asked(path, lambda database: [make(*row) for row in database.execute(query, (since, until))])


def _asked(path: str, ask: Callable[[sqlite3.Connection], _T]) -> _T | Missing:
    """The answer of a file of the recorder, which is not touched."""
    try:
        # root reads what another user made: a link could lead anywhere
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return Missing(f'{clean(path)} is not a regular file')
        source = Path(path).absolute().as_uri() + '?mode=ro'
        with closing(sqlite3.connect(source, uri=True, timeout=PATIENCE)) as database:
            if database.execute('PRAGMA application_id').fetchone() != (APPLICATION_ID,):
                return Missing(f'{clean(path)} was not written by check_conntrack')
            if database.execute('PRAGMA user_version').fetchone() != (SCHEMA_VERSION,):
                return Missing(f'{clean(path)} was written by another version of check_conntrack')
            return ask(database)
    except (OSError, sqlite3.Error, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        # the last five: a row that is none of ours
        return Missing.because(error, clean(path))


def _profile(boot_id: str, netns: int, wall: float, quiet: int, text: str) -> PastProfile:
    return PastProfile(checked_time(wall), str(boot_id), whole(netns), bool(quiet), from_json(text))


def _sample(boot_id: str, netns: int, wall: float, uptime: float, entries: int, maximum: int, buckets: int | None,
            counters: str | None) -> Sample:
    return sample_of(str(boot_id), whole(netns), wall, uptime, entries, maximum, buckets, counters)
