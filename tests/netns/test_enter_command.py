"""The words that run a pasted command in another network namespace."""

from __future__ import annotations

import os
import subprocess

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.netns.discover import Namespace
from check_conntrack_lib.netns.enter_command import prefix


@pytest.mark.parametrize(('path', 'words'), [
    ('/run/netns/blue', 'ip netns exec blue '),
    ('/proc/1/root/run/netns/blue', 'ip netns exec blue '),
    ('/proc/1/root/srv/exec/net', 'nsenter --net=/srv/exec/net '),
    ('/proc/1/root/srv/exec root/net', 'nsenter --net=NAME-THAT-CANNOT-BE-PASTED '),
    ('', 'nsenter --net=FILE-OF-THE-NAMESPACE ')])
def test_a_path_is_the_one_of_the_hosts_shells(path, words):
    assert prefix(Host(), Namespace(4026532000, True, 'blue', path)) == words


def test_a_process_that_stays_and_not_this_one():
    with subprocess.Popen(['sleep', '60']) as stays:
        try:
            assert prefix(Host(), Namespace(4026532000, pids=(os.getpid(), stays.pid))) == f'nsenter -t {stays.pid} -n '
            assert prefix(Host(), Namespace(4026532000, pids=(os.getpid(),))) == \
                'nsenter --net=FILE-OF-THE-NAMESPACE '
        finally:
            stays.kill()
