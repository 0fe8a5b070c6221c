"""Files that others read while they are written."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile


def write_file(path: str, content: bytes) -> None:
    """Replaces `path` in one step, readable by all; leaves nothing behind when it fails. Raises OSError."""
    directory = os.path.dirname(path) or '.'
    if not os.path.isdir(directory):
        raise NotADirectoryError(errno.ENOTDIR, 'no such directory', directory)
    # node_exporter reads *.prom only: a name that ends in anything else is never seen half-written
    handle, temporary = tempfile.mkstemp(prefix=f'.{os.path.basename(path)}.', dir=directory)
    try:
        with open(handle, 'wb') as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
