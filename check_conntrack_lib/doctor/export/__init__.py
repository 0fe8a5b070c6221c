"""The same readings as Prometheus metrics: printed, in a file for node_exporter's textfile collector, or served."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from ...argument_types import seconds
from ...deadline import OutOfTime
from ...defaults import WINDOW
from ...formatting import clean
from ...model import Missing
from .. import DoctorError, error_line, readings
from ..atomic_write import write_file
from ..readings import LiveReadings

LOOPBACK, PORT = '127.0.0.1', 9318
#: scrapers that come within this time get the same page
FRESH = 1.0
#: each is four series in Prometheus
MOST_HOSTS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = ('Counters are sums over the CPUs since the network namespace was made. The kernel keeps each in '
                     '32 bits: when one wraps, Prometheus takes it for a restart of the counter. What could not be '
                     'read is absent, and conntrack_scrape_error{signal=...} is 1.')
    target = parser.add_argument_group('where to (default: standard output)').add_mutually_exclusive_group()
    target.add_argument('--textfile', metavar='PATH',
                        help="replace this file, in one step, for node_exporter's textfile collector (a name in .prom)")
    target.add_argument('--listen', metavar='[ADDR]:PORT', nargs='?', type=address, const=(LOOPBACK, PORT),
                        help=f'serve /metrics (default: {LOOPBACK}:{PORT}; without ADDR on the loopback device only)')
    target.add_argument('--json', action='store_true', help='print everything that was read as JSON')
    parser.add_argument('--every', metavar='DURATION', type=seconds,
                        help='write the textfile again and again, such as every 15s, until stopped')
    parser.add_argument('--names', choices=('conntrack', 'node-exporter'), default='conntrack',
                        help='node-exporter: names and types as node_exporter has them (node_nf_conntrack_entries), '
                             "for hosts where its own conntrack collector is off; two sources of one name don't mix")
    parser.add_argument('--window', metavar='DURATION', type=seconds, default=WINDOW,
                        help='how far back lines of the kernel log are counted (default: 5m)')
    parser.add_argument('--per-host', action='store_true',
                        help='also TCP connections by remote host: opening, open, closing, closed (needs root; above '
                             '20,000 entries estimated from a sample)')
    parser.add_argument('--top', metavar='N', type=int, default=50,
                        help='so many hosts by name, those with most connections; the rest is host="other" '
                             '(default: 50)')
    readings.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.every and not arguments.textfile:
        raise DoctorError('--every needs --textfile (--listen reads anew at every scrape)')
    if not 1 <= arguments.top <= MOST_HOSTS:
        raise DoctorError(f'--top: {arguments.top} is not between 1 and {MOST_HOSTS}')
    source = readings.host(arguments)

    def take() -> LiveReadings:
        return readings.take(source, arguments.kernel_log, arguments.window,
                            arguments.top if arguments.per_host else 0)

    if arguments.json:
        from .json_metrics import as_json

        print(as_json(take()))
        return 0
    try:
        from . import metrics, prometheus
    except ImportError:
        raise DoctorError('export needs the Python library prometheus_client: apt install python3-prometheus-client, '
                      'or pip install prometheus_client') from None

    lasting = arguments.listen or arguments.every
    told: dict[str, Missing] = {}

    def page() -> bytes:
        nonlocal told
        taken = take()
        told = _tell(taken.errors(), told) if lasting else {}
        return prometheus.page(metrics.collect(taken, arguments.names))

    if arguments.listen:
        host, port = arguments.listen
        return _serve(host, port, page, prometheus.CONTENT_TYPE)
    if arguments.textfile:
        return _keep_writing(arguments.textfile, arguments.every, page)
    sys.stdout.write(page().decode('utf-8'))
    return 0


def address(text: str) -> tuple[str, int]:
    """'[ADDR]:PORT' or a port alone; an IPv6 address in brackets. Raises ArgumentTypeError."""
    match = re.fullmatch(r'(?:(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^\s:\[\]]*)):)?(\d{1,5})', text, re.ASCII)
    if not match or int(match[3]) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not an address such as :9318, 192.0.2.1:9318 or [::1]:9318")
    return match[1] or match[2] or LOOPBACK, int(match[3])


def _tell(errors: dict[str, Missing], told: dict[str, Missing]) -> dict[str, Missing]:
    """Says what can no longer be read, or can be again, when that changes."""
    for name in errors.keys() - told.keys():
        _say(f'not exported: {name}: {errors[name].why}')
    for name in told.keys() - errors.keys():
        _say(f'exported again: {name}')
    return errors


def _say(text: str) -> None:
    print(clean(text), file=sys.stderr, flush=True)


def _keep_writing(path: str, every: float | None, page: Callable[[], bytes]) -> int:
    signal.signal(signal.SIGTERM, _stop)
    write_file(path, page())
    trouble = ''
    due = time.monotonic()
    while every:
        # a round that took too long does not make the next ones come at once
        now = time.monotonic()
        due = max(due + every, now)
        time.sleep(due - now)
        before, trouble = trouble, ''
        try:
            write_file(path, page())
        except OSError as error:  # OutOfTime is one
            trouble = error_line(error)
        if trouble != before:
            _say(trouble or f'{path}: written again')
    return 0


def _serve(host: str, port: int, page: Callable[[], bytes], content_type: str) -> int:
    import asyncio

    from .http_server import Unavailable, serve

    taken, content = float('-inf'), b''

    def fresh() -> bytes:
        nonlocal taken, content
        if time.monotonic() - taken > FRESH:
            try:
                content = page()
            except OutOfTime as error:
                raise Unavailable(error_line(error)) from error
            taken = time.monotonic()
        return content

    def ready(places: list[str]) -> None:
        for place in places:
            _say(f'serving http://{place}/metrics')

    asyncio.run(serve(host, port, fresh, content_type, ready))
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
