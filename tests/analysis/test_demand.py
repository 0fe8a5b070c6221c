"""How many entries the new connections of now need, by Little's law."""

from __future__ import annotations

from typing import Any

from check_conntrack_lib.analysis.demand import Demand, demands, lasting
from check_conntrack_lib.analysis.profile import TimeLeft, TimeoutClass
from check_conntrack_lib.analysis.proportion import Proportion
from check_conntrack_lib.analysis.rates import NewRate
from check_conntrack_lib.analysis.timeouts import Proposal
from check_conntrack_lib.history.profiles import EMPTY


def rate(**by_timeout: float) -> NewRate:
    return NewRate(9, 9, {}, (), (), by_timeout=by_timeout)


def proposal(name: str, seconds: int, risky: bool = False) -> Proposal:
    return Proposal(name, 120, seconds, 5, Proportion(0.1, 0.1, 0.1), 'x', risky)


def test_rate_times_timeout() -> None:
    found = demands(rate(udp_timeout=10, tcp_timeout_time_wait=5, tcp_timeout_close=7, unknown=99),
                    {'udp_timeout': 30, 'tcp_timeout_time_wait': 120, 'tcp_timeout_close': 10, 'other': 9},
                    (proposal('tcp_timeout_time_wait', 30), proposal('udp_timeout', 10, risky=True)))
    assert found == (Demand('tcp_timeout_time_wait', 5, 120, 30), Demand('udp_timeout', 10, 30, 30),
                     Demand('tcp_timeout_close', 7, 10, 10))
    assert (found[0].entries, found[0].entries_then) == (600, 150)


def test_entries_that_are_refreshed() -> None:
    kinds: Any = {TimeoutClass(6, 'ESTABLISHED', True): TimeLeft(60, {0: 3, 5: 4}),
                  TimeoutClass(17, '', False): TimeLeft(10, {0: 50})}
    profile = EMPTY._replace(entries=1000, seen=100, time_left=kinds, offloaded=5)
    assert lasting(profile, rate(udp_timeout=9)) == 120
    assert lasting(profile._replace(offloaded=200), rate(udp_timeout=9)) == 1000
