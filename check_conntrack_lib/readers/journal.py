"""The kernel's messages in systemd's journal, where /dev/kmsg is closed or does not go back far enough."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable

from ..host import Host
from ..model import BOOT, Instant, KernelLog, Missing
from .kernel_lines import FIRST_MESSAGE, KernelLine, may_matter, summarize
from .kernel_log import RECORD_SIZE

JOURNALCTL = ('/usr/bin/journalctl', '/bin/journalctl')
ENVIRONMENT = {'LC_ALL': 'C', 'PATH': '/usr/bin:/bin'}
#: the newest lines that are read, and how many bytes of them
MOST_LINES, JOURNAL_TAIL = 100_000, 32 << 20


def parse_journal_line(line: str, wall_to_monotonic: float) -> KernelLine | None:
    """A line of `journalctl -o short-unix`: 'seconds.micro host kernel: text', of early boot without a host."""
    match = re.fullmatch(r'(\d{1,12}\.\d{1,9}) (?:\S+ )?kernel: (.*)', line)
    return KernelLine(float(match[1]) + wall_to_monotonic, match[2]) if match else None


def read_journal(host: Host, span: float) -> KernelLog | Missing:
    """This boot's kernel messages from systemd's journal, if the caller may read it; the newest ones in a storm."""
    program = next((path for path in JOURNALCTL if os.access(path, os.X_OK)), None)
    if program is None:
        return Missing('no journalctl')
    try:
        # lines are parsed within the border, too: of a storm there are so many that the time may be up meanwhile
        return _read(program, host.clock(), span)
    except OSError as error:
        return Missing.because(error, program)


def _read(program: str, now: Instant, span: float) -> KernelLog | Missing:
    """Raises OSError."""
    # facility 0: not what users write to /dev/kmsg. Without --quiet it says on stderr what it may not show.
    # With --since, --lines counts from the oldest line on, but in --reverse from the newest.
    command = [program, '--dmesg', '--boot=0', 'SYSLOG_FACILITY=0', f'--since=@{now.wall - span:.0f}', '--reverse',
               f'--lines={MOST_LINES}', '--output=short-unix', '--no-pager', '--all']
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENVIRONMENT) as journal:
        assert journal.stdout is not None
        assert journal.stderr is not None
        try:
            kept, overrun = _journal_lines(journal.stdout.readline)
            # who has more to say than is read is not waited for
            status = 0 if overrun else journal.wait()
            said = '' if overrun else os.read(journal.stderr.fileno(), 1 << 16).decode('utf-8', 'replace')
        finally:
            journal.kill()
    if re.search(r'insufficient permissions|not seeing messages|No journal files', said):
        return Missing('needs root or group systemd-journal', 'add the user to group systemd-journal or adm')
    if status:
        return Missing('journalctl: ' + (said.strip().splitlines() or [f'exit {status}'])[-1])
    began = _begin(program, now)
    if began is None:
        return Missing('the journal has no kernel messages', "a container's journal has none: give it the host's")
    lines = (parse_journal_line(line.decode('utf-8', 'replace').rstrip('\n'), now.monotonic - now.wall)
             for line in reversed(kept))
    return summarize((line for line in lines if line), 'journal', overrun)._replace(complete_since=began)


def _begin(program: str, now: Instant) -> float | None:
    """Since when this boot's kernel messages are in the journal (CLOCK_MONOTONIC); None: there are none.

    The kernel's own first message is there where the journal has all of the boot.
    """
    command = [program, '--dmesg', '--boot=0', 'SYSLOG_FACILITY=0', '--output=short-unix', '--no-pager', '--all',
               '--quiet']
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=ENVIRONMENT) as journal:
        assert journal.stdout is not None
        try:
            text = journal.stdout.readline(RECORD_SIZE).decode('utf-8', 'replace').rstrip('\n')
        finally:
            journal.kill()
    line = parse_journal_line(text, now.monotonic - now.wall)
    if line is None:
        return None
    return BOOT if line.text.startswith(FIRST_MESSAGE) else line.stamp


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
        if begins and may_matter(line):
            kept.append(line)
        begins = line.endswith(b'\n')
    return kept, True
