"""The recorded past: gaps are never spikes, condensing loses nothing, and an episode tells its facts."""

import pasts
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pasts import sample

from check_conntrack_lib.analysis import timeline


def lost(samples):
    return [interval.losses and interval.losses.lost for interval in timeline.intervals(samples)]


def test_losses_from_sample_to_sample():
    assert lost([sample(0, 1), sample(60, 1, drop=5), sample(120, 1, drop=5, chaintoolong=2)]) == [None, 5, 2]


def test_after_a_reset_it_counts_from_zero_and_a_reboot_is_a_gap():
    reset = [sample(0, 1, drop=3_000_000_000), sample(60, 1, drop=7), sample(120, 1, drop=9)]
    assert lost(reset) == [None, 7, 2]
    reboot = [sample(0, 1, drop=5), sample(60, 1, drop=900, boot=30), sample(120, 1, drop=901, boot=30)]
    assert lost(reboot) == [None, None, 1]
    assert [interval.growth for interval in timeline.intervals(reboot)] == [None, None, 0.0]


def test_a_wrap_is_counted():
    assert lost([sample(0, 1, drop=0xFFFFFFF0), sample(60, 1, drop=0x10)]) == [None, 0x20]


def test_namespaces_do_not_mix_and_runs_without_counters_are_gaps():
    samples = [sample(0, 10, drop=100), sample(1, 50, drop=7, netns=pasts.CONTAINER), sample(60, 10, drop=101),
               sample(61, 50, drop=8, netns=pasts.CONTAINER), sample(120, 10)._replace(counters=None),
               sample(180, 10, drop=200)]
    assert lost(samples) == [None, None, 1, 1, None, None]
    found = timeline.namespaces(timeline.intervals(samples))
    assert [(one.peak.sample.netns, one.boots, one.samples, one.peak.sample.entries, one.lost) for one in found] \
        == [(pasts.CONTAINER, 1, 2, 50, 1), (pasts.INITIAL, 1, 4, 10, 1)]


def test_a_clock_that_was_set_back_makes_no_negative_span():
    samples = sorted([sample(0, 1, drop=1), sample(60, 1, drop=2)._replace(at=sample(60, 1).at._replace(wall=1.0))],
                     key=lambda s: s.at.wall)
    assert lost(samples) == [None, None]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 300000), st.integers(0, 50)), min_size=1, max_size=60),
       st.integers(1, 20000))
def test_condensing_loses_no_packet_and_no_peak(story, slot):
    second, drop, samples = 0, 0, []
    for seconds, entries, dropped in story:
        second, drop = second + seconds, drop + dropped
        samples.append(sample(second, entries, drop=drop))
    whole = timeline.intervals(samples)
    stretches = timeline.condense(whole, whole[0].sample.at.wall, slot).values()
    assert sum(s.losses.lost for s in stretches if s.losses) == sum(interval.lost for interval in whole)
    assert max(s.peak.sample.entries for s in stretches) == max(s.entries for s in samples)
    assert sum(s.losses.span for s in stretches if s.losses) == pytest.approx(samples[-1].at.uptime
                                                                             - samples[0].at.uptime)
    for s in stretches:
        assert s.begin <= s.peak.sample.at.wall <= s.end


def test_the_incident_of_three_days():
    own = [interval for interval in timeline.intervals(pasts.incident()) if interval.sample.netns == pasts.INITIAL]
    found = timeline.episodes(own)
    assert len(found) == 1
    episode = timeline.worst(found)
    assert (episode.lost, episode.counted['early_drop']) == (25500, 360)
    assert episode.peak.sample.entries == 262144
    assert 85 < episode.began.usage < 87
    assert episode.ended == pasts.BEGIN + 44.5 * 3600
    assert [(c.before, c.after, c.rebooted) for c in episode.changes] == [(262144, 524288, False)]
    assert [(c.before, c.after, c.rebooted) for c in timeline.changes(own)] == [(262144, 524288, False),
                                                                                (524288, 262144, True)]


def test_two_episodes_and_the_worse_of_them():
    samples = [sample(k * 600.0, 230000 if k in (5, 6, 20) else 100000, drop=3 * (k >= 20)) for k in range(25)]
    found = timeline.episodes(timeline.intervals(samples))
    assert [len(episode.intervals) for episode in found] == [2, 1]
    assert timeline.worst(found).lost == 3
    assert timeline.worst([]) is None


def test_an_episode_that_goes_on_has_no_end():
    (episode,) = timeline.episodes(timeline.intervals([sample(0, 10), sample(60, 262144)]))
    assert episode.ended is None
    assert episode.first_loss is None


