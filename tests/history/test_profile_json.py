"""What is recorded of a profile: numbers that no host has are refused."""

from __future__ import annotations

import pytest

from check_conntrack_lib.analysis.nat_ports import DEFAULT
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.history.profile_json import _port_use


@pytest.mark.parametrize(('used', 'size', 'sound'), [
    (0, 1, True), (5, 5, True), (5, DEFAULT, True), (0, 0, False), (-1, 5, False), (6, 5, False),
    (5, DEFAULT + 1, False)])
def test_the_use_of_ports(used: int, size: int, sound: bool) -> None:
    if not sound:
        with pytest.raises(ValueError, match='not a use of ports'):
            _port_use(6, '192.0.2.1', 443, '198.51.100.1', used, size, True, False)
        return
    found = _port_use(6, '192.0.2.1', 443, '198.51.100.1', used, size, True, False)
    assert found.pool == ReplyTuple(6, bytes([192, 0, 2, 1]), 443, bytes([198, 51, 100, 1]))
    assert (found.used, found.size, found.least, found.exact, found.kept) == (used, size, used, True, False)
