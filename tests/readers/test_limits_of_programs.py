"""How long programs of the system are waited for, how much of what they print is taken, and which are run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import iptables_save, kube_services, module_files, nat_rules


def test_services_are_looked_for_until_all_are_found_and_for_2_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {'10.96.0.1': b'10.96.0.1 . tcp . 443 : goto service-A-a/one/tcp/x',
             '10.96.0.2': b'10.96.0.2 . tcp . 443 : goto service-A-a/two/tcp/x'}
    monkeypatch.setattr(kube_services, '_commands', lambda: [('fails',), *((address,) for address in names), ('late',)])
    ran: list[tuple[str, float]] = []

    def run(command: tuple[str], timeout: float, **_: object) -> SimpleNamespace:
        ran.append((command[0], timeout))
        if command == ('fails',):
            raise subprocess.TimeoutExpired(command, timeout)
        return SimpleNamespace(stdout=names.get(command[0], b''))

    monkeypatch.setattr(subprocess, 'run', run)
    one, two = {'10.96.0.1': 'a/one'}, {'10.96.0.2': 'a/two'}
    for times, wanted, found, commands in (
            ((10.0, 10.0, 10.5, 11.0, 11.5), [*names, 'x'], {**one, **two},
             [('fails', 2.0), ('10.96.0.1', 1.5), ('10.96.0.2', 1.0), ('late', 0.5)]),
            ((10.0, 10.0, 10.5, 11.0), [*one], one, [('fails', 2.0), ('10.96.0.1', 1.5)]),
            ((10.0, 10.0, 11.5, 12.0), [*names], one, [('fails', 2.0), ('10.96.0.1', 0.5)])):
        monkeypatch.setattr(kube_services, 'time', SimpleNamespace(monotonic=iter(times).__next__))
        assert kube_services.read(wanted) == found
        assert ran == commands
        ran.clear()


def test_which_programs_know_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables_save, 'nat_programs', lambda: ('/sbin/iptables-save',))
    monkeypatch.setattr(iptables_save, 'nat_programs6', lambda: ('/sbin/ip6tables-save',))
    legacy = [('/sbin/iptables-save', '-t', 'nat'), ('/sbin/ip6tables-save', '-t', 'nat')]
    for nft, more in (('', []), ('/sbin/nft', [('/sbin/nft', 'list', 'map', family, 'kube-proxy', 'service-ips')
                                               for family in ('ip', 'ip6')])):
        monkeypatch.setattr(iptables_save, 'find', {'nft': nft}.get)
        assert kube_services._commands() == legacy + more


@pytest.mark.parametrize(('size', 'taken'), [(8 << 20, True), ((8 << 20) + 1, False)])
def test_rules_of_8_mib_within_2_seconds(monkeypatch: pytest.MonkeyPatch, size: int, taken: bool) -> None:
    def run(command: list[str], timeout: float, **_: object) -> SimpleNamespace:
        assert (command, timeout) == (['/sbin/nft', '-a'], 2.0)
        return SimpleNamespace(returncode=0, stdout=b'x' * size)

    monkeypatch.setattr(subprocess, 'run', run)
    found = nat_rules._run('/sbin/nft', '-a')
    assert found == ('x' * size if taken else Missing('nft: no rules could be read'))


def test_a_file_of_modules_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / '1/root/etc/modules-load.d'
    folder.mkdir(parents=True)
    for name in ('a.conf', 'b.conf'):
        (folder / name).write_text('nf_conntrack\n')
    read = module_files.read_text

    def refused(root: str, path: str) -> str:
        if path.endswith('a.conf'):
            raise PermissionError(13, 'Permission denied')
        return read(root, path)

    monkeypatch.setattr(module_files, 'read_text', refused)
    assert module_files.read(Host(str(tmp_path))).loaded_by == '/etc/modules-load.d/b.conf'
