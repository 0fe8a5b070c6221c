"""Timeouts: what a shorter one frees, counted in the sample, and when it is not worth a word."""

from __future__ import annotations

import pytest

from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.analysis.sysctl_drift import DEFAULTS
from check_conntrack_lib.analysis.timeouts import RULES, leaks, proposals, timeout_of, total
from check_conntrack_lib.flow import ASSURED, SEEN_REPLY, Flow

NOW = {name: values[0] for name, values in DEFAULTS.items()}


def flow(timeout, protocol=6, state='ESTABLISHED', status=SEEN_REPLY | ASSURED):
    return Flow(protocol, state if protocol in (6, 132) else '', status, timeout, b'abcd', b'efgh', 1, 2, b'', b'')


def proposed(flows, timeouts=NOW, entries=None):
    flows = list(flows)
    return proposals(summarize(flows, entries or len(flows)), timeouts)


def test_time_wait():
    # of 120 entries, one of each age, 90 have been idle for more than 30 s
    p, = proposed([flow(left, state='TIME_WAIT') for left in range(120)])
    assert (p.name, p.now, p.proposed, p.freed, p.foreign) == ('tcp_timeout_time_wait', 120, 30, 90, False)
    assert p.share == (0.75, 0.75, 0.75)
    assert 'invalid' in p.risk


def test_it_scales_to_the_table_and_has_a_margin():
    p, = proposed([flow(left, state='TIME_WAIT') for left in range(120)] * 10, entries=120000)
    assert p.freed == 90000
    assert 0.7 < p.share.low < 0.75 < p.share.high < 0.8


def test_nothing_that_frees_less_than_one_percent():
    assert proposed([flow(431000)] * 200 + [flow(10, state='TIME_WAIT')]) == ()
    assert proposed([]) == ()


def test_nothing_that_is_short_already():
    assert proposed([flow(10, state='TIME_WAIT')] * 100, {'tcp_timeout_time_wait': 30}) == ()


def test_a_timeout_that_this_kernel_lacks():
    assert proposed([flow(10, state='TIME_WAIT')] * 100, {}) == ()


class TestEstablished:
    def test_the_mildest_step_that_helps(self):
        day_idle, hours_idle = flow(432000 - 90000), flow(432000 - 10000)
        assert [p.proposed for p in proposed([day_idle] * 40 + [flow(431000)] * 60)] == [86400]
        assert [p.proposed for p in proposed([hours_idle] * 40 + [flow(431000)] * 60)] == [7440]
        assert [p.proposed for p in proposed([day_idle] * 40 + [hours_idle] * 30 + [flow(431000)] * 30)] == [86400]
        assert [p.proposed for p in proposed([day_idle] * 10 + [hours_idle] * 30 + [flow(431000)] * 60)] == [7440]

    def test_it_says_who_dies_and_is_never_done_unasked(self):
        for rule in RULES:
            if rule.name == 'tcp_timeout_established':
                assert rule.risky
                assert all('connections idle for' in step.risk and 'break' in step.risk for step in rule.steps)

    def test_unacknowledged_data_is_not_idleness(self):
        """Such entries live by another timeout, of 300 s: with 200 s left they are not idle for days."""
        assert proposed([flow(200)] * 50 + [flow(431000)] * 50) == ()
        p, = proposed([flow(200)] * 50 + [flow(300000)] * 50)
        assert p.freed == 50

    def test_a_leak(self):
        found = proposed([flow(300000)] * 500 + [flow(431000)] * 500)
        assert list(leaks(found)) == ['50% of the table are connections without a packet for 24 h: '
                                      'opened and not closed']
        assert list(leaks(proposed([flow(300000)] * 100 + [flow(431000)] * 900))) == []


def test_udp_streams_and_answers_are_two_timeouts():
    stream, single = flow(20, 17), flow(20, 17, status=0)
    assert [p.name for p in proposed([stream] * 10 + [single] * 10, {'udp_timeout': 60, 'udp_timeout_stream': 180})] \
        == ['udp_timeout', 'udp_timeout_stream']
    assert proposed([stream, single], {'udp_timeout': 30, 'udp_timeout_stream': 120}) == ()


