"""The parsers as targets of fuzz.py: true texts of tests/samples, and what must hold of every answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.mutation import BYTES, WORDS, mutated
from benchmarks.output import harmless
from check_conntrack_lib.analysis.losses import comparable, losses
from check_conntrack_lib.analysis.profile import Profile
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.analysis.profile_diff import growth
from check_conntrack_lib.analysis.sysctl_drift import drifts
from check_conntrack_lib.formatting import clean, clean_name
from check_conntrack_lib.history.codec import counters_from_text
from check_conntrack_lib.history.profile_json import from_json, to_json
from check_conntrack_lib.model import Counters, Instant, Sample, Table
from check_conntrack_lib.netns import cgroup as cgroup_reader
from check_conntrack_lib.netns import discover, read_other
from check_conntrack_lib.readers import (
    cpu_counters,
    cpu_times,
    kernel_lines,
    meminfo,
    proc_conntrack,
    processes,
    slabinfo,
    sysctl_files,
    sysctl_values,
)
from check_conntrack_lib.readers import journal as journal_lines

TESTS = Path(__file__).parent.parent / 'tests'
SAMPLES = TESTS / 'samples'


class Target(NamedTuple):
    """Something that takes foreign input."""

    make: Callable[[Random], Any]
    #: raises AssertionError when the answer is not what it must be
    attempt: Callable[[Any], object]
    #: what it may raise instead
    allowed: tuple[type[Exception], ...] = (ValueError,)
    slow: bool = False
    #: inputs that are made and tried together
    parts: int = 1


def lines(pattern: str) -> list[str]:
    """All lines of the samples of that name, each once."""
    files = sorted(SAMPLES.glob(pattern))
    return list(dict.fromkeys(line for file in files for line in file.read_text(errors='replace').splitlines()))


def texts(pattern: str) -> list[str]:
    return [file.read_text() for file in sorted(TESTS.glob(pattern))]


def of(corpus: list[str]) -> Callable[[Random], str]:
    """Mutations of these texts."""
    assert corpus
    return lambda random: mutated(random, corpus, WORDS)


def of_bytes(corpus: list[bytes]) -> Callable[[Random], bytes]:
    assert corpus
    return lambda random: mutated(random, corpus, BYTES)


def stat(text: str) -> None:
    for name, values in cpu_counters.parse(text).per_cpu.items():
        assert all(0 <= value < 1 << 32 for value in values), name
    assert read_other.parse(text).entries < 1 << 32


def stat_of_another(text: str) -> None:
    """The same file of another namespace: what stands in it is the count."""
    read_other.parse.__wrapped__(text)


def kmsg(text: str) -> None:
    record = text.encode('utf-8', 'surrogateescape' if '\ud800' not in text else 'replace')
    line = kernel_lines.parse_record(record)
    if line:
        log = kernel_lines.summarize([line], 'test')
        assert len(log.table_full) + len(log.suppressed) <= 1
        assert all(0 <= full.stamp < 1e15 for full in log.table_full)


def journal(text: str) -> None:
    line = journal_lines.parse_journal_line(text, -1.7e9)
    if line:
        kernel_lines.summarize([line], 'test')


def check_profile(profile: Profile) -> None:
    """The profile in words, and recorded, and back."""
    for keys in (profile.sources, profile.destinations, profile.services, profile.targets):
        for key, _count in keys:
            harmless(str(key))
    for _protocol, state in profile.states:
        harmless(state)
    assert from_json(to_json(profile)).seen == profile.seen


def flow_line(text: str) -> None:
    check_profile(summarize([proc_conntrack.parse_line(text)], 5))


#: what the recorder's rows are compared with
NOW = Sample(Instant(1e9, 5000.0, 5000.0), 'b', 1, 5, 100, 64,
             Counters({'drop': (5, 0), 'invalid': (0, 0)}))
PROFILE = summarize(proc_conntrack.parse(texts('hosts/why-one-client/proc/net/nf_conntrack')[0].splitlines()), 249000)


def recorder_counters(text: str) -> None:
    """A row's counters, and what the losses are counted from."""
    counters = counters_from_text(text)
    base = NOW._replace(at=Instant(1e9 - 300, 4700.0, 4700.0), counters=counters)
    if comparable(base, NOW):
        lost = losses(base, NOW)
        assert lost is not None
        assert lost.rate(lost.lost) >= 0


