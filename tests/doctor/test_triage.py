"""triage: the whole screen over captured hosts, the JSON, bad input, and how it treats a terminal."""

import contextlib
import json
import os
import pty
import re
import select
import shutil
import subprocess

import proctree
import pytest
import scenarios

from check_conntrack_lib.doctor import cli
from check_conntrack_lib.doctor.text_layout import TextLayout
from check_conntrack_lib.doctor.triage import json_output, reading, report
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import addresses

#: a scenario, and the kernel that it was captured on
HOSTS = {'why-one-client': '6.18.44', 'full': '6.18.44', 'chains-too-long': '5.15.0-100-generic',
         'rising-75': '6.1.0-18-amd64', 'max-0': '5.4.0', 'no-stat-file': '6.8.0', 'first-run': '6.18.44',
         'insert-failed': '6.18.44', 'log-without-counters': '6.18.44', 'quiet-gateway': '6.18.44'}


@pytest.fixture
def gathered(tmp_path, monkeypatch):
    """The scene of a captured host, its history recorded before."""
    def gather(name, release='6.18.44', own=None, most=20000, edit=None):
        scenario = scenarios.load(name)
        tree = tmp_path / name
        shutil.copytree(scenario.directory, tree, symlinks=True)
        tree.chmod(0o755)  # a checkout may be writable for a group
        (tree / 'proc/sys/kernel/osrelease').write_text(release + '\n')
        (tree / 'proc/sys/kernel/hostname').write_text('gw1\n')
        (tree / 'proc/stat').write_text('cpu  9 9 9 9 9 9 9 9\ncpu0 100 0 100 800 0 0 10 0 0 0\n')
        (tree / 'proc/meminfo').write_text('MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n')
        (tree / 'proc/123').mkdir()
        (tree / 'proc/123/comm').write_text('keepalived\n')
        for seconds, timeout in ((30, 'udp_timeout'), (120, 'udp_timeout_stream'), (432000, 'tcp_timeout_established')):
            (tree / f'proc/sys/net/netfilter/nf_conntrack_{timeout}').write_text(f'{seconds}\n')
        if edit:
            flows = tree / 'proc/net/nf_conntrack'
            flows.write_text(''.join(map(edit, flows.read_text().splitlines(True))))
        scenarios.record(scenario, tree / 'history.sqlite')
        monkeypatch.chdir(tree)
        monkeypatch.setattr(shutil, 'which', lambda tool, **_: f'/usr/sbin/{tool}')
        if own is not None:
            monkeypatch.setattr(Host, 'is_this_kernel', lambda _host: True)
            monkeypatch.setattr('check_conntrack_lib.readers.ctnetlink.read_flows', lambda *_: Missing('needs root'))
            monkeypatch.setattr(addresses, 'read', lambda: own)

        def pause(_seconds):
            (tree / 'proc/stat').write_text('cpu0 110 0 100 850 0 0 50 0 0 0\n')

        return reading.gather(Host('proc', scenario.clock), './kmsg.log', 'history.sqlite', most,
                              contextlib.nullcontext, pause)
    return gather


@pytest.mark.parametrize('name', HOSTS)
def test_the_screen(name, gathered, request):
    seen = report.text(gathered(name, HOSTS[name]), TextLayout(80))
    proctree.check_golden(request, f'triage-{name}.txt', seen)
    rows = seen.splitlines()
    assert len(rows) <= 45
    assert not [row for row in rows if len(row) > 80 and not row.startswith('     ')]
    assert '\x1b' not in seen


def test_nothing_is_recorded(gathered, tmp_path):
    gathered('why-one-client')
    path = tmp_path / 'why-one-client/history.sqlite'
    before = (path.stat().st_mtime_ns, path.read_bytes())
    reading.gather(Host('proc'), 'off', str(path), 20000, contextlib.nullcontext, lambda _: None)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert not list(path.parent.glob('history.sqlite-*'))


def test_the_addresses_tell_the_role(gathered):
    nat = gathered('why-one-client', own=frozenset({bytes([198, 51, 100, 1])}))
    assert 'role        router or firewall: forwards 100%; 25% source NAT' in report.text(nat, TextLayout(80))
    assert json.loads(json_output.as_json(nat))['role']['forwarded'] == 970


def test_a_server(gathered):
    said = report.text(gathered('why-one-client', own=frozenset({bytes([10, 0, 0, 53])})), TextLayout(80))
    assert 'role        server: forwards 25%, serves 75%; ' in said


def test_tables_and_colours_are_for_terminals(gathered):
    seen = gathered('why-one-client')
    table = report.text(seen, TextLayout(80, tables=True))
    assert '\ntop         source        target          port\n            10.2.3.4 72%  10.0.0.53 75%   udp 53 75%\n' \
        in table
    coloured = report.text(seen, TextLayout(80, tables=True, colours=True))
    assert '\x1b[1;31musage ' in coloured
    assert re.sub(r'\x1b\[[0-9;]*m', '', coloured) == table
    narrow = report.text(seen, TextLayout(40, tables=True))
    assert not [row for row in narrow.splitlines() if len(row) > 40 and not re.match(r'   ( {2,4}\S|undo: )', row)]


