"""The history file read without recording, also while the check runs; another user's with that user's rights only."""

from __future__ import annotations

import os
import pwd
import sqlite3
import stat
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from ..analysis.profile import Profile
from ..defaults import READING_PATIENCE
from ..formatting import clean
from ..model import History, Missing, Sample
from ..namedtuples import NamedTuple
from . import foreign, foreign_child, identity, location, profiles
from .codec import checked_boot_id, checked_time, fault, sample_of, whole
from .location import NAME, PROJECT, SYSTEM_DIRECTORY, unit_directories
from .profile_json import from_json
from .profiles import Baseline
from .queries import HistoryQuery, history_before
from .schema_check import is_ours

#: users that usually run the check: root reads their histories, too
MONITORING_USERS = ('nagios', 'icinga', 'nrpe')
#: seconds for another user's file in an incident: what is going on now matters more
IN_AN_INCIDENT = 4.0
#: different numbers of CPUs in one file: each takes memory of its own
MOST_SIZES = 16

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
    """Where the check keeps the history of this user, and for root those of MONITORING_USERS."""
    uid = os.geteuid()
    found = []
    given = environment.get('NAGIOS_PLUGIN_STATE_DIRECTORY')
    if given:
        found.append(os.path.join(given, f'check_conntrack-{uid}', NAME))
    found += [os.path.join(place, *(() if os.path.basename(place) == PROJECT else (PROJECT,)), NAME)
              for place in unit_directories(environment)]
    found.append(os.path.join(SYSTEM_DIRECTORY, NAME))
    users = [uid]
    if uid == 0:
        users += [user.pw_uid for user in pwd.getpwall() if user.pw_name in MONITORING_USERS]
    for user in users:
        with suppress(KeyError):  # this uid has no home
            found.append(os.path.join(pwd.getpwuid(user).pw_dir, '.local', 'state', PROJECT, NAME))
    return found


def newest(paths: list[str]) -> str | None:
    """Of this user's own files, else of the others, the one that was written last; None when there is none of them.

    The time of another user's file is what that user set it to.
    """
    written = {}
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            continue  # not there, or not for this user to see
        written[path] = status.st_uid == os.geteuid(), status.st_mtime
    return max(written, key=lambda path: written[path]) if written else None


def read_samples(path: str, since: float, until: float, longest: float = foreign.LONGEST) -> list[Sample] | Missing:
    """The samples of all boots and namespaces between two moments (seconds since 1970), by time, with their names.

    longest: seconds for a file of another user.
    """
    processors: set[int] = set()

    def sample(*row: Any) -> Sample:
        made = sample_of(*row)
        if made.counters:
            processors.add(len(made.counters.per_cpu['drop']))
            if len(processors) > MOST_SIZES:
                raise ValueError('more numbers of CPUs than any host has had')
        return made

    samples = _rows(path, SAMPLES, since, until, sample, longest)
    if isinstance(samples, list):
        # a damaged index has another order
        samples.sort(key=lambda one: one.at.wall)
    recorded = samples if isinstance(samples, Missing) else _answer(path, identity.names, longest)
    return samples if isinstance(samples, Missing) or isinstance(recorded, Missing) \
        else identity.with_names(samples, recorded)


def read_profiles(path: str, since: float, until: float,
                  longest: float = foreign.LONGEST) -> list[PastProfile] | Missing:
    """The profiles of all boots and namespaces between two moments, by time."""
    found = _rows(path, PROFILES, since, until, _profile, longest)
    return found if isinstance(found, Missing) else sorted(found, key=lambda one: one.at)


def read_history(path: str, now: Sample, query: HistoryQuery) -> History | Missing:
    """What the history would answer to a run of the check, without recording it."""
    return _answer(path, lambda database: history_before(database, now, query), IN_AN_INCIDENT)


def read_baseline(path: str, now: Sample) -> Baseline | Missing:
    """The baseline profiles (see `profiles.read_baseline`)."""
    return _answer(path, lambda database: profiles.baseline_before(database, now), IN_AN_INCIDENT)


def _rows(path: str, query: str, since: float, until: float, make: Callable[..., _T],
          longest: float) -> list[_T] | Missing:
    return _answer(path, lambda database: [make(*row) for row in database.execute(query, (since, until))], longest)


def _answer(path: str, ask: Callable[[sqlite3.Connection], _T], longest: float) -> _T | Missing:
    """What a history answers; the file is not touched."""
    try:
        opened = _open(path, longest)
        if isinstance(opened, Missing):
            return opened
        database, ours = opened
        with closing(database) if ours else nullcontext():
            return ask(database)
    except sqlite3.OperationalError as error:
        if 'no such table' in str(error):
            return Missing(f'{clean(path)} was written by an earlier version of check_conntrack',
                           'its next run brings the file up to date')
        if 'readonly' in str(error):
            # its journal has to be played back first
            return Missing(f'{clean(path)}: a run was ended while it recorded',
                           'the next run of the check that can write there repairs it')
        return Missing(f'{clean(path)}: {fault(error)}')
    except (OSError, sqlite3.Error, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
            RecursionError) as error:
        # the last six: a row that is none of ours
        return Missing(f'{clean(path)}: {fault(error)}')


def _open(path: str, longest: float) -> tuple[sqlite3.Connection, bool] | Missing:
    """The file itself where nobody else can change it or what leads to it, which is to be closed; else a copy.

    Raises OSError, ValueError.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        return Missing(f'{clean(path)} is not a regular file')
    safe = location.check_file(path)
    if isinstance(safe, Missing):
        if status.st_uid == os.geteuid() == 0:
            # no other user to become: then nobody else may be able to put a device in its place
            usable = location.check_file(path, private=False)
            if isinstance(usable, Missing):
                return Missing(usable.why, 'copy it to a directory that only root can write')
        copy = foreign.load_once(path, status, longest)
        return copy if isinstance(copy, Missing) else (copy, False)
    handle = os.open(safe, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        foreign_child.check_header(handle, os.geteuid())
    finally:
        # before SQLite has the file open: closing it would end SQLite's locks
        os.close(handle)
    database = sqlite3.connect(Path(safe).as_uri() + '?mode=ro', uri=True, timeout=READING_PATIENCE)
    if not is_ours(database):
        database.close()
        raise ValueError('its tables are not those of check_conntrack')
    return database, True


def _profile(boot_id: str, netns: int, wall: float, quiet: int, text: str) -> PastProfile:
    return PastProfile(checked_time(wall), checked_boot_id(boot_id), whole(netns), bool(quiet), from_json(text))
