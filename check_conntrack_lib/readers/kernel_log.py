"""The kernel log: 'table full' lines from /dev/kmsg, a file or systemd's journal, and how far back each goes.

Sources: Documentation/ABI/testing/dev-kmsg, kernel/printk/printk.c; the lines come from __nf_conntrack_alloc
(net/netfilter/nf_conntrack_core.c) through net_warn_ratelimited: at most 10 in 5 s, shared with all network code.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from ..host import Host
from ..model import BOOT, Instant, KernelLog, LogMemory, LogRing, Missing
from ..namedtuples import TYPE_CHECKING, NamedTuple
from .kernel_lines import KernelLine, head_of, may_matter, parse_record, summarize
from .log_clock import completed, learn_offset, possible

if TYPE_CHECKING:
    from .log_rest import RestOfLog

DEVICE = '/dev/kmsg'
#: the device number of the kernel's log (drivers/char/mem.c): containers get other devices under its name
DEVICE_NUMBER = os.makedev(1, 11)
NOT_THE_LOG = "a container has another device under this name: give it the host's /dev/kmsg and CAP_SYSLOG"
#: reading it takes the lines from klogd and rsyslog (kernel/printk/printk.c, do_syslog)
CONSUMING = '/proc/kmsg'
#: bytes: no record is longer (CONSOLE_EXT_LOG_MAX); with a smaller buffer the kernel skips the record
RECORD_SIZE = 8192
#: more records than the largest ring buffer of any distribution holds: reading ends even in a storm
MOST_RECORDS = 1 << 18
#: bytes at the end of a log file that are read
FILE_TAIL = 4 << 20


def read(host: Host, choice: str, span: float, memory: LogMemory | None = None) -> KernelLog | Missing:
    """The log of the last `span` seconds, as far as it is kept.

    choice: 'auto' (the device, else the journal), 'kmsg', 'journal', 'off', or a file; memory: what an earlier run of
    this boot has read of the same source.
    """
    if choice == 'off':
        return Missing('switched off', chosen=True)
    now = host.clock()
    if choice not in ('auto', 'journal'):
        return read_records(DEVICE if choice == 'kmsg' else choice, now.monotonic - span, now, memory)
    log = read_records(DEVICE, now.monotonic - span, now, memory) if choice == 'auto' else None
    if isinstance(log, KernelLog) and log.complete_since <= now.monotonic - span:
        return log
    from . import journal  # subprocess costs 3 ms of start-up

    kept = journal.read_journal(host, span)
    if not isinstance(log, KernelLog):
        return log if isinstance(kept, Missing) and log else kept
    return log if isinstance(kept, Missing) else completed(log, kept)


def read_records(path: str, since: float, now: Instant | None = None,
                 memory: LogMemory | None = None) -> KernelLog | Missing:
    """The records of a kmsg device or of a file, from `since` on (CLOCK_MONOTONIC).

    Touches nobody else's position in the log. now: of this run, for a clock of the log that is not ours.
    """
    memory = possible(memory, now)
    try:
        opened = open_log(path)
    except OSError as error:
        if path == DEVICE and isinstance(error, PermissionError):
            # EPERM comes from kernel.dmesg_restrict, or to root from kernel.printk_devkmsg=off
            why = 'needs CAP_SYSLOG' if os.geteuid() == 0 else 'needs root'
            return Missing(why, 'reading /dev/kmsg needs CAP_SYSLOG where kernel.dmesg_restrict=1; '
                           'the journal serves members of group systemd-journal or adm')
        return Missing.because(error, path)
    if isinstance(opened, Missing):
        return opened
    handle, is_file = opened
    try:
        if is_file:
            records = _file_records(handle)
        else:
            from .log_rest import RestOfLog  # only where the device can be read

            records = _device_records(handle, RestOfLog(since, memory, now) if path == DEVICE else None)
    except OSError as error:
        return Missing.because(error, path)
    finally:
        os.close(handle)
    if not records.newest:
        if not records.other:
            return Missing(f'{path} is empty')
        from . import log_files  # only for files that a logger wrote

        return log_files.read_lines(records.other, path, since, now)
    return _log(records, path, since, now, memory)


def remembered_source(choice: str) -> str:
    """The source of a choice whose records are numbered, so that they can be remembered; '' for any other."""
    if choice in ('off', 'journal'):
        return ''
    # the history takes no letters that are none
    return DEVICE if choice in ('auto', 'kmsg') else \
        os.fsencode(os.path.abspath(choice)).decode('utf-8', 'backslashreplace')


def open_log(path: str) -> tuple[int, bool] | Missing:
    """A descriptor of a log that is the caller's to close, and whether it is a file. Raises OSError.

    Nothing else is opened, whoever exchanges it: a console or terminal takes what is typed, a watchdog resets the host.
    """
    look = os.open(path, os.O_PATH)
    try:
        status = os.fstat(look)
        if not is_kernel_log(status, path):
            return Missing(f"{path} is not the kernel's log", NOT_THE_LOG)
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and not status.st_size:
            # empty, or made by the kernel while it is read; some lose what was read: /proc/kmsg by any name, trace_pipe
            if os.path.realpath(path) == CONSUMING:
                return Missing(f'{CONSUMING} is not read', "reading it takes the lines from the system's logger: "
                               '/dev/kmsg has the same')
            return Missing(f'{path} is empty')
        return os.open(f'/proc/self/fd/{look}', os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), is_file
    finally:
        os.close(look)


def is_kernel_log(status: os.stat_result, path: str) -> bool:
    """Can this be the kernel's log? Of devices only that of DEVICE_NUMBER; a file only where somebody names it."""
    if stat.S_ISREG(status.st_mode):
        return path != DEVICE
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == DEVICE_NUMBER


