"""sysctl.d: which values shall be set at boot, as systemd-sysctl and procps read the folders (sysctl.d(5)).

What each makes of a line was tried with procps 4.0.2 and systemd 252: tests/readers/test_sysctl_programs.py.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator

from ..host import Host
from ..model import Missing
from ..namedtuples import NamedTuple
from .root_files import inside, read_text

#: a file in an earlier folder masks its namesakes in the later ones
FOLDERS = ('etc/sysctl.d', 'run/sysctl.d', 'usr/local/lib/sysctl.d', 'usr/lib/sysctl.d', 'lib/sysctl.d')
#: procps applies it after all others; systemd-sysctl only by a link from sysctl.d
LAST = 'etc/sysctl.conf'
#: no host has more of them
MOST_FILES = 500
#: the kernel has this value twice (net/netfilter/nf_conntrack_standalone.c)
ALIASES = {'net/nf_conntrack_max': 'net/netfilter/nf_conntrack_max'}
#: names from before nf_conntrack: kernels with CONFIG_NF_CONNTRACK_PROC_COMPAT (RHEL 7) have them beside the new ones
OLD_NAMES = ('net/ipv4/netfilter/ip_conntrack_', 'net/ipv4/ip_conntrack_')
NEW_NAME = 'net/netfilter/nf_conntrack_'

#: a note with an end; compiled only where there is a file with conntrack in it
_EXPIRES = r'[#;]\s*expires:\s*(\d{4})-(\d\d?)-(\d\d?)(?:[ T](\d\d?):(\d\d))?\s*'
#: conntrack's own keys
KEY = r'net/netfilter/nf_conntrack_[a-z0-9_]+'
READ_ONLY = ('net/netfilter/nf_conntrack_count',)
#: that an int of the kernel holds
LARGEST_VALUE = (1 << 31) - 1


class SysctlSetting(NamedTuple):
    """One line of a file."""

    #: as a path below /proc/sys, other names of one value made one; a pattern where it has one of *?[
    key: str
    #: None: excludes its key from patterns
    value: str | None
    #: the file's name without its folder
    file: str
    #: of the note above it, `# expires: 2026-11-22 15:30`: seconds since 1970
    expires: float | None = None
    #: from sysctl.conf, which not every program applies
    last: bool = False
    #: the key as it was written, where that is another name of the value
    written: str = ''
    #: why no program can apply the line, whatever the kernel
    fault: str = ''
    #: with '-' before its name: it may fail
    forgiven: bool = False

    @property
    def path(self) -> str:
        """The file below /proc/sys that it is written to."""
        return self.written or self.key

    @property
    def is_pattern(self) -> bool:
        return any(sign in self.key for sign in '*?[')


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
            setting = _setting(line, file, expires, last)
            settings += [setting] if setting else []
    return tuple(settings)


def _setting(line: str, file: str, expires: float | None, last: bool) -> SysctlSetting | None:
    key, equals, value = line.partition('=')
    exclusion = key.startswith('-') and not equals and len(key.split()) == 1
    words = key.lstrip('-').split()
    if len(words) != 1 or not (equals or exclusion):
        named = [word for word in words if 'conntrack' in word]
        if not named:
            return None
        fault = 'is no setting: a command' if equals else "is no setting: it has no '='"
        return SysctlSetting(normal(named[0].strip(':')), line, file, expires, last, fault=fault)
    path = _path(words[0])
    found = normal(words[0])
    return SysctlSetting(found, None if exclusion else value.strip(), file, expires, last,
                         written='' if path == found else path, forgiven=bool(equals) and key.startswith('-'))


def normal(key: str) -> str:
    """'net.ipv4.conf.eth0/1.forwarding' and 'net/ipv4/conf/eth0.1/forwarding' as the latter, and one name a value."""
    path = _path(key)
    for old in OLD_NAMES:
        if path.startswith(old):
            return NEW_NAME + path[len(old):]
    return ALIASES.get(path, path)


def _path(key: str) -> str:
    first = re.search('[./]', key)
    return (key.translate({46: 47, 47: 46}) if first and first[0] == '.' else key).lstrip('/')


def number(text: str) -> int | None:
    """What the kernel takes of a value: the number before the first blank, in base 10, 16 or 8; None: it refuses it.

    kernel/sysctl.c, proc_get_long and strtoul_lenient: no quotes, no '+', no unit behind it.
    """
    word = (text.split() or [''])[0]
    match = re.fullmatch(r'(-?)(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,21}|[1-9][0-9]{0,18})', word, re.ASCII)
    if not match:
        return None
    digits = match[2]
    value = int(digits, 16 if digits[1:2] in ('x', 'X') else 8 if digits.startswith('0') else 10)
    return (-value if match[1] else value) if value <= LARGEST_VALUE else None


def effective(settings: Iterable[SysctlSetting], names: Collection[str] = ()) -> dict[str, tuple[SysctlSetting, ...]]:
    """By conntrack's own keys: the setting that wins; where the programs end differently, both, that of procps last.

    A later line wins over an earlier one. A pattern never touches a name that has a line of its own. names: files below
    /proc/sys that there are, for patterns and for old names; a setting that no program can apply is left out.
    """
    usable = [one for one in settings if is_usable(one, names)]
    winners: dict[str, tuple[SysctlSetting, ...]] = {}
    for order in (_by_systemd([one for one in usable if not one.last]), usable):
        alone = {one.path for one in order if not one.is_pattern}
        ends = {}
        for one in order:
            if one.value is not None:
                for key in _touched(one, alone, names):
                    ends[key] = one
        for key, one in ends.items():
            before = winners.get(key, ())
            winners[key] = (*(other for other in before if other != one), one)
    return winners


def is_usable(one: SysctlSetting, names: Collection[str]) -> bool:
    """Can a program apply it, as far as the line tells? names: see `effective`."""
    return not one.fault and (one.value is None or number(one.value) is not None) \
        and (not is_old(one) or one.path in names)


def is_old(setting: SysctlSetting) -> bool:
    """Has it a name from before nf_conntrack?"""
    return setting.written.startswith(OLD_NAMES)


def _by_systemd(settings: Iterable[SysctlSetting]) -> list[SysctlSetting]:
    """In the order in which systemd-sysctl writes: a name keeps its place when it is given the same value again."""
    order: dict[str, SysctlSetting] = {}
    for one in settings:
        before = order.get(one.path)
        if before is None or before.value != one.value:
            order.pop(one.path, None)
            order[one.path] = one
    return list(order.values())


def _touched(setting: SysctlSetting, alone: Collection[str], names: Collection[str]) -> Iterator[str]:
    """The keys of conntrack that a setting is for."""
    if not setting.is_pattern:
        if re.fullmatch(KEY, setting.key) and setting.key not in READ_ONLY:
            yield setting.key
        return
    from fnmatch import fnmatchcase  # hardly anybody configures conntrack by a pattern

    parts = setting.path.split('/')
    for name in names:
        own = name.split('/')
        key = normal(name)
        if len(own) == len(parts) and name not in alone and re.fullmatch(KEY, key) and key not in READ_ONLY \
                and all(map(fnmatchcase, own, parts)):
            yield key


def read(host: Host) -> tuple[SysctlSetting, ...] | Missing:
    """What is configured on the machine that host shows, in the order in which it is applied."""
    root = host.root()
    files: dict[str, str] = {}
    try:
        for folder in FOLDERS:
            try:
                names = os.listdir(inside(root, folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                if name.endswith('.conf'):
                    files.setdefault(name, f'{folder}/{name}')
        if len(files) > MOST_FILES:
            raise ValueError(f'more than {MOST_FILES} files in sysctl.d')
        settings: list[SysctlSetting] = []
        for name in sorted(files):
            settings += _read_file(root, files[name], name)
        return (*settings, *_read_file(root, LAST, os.path.basename(LAST), last=True))
    except PermissionError as error:
        # who keeps these from the check has chosen so; the others alone do not tell which value wins
        return Missing.because(error, 'sysctl.d')._replace(chosen=True)
    except (OSError, ValueError) as error:
        return Missing.because(error, 'sysctl.d')


def _read_file(root: str, path: str, name: str, last: bool = False) -> tuple[SysctlSetting, ...]:
    content = read_text(root, path)
    return parse(content, name, last) if 'netfilter' in content or 'conntrack' in content else ()


def _expires(comment: str) -> float | None:
    note = re.fullmatch(_EXPIRES, comment, re.ASCII | re.IGNORECASE)
    if not note:
        return None
    year, month, day = map(int, note.group(1, 2, 3))
    hour, minute = map(int, note.group(4, 5)) if note[4] else (23, 59)
    try:
        # strptime would cost 3 ms of start-up
        return time.mktime((year, month, day, hour, minute, 0, 0, 0, -1))
    except (OverflowError, ValueError):
        return None
