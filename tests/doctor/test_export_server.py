"""export --listen: what it answers, on connections that are kept, and what a client may cost."""

import contextlib
import gzip
import http.client
import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import laboratory
import proctree
import pytest
from served import serving, wait_until

from check_conntrack_lib.deadline import OutOfTime
from check_conntrack_lib.doctor import readings
from check_conntrack_lib.doctor.export import metrics, per_host
from check_conntrack_lib.host import Host

pages = pytest.importorskip('check_conntrack_lib.doctor.export.pages')
prometheus = pytest.importorskip('check_conntrack_lib.doctor.export.prometheus', reason='pip install prometheus_client')
http_server = pytest.importorskip('check_conntrack_lib.doctor.export.http_server', reason='pip install waitress')

OPENMETRICS = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
RECORD = '4,1,2500000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'


@pytest.fixture
def tree(tmp_path):
    (tmp_path / 'records').write_text(RECORD)
    return proctree.make(tmp_path / 'proc')


@pytest.fixture
def served(tree):
    with serving(tree) as server:
        yield server


@pytest.fixture(scope='module')
def asked(tmp_path_factory):
    """One for all tests that only ask, so that each finds it as those before it left it."""
    directory = tmp_path_factory.mktemp('asked')
    (directory / 'records').write_text(RECORD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NAGIOS_PLUGIN_STATE_DIRECTORY', str(directory))
        with serving(proctree.make(directory / 'proc')) as server:
            yield server


@pytest.mark.slow
def test_what_it_answers(served, tree):
    status, kind, body = served.get()
    assert (status, kind) == (200, 'text/plain; version=0.0.4; charset=utf-8')
    assert b'conntrack_entries 32512.0\n' in body
    assert served.get('/metrics?name=x')[0] == 200
    assert served.get(method='HEAD')[2] == b''
    assert served.get('/-/healthy') == (200, 'text/plain; charset=utf-8', b'conntrack-doctor is running\n')
    status, kind, body = served.get('/')
    assert (status, kind, b'<a href="metrics">' in body) == (200, 'text/html; charset=utf-8', True)
    assert served.get('/etc/passwd')[0] == 404
    assert served.get(method='POST')[0] == 405
    proctree.make(tree, entries=5)
    wait_until(lambda: b'conntrack_entries 5.0\n' in served.get()[2])


def test_a_connection_is_kept_in_every_form_of_the_page(asked):
    with asked.connect() as connection:
        places, seen = set(), []
        for accept, encoding in (('', ''), ('', 'gzip'), (OPENMETRICS, ''), (OPENMETRICS, 'deflate, gzip'),
                                 ('application/openmetrics-text; version=x.y', '')):
            connection.request('GET', '/metrics', headers={'Accept': accept, 'Accept-Encoding': encoding})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.getheader('Content-Encoding', '') == ('gzip' if encoding else '')
            seen.append((answer.getheader('Content-Type').split(';')[0], gzip.decompress(body) if encoding else body))
            places.add(connection.sock.getsockname())
    assert len(places) == 1
    plain, zipped, openmetrics, openmetrics_zipped, odd = seen
    # within a second all forms show the same readings
    assert (plain[0], zipped) == ('text/plain', plain)
    assert (openmetrics[0], openmetrics_zipped, odd) == ('application/openmetrics-text', openmetrics, openmetrics)
    assert not plain[1].endswith(b'# EOF\n')
    assert openmetrics[1].endswith(b'# EOF\n')
    values = [[line for line in body.splitlines() if not line.startswith(b'#')] for _, body in (plain, openmetrics)]
    assert values[0] == values[1]


@pytest.mark.parametrize('names', ['conntrack', 'node-exporter'])
def test_openmetrics_is_what_its_own_parser_takes(tree, names):
    parse = pytest.importorskip('prometheus_client.openmetrics.parser').text_string_to_metric_families
    taken = readings.take(Host(str(tree)), 'off', 300)._replace(
        per_host=per_host.PerHost([('192.0.2.1', {'opening': 1.0, 'open': 2.0, 'closing': 0.0, 'closed': 0.0})], 1.0))
    page = prometheus.Scrapes(lambda: [*metrics.collect(taken, names), *metrics.about(0.5)]).answer(OPENMETRICS, '')[1]
    found = {sample.name: sample.value for family in parse(page.decode()) for sample in family.samples}
    plain = prometheus.page([*metrics.collect(taken, names), *metrics.about(0.5)]).decode()
    assert found.keys() == {re.split(r'[ {]', line)[0] for line in plain.splitlines() if not line.startswith('#')}
    assert found['conntrack_open_connections_total'] == 2.0
    assert found['conntrack_scrape_duration_seconds'] == 0.5


@pytest.mark.parametrize(('head', 'kept'), [
    (b'GET /metrics HTTP/1.1\r\nHost: x\r\n', True), (b'GET /metrics HTTP/1.1\r\nConnection: close\r\n', False),
    (b'GET /metrics HTTP/1.0\r\n', False), (b'GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n', True)])
def test_the_client_says_whether_its_connection_is_kept(asked, head, kept):
    with socket.create_connection(asked.address, timeout=20) as client, client.makefile('rb') as answer:
        for _ in range(2 if kept else 1):
            client.sendall(head + b'\r\n')
            assert b' 200 OK' in answer.readline()
            lines = list(itertools.takewhile(lambda line: line.strip(), iter(answer.readline, b'')))
            length = next(int(line.split()[1]) for line in lines if line.startswith(b'Content-Length'))
            assert len(answer.read(length)) == length
        if not kept:
            assert answer.read() == b''


@pytest.mark.kernel
def test_a_kept_connection_is_answered_through_a_full_table():
    with laboratory.namespace() as lab, laboratory.maximum(2000):
        with lab.in_netns():
            process = subprocess.Popen(proctree.command('export', '--listen', '127.0.0.1:9318', '--kernel-log', 'off'),
                                       cwd=proctree.ROOT, stderr=subprocess.PIPE, text=True)
        try:
            assert proctree.next_line(process, 30) == 'serving http://127.0.0.1:9318/metrics\n'
            kept = http.client.HTTPConnection('127.0.0.1', 9318, timeout=20)
            with lab.in_netns():
                kept.connect()
                place, new = kept.sock.getsockname(), socket.socket()
            with contextlib.closing(kept), new:
                for entries in (lab.count(), 2000, 2000):
                    lab.fill_to(entries)
                    time.sleep(prometheus.FRESH)
                    kept.request('GET', '/metrics')
                    assert f'\nconntrack_entries {entries}.0\n' in kept.getresponse().read().decode()
                    assert kept.sock.getsockname() == place
                new.settimeout(1.5)
                with pytest.raises((TimeoutError, PermissionError)):
                    new.connect(('127.0.0.1', 9318))
        finally:
            process.terminate()
            process.communicate(timeout=10)


def test_a_scrape_that_is_out_of_time_says_so():
    def late(_accept, _encodings):
        raise pages.Unavailable('no answer within 10 s')

    said = []
    request = {'PATH_INFO': '/metrics', 'REQUEST_METHOD': 'GET'}
    body = pages.application(late)(request, lambda *start: said.append(start))
    assert (said[0][0], body) == ('503 Service Unavailable', [b'no answer within 10 s\n'])


def test_what_a_failed_reading_leaves_is_not_answered_again():
    """The page of before would look like one of now."""
    one = metrics.Metric('a', 'gauge', 'A.', (({}, 1),))
    rounds = iter([[one], OutOfTime('late'), [one._replace(name='b')]])

    def collect():
        taken = next(rounds)
        if isinstance(taken, OSError):
            raise taken
        return taken

    scrapes = prometheus.Scrapes(collect)
    assert b'\na 1.0\n' in scrapes.answer('', '')[1]
    assert b'\na 1.0\n' in scrapes.answer('', '')[1]
    scrapes._taken = float('-inf')
    with pytest.raises(OutOfTime):
        scrapes.answer('', '')
    assert b'\nb 1.0\n' in scrapes.answer('', '')[1]


#: a kernel that does not answer for the counters as long as this file is there
HANGING = """
import os, time
from check_conntrack_lib.host import Host
read = Host.read
def hangs(self, name, *more):
    while 'stat/nf_conntrack' in name and os.path.exists(self.path('hangs')):
        time.sleep(60)
    return read(self, name, *more)
Host.read = hangs
"""


@pytest.mark.slow
def test_a_reading_that_hangs_costs_itself(tree):
    failed = b'conntrack_scrape_error{signal="counters"} 1.0'
    (tree / 'hangs').touch()
    with serving(tree, before=HANGING) as served:
        body = served.get()[2]
        assert failed in body
        assert b'\nconntrack_entries 32512.0\n' in body
        assert 'not exported: counters: ' in (said := proctree.next_line(served.process))
        assert 'no answer within' in said
        (tree / 'hangs').unlink()
        wait_until(lambda: failed not in served.get()[2])
        assert proctree.next_line(served.process) == 'exported again: counters\n'


MISSING = """
import sys
sys.modules['waitress'] = None
from check_conntrack_lib.doctor import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_without_waitress_one_line_says_what_to_install(tree, tmp_path):
    def run(*more):
        return subprocess.run([sys.executable, '-c', MISSING, 'export', '--procfs', tree, '--kernel-log', 'off', *more],
                              cwd=proctree.ROOT, capture_output=True, text=True, timeout=30)

    done = run('--listen', '127.0.0.1:0')
    assert (done.returncode, done.stdout, done.stderr) == (
        2, '', 'conntrack-doctor: export --listen needs the Python libraries prometheus_client and waitress: apt '
               "install python3-prometheus-client python3-waitress, or pip install 'check_conntrack[export]'\n")
    done = run('--textfile', tmp_path / 'a.prom')
    assert (done.returncode, done.stderr, (tmp_path / 'a.prom').exists()) == (0, '', True)
    assert run().stdout.startswith('# HELP conntrack_loaded')


# what clients may cost

class Client(http_server.Connection):
    """A connection without a socket."""

    def __init__(self, address, since=0.0, answered=0.0, unsent=0, request=None, requests=()):
        self.addr, self.since, self.answered = (address, 1), since, answered
        self.total_outbufs_len, self.connected, self.served = unsent, True, 0
        self.request, self.requests = request, requests

    def handle_close(self):
        self.connected, self.total_outbufs_len = False, 0

    def service(self):
        self.served, self.answered = self.served + 1, time.monotonic()


def many(address, number, **more):
    return [Client(address, since=float(at), **more) for at in range(number)]


def test_as_long_as_there_is_room_nobody_is_closed():
    most = [one for host in range(4) for one in many(f'192.0.2.{host}', http_server.MOST_FROM_ONE)]
    assert len(most) == http_server.MOST_CONNECTIONS
    assert http_server.one_too_many(most) is None
    assert http_server.one_too_many([]) is None


@pytest.mark.parametrize(('others', 'closed'), [
    # the one that has been silent longest
    (lambda: many('192.0.2.1', 100), 0),
    # who asked once is kept longer than who never did
    (lambda: [*many('192.0.2.1', 99, answered=1.0), Client('192.0.2.1', since=500.0)], 99),
    # of those that asked, the one that has been idle longest
    (lambda: many('192.0.2.1', 100, answered=1.0), 0),
    # but none that waits for its answer
    (lambda: [*many('192.0.2.1', 50, requests=(1,)), *many('192.0.2.1', 50, answered=1.0)], 50),
    (lambda: many('192.0.2.1', 100, requests=(1,)), 100),
    # who has had answers and waits for more goes before who has had none
    (lambda: [*many('192.0.2.1', 50, requests=(1,)), Client('192.0.2.1', answered=9.0, requests=(1,)),
              *many('192.0.2.1', 49, requests=(1,))], 50),
    # who has been taking an answer for long, before a client whose request may be on its way
    (lambda: [*many('192.0.2.1', 99, answered=1.0, unsent=9), Client('192.0.2.1', since=999.9)], 0),
    (lambda: [*many('192.0.2.1', 99, answered=1.0, requests=(1,)), Client('192.0.2.1', since=999.9)], 98),
    # a /64 of IPv6 is one client; one of IPv4 is one in either form
    (lambda: [*many('2001:db8::9', 1), *(Client(f'2001:db8:0:1::{k:x}', since=float(k)) for k in range(101))], 1),
    (lambda: [*many('::ffff:192.0.2.9', 1), *many('::ffff:192.0.2.1', 101)], 1),
    (lambda: [*many('fe80::9', 1), *many('fe80:0:0:1::9%eth0', 101)], 1),
    # nobody pays for another address: Prometheus' only connection stays
    (lambda: [Client('198.51.100.1', since=-9.0), *many('192.0.2.1', 100)], 1),
    # in all, one of the address that has most
    (lambda: [Client('198.51.100.1', since=-9.0), *many('192.0.2.0', 99), *many('192.0.2.1', 99),
              *many('192.0.2.2', 99), *many('192.0.2.3', 99), *many('203.0.113.1', 3)], 100),
])
def test_for_one_too_many_the_right_one_is_closed(others, closed):
    everybody = [*others(), Client('192.0.2.1', since=1000.0)]
    assert everybody.index(http_server.one_too_many(everybody)) == closed


def test_with_each_that_comes_one_leaves():
    there, coming = many('192.0.2.1', http_server.MOST_FROM_ONE), [Client('192.0.2.1', since=1000.0) for _ in range(3)]
    sockets = dict(enumerate(there))

    class Door:
        def accept_one(self):
            for number in [number for number, one in sockets.items() if not one.connected]:
                del sockets[number]
            if coming:
                sockets[1000 - len(coming)] = coming.pop(0)
                return True
            return False

    http_server.accept(Door(), sockets)
    assert [one.since for one in there if not one.connected] == [0.0, 1.0, 2.0]
    assert len(sockets) == http_server.MOST_FROM_ONE


@pytest.mark.parametrize(('client', 'patience'), [
    # silent, or amid the head of a request
    ({}, 'HEAD'), ({'request': 'half'}, 'HEAD'), ({'answered': 1.0, 'request': 'half'}, 'HEAD'),
    ({'answered': 1.0}, 'IDLE'),
    ({'answered': 1.0, 'unsent': 1}, 'ANSWER'), ({'unsent': 1, 'requests': ['next']}, 'ANSWER'),
    # waits for its turn
    ({'requests': ['one']}, ''), ({'answered': 1.0, 'requests': ['one']}, ''),
])
def test_how_long_each_may_take(client, patience):
    one = Client('192.0.2.1', since=100.0, **client)
    limit = getattr(http_server, f'{patience}_PATIENCE') if patience else 1e9
    assert (one.overdue(99.9 + limit), one.overdue(100.1 + limit)) == (False, bool(patience))


def test_prometheus_keeps_its_connection():
    """It closes one that was idle for 5 minutes."""
    assert http_server.IDLE_PATIENCE > 300


def test_what_is_not_taken_is_bounded():
    half = http_server.MOST_UNSENT // 2
    everybody = [Client('192.0.2.1', since=3.0, unsent=half), Client('192.0.2.1', since=1.0, unsent=half),
                 Client('192.0.2.1', since=2.0)]
    http_server.limit_unsent(everybody)
    assert all(one.connected for one in everybody)
    everybody.append(Client('192.0.2.1', since=4.0, unsent=1))
    http_server.limit_unsent(everybody)
    assert [not one.connected for one in everybody] == [False, True, False, False]


def test_an_answer_that_is_too_much_costs_who_takes_none():
    deaf, asks = Client('192.0.2.1', unsent=http_server.MOST_UNSENT), Client('192.0.2.2', since=1.0)
    asks.service = lambda: setattr(asks, 'total_outbufs_len', 1)
    queue = http_server.Queue()
    queue.add_task(asks)
    queue.answer([deaf, asks])
    assert (deaf.connected, asks.connected) == (False, True)


def test_nobody_takes_all_the_turns():
    """A client sends hundreds of requests at once; one that asks now and then comes before its second."""
    queue, greedy, rare = http_server.Queue(), Client('192.0.2.1'), Client('192.0.2.2')
    serve = greedy.service

    def again():
        serve()
        if greedy.served < 5:
            queue.add_task(greedy)
        if greedy.served == 1:
            queue.add_task(rare)
        assert rare.served or greedy.served == 1

    greedy.service = again
    queue.add_task(greedy)
    while queue.ready():
        queue.answer([greedy, rare])
    assert (greedy.served, rare.served) == (5, 1)


def test_who_has_not_taken_an_answer_gets_no_other():
    queue, one = http_server.Queue(), Client('192.0.2.1', unsent=1)
    queue.add_task(one)
    queue.answer([one])
    assert (one.served, queue.ready()) == (0, [])
    one.total_outbufs_len = 0
    queue.answer([one])
    assert one.served == 1


@pytest.mark.parametrize('junk', [
    b'', b'\r\n\r\n', b'GET', b'GET /metrics\r\n\r\n', b'\x16\x03\x01\x02\x00' * 50, b'PRI * HTTP/2.0\r\n\r\n',
    b'GET /metrics HTTP/1.1' + b'x' * 100000, b'GET /metrics HTTP/1.1\r\n' + b'a: b\r\n' * 100000, bytes(range(256)),
    b'GET /\xff\x00 HTTP/1.1\r\n\r\n',
], ids=range(10))
def test_junk_does_not_hurt(asked, junk):
    answer = asked.send(junk)
    # no version of HTTP, or another one: waitress answers as HTTP/1.0
    assert answer == b'' or answer.startswith((b'HTTP/1.0 4', b'HTTP/1.1 400 Bad Request\r\n',
                                               *([b'HTTP/1.0 200'] if b'HTTP' not in junk else [])))
    assert asked.get()[0] == 200


@pytest.mark.slow
def test_slow_clients_hold_nobody_up_and_are_let_go(tree):
    with serving(tree, before='from check_conntrack_lib.doctor.export import http_server as s; '
                              's.HEAD_PATIENCE = s.ANSWER_PATIENCE = 1') as served:
        slow = [socket.create_connection(served.address, timeout=20) for _ in range(50)]
        for client in slow:
            client.sendall(b'GET /metrics HTTP/1.1\r\nHo')
        with socket.create_connection(served.address, timeout=20) as kept, kept.makefile('rb') as answer:
            kept.sendall(b'GET /-/healthy HTTP/1.1\r\n\r\n')
            assert b'conntrack-doctor is running\n' in iter(answer.readline, b'')
            # its idle time is no part of the time for the next head
            time.sleep(1.2)
            kept.sendall(b'GET /-/healthy ')
            time.sleep(0.1)
            kept.sendall(b'HTTP/1.1\r\n\r\n')
            assert b'conntrack-doctor is running\n' in iter(answer.readline, b'')
        # as many answers as no buffer of the kernel holds, of which none is taken
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(20)
        deaf.connect(served.address)
        deaf.sendall(b'GET /metrics HTTP/1.1\r\n\r\n' * 300)
        # within the patience with them, this one's turn has not come after theirs
        assert served.get()[0] == 200
        # another byte now and then does not buy more time
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(200):
                time.sleep(0.1)
                slow[0].sendall(b's')
        for client in slow:
            try:
                assert client.recv(1) == b''
            except ConnectionResetError:
                continue
            finally:
                client.close()
        wait_until(lambda: served.descriptors() <= 9)
        deaf.close()
        assert served.get()[0] == 200


def test_ctrl_c_is_quiet(tree):
    process = subprocess.Popen(proctree.command('export', '--procfs', tree, '--listen', '127.0.0.1:0'),
                               cwd=proctree.ROOT, stderr=subprocess.PIPE, text=True)
    assert proctree.next_line(process).startswith('serving http://127.0.0.1:')
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[1] == ''
    assert process.returncode == 130


def test_two_hundred_at_once_are_all_served(served):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(served.get())) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200
    assert {answer[0] for answer in answers} == {200}
    assert served.threads() == 1


@pytest.mark.slow
def test_a_thousand_scrapes_cost_no_memory_and_no_descriptors(served):
    for _ in range(100):
        served.get()
    before = served.resident_kib(), served.descriptors()
    for _ in range(1000):
        assert served.get()[0] == 200
    assert served.resident_kib() - before[0] < 512
    # the last connection may still be closing
    wait_until(lambda: served.descriptors() <= before[1])
