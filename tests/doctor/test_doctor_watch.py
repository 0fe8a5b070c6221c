"""watch: what it says of a table that fills and loses packets, and how it treats a terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import laboratory
import proctree
import pytest

from check_conntrack_lib.doctor import readings
from check_conntrack_lib.doctor.watch import view
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant, Missing
from check_conntrack_lib.readers.ctnetlink_events import NewConnections

RECORDS = '4,3,998500000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'


def moments(root, story, log='off'):
    """A Moment for each (seconds, entries, maximum, drops, refused for a long chain) of a story."""
    now = None
    for second, entries, maximum, dropped, refused in story:
        stat = f'{proctree.HEADER}\n{entries:08x} ' + ' '.join(
            f'{ {"drop": dropped, "chainlength": refused}.get(name, 0):08x}' for name in proctree.HEADER.split()[1:])
        proctree.make(root, entries, maximum, stat + '\n')
        at = Instant(1795185614.0 + second, 1000.0 + second, 1000.0 + second)
        now = view.next_state(now, readings.take(Host(str(root), lambda at=at: at), log, 300.0))
        yield now


def picture(moment, bar=30):
    return ''.join(f'{line.severity} {line.label:14}{line.text}\n' for line in view.screen(moment, bar)) \
        + view.one_line(moment) + '\n\n'


def test_a_table_fills_and_loses_packets(tmp_path, request):
    (tmp_path / 'log').write_text(RECORDS)
    story = [(k * 2, 200000 + k * 1000, 262144, 0, 0) for k in range(30)]
    story += [(60 + k * 2, min(262144, 230000 + k * 2000), 262144, max(0, k - 17) * 100, max(0, k - 18) * 10)
              for k in range(20)]
    seen = list(moments(tmp_path / 'proc', story, str(tmp_path / 'log')))
    proctree.check_golden(request, 'watch-filling.txt',
                          ''.join(picture(seen[k]) for k in (0, 1, 7, 29, 48, 49)))


NO_MORE = 'evicted 0/s (total 0), insert_failed 0/s (total 0)'


@pytest.mark.parametrize(('step', 'said'), [
    ((4, 0, 0, 5, 0), f'0 entries, no limit, dropped 2.5/s (total 5), {NO_MORE}'),
    # counters that were reset count from zero
    ((4, 10, 100, 1, 0), f'10.0% used (10 of 100), dropped 0.5/s (total 1), {NO_MORE}'),
    ((4, 150, 100, 7, 1), f'150.0% used (150 of 100), dropped 4.0/s (total 8), {NO_MORE}'),
])
def test_one_step(tmp_path, step, said):
    start = 0x90000000 if step[3] == 1 else 0
    assert view.one_line(list(moments(tmp_path, [(0, 10, 100, start, 0), (2, 10, 100, start, 0), step]))[-1]) == said


def test_the_buckets_are_shared_with_other_namespaces(tmp_path):
    (tmp_path / 'sys/kernel').mkdir(parents=True)
    (tmp_path / 'sys/kernel/osrelease').write_text('6.18.44\n')
    (tmp_path / 'slabinfo').write_text('nf_conntrack 200000 200016 256 16 1 : tunables 0 0 0 : slabdata 1 1 0\n')
    line = view.screen(next(moments(tmp_path, [(0, 40, 262144, 0, 0)])), 0)[0]
    assert line.text == '0.0% used (40 of 262144), 3.1 per bucket with those of other namespaces'


def test_not_loaded_and_back(tmp_path):
    steps = moments(tmp_path, [(0, 10, 100, 0, 0), (2, 20, 100, 5, 0)])
    first = next(steps)
    proctree.unload(tmp_path)
    gone = view.next_state(first, readings.take(Host(str(tmp_path)), 'off', 300.0))
    path = tmp_path / 'sys/net/netfilter/nf_conntrack_count'
    assert view.one_line(gone) == f'nf_conntrack is not loaded (no {path})'
    proctree.make(tmp_path)
    back = view.next_state(gone, readings.take(Host(str(tmp_path)), 'off', 300.0))
    assert view.one_line(back) == '12.4% used (32512 of 262144)'


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    proctree.make(tmp_path)
    done = proctree.doctor('watch', '--procfs', tmp_path, '--kernel-log', 'off', '--every', '0.05', '--count', '3')
    assert (done.returncode, done.stderr) == (0, '')
    stamp = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC 12.4% used \(32512 of 262144\)'
    assert re.fullmatch(rf'{stamp}\n({stamp}, dropped 0/s \(total 0\), {re.escape(NO_MORE)}\n){{2}}',
                        done.stdout)


def test_without_a_table_at_the_end_the_status_is_that_of_the_other_verbs(tmp_path):
    proctree.make(tmp_path)
    proctree.unload(tmp_path)
    done = proctree.doctor('watch', '--procfs', tmp_path, '--kernel-log', 'off', '--every', '0.05', '--count', '2')
    assert done.returncode == 2
    assert done.stdout.count('nf_conntrack is not loaded') == 2


class Screen:
    """What a terminal of this size would show: as much of it as watch needs."""

    def __init__(self, rows=24, columns=80):
        self.rows, self.columns = rows, columns
        self.text = [[' '] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.rest = ''

    def feed(self, data):
        data, self.rest = self.rest + data, ''
        for part in re.findall(r'\x1b\[[0-9;]*[A-Za-z]|\x1b.*$|[^\x1b]', data, re.DOTALL):
            if part == '\n':
                self.row += 1
                if self.row == self.rows:
                    self.text = [*self.text[1:], [' '] * self.columns]
                    self.row -= 1
            elif part == '\r':
                self.column = 0
            elif part[0] != '\x1b':
                assert self.column < self.columns, 'a line is too long'
                self.text[self.row][self.column] = part
                self.column += 1
            elif part[-1] == 'A':
                self.row = max(0, self.row - int(part[2:-1]))
            elif part[-1] == 'K':
                self.text[self.row][self.column:] = [' '] * (self.columns - self.column)
            elif part in ('\x1b[J', '\x1b[2J'):
                first = self.row if part == '\x1b[J' else 0
                self.text[first:] = [[' '] * self.columns for _ in range(self.rows - first)]
            elif part == '\x1b[H':
                self.row = self.column = 0
            elif part[-1] != 'm':
                assert re.fullmatch(r'\x1b(\[[0-9;]*)?', part), f'unknown: {part!r}'
                self.rest = part

    def lines(self):
        return [''.join(line).rstrip() for line in self.text]


class OnTerminal:
    """The doctor with a pseudo-terminal, whose screen is kept."""

    def __init__(self, *arguments, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            proctree.command(*arguments), cwd=proctree.ROOT, stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, 'TERM': 'xterm'}, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.unchanged = lambda: termios.tcgetattr(slave) == before
        self.raw = ''

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.screen = Screen(rows, columns)

    def read(self, seconds):
        """Takes in what is written within this time; False when nothing was."""
        if not select.select([self.master], [], [], max(0.0, seconds))[0]:
            return False
        with contextlib.suppress(OSError):
            data = os.read(self.master, 65536).decode()
            self.raw += data
            self.screen.feed(data)
        return True

    def read_until(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            assert self.read(end - time.monotonic()), self.screen.lines()

    def drawn(self, times):
        return lambda: self.raw.count('\x1b[J') >= times

    def stop(self):
        """Stops it after a whole drawing, with everything read that it wrote."""
        proctree.stop(self.process)
        self.read_until(lambda: self.raw.endswith('\x1b[J'))
        while self.read(0.3):
            pass

    def end(self, by):
        # a terminal echoes amid a drawing, and at ^C throws away what nobody has read yet
        self.stop()
        os.write(self.master, by)
        self.read_until(lambda: self.raw.endswith('^C'))
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(10)
        self.read_until(lambda: self.screen.lines()[self.screen.row - 1].startswith('^C'))
        return self.process.returncode


@pytest.fixture
def on_terminal(tmp_path):
    proctree.make(tmp_path, entries=250000)
    return lambda *more, **size: OnTerminal('watch', '--procfs', tmp_path, '--kernel-log', 'off', '--every', '0.1',
                                            *more, **size)


@pytest.mark.slow
def test_a_terminal_is_refreshed_in_place_and_left_as_it_was(on_terminal, tmp_path):
    watch = on_terminal()
    watch.read_until(watch.drawn(3))
    proctree.make(tmp_path, entries=131072)
    watch.read_until(lambda: '50.0% used' in watch.screen.lines()[1])
    assert watch.screen.lines()[0].startswith(f'conntrack-doctor watch: {os.uname().nodename}, every 0.1 s, ')
    assert watch.screen.lines()[1:6] == [
        'usage         [######------] 50.0% used (131072 of 262144), 2.0 per bucket',
        'growth        measuring (10 s)', 'dropped       0/s now, 0 since start',
        'evicted       0/s now, 0 since start', 'insert_failed 0/s now, 0 since start']
    assert watch.screen.lines()[6].startswith('not shown     states: no ')
    assert not any(watch.screen.lines()[7:])
    assert '\x1b[1;31musage' in watch.raw, 'a full table is red'
    assert watch.end(b'\x03') == 130
    assert watch.screen.lines()[7] == '^C'
    assert not any(watch.screen.lines()[8:])
    assert not re.search(r'\x1b\[\?', watch.raw), 'modes that would have to be restored'
    assert watch.unchanged()


@pytest.mark.slow
def test_a_small_terminal_gets_what_fits(on_terminal):
    watch = on_terminal(rows=4, columns=20)
    watch.read_until(watch.drawn(3))
    assert watch.screen.lines() == ['conntrack-doctor wa', 'usage         95.4%', 'growth        measu', '']
    watch.end(b'\x03')


@pytest.mark.slow
def test_a_resized_terminal_is_drawn_anew(on_terminal):
    watch = on_terminal()
    watch.read_until(watch.drawn(2))
    watch.resize(12, 60)
    watch.raw = ''
    watch.read_until(lambda: '\x1b[2J' in watch.raw and watch.drawn(3)())
    watch.screen = Screen(12, 60)
    watch.raw = ''
    watch.read_until(watch.drawn(2))
    assert len([line for line in watch.screen.lines() if line.startswith('usage')]) == 1
    watch.end(b'\x03')


@pytest.mark.slow
def test_after_a_stop_others_lines_are_left_alone(on_terminal):
    watch = on_terminal()
    watch.read_until(watch.drawn(2))
    watch.stop()
    watch.screen.feed('\r\n$ fg\r\n')
    watch.process.send_signal(signal.SIGCONT)
    watch.raw = ''
    watch.read_until(watch.drawn(3))
    assert '$ fg' in watch.screen.lines()
    watch.end(b'\x03')


@pytest.mark.slow
def test_top_on_a_terminal(on_terminal, tmp_path):
    ends = 'src=10.0.0.{0} dst=192.0.2.1 sport={1} dport=443 src=192.0.2.1 dst=10.0.0.{0} sport=443 dport={1} [ASSURED]'
    (tmp_path / 'net/nf_conntrack').write_text(''.join(
        f'ipv4     2 tcp      6 100 ESTABLISHED {ends.format(1 + k % 40 % 30, 1024 + k)} mark=0 zone=0 use=2\n'
        for k in range(400)))
    proctree.make(tmp_path, entries=400)
    watch = on_terminal('--top', rows=24, columns=60)
    watch.read_until(watch.drawn(3))
    shown = [line for line in watch.screen.lines() if line]
    assert shown[0].startswith('conntrack-doctor watch --top: ')
    assert shown[1] == 'usage         0.2% used (400 of 262144), 0.0 per bucket'
    first = next(place for place, line in enumerate(shown) if line.startswith('source'))
    assert [line.split() for line in shown[first:first + 3]] == [
        ['source', 'entries', 'share', 'new/s'], ['10.0.0.1', '20', '5%', '0'], ['10.0.0.2', '20', '5%', '0']]
    assert shown[-1].split() == ['tcp', '443', '400', '100%', '0']
    # the prompt of the shell has a line
    assert len(shown) <= 23
    assert watch.end(b'\x03') == 130
    assert watch.unchanged()


@pytest.mark.kernel
def test_a_real_table_that_fills():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    with laboratory.namespace() as lab, laboratory.maximum(2000):
        lab.fill_to(1000)
        process = threading.Thread(target=lambda: outputs.append(lab.run(
            proctree.command('watch', '--kernel-log', 'off', '--every', '0.2', '--count', '15'), cwd=proctree.ROOT)))
        outputs = []
        process.start()
        time.sleep(0.8)
        lab.fill_to(2000)
        lost = lab.flood(300).refused
        process.join()
    lines = outputs[0].stdout.splitlines()
    assert '50.0% used (1000 of 2000)' in lines[0]
    # new connections stand there when the last round counted them, and the growth after ten seconds
    assert f'100% used (2000 of 2000), dropped 0/s (total {lost}), evicted 0/s (total 0)' \
        in lines[-1].replace('new 0/s, ', '').replace('steady, ', '')
    assert lines[-1].endswith(', 100% ESTABLISHED; 0% unreplied')


def test_new_connections_per_second(tmp_path):
    """As they were counted between two moments, at first since the start."""
    proctree.make(tmp_path)
    source = Host(str(tmp_path))
    now = None
    said = []
    for seconds, connections in ((0.1, 3), (1.0, 1990), (3.0, 3990)):
        taken = readings.take(source, 'off', 300.0)._replace(new=NewConnections(seconds, connections))
        now = view.next_state(now, taken)
        said.append([line.text for line in view.screen(now, 0) if line.label == 'new/s'])
    # over a tenth of a second there is no rate
    assert said == [[], ['2208/s now, 1990 since the start'], ['1000/s now, 3990 since the start']]
    assert ', new 1000/s' in view.one_line(now)


def test_events_that_are_off_are_no_rate_of_zero(tmp_path):
    proctree.make(tmp_path)
    taken = readings.take(Host(str(tmp_path)), 'off', 300.0, listener=Missing('nf_conntrack_events is 0'))
    lines = view.screen(view.next_state(None, taken), 0)
    assert not [line for line in lines if line.label == 'new/s']
    assert [line.text for line in lines if line.label == 'not shown'] == ['new-connections: nf_conntrack_events is 0']
