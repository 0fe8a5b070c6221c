"""The kernel log's clock, which drifts from CLOCK_MONOTONIC (kernel/printk/printk.c), and logs joined by it.

Joined are two sources of one log, and what one run remembers for the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..model import BOOT, Instant, KernelLog, LogMemory, Missing

#: the log's clock may differ from CLOCK_MONOTONIC by some seconds
CLOCKS_DIFFER = 60.0


def possible(memory: LogMemory | None, now: Instant | None) -> LogMemory | None:
    """What is remembered, if it can be: from a future one nothing in the log would ever be news."""
    if memory is None or now is None:
        return memory
    # printk's clock may go on while the host sleeps
    can_be = memory.read <= now.monotonic and memory.read - memory.offset <= now.uptime + CLOCKS_DIFFER
    stamps = (*(line.stamp for line in memory.table_full), *(line.stamp for line in memory.suppressed))
    return memory if can_be and all(stamp <= memory.read for stamp in stamps) else None


def learn_offset(offset: float, memory: LogMemory | None, now: float, last: int, newest: float,
                 fresh: Sequence[float]) -> float:
    """What is added to the log's stamps to make them CLOCK_MONOTONIC: printk's clock drifts from ours.

    No record was written later than now, and none above the remembered number before the run that remembered it.
    offset: as it was known before; newest: stamp of the record `last`; fresh: stamps of lines that are new.
    """
    highest = now - newest
    stamps = [*fresh, newest] if memory and last > memory.sequence else []
    lowest = memory.read - min(stamps) if memory and stamps else BOOT
    # of those that are possible the one by which lines are youngest: none is out of the window before its time
    return offset if lowest <= offset <= highest else highest


def tail_since(since: float, memory: LogMemory | None) -> float | None:
    """`since` for `_device_records`: what is older than the last run, whose memory has it, need not be found again.

    On the log's own clock. None: a line of the last run is so young that the newest part cannot show that it is known.
    """
    if memory is None:
        return since
    newest = max([*(full.stamp for full in memory.table_full[-1:]), *(one.stamp for one in memory.suppressed[-1:])],
                 default=BOOT)
    return memory.read - memory.offset if newest < memory.read - CLOCKS_DIFFER else None


def may_stay_unread(oldest: tuple[int, float], since: float, now: float) -> bool:
    """Will the ring still reach back to `since` in the next run, so that nothing is lost if this one remembers nothing?

    oldest: number and stamp of the ring's first record. It must go back twice as far, on its own clock: the next run
    is as long after this one as this one after `since`, or less.
    """
    number, stamp = oldest
    return number == 0 or now - stamp >= 2 * (now - since)


def completed(log: KernelLog, kept: KernelLog) -> KernelLog:
    """The device's lines (`log`), and before them those that only the journal (`kept`) still has."""
    if kept.complete_since >= log.complete_since:
        return log
    full = (line for line in kept.table_full if line.stamp < log.complete_since)
    suppressed = (line for line in kept.suppressed if line.stamp < log.complete_since)
    return log._replace(
        table_full=(*full, *(line for line in log.table_full if line.stamp >= log.complete_since)),
        suppressed=(*suppressed, *(line for line in log.suppressed if line.stamp >= log.complete_since)),
        names_namespaces=log.names_namespaces or kept.names_namespaces, complete_since=kept.complete_since)


def memory_of(log: KernelLog | Missing, now: float, longest: float, before: LogMemory | None = None) -> \
        LogMemory | None:
    """What to remember of a log at `now` (CLOCK_MONOTONIC): lines of the last `longest` seconds; None: as before.

    before: what was remembered when it was read.
    """
    if isinstance(log, Missing):
        return None
    if log.sequence is None:
        # its end was not read: nothing is new but its size
        return before._replace(ring=log.ring) if before and log.ring and log.ring != before.ring else None
    return LogMemory(log.sequence, now, log.offset, log.complete_since, log.names_namespaces,
                     tuple(line for line in log.table_full if line.stamp >= now - longest),
                     tuple(line for line in log.suppressed if line.stamp >= now - longest), log.ring)
