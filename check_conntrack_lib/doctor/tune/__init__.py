"""Capacity planning from what was recorded and sampled: size, timeouts, bypass. It prints, and changes nothing."""

from __future__ import annotations

import argparse
import contextlib
import sys

from ...analysis import notrack
from ...argument_types import seconds
from ...deadline import Deadline
from ...host import Host
from .. import DoctorError, readings
from . import plan, report, sysctl_file

#: for all readings, in seconds; the whole table may take longer
LONGEST = 20.0
SAMPLE = 20000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group('what to print (default: the report)').add_mutually_exclusive_group()
    output.add_argument('--drop-in', action='store_true', help='the sysctl.d file with the proposed values')
    output.add_argument('--rules', choices=('nft', 'iptables', 'ip6tables'),
                        help='the rules that keep what needs no entry out of the table, as a file')
    output.add_argument('--json', action='store_true', help='everything as JSON')
    parser.add_argument('--expires', metavar='DURATION', type=seconds,
                        help='mark the values of the drop-in as temporary, such as 48h: check_conntrack warns when '
                             'they are still there after that')
    parser.add_argument('--history', metavar='FILE', help="the recorder's file (default: where the check keeps it)")
    parser.add_argument('--sample', metavar='N', type=entries, default=SAMPLE,
                        help=f'entries of the table at most that are looked at (default: {SAMPLE})')
    parser.add_argument('--exact', dest='sample', action='store_const', const=None,
                        help='look at all of them: about as expensive as conntrack -L')
    parser.add_argument('--procfs', metavar='DIR', default='/proc',
                        help="another proc file system, such as the host's in a container (default: /proc)")


def run(arguments: argparse.Namespace) -> int:
    if arguments.expires and not (arguments.drop_in or arguments.json):
        raise DoctorError('--expires needs --drop-in')
    advised = plan.make(_gather(readings.host(arguments), arguments.history, arguments.sample))
    if arguments.drop_in:
        sys.stdout.write(sysctl_file.text(advised, arguments.expires))
    elif arguments.rules:
        sys.stdout.write(_rules(advised, arguments.rules))
    elif arguments.json:
        print(report.as_json(advised, arguments.expires))
    else:
        sys.stdout.write(report.text(advised))
    return 0


def entries(text: str) -> int:
    """A number of entries, at least 100. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and 100 <= int(text) <= 10**9):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of entries from 100 on")
    return int(text)


def _gather(host: Host, history: str | None, sample: int | None) -> plan.Readings:
    if sample is None:
        return plan.gather(host, history, None, contextlib.nullcontext)
    deadline = Deadline(LONGEST)
    deadline.start()
    try:
        return plan.gather(host, history, sample, deadline.budget)
    finally:
        deadline.stop()


def _rules(advised: plan.Plan, kind: str) -> str:
    chosen = advised.candidates
    rules = notrack.nft(chosen) if kind == 'nft' else notrack.iptables(chosen, 4 if kind == 'iptables' else 6)
    if not chosen or not rules:
        raise DoctorError('nothing is worth it: ' + (report.why_no_bypass(advised) or f'no candidate for {kind}'))
    return ''.join(f'# {line}\n' for line in notrack.warnings(chosen)) + rules