def recorder_profile(text: str) -> None:
    """A row's profile, as the baseline that the growth is counted from."""
    usual = from_json(text)
    for one in growth(PROFILE, [usual]):
        harmless(f'{one.key} {one.before:.0f} {one.entries:+d} {one.source}')
    check_profile(usual)


def cgroup(text: str) -> None:
    found = cgroup_reader.parse(text)
    harmless(clean_name(found.container or found.unit))
    for word in processes.parse_cmdline(text):
        harmless(word)


def sysctl_d(text: str) -> None:
    effective = sysctl_files.effective(sysctl_files.parse(text, '99-conntrack.conf'))
    for drift in drifts(effective, dict.fromkeys(effective, 5), Table(1, 5, 4), 1.79e9):
        harmless(f'{drift}; {drift.remedy}')


def small(text: str) -> None:
    """The files of one number, and those of which one number is wanted."""
    for parse in (sysctl_values.parse, meminfo.parse, cpu_times.parse, discover.parse_link,
                  lambda words: slabinfo.parse(words, 4096), lambda words: harmless(clean(words))):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert not isinstance(value, int) or -1 << 63 <= value < 1 << 63, f'{value} fits no row of the recorder'


STAT = [*texts('samples/*/*stat*.txt'), *texts('hosts/quiet-gateway/proc/net/stat/nf_conntrack')]
COUNTERS = ['[' * 3000, '{"cpus":2,"zero":"efcrms","drop":[7,0],"invalid":[4294967295,0]}', '{"cpus":2,"zero":"di"}',
            '{"cpus":8,"zero":"","drop":[1,2,3,4,5,6,7,8]}', '{"cpus":2,"drop":[],"invalid":[]}', 'null']
CGROUPS = [*texts('hosts/*/proc/*/cgroup'), '0::/lxc.payload.web-1/init.scope\n', '0::/lxc.monitor.web-1\n',
           '0::/machine.slice/systemd-nspawn@deb\\x2d12.service/payload\n',
           'kube-proxy\0--conntrack-max-per-core=0\0--conntrack-tcp-timeout-close-wait\0' '1h\0']
SYSCTLS = ['# expires: 2026-11-22 15:30\nnet.netfilter.nf_conntrack_max = 524288\n\n-net.nf_conntrack_max=5\n',
           'net/netfilter/nf_conntrack_tcp_timeout_time_wait=30\n; expires: 2026-1-2\n'
           '-net.netfilter.nf_conntrack_buckets\n']
SMALL = ['32512\n', '-1\n', 'net:[4026531840]', 'MemTotal: 1 kB\nMemAvailable:    123456 kB\n',
         'cpu  1 2 3 4 5 6 7 8 9\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n',
         '# name <active_objs>\nnf_conntrack_ffff88 100 120 320 25 2 : tunables 0 0 0 : slabdata 5 5 0\n']
KMSG = [line.split(' | ')[0] for line in lines('*/*kmsg*.txt')]
FORMS = [line.split(' | ')[0].strip() for line in lines('kmsg-forms.txt') if not line.startswith('#')]
JOURNAL = [f'1795000000.{k:06} gateway kernel: {form}' for k, form in enumerate(FORMS)]

TARGETS = {
    'stat': Target(of(STAT), stat),
    'stat-other': Target(of(STAT), stat_of_another),
    'kmsg': Target(of([*KMSG, *(f'4,{k},2888433806,-;{form}' for k, form in enumerate(FORMS))]), kmsg),
    'journal': Target(of(JOURNAL), journal),
    'proc-lines': Target(of([*lines('*/*-proc.txt'), *texts('hosts/why-one-client/baseline')[0].splitlines()[:50]]),
                         flow_line),
    'counters': Target(of(COUNTERS), recorder_counters,
                       (ValueError, TypeError, KeyError, AttributeError, OverflowError)),
    'profile': Target(of([to_json(PROFILE), '[' * 3000, json.dumps({'entries': 1}), '[]']), recorder_profile),
    'cgroup': Target(of(CGROUPS), cgroup),
    'sysctl.d': Target(of(SYSCTLS), sysctl_d),
    'small': Target(of(SMALL), small),
}
