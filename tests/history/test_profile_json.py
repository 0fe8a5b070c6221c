"""What is recorded of a profile: numbers that no host has are refused."""

from __future__ import annotations

import pytest

from check_conntrack_lib.analysis.nat_ports import DEFAULT
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.history.profile_json import _port_use, from_json, to_json
from check_conntrack_lib.history.profiles import EMPTY


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


LONGEST = ('pod monitoring/kube-prometheus-stack-prometheus-node-exporter-x2x5z',
           'container 0123456789ab (docker, nginx, pid 4711)',
           'network namespace 4026532179 (held open by sleep, pid 7)', 'pod ' + 'n' * 57 + '...')


def test_what_is_recorded_can_be_read() -> None:
    """Names are as long as a pod's may be, and of namespaces without a name have commas."""
    profile = EMPTY._replace(names={f'192.0.2.{k}': name for k, name in enumerate(LONGEST)})
    assert from_json(to_json(profile)) == profile


def test_names_that_no_check_writes_are_made_harmless() -> None:
    forged = to_json(EMPTY._replace(names={'192.0.2.1': '<b>\x1b[2J`id`|' + 'x' * 1000}))
    name, = from_json(forged).names.values()
    assert name.startswith('?b???2J?id??xxx')
    assert len(name) == 200
    with pytest.raises(ValueError, match='not a'):
        from_json(to_json(EMPTY._replace(names={'$(id)': 'web'})))
    with pytest.raises(ValueError, match='not a profile'):
        from_json(to_json(EMPTY).replace('{', '{"names":{"192.0.2.1":5},', 1))
