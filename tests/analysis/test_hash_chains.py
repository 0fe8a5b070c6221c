"""Which kernels refuse new connections for long hash chains, and from which load on."""

from __future__ import annotations

import random

import pytest

from check_conntrack_lib.analysis.hash_chains import (
    LENGTHS,
    ChainLimit,
    chain_limit,
    enough_buckets,
    hash_load,
    refused_share,
)


@pytest.mark.parametrize(('release', 'level', 'limit', 'by_sysctl', 'unless'), [
    ('3.10.0-1160.el7.x86_64', '', None, False, ''),
    ('4.18.0-553.el8_10.x86_64', '', None, True, ''),
    ('5.4.0-26-generic', '', None, True, ''),
    ('5.10.257-1-amd64', '5.10.257', None, True, ''),
    ('5.14.21-150500.55-default', '', None, True, ''),
    ('5.14.0-70.13.1.el9_0.x86_64', '', 2.0, True, ''),
    ('5.14.0-284.11.1.el9_2.x86_64', '', 2.0, True, ''),
    ('5.14.0-427.13.1.el9_4.x86_64', '', 16.0, True, ''),
    # run: 6054 entries in 512 buckets at 3000 refusals, 16994 in the current one of the same distribution
    ('5.15.0-25-generic', '5.15.30', 2.0, True, ''),
    ('5.15.0-204-generic', '5.15.199', 16.0, True, ''),
    ('5.15.0-204-generic', '', 2.0, True, '5.15.103'),
    ('5.15.102', '5.15.102', 2.0, True, ''),
    ('5.15.103', '5.15.103', 16.0, True, ''),
    ('5.19.17', '5.19.17', 2.0, True, ''),
    ('6.0.19', '6.0.19', 2.0, True, ''),
    ('6.1.19', '6.1.19', 2.0, True, ''),
    ('6.1.20', '6.1.20', 16.0, True, ''),
    ('6.1.0-42-amd64', '', 16.0, True, ''),
    ('6.1.0-1036-oem', '', 2.0, True, '6.1.20'),
    ('6.2.6', '6.2.6', 2.0, True, ''),
    ('6.2.0-39-generic', '', 2.0, True, '6.2.7'),
    ('6.3.0', '6.3.0', 16.0, True, ''),
    ('6.12.0-55.9.1.el10_0.x86_64', '', 16.0, True, ''),
    ('6.18.44', '6.18.44', 16.0, True, ''),
    ('odd', '', None, True, ''),
])
def test_chain_limit(release, level, limit, by_sysctl, unless):
    assert chain_limit(release, level) == (limit, by_sysctl, unless)


def test_a_limit_that_is_not_known_is_said_both_ways():
    assert [str(chain_limit('5.15.0-204-generic', level)) for level in ('', '5.15.199')] == \
        ['2 (16 from 5.15.103 on)', '16']


@pytest.mark.parametrize(('chains', 'per_bucket', 'percent'), [
    # computed independently, and in agreement with the saturation of real tables (7818 and 19458 entries in 512)
    (2.0, 1, 0.0005), (2.0, 2, 0.10), (2.0, 3, 1.3), (2.0, 4, 5.4), (2.0, 5, 12), (2.0, 6, 21), (2.0, 8, 39),
    (2.0, 12, 73),
    (16.0, 8, 0), (16.0, 12, 0.000006), (16.0, 16, 0.011), (16.0, 20, 0.85), (16.0, 24, 9.3),
    (2.0, 0, 0), (2.0, 1000, 100), (16.0, 1000, 100),
])
def test_share_of_refused_connections(chains: float, per_bucket: float, percent: float) -> None:
    assert refused_share(per_bucket, *LENGTHS[chains]) * 100 == pytest.approx(percent, rel=0.06, abs=1e-7)


@pytest.mark.parametrize('chains', LENGTHS)
def test_no_chain_is_long_enough_for_every_entry(chains: float) -> None:
    assert refused_share(300.0, *LENGTHS[chains]) == pytest.approx(1.0)


@pytest.mark.parametrize('chains', LENGTHS)
def test_a_table_that_is_filled_at_random_refuses_so_many(chains: float) -> None:
    """The kernel's own loop, over a table of 4096 buckets."""
    chance, buckets = random.Random(7), 4096
    shortest, longest = LENGTHS[chains]
    per_bucket = {2.0: 5.0, 16.0: 25.0}[chains]
    table = [0] * buckets
    for _ in range(round(2 * per_bucket * buckets)):
        table[chance.randrange(buckets)] += 1
    tries = 20000
    refused = 0
    for _ in range(tries):
        limit = chance.randint(shortest, longest)
        for _chain in range(2):
            # chainlen++ > max_chainlen, for each entry that is there
            if table[chance.randrange(buckets)] - 1 > limit:
                refused += 1
                break
    assert refused / tries == pytest.approx(refused_share(per_bucket, shortest, longest), rel=0.15)


def test_a_load_far_below_is_not_computed_and_a_kernel_without_limit_says_nothing() -> None:
    assert hash_load(100000, 65536, True, ChainLimit(None)) is None
    assert hash_load(100000, 0, True, ChainLimit(2.0)) is None
    calm = hash_load(65536, 65536, True, ChainLimit(16.0))
    assert calm
    assert (calm.refused, calm.per_bucket) == (0.0, 1.0)
    loaded = hash_load(2 * 65536 + 7, 65536, False, ChainLimit(2.0))
    assert loaded
    assert 0.001 < loaded.refused < 0.0011
    wanted = enough_buckets(loaded.entries, 100_000)
    assert wanted == 131584
    assert refused_share(loaded.entries / wanted, 8, 31) < 1e-5


@pytest.mark.parametrize(('entries', 'maximum', 'wanted'), [
    (10, 400_000, 400_384), (500_000, 400_000, 500_224), (10, 0, 1024), (2048, -1, 2048)])
def test_with_enough_buckets_a_full_table_has_an_entry_in_each(entries: int, maximum: int, wanted: int) -> None:
    assert enough_buckets(entries, maximum) == wanted


@pytest.mark.parametrize(('release', 'stable', 'limit', 'by_sysctl'), [
    ('4.7.10', '', None, False), ('4.8.0', '', None, True), ('5.14.21', '', None, True),
    ('5.14.0-427.el9', '', 16.0, True), ('5.14.0-426.el9', '', 2.0, True), ('5.16.1', '', 2.0, True),
    ('6.3.0', '', 16.0, True), ('5.15.103', '5.15.103', 16.0, True), ('5.15.102', '5.15.102', 2.0, True),
    ('6.1.20', '6.1.20', 16.0, True), ('6.1.19', '6.1.19', 2.0, True), ('6.2.7', '6.2.7', 16.0, True),
    ('6.2.6', '6.2.6', 2.0, True), ('unknown', '', None, True)])
def test_the_limit_at_each_release(release, stable, limit, by_sysctl):
    assert chain_limit(release, stable) == ChainLimit(limit, by_sysctl)
