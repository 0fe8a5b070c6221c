"""Interface statistics: structures as the kernel answers them, a fake driver ena, and the real ioctl on veth."""

from __future__ import annotations

import errno
import os
import struct
import subprocess

import laboratory
import proctree
import pytest

from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import ethtool

ENA = {'tx_timeout': 0, 'bw_in_allowance_exceeded': 7, 'conntrack_allowance_exceeded': 1 << 40,
       'linklocal_allowance_exceeded': 3, 'conntrack_allowance_available': 9100}


class Driver:
    """Answers SIOCETHTOOL's structures as net/ethtool/ioctl.c does, for interfaces of these statistics."""

    def __init__(self, interfaces, more_later=0):
        self.interfaces = interfaces
        self.more_later = more_later
        self.asked = []

    def __call__(self, name, structure):
        command, = struct.unpack_from('=I', structure)
        self.asked.append((name, command))
        if self.interfaces[name] is None:
            raise OSError(95, os.strerror(95))
        counters = dict(self.interfaces[name])
        if command == 0x37:
            mask, = struct.unpack_from('=Q', structure, 8)
            assert mask == 2
            struct.pack_into('=QI', structure, 8, 2 if counters else 0, len(counters))
            return
        counters.update((f'new{k}', k) for k in range(self.more_later))
        if command == 0x1b:
            assert struct.unpack_from('=I', structure, 4) == (1,)
            struct.pack_into('=I', structure, 8, len(counters))
            for place, text in enumerate(counters):
                struct.pack_into('=32s', structure, 12 + 32 * place, text.encode())
        else:
            assert command == 0x1d
            struct.pack_into('=I', structure, 4, len(counters))
            struct.pack_into(f'={len(counters)}Q', structure, 8, *counters.values())


def sysfs(root, *interfaces):
    """What /sys shows where the driver ena runs these interfaces, one a device."""
    for place, name in enumerate(interfaces):
        (root / f'bus/pci/drivers/ena/0000:00:0{place + 5}.0/net' / name).mkdir(parents=True)
    for name in ('bind', 'new_id'):
        (root / 'bus/pci/drivers/ena' / name).touch()
    return str(root)


def test_the_counters_of_an_interface():
    assert ethtool.statistics('eth0', Driver({'eth0': ENA})) == ENA


def test_a_driver_that_has_none():
    assert ethtool.statistics('lo', Driver({'lo': {}})) == {}
    with pytest.raises(OSError, match='not supported'):
        ethtool.statistics('lo', Driver({'lo': None}))


def test_statistics_that_come_while_they_are_read():
    with pytest.raises(ValueError, match='changed'):
        ethtool.statistics('eth0', Driver({'eth0': ENA}, more_later=1))


def test_a_number_beyond_all_reason():
    def many(_name, structure):
        struct.pack_into('=QI', structure, 8, 2, 1 << 31)
    with pytest.raises(ValueError, match='statistics'):
        ethtool.statistics('eth0', many)


def test_only_interfaces_of_the_driver_are_read(tmp_path):
    driver = Driver({'eth0': ENA, 'eth1': {**ENA, 'conntrack_allowance_available': 5}})
    assert ethtool.read_ena(sysfs(tmp_path, 'eth0', 'eth1'), driver) == driver.interfaces
    assert {name for name, _command in driver.asked} == {'eth0', 'eth1'}


def test_a_name_of_other_characters_is_no_text_of_ours(tmp_path):
    """The exporter had no page for a name that is no UTF-8, and put control characters into a label."""
    names = [os.fsdecode(name) for name in (b'e\xff', b'\x1b[2J', b'"}\n=')]
    got = ethtool.read_ena(sysfs(tmp_path, *names), Driver(dict.fromkeys(names, ENA)))
    assert sorted(got) == ['??2J', '????', 'e?']
    alike = [os.fsdecode(name) for name in (b'e\xfe', b'e\xff')]
    got = ethtool.read_ena(sysfs(tmp_path / 'alike', *alike), Driver(dict.fromkeys(alike, ENA)))
    assert sorted(got) == ['e?', 'e?+']
    refused = ethtool.read_ena(sysfs(tmp_path / 'other', names[1]), Driver({names[1]: None}))
    assert refused.why == 'ethtool statistics of ??2J: Operation not supported'


def test_nothing_is_asked_on_any_other_host(tmp_path):
    driver = Driver({})
    assert ethtool.read_ena(str(tmp_path), driver) == {}
    # a driver whose devices are all in other namespaces
    (tmp_path / 'bus/pci/drivers/ena/0000:00:05.0').mkdir(parents=True)
    assert ethtool.read_ena(str(tmp_path), driver) == {}
    assert driver.asked == []


def test_an_interface_that_is_detached_meanwhile(tmp_path):
    driver = Driver({'eth0': ENA, 'eth1': ENA})

    def detached(name, structure):
        if name == 'eth1':
            raise OSError(errno.ENODEV, 'No such device')
        driver(name, structure)
    assert ethtool.read_ena(sysfs(tmp_path, 'eth0', 'eth1'), detached) == {'eth0': ENA}


def test_an_interface_that_does_not_answer(tmp_path):
    got = ethtool.read_ena(sysfs(tmp_path, 'eth0'), Driver({'eth0': None}))
    assert isinstance(got, Missing)
    assert got.why == 'ethtool statistics of eth0: Operation not supported'


@pytest.mark.kernel
@pytest.mark.parametrize('user', [None, 'nobody'])
def test_the_real_ioctl_on_veth_as_anybody(user):
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    with laboratory.namespace() as made:
        made.run(['ip', 'link', 'add', 'veth0', 'type', 'veth', 'peer', 'name', 'veth1'])
        index = made.run(['cat', '/sys/class/net/veth1/ifindex']).stdout
        code = 'from check_conntrack_lib.readers import ethtool; print(ethtool.statistics("veth0"))'
        python = ['/usr/bin/python3', '-c', code]
        done = made.run(python, user=user, cwd=proctree.ROOT)
    assert done.returncode == 0, done.stderr
    counters = eval(done.stdout)
    assert counters['peer_ifindex'] == int(index)


@pytest.mark.kernel
def test_the_real_ioctl_against_ethtool():
    if not os.path.exists('/usr/sbin/ethtool'):
        pytest.skip('no ethtool')
    for name in os.listdir('/sys/class/net'):
        try:
            mine = ethtool.statistics(name)
        except OSError:
            mine = {}
        listed = subprocess.run(['/usr/sbin/ethtool', '-S', name], capture_output=True, text=True).stdout
        assert list(mine) == [line.split(':')[0].strip() for line in listed.splitlines()[1:]]
