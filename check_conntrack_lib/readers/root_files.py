"""Files below another root directory, such as the host's in a container: links never lead out of it."""

from __future__ import annotations

import errno
import os

#: no file of settings is larger
LARGEST = 1 << 18
#: links that are followed in one path, as the kernel does (include/linux/namei.h, MAXSYMLINKS)
MOST_LINKS = 40


def inside(root: str, path: str) -> str:
    """Where a path of another root directory is: links lead below that root, never to this process's own.

    Raises OSError where links lead in a circle.
    """
    if root == '/':
        return '/' + path
    todo, done = path.split('/')[::-1], ''
    links = 0
    while todo:
        part = todo.pop()
        if part in ('', '.'):
            continue
        if part == '..':
            done = done.rpartition('/')[0]
            continue
        try:
            target = os.readlink(f'{root}{done}/{part}')
        except OSError:
            done = f'{done}/{part}'  # no link, or not there: whoever opens it will see
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done = '' if target.startswith('/') else done
        todo += target.split('/')[::-1]
    return root + done


def read_text(root: str, path: str) -> str:
    """The beginning of a regular file of that root; '' for one that is none. Raises OSError."""
    try:
        # without O_NONBLOCK a FIFO in the place of the file would hold the check for ever
        handle = os.open(inside(root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return ''  # a broken link
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return ''  # no program reads what leads in a circle
    try:
        content = os.read(handle, LARGEST)
    except (IsADirectoryError, BlockingIOError):
        return ''
    finally:
        os.close(handle)
    return content.decode('utf-8', 'replace')
