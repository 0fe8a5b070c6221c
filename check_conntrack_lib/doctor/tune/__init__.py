"""Capacity planning from what was recorded and sampled: size, timeouts, bypass. It prints, and changes nothing."""

from __future__ import annotations

import argparse
import contextlib
import sys
from functools import partial

from ...analysis import notrack
from ...argument_types import seconds
from ...deadline import Deadline
from ...host import Host
from .. import DoctorError, common_options, lifeline, netns_target, readings
from ..netns_target import Target
from . import plan, report, sysctl_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group('what to print (default: the report)').add_mutually_exclusive_group()
    output.add_argument('--drop-in', action='store_true', help='the sysctl.d file with the proposed values')
    output.add_argument('--rules', choices=('nft', 'iptables', 'ip6tables'),
                        help='rules that keep traffic that needs no entry out of the table, as a file')
    output.add_argument('--lifeline', nargs='?', const='auto', choices=lifeline.KINDS, metavar='nft|iptables|ip6tables',
                        help='rules that keep SSH, NRPE, the Icinga agent and the exporter out of the table, as a '
                             'file: they get through when it is full (default: what this host filters by)')
    common_options.add_json(output, 'everything')
    parser.add_argument('--monitoring', metavar='ADDRESS[,...]', type=lifeline.addresses, default=(),
                        help='for --lifeline: the monitoring servers and those who log in by SSH (default: what '
                             'nrpe.cfg allows and whom the Icinga agent is connected to)')
    parser.add_argument('--expires', metavar='DURATION', type=seconds,
                        help='mark the values of the drop-in as temporary, e.g. 48h: check_conntrack warns if they '
                             'are still there after that')
    common_options.add_history(parser)
    common_options.add_sample(parser)
    common_options.add_timeout(parser, '20s')
    common_options.add_netns(parser)
    common_options.add_procfs(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.expires and not (arguments.drop_in or arguments.json):
        raise DoctorError('--expires needs --drop-in or --json')
    if arguments.monitoring and not arguments.lifeline:
        raise DoctorError('--monitoring needs --lifeline')
    if arguments.lifeline:
        sys.stdout.write(lifeline.make(readings.host_of(arguments), arguments.monitoring, arguments.lifeline))
        return 0
    common_options.check_history(arguments.history)
    host = readings.host_of(arguments)
    target = netns_target.enter_target(host, arguments.netns)
    advised = plan.make(_gather(host, arguments.history, arguments.sample, arguments.timeout, target))
    if arguments.drop_in:
        sys.stdout.write(sysctl_file.text(advised, arguments.expires))
    elif arguments.rules:
        sys.stdout.write(_rules(advised, arguments.rules))
    elif arguments.json:
        print(report.as_json(advised, arguments.expires))
    else:
        sys.stdout.write(report.text(advised))
    return 0


def _gather(host: Host, history: str | None, sample: int | None, timeout: float, target: Target) -> plan.TuneReadings:
    if sample is None:
        return plan.gather(host, history, None, contextlib.nullcontext, target)
    deadline = Deadline(timeout)
    deadline.start()
    try:
        return plan.gather(host, history, sample, deadline.budget, target,
                           history_budget=partial(deadline.budget, common_options.LONGEST_HISTORY_READING))
    finally:
        deadline.stop()


def _rules(advised: plan.Plan, kind: str) -> str:
    chosen = advised.candidates
    rules = notrack.nft(chosen) if kind == 'nft' else notrack.iptables(chosen, 4 if kind == 'iptables' else 6)
    if not chosen or not rules:
        # an empty file of rules is a valid answer: nothing to load
        return f'# no bypass rules proposed: {report.why_no_bypass(advised) or f"no candidate for {kind}"}\n'
    return ''.join(f'# {line}\n' for line in notrack.warnings(chosen)) + rules
