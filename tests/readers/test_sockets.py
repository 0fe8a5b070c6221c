"""Processes behind the flows, and the number of a network namespace: what is asked of psutil and of the kernel."""

from __future__ import annotations

import _socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import netns_cookie, sockets
from check_conntrack_lib.readers.sockets import Owner


class Refused(Exception):
    """psutil's own kind of error."""


def to(pid: int | None, address: str, port: int) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, raddr=SimpleNamespace(ip=address, port=port))


def psutil(monkeypatch: pytest.MonkeyPatch, *connections: Any, error: Exception | None = None) -> None:
    def listed(kind: str) -> tuple[Any, ...]:
        assert kind == 'inet'
        if error:
            raise error
        return connections

    monkeypatch.setitem(sys.modules, 'psutil', SimpleNamespace(net_connections=listed, Error=Refused))


def test_who_has_most_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for pid in (11, 12, 13, 14, 16):
        (tmp_path / f'{pid}').mkdir()
        (tmp_path / f'{pid}/comm').write_text(f'{"x" * 40 if pid == 14 else "app"}{pid}\n')
    monkeypatch.setattr(sockets, 'Host', lambda: Host(str(tmp_path)))
    listening = SimpleNamespace(pid=16, raddr=())
    psutil(monkeypatch, *[to(11, '10.0.0.1', 80)] * 4, *[to(12, '10.0.0.1', 443)] * 3, *[to(13, '10.0.0.2', 80)] * 2,
           to(14, '10.0.0.9', 80), *[listening] * 5, *[to(None, '10.0.0.1', 80)] * 5)
    assert sockets.owners() == (Owner('app11', 11, 4), Owner('app12', 12, 3), Owner('app13', 13, 2))
    assert sockets.owners('10.0.0.1') == (Owner('app11', 11, 4), Owner('app12', 12, 3))
    assert sockets.owners('10.0.0.1', 443) == (Owner('app12', 12, 3),)
    assert sockets.owners('10.0.0.9') == (Owner('x' * 29 + '...', 14, 1),)
    assert sockets.owners('10.0.0.3') == ()
    # one that ended meanwhile
    (tmp_path / '11/comm').unlink()
    assert sockets.owners(port=80) == (Owner('app13', 13, 2), Owner('x' * 29 + '...', 14, 1))


def test_processes_that_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, why in ((Refused('no such process'), 'sockets: no such process'),
                       (PermissionError(13, 'Permission denied'), 'sockets: Permission denied')):
        psutil(monkeypatch, error=error)
        found = sockets.owners()
        assert isinstance(found, Missing)
        assert found.why == why
    monkeypatch.setitem(sys.modules, 'psutil', None)
    assert sockets.owners() == Missing('python3-psutil not installed')


@pytest.mark.parametrize(('address', 'local'), [('127.0.0.1', True), ('192.0.2.1', False), ('2001:db8::1', False)])
def test_own_addresses_can_be_bound(address: str, local: bool) -> None:
    assert sockets.is_local(address) is local


@pytest.mark.parametrize(('answer', 'cookie'), [
    ((1 << 40).to_bytes(8, sys.byteorder), 1 << 40), (bytes([255] * 8), -1),
    (OSError(92, 'Protocol not available'), None)])
def test_the_number_of_a_network_namespace(monkeypatch: pytest.MonkeyPatch, answer: bytes | OSError,
                                           cookie: int | None) -> None:
    closed: list[bool] = []

    def asked(*what: int) -> bytes:
        assert what == (_socket.SOL_SOCKET, 71, 8)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def made(family: int, kind: int) -> SimpleNamespace:
        assert (family, kind) == (_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        return SimpleNamespace(getsockopt=asked, close=lambda: closed.append(True))

    monkeypatch.setattr(netns_cookie, '_socket', SimpleNamespace(**{**vars(_socket), 'socket': made}))
    assert netns_cookie.read() == cookie
    assert closed == [True]


def test_no_socket_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_what: int) -> None:
        raise OSError(24, 'Too many open files')

    monkeypatch.setattr(netns_cookie, '_socket', SimpleNamespace(**{**vars(_socket), 'socket': refused}))
    assert netns_cookie.read() is None
