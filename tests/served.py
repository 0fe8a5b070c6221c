"""`export --listen` as a process, and what a client gets from it."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import proctree


class Served:
    def __init__(self, process, address):
        self.process, self.address = process, address

    def connect(self):
        return contextlib.closing(http.client.HTTPConnection(*self.address, timeout=20))

    def get(self, path='/metrics', method='GET'):
        with self.connect() as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.getheader('Content-Type'), answer.read()

    def send(self, request):
        """What comes back for raw bytes."""
        with socket.create_connection(self.address, timeout=20) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
            answer = b''
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65536):
                    answer += part
            return answer

    def resident_kib(self):
        status = Path(f'/proc/{self.process.pid}/status').read_text()
        return int(status.split('VmRSS:')[1].split()[0])

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def threads(self):
        return len(os.listdir(f'/proc/{self.process.pid}/task'))


@contextlib.contextmanager
def serving(tree, *more, before=''):
    """before: Python that is run first, such as a shorter patience."""
    arguments = ['export', '--procfs', tree, '--kernel-log', tree.parent / 'records', '--listen', '127.0.0.1:0', *more]
    code = f'import sys\nfrom check_conntrack_lib.doctor import cli\n{before}\nsys.exit(cli.main(sys.argv[1:]))'
    process = subprocess.Popen([sys.executable, '-c', code, *map(str, arguments)],
                               cwd=proctree.ROOT, stderr=subprocess.PIPE, text=True)
    try:
        said = proctree.next_line(process)
        assert said.startswith('serving http://127.0.0.1:'), said
        yield Served(process, ('127.0.0.1', int(said.split(':')[2].split('/')[0])))
    finally:
        process.terminate()
        rest = process.communicate(timeout=10)[1]
    assert (rest, process.returncode) == ('', 0)


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'did not happen in time'
        time.sleep(0.02)
