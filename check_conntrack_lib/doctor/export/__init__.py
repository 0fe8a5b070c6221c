"""The readings as Prometheus metrics: printed, in a file for node_exporter's textfile collector, or served."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import NoReturn

from ...argument_types import seconds
from ...deadline import OutOfTime
from ...defaults import SAMPLE, WINDOW
from ...formatting import clean
from ...model import Missing
from ...namedtuples import TYPE_CHECKING
from ...readers import ctnetlink_events
from .. import DoctorError, common_options, error_line, netns_target, readings
from ..atomic_write import write_file
from ..readings import LiveReadings

if TYPE_CHECKING:
    from .all_namespaces import NamespaceReadings
    from .metrics import Metric

LOOPBACK, PORT = '127.0.0.1', 9318
#: whichever is missing: who installs one only to read of the other starts the service twice in vain
LISTEN_NEEDS = ('export --listen needs the Python libraries prometheus_client and waitress: apt install '
                "python3-prometheus-client python3-waitress, or pip install 'check_conntrack[export]'")
#: of --top: each is four series in Prometheus
MOST_HOSTS = 1000
#: of --most-namespaces: each is twenty series
MOST_NAMESPACES = 5000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = ('Counters are sums over the CPUs since the network namespace was made. The kernel keeps each in '
                     '32 bits: when one wraps, Prometheus takes it for a restart of the counter. What could not be '
                     'read is absent, and conntrack_scrape_error{signal=...} is 1.')
    target = parser.add_argument_group('where to (default: standard output)').add_mutually_exclusive_group()
    target.add_argument('--textfile', metavar='PATH',
                        help="replace this file, in one step, for node_exporter's textfile collector; "
                             'its name must end in .prom')
    target.add_argument('--listen', metavar='[ADDR]:PORT', nargs='?', type=address, const=(LOOPBACK, PORT),
                        help=f'serve /metrics (default: {LOOPBACK}:{PORT}; without ADDR on the loopback device only)')
    common_options.add_json(target, 'everything')
    parser.add_argument('--every', metavar='DURATION', type=seconds,
                        help='write the textfile at this interval until stopped, e.g. 15s')
    parser.add_argument('--names', choices=('conntrack', 'node-exporter', 'stat'), default='conntrack',
                        help='node-exporter: names and types as node_exporter has them (node_nf_conntrack_entries), '
                             'for hosts where its own conntrack collector is off; do not scrape both. stat: only '
                             'the eight node_nf_conntrack_stat_*, which its collector lacks on kernels without '
                             '/proc/net/stat/nf_conntrack, such as Ubuntu: a textfile beside it')
    parser.add_argument('--window', metavar='DURATION', type=seconds, default=WINDOW,
                        help='minimum time over which kernel messages are counted (default: 5m)')
    parser.add_argument('--per-host', action='store_true',
                        help='also TCP connections by remote host: opening, open, closing, closed (needs root; above '
                             '20,000 entries estimated from a sample)')
    parser.add_argument('--top', metavar='N', type=int, default=50,
                        help='number of hosts to export individually, those with most connections; the rest is '
                             'host="other" (default: 50)')
    parser.add_argument('--most-namespaces', metavar='N', type=int, default=200,
                        help='with --netns all: number of namespaces to export individually besides this one, those '
                             'with most entries (default: 200)')
    parser.add_argument('--nat-ports', action='store_true',
                        help='also the use of the source NAT ports of the fullest pools, at most 3 (needs root)')
    parser.add_argument('--zones', action='store_true',
                        help='also entries by conntrack zone: the 20 largest, the rest is zone="other" (needs root; '
                             'above 20,000 entries estimated from a sample)')
    parser.add_argument('--bytes', action='store_true',
                        help='also packets and bytes of the entries in the table by source, target and service, the '
                             '20 of each with most bytes (needs root, and nf_conntrack_acct=1, which is never '
                             'switched on; above 20,000 entries of a sample)')
    parser.add_argument('--rate', action='store_true',
                        help='also new connections, counted from the start of --listen or --every on (needs root; '
                             'costs the kernel 2 to 3 microseconds for each of them, in all network namespaces)')
    readings.add_arguments(parser)


def _check(arguments: argparse.Namespace) -> None:
    """Raises DoctorError for options that do not go together."""
    if arguments.every and not arguments.textfile:
        raise DoctorError('--every needs --textfile (--listen reads again at every scrape)')
    if arguments.textfile and not arguments.textfile.endswith('.prom'):
        raise DoctorError(f'--textfile: {clean(arguments.textfile)} must end in .prom')
    if not 1 <= arguments.top <= MOST_HOSTS:
        raise DoctorError(f'--top: {arguments.top} is not between 1 and {MOST_HOSTS}')
    if not 0 <= arguments.most_namespaces <= MOST_NAMESPACES:
        raise DoctorError(f'--most-namespaces: {arguments.most_namespaces} is not between 0 and {MOST_NAMESPACES}')
    if arguments.netns == 'all' and (arguments.per_host or arguments.rate or arguments.nat_ports or arguments.zones
                                     or arguments.bytes or arguments.names != 'conntrack'):
        raise DoctorError('--netns all has neither --per-host, --rate, --nat-ports, --zones, --bytes nor --names')
    if arguments.rate and not (arguments.listen or arguments.every):
        raise DoctorError('--rate needs --listen or --every: it counts from their start on')


def run(arguments: argparse.Namespace) -> int:
    """Prints, writes or serves the metrics; the exit status."""
    _check(arguments)
    take = _taker(arguments)
    if arguments.json:
        print(_as_json(take()))
        return 0
    try:
        from . import prometheus
    except ImportError:
        raise DoctorError(LISTEN_NEEDS if arguments.listen else
                          'export needs the Python library prometheus_client: apt install python3-prometheus-client, '
                          'or pip install prometheus_client') from None
    collect = _collector(take, arguments.names, lasting=bool(arguments.listen or arguments.every))
    if arguments.listen:
        host, port = arguments.listen
        return _serve(host, port, collect)
    if arguments.textfile:
        return _keep_writing(arguments.textfile, arguments.every, lambda: prometheus.page(collect()))
    sys.stdout.write(prometheus.page(collect()).decode('utf-8'))
    return 0


def _taker(arguments: argparse.Namespace) -> Callable[[], LiveReadings | NamespaceReadings]:
    """What takes one round of readings, of one namespace or of all. Raises DoctorError."""
    host = readings.host_of(arguments)
    if arguments.netns == 'all':
        from . import all_namespaces

        return partial(all_namespaces.take, host, arguments.kernel_log, arguments.window, arguments.most_namespaces)
    netns_target.enter_target(host, arguments.netns)
    wanted = [name for name, chosen in ((readings.NAT_PORTS, arguments.nat_ports), (readings.ZONES, arguments.zones),
                                        (readings.BYTES, arguments.bytes)) if chosen]
    listener = ctnetlink_events.open_listener(host) if arguments.rate else None
    rounds = readings.Rounds(host, arguments.kernel_log, arguments.window, listener)
    return partial(rounds.take, arguments.top if arguments.per_host else 0, SAMPLE if wanted else 0, wanted)


def _collector(take: Callable[[], LiveReadings | NamespaceReadings], names: str,
               lasting: bool) -> Callable[[], list[Metric]]:
    """What makes the metrics of a new round of readings, and says on standard error what cannot be read.

    lasting: there is more than one round.
    """
    from . import metrics

    reported: dict[str, Missing] = {}

    def collect() -> list[Metric]:
        nonlocal reported
        began = time.monotonic()
        taken = take()
        took = time.monotonic() - began
        errors = taken.errors()
        if not lasting:
            # the metrics tell of the others; whoever asks for bytes would look for them in vain
            errors = {name: why for name, why in errors.items() if name == readings.BYTES}
        reported = _report(errors, reported)
        return [*_metrics_of(taken, names), *metrics.about(took)]

    return collect


def _metrics_of(taken: LiveReadings | NamespaceReadings, names: str) -> Iterator[Metric]:
    if isinstance(taken, LiveReadings):
        from . import metrics

        return metrics.collect(taken, names)
    from . import all_namespaces

    return all_namespaces.collect_all(taken)


def _as_json(taken: LiveReadings | NamespaceReadings) -> str:
    from .json_metrics import all_as_json, as_json

    return as_json(taken) if isinstance(taken, LiveReadings) else all_as_json(taken)


def address(text: str) -> tuple[str, int]:
    """'[ADDR]:PORT' or a port alone; an IPv6 address in brackets. Raises ArgumentTypeError."""
    match = re.fullmatch(r'(?:(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^\s:\[\]]*)):)?(\d{1,5})', text, re.ASCII)
    if not match or int(match[3]) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not an address such as :9318, 192.0.2.1:9318 or [::1]:9318")
    return match[1] or match[2] or LOOPBACK, int(match[3])


def _report(errors: dict[str, Missing], reported: dict[str, Missing]) -> dict[str, Missing]:
    """Says what can no longer be read, or can be again, when that changes."""
    for name in errors.keys() - reported.keys():
        _say(f'not exported: {name}: {errors[name].why}')
    for name in reported.keys() - errors.keys():
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


def _serve(host: str, port: int, collect: Callable[[], list[Metric]]) -> int:
    try:
        from .http_server import serve
    except ImportError:
        raise DoctorError(LISTEN_NEEDS) from None
    from . import pages, prometheus

    def available() -> list[Metric]:
        try:
            return collect()
        except OutOfTime as error:
            raise pages.Unavailable(error_line(error)) from error

    def ready(places: list[str]) -> None:
        signal.signal(signal.SIGTERM, _stop)
        for place in places:
            _say(f'serving http://{place}/metrics')

    try:
        serve(host, port, pages.application(prometheus.Scrapes(available).answer), ready)
    except OSError as error:
        raise DoctorError(f'cannot listen on {host}:{port}: {error_line(error)}') from error
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
