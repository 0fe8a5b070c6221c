"""Lines of sysctl.d that set nothing, patterns, and the order of the two programs that apply them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import sysctl_files
from check_conntrack_lib.readers.sysctl_files import SysctlSetting, effective, number, parse
from check_conntrack_lib.readers.unusable_settings import unusable

PREFIX = 'net/netfilter/nf_conntrack_'
NAMES = (f'{PREFIX}max', f'{PREFIX}count', f'{PREFIX}tcp_timeout_close', f'{PREFIX}tcp_timeout_established',
         'net/nf_conntrack_max')


def test_a_line_that_is_no_setting() -> None:
    command = parse('sysctl -w net.netfilter.nf_conntrack_max=5\nnet.netfilter.nf_conntrack_max: 5\n'
                    'vm.swappiness 1\n', 'a.conf')
    assert command == (
        SysctlSetting(f'{PREFIX}max', 'sysctl -w net.netfilter.nf_conntrack_max=5', 'a.conf',
                      fault='is no setting: a command'),
        SysctlSetting(f'{PREFIX}max', 'net.netfilter.nf_conntrack_max: 5', 'a.conf',
                      fault="is no setting: it has no '='"))
    assert effective(command, NAMES) == {}
    assert unusable(command, NAMES) == list(command)


def test_blanks_around_a_line_are_no_part_of_it() -> None:
    when = time.mktime((2026, 11, 17, 23, 59, 0, 0, 0, -1))
    assert parse('   # expires: 2026-11-17  \n\t ; more\n  net.netfilter.nf_conntrack_max = 5 \n', 'a.conf') == (
        SysctlSetting(f'{PREFIX}max', '5', 'a.conf', when),)


@pytest.mark.parametrize(('line', 'fault'), [
    ('net.netfilter.nf_conntrack_count = 5',
     'sets nf_conntrack_count, which cannot be set (nf_conntrack_max is meant)'),
    ('net.ipv4.netfilter.ip_conntrack_max = 5', 'says ip_conntrack_max=5, a name that this kernel does not have'),
    ('net.netfilter.nf_conntrack_max = 1e6',
     'says nf_conntrack_max=1e6, which the kernel refuses as no plain number'),
    ('net.netfilter.nf_conntrack_max = 5', ''), ('-net.netfilter.nf_conntrack_max', ''), ('net.core.x = many', ''),
    ('net.netfilter.nf_conntrack_* = many', '')])
def test_settings_that_set_nothing(line: str, fault: str) -> None:
    settings = parse(line, 'a.conf')
    assert [one.fault for one in unusable(settings, NAMES)] == [fault] * bool(fault)
    if fault:
        assert effective(settings, NAMES) == {}


def test_old_names_where_the_kernel_has_them() -> None:
    old = parse('net.ipv4.netfilter.ip_conntrack_max = 5\n', 'a.conf')
    assert old[0].path == 'net/ipv4/netfilter/ip_conntrack_max'
    assert effective(old, (old[0].path,)) == {f'{PREFIX}max': old}
    assert unusable(old, (old[0].path,)) == []


def test_a_pattern_touches_what_has_no_line_of_its_own() -> None:
    pattern, own = parse('net.netfilter.nf_conntrack_tcp_* = 9\nnet.netfilter.nf_conntrack_tcp_timeout_close = 5\n',
                         'a.conf')
    assert effective((own, pattern), NAMES) == {f'{PREFIX}tcp_timeout_close': (own,),
                                                f'{PREFIX}tcp_timeout_established': (pattern,)}
    # as deep as the name, and never what cannot be set
    for text in ('net.*.nf_conntrack_coun? = 1', 'net/*conntrack_tcp_timeout_close = 1', 'kernel.* = 1'):
        assert effective(parse(text, 'a.conf'), NAMES) == {}
    every, = parse('net.*.nf_conntrack_[mt]* = 1', 'a.conf')
    assert sorted(effective((every,), NAMES)) == [f'{PREFIX}max', f'{PREFIX}tcp_timeout_close',
                                                  f'{PREFIX}tcp_timeout_established']
    excluded = parse('-net.netfilter.nf_conntrack_max\nnet.netfilter.nf_conntrack_m* = 5', 'a.conf')
    assert effective(excluded, NAMES) == {}


def test_the_same_value_again_keeps_its_place_with_systemd() -> None:
    """Two names of one value: procps writes the last line last, systemd the last that changed."""
    one, two, again = parse('net.nf_conntrack_max = 1\nnet.netfilter.nf_conntrack_max = 2\nnet.nf_conntrack_max = 1\n',
                            'a.conf')
    assert effective((one, two, again), NAMES) == {f'{PREFIX}max': (two, again)}
    changed = again._replace(value='3')
    assert effective((one, two, changed), NAMES) == {f'{PREFIX}max': (changed,)}


@pytest.mark.parametrize(('text', 'value'), [
    ('2147483647', 2147483647), ('2147483648', None), ('-2147483647', -2147483647), ('-2147483648', None),
    ('0x7fffffff', 2147483647), ('0x80000000', None), ('0', 0), ('010', 8), ('08', None), ('0x', None), ('', None),
    ('-', None), ('1 2', 1), ('0' * 22, 0), ('0' * 23, None)])
def test_numbers_as_the_kernel_takes_them(text: str, value: int | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(('note', 'is_one'), [
    ('# expires: 2026-02-29 10:00', True), ('# expires: 2026-11-17 15:3', False), ('#expires:2026-1-7', True)])
def test_notes(note: str, is_one: bool) -> None:
    setting, = parse(f'{note}\nnet.netfilter.nf_conntrack_max = 5', 'a.conf')
    assert (setting.expires is not None) is is_one


def test_the_first_folder_masks_and_one_that_is_no_folder_is_skipped(tmp_path: Path) -> None:
    root = tmp_path / '1/root'
    (root / 'etc').mkdir(parents=True)
    (root / 'etc/sysctl.d').write_text('')
    for folder, value in (('run', 1), ('usr/lib', 2)):
        (root / folder / 'sysctl.d').mkdir(parents=True)
        (root / folder / 'sysctl.d/a.conf').write_text(f'net.netfilter.nf_conntrack_max = {value}\n')
    (root / 'run/sysctl.d/b.conf').write_text('net.core.somaxconn = conntrack\nnetfilter without a sign\n')
    assert sysctl_files.read(Host(str(tmp_path))) == (
        SysctlSetting(f'{PREFIX}max', '1', 'a.conf'), SysctlSetting('net/core/somaxconn', 'conntrack', 'b.conf'))


def test_as_many_files_as_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysctl_files, 'MOST_FILES', 2)
    folder = tmp_path / '1/root/etc/sysctl.d'
    folder.mkdir(parents=True)
    for name in ('a', 'b'):
        (folder / f'{name}.conf').write_text('')
    assert sysctl_files.read(Host(str(tmp_path))) == ()
    (folder / 'c.conf').write_text('')
    assert sysctl_files.read(Host(str(tmp_path))) == Missing('sysctl.d: more than 2 files in sysctl.d')


@pytest.mark.parametrize(('line', 'fault'), [
    ('net.ipv4.netfilter.nf_conntrack_max=9', 'says net.ipv4.netfilter.nf_conntrack_max=9, a name that this kernel '
     'does not have'),
    ('net.ipv4.nf_conntrack_max = 9', 'says net.ipv4.nf_conntrack_max=9, a name that this kernel does not have'),
    ('net.netfilter.nf_contrack_max=9', 'says net.netfilter.nf_contrack_max=9, a name that this kernel does not have'),
    ('net.netfilter.NF_CONNTRACK_MAX=9', 'says net.netfilter.NF_CONNTRACK_MAX=9, a name that this kernel does not '
     'have'),
    ('/proc/sys/net/netfilter/nf_conntrack_max=9', 'says proc.sys.net.netfilter.nf_conntrack_max=9, a name that this '
     'kernel does not have'),
    ('\ufeffnet.netfilter.nf_conntrack_max=9', 'says (byte order mark)net.netfilter.nf_conntrack_max=9, a name that '
     'this kernel does not have'),
    ('echo 9 > /proc/sys/net/netfilter/nf_conntrack_max', "is no setting: it has no '='"),
    ('net.netfilter.nf_conntrack_maximum=9', 'says nf_conntrack_maximum=9, a name that no kernel has'),
    # of another kernel; allowed to fail; of something else
    ('net.netfilter.nf_conntrack_dccp_loose=9', ''), ('net.netfilter.nf_conntrack_helper=1', ''),
    ('-net.netfilter.nf_conntrack_maximum=9', ''), ('-net.ipv4.nf_conntrack_max=9', ''),
    ('net.ipv4.nf_conntrack_*=9', ''), ('net.ipv4.track_max=9', ''), ('kernel.my_conntrack_max=9', '')])
def test_names_that_no_kernel_or_another_one_has(line: str, fault: str) -> None:
    found = unusable(parse(line, 'a.conf'), NAMES)
    assert [one.fault for one in found] == [fault] * bool(fault)
    assert {one.key for one in found} <= {'net/netfilter/nf_conntrack_max', 'net/netfilter/nf_conntrack_maximum'}


def test_an_old_name_beside_one_that_works_is_not_missed() -> None:
    good = 'net.netfilter.nf_conntrack_max=9\n'
    for bad in ('net.ipv4.ip_conntrack_max=5', 'net.ipv4.netfilter.ip_conntrack_max=5', 'net.ipv4.nf_conntrack_max=5'):
        assert len(unusable(parse(bad, 'a.conf'), NAMES)) == 1
        assert unusable(parse(good + bad, 'a.conf'), NAMES) == []
    # a bad value was meant to replace the good one
    assert len(unusable(parse(good + 'net.netfilter.nf_conntrack_max="5"', 'a.conf'), NAMES)) == 1