def with_zones_and_bytes(line):
    """The DNS queries in a zone; all but TIME_WAIT made since bytes are counted."""
    zone, size = (5, 120) if 'dport=53' in line else (0, 40_000)
    line = re.sub(r'zone=0', f'zone={zone}', line)
    return line if 'TIME_WAIT' in line else re.sub(r'(dport=\d+)', rf'\1 packets=2 bytes={size}', line)


def test_zones_and_bytes(gathered, request):
    seen = gathered('why-one-client', edit=with_zones_and_bytes)
    screens = [report.text(seen, TextLayout(width, tables)).partition('\nActions')[0]
               for width, tables in ((80, False), (100, True), (40, True))]
    proctree.check_golden(request, 'triage-zones-and-bytes.txt', '\n\n'.join(screens) + '\n')
    got = json.loads(json_output.as_json(seen))['profile']
    assert got['zones'][0]['zone'] == 5
    assert got['traffic']['targets'][0]['destination'] == '192.0.2.80'
    # where neither is in use there is no word of them
    plain = report.text(gathered('full'), TextLayout(80))
    assert not re.search('^(zones|bytes)', plain, re.MULTILINE)


def test_json_is_everything(gathered):
    # JSON has no Infinity, as Python's own would write it for what was never seen
    got = json.loads(json_output.as_json(gathered('why-one-client')), parse_constant=pytest.fail)
    assert got['table'] == {'entries': 970, 'limit': 1000, 'usage_percent': 97.0, 'buckets': 1024,
                            'entries_per_bucket': 970 / 1024, 'entries_per_bucket_limit': 16.0}
    assert (got['crowded'], got['chains_too_long'], got['node']) == (True, False, 'gw1')
    assert got['profile']['states'][0] == {'protocol': 'udp', 'state': '', 'seen': 730}
    assert got['changed'][0]['most_from'] == '10.2.3.4'
    assert [move['title'].split()[0] for move in got['moves']] == ['raise', 'rate-limit']
    assert got['softirqs'] == {'0': 0.4}
    assert got['missing'] == {}


def test_json_of_a_table_that_never_dropped(gathered):
    seen = gathered('why-one-client')
    never = seen.assessment.log._replace(without_drops=float('inf'))
    got = json.loads(json_output.as_json(seen._replace(assessment=seen.assessment._replace(log=never))),
                     parse_constant=pytest.fail)
    assert got['log']['without_drops'] is None


@pytest.mark.parametrize(('argv', 'said'), [
    (['--sample', '0'], "argument --sample: '0' is not a number of entries"),
    (['--procfs', '/nonexistent'], "--procfs: '/nonexistent' is not a directory"),
    (['--colour'], 'unrecognized arguments: --colour'),
])
def test_bad_input_is_one_line(argv, said, capsys):
    assert cli.main(['triage', *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count('\n')) == ('', 1)
    assert said in err


def test_no_connection_tracking_is_one_line(tmp_path):
    proctree.unload(tmp_path)
    done = proctree.doctor('triage', '--procfs', tmp_path, '--kernel-log', 'off')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == ('conntrack-doctor: connection tracking is not loaded: no '
                           f'{tmp_path}/sys/net/netfilter/nf_conntrack_count\n')


@pytest.mark.slow
@pytest.mark.parametrize('content', [b'', b'no database'])
def test_a_foreign_history_costs_only_what_it_would_tell(tmp_path, content):
    proctree.make(tmp_path / 'proc', entries=250000)
    path = tmp_path / 'h.sqlite'
    path.write_bytes(content)
    done = proctree.doctor('triage', '--procfs', tmp_path / 'proc', '--kernel-log', 'off', '--history', path)
    assert (done.returncode, done.stderr) == (0, '')
    assert 'usage       exhausted: 95.4% used (250000 of 262144)' in done.stdout
    assert 'unavailable history:' in done.stdout


def test_all_flows_of_another_host_are_not_to_be_had(tmp_path):
    proctree.make(tmp_path)
    done = proctree.doctor('triage', '--procfs', tmp_path, '--kernel-log', 'off', '--exact')
    assert done.returncode == 0
    assert 'all flows are read of the running kernel' in done.stdout


class OnTerminal:
    def __init__(self, *arguments, **environment):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            proctree.command('triage', *arguments), cwd=proctree.ROOT, stdin=slave, stdout=slave, stderr=slave,
            env={**{k: v for k, v in os.environ.items() if k != 'NO_COLOR'}, 'TERM': 'xterm', **environment})
        os.close(slave)

    def output(self):
        said = b''
        with contextlib.suppress(OSError):  # EIO: the last writer is gone
            while select.select([self.master], [], [], 20)[0]:
                part = os.read(self.master, 65536)
                if not part:
                    break
                said += part
        os.close(self.master)
        assert self.process.wait(10) == 0
        return said.decode().replace('\r\n', '\n')


@pytest.mark.slow
@pytest.mark.parametrize(('environment', 'colours'),
                         [({}, True), ({'NO_COLOR': '1'}, False), ({'TERM': 'dumb'}, False)])
def test_on_a_terminal(tmp_path, environment, colours):
    proctree.make(tmp_path, entries=250000)
    said = OnTerminal('--procfs', tmp_path, '--kernel-log', 'off', **environment).output()
    assert ('\x1b[1;31musage ' in said) is colours
    assert ('\x1b' in said) is colours
    rows = re.sub(r'\x1b\[[0-9;]*m', '', said).splitlines()
    # a path stays whole
    assert [row for row in rows if len(row) > 80 and '/' not in row] == []
