"""/proc/<pid>/cmdline of another user's process, reading which may never end (fs/proc/base.c, get_mm_cmdline).

The kernel waits for the lock of that process's memory map. Its owner can hold it for ever: an mmap of a file system of
his own (FUSE) that does not answer is enough. No alarm gets through such a wait.
"""

from __future__ import annotations

import _thread

from ..deadline import start_thread
from ..host import Host

#: seconds that a reading is waited for; where the memory is not locked it takes microseconds
LONGEST = 0.5
#: while so many threads are stuck in a reading, no other is begun
MOST_WAITING = 2

_waiting: set[int] = set()


def read_of_another_user(host: Host, pid: int) -> str:
    """The text, '' where it cannot be had. A thread reads it, and is left alone if it does not come back."""
    if len(_waiting) >= MOST_WAITING:
        return ''
    done, found = _thread.allocate_lock(), ['']
    done.acquire()

    def work() -> None:
        try:
            found[0] = host.read(f'{pid}/cmdline')
        except (OSError, ValueError):
            pass  # it ended meanwhile
        finally:
            _waiting.discard(pid)
            done.release()

    _waiting.add(pid)
    if not start_thread(work):
        _waiting.discard(pid)
        return ''
    done.acquire(timeout=LONGEST)
    return found[0]
