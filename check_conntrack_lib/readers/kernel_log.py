"""The kernel log: 'table full' lines from /dev/kmsg, from a file of such records, or from the journal.

Sources: Documentation/ABI/testing/dev-kmsg, kernel/printk/printk.c; the lines come from __nf_conntrack_alloc
(net/netfilter/nf_conntrack_core.c) through net_warn_ratelimited: at most 10 in 5 s, shared with all network code.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence

from ..host import Host
from ..model import KernelLog, LogLine, Missing, Suppressed
from ..namedtuples import NamedTuple

DEVICE = '/dev/kmsg'
JOURNALCTL = ('/usr/bin/journalctl', '/bin/journalctl')
#: no record is longer (CONSOLE_EXT_LOG_MAX); with a smaller buffer the kernel skips the record
RECORD_SIZE = 8192
#: more records than the largest ring buffer of any distribution holds: reading ends even in a storm
MOST_RECORDS = 1 << 18
#: the newest lines of the journal that are read, and how many bytes of them
MOST_LINES, JOURNAL_TAIL = 100_000, 32 << 20
#: the end of a log file that is read
FILE_TAIL = 4 << 20

# every form since 2.4; 'expectation table full' is another table and loses no packet
TABLE_FULL = (
    r'(?:ip|nf)_conntrack: (?:nf_conntrack: )?table full(?: in netns (\d{1,20}))?, dropping packet\.?'
)
SUPPRESSED = (
    r'(?:net_ratelimit|__ratelimit): (\d{1,20}) callbacks suppressed|printk: (\d{1,20}) messages suppressed\.?'
)

# facility 0 is the kernel's own: what users write to /dev/kmsg has another, in priorities from 8 on
RECORD = rb'([0-7]),\d+,(\d{1,20}),[^;]*;([^\n]*)'


class KernelLine(NamedTuple):
    """One kernel message: seconds on CLOCK_MONOTONIC, text."""

    stamp: float
    text: str


def parse_record(record: bytes) -> KernelLine | None:
    """A record 'priority,sequence,microseconds,flags[,...];text'; None when it is not the kernel's own."""
    match = re.match(RECORD, record)
    return KernelLine(int(match[2]) / 1e6, match[3].decode('ascii', 'replace')) if match else None


def parse_journal_line(line: str, wall_to_monotonic: float) -> KernelLine | None:
    """A line of `journalctl -o short-unix`: 'seconds.micro host kernel: text'."""
    match = re.fullmatch(r'(\d{1,12}\.\d{1,9}) \S+ kernel: (.*)', line)
    return KernelLine(float(match[1]) + wall_to_monotonic, match[2]) if match else None


def summarize(lines: Iterable[KernelLine], source: str, overrun: bool = False) -> KernelLog:
    """The lines that speak of full tables."""
    full, suppressed = [], []
    meanings: dict[str, LogLine | Suppressed | None] = {}
    for stamp, text in lines:
        # a storm is one text over and over
        if text not in meanings:
            meanings[text] = _meaning(text)
        meaning = meanings[text]
        if isinstance(meaning, LogLine):
            full.append(LogLine(stamp, meaning.netns))
        elif meaning:
            suppressed.append(Suppressed(stamp, meaning.messages))
    names = any(line.netns is not None for line in full)
    return KernelLog(source, tuple(full), tuple(suppressed), overrun, names)


def _meaning(text: str) -> LogLine | Suppressed | None:
    """What a text says, at no time."""
    match = re.fullmatch(TABLE_FULL, text)
    if match:
        return LogLine(0.0, int(match[1]) if match[1] else None)
    match = re.fullmatch(SUPPRESSED, text)
    return Suppressed(0.0, int(match[1] or match[2])) if match else None


def read(host: Host, choice: str, span: float) -> KernelLog | Missing:
    """The log of the last `span` seconds, as far as it is kept.

    choice: 'auto' (the device, else the journal), 'kmsg', 'journal', 'off', or a file of records.
    """
    if choice == 'off':
        return Missing('switched off', chosen=True)
    if choice == 'journal':
        return read_journal(host, span)
    since = host.clock().monotonic - span
    if choice != 'auto':
        return read_records(DEVICE if choice == 'kmsg' else choice, since)
    log = read_records(DEVICE, since)
    if isinstance(log, Missing):
        journal = read_journal(host, span)
        if not isinstance(journal, Missing):
            return journal
    return log


