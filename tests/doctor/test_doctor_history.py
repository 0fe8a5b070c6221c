"""history: the picture in characters, as SVG and as HTML, the numbers, and clear words where there is nothing."""

import csv
import importlib.util
import io
import re
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pasts
import proctree
import pytest
from needed import need

from check_conntrack_lib.doctor import cli
from check_conntrack_lib.doctor.history import facts
from check_conntrack_lib.model import Missing


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    return pasts.write(tmp_path_factory.mktemp('past') / 'history.sqlite', pasts.incident(), pasts.profiles())


def history(path, *arguments, encoding='utf-8'):
    return proctree.doctor_here(path.parent, 'history', '--history', f'./{path.name}', *arguments, encoding=encoding)


def history_in_a_process(path, *arguments):
    return subprocess.run(proctree.command('history', '--history', path, *arguments), cwd=proctree.ROOT, timeout=60,
                          capture_output=True, text=True, encoding='utf-8')


def test_the_picture_of_an_incident(recorded, request):
    done = history(recorded)
    assert (done.returncode, done.stderr) == (0, '')
    proctree.check_golden(request, 'history-incident.txt', done.stdout)
    assert max(map(len, done.stdout.split('\n\npeak')[0].splitlines())) <= 80


def test_other_namespaces_times_and_terminals(recorded, request):
    done = history(recorded, '--netns', pasts.CONTAINER, '--from', '2026-11-19', '--to', '2026-11-19 18:00',
                   encoding='ascii')
    assert done.stdout.isascii()
    proctree.check_golden(request, 'history-container.txt', done.stdout)


@pytest.mark.parametrize(('kept', 'said'), [
    (lambda quiet: False, 'cause            not recorded: no baseline of the day before'),
    (lambda quiet: quiet, 'cause            not recorded: no profile of the flows then'),
    (lambda quiet: True, 'cause            udp to 10.0.0.53:53 grew from 5% to 65% of the table (+167843 entries)'),
])
def test_who_grew(tmp_path, kept, said):
    profiles = [past for past in pasts.profiles() if kept(past[2])]
    done = history(pasts.write(tmp_path / 'h.sqlite', pasts.incident(), profiles))
    assert said in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(('samples', 'said'), [
    ([pasts.sample(0, 131072)], ['1 sample in 0 s, from', '50.0% used (131072 of 262144)', 'not recorded (no']),
    ([pasts.sample(0, 9, maximum=0), pasts.sample(60, 99, maximum=0)], ['99 entries, no limit', '+90 entries/min']),
    ([pasts.sample(0, 300), pasts.sample(60, 600, maximum=300)], ['200.0% used (600 of 300)']),
    ([pasts.sample(0, 0), pasts.sample(7 * 86400.0, 0)], ['0.0% used (0 of 262144)', '7 days']),
])
def test_small_and_odd_pasts(tmp_path, samples, said):
    path = pasts.write(tmp_path / 'h.sqlite', samples)
    done = history(path)
    assert (done.returncode, done.stderr) == (0, '')
    for words in said:
        assert words in done.stdout
    if plotted():
        # the picture is in it
        done = history(path, '--html', 'h.html')
        assert (done.returncode, done.stderr) == (0, '')


def test_a_sample_of_2099_does_not_stretch_the_chart(tmp_path):
    """The clock was wrong for one run."""
    past = [pasts.sample(60.0 * k, 100) for k in range(30)]
    path = pasts.write(tmp_path / 'h.sqlite', [
        *(one._replace(at=one.at._replace(wall=1.5e9 + 60.0 * k)) for k, one in enumerate(past)),
        past[-1]._replace(at=past[-1].at._replace(wall=4.1e9, uptime=past[-1].at.uptime + 60))])
    done = history(path)
    assert done.stderr == \
        'conntrack-doctor: left out, as dated after tomorrow: 1 of 31 samples; --to 9999-01-01 shows them\n'
    assert '30 samples in 29 min' in done.stdout
    assert '31 samples in' in history(path, '--to', '9999-01-01').stdout
    assert len(history(path, '--csv').stdout.splitlines()) == 32


def test_csv_has_every_sample(recorded):
    done = history(recorded, '--csv', '--netns', pasts.INITIAL)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 864
    assert sum(int(row['dropped'] or 0) for row in rows) == 25500
    assert sum(int(row['early_drop'] or 0) for row in rows) == 360
    gaps = [k for k, row in enumerate(rows) if not row['dropped']]
    assert gaps == [0, 720], 'the beginning and the reboot'
    assert rows[1]['time'] == '2026-11-18T11:11:40+00:00'
    assert (rows[1]['seconds'], rows[1]['growth_per_s']) == ('300.000', '3.5300')


