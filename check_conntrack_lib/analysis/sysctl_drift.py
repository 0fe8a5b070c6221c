"""Settings in sysctl.d that are past their expiry note, or differ from the running values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..formatting import clean, clean_name, count, duration
from ..model import Table
from ..namedtuples import NamedTuple
from ..readers.module_files import ModuleSetup
from ..readers.sysctl_files import READ_ONLY, SysctlSetting, number

APPLY = 'sudo sysctl --system'
NETFILTER = 'net/netfilter/'
#: settings as the module starts, timeouts in seconds (net/netfilter/nf_conntrack_*.c); several where kernels differ
DEFAULTS: Mapping[str, tuple[int, ...]] = {
    'tcp_timeout_syn_sent': (120,), 'tcp_timeout_syn_recv': (60,), 'tcp_timeout_established': (432000,),
    'tcp_timeout_fin_wait': (120,), 'tcp_timeout_close_wait': (60,), 'tcp_timeout_last_ack': (30,),
    'tcp_timeout_time_wait': (120,), 'tcp_timeout_close': (10,), 'tcp_timeout_max_retrans': (300,),
    'tcp_timeout_unacknowledged': (300,), 'udp_timeout': (30,), 'udp_timeout_stream': (120, 180),
    'generic_timeout': (600,), 'icmp_timeout': (30,), 'icmpv6_timeout': (30,), 'gre_timeout': (30,),
    'gre_timeout_stream': (180,), 'sctp_timeout_established': (210, 432000),
    # flags
    'acct': (0,), 'checksum': (1,), 'helper': (0, 1), 'log_invalid': (0,), 'timestamp': (0,), 'events': (1, 2),
    'tcp_be_liberal': (0,), 'tcp_loose': (1,), 'tcp_max_retrans': (3,), 'tcp_ignore_invalid_rst': (0,),
}
GIB = 1 << 30
#: buckets as the module starts by the memory, before 5.15 and since (nf_conntrack_core.c, nf_conntrack_init_start)
BUCKETS = ((4 * GIB, (65536, 262144)), (GIB, (16384, 65536)))
#: below 1 GiB: per bucket for this many bytes, rounded up to pages of 512 pointers
BYTES_A_BUCKET, PAGE = 16384 * 8, 512
#: nf_conntrack_max as the module starts, in buckets: 4 before 5.15, 1 since, 8 with hashsize= of any kernel
OLD_RATIO, NEW_RATIO, GIVEN_RATIO = 4, 1, 8
#: buckets are rounded up to whole pages of pointers, of at most 64 KiB
ROUNDED = 8192
#: sizes of the table: less of them is refused connections
SIZES = ('nf_conntrack_max', 'nf_conntrack_buckets')
#: what kube-proxy sets when it starts (pkg/proxy: conntrack.go), and its options for that
KUBE_PROXY_SETS = {
    **dict.fromkeys(SIZES, '--conntrack-max-per-core, --conntrack-min'),
    'nf_conntrack_tcp_timeout_established': '--conntrack-tcp-timeout-established',
    'nf_conntrack_tcp_timeout_close_wait': '--conntrack-tcp-timeout-close-wait',
    'nf_conntrack_tcp_be_liberal': '--conntrack-tcp-be-liberal',
    'nf_conntrack_udp_timeout': '--conntrack-udp-timeout',
    'nf_conntrack_udp_timeout_stream': '--conntrack-udp-timeout-stream',
}


class Evidence(NamedTuple):
    """What shows who changed a value."""

    #: running programs that set conntrack's values when they start, such as 'kube-proxy (pid 812)'
    setters: tuple[str, ...] = ()
    modules: ModuleSetup | None = None
    #: bytes of memory; None: unknown
    memory: int | None = None
    #: files that are younger than this boot, so that they may not have been applied since
    young: Collection[str] = ()


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
    #: why it does not run, as far as there is evidence
    why: str = ''
    #: what to do about it, in a few words
    remedy: str = ''

    def __str__(self) -> str:
        file = clean_name(self.setting.file)
        if self.expired is not None:
            return f'{self.name} = {self.value} in {file} expired {duration(self.expired)} ago'
        return f'{self.name} is {self.running}, but {file} sets {self.value}'

    @property
    def reason(self) -> str:
        """What happened, as a sentence without its full stop."""
        setting = f'{clean_name(self.setting.file)}: {self.name} = {self.value}'
        return f'{setting}{self.why}' if self.expired is None else f'{setting} expired {duration(self.expired)} ago'

    @property
    def command(self) -> str:
        """The command to begin with."""
        return APPLY if APPLY in self.remedy else \
            f'grep -rn {self.name} /etc/sysctl.d /usr/lib/sysctl.d /etc/sysctl.conf'


class UnusableSetting(NamedTuple):
    """A line that sets nothing."""

    setting: SysctlSetting
    #: what runs in its place; None: unknown
    running: int | None
    remedy: str = 'It sets nothing: write net.netfilter.nf_conntrack_NAME = NUMBER'

    def __str__(self) -> str:
        one, name = self.setting, self.setting.key.rpartition('/')[2]
        said = f"has '{one.value}', which {one.fault}" if one.fault.startswith('is no setting') else one.fault
        runs = '' if self.running is None or one.key in READ_ONLY else f': {name} is {self.running}'
        return clean(f'{one.file} {said}{runs}', 240)

    @property
    def reason(self) -> str:
        """What is wrong, as a sentence without its full stop."""
        return str(self)

    @property
    def command(self) -> str:
        """The command to begin with."""
        written = self.setting.path.rpartition('/')[2]
        word = 'conntrack' if 'conntrack' in written or not re.fullmatch(r'\w+', written, re.ASCII) else written
        return f'grep -rn {word} /etc/sysctl.d /usr/lib/sysctl.d /etc/sysctl.conf'


def drifts(effective: Mapping[str, tuple[SysctlSetting, ...]], running: Mapping[str, int], table: Table, now: float,
           evidence: Evidence | None = None) -> tuple[Drift, ...]:
    """What is expired, or not running, among the settings that win.

    effective: as `sysctl_files.effective` gives them; running: values by key; now: seconds since 1970.
    """
    found = []
    for key, winners in effective.items():
        name = key[len(NETFILTER):]
        values = [(setting, number(setting.value or '')) for setting in winners]
        if key not in running or None in (value for _setting, value in values):
            continue
        applied = [(setting, value) for setting, value in values
                   if value is not None and _same(name, value, running[key])]
        setting, value = (applied or values)[-1]
        late = None if setting.expires is None else now - setting.expires
        if value is not None and late is not None and late > 0:
            found.append(Drift(name, setting, value, running[key], late,
                               remedy='Remove the line and restore the old value, or extend "# expires:"'))
        elif value is not None and not applied:
            reason, remedy = _explained(setting, value, running[key], table, evidence or Evidence())
            found.append(Drift(name, setting, value, running[key], None, reason, remedy))
    return tuple(sorted(found, key=lambda drift: drift.name not in SIZES))


def unusable(settings: Sequence[SysctlSetting], running: Mapping[str, int]) -> tuple[UnusableSetting, ...]:
    """Lines that set nothing, unless the value that they mean runs all the same."""
    # by their text: a setting may stand there by two old names
    found: dict[str, UnusableSetting] = {}
    for one in settings:
        meant = number((one.value or '').rpartition('=')[2].strip().strip('\'"'))
        now = running.get(one.key)
        if now is None or meant != now:
            line = UnusableSetting(one, now)
            found.setdefault(str(line), line)
    return tuple(found.values())


def lines(found: Sequence[Drift | UnusableSetting]) -> Iterator[str]:
    """Each setting, and behind the last of those with one remedy that remedy, once."""
    groups: dict[str, list[Drift | UnusableSetting]] = {}
    for one in found:
        groups.setdefault(one.remedy, []).append(one)
    for remedy, group in groups.items():
        yield from (one.reason for one in group[:-1])
        several = f'For these {count(len(group), "setting")}: ' if len(group) > 1 else ''
        yield f'{group[-1].reason}. {several}{remedy}'


def _explained(setting: SysctlSetting, value: int, running: int, table: Table, evidence: Evidence) -> tuple[str, str]:
    """Why a value does not run, and what to do."""
    name = setting.key[len(NETFILTER):]
    options = KUBE_PROXY_SETS.get(name, '')
    setters = ' and '.join(evidence.setters) if options else ''
    modules = evidence.modules or ModuleSetup()
    overrides = f'; kube-proxy overrides it ({options})' if options else ''
    if setters:
        reason = f', but the running value {running} was set later: {setters} sets it'
        remedy = f'Set what is wanted there ({options}), or remove the line'
    elif not _is_default(name, running, table, evidence):
        known = modules.loaded_by or name in SIZES or name.removeprefix('nf_conntrack_') in DEFAULTS
        reason = f', but the running value {running} was set later' \
            + ('' if known else ', or this one was applied before the module was loaded')
        remedy = (f'Now: {APPLY}' if setting.file in evidence.young else 'Store the intended value') + overrides
    elif not modules.loaded_by:
        reason = ' was applied before the module was loaded'
        remedy = (f'Now: {APPLY}; at boot: echo nf_conntrack to a file in /etc/modules-load.d (it is loaded before '
                  'sysctl.d is applied)')
    else:
        reason = f' is lost: the module was loaded again since ({modules.loaded_by} loads it at boot)'
        remedy = f'Now: {APPLY}' + ('; firewalld unloads the module when it stops: CleanupModulesOnExit=no'
                                    if modules.unloaded_by_firewalld else '')
    if setting.file in evidence.young and not setters:
        reason += ', or the file was not applied since it was written (after this boot)'
    if name == 'nf_conntrack_max' and value <= 0:
        return reason, f'Newer kernels refuse {value}, older ones take it as no limit: write the number that is wanted'
    if name in SIZES and value < running:
        return reason, (f'Applying it would make the table smaller ({running} -> {value}): decide first which is '
                        f'wanted{overrides}')
    return reason, remedy


def _same(name: str, configured: int, running: int) -> bool:
    if name == 'nf_conntrack_buckets':
        return configured <= running < configured + ROUNDED
    return configured == running


def _is_default(name: str, running: int, table: Table, evidence: Evidence) -> bool:
    """Is it what the kernel starts with on this machine?"""
    buckets = table.buckets if isinstance(table.buckets, int) else 0
    given = evidence.modules.hashsize if evidence.modules else None
    if name == 'nf_conntrack_max':
        if given and _same('nf_conntrack_buckets', given, buckets):
            return running == GIVEN_RATIO * buckets
        return any(buckets == number and running == ratio * buckets
                   for number, ratio in _default_sizes(buckets, evidence.memory))
    if name == 'nf_conntrack_buckets':
        return running in {number for number, _ratio in _default_sizes(running, evidence.memory)}
    return running in DEFAULTS.get(name.removeprefix('nf_conntrack_'), ())


def _default_sizes(buckets: int, memory: int | None) -> Iterator[tuple[int, int]]:
    """Buckets and ratio as kernels start with so much memory; of an unknown one every pair that there is."""
    for least, (old, new) in BUCKETS:
        # MemTotal is a little less than the memory that the module saw, and may have been added since
        if memory is None or memory > least * 0.9:
            yield old, OLD_RATIO
            yield new, NEW_RATIO
            if memory is not None and memory > least * 1.1:
                return
    small = GIB // BYTES_A_BUCKET if memory is None else memory // BYTES_A_BUCKET + 2 * PAGE
    if buckets <= small and buckets % PAGE == 0:
        yield buckets, OLD_RATIO
        yield buckets, NEW_RATIO
