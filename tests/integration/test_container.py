"""The image of Containerfile: built from local packages, run by podman as the documentation says, scraped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import isolation
import laboratory
import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.packages, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / 'packaging/kubernetes/daemonset.yaml'
PACKAGES = 'python3-minimal,python3-nagiosplugin,python3-prometheus-client,python3-waitress'
#: a variable with the path of a tar file of such a root, where one is there already
BASE = 'CHECK_CONNTRACK_BASE'
URL = 'http://127.0.0.1:9318/metrics'
PROGRAMS = ('podman', 'buildah', 'debootstrap', 'unshare', 'prometheus')
#: this machine may not give containers more than it has itself
CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """podman with a storage of its own, in a network namespace of its own: ports of the host stay free."""

    def __init__(self, directory: Path, network: laboratory.Namespace) -> None:
        self.directory = directory
        self.network = network
        (directory / 'containers.conf').write_text(CONF.format(
            runtime='crun' if os.path.exists('/sys/fs/cgroup/cgroup.controllers') else 'runc'))
        (directory / 'policy.json').write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.env = {**os.environ, 'CONTAINERS_CONF': str(directory / 'containers.conf'), 'STORAGE_DRIVER': 'vfs',
                    'BUILDAH_ISOLATION': 'chroot'}

    def __call__(self, *argv: str, check: bool = True, text: str | None = None) -> str:
        place = self.directory
        command = ['nsenter', f'--net={self.network.path}', 'podman', '--root', str(place / 'root'), '--runroot',
                   str(place / 'run'), '--tmpdir', str(place / 'tmp'), *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=self.env,
                              input=text)
        assert not (check and done.returncode), done.stderr
        return done.stdout

    def scrape(self) -> str:
        """The page of an exporter in the laboratory's network, as soon as it is there."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with self.network.in_netns(), urllib.request.urlopen(URL, timeout=10) as page:
                    content: bytes = page.read()
                    return content.decode()
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline
                time.sleep(0.2)


def mirror() -> str:
    """Where this machine's own packages come from."""
    texts = [path.read_text() for path in (Path('/etc/apt/sources.list'), *Path('/etc/apt/sources.list.d').glob('*'))
             if path.exists()]
    for stanza in re.split(r'\n\s*\n', '\n\n'.join(texts)):
        one_line = re.search(r'^deb\s+(?:\[.*?\]\s+)?(http\S+)\s+bookworm\s+main', stanza, re.M)
        if one_line:
            return one_line[1]
        place = re.search(r'^URIs:\s*(http\S+)', stanza, re.M)
        if place and re.search(r'^Suites:(.*\s)?bookworm(\s|$)', stanza, re.M):
            return place[1]
    return 'http://deb.debian.org/debian'


@pytest.fixture(scope='module')
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    why = laboratory.why_not()
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if why or absent:
        pytest.skip(why or f'not installed: {", ".join(absent)}')
    # podman takes no runroot of more than 50 characters
    directory = Path(tempfile.mkdtemp(prefix='ct-'))
    base = Path(os.environ.get(BASE, '') or directory / 'base.tar')
    if not base.exists():
        root = directory / 'base'
        with isolation.true_network():
            done = subprocess.run(['debootstrap', '--variant=minbase', f'--include={PACKAGES}', 'bookworm', str(root),
                                   mirror()], check=False, capture_output=True, timeout=600)
        if done.returncode:
            pytest.skip('no base image: debootstrap failed here')
        subprocess.run(['tar', '-C', str(root), '-cf', str(base), '.'], check=True)
        shutil.rmtree(root)
    with laboratory.namespace() as network:
        run = Podman(directory, network)
        run('import', '-q', str(base), 'localhost/base')
        run('build', '-q', '--network', 'host', '--build-arg', 'BASE=localhost/base', '-t', 'check-conntrack',
            '-f', str(ROOT / 'Containerfile'), str(ROOT))
        try:
            yield run
        finally:
            run('rm', '-fa', '-t', '0', check=False)
            run('rmi', '-fa', check=False)
            subprocess.run(['umount', '-R', str(directory / 'root')], check=False, capture_output=True)
            shutil.rmtree(directory, ignore_errors=True)


