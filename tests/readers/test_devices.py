"""/proc/net/dev: does anything lead out of a network namespace?"""

from __future__ import annotations

from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.readers import devices

HEAD = ('Inter-|   Receive                                                |  Transmit\n'
        ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n')


def line(name: str) -> str:
    return f'{name:>6}: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n'


@pytest.mark.parametrize(('names', 'cut_off'), [
    (['lo'], True), (['lo', 'tunl0', 'sit0'], True), (['lo', 'eth0'], False), (['eth0'], False), ([], False)])
def test_what_leads_out(tmp_path: Path, names: list[str], cut_off: bool) -> None:
    (tmp_path / 'net').mkdir()
    (tmp_path / 'net/dev').write_text(HEAD + ''.join(line(name) for name in names))
    assert devices.is_cut_off(Host(str(tmp_path))) == cut_off
    assert devices.parse((tmp_path / 'net/dev').read_text()) == set(names)


def test_where_it_cannot_be_told(tmp_path: Path) -> None:
    assert not devices.is_cut_off(Host(str(tmp_path)))
