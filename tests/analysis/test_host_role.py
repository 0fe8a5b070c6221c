"""What a host is to its flows, from flows of each sort."""

from __future__ import annotations

import socket

import pytest

from check_conntrack_lib.analysis import host_role
from check_conntrack_lib.analysis.host_role import RoleCounter, Roles
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.flow import DST_NAT, SRC_NAT, Flow

HERE, THERE, OTHER, LOCAL = map(socket.inet_aton, ('192.0.2.1', '198.51.100.1', '203.0.113.1', '127.0.0.53'))


def flow(src: bytes, dst: bytes, state: str = 'ESTABLISHED', status: int = 0, port: int = 443, protocol: int = 6,
         reply_src: bytes | None = None) -> Flow:
    return Flow(protocol, state, status, 100, src, dst, 40000, port, dst if reply_src is None else reply_src, src, 0,
                port, 40000)


def counted(*flows: Flow) -> RoleCounter:
    counter = RoleCounter({HERE})
    assert list(counter.watch(iter(flows))) == list(flows)
    return counter


def test_who_is_at_which_end() -> None:
    flows = [flow(THERE, OTHER)] * 5 + [flow(THERE, HERE)] * 4 + [flow(HERE, THERE)] * 3 + [flow(LOCAL, HERE)] * 2
    flows += [flow(THERE, OTHER, status=SRC_NAT), flow(THERE, OTHER, status=DST_NAT | SRC_NAT),
              flow(THERE, OTHER, status=DST_NAT), flow(HERE, THERE, status=SRC_NAT),
              # destination NAT leads here, or there is no answer yet
              flow(THERE, OTHER, reply_src=HERE), flow(THERE, HERE, reply_src=b'')]
    assert counted(*flows).roles() == Roles(8, 6, 4, 2, 2, 2)


@pytest.mark.parametrize(('roles', 'name'), [
    (Roles(5, 5, 0, 0, 0, 0), 'router or firewall'), (Roles(4, 5, 0, 0, 0, 0), 'server'),
    (Roles(4, 0, 5, 0, 0, 0), 'client'), (Roles(2, 3, 5, 0, 0, 0), 'client'), (Roles(2, 5, 3, 0, 0, 0), 'server'),
    (Roles(2, 1, 2, 5, 0, 0), 'talks to itself'), (Roles(2, 2, 2, 6, 0, 0), 'talks to itself'),
    (Roles(2, 2, 2, 1, 0, 0), 'several roles'), (Roles(10, 0, 0, 0, 5, 0), 'NAT gateway'),
    (Roles(10, 0, 0, 0, 4, 5), 'load balancer by destination NAT'), (Roles(10, 0, 0, 0, 4, 4), 'router or firewall'),
    (Roles(10, 0, 0, 0, 5, 9), 'NAT gateway'), (Roles(0, 0, 0, 0, 0, 0), 'several roles')])
def test_its_name(roles: Roles, name: str) -> None:
    assert roles.name == name


def test_the_target_of_a_state() -> None:
    found = counted(*[flow(THERE, OTHER, 'SYN_SENT')] * 3, *[flow(THERE, HERE, 'SYN_SENT')] * 7,
                    *[flow(THERE, OTHER, 'CLOSE', port=80)] * 3, *[flow(THERE, OTHER, '', protocol=17)] * 9,
                    *[flow(THERE, bytes([10, 0, 0, k]), 'CLOSE', port=k) for k in range(8)],
                    *[flow(THERE, OTHER, 'TIME_WAIT')] * 3,
                    *[flow(THERE, bytes([10, 0, 0, k]), 'TIME_WAIT', port=k) for k in range(7)]).target_of_state()
    assert found == {'SYN_SENT': Key(6, '', '192.0.2.1', 443), 'TIME_WAIT': Key(6, '', '203.0.113.1', 443)}


def test_the_aim_of_a_source() -> None:
    found = counted(*[flow(THERE, OTHER)] * 7, *[flow(THERE, HERE)] * 3, *[flow(OTHER, HERE)] * 6,
                    *[flow(OTHER, HERE, port=80)] * 3, *[flow(HERE, THERE, '', protocol=1, port=0)] * 2)
    assert found.target_of_source() == {'198.51.100.1': Key(6, '198.51.100.1', '203.0.113.1', 443),
                     '192.0.2.1': Key(1, '192.0.2.1', '198.51.100.1', None)}


def test_the_largest_aims_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_role, 'LARGEST', 1)
    assert list(counted(*[flow(THERE, OTHER)] * 3, flow(HERE, OTHER)).target_of_source()) == ['198.51.100.1']


def test_of_many_flows_the_first_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_role, 'SAMPLE', 3)
    assert counted(*[flow(THERE, OTHER)] * 5).roles().seen == 3
    assert Roles(1, 1, 1, 1, 0, 0).share(1) == 0.25