def asked_of_prometheus(podman: Podman, query: str) -> list[dict[str, Any]]:
    """What the distribution's Prometheus answers once it has scraped the exporter; waits until that is something."""
    place = podman.directory / 'prometheus'
    place.mkdir()
    (place / 'prometheus.yml').write_text(
        'global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: check-conntrack\n  honor_labels: true\n'
        "  static_configs: [{targets: ['127.0.0.1:9318']}]\n")
    process = subprocess.Popen(
        ['nsenter', f'--net={podman.network.path}', 'prometheus', f'--config.file={place}/prometheus.yml',
         f'--storage.tsdb.path={place}/data', '--web.listen-address=127.0.0.1:9090'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f'http://127.0.0.1:9090/api/v1/query?query={urllib.parse.quote(query)}'
    deadline = time.monotonic() + 60
    try:
        while True:
            with contextlib.suppress(OSError), podman.network.in_netns():
                with urllib.request.urlopen(url, timeout=10) as page:
                    found: list[dict[str, Any]] = json.load(page)['data']['result']
                if found:
                    return found
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(place)


def metrics(page: str, name: str) -> Sequence[str]:
    return [line for line in page.splitlines() if line.startswith(name)]


def entries(line: str) -> float:
    return float(line.rpartition(' ')[2])


def test_the_quick_start(podman: Podman) -> None:
    podman.network.fill_to(4321)
    podman('run', '-d', '--name', 'quick', '--net=host', '--cap-add=NET_ADMIN', 'check-conntrack')
    try:
        # connections of those who scrape are entries, too
        assert 4300 < entries(metrics(podman.scrape(), 'conntrack_entries ')[0]) < 4400
    finally:
        podman('rm', '-f', '-t', '0', 'quick')


def test_without_any_capability_as_nobody(podman: Podman) -> None:
    podman.network.fill_to(4322)
    checked = podman('run', '--rm', '--net=host', '--cap-drop=ALL', '--user=65534', '--read-only', '--entrypoint',
                     'check_conntrack', 'check-conntrack', '--history', 'off', '-w', '~:')
    used = re.search(r'\((\d+) of ', checked)
    assert used
    assert 4300 < int(used[1]) < 4400
    per_host = podman('run', '--rm', '--net=host', '--cap-drop=ALL', '--cap-add=NET_ADMIN', 'check-conntrack', 'export',
                      '--per-host', '--kernel-log', 'off')
    row = next(line for line in metrics(per_host, 'conntrack_open_connections_total') if '"198.18.0.1"' in line)
    assert 4300 < entries(row) < 4400


def test_the_manifest(podman: Podman) -> None:
    """podman takes no DaemonSet: the pod of its template, with everything that the manifest gives it."""
    yaml = MANIFEST.read_text()
    template = yaml[yaml.index('    spec:\n      hostNetwork'):yaml.index('# With the Prometheus operator')]
    pod = ('apiVersion: v1\nkind: Pod\nmetadata:\n  name: check-conntrack\n'
           + '\n'.join(line[4:] for line in template.splitlines()))
    pod = pod.replace('check-conntrack:latest', 'localhost/check-conntrack')
    # it takes a port of the host's network for one that is to be forwarded
    pod = re.sub(r'\n +ports:\n(?: +- name: metrics\n +containerPort: 9318\n)', '\n', pod)
    assert 'containerPort' not in pod
    with laboratory.namespace() as other:
        other.fill_to(777)
        podman.network.fill_to(4323)
        podman('kube', 'play', '-', text=pod)
        try:
            page = podman.scrape()
            asked = asked_of_prometheus(podman, f'conntrack_entries{{name="{other.name}"}}')
        finally:
            podman('pod', 'rm', '-f', '-t', '0', '-a')
        assert [(one['value'][1], one['metric']['job']) for one in asked] == [('777', 'check-conntrack')]
        assert metrics(page, 'conntrack_scrape_error{signal="usage"}') == ['conntrack_scrape_error{signal="usage"} 0.0']
        assert any(4300 < entries(line) < 4400 for line in metrics(page, 'conntrack_entries{')), page
        assert any(f'name="{other.name}"' in line and line.endswith(' 777.0')
                   for line in metrics(page, 'conntrack_entries{'))