@pytest.mark.parametrize(('argv', 'said'), [
    (['--history', '/nonexistent'], '/nonexistent: No such file or directory'),
    (['--history', '/dev/null'], '/dev/null is not a regular file'),
    (['--from', 'yesterday'], "argument --from: 'yesterday' is not a time, such as '2026-11-20 02:10'"),
    (['--from', '2026-13-01'], "'2026-13-01' is not a time"),
    (['--from', '1h', '--to', '2h'], '--from is after --to'),
    (['--netns', '5'], f"namespace '5' is not in the history; recorded: {pasts.INITIAL}, {pasts.CONTAINER}"),
    (['--from', '2030-01-01'], 'nothing recorded between these times'),
    (['--svg', '/nonexistent/h.svg'], '/nonexistent: no such directory'),
])
def test_what_cannot_be_had_is_one_line(recorded, argv, said, capsys):
    if '--svg' in argv:
        plotted() or pytest.skip('matplotlib is not installed: apt install python3-matplotlib')
    assert cli.main(['history', *(argv if '--history' in argv else ['--history', str(recorded), *argv])]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count('\n')) == ('', 1)
    assert said in err


def test_no_history_yet_says_where_it_looked_and_from_when_on(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr('check_conntrack_lib.history.readonly.candidate_files',
                        lambda _: [str(tmp_path / 'a'), str(tmp_path / 'b')])
    assert cli.main(['history']) == 2
    assert capsys.readouterr().err == (
        f'conntrack-doctor: no history yet (looked for {tmp_path}/a, {tmp_path}/b); '
        'check_conntrack records it from its first run\n')


def test_log_lines_are_those_of_this_boot_and_namespace(tmp_path):
    proctree.make(tmp_path / 'proc')
    host = host_at(tmp_path / 'proc')
    (tmp_path / 'log').write_text(
        '4,1,50000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'
        '4,1,1000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'
        '4,1,60000000,-;nf_conntrack: nf_conntrack: table full in netns 4026532501, dropping packet\n')
    own = facts.HistoryFacts('', past(boot_id=proctree.BOOT_ID), [], [], (), []).intervals
    assert facts.log_marks(host, own, str(tmp_path / 'log')) == (pasts.BEGIN + 50,)
    other = facts.log_marks(host, past(boot_id='other'), str(tmp_path / 'log'))
    assert isinstance(other, Missing)
    assert other.chosen


@pytest.mark.parametrize(('drops', 'lines'), [
    # the module was loaded again after a loss: its lines are of the table before
    ((0, 30, 0, 0), 1), ((0, 30, 7, 7), 1),
    # a neighbour's: this one has never dropped a packet, or had dropped all of them before
    ((0, 0, 0, 0), 0), ((7, 7, 7, 7), 0)])
def test_below_6_18_log_lines_go_to_whom_they_can_be_of(tmp_path, drops, lines):
    proctree.make(tmp_path / 'proc')
    (tmp_path / 'log').write_text('4,1,38000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n')
    own = past(proctree.BOOT_ID, dict(zip((20, 40, 60, 80), drops)))
    assert facts.log_marks(host_at(tmp_path / 'proc'), own, str(tmp_path / 'log')) == (pasts.BEGIN + 38,) * lines


@pytest.mark.parametrize(('dropped', 'lines'), [(0, 0), (7, 1)])
def test_at_the_first_sample_its_counters_tell(tmp_path, dropped, lines):
    proctree.make(tmp_path / 'proc')
    (tmp_path / 'log').write_text('4,1,22000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n')
    own = past(proctree.BOOT_ID, {20: dropped, 80: dropped})
    assert len(facts.log_marks(host_at(tmp_path / 'proc'), own, str(tmp_path / 'log'))) == lines


def past(boot_id, drops=None):
    from check_conntrack_lib.analysis.timeline import intervals

    drops = drops or {20 + k: k for k in range(50)}
    return intervals([pasts.sample(second, 1, drop=drop, netns=proctree.NETNS)._replace(boot_id=boot_id)
                      for second, drop in drops.items()])


def host_at(root):
    from check_conntrack_lib.host import Host
    from check_conntrack_lib.model import Instant

    return Host(str(root), lambda: Instant(pasts.BEGIN + 100, 100.0, 100.0))


# drawn by matplotlib

def plotted():
    # importing it takes half a second, of each process that collects the tests
    return importlib.util.find_spec('matplotlib') is not None


drawn = pytest.mark.skipif(not plotted(), reason='matplotlib is not installed: apt install python3-matplotlib')


@pytest.mark.slow
@drawn
def test_the_svg_is_well_formed_adapts_and_is_the_same_again(recorded, tmp_path):
    done = history(recorded, '--svg', tmp_path / 'a.svg')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    history_in_a_process(recorded, '--svg', tmp_path / 'b.svg')
    text = (tmp_path / 'a.svg').read_text()
    assert text == (tmp_path / 'b.svg').read_text()
    root = ET.fromstring(text)
    assert {'width', 'height'} & root.attrib.keys() == set()
    assert 'prefers-color-scheme:dark' in text
    words = {element.text for element in root.iter('{http://www.w3.org/2000/svg}text')}
    assert {'% of nf_conntrack_max used', 'growth, entries per minute', 'per second', 'entries by state',
            'ESTABLISHED', 'udp', 'other', 'Nov 20'} <= words
    assert len(text) < 250_000


class Checker(HTMLParser):
    """Open and close tags fit, and nothing is loaded from anywhere."""

    VOID = frozenset({'meta', 'input', 'br'})
    #: closed by what follows
    OPTIONAL = frozenset({'td', 'th', 'tr'})

    def __init__(self):
        super().__init__()
        self.open = []
        self.words = []

    def handle_starttag(self, tag, attrs):
        # the one that sorts tables, which is part of the file
        assert tag != 'script' or not attrs
        for name, value in attrs:
            assert name not in ('src', 'srcset', 'data', 'onclick', 'onload'), (tag, name)
            assert not name.endswith('href') or value.startswith('#'), value
        if tag not in self.VOID | self.OPTIONAL:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.OPTIONAL:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if 'style' not in self.open and 'svg' not in self.open:
            self.words.append(data)


@pytest.mark.slow
@drawn
def test_the_html_is_one_file_with_everything(recorded, tmp_path, request):
    done = history(recorded, '--html', tmp_path / 'h.html')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    text = (tmp_path / 'h.html').read_text()
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert not re.search(r'url\((?!#)|@import', text)
    proctree.check_golden(request, 'history-incident.html',
                          re.sub(r'<svg .*</svg>', '<svg/>', text, count=1, flags=re.DOTALL))


@pytest.mark.slow
@drawn
def test_foreign_text_is_harmless(tmp_path):
    name = '<img src=x onerror=alert(1)>.sqlite'
    path = pasts.write(tmp_path / name, [pasts.sample(0, 1), pasts.sample(60, 2)])
    history(path, '--html', 'h.html')
    assert '<img' not in (tmp_path / 'h.html').read_text()


def test_without_matplotlib_one_line_says_what_to_install(recorded):
    code = 'import sys; sys.modules["matplotlib"] = None; from check_conntrack_lib.doctor import cli; ' \
           f'sys.exit(cli.main(["history", "--file", {str(recorded)!r}, "--html", "/nonexistent/x"]))'
    done = subprocess.run([proctree.sys.executable, '-c', code], cwd=proctree.ROOT, capture_output=True, text=True,
                          timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (
        2, '', 'conntrack-doctor: --svg and --html need the Python library matplotlib: apt install '
               'python3-matplotlib, or pip install matplotlib\n')


@drawn
@pytest.mark.daemons
def test_a_real_browser_shows_it_light_and_dark(recorded, tmp_path):
    from matplotlib.image import imread

    chromium = need('chromium', 'chromium')
    history(recorded, '--html', tmp_path / 'h.html')
    pixels = {}
    for mode in ('light', 'dark'):
        picture = Path(tmp_path, f'{mode}.png')
        subprocess.run(
            [chromium, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--window-size=500,900',
             f'--user-data-dir={tmp_path}/profile', f'--screenshot={picture}',
             *(['--force-dark-mode'] if mode == 'dark' else []), f'file://{tmp_path}/h.html'],
            check=True, capture_output=True, timeout=60)
        pixels[mode] = (imread(picture)[:, :, :3] * 255).round().astype(int)
    for mode, paper, blue in (('light', [255, 255, 255], [9, 105, 218]), ('dark', [13, 17, 23], [88, 166, 255])):
        assert pixels[mode].shape == (900, 500, 3)
        assert pixels[mode][5, 5].tolist() == paper, mode
        assert pixels[mode][120, 250].tolist() == paper, 'the paper of the picture'
        assert (abs(pixels[mode] - blue).sum(axis=2) < 30).sum() > 300, 'the line of the usage'
        # nothing is wider than a telephone: the right margin is empty
        assert (pixels[mode][:, 492:] == paper).all()
