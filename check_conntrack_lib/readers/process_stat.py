"""/proc/<pid>/stat: numbers of one process by the number of their field (proc(5); fs/proc/array.c, do_task_stat)."""

from __future__ import annotations

from ..host import GONE, Host

#: fields, as proc(5) counts them: PF_* of include/linux/sched.h; when it started, in clock ticks (USER_HZ) since boot
FLAGS, START_TIME = 9, 22


def parse(text: str, field: int) -> int:
    """A field behind the program's name, which may hold anything. Raises ValueError for a text that has no such one."""
    words = text.rpartition(')')[2].split()
    # the first one behind the name is field 3
    if len(words) <= field - 3:
        raise ValueError('not a stat file')
    return int(words[field - 3])


def read(host: Host, pid: int, field: int) -> int | None:
    """A field of a process; None where it cannot be read: it ended meanwhile."""
    try:
        return parse(host.read(f'{pid}/stat'), field)
    except GONE:
        return None
