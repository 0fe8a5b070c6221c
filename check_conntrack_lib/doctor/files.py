"""Files that others read while they are written."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import tempfile
from collections.abc import Iterator

#: what ends a program by an exception, at any point of it
ENDINGS = (signal.SIGINT, signal.SIGTERM)


def write_file(path: str, content: bytes) -> None:
    """Replaces `path` in one step, readable by all; leaves nothing behind when it fails. Raises OSError."""
    directory = os.path.dirname(path) or '.'
    if not os.path.isdir(directory):
        raise NotADirectoryError(errno.ENOTDIR, 'no such directory', directory)
    with _unended():
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


@contextlib.contextmanager
def _unended() -> Iterator[None]:
    """Holds back what ends the program: between making a file and knowing its name, it could not be removed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
