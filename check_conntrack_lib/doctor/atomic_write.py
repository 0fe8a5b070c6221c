"""Files that others read while they are written."""

from __future__ import annotations

import contextlib
import errno
import os


def write_file(path: str, content: bytes) -> None:
    """Replaces `path` in one step, readable by all; leaves nothing behind when it fails. Raises OSError."""
    directory = os.path.dirname(path) or '.'
    if not os.path.isdir(directory):
        raise NotADirectoryError(errno.ENOTDIR, 'no such directory', directory)
    # node_exporter reads *.prom only: a name that ends in anything else is never seen half-written
    name = os.path.basename(path)
    temporary = f'.{name}.{os.urandom(6).hex()}'
    # whoever owns the directory may put another one in its place meanwhile
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # the name is known before the file is there: a signal may end the program at any point
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=place)
        with open(handle, 'wb') as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=place)
        if isinstance(error, OSError) and error.filename:
            raise type(error)(error.errno, error.strerror, path) from None
        raise
    finally:
        os.close(place)
