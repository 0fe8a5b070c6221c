"""Settings in sysctl.d that are past their expiry note, or differ from the running values."""

from __future__ import annotations

from collections.abc import Mapping

from ..formatting import clean, duration
from ..model import Table
from ..namedtuples import NamedTuple
from ..readers.sysctl_files import SysctlSetting

NETFILTER = 'net/netfilter/'
#: timeouts as the module starts, in seconds (net/netfilter/nf_conntrack_proto_*.c); several where kernels differ
DEFAULTS: Mapping[str, tuple[int, ...]] = {
    'tcp_timeout_syn_sent': (120,), 'tcp_timeout_syn_recv': (60,), 'tcp_timeout_established': (432000,),
    'tcp_timeout_fin_wait': (120,), 'tcp_timeout_close_wait': (60,), 'tcp_timeout_last_ack': (30,),
    'tcp_timeout_time_wait': (120,), 'tcp_timeout_close': (10,), 'tcp_timeout_max_retrans': (300,),
    'tcp_timeout_unacknowledged': (300,), 'udp_timeout': (30,), 'udp_timeout_stream': (120, 180),
    'generic_timeout': (600,), 'icmp_timeout': (30,), 'icmpv6_timeout': (30,), 'gre_timeout': (30,),
    'gre_timeout_stream': (180,), 'sctp_timeout_established': (210, 432000),
}
#: nf_conntrack_max as the module starts, in buckets: since 5.15, before, and with hashsize= (nf_conntrack_core.c)
DEFAULT_RATIOS = (1, 4, 8)
#: buckets are rounded up to whole pages of pointers, of at most 64 KiB
ROUNDED = 8192


class Drift(NamedTuple):
    """One configured value that should be changed."""

    #: the sysctl's name without its path: 'nf_conntrack_max'
    name: str
    setting: SysctlSetting
    #: configured and running value
    value: int
    running: int
    #: seconds since the note's date; None: not expired, but not running
    expired: float | None = None
    #: the running value is what the kernel starts with: the configured one was applied before the module was there
    never_applied: bool = False

    def __str__(self) -> str:
        file = clean(self.setting.file, 60)
        if self.expired is not None:
            return f'{self.name} = {self.value} in {file} expired {duration(self.expired)} ago'
        return f'{self.name} is {self.running}, but {file} sets {self.value}'

    @property
    def reason(self) -> str:
        """What happened, as a sentence without its full stop."""
        setting = f'{clean(self.setting.file, 60)}: {self.name} = {self.value}'
        if self.expired is not None:
            return f'{setting} expired {duration(self.expired)} ago'
        if self.never_applied:
            return f'{setting} was applied before the module was loaded'
        return f'{setting}, but the running value {self.running} was set later'

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.expired is not None:
            return 'Remove the line and restore the old value, or extend "# expires:"'
        if self.never_applied:
            return ('Now: sudo sysctl --system; at boot: echo nf_conntrack '
                    'to a file in /etc/modules-load.d (it is loaded before sysctl.d is applied)')
        return ('Store the intended value; '
                'kube-proxy overrides it (--conntrack-max-per-core, --conntrack-min)')

    @property
    def command(self) -> str:
        """The command to begin with."""
        return 'sudo sysctl --system' if self.never_applied and self.expired is None else \
            f'grep -rn {self.name} /etc/sysctl.d /usr/lib/sysctl.d /etc/sysctl.conf'


def drifts(effective: Mapping[str, tuple[SysctlSetting, ...]], running: Mapping[str, int], table: Table,
           now: float) -> tuple[Drift, ...]:
    """What is expired, or not running, among the settings that win.

    effective: as `sysctld.effective` gives them; running: values by key; now: seconds since 1970.
    """
    found = []
    for key, winners in effective.items():
        name = key[len(NETFILTER):]
        values = [(setting, _whole(setting.value)) for setting in winners]
        if key not in running or None in (value for _setting, value in values):
            continue
        applied = [(setting, value) for setting, value in values
                   if value is not None and _same(name, value, running[key])]
        setting, value = (applied or values)[-1]
        late = None if setting.expires is None else now - setting.expires
        if value is not None and late is not None and late > 0:
            found.append(Drift(name, setting, value, running[key], expired=late))
        elif value is not None and not applied:
            found.append(Drift(name, setting, value, running[key],
                               never_applied=_is_default(name, running[key], table)))
    return tuple(found)


def _whole(text: str | None) -> int | None:
    digits = (text or '').removeprefix('-')
    return int(text or '') if digits.isascii() and digits.isdecimal() and len(digits) <= 20 else None


def _same(name: str, configured: int, running: int) -> bool:
    if name == 'nf_conntrack_buckets':
        return configured <= running < configured + ROUNDED
    return configured == running


def _is_default(name: str, running: int, table: Table) -> bool:
    if name == 'nf_conntrack_max':
        return isinstance(table.buckets, int) and running in (ratio * table.buckets for ratio in DEFAULT_RATIOS)
    # buckets start with a number that depends on the memory: nobody else sets them by hand after the boot
    return name == 'nf_conntrack_buckets' or running in DEFAULTS.get(name.removeprefix('nf_conntrack_'), ())
