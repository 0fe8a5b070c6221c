"""/proc/slabinfo: how much memory one entry takes, and how many there are in all namespaces (mm/slab_common.c).

For the number alone the kernel also has the files of one cache (/sys/kernel/slab, mm/slub.c): /proc/slabinfo looks at
all two hundred, 2 ms of start-up. Both have mode 0400, for root.
"""

from __future__ import annotations

import os

from ..formatting import is_number
from ..host import GONE, Host
from ..model import Missing

FILE = 'slabinfo'
#: struct nf_conn; RHEL 7 and 3.10 have one a namespace, with an address behind the name
CACHE = 'nf_conntrack'
SYSFS = f'/sys/kernel/slab/{CACHE}'
#: for `objects` the kernel goes through all slabs that are partly used, interrupts held off; for slabinfo, since 6.10,
#: through so many at the most
MOST_PARTIAL = 10_000


def parse(text: str, page: int) -> float:
    """Bytes of memory that one struct nf_conn takes, with what is lost between objects. Raises ValueError."""
    for line in text.splitlines():
        words = line.split()
        # name, active_objs, num_objs, objsize, objperslab, pagesperslab
        if len(words) > 5 and _is_cache(words[0]) and is_number(words[4], 9) and is_number(words[5], 9) \
                and words[4][0] != '0':
            return int(words[5]) * page / int(words[4])
    raise ValueError(f'no line {CACHE}: the kernel has merged it with another cache')


def _is_cache(name: str) -> bool:
    address = name.removeprefix(CACHE + '_')
    return name == CACHE or (address not in (name, '') and not address.strip('0123456789abcdef'))


def parse_entries(text: str) -> int:
    """Objects of struct nf_conn in use, of all network namespaces: entries, and a few free ones that the kernel counts
    among them for each CPU. Raises ValueError."""
    # a few of two hundred lines
    lines = [line.split() for line in text.splitlines() if line.startswith(CACHE)]
    found = [int(words[1]) for words in lines if _is_cache(words[0]) and len(words) > 2 and is_number(words[1], 12)]
    if not found:
        raise ValueError(f'no line {CACHE}')
    return sum(found)


def read_entries(host: Host) -> int | Missing:
    """Entries of all network namespaces together, about."""
    try:
        # another /proc may be another machine's
        found = _objects(Host(SYSFS)) if host.procfs == '/proc' else None
        return parse_entries(host.read(FILE)) if found is None else found
    except (OSError, ValueError) as error:
        return Missing.because(error, host.path(FILE), 'only root reads it')


def _objects(cache: Host) -> int | None:
    """Objects in use by the files of one cache, `total N0=on the first node ...`; None where slabinfo must tell it."""
    try:
        if _total(cache.read('partial')) > MOST_PARTIAL:
            return None
        return _total(cache.read('objects'))
    except GONE:
        return None  # SLAB instead of SLUB, or no /sys


def _total(text: str) -> int:
    number = text.partition(' ')[0].strip()
    if not is_number(number, 12):
        raise ValueError(f'no number of objects: {number[:20]}')
    return int(number)


def read(host: Host) -> float | Missing:
    """Bytes an entry, without its extensions."""
    try:
        return parse(host.read(FILE), os.sysconf('SC_PAGESIZE'))
    except (OSError, ValueError) as error:
        return Missing.because(error, host.path(FILE), 'only root reads it')
