"""Where the history file lies: never a place where another user could put something in its way.

A path is followed directory by directory, each opened below the one before (openat, O_PATH, O_NOFOLLOW) and checked
before anything is made or followed in it: in directories that only this user and root can write, nobody else can
exchange anything between this look and the use of the path.
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
_LOOK = os.O_PATH | os.O_NOFOLLOW


class UnsafePlace(Exception):
    """Somebody else could change what a path leads to, or it leads nowhere."""


def history_file(environment: Mapping[str, str]) -> str | Missing:
    """The default file of this user, its directory made and checked."""
    uid = os.geteuid()
    given = environment.get('NAGIOS_PLUGIN_STATE_DIRECTORY')
    # with sudo the environment is the caller's, not root's
    if given and 'SUDO_UID' not in environment:
        return _checked(os.path.join(given, f'check_conntrack-{uid}'))
    units = of_unit(environment)
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


def of_unit(environment: Mapping[str, str]) -> list[str]:
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
        status = os.stat(name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return path
    except OSError as error:
        return Missing.because(error, clean(path))
    finally:
        os.close(handle)
    fault = _file_fault(status)
    return Missing(f'{clean(path)} {fault}', 'move it away') if fault else path


def _open_directory(path: str, private: bool, make: bool) -> tuple[int, str]:
    """A handle of a directory, and its path without links. Raises UnsafePlace, OSError."""
    todo = [part for part in reversed(path.split('/')) if part not in ('', '.')]
    handles, names, links = [os.open('/', _LOOK | os.O_DIRECTORY)], [''], 0
    try:
        fault = _directory_fault(os.fstat(handles[0]), private and not todo)
        while todo:
            if fault:
                raise UnsafePlace(fault.format(clean('/'.join(names) or '/')))
            part = todo.pop()
            shown = '/'.join([*names, part])
            if part == '..':
                if len(names) > 1:
                    os.close(handles.pop())
                    names.pop()
                fault = _directory_fault(os.fstat(handles[-1]), private and not todo)
                continue
            handle = _look_at(part, handles[-1], make, shown)
            status = os.fstat(handle)
            if not stat.S_ISLNK(status.st_mode):
                handles.append(handle)
                names.append(part)
                if not stat.S_ISDIR(status.st_mode):
                    raise UnsafePlace(f'{clean(shown)} is not a directory')
                fault = _directory_fault(status, private and not todo)
                continue
            target = os.readlink('', dir_fd=handle)
            os.close(handle)
            links += 1
            if links > MOST_LINKS:
                raise UnsafePlace(f'{clean(shown)}: {os.strerror(errno.ELOOP)}')
            # in a directory like /tmp, anybody can leave a link
            if status.st_uid not in (0, os.geteuid()):
                raise UnsafePlace(f'{clean(shown)} is a link of another user')
            todo += [step for step in reversed(target.split('/')) if step not in ('', '.')]
            if target.startswith('/'):
                while len(handles) > 1:
                    os.close(handles.pop())
                del names[1:]
                fault = _directory_fault(os.fstat(handles[0]), private and not todo)
            elif not todo:
                fault = _directory_fault(os.fstat(handles[-1]), private)
        if fault:
            raise UnsafePlace(fault.format(clean('/'.join(names) or '/')))
        return handles.pop(), '/'.join(names) or '/'
    finally:
        for handle in handles:
            os.close(handle)


def _look_at(name: str, directory: int, make: bool, shown: str) -> int:
    try:
        return os.open(name, _LOOK, dir_fd=directory)
    except FileNotFoundError as error:
        if not make:
            raise UnsafePlace(f'{clean(shown)}: {error.strerror}') from error
        with suppress(FileExistsError):  # another first run was faster
            os.mkdir(name, 0o700, dir_fd=directory)
        return os.open(name, _LOOK, dir_fd=directory)
    except OSError as error:
        raise UnsafePlace(f'{clean(shown)}: {error.strerror}') from error


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
