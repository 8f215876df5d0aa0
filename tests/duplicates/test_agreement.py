"""Agreement: what copies share minute by minute, and what only looks like it."""

import numpy as np
import pytest

from hypnos_bench.duplicates.agreement import beats_agree, envelopes_agree


def ms(beats_s):
    return np.rint(beats_s * 1e3).astype(np.int32)


def agree(a, b, offset_ms):
    return beats_agree(a, b, np.full(len(a), float(offset_ms)))


def test_a_night_agrees_with_itself_in_every_minute(beats):
    night = ms(beats(0))
    found = agree(night, night, 0)
    assert found.share == 1.0
    assert found.telling == len(night) // 64
    assert found.offset_ms == 0.0


def test_a_wrong_offset_agrees_nowhere(beats):
    night = ms(beats(0))
    for wrong in (3_000, 60_000, 3_600_000):  # 3 s are a breath: some minutes then look alike in beats that breathe
        assert agree(night, night + 500_000, 500_000 + wrong).share < 0.06


def test_the_offset_is_refined(beats):
    night = ms(beats(0))
    assert agree(night, night + 500_000, 500_090).offset_ms == pytest.approx(500_000, abs=1)


def test_hearts_paced_at_one_rate_are_not_one(beats):
    rng = np.random.default_rng(0)
    one, other = (np.cumsum(np.full(20_000, 1000)) + rng.normal(0, 1, 20_000) for _ in range(2))
    assert agree(one.astype(np.int32), other.astype(np.int32), 0).telling == 0
    # Beats that jitter more, as at 100 Hz, count as telling, but change independently of each other.
    one, other = (np.cumsum(np.full(20_000, 1000)) + rng.normal(0, 6, 20_000) for _ in range(2))
    found = agree(one.astype(np.int32), other.astype(np.int32), 0)
    assert found.telling > 300
    assert found.agreeing == 0


def test_only_the_overlap_counts(beats):
    night = ms(beats(0))
    found = agree(night[:12_000], night[8_000:], 0)
    assert found.telling == (12_000 - 8_000) // 64
    assert found.share == 1.0
    assert agree(night[:5000], night[-5000:], 0).telling == 0


def test_half_a_copy_has_half_the_share(beats):
    night, stranger = ms(beats(0)), ms(beats(1))
    middle = night[len(night) // 2]
    mixed = np.concatenate([night[night < middle], stranger[stranger >= middle]])
    assert agree(night, mixed, 0).share == pytest.approx(0.5, abs=0.05)


def codes(seed, n=14_400):
    rng = np.random.default_rng(seed)
    return np.rint(np.convolve(rng.normal(0, 12, n), np.hanning(9) / 2, "same")).clip(-120, 120).astype(np.int8)


def compare(a, b, offset_ms):
    return envelopes_agree(a, b, np.full(len(a), float(offset_ms)), rate_hz=4.0, step_db=0.25, gap=-128)


def test_envelopes_agree_at_their_offset_only():
    x = codes(0)
    found = compare(x[4000:], x, 1_000_500)  # half a second off: tried nearby
    assert found.share == 1.0
    assert found.offset_ms == pytest.approx(1_000_000, abs=130)
    assert compare(x[4000:], x, 1_010_000).share == 0.0
    assert compare(codes(1), x, 0).share == 0.0


def test_flat_envelopes_and_gaps_tell_nothing():
    flat = np.zeros(14_400, np.int8)
    assert compare(flat, flat, 0).telling == 0
    x = codes(0)
    x[7200:] = -128
    found = compare(x, x, 0)
    assert (found.telling, found.share) == (30, 1.0)


def test_no_overlap_is_no_agreement():
    assert compare(codes(0), codes(0), 1e9).telling == 0
