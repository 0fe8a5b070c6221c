"""Ports of source NAT in words."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from assessments import assessment, lost

from check_conntrack_lib.analysis.nat_ports import PortUse
from check_conntrack_lib.assessment import Assessment
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.model import History
from check_conntrack_lib.plugin import nat_lines

POOL = ReplyTuple(17, socket.inet_aton('203.0.113.9'), 53, socket.inet_aton('198.51.100.1'))
USE = PortUse(POOL, 910, 1000, 900, True, True, 500, (('TIME_WAIT', 300), ('CLOSE', 100), ('LAST_ACK', 50)),
              (('10.0.0.1', 50), ('10.0.0.2', 40)))
NAME = '203.0.113.9:53 udp through 198.51.100.1'


def refused(found: int | None = 0, use: PortUse | None = USE) -> Assessment:
    packets = {'insert_failed': 60, 'clash_resolve': 0, **({} if found is None else {'found': found})}
    return assessment(ports=use, losses=lost(**packets))


@pytest.mark.parametrize(('a', 'text'), [
    (assessment(), ''), (assessment(ports=USE), f'NAT ports to {NAME}: 91% used (910 of 1000)'),
    (assessment(ports=USE._replace(exact=False)), f'NAT ports to {NAME}: at least 90% used (about 910 of 1000)'),
    (refused(9999), f'NAT ports to {NAME}: 91% used (910 of 1000), 0.1 packets/s refused'),
    (refused(0), f'NAT ports to {NAME}: 91% used (910 of 1000)')])
def test_how_many_are_used(a: Assessment, text: str) -> None:
    assert nat_lines.used(a) == text


@pytest.mark.parametrize(('a', 'is_refused', 'text', 'short'), [
    (refused(9999), True, 'NAT found no free port', 'NAT ports'),
    (refused(0), False, 'clashes not resolved', 'clashes'),
    (refused(None, None), False, 'clashes not resolved, or NAT found no free port', 'clash or NAT'),
    (assessment(ports=USE), False, 'clashes not resolved, or NAT found no free port', 'clash or NAT'),
    (assessment(ports=USE, losses=lost()), False, 'clashes not resolved, or NAT found no free port', 'clash or NAT')])
def test_what_inserts_failed_for(a: Assessment, is_refused: bool, text: str, short: str) -> None:
    assert (nat_lines.are_refused(a), nat_lines.cause_text(a), nat_lines.short_cause(a)) == (is_refused, text, short)


def test_ports_that_are_free_again() -> None:
    """While they were refused within the window, the most of them that was seen in use counts."""
    half = USE._replace(used=500, least=500)
    a = refused(9999, half)
    assert (nat_lines.are_refused(a), nat_lines.most_used(a)) == (False, 0.5)
    before = a._replace(history=History(ports_peak=0.6))
    assert (nat_lines.are_refused(before), nat_lines.most_used(before)) == (True, 0.6)
    assert nat_lines.used(before) == f'NAT ports to {NAME}: 60% used, now 50% (500 of 1000), 0.1 packets/s refused'
    assert not nat_lines.are_refused(a._replace(history=History(ports_peak=0.59)))
    other = refused(0, half)._replace(history=History(ports_peak=0.9))
    assert (nat_lines.are_refused(other), nat_lines.most_used(other)) == (False, 0.5)
    # none of its entries is left
    gone = refused(9999, None)._replace(history=History(ports_peak=0.9))
    assert (nat_lines.are_refused(gone), nat_lines.used(gone), nat_lines.short_cause(gone)) == (True, '', 'NAT ports')


@pytest.mark.parametrize(('size', 'used', 'why'), [
    (128, 90, 'source NAT has only 128 ports for this server: nf_conntrack_max does not help'),
    (129, 90, 'source NAT looks for a free port in a part of its range only: nf_conntrack_max does not help'),
    (1024, 1024, 'source NAT has only 1024 ports for this server: nf_conntrack_max does not help')])
def test_why_ports_run_out(size: int, used: int, why: str) -> None:
    """Of a small range the kernel looks at every port, and where all are used it does not matter."""
    assert nat_lines.why(assessment(ports=USE._replace(size=size, used=used))) == why


@pytest.mark.parametrize(('change', 'text'), [
    ({}, '; held by 60% TIME_WAIT, 20% CLOSE, 10% of 10.0.0.1; nf_conntrack_max does not help'),
    ({'sources': (('10.0.0.1', 49),)}, '; held by 60% TIME_WAIT, 20% CLOSE; nf_conntrack_max does not help'),
    ({'states': (('', 300),), 'used': 600}, ', 10% of 10.0.0.1; nf_conntrack_max does not help'),
    ({'states': (), 'used': 599, 'sources': ()}, '')])
def test_a_line_of_details(change: dict[str, Any], text: str) -> None:
    a = assessment(ports=USE._replace(**change))
    assert nat_lines.details(a) == nat_lines.used(a).replace('NAT ports to', 'NAT ports: to') + text
    assert nat_lines.details(assessment()) == ''
