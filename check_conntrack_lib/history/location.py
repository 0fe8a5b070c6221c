"""Where the history file lies: never a place where another user could put something in its way.

A path is followed directory by directory, each opened below the one before (openat, O_PATH, O_NOFOLLOW) and checked
before anything is made or followed in it: in directories that only this user and root can write, nobody else can
exchange anything between this check and the use of the path.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from ..formatting import clean
from ..model import Missing
from ..readers.root_files import MOST_LINKS

SYSTEM_DIRECTORY = '/var/lib/check_conntrack'
NAME, PROJECT = 'history.sqlite', 'check_conntrack'
_REMEDY = f'make {SYSTEM_DIRECTORY} owned by the user who runs the check, mode 0750, or give --history FILE'
_OPEN_FLAGS = os.O_PATH | os.O_NOFOLLOW


class UnsafePlace(Exception):
    """Another user could change what a path leads to, or it leads nowhere."""


def history_file(environment: Mapping[str, str]) -> str | Missing:
    """The default file of this user, its directory made and checked."""
    uid = os.geteuid()
    given = environment.get('NAGIOS_PLUGIN_STATE_DIRECTORY')
    # with sudo the environment is the caller's, not root's
    if given and 'SUDO_UID' not in environment:
        return _checked(os.path.join(given, f'check_conntrack-{uid}'))
    units = unit_directories(environment)
    for place in units:
        if os.path.basename(place) == PROJECT:
            return _checked(place)
    try:
        # DynamicUser= makes it a link into /var/lib/private
        if os.stat(SYSTEM_DIRECTORY).st_uid == uid:
            return _checked(SYSTEM_DIRECTORY)
    except OSError:
        pass  # not installed by a package: the user's own place serves
    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        return Missing(f'user {uid} has no home', _REMEDY)
    if units and not _is_own(home, uid):
        return _checked(os.path.join(units[0], PROJECT))
    if not os.path.isabs(home) or not os.path.isdir(home):
        return Missing('this user has no home directory', _REMEDY)
    return _checked(os.path.join(home, '.local', 'state', PROJECT))


def unit_directories(environment: Mapping[str, str]) -> list[str]:
    """StateDirectory= of the unit that runs the check, as systemd gives it (systemd.exec(5))."""
    given = '' if 'SUDO_UID' in environment else environment.get('STATE_DIRECTORY', '')
    return [place for place in given.split(':') if os.path.isabs(place)]


def _is_own(directory: str, uid: int) -> bool:
    try:
        return os.stat(directory).st_uid == uid
    except OSError:
        return False


def check_file(path: str, private: bool = True, make: bool = False) -> str | Missing:
    """`path` without links in its directory, if nobody but this user or root can put anything in its way.

    private: the directory must be this user's own, too: files will be made in it. make: missing directories are made.
    """
    try:
        # not abspath: it would take '..' after a link for something else than the kernel does
        directory, name = os.path.split(path if os.path.isabs(path) else os.path.join(os.getcwd(), path))
        handle, directory = _open_directory(directory, private, make)
    except UnsafePlace as unsafe:
        return Missing(str(unsafe), 'keep the history in a directory that only this user can write')
    except OSError as error:
        return Missing.because(error, clean(os.path.dirname(path)), _REMEDY if make else '')
    path = os.path.join(directory, name)
    try:
        # SQLite opens a journal without looking: for a FIFO it would wait for ever
        for beside in ('', '-journal'):
            with suppress(FileNotFoundError):
                fault = _file_fault(os.stat(name + beside, dir_fd=handle, follow_symlinks=False))
                if fault:
                    return Missing(f'{clean(path)}{beside} {fault}', 'move it away')
    except OSError as error:
        return Missing.because(error, clean(path))
    finally:
        os.close(handle)
    return path


def _open_directory(path: str, private: bool, make: bool) -> tuple[int, str]:
    """A handle of a directory, and its path without links. Raises UnsafePlace, OSError."""
    todo = _parts(path)
    walk = _Walk()
    try:
        walk.check(private and not todo)
        while todo:
            part = todo.pop()
            if part == '..':
                walk.up()
            else:
                target = walk.down(part, make)
                if target.startswith('/'):
                    walk.to_root()
                todo += _parts(target)
            walk.check(private and not todo)
        return walk.handles.pop(), walk.path() or '/'
    finally:
        for handle in walk.handles:
            os.close(handle)


def _parts(path: str) -> list[str]:
    """The names in a path, the first one last."""
    return [part for part in reversed(path.split('/')) if part not in ('', '.')]


class _Walk:
    """Directories from the root to the one that is reached, each opened below the one before."""

    def __init__(self) -> None:
        self.handles = [os.open('/', _OPEN_FLAGS | os.O_DIRECTORY)]
        self._names = ['']
        self._links = 0

    def path(self, name: str = '') -> str:
        """Of the directory that is reached, or of a name in it; '' is the root."""
        return '/'.join([*self._names, name] if name else self._names)

    def check(self, last: bool) -> None:
        """Raises UnsafePlace if others can change what is in the directory that is reached; last: see
        `_directory_fault`.
        """
        fault = _directory_fault(os.fstat(self.handles[-1]), last)
        if fault:
            raise UnsafePlace(fault.format(clean(self.path() or '/')))

    def up(self) -> None:
        if len(self.handles) > 1:
            os.close(self.handles.pop())
            self._names.pop()

    def to_root(self) -> None:
        while len(self.handles) > 1:
            self.up()

    def down(self, name: str, make: bool) -> str:
        """Goes into a directory, made if it is missing; '' then. Gives the target of a link, which it stays before.

        Raises UnsafePlace, OSError.
        """
        shown = clean(self.path(name))
        handle = _open_below(name, self.handles[-1], make, shown)
        status = os.fstat(handle)
        if not stat.S_ISLNK(status.st_mode):
            self.handles.append(handle)
            self._names.append(name)
            if not stat.S_ISDIR(status.st_mode):
                raise UnsafePlace(f'{shown} is not a directory')
            return ''
        target = os.readlink('', dir_fd=handle)
        os.close(handle)
        self._links += 1
        if self._links > MOST_LINKS:
            raise UnsafePlace(f'{shown}: {os.strerror(errno.ELOOP)}')
        # in a directory like /tmp, anybody can leave a link
        if status.st_uid not in (0, os.geteuid()):
            raise UnsafePlace(f'{shown} is a link of another user')
        return target


def _open_below(name: str, directory: int, make: bool, shown: str) -> int:
    """A handle of a name in a directory, of a link itself; shown: its path for texts. Raises UnsafePlace, OSError."""
    try:
        return os.open(name, _OPEN_FLAGS, dir_fd=directory)
    except FileNotFoundError as error:
        if not make:
            raise UnsafePlace(f'{shown}: {error.strerror}') from error
        with suppress(FileExistsError):  # another first run was faster
            os.mkdir(name, 0o700, dir_fd=directory)
        return os.open(name, _OPEN_FLAGS, dir_fd=directory)
    except OSError as error:
        raise UnsafePlace(f'{shown}: {error.strerror}') from error


def _directory_fault(status: os.stat_result, last: bool) -> str:
    """What makes a directory unfit for private files, with a place for its name; '' when nothing does."""
    uid = os.geteuid()
    if status.st_uid not in ((uid,) if last else (0, uid)):
        return '{} belongs to another user'
    # in a sticky directory others cannot rename what is not theirs
    if status.st_mode & 0o022 and (last or not status.st_mode & stat.S_ISVTX):
        return 'others may write to {}'
    return ''


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
    return check_file(os.path.join(directory, NAME), make=True)


@contextmanager
def locked(path: str, lock: int, patience: float) -> Iterator[None]:
    """Locks the file's directory: shared by all that use the file, alone by one that renames it. Raises TimeoutError.

    SQLite knows a journal by its name only: who still had the renamed file open would play the journal of its
    successor back into it.
    """
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(directory, lock | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError('in use by another run') from None
                time.sleep(0.005)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                    raise
                break  # a file system without such locks
        yield
    finally:
        os.close(directory)
