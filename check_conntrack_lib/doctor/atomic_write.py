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
    temporary = os.path.join(directory, f'.{os.path.basename(path)}.{os.urandom(6).hex()}')
    # the name is known before the file is there: a signal may end the program at any point
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