def test_the_generic_timeout_is_for_protocols_without_a_tracker():
    esp, = proposed([flow(100, 50)] * 10 + [flow(100, 47)] * 10)
    assert (esp.name, esp.freed) == ('generic_timeout', 10)


def test_another_timeout_policy_shows():
    p, = proposed([flow(10, state='TIME_WAIT')] * 50 + [flow(500, state='TIME_WAIT')] * 50)
    assert p.foreign


def test_together_and_the_largest_first():
    flows = [flow(10, state='TIME_WAIT')] * 20 + [flow(3, 1)] * 30 + [flow(431000)] * 50
    found = proposed(flows)
    assert [p.name for p in found] == ['icmp_timeout', 'tcp_timeout_time_wait']
    assert total(summarize(flows, 100), found).value == pytest.approx(0.5)


def test_no_step_goes_below_what_is_safe():
    least = {'udp_timeout': 30, 'udp_timeout_stream': 120, 'tcp_timeout_close_wait': 60,
             'tcp_timeout_established': 7440}
    for rule in RULES:
        assert all(step.seconds >= least.get(rule.name, 10) for step in rule.steps)
        assert sorted((step.seconds for step in rule.steps), reverse=True) == [step.seconds for step in rule.steps]


IN_WORDS = {10: '10 s', 30: '30 s', 60: 'a minute', 120: '2 minutes', 210: '210 s', 600: '10 minutes',
            7440: '2 h 4 min', 86400: 'a day'}


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: rule.name)
def test_the_risk_of_a_step_is_that_of_its_timeout(rule):
    for step in rule.steps:
        assert IN_WORDS[step.seconds] in step.risk


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: rule.name)
def test_a_rule_is_of_what_lives_by_its_timeout(rule):
    protocol = 50 if rule.protocol < 0 else rule.protocol
    assert timeout_of(protocol, rule.state, bool(rule.assured)) == rule.name
    assert [step.seconds for step in rule.steps] == sorted((step.seconds for step in rule.steps), reverse=True)


@pytest.mark.parametrize(('kind', 'name'), [
    ((6, 'TIME_WAIT', True), 'tcp_timeout_time_wait'), ((33, 'OPEN', True), 'dccp_timeout_open'),
    ((132, 'CLOSED', False), 'sctp_timeout_closed'), ((17, '', True), 'udp_timeout_stream'),
    ((17, '', False), 'udp_timeout'),
    ((136, '', True), 'udp_timeout_stream'), ((47, '', True), 'gre_timeout_stream'), ((47, '', False), 'gre_timeout'),
    ((1, '', True), 'icmp_timeout'), ((58, '', False), 'icmpv6_timeout'), ((50, '', True), 'generic_timeout'),
    ((4, 'X', False), 'generic_timeout')])
def test_what_an_entry_lives_by(kind, name):
    assert timeout_of(*kind) == name


def test_a_harder_step_must_free_twice_as_much():
    def seconds(idle):
        """Of 100 entries `idle` were silent for more than a day, 40 for more than two hours."""
        flows = [flow(432000 - 90000)] * idle + [flow(432000 - 8000)] * (40 - idle) + [flow(432000)] * 60
        return [(one.name, one.proposed) for one in proposed(flows)]

    assert seconds(20) == [('tcp_timeout_established', 7440)]
    assert seconds(21) == [('tcp_timeout_established', 86400)]


def test_one_percent_is_worth_it():
    def freed(idle):
        return [one.freed for one in proposed([flow(10, state='TIME_WAIT')] * idle + [flow(432000)] * (1000 - idle))]

    assert freed(10) == [10]
    assert freed(9) == []


def test_many_with_more_time_than_their_timeout_live_by_another():
    def foreign(more):
        flows = [flow(10, state='TIME_WAIT')] * (100 - more) + [flow(200, state='TIME_WAIT')] * more
        return [one.foreign for one in proposed(flows)]

    assert foreign(2) == [False]
    assert foreign(3) == [True]


def test_a_leak_is_three_tenths_of_the_table():
    def said(idle):
        flows = [flow(432000 - 90000)] * idle + [flow(432000)] * (100 - idle)
        return list(leaks(proposed(flows)))

    assert said(30) == ['30% of the table are connections without a packet for 24 h: opened and not closed']
    assert said(29) == []
