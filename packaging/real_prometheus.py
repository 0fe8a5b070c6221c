"""A real Prometheus that watches three real tables, one of which is filled on purpose. Needs root, prometheus, nft.

The tables are in network namespaces made here, each with conntrack-doctor export. Until the end nf_conntrack_max is
another one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import laboratory

CHECKOUT = Path(__file__).resolve().parent.parent
PORT, PAGES = 9390, 9391
MAXIMUM = 65536
SHARES = {'gw1': 0.42, 'gw2': 0.4, 'node3': 0.2}
#: of connections
NUMBERS = itertools.count()
#: seconds; as often the rules are evaluated
EVERY = 1
#: seconds: quiet; growing until the table is full; full, with packets dropped, until the fleet was looked at, too
QUIET, GROWING, FULL = 30, 80, 70


def entries(network: laboratory.Namespace, share: float) -> None:
    """Fills a table up to a share of the maximum, with connections that the kernel does not evict."""
    import laboratory

    lacking = int(share * MAXIMUM) - network.count()
    with contextlib.suppress(OSError):  # full
        network.fill(laboratory.Flow('tcp', f'10.1.{n // 50000 % 256}.7', '203.0.113.9', 10000 + n % 50000)
                     for n in itertools.islice(NUMBERS, max(0, lacking)))


@contextlib.contextmanager
def watched() -> Iterator[list[laboratory.Namespace]]:
    """The three tables; in the network of the last one Prometheus listens."""
    import laboratory

    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        networks = [stack.enter_context(laboratory.namespace()) for _ in range(3)]
        stack.enter_context(laboratory.maximum(MAXIMUM))
        for (name, share), network in zip(SHARES.items(), networks):
            entries(network, share)
            _start(stack, [sys.executable, '-m', 'check_conntrack_lib', 'export', '--netns', network.name, '--rate',
                           '--textfile', str(directory / f'{name}.prom'), '--every', f'{EVERY}s'])
        _start(stack, ['ip', 'netns', 'exec', networks[2].name, sys.executable, '-m', 'http.server', str(PAGES),
                       '--bind', '127.0.0.1', '--directory', str(directory)])
        (directory / 'prometheus.yml').write_text(json.dumps({
            'global': {'scrape_interval': f'{EVERY}s', 'evaluation_interval': f'{EVERY}s'},
            'rule_files': [str(path) for path in sorted((CHECKOUT / 'icinga/prometheus').glob('*.yml'))],
            'scrape_configs': [{'job_name': name, 'metrics_path': f'/{name}.prom', 'static_configs': [
                {'targets': [f'127.0.0.1:{PAGES}'], 'labels': {'instance': name}}]} for name in SHARES]}))
        _start(stack, ['ip', 'netns', 'exec', networks[2].name, 'prometheus',
                       f'--config.file={directory}/prometheus.yml', f'--storage.tsdb.path={directory}/data',
                       f'--web.listen-address=127.0.0.1:{PORT}'])
        yield networks


def incident(networks: list[laboratory.Namespace]) -> tuple[float, float]:
    """Fills the first table until packets are dropped; returns when that began and ended."""
    time.sleep(15)  # until all of them were looked at
    begin = time.time()
    while (now := time.time() - begin) < QUIET + GROWING + FULL:
        if now < QUIET:
            share = 0.42 + 0.02 * now / QUIET
        elif now < QUIET + GROWING:
            share = 0.44 + 0.57 * (now - QUIET) / GROWING
        else:
            share = 1.01
            networks[0].flood(200, limit=2000, seconds=0.5)
        entries(networks[0], share)
        entries(networks[2], 0.2 + 0.1 * now / (QUIET + GROWING + FULL))
        time.sleep(0.5)
    return begin, time.time()


def _start(stack: contextlib.ExitStack, command: list[str]) -> None:
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
