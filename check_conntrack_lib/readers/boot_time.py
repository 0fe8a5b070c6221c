"""When this boot began, by the line 'btime' of /proc/stat (fs/proc/stat.c), and which files of settings are younger."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress

from ..host import Host
from .root_files import inside
from .sysctl_files import FOLDERS, LAST


def read(host: Host) -> int | None:
    """Seconds since 1970; None: not known."""
    with suppress(OSError, ValueError):
        match = re.search(r'^btime (\d{1,12})$', host.read('stat'), re.MULTILINE)
        return int(match[1]) if match else None
    return None


def younger_files(host: Host, names: Collection[str]) -> frozenset[str]:
    """Those of these files of sysctl.d, by name, that were written since this boot began."""
    began = read(host)
    if began is None:
        return frozenset()
    found = set()
    for name in names:
        for path in (*(f'{folder}/{name}' for folder in FOLDERS), *([LAST] if LAST.endswith(f'/{name}') else [])):
            with suppress(OSError):
                # the time at which it came to be so, not one that an archive gave it
                if os.stat(inside(host.root(), path)).st_ctime > began:
                    found.add(name)
                break  # it masks its namesakes
    return frozenset(found)
