"""The systemd units: what they start exists, and nothing they forbid is what a reading needs."""

from __future__ import annotations

import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path

import proctree
import pytest
from needed import need

from check_conntrack_lib.doctor import cli

UNITS = proctree.ROOT / 'packaging/systemd'
SERVICES = sorted(UNITS.glob('*.service'))
PAGE = (proctree.ROOT / 'docs/doctor.md').read_text()
#: the drop-ins that the page prints
DROP_INS = re.findall(r'^```ini\n(\[Service\]\n.*?)^```', PAGE, re.S | re.M)


def read(text: str) -> dict[str, list[tuple[str, str]]]:
    """Sections with their settings in order; one may come more than once."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        if line.startswith('['):
            section = found.setdefault(line.strip('[]'), [])
        elif line and not line.startswith('#'):
            name, _, value = line.partition('=')
            section.append((name, value))
    return found


def command(*texts: str) -> list[str]:
    """ExecStart with the variables as systemd sets them: ${A} is one word, $A any number of them."""
    service = [pair for text in texts for pair in read(text)['Service']]
    values = dict(value.strip('"').split('=', 1) for name, value in service if name == 'Environment')
    words = []
    for word in shlex.split(next(value for name, value in service if name == 'ExecStart')):
        if re.fullmatch(r'\$\w+', word):
            words += shlex.split(values[word[1:]])
        else:
            words.append(re.sub(r'\$\{(\w+)\}', lambda match: values[match[1]], word))
    return words


def test_there_are_the_units_that_the_packages_name():
    assert [path.name for path in sorted(UNITS.iterdir())] == [
        'conntrack-exporter.service', 'conntrack-textfile.service', 'conntrack-textfile.timer']
    for path in UNITS.iterdir():
        parser = ConfigParser(strict=False, interpolation=None, delimiters='=')
        parser.optionxform = str  # type: ignore[method-assign, assignment]
        parser.read(path)
        assert parser['Unit']['Documentation'] == 'man:conntrack-doctor(8)'


@pytest.mark.parametrize('unit', SERVICES, ids=lambda path: path.stem)
def test_what_they_start_is_a_command_that_exists(unit: Path):
    program, *argv = command(unit.read_text())
    assert program == '/usr/sbin/conntrack-doctor'
    arguments = cli.parser(argv).parse_args(argv)
    assert arguments.listen == ('127.0.0.1', 9318) if 'exporter' in unit.name else arguments.textfile.endswith('.prom')


@pytest.mark.parametrize('unit', SERVICES, ids=lambda path: path.stem)
def test_nothing_is_forbidden_that_a_reading_needs(unit: Path):
    """Tried with a running systemd by hand; each of these took a reading away."""
    service = read(unit.read_text())['Service']
    values = dict(service)
    assert not {'PrivateNetwork', 'ProcSubset', 'ProtectKernelLogs', 'PrivateDevices', 'PrivateUsers'} & values.keys()
    assert (values['CapabilityBoundingSet'], values['DeviceAllow']) == ('CAP_SYSLOG', '/dev/kmsg r')
    # syslog(2) tells how large the kernel's buffer is
    assert ('SystemCallFilter', '@system-service syslog') in service


def test_the_page_has_a_drop_in_for_what_needs_more():
    options = [command((UNITS / 'conntrack-exporter.service').read_text(), text) for text in DROP_INS]
    assert any('--per-host' in argv for argv in options)
    assert any(argv[-2:] == ['--netns', 'all'] for argv in options)
    for _, *argv in options:
        cli.parser(argv).parse_args(argv)


@pytest.mark.daemons
def test_systemd_finds_nothing_to_complain_of(tmp_path):
    analyze = need('systemd-analyze', 'systemd')
    copies = []
    for path in UNITS.iterdir():
        copies.append(tmp_path / path.name)
        # not installed here
        copies[-1].write_text(path.read_text().replace('/usr/sbin/conntrack-doctor', '/bin/sh'))
    done = subprocess.run([analyze, 'verify', '--man=no', *copies], capture_output=True, text=True, timeout=60)
    assert [line for line in done.stderr.splitlines() if 'conntrack' in line] == []
    for path in copies:
        if path.suffix == '.service':
            done = subprocess.run([analyze, 'security', '--offline=yes', '--threshold=25', path], text=True,
                                  capture_output=True, timeout=60)
            assert done.returncode == 0, done.stdout
