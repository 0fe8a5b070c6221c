"""sysctl.d: which values shall be set at boot, as systemd-sysctl and procps read the folders (sysctl.d(5))."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable

from ..host import Host
from ..model import Missing
from ..namedtuples import NamedTuple

#: a file in an earlier folder masks its namesakes in the later ones
FOLDERS = ('etc/sysctl.d', 'run/sysctl.d', 'usr/local/lib/sysctl.d', 'usr/lib/sysctl.d', 'lib/sysctl.d')
#: procps applies it after all others; systemd-sysctl only by a link from sysctl.d
LAST = 'etc/sysctl.conf'
#: no such file is larger, and no host has more of them
LARGEST, MOST_FILES = 1 << 18, 500
#: the kernel has this value twice (net/netfilter/nf_conntrack_standalone.c)
ALIASES = {'net/nf_conntrack_max': 'net/netfilter/nf_conntrack_max'}

#: compiled only where there is a file with conntrack in it
_EXPIRES = r'[#;]\s*expires:\s*(\d{4})-(\d\d?)-(\d\d?)(?:[ T](\d\d?):(\d\d))?\s*'


class SysctlSetting(NamedTuple):
    """One line of a file."""

    #: as a path below /proc/sys; a glob pattern where it has one of *?[
    key: str
    #: None: excludes its key from patterns
    value: str | None
    #: the file's name without its folder
    file: str
    #: of the note above it, `# expires: 2026-11-22 15:30`: seconds since 1970
    expires: float | None = None
    #: from sysctl.conf, which not every program applies
    last: bool = False


def parse(text: str, file: str, last: bool = False) -> tuple[SysctlSetting, ...]:
    """The settings of one file, in their order. A note is for the lines below it, up to an empty one."""
    settings = []
    expires = None
    for line in text.splitlines():
        line = line.strip()
        if not line:
            expires = None
        elif line[0] in '#;':
            expires = _expires(line) or expires
        else:
            key, equals, value = line.partition('=')
            exclusion = key.startswith('-') and not equals
            if equals or exclusion:
                settings.append(SysctlSetting(normal(key.lstrip('-').strip()),
                                              None if exclusion else value.strip(), file,
                                        expires, last))
    return tuple(settings)


def normal(key: str) -> str:
    """'net.ipv4.conf.eth0/1.forwarding' and 'net/ipv4/conf/eth0.1/forwarding' as the latter."""
    first = re.search('[./]', key)
    path = key.translate({46: 47, 47: 46}) if first and first[0] == '.' else key
    return ALIASES.get(path, path)


def effective(settings: Iterable[SysctlSetting]) -> dict[str, tuple[SysctlSetting, ...]]:
    """By conntrack's own keys: the setting that wins and, where sysctl.conf has another word, that one, too.

    A later line wins over an earlier one. A pattern never touches a key that has a line of its own.
    """
    winners: dict[str, tuple[SysctlSetting, ...]] = {}
    for setting in settings:
        # patterns are not expanded: nobody configures conntrack by one
        if re.fullmatch('net/netfilter/nf_conntrack_[a-z0-9_]+', setting.key) and setting.value is not None:
            before = winners.get(setting.key, ())
            winners[setting.key] = (*(one for one in before if not one.last), setting) if setting.last else (setting,)
    return winners


def read(host: Host) -> tuple[SysctlSetting, ...] | Missing:
    """What is configured on the machine that host shows, in the order in which it is applied."""
    root = host.root()
    files: dict[str, str] = {}
    try:
        for folder in FOLDERS:
            try:
                names = os.listdir(os.path.join(root, folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                if name.endswith('.conf'):
                    files.setdefault(name, os.path.join(root, folder, name))
        if len(files) > MOST_FILES:
            raise ValueError(f'more than {MOST_FILES} files in sysctl.d')
        settings: list[SysctlSetting] = []
        for name in sorted(files):
            settings += _read_file(files[name], name)
        return (*settings, *_read_file(os.path.join(root, LAST), os.path.basename(LAST), last=True))
    except PermissionError as error:
        # who keeps these from the check has chosen so; the others alone do not tell which value wins
        return Missing.because(error, 'sysctl.d')._replace(chosen=True)
    except (OSError, ValueError) as error:
        return Missing.because(error, 'sysctl.d')


def _read_file(path: str, name: str, last: bool = False) -> tuple[SysctlSetting, ...]:
    try:
        # without O_NONBLOCK a FIFO in the place of the file would hold the check for ever
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return ()  # a broken link
    try:
        content = os.read(handle, LARGEST)
    except (IsADirectoryError, BlockingIOError):
        return ()
    finally:
        os.close(handle)
    return parse(content.decode('utf-8', 'replace'), name, last) if b'conntrack' in content else ()


def _expires(comment: str) -> float | None:
    note = re.fullmatch(_EXPIRES, comment, re.ASCII | re.IGNORECASE)
    if not note:
        return None
    year, month, day, hour, minute = (None if part is None else int(part) for part in note.groups())
    if hour is None:
        hour, minute = 23, 59
    try:
        # strptime would cost 3 ms of start-up
        return time.mktime((year or 0, month or 0, day or 0, hour, minute or 0, 0, 0, 0, -1))
    except (OverflowError, ValueError):
        return None