@pytest.mark.parametrize(('second', 'may'), [(30, False), (57, True), (90, True), (130, False), (184, False),
                                             (250, True), (-100, True), (400, True)])
def test_when_a_table_may_have_dropped_packets(second, may):
    """A log line of another time is another namespace's: the counters of this one stood still."""
    story = [sample(0, 1, drop=7), sample(60, 1, drop=7), sample(120, 1, drop=8), sample(180, 1, drop=8),
             # one clash, which is no full table
             sample(200, 1, drop=9, insert_failed=1), sample(240, 1)._replace(counters=None), sample(300, 1, drop=9)]
    for one in story:
        if one.counters:
            one.counters.per_cpu['clash_resolve'] = (0, 0)
    assert timeline.may_have_dropped(timeline.intervals(story)[1:], pasts.BEGIN + second) is may


def test_an_episode_ends_after_half_an_hour_without_trouble():
    def found(*seconds):
        samples = [sample(second, 230000 if second in seconds else 1) for second in range(0, 7200, 60)]
        return [(one.began.sample.at.wall - pasts.BEGIN, len(one.intervals), one.ended and one.ended - pasts.BEGIN)
                for one in timeline.episodes(timeline.intervals(samples))]

    assert found(600, 2400) == [(600, 31, 2460)]
    assert found(600, 2460) == [(600, 1, 660), (2460, 1, 2520)]
    assert found(0) == [(0, 1, 60)]


def test_trouble_is_usage_or_what_was_counted():
    calm, usage, evicted, dropped = timeline.intervals([
        sample(0, 222822), sample(60, 222823), sample(120, 1, early_drop=1), sample(180, 1, early_drop=1, drop=1)])
    assert [timeline.in_trouble(one) for one in (calm, usage, evicted, dropped)] == [False, True, True, True]


def test_the_maximum_before_the_first_sign_is_part_of_the_story():
    samples = [sample(0, 10, 1000), sample(60, 10, 2000), sample(120, 950, 1000), sample(180, 10, 500),
               sample(240, 1, 9)]
    episode, = timeline.episodes(timeline.intervals(samples))
    assert [(one.before, one.after) for one in episode.changes] == [(2000, 1000), (1000, 500)]


def test_the_worst_lost_most_else_was_fullest():
    samples = [sample(0, 262144), sample(5000, 250000, drop=1), sample(10000, 230000, drop=1)]
    found = timeline.episodes(timeline.intervals(samples))
    assert timeline.worst(found) == found[1]
    assert timeline.worst([found[2], found[0]]) == found[0]


def test_a_bucket_sums_up_and_averages_by_time():
    first, second, third = timeline.intervals([sample(0, 100), sample(60, 160, drop=2), sample(240, 160, drop=5)])
    found = timeline.condense([first, second, third], pasts.BEGIN, 300)
    assert list(found) == [0]
    assert (found[0].begin, found[0].end) == (pasts.BEGIN, pasts.BEGIN + 240)
    assert (found[0].losses.span, found[0].losses.packets['drop'], found[0].growth) == (240, 5, 0.25)
    assert found[0].peak.sample.entries == 160
    assert sorted(timeline.condense([first, second, third], pasts.BEGIN, 120)) == [0, 2]
    alone = timeline.condense([first], pasts.BEGIN, 300)[0]
    assert (alone.losses, alone.growth, alone.begin) == (None, None, pasts.BEGIN)


def test_no_limit_no_usage():
    unlimited = timeline.intervals([sample(0, 5, 0), sample(60, 9, -1)])
    assert [one.usage for one in unlimited] == [0.0, 0.0]
    assert timeline.peak(unlimited).sample.entries == 9
    assert [(one.lost, one.counted('drop')) for one in unlimited] == [(0, 0), (0, 0)]


def test_what_has_one_name_is_one_namespace():
    named = sample(0, 200)._replace(name='web')
    after = sample(60, 100, boot=30.0)._replace(name='web', netns=7)
    found = timeline.namespaces(timeline.intervals([named, sample(10, 300), after, sample(70, 90)._replace(since=5.0)]))
    assert [(one.key, one.boots, one.samples, one.first - pasts.BEGIN, one.last - pasts.BEGIN) for one in found] == [
        (str(pasts.INITIAL), 1, 1, 10, 10), ('web', 2, 2, 0, 60),
        (f'{pasts.INITIAL} since 5.0 of fffffc18-0000', 1, 1, 70, 70)]
    assert found[1].newest == after


def test_two_samples_of_one_moment_are_no_step():
    first = sample(0, 10)
    assert [one.span for one in timeline.intervals([first, first, sample(60, 20)])] == [None, None, 60.0]
