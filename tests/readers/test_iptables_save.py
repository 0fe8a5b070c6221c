"""iptables-save is run only where that loads no table: the check must not be what brings NAT into a kernel."""

from __future__ import annotations

import os

import pytest

from check_conntrack_lib.readers import iptables_save, kube_services, nat_rules

LEGACY, NFT, OLD = 'xtables-legacy-multi', 'xtables-nft-multi', 'xtables-multi'
#: what distributions install: the name and the implementation
DEBIAN = {'iptables-save': NFT, 'iptables-nft-save': NFT, 'iptables-legacy-save': LEGACY}
LEGACY_CHOSEN = {'iptables-save': LEGACY, 'iptables-nft-save': NFT, 'iptables-legacy-save': LEGACY}
ENTERPRISE = {'iptables-save': NFT}
BEFORE_NFT = {'iptables-save': OLD}


@pytest.fixture
def install(tmp_path, monkeypatch):
    def made(programs):
        log = tmp_path / 'log'
        for implementation in {LEGACY, NFT, OLD}:
            (tmp_path / implementation).write_text(f'#!/bin/sh\necho "$0" >> {log}\n')
            (tmp_path / implementation).chmod(0o755)
        for name, implementation in programs.items():
            os.symlink(implementation, tmp_path / name)
        monkeypatch.setattr(iptables_save, 'DIRECTORIES', (str(tmp_path),))
        return log
    return made


def chosen(tables):
    return [os.path.basename(path) for path in iptables_save.programs('iptables', str(tables))]


@pytest.mark.parametrize(('programs', 'without', 'with_nat'), [
    (DEBIAN, ['iptables-save'], ['iptables-save', 'iptables-legacy-save']),
    (LEGACY_CHOSEN, ['iptables-nft-save'], ['iptables-save', 'iptables-nft-save']),
    (ENTERPRISE, ['iptables-save'], ['iptables-save']),
    (BEFORE_NFT, [], ['iptables-save']),
    ({}, [], []),
], ids=['debian', 'legacy chosen', 'enterprise', 'before nft', 'none'])
def test_a_legacy_program_is_run_only_where_its_table_exists(install, tmp_path, programs, without, with_nat):
    install(programs)
    tables = tmp_path / 'ip_tables_names'
    assert chosen(tables) == without, 'no such file: the module is not loaded'
    tables.write_text('filter\nmangle\n')
    assert chosen(tables) == without
    tables.write_text('filter\nnat\n')
    assert chosen(tables) == with_nat


def test_neither_reader_runs_another(install, monkeypatch):
    log = install({**LEGACY_CHOSEN, 'ip6tables-save': LEGACY, 'ip6tables-legacy-save': LEGACY})
    monkeypatch.setattr(iptables_save, '_has_nat', lambda tables: False)
    kube_services.read({'10.96.0.10'})
    nat_rules.read()
    assert {os.path.basename(line) for line in log.read_text().splitlines()} == {'iptables-nft-save'}
