"""Where the history's file is damaged or cannot be written: putting it aside, and the kernel's reason."""

from __future__ import annotations

import fcntl
import gc
import os

from ..deadline import OutOfTime
from ..formatting import clean, count
from ..model import Instant
from . import bad_rows
from .codec import fault
from .location import locked

#: texts of SQLite that do not tell the reason, as for a journal that could not be made
REASON_MISSING = ('unable to open database file', 'disk I/O error', 'database or disk is full')
#: bytes that are written to learn the reason: as many as a journal and some pages
PROBE_BYTES = 1 << 17
#: characters of a note: the file's name is at its end
LONGEST_NOTE = 500


def reason(path: str, error: Exception) -> str:
    """The error's text, and what the kernel says to a new file of some pages beside the history.

    SQLite's own texts name neither a quota nor the device's fault.
    """
    text = str(error)
    if text not in REASON_MISSING:
        return fault(error)
    # a name of its own, as a journal has: a quota may have room for a nameless file, but not for a name
    beside = f'{path}-{os.getpid()}'
    try:
        handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.unlink(beside)
            os.write(handle, bytes(PROBE_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
    except OutOfTime:
        raise
    except OSError as refused:
        return f'{text} ({refused.strerror})'
    return text


def put_aside(path: str, why: str, inode: int, in_row: bool, at: Instant, patience: float) -> str:
    """Renames a damaged file and its journal, which must not be applied to the next one; says so.

    inode: of the damaged file, which another run may have renamed meanwhile; in_row: where no more than rows are
    damaged, it is copied, and goes on without them. Raises TimeoutError.
    """
    # cursors in cycles with the exception that told of the damage still hold SQLite's lock
    gc.collect()
    with locked(path, fcntl.LOCK_EX, patience):
        try:
            if os.stat(path).st_ino != inode:
                return ''  # another run was faster
            aside = f'{path}.broken-{at.wall:.0f}'
            while os.path.exists(aside):
                aside += '+'
            journal = os.path.exists(path + '-journal')
            left_out = bad_rows.leave_out(path, aside) if in_row and not journal else 0
            if left_out:
                return clean(f'the history goes on without {count(left_out, "damaged row")} ({why}); as it was, it is '
                             f'kept as {aside}', LONGEST_NOTE)
            if journal:
                os.rename(path + '-journal', aside + '-journal')
            os.rename(path, aside)
        except FileNotFoundError:
            return ''  # another run was faster
        return clean(f'the history was damaged ({why}) and put aside as {aside}', LONGEST_NOTE)
