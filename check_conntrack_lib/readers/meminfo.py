"""/proc/meminfo: how much memory could still be had (fs/proc/meminfo.c)."""

from __future__ import annotations

import re

from ..host import Host
from ..model import Missing

FILE = 'meminfo'


def parse(text: str) -> int:
    """MemAvailable in bytes (since 3.14 and in RHEL 7). Raises ValueError."""
    match = re.search(r'^MemAvailable:\s+(\d{1,15}) kB$', text, re.MULTILINE | re.ASCII)
    if not match:
        raise ValueError('no MemAvailable')
    return int(match[1]) * 1024


def read_total(host: Host) -> int | None:
    """MemTotal in bytes; None: unknown."""
    try:
        match = re.search(r'^MemTotal:\s+(\d{1,15}) kB$', host.read(FILE), re.MULTILINE | re.ASCII)
    except (OSError, ValueError):
        return None
    return int(match[1]) * 1024 if match else None


def read(host: Host) -> int | Missing:
    """MemAvailable in bytes."""
    return host.read_parsed(FILE, parse)