def read_records(path: str, since: float) -> KernelLog | Missing:
    """The records of a kmsg device or of a file, from `since` on (CLOCK_MONOTONIC).

    Touches nobody else's position in the log.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        if path == DEVICE:
            # EPERM comes from kernel.dmesg_restrict, or to root from kernel.printk_devkmsg=off
            return Missing('needs root', 'reading /dev/kmsg needs CAP_SYSLOG where kernel.dmesg_restrict=1; '
                           'the journal serves members of group systemd-journal or adm')
        return Missing.because(error, path)
    except OSError as error:
        return Missing.because(error, path)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            records, overrun = _file_records(handle), False
        else:
            records, overrun = _device_records(handle)
    except OSError as error:
        return Missing.because(error, path)
    finally:
        os.close(handle)
    log = summarize(_lines(records, since), path, overrun)
    # what an older line tells of the kernel is true today
    names = log.names_namespaces or any(parse_record(record) for record in records if b'full in netns ' in record)
    return log._replace(names_namespaces=names)


def read_journal(host: Host, span: float) -> KernelLog | Missing:
    """This boot's kernel messages from systemd's journal, if the caller may read it; the newest ones in a storm."""
    import subprocess  # only where /dev/kmsg is closed: 3 ms of start-up

    program = next((path for path in JOURNALCTL if os.access(path, os.X_OK)), None)
    if program is None:
        return Missing('no journalctl')
    now = host.clock()
    # facility 0: not what users write to /dev/kmsg. Without --quiet it says on stderr what it may not show.
    # With --since, --lines counts from the oldest line on, but in --reverse from the newest.
    command = [program, '--dmesg', '--boot=0', 'SYSLOG_FACILITY=0', f'--since=@{now.wall - span:.0f}', '--reverse',
               f'--lines={MOST_LINES}', '--output=short-unix', '--no-pager', '--all']
    try:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={'LC_ALL': 'C', 'PATH': '/usr/bin:/bin'}) as journal:
            assert journal.stdout is not None
            assert journal.stderr is not None
            try:
                kept, overrun = _journal_lines(journal.stdout.readline)
                # who has more to say than is read is not waited for
                status = 0 if overrun else journal.wait()
                said = '' if overrun else os.read(journal.stderr.fileno(), 1 << 16).decode('utf-8', 'replace')
            finally:
                journal.kill()
    except OSError as error:
        return Missing.because(error, program)
    if re.search(r'insufficient permissions|not seeing messages|No journal files', said):
        return Missing('needs root or group systemd-journal', 'add the user to group systemd-journal or adm')
    if status:
        return Missing('journalctl: ' + (said.strip().splitlines() or [f'exit {status}'])[-1])
    lines = (parse_journal_line(line.decode('utf-8', 'replace').rstrip('\n'), now.monotonic - now.wall)
             for line in reversed(kept))
    return summarize((line for line in lines if line), 'journal', overrun)


def _journal_lines(readline: Callable[[int], bytes]) -> tuple[list[bytes], bool]:
    """Lines worth parsing, the newest first, and whether there are more than are read."""
    kept: list[bytes] = []
    begins, left = True, JOURNAL_TAIL
    for _ in range(MOST_LINES):
        line = readline(RECORD_SIZE)
        if not line:
            return kept, False
        left -= len(line)
        if left < 0:
            break
        # the rest of a line that is longer than any of the kernel's is no line
        if begins and _is_news(line):
            kept.append(line)
        begins = line.endswith(b'\n')
    return kept, True


def _is_news(text: bytes) -> bool:
    """Worth parsing? Tens of thousands of lines may not be: the cheapest test there is."""
    return b'table full' in text or b'suppressed' in text


def _lines(records: Sequence[bytes], since: float) -> list[KernelLine]:
    """In their order. The ring may be full of lines that are too old: those are not even parsed."""
    lines = []
    for record in reversed(records):
        line = parse_record(record)
        if line:
            if line.stamp < since:
                break
            lines.append(line)
    return lines[::-1]


def _device_records(handle: int) -> tuple[list[bytes], bool]:
    """Records worth parsing, and whether others were missed. One read is one record."""
    kept, overrun = [], False
    for _ in range(MOST_RECORDS):
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
        if _is_news(record):
            kept.append(record)
    else:
        overrun = True  # what comes after so many is not read
    return kept, overrun


def _file_records(handle: int) -> list[bytes]:
    size = os.lseek(handle, 0, os.SEEK_END)
    os.lseek(handle, max(0, size - FILE_TAIL), os.SEEK_SET)
    with os.fdopen(os.dup(handle), 'rb') as file:
        return file.read(FILE_TAIL).split(b'\n')
