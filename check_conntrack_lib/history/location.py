"""Where the flight recorder's file lies: never a place where another user could put something in its way."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping

from ..formatting import clean
from ..model import Missing

SYSTEM_DIRECTORY = '/var/lib/check_conntrack'
NAME = 'history.sqlite'
_REMEDY = f'make {SYSTEM_DIRECTORY} owned by the user who runs the check, mode 0750, or give --history FILE'


def history_file(environment: Mapping[str, str]) -> str | Missing:
    """The default file of this user, its directory made and checked."""
    uid = os.geteuid()
    given = environment.get('NAGIOS_PLUGIN_STATE_DIRECTORY')
    # by sudo the environment is the caller's, not root's
    if given and 'SUDO_UID' not in environment:
        return _checked(os.path.join(given, f'check_conntrack-{uid}'))
    try:
        if os.lstat(SYSTEM_DIRECTORY).st_uid == uid:
            return _checked(SYSTEM_DIRECTORY)
    except OSError:
        pass  # not installed by a package: the user's own place serves
    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        return Missing(f'user {uid} has no home', _REMEDY)
    if not os.path.isabs(home) or not os.path.isdir(home):
        return Missing('this user has no home directory', _REMEDY)
    return _checked(os.path.join(home, '.local', 'state', 'check_conntrack'))


def check_file(path: str) -> str | Missing:
    """`path` without links in its directory, if nobody but this user or root can put anything in its way."""
    directory = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    path = os.path.join(directory, os.path.basename(path))
    fault = _directory_fault(directory)
    if fault:
        return Missing(fault, 'keep the history in a directory that only this user can write')
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return path
    except OSError as error:
        return Missing.because(error, clean(path))
    fault = _file_fault(status)
    return Missing(f'{clean(path)} {fault}', 'move it away') if fault else path


def _directory_fault(place: str) -> str:
    """What makes a directory unfit for private files; '' when nothing does."""
    uid = os.geteuid()
    last = True
    while True:
        try:
            status = os.lstat(place)
        except OSError as error:
            return f'{clean(place)}: {error.strerror}'
        shown = clean(place)
        if not stat.S_ISDIR(status.st_mode):
            return f'{shown} is not a directory'
        if last and status.st_uid != uid:
            return f'{shown} belongs to another user'
        if status.st_uid not in (0, uid):
            return f'{shown} belongs to another user'
        # in a sticky directory others cannot rename what is ours, but they can put names in its way
        if status.st_mode & 0o022 and (last or not status.st_mode & stat.S_ISVTX):
            return f'others may write to {shown}'
        if place == os.path.dirname(place):
            return ''
        place = os.path.dirname(place)
        last = False


def _file_fault(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return 'is a symbolic link'
    if not stat.S_ISREG(status.st_mode):
        return 'is not a regular file'
    if status.st_nlink > 1:
        return 'has another hard link'
    if status.st_uid != os.geteuid():
        return 'belongs to another user'
    return 'can be written by others' if status.st_mode & 0o022 else ''


def _checked(directory: str) -> str | Missing:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        return Missing.because(error, clean(directory), _REMEDY)
    return check_file(os.path.join(directory, NAME))