class Records(NamedTuple):
    """What a device or a file gave."""

    #: those that may be about full tables (`may_matter`), in their order
    kept: Sequence[bytes] = ()
    #: the first and the last record of all
    oldest: bytes = b''
    newest: bytes = b''
    #: were others missed?
    overrun: bool = False
    #: the lines of a file that is not made of records
    other: Sequence[bytes] = ()
    #: the rest has no newer line about full tables, and was not read
    cut: bool = False
    #: as it was before all this was read
    ring: LogRing | None = None


def _log(records: Records, path: str, since: float, now: Instant | None, memory: LogMemory | None) -> KernelLog:
    """The records as a log, with what is remembered of those that the ring no longer has."""
    (first, began), (last, ended) = map(head_of, (records.oldest, records.newest))
    # a smaller number than the remembered one: another log under the same name
    memory = memory if memory and (memory.sequence <= last or records.cut) else None
    fresh, stamps = _records_after(records.kept, memory.sequence) if memory else (records.kept, [])
    offset = memory.offset if memory else 0.0
    if now and not records.cut:
        offset = learn_offset(offset, memory, now.monotonic, last, ended, stamps)
    earliest = memory.read if memory else BOOT
    until = now.monotonic if now else float('inf')
    lines = [line._replace(stamp=min(max(line.stamp + offset, earliest), until))
             for line in _lines(fresh, since - offset if memory is None else BOOT)]
    log = summarize(lines, path, records.overrun)
    # what an older line tells of the kernel is true today
    names = log.names_namespaces or bool(memory and memory.names_namespaces) \
        or any(parse_record(record) for record in records.kept if b'full in netns ' in record)
    complete = BOOT if first == 0 else began + offset
    if memory and first <= memory.sequence + 1:
        complete = min(complete, memory.complete_since)
    if memory:
        log = log._replace(table_full=(*(line for line in memory.table_full if line.stamp >= since), *log.table_full),
                           suppressed=(*(line for line in memory.suppressed if line.stamp >= since), *log.suppressed))
    return log._replace(names_namespaces=names, complete_since=complete, offset=offset,
                        sequence=None if records.cut else last, ring=records.ring if memory else None)


def _records_after(records: Sequence[bytes], sequence: int) -> tuple[list[bytes], list[float]]:
    """The records after that number, and their stamps. The ring may be full of older ones: those are not parsed."""
    fresh: list[bytes] = []
    stamps: list[float] = []
    for record in reversed(records):
        number, stamp = head_of(record)
        if number <= sequence:
            break
        fresh.append(record)
        stamps.append(stamp)
    return fresh[::-1], stamps[::-1]


def read_new(handle: int, path: str) -> tuple[KernelLog, bool]:
    """The new lines of a descriptor that stays open, and whether records were missed. Raises OSError."""
    records = _device_records(handle)
    return summarize(_lines(records.kept, BOOT), path, records.overrun), records.overrun


def _lines(records: Sequence[bytes], since: float) -> list[KernelLine]:
    """The kernel's lines from `since` on, in their order. The ring may be full of older ones: those are not parsed."""
    lines = []
    for record in reversed(records):
        line = parse_record(record)
        if line:
            if line.stamp < since:
                break
            lines.append(line)
    return lines[::-1]


def _device_records(handle: int, rest: RestOfLog | None = None) -> Records:
    """The records of a device, one a read. Raises OSError.

    rest: of the running kernel's log, which is not read to its end where the rest has nothing new; None: read it all.
    """
    kept: list[bytes] = []
    overrun = False
    oldest = newest = b''
    for number in range(MOST_RECORDS):
        if rest and number in rest.asked_after and rest.has_nothing_new(number, *head_of(oldest)):
            return Records(kept, oldest, newest, overrun, cut=True, ring=rest.ring)
        try:
            record = os.read(handle, RECORD_SIZE)
        except BlockingIOError:
            break
        except BrokenPipeError:
            # the next read goes on with the oldest record that is left
            overrun = True
            continue
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            continue  # a record larger than the buffer: the kernel has skipped it
        if not record:
            break
        if not oldest:
            oldest = record
        newest = record
        if may_matter(record):
            kept.append(record)
    else:
        overrun = True  # what comes after so many is not read
    # what was not read must not be taken for known in the next run
    return Records(kept, oldest, newest, overrun, ring=rest.ring if rest and not overrun else None)


def _file_records(handle: int) -> Records:
    size = os.lseek(handle, 0, os.SEEK_END)
    os.lseek(handle, max(0, size - FILE_TAIL), os.SEEK_SET)
    with os.fdopen(os.dup(handle), 'rb') as file:
        lines = file.read(FILE_TAIL).split(b'\n')
    # the first line of a tail is cut
    lines = [line for line in lines[size > FILE_TAIL:] if line.strip()]
    oldest = next((line for line in lines if head_of(line)[0] >= 0), b'')
    newest = next((line for line in reversed(lines) if head_of(line)[0] >= 0), b'')
    return Records([line for line in lines if may_matter(line)], oldest, newest, other=lines) if newest \
        else Records(other=lines)
