"""The check reads the settings back: sysctl.d in its real precedence, expired notes, values that are not running."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from check_conntrack_lib.analysis.sysctl_drift import drifts
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant, Missing, Table
from check_conntrack_lib.plugin.cli import main
from check_conntrack_lib.readers import sysctl_files
from check_conntrack_lib.readers.sysctl_files import SysctlSetting, effective, parse

MAX = 'net/netfilter/nf_conntrack_max'
TABLE = Table(1000, 262144, 262144)
NOW = time.mktime((2026, 11, 20, 12, 0, 0, 0, 0, -1))
DAY = 86400


class TestParse:
    @pytest.mark.parametrize('line', [
        'net.netfilter.nf_conntrack_max = 524288', 'net/netfilter/nf_conntrack_max=524288',
        '  net.nf_conntrack_max\t=\t524288  ', '-net.netfilter.nf_conntrack_max = 524288'])
    def test_every_way_to_write_it(self, line):
        assert parse(line, 'a.conf') == (SysctlSetting(MAX, '524288', 'a.conf'),)

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

    @pytest.mark.parametrize('value', ['', 'many', '1 2', '0x10', '٣', '9' * 30])
    def test_no_number(self, value):
        assert self.found(f'net.nf_conntrack_max = {value}', {MAX: 262144}) == []

    def test_a_value_that_this_kernel_lacks(self):
        assert self.found('net.netfilter.nf_conntrack_helper = 1', {}) == []


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
