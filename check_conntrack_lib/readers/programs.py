"""/proc/PID/comm: which of some programs run here (fs/proc/base.c); readable by all, unless hidepid hides them."""

from __future__ import annotations

import os
from collections.abc import Collection

from ..host import Host


def read(host: Host, names: Collection[str]) -> frozenset[str]:
    """Those of the names (at most 15 characters, as the kernel shows them) that host shows."""
    try:
        pids = [name for name in os.listdir(host.procfs) if name.isdecimal()]
    except OSError:
        return frozenset()
    found = set()
    for pid in pids:
        try:
            found.add(host.read(f'{pid}/comm').strip())
        except (OSError, ValueError):
            continue  # it ended meanwhile
    return frozenset(found & set(names))
