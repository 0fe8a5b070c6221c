"""What procps and systemd-sysctl really do with each kind of line, beside what is taken for what they do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.readers import sysctl_files, sysctl_values, unusable_settings

pytestmark = pytest.mark.kernel
KEY = 'net/netfilter/nf_conntrack_tcp_timeout_established'
K = KEY.replace('/', '.')
BEFORE = 1111
SYSTEMD = '/usr/lib/systemd/systemd-sysctl'
PROGRAMS = {'procps': ['sysctl', '-p'], 'systemd': [SYSTEMD]}
LINES = [
    '{K} = 7200', '{K}=7200 # c', '{K} = 7200   ; two hours', '{K} = 7200\t# c', '{K} = 7200 = 8', '{K} = 7200 \\',
    '  {K}   =    7200   ', '{K} = 7200;', '{K} = 7200#c', '{K}=7200,', '{K} = 7200s', '{K} = 7_200', '{K} = 1e3',
    '{K} = 7200.5', '{K} = 0x1c20', '{K} = 0X1C20', '{K} = 016040', '{K} = 089', '{K} = "7200"', "{K}='7200'",
    '{K} = +7200', '{K} = -1', '{K} = 0', '{K} = 99999999999', '{K} = 2147483648', '{K} =', '{K} = # 7200',
    '{K} == 7200', '-{K} = 7200', '-{K}', 'sysctl -w {K}=7200', 'export {K}=7200', '{K} 7200', '{K}: 7200',
    '{KEY} = 7200', '.{K} = 7200', '/{KEY} = 7200', 'net/netfilter.nf_conntrack_tcp_timeout_established = 7200',
    'net.netfilter/nf_conntrack_tcp_timeout_established = 7200', 'NET.netfilter.nf_conntrack_max=72',
    '/proc/sys/{KEY} = 7200', '# {K} = 7200', '; {K} = 7200',
    'net.netfilter.nf_conntrack_tcp_timeout_est* = 7200', 'net.netfilter.nf_conntrack_*_established = 7200',
    'net.*.nf_conntrack_tcp_timeout_established = 7200', 'net/netfilter/nf_conntrack_tcp_timeout_e?tablished=7200',
    'net.netfilter.nf_conntrack_tcp_timeout_[e]stablished=7200', 'net.* = 7200',
    'net.netfilter.nf_conntrack_tcp_timeout_e* = 7300\n{K} = 7200',
    '{K} = 7200\nnet.netfilter.nf_conntrack_tcp_timeout_e* = 7300',
    'net.ipv4.netfilter.nf_conntrack_tcp_timeout_established=7200', '\ufeff{K} = 7200', 'echo 7200 > /proc/sys/{KEY}',
    'net.netfilter.nf_contrack_tcp_timeout_established=7200', 'net.netfilter.NF_CONNTRACK_tcp_timeout_established=7200',
    'net.netfilter.nf_conntrack_tcp_timeout_e* = 7200\nnet.netfilter.nf_conntrack_tcp_timeout_es* = 7300',
    'net.netfilter.nf_conntrack_tcp_timeout_e* = 7200\n-{K}', '{K} = 7200\n{K} = 7300', '{K} = 7200\n{K} = "7300"',
]


@pytest.fixture(scope='module')
def namespace() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip('needs root')
    name = f'coverage-sysctl-{os.getpid()}'
    subprocess.run(['ip', 'netns', 'add', name], check=True)
    yield name
    subprocess.run(['ip', 'netns', 'del', name], check=True)


def inside(namespace: str, *command: str) -> str:
    return subprocess.run(['ip', 'netns', 'exec', namespace, *command], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False).stdout


@pytest.mark.parametrize('program', PROGRAMS)
@pytest.mark.parametrize('line', LINES)
def test_a_line_does_what_is_taken_for_what_it_does(line: str, program: str, namespace: str, tmp_path: Path) -> None:
    if not shutil.which(PROGRAMS[program][0]):
        pytest.skip(f'no {program}')
    text = line.format(K=K, KEY=KEY) + '\n'
    file = tmp_path / 'x.conf'
    file.write_text(text)
    inside(namespace, 'sh', '-c', f'echo {BEFORE} >/proc/sys/{KEY}')
    inside(namespace, *PROGRAMS[program], str(file))
    real = int(inside(namespace, 'cat', f'/proc/sys/{KEY}'))
    settings = sysctl_files.parse(text, file.name)
    names = sysctl_values.names(Host())
    winners = sysctl_files.effective(settings, names).get(KEY, ())
    meant = {sysctl_files.number(one.value or '') for one in winners}
    if any(one.fault for one in unusable_settings.unusable(settings, names)):
        # a program may drop the good line for the bad one that follows it
        assert real in {*meant, BEFORE}
        assert not winners or len(settings) > 1
    else:
        assert real in (meant or {BEFORE}), (real, meant)


def test_two_names_of_one_value_in_turn(tmp_path: Path) -> None:
    """systemd keeps a name's place when it is given the same value again, procps does not: either may run."""
    a, b, c = (sysctl_files.parse(text, name) for text, name in (
        ('net.nf_conntrack_max=262144', '10-a.conf'), ('net.netfilter.nf_conntrack_max=524288', '20-b.conf'),
        ('net.nf_conntrack_max=262144', '99-c.conf')))
    winners = sysctl_files.effective(a + b + c)['net/netfilter/nf_conntrack_max']
    assert {one.value for one in winners} == {'262144', '524288'}
    assert winners[-1].file == '99-c.conf'
