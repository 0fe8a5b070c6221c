"""AWS: what the interfaces of this instance say of its limits now, beside what they said before.

On any other host it costs one look for a directory.
"""

from __future__ import annotations

import os

from ..host import ENA_DEVICES, Host
from ..model import Instant, Missing, Sample
from ..namedtuples import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.cloud import CloudLimit

#: when, and the counters by interface
Counted = tuple[Instant, dict[str, dict[str, int]]]
SYSFS = '/sys'


def read(host: Host, file: str, sample: Sample | Missing, window: float, days: float,
         patience: float) -> CloudLimit | Missing | None:
    """None: there is no such interface. file: of the history, in which this reading is kept, or ''."""
    if not os.path.isdir(f'{SYSFS}/{ENA_DEVICES}') or not host.is_this_kernel():
        return None
    from ..analysis import cloud
    from ..readers import ethtool

    interfaces = ethtool.read_ena(SYSFS)
    if isinstance(interfaces, Missing):
        return interfaces
    now = cloud.allowances(interfaces)
    if now is None:
        # the driver is older than 2.2.10, or its interfaces are in another namespace
        return Missing('the driver ena has no conntrack_allowance_exceeded', 'version 2.2.10 or later, kernel 5.10') \
            if interfaces else None
    if not file or isinstance(sample, Missing):
        return cloud.compare(None, 0.0, now, None)
    from . import allowances

    before = allowances.query_and_record(file, sample.boot_id, sample.at, now, window, days, patience)
    if isinstance(before, Missing):
        return cloud.compare(None, 0.0, now, None)
    return cloud.compare(before.base, before.span, now, before.most)


def read_now(host: Host) -> Counted | None:
    """The counters as they are, for a comparison within a command; None: there are none."""
    if not os.path.isdir(f'{SYSFS}/{ENA_DEVICES}') or not host.is_this_kernel():
        return None
    from ..readers import ethtool

    interfaces = ethtool.read_ena(SYSFS)
    return None if isinstance(interfaces, Missing) or not interfaces else (host.clock(), interfaces)
