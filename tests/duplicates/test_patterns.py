"""Patterns: the same in every copy, silent where hearts say nothing, thinned out by content."""

import numpy as np
import pytest

from hypnos_bench.duplicates.patterns import KEPT_RR, envelope_patterns, rr_patterns


def ms(beats_s):
    return np.rint(beats_s * 1e3).astype(np.int32)


def shared(one, other):
    """Share of the patterns of `one` that `other` has too."""
    return np.isin(one.hashes, other.hashes).mean()


def test_patterns_move_with_the_clock_and_nothing_else(beats):
    night = ms(beats(0, hours=2))
    whole, later = rr_patterns(night), rr_patterns(night + 80_020)
    np.testing.assert_array_equal(later.hashes, whole.hashes)
    np.testing.assert_array_equal(later.times_ms, whole.times_ms + 80_020)
    assert (np.diff(whole.times_ms) > 0).all()


def test_a_stretch_has_the_patterns_of_the_whole(beats):
    night = ms(beats(0, hours=2))
    whole, part = rr_patterns(night), rr_patterns(night[2000:5000])
    inside = (whole.times_ms >= night[2000]) & (whole.times_ms <= night[4999 - 14])
    np.testing.assert_array_equal(part.hashes, whole.hashes[inside])


def test_one_in_so_many_is_kept(beats):
    kept = np.mean([len(rr_patterns(ms(beats(seed, hours=4))).hashes) / (len(beats(seed, hours=4))) for seed in (0, 1)])
    assert kept == pytest.approx(1 / KEPT_RR, rel=0.1)


@pytest.mark.parametrize(("error_ms", "least"), [(1, 0.4), (3, 0.15), (6, 0.04)])
def test_patterns_survive_what_another_detector_does_to_beat_times(beats, error_ms, least):
    night = beats(0) * 1e3
    moved = night + np.random.default_rng(1).normal(0, error_ms, len(night))
    assert shared(rr_patterns(np.rint(moved).astype(np.int32)), rr_patterns(np.rint(night).astype(np.int32))) > least


def test_nights_of_others_share_few(beats):
    one = rr_patterns(ms(beats(0)))
    assert shared(one, rr_patterns(ms(beats(1)))) < 0.1


def test_ectopic_beats_do_not_make_all_else_equal():
    """In units of the mean change, which one premature beat governs, the others would all be the same word."""

    def night(seed):
        rr = 1000 + np.random.default_rng(seed).normal(0, 25, 20_000)
        rr[::13] -= 350
        rr[1::13] += 350
        return np.cumsum(rr).astype(np.int32)

    one, other = rr_patterns(night(0)), rr_patterns(night(1))
    assert len(one.hashes) > 2000
    assert len(np.unique(one.hashes)) > 0.8 * len(one.hashes)
    assert shared(one, other) < 0.2


def test_a_paced_heart_says_nothing():
    paced = (np.arange(20_000) * 1000 + np.random.default_rng(0).integers(-1, 2, 20_000)).astype(np.int32)
    assert len(rr_patterns(paced).hashes) == 0


def test_no_pattern_spans_a_gap_or_lost_beats():
    rng = np.random.default_rng(0)
    times = np.cumsum(1000 + rng.normal(0, 40, 4000)).astype(np.int64)
    holes = times[np.arange(4000) % 10 < 8]  # an interval of 3 s in every ten
    assert len(rr_patterns(times).hashes) > 300
    assert len(rr_patterns(holes).hashes) == 0


def test_too_few_beats_are_no_error():
    for count in (0, 1, 14):
        assert len(rr_patterns(np.arange(count, dtype=np.int32) * 900).hashes) == 0


def test_envelope_patterns_ignore_gain_and_skip_gaps():
    rng = np.random.default_rng(0)
    codes = np.rint(np.convolve(rng.normal(0, 30, 20_000), np.hanning(9) / 2, "same")).clip(-100, 100).astype(np.int8)
    plain = envelope_patterns(codes, 4.0, 0.25, -128)
    louder = envelope_patterns(codes + np.int8(20), 4.0, 0.25, -128)  # 5 dB
    np.testing.assert_array_equal(louder.hashes, plain.hashes)
    codes[8000:8010] = -128
    holed = envelope_patterns(codes, 4.0, 0.25, -128)
    touched = (plain.times_ms > (8000 - 113) * 250) & (plain.times_ms < 8010 * 250)
    assert touched.any()
    np.testing.assert_array_equal(holed.hashes, plain.hashes[~touched])
