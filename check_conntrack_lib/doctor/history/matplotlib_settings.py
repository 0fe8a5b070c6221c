"""Keeps matplotlib from settings that somebody else has left: it runs programs that they name (text.usetex).

It reads ./matplotlibrc first of all, then what $MATPLOTLIBRC and $MPLCONFIGDIR or the home directory have, and keeps a
list of fonts there. With sudo the home directory may be another user's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

#: where matplotlib looks for directories of its own, and for settings
VARIABLES = ('MPLCONFIGDIR', 'XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'HOME')
UNWANTED = ('MATPLOTLIBRC', 'MPLBACKEND')


@contextmanager
def own_settings() -> Iterator[None]:
    """For the import and first use of matplotlib: the current directory is /, and only this user's own settings count.

    Raises OSError.
    """
    before = os.environ.copy()
    here = os.open('.', os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    made = ''
    try:
        for name in UNWANTED:
            os.environ.pop(name, None)
        for name in VARIABLES:
            if name in os.environ and not _is_own(os.environ[name]):
                del os.environ[name]
        if 'HOME' not in os.environ and 'MPLCONFIGDIR' not in os.environ:
            home = _home()
            made = '' if home else tempfile.mkdtemp(prefix='conntrack-doctor-')
            os.environ['HOME' if home else 'MPLCONFIGDIR'] = home or made
        os.chdir('/')
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.fchdir(here)
        os.close(here)
        if made:
            shutil.rmtree(made, ignore_errors=True)


def _is_own(place: str) -> bool:
    """A directory of this user that nobody else can write to?"""
    try:
        status = os.stat(place)
    except (OSError, ValueError):
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _home() -> str:
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ''
    return home if _is_own(home) else ''
