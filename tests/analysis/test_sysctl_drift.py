"""The check reads the settings back: sysctl.d in its real precedence, expired notes, values that are not running."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from check_conntrack_lib.analysis import sysctl_drift
from check_conntrack_lib.analysis.sysctl_drift import drifts
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant, Missing, Table
from check_conntrack_lib.plugin.cli import main
from check_conntrack_lib.readers import sysctl_files
from check_conntrack_lib.readers.module_files import ModuleSetup
from check_conntrack_lib.readers.sysctl_files import SysctlSetting, effective, parse

SAMPLES = Path(__file__).parents[1] / 'samples'
MAX = 'net/netfilter/nf_conntrack_max'
TABLE = Table(1000, 262144, 262144)
NOW = time.mktime((2026, 11, 20, 12, 0, 0, 0, 0, -1))
DAY = 86400


class TestParse:
    @pytest.mark.parametrize('line', [
        'net.netfilter.nf_conntrack_max = 524288', 'net/netfilter/nf_conntrack_max=524288',
        '  net.nf_conntrack_max\t=\t524288  ', '-net.netfilter.nf_conntrack_max = 524288'])
    def test_every_way_to_write_it(self, line):
        alias = 'net/nf_conntrack_max' if 'net.nf_' in line else ''
        assert parse(line, 'a.conf') == (SysctlSetting(MAX, '524288', 'a.conf', written=alias,
                                                       forgiven=line[0] == '-'),)

    def test_what_is_no_setting(self):
        assert parse('# a.b = 1\n; a.b = 1\n\nnonsense\n \t \n', 'a.conf') == ()

    def test_a_dot_in_an_interface_name(self):
        assert sysctl_files.normal('net.ipv4.conf.eth0/1.forwarding') == 'net/ipv4/conf/eth0.1/forwarding'
        assert sysctl_files.normal('net/ipv4/conf/eth0.1/forwarding') == 'net/ipv4/conf/eth0.1/forwarding'

    def test_an_exclusion_sets_nothing(self):
        assert parse('-net.netfilter.nf_conntrack_max', 'a.conf') == (SysctlSetting(MAX, None, 'a.conf'),)
        assert effective(parse('-net.netfilter.nf_conntrack_max', 'a.conf')) == {}

    @pytest.mark.parametrize(('note', 'when'), [
        ('# expires: 2026-11-17 15:30', (2026, 11, 17, 15, 30)),
        ('#expires: 2026-11-17T15:30', (2026, 11, 17, 15, 30)),
        ('; Expires: 2026-11-17', (2026, 11, 17, 23, 59)),
        ('# expires: soon', None),
        ('# expires: 2026-11-17 15:30 or so', None),
        ('# expires: 9999999-1-1', None),
    ])
    def test_note(self, note, when):
        setting, = parse(f'{note}\n# more\nnet.netfilter.nf_conntrack_max = 1\n', 'a.conf')
        assert setting.expires == (time.mktime((*when, 0, 0, 0, -1)) if when else None)

    def test_a_note_ends_with_its_paragraph(self):
        text = '# expires: 2026-11-17\na.b = 1\na.c = 2\n\na.d = 3\n'
        assert [setting.expires is not None for setting in parse(text, 'a.conf')] == [True, True, False]


class TestEffective:
    def test_the_later_line_wins(self):
        first, second = parse('net.nf_conntrack_max = 1\nnet.netfilter.nf_conntrack_max = 2\n', 'a.conf')
        assert effective((first, second)) == {MAX: (second,)}

    def test_only_conntrack_and_no_patterns(self):
        assert effective(parse('vm.swappiness=1\nnet.netfilter.nf_conntrack_*=1\nnet.netfilter.nf_conntrack_a/../b=1\n',
                               'a.conf')) == {}

    def test_sysctl_conf_is_one_word_of_two(self):
        folder = parse('net.nf_conntrack_max = 1', 'a.conf')
        last = parse('net.nf_conntrack_max = 2', 'sysctl.conf', last=True)
        assert effective(folder + last) == {MAX: folder + last}


@pytest.fixture
def machine(tmp_path):
    """A host whose root directory is tmp_path/proc/1/root."""
    proc = tmp_path / 'proc'
    for name, text in {'nf_conntrack_count': '1000', 'nf_conntrack_max': '262144', 'nf_conntrack_buckets': '262144',
                       'nf_conntrack_tcp_timeout_established': '432000'}.items():
        write(proc / 'sys/net/netfilter' / name, text + '\n')
    write(proc / 'sys/net/nf_conntrack_max', '262144\n')
    (proc / '1/root').mkdir(parents=True)
    return proc


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read(proc: Path):
    return [(setting.file, setting.value) for setting in sysctl_files.read(Host(str(proc)))]


class TestRead:
    def test_order_and_masks(self, machine):
        root = machine / '1/root'
        line = 'net.netfilter.nf_conntrack_max = {}\n'
        write(root / 'lib/sysctl.d/10-a.conf', line.format(1))
        write(root / 'usr/lib/sysctl.d/50-b.conf', line.format(2))
        write(root / 'etc/sysctl.d/50-b.conf', line.format(3))
        write(root / 'run/sysctl.d/40-c.conf', line.format(4))
        write(root / 'etc/sysctl.d/README', line.format(5))
        write(root / 'etc/sysctl.d/empty.conf', '')
        write(root / 'usr/lib/sysctl.d/empty.conf', line.format(6))
        write(root / 'usr/lib/sysctl.d/60-null.conf', line.format(7))
        (root / 'etc/sysctl.d/60-null.conf').symlink_to('/dev/null')
        (root / 'etc/sysctl.d/70-broken.conf').symlink_to('nowhere')
        (root / 'etc/sysctl.d/80-folder.conf').mkdir()
        os.mkfifo(root / 'etc/sysctl.d/90-fifo.conf')
        write(root / 'etc/sysctl.conf', line.format(9))
        assert read(machine) == [('10-a.conf', '1'), ('40-c.conf', '4'), ('50-b.conf', '3'), ('sysctl.conf', '9')]

    def test_nothing_there(self, machine):
        assert read(machine) == []

    def test_another_proc_never_shows_this_machines_etc(self, machine):
        assert Host('/proc').root() == '/'
        assert Host(str(machine)).root() == str(machine / '1/root')

    def test_what_is_kept_from_the_check(self, machine, monkeypatch):
        write(machine / '1/root/etc/sysctl.d/a.conf', '')

        def refuse(*_):
            raise PermissionError(13, 'Permission denied')
        monkeypatch.setattr(os, 'listdir', refuse)
        assert sysctl_files.read(Host(str(machine))) == Missing('sysctl.d: Permission denied', chosen=True)

    def test_a_flood_of_files(self, machine):
        for number in range(sysctl_files.MOST_FILES + 1):
            write(machine / f'1/root/etc/sysctl.d/{number}.conf', '')
        assert sysctl_files.read(Host(str(machine))) == Missing('sysctl.d: more than 500 files in sysctl.d')

    def test_each_file_is_opened_once_and_parsed_only_for_conntrack(self, machine, monkeypatch):
        for number in range(100):
            write(machine / f'1/root/etc/sysctl.d/{number}.conf', f'net.core.somaxconn = {number}\n' * 1000)
        write(machine / '1/root/etc/sysctl.d/conntrack.conf', 'net.nf_conntrack_max = 524288\n')
        opened, parsed = [], []
        true_open, true_parse = os.open, sysctl_files.parse
        monkeypatch.setattr(os, 'open', lambda path, *rest: opened.append(path) or true_open(path, *rest))
        monkeypatch.setattr(sysctl_files, 'parse', lambda text, name, *rest: parsed.append(name)
                            or true_parse(text, name, *rest))
        assert [setting.value for setting in sysctl_files.read(Host(str(machine)))] == ['524288']
        assert len(opened) <= len(set(opened)) <= 102
        assert parsed == ['conntrack.conf']


class TestDrifts:
    def found(self, text, running, table=TABLE, last=''):
        settings = parse(text, '99-conntrack.conf') + parse(last, 'sysctl.conf', last=True)
        return [text for drift in drifts(effective(settings), running, table, NOW)
                for text in dict.fromkeys((str(drift), *(() if drift.expired else (drift.reason,))))]

    def test_what_runs_is_silent(self):
        assert self.found('net.nf_conntrack_max = 262144', {MAX: 262144}) == []
        assert self.found('# expires: 2026-11-22 12:00\nnet.nf_conntrack_max = 524288', {MAX: 524288}) == []

    def test_expired(self):
        assert self.found('# expires: 2026-11-17 12:00\nnet.nf_conntrack_max = 524288', {MAX: 524288}) == [
            'nf_conntrack_max = 524288 in 99-conntrack.conf expired 3 days ago']

    def test_never_applied(self):
        assert self.found('net.nf_conntrack_max = 524288', {MAX: 262144}) == [
            'nf_conntrack_max is 262144, but 99-conntrack.conf sets 524288',
            '99-conntrack.conf: nf_conntrack_max = 524288 was applied before the module was loaded']

    def test_changed_since(self):
        assert self.found('net.nf_conntrack_max = 524288', {MAX: 131072}) == [
            'nf_conntrack_max is 131072, but 99-conntrack.conf sets 524288',
            '99-conntrack.conf: nf_conntrack_max = 524288, but the running value 131072 was set later']

    def test_expired_and_not_running_is_said_once(self):
        assert self.found('# expires: 2026-11-20 11:00\nnet.nf_conntrack_max = 524288', {MAX: 262144}) == [
            'nf_conntrack_max = 524288 in 99-conntrack.conf expired 60 min ago']

    @pytest.mark.parametrize(('running', 'reason'), [
        (432000, ' was applied before the module was loaded'), (86400, ', but the running value 86400 was set later')])
    def test_timeouts(self, running, reason):
        key = 'net/netfilter/nf_conntrack_tcp_timeout_established'
        assert self.found('net.netfilter.nf_conntrack_tcp_timeout_established = 7440', {key: running}) == [
            f'nf_conntrack_tcp_timeout_established is {running}, but 99-conntrack.conf sets 7440',
            f'99-conntrack.conf: nf_conntrack_tcp_timeout_established = 7440{reason}']

    @pytest.mark.parametrize(('name', 'configured', 'running', 'reason'), [
        ('tcp_be_liberal', 1, 0, ' was applied before the module was loaded'),
        ('tcp_loose', 0, 1, ' was applied before the module was loaded'),
        ('acct', 1, 0, ' was applied before the module was loaded'),
        ('checksum', 0, 1, ' was applied before the module was loaded'),
        ('tcp_be_liberal', 0, 1, ', but the running value 1 was set later'),
    ])
    def test_flags_have_defaults_too(self, name, configured, running, reason):
        said = self.found(f'net.netfilter.nf_conntrack_{name} = {configured}',
                          {f'net/netfilter/nf_conntrack_{name}': running})
        assert said[-1] == f'99-conntrack.conf: nf_conntrack_{name} = {configured}{reason}'

    def test_buckets_are_rounded_up_by_the_kernel(self):
        key = 'net/netfilter/nf_conntrack_buckets'
        assert self.found('net.netfilter.nf_conntrack_buckets = 262000', {key: 262144}) == []
        assert len(self.found('net.netfilter.nf_conntrack_buckets = 524288', {key: 262144})) == 2

    def test_either_word_of_sysctl_conf_may_run(self):
        for value in (1000, 2000):
            assert self.found('net.nf_conntrack_max = 1000', {MAX: value}, last='net.nf_conntrack_max = 2000') == []
        assert self.found('net.nf_conntrack_max = 1000', {MAX: 3000}, last='net.nf_conntrack_max = 2000') == [
            'nf_conntrack_max is 3000, but sysctl.conf sets 2000',
            'sysctl.conf: nf_conntrack_max = 2000, but the running value 3000 was set later']

    @pytest.mark.parametrize(('value', 'number'), [
        ('524288 # comment', 524288), ('524288   ; two words', 524288), ('0x80000', 524288), ('0X80000', 524288),
        ('02000000', 524288), ('524288 = 8', 524288), ('-1', -1), ('0', 0)])
    def test_the_kernel_takes_the_number_before_the_first_blank(self, value, number):
        assert self.found(f'net.nf_conntrack_max = {value}', {MAX: 262144}) == [
            f'nf_conntrack_max is 262144, but 99-conntrack.conf sets {number}',
            f'99-conntrack.conf: nf_conntrack_max = {number} was applied before the module was loaded']

    @pytest.mark.parametrize('value', [
        '', 'many', '524288#c', '524288;', '"524288"', '٣', '9' * 30, '+1', '089', '1e6'])
    def test_no_number(self, value):
        assert self.found(f'net.nf_conntrack_max = {value}', {MAX: 262144}) == []

    def test_a_value_that_this_kernel_lacks(self):
        assert self.found('net.netfilter.nf_conntrack_helper = 1', {}) == []


GIB = 1024 ** 3
SMALL, MIDDLE, LARGE = ([(8192, 4), (8192, 1)], [(16384, 4), (65536, 1)], [(65536, 4), (262144, 1)])


@pytest.mark.parametrize(('memory', 'buckets', 'sizes'), [
    (None, 8192, LARGE + MIDDLE + SMALL), (None, 8191, LARGE + MIDDLE), (None, 8192 + 512, LARGE + MIDDLE),
    (64 * GIB, 8192, LARGE), (4.41 * GIB, 8192, LARGE), (4.39 * GIB, 8192, LARGE + MIDDLE),
    (3.61 * GIB, 8192, LARGE + MIDDLE), (3.59 * GIB, 8192, MIDDLE), (1.11 * GIB, 8192, MIDDLE),
    (1.09 * GIB, 8192, MIDDLE + SMALL), (0.91 * GIB, 8192, MIDDLE + SMALL), (0.89 * GIB, 8192, SMALL),
    # a bucket for 16 KiB of memory, 8 bytes each: what the module saw is up to two pages more than MemTotal shows
    (7168 * 131072, 8192, SMALL), (7168 * 131072 - 1, 8192, []), (7168 * 131072, 7680, [(7680, 4), (7680, 1)]),
    (7168 * 131072, 7681, [])])
def test_the_sizes_that_modules_start_with(memory, buckets, sizes):
    assert list(sysctl_drift._default_sizes(buckets, memory and int(memory))) == sizes


@pytest.mark.parametrize(('running', 'same'), [(99, False), (100, True), (8291, True), (8292, False)])
def test_buckets_are_rounded_up_to_pages(running, same):
    assert sysctl_drift._same('nf_conntrack_buckets', 100, running) is same
    assert sysctl_drift._same('nf_conntrack_max', 100, running) is (running == 100)


@pytest.mark.parametrize(('hashsize', 'buckets', 'running', 'default'), [
    (16384, 16384, 131072, True), (16384, 16384, 16384, False), (16384, 8192, 65536, False), (None, 16384, 65536, True),
    (0, 16384, 65536, True), (None, 16384, 131072, False), (None, Missing('x'), 65536, False)])
def test_a_number_of_entries_as_the_module_starts(hashsize, buckets, running, default):
    evidence = sysctl_drift.Evidence(modules=ModuleSetup(hashsize=hashsize))
    assert sysctl_drift._is_default('nf_conntrack_max', running, Table(1, running, buckets), evidence) is default


class TestCheck:
    def check(self, machine, capfd, *more):
        status = main(['--procfs', str(machine), '--kernel-log', 'off', '--history', 'off', *more],
                      lambda: Instant(NOW, 1000, 1000))
        return status, capfd.readouterr().out

    def configure(self, machine, text):
        write(machine / '1/root/etc/sysctl.d/99-conntrack.conf', text)

    def test_silent_where_nothing_is_configured(self, machine, capfd):
        status, text = self.check(machine, capfd)
        assert (status, 'settings' in text) == (0, False)

    def test_expired(self, machine, capfd):
        self.configure(machine, '# expires: 2026-11-17\nnet.netfilter.nf_conntrack_max = 262144\n'
                                'net.netfilter.nf_conntrack_tcp_timeout_established = 7440\n')
        status, text = self.check(machine, capfd)
        assert status == 1
        assert text.startswith('CONNTRACK WARNING - nf_conntrack_max = 262144 in 99-conntrack.conf expired 3 days ago '
                               '(2 settings differ), 0.4% used')
        assert '\n99-conntrack.conf: nf_conntrack_tcp_timeout_established = 7440 expired ' in text

    def test_not_running(self, machine, capfd):
        self.configure(machine, 'net.netfilter.nf_conntrack_max = 524288\n')
        status, text = self.check(machine, capfd)
        assert status == 1
        assert '- nf_conntrack_max is 262144, but 99-conntrack.conf sets 524288, ' in text
        assert '\nnext: sudo sysctl --system\n' in text

    def test_off(self, machine, capfd):
        self.configure(machine, 'net.netfilter.nf_conntrack_max = 524288\n')
        assert self.check(machine, capfd, '--settings-check', 'off')[0] == 0
        assert self.check(machine, capfd, '--settings-check', '')[0] == 1

    def test_another_namespace_is_not_set_up_by_sysctl_d(self, machine, capfd):
        self.configure(machine, 'net.netfilter.nf_conntrack_max = 524288\n')
        (machine / 'sys/net/nf_conntrack_max').unlink()
        assert self.check(machine, capfd)[0] == 0


LOADED = {'1/root/etc/modules-load.d/nf.conf': 'nf_conntrack\n'}


class TestWhoChangedIt:
    """On a host whose sysctl.d says one thing and whose kernel another."""

    def check(self, machine, capfd, configured, running=262144, buckets=262144, files=None, memory=None):
        sys_net = machine / 'sys/net'
        for name, value in {'netfilter/nf_conntrack_max': running, 'nf_conntrack_max': running,
                            'netfilter/nf_conntrack_buckets': buckets}.items():
            write(sys_net / name, f'{value}\n')
        write(machine / '1/root/etc/sysctl.d/99-x.conf', configured)
        for name, text in (files or {}).items():
            write(machine / name, text)
        if memory:
            write(machine / 'meminfo', f'MemTotal:       {memory} kB\nMemAvailable:   {memory} kB\n')
        status = main(['--procfs', str(machine), '--kernel-log', 'off', '--history', 'off'],
                      lambda: Instant(NOW, 1000, 1000))
        return status, capfd.readouterr().out

    @pytest.mark.parametrize(('running', 'buckets', 'memory'), [
        (1048576, 262144, None), (131072, 32768, None), (1048576, 262144, 64 << 20), (131072, 32768, 4 << 20),
        (65536, 65536, 64 << 20)])
    def test_a_size_that_no_kernel_starts_with_was_changed(self, machine, capfd, running, buckets, memory):
        status, text = self.check(machine, capfd, 'net.nf_conntrack_max = 524288\n', running, buckets, memory=memory)
        assert status == 1
        assert 'was set later' in text
        assert 'before the module' not in text

    @pytest.mark.parametrize(('running', 'buckets', 'memory'), [
        (262144, 262144, None), (262144, 65536, None), (65536, 16384, None), (262144, 65536, 64 << 20),
        (65536, 65536, 2 << 20), (65536, 16384, 2 << 20), (8192, 8192, 1 << 20), (32768, 8192, 1 << 20)])
    def test_a_size_that_kernels_start_with(self, machine, capfd, running, buckets, memory):
        _, text = self.check(machine, capfd, 'net.nf_conntrack_max = 524288\n', running, buckets, memory=memory)
        assert 'was applied before the module was loaded' in text

    def test_hashsize_makes_eight_entries_a_bucket(self, machine, capfd):
        files = {'1/root/etc/modprobe.d/nf.conf': 'options nf_conntrack hashsize=16384\n'}
        _, text = self.check(machine, capfd, 'net.nf_conntrack_max = 524288\n', 131072, 16384, files)
        assert 'was applied before the module was loaded' in text

    def test_a_running_kube_proxy_is_named(self, machine, capfd):
        files = {'812/comm': 'kube-proxy\n', '812/cmdline': 'kube-proxy\0', **LOADED,
                 '812/status': 'Uid:\t0\t0\t0\t0\nNSpid:\t812\n', '812/cgroup': '0::/system.slice/kube-proxy.service\n'}
        for pid in (1, 812):
            (machine / f'{pid}/ns').mkdir(parents=True)
            for kind in ('pid', 'mnt', 'user'):
                (machine / f'{pid}/ns/{kind}').symlink_to(f'{kind}:[1]')
        _, text = self.check(machine, capfd, 'net.nf_conntrack_max = 524288\n', files=files)
        assert 'was set later: kube-proxy (pid 812) sets it' in text
        assert 'sysctl --system' not in text

    def test_what_makes_the_table_smaller_has_no_command(self, machine, capfd):
        _, text = self.check(machine, capfd, 'net.nf_conntrack_max = 65536\n')
        assert 'Applying it would make the table smaller (262144 -> 65536)' in text
        assert 'sysctl --system' not in text

    def test_a_module_that_is_loaded_at_boot_is_not_advised_again(self, machine, capfd):
        _, text = self.check(machine, capfd, 'net.nf_conntrack_max = 524288\n', files=LOADED)
        assert 'was loaded again since (/etc/modules-load.d/nf.conf loads it at boot). Now: sudo sysctl' in text
        assert 'at boot: echo' not in text
        files = {'1/root/etc/firewalld/firewalld.conf': 'CleanupModulesOnExit=yes\n', **LOADED}
        _, text = self.check(machine, capfd, 'net.nf_conntrack_max = 524288\n', files=files)
        assert 'firewalld unloads the module when it stops: CleanupModulesOnExit=no' in text

    def test_one_remedy_for_many(self, machine, capfd):
        _, text = self.check(machine, capfd, 'net.nf_conntrack_max = 524288\n'
                                             'net.netfilter.nf_conntrack_tcp_timeout_established = 7200\n')
        assert text.count('Now: sudo sysctl --system') == 1
        assert 'For these 2 settings: ' in text

    @pytest.mark.parametrize(('line', 'text'), [
        ('net.ipv4.netfilter.ip_conntrack_max = 655350', 'a name that this kernel does not have: nf_conntrack_max is'),
        ('net.ipv4.ip_conntrack_max = 655350', 'a name that this kernel does not have'),
        ('net.netfilter.nf_conntrack_count = 131072', 'sets nf_conntrack_count, which cannot be set'),
        ("net.netfilter.nf_conntrack_max='1048576'", 'which the kernel refuses'),
        ('sysctl -w net.netfilter.nf_conntrack_max=1048576', 'is no setting: a command'),
        ('net.netfilter.nf_conntrack_max 1048576', "is no setting: it has no '='"),
    ])
    def test_lines_that_set_nothing(self, machine, capfd, line, text):
        status, seen = self.check(machine, capfd, line + '\n')
        assert status == 1
        assert text in seen.splitlines()[0]

    def test_one_setting_by_two_old_names_is_told_once(self, machine, capfd):
        _, text = self.check(machine, capfd, 'net.ipv4.netfilter.ip_conntrack_max = 655350\n'
                                             'net.ipv4.ip_conntrack_max = 655350\n')
        assert 'settings differ' not in text
        assert sum('ip_conntrack_max=655350' in line for line in text.splitlines()[1:]) == 1

    @pytest.mark.parametrize('line', [
        'net.ipv4.netfilter.ip_conntrack_max = 262144', "net.netfilter.nf_conntrack_max='262144'"])
    def test_a_line_that_sets_nothing_is_silent_where_its_value_runs(self, machine, capfd, line):
        assert self.check(machine, capfd, line + '\n')[0] == 0

    def test_the_old_names_of_a_kernel_that_has_them(self, machine, capfd):
        files = {'sys/net/ipv4/netfilter/ip_conntrack_max': '655350\n',
                 '1/root/etc/sysctl.d/10-base.conf': 'net.nf_conntrack_max = 65536\n'}
        line = 'net.ipv4.netfilter.ip_conntrack_max = {}\n'
        assert self.check(machine, capfd, line.format(655350), 655350, 16384, files)[0] == 0
        status, text = self.check(machine, capfd, line.format(700000), 655350, 16384, files)
        assert (status, 'nf_conntrack_max is 655350, but 99-x.conf sets 700000' in text) == (1, True)

    def test_links_lead_below_the_root_of_the_host(self, machine, capfd, tmp_path):
        """As NixOS has them: /etc/sysctl.d/60-nixos.conf is a link to /etc/static, and that to /nix/store."""
        root = machine / '1/root'
        write(root / 'nix/store/abc/sysctl.d/60-nixos.conf', 'net.nf_conntrack_max = 524288\n')
        (root / 'etc').mkdir()
        (root / 'etc/static').symlink_to('/nix/store/abc')
        (root / 'etc/sysctl.d').mkdir()
        (root / 'etc/sysctl.d/60-nixos.conf').symlink_to('/etc/static/sysctl.d/60-nixos.conf')
        # the same path of this process's own root is not what is meant
        write(tmp_path / 'own.conf', 'net.nf_conntrack_max = 77777\n')
        (root / 'etc/sysctl.d/70-own.conf').symlink_to(tmp_path / 'own.conf')
        (root / 'etc/sysctl.d/80-loop.conf').symlink_to('80-loop.conf')
        (root / 'etc/sysctl.d/90-up.conf').symlink_to(f'../../../../../../../..{tmp_path}/own.conf')
        _, text = self.check(machine, capfd, '')
        assert '60-nixos.conf sets 524288' in text
        assert '77777' not in text


@pytest.mark.parametrize('kernel', sorted(path.parent.name for path in SAMPLES.glob('*/sysctls.txt')))
def test_the_defaults_are_those_of_captured_kernels(kernel):
    """Each was captured just after the module was loaded."""
    lines = (SAMPLES / kernel / 'sysctls.txt').read_text()
    values = {name: int(value) for name, value in re.findall(r'/nf_conntrack_(\w+) = (\d+)$', lines, re.MULTILINE)}
    known = {name: value for name, value in values.items() if name in sysctl_drift.DEFAULTS}
    assert len(known) > 20
    assert {name: value for name, value in known.items() if value not in sysctl_drift.DEFAULTS[name]} == {}


def test_every_default_is_that_of_some_captured_kernel():
    lines = ''.join(path.read_text() for path in SAMPLES.glob('*/sysctls.txt'))
    seen = {(name, int(value)) for name, value in re.findall(r'/nf_conntrack_(\w+) = (\d+)$', lines, re.MULTILINE)}
    assert {(name, value) for name, values in sysctl_drift.DEFAULTS.items() for value in values} - seen == {
        # of kernels before 5.0, which were not captured
        ('helper', 1), ('udp_timeout_stream', 180)}


class TestWhy:
    """The reason follows the evidence."""

    def said(self, machine, capsys, text):
        write(machine / '1/root/etc/sysctl.d/90-x.conf', text)
        main(['--procfs', str(machine), '--kernel-log', 'off', '--history', 'off', '--diagnose', 'never'])
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith('90-x.conf: '))

    def test_a_file_that_was_written_after_the_boot(self, machine, capsys):
        began = int(time.time()) - 3600
        write(machine / 'stat', f'cpu  1 2 3 4 5 6 7 8\nbtime {began}\n')
        assert self.said(machine, capsys, 'net.nf_conntrack_max = 524288') == (
            '90-x.conf: nf_conntrack_max = 524288 was applied before the module was loaded, or the file was not '
            'applied since it was written (after this boot). Now: sudo sysctl --system; at boot: echo nf_conntrack '
            'to a file in /etc/modules-load.d (it is loaded before sysctl.d is applied)')
        write(machine / 'sys/net/netfilter/nf_conntrack_tcp_timeout_established', '86400\n')
        assert self.said(machine, capsys, 'net.netfilter.nf_conntrack_tcp_timeout_established = 3600') == (
            '90-x.conf: nf_conntrack_tcp_timeout_established = 3600, but the running value 86400 was set later, or '
            'the file was not applied since it was written (after this boot). Now: sudo sysctl --system; kube-proxy '
            'overrides it (--conntrack-tcp-timeout-established)')
        write(machine / 'stat', f'cpu  1 2 3 4 5 6 7 8\nbtime {began + 7200}\n')
        assert self.said(machine, capsys, 'net.nf_conntrack_max = 524288').startswith(
            '90-x.conf: nf_conntrack_max = 524288 was applied before the module was loaded. Now: ')

    @pytest.mark.parametrize('value', [0, -1])
    def test_no_limit_is_not_advised(self, machine, capsys, value):
        assert self.said(machine, capsys, f'net.nf_conntrack_max = {value}').endswith(
            f'. Newer kernels refuse {value}, older ones take it as no limit: write the number that is wanted')

    @pytest.mark.parametrize(('file', 'content'), [
        ('1/root/etc/modprobe.d/x.conf', 'options nf_conntrack hashsize=0x4000 expect_hashsize=1\n'),
        ('1/root/etc/modprobe.d/x.conf', 'options nf_conntrack expect_hashsize=1 "hashsize=16384"\n'),
        ('cmdline', 'quiet nf_conntrack.hashsize=16384 nf_conntrack.acct=1\n')])
    def test_a_hash_size_in_every_form(self, machine, capsys, file, content):
        write(machine / file, content)
        write(machine / 'sys/net/netfilter/nf_conntrack_buckets', '16384\n')
        write(machine / 'sys/net/netfilter/nf_conntrack_max', '131072\n')
        assert 'was applied before the module was loaded' in self.said(machine, capsys, 'net.nf_conntrack_max = 524288')

    @pytest.mark.parametrize('word', ['modules_load=nf_conntrack', 'modules-load=br_netfilter,nf_conntrack',
                                      'rd.modules_load=nf_conntrack,x'])
    def test_a_module_that_the_command_line_loads(self, machine, capsys, word):
        write(machine / 'cmdline', f'quiet {word}\n')
        assert 'the module was loaded again since (the kernel command line loads it at boot)' in \
            self.said(machine, capsys, 'net.nf_conntrack_max = 524288')
