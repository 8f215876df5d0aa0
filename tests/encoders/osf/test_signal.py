import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.encoders.osf.signal import condition, loader_resample
from hypnos_bench.signals.base import Signal


def signal(values, rate_hz):
    return Signal(np.asarray(values, np.float64), float(rate_hz), "uV", "X1")


def rhythm(seconds, rate_hz, seed=0):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return 40 * np.sin(2 * np.pi * 1.3 * t) + np.random.default_rng(seed).normal(size=len(t)) + 7


def test_upstream_takes_every_other_sample_of_128_hz():
    x = rhythm(60, 128)
    np.testing.assert_array_equal(loader_resample(x, 128), x[::2])
    out = condition(signal(x, 128), 2, 128, "upstream")
    expected = (x[::2] - x[::2].mean()) / x[::2].std()
    np.testing.assert_allclose(out, np.clip(expected, -6, 6).astype(np.float32), atol=1e-6)


def test_upstream_draws_lines_between_samples_of_8_hz():
    x = rhythm(60, 8)
    out = loader_resample(x, 8)
    assert len(out) == 60 * 64
    np.testing.assert_array_equal(out[::8], x)
    np.testing.assert_allclose(out[4:-8:8], (x[1:] + x[:-1]) / 2)
    assert (out[-8:] == x[-1]).all()  # goes on flat


def test_upstream_brings_belts_to_their_stored_rate_first():
    """What is faster than 4 Hz is not in a belt that was stored at 8 Hz, but is in one resampled properly."""
    t = np.arange(60 * 32) / 32
    x = np.sin(2 * np.pi * 0.3 * t) + np.sin(2 * np.pi * 10 * t)

    def at_10_hz(resampler):
        spectrum = np.abs(np.fft.rfft(condition(signal(x, 32), 2, 8, resampler)))
        return spectrum[600] / spectrum[18]

    assert at_10_hz("polyphase") > 0.9
    assert at_10_hz("upstream") < 0.05


def test_polyphase_takes_no_alias():
    t = np.arange(60 * 256) / 256
    x = np.sin(2 * np.pi * 5 * t) + np.sin(2 * np.pi * 60 * t)  # 60 Hz would be seen as 4 Hz
    spectrum = np.abs(np.fft.rfft(condition(signal(x, 256), 2, 64, "polyphase")))
    assert spectrum[4 * 60] < 0.01 * spectrum[5 * 60]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([8.0, 25.0, 64.0, 99.5, 200.0]),
    st.floats(1e-3, 1e3),
    st.floats(-1e3, 1e3),
    st.sampled_from(["polyphase", "upstream"]),
)
def test_gain_and_offset_do_not_matter(rate_hz, gain, offset, resampler):
    x = rhythm(61, rate_hz)
    plain = condition(signal(x, rate_hz), 2, 64, resampler)
    assert plain.shape == (2 * 1920,)
    assert plain.dtype == np.float32
    assert abs(plain.mean()) < 1e-4
    assert abs(plain.std() - 1) < 1e-3
    np.testing.assert_allclose(condition(signal(gain * x + offset, rate_hz), 2, 64, resampler), plain, atol=2e-4)


def test_the_clip_is_at_six():
    x = rhythm(300, 64)
    x[500] = 1e5
    out = condition(signal(x, 64), 10, 64, "polyphase")
    assert out.max() == 6
    assert out[500] == 6


def test_short_gaps_are_bridged_and_long_ones_cost_their_epochs():
    x = rhythm(120, 64)
    x[100:110] = np.nan
    x[1920 : 1920 + 400] = np.nan  # more than a tenth of the second epoch
    out = condition(signal(x, 64), 4, 64, "polyphase").reshape(4, 1920)
    assert np.isnan(out).all(axis=1).tolist() == [False, True, False, False]
    assert np.isfinite(out[[0, 2, 3]]).all()
    line = out[0, 99:111]
    np.testing.assert_allclose(np.diff(line), np.diff(line).mean(), atol=1e-6)
    kept = np.concatenate([x[:1920], x[3840:]])
    expected = (x[3840:] - np.nanmean(kept)) / np.nanstd(kept)
    np.testing.assert_allclose(out[2:].ravel(), expected, atol=0.02)  # the bridge is ten samples of the deviation


def test_a_channel_that_ends_early_is_missing_afterwards():
    out = condition(signal(rhythm(70, 128), 128), 4, 64, "polyphase").reshape(4, 1920)
    assert np.isnan(out).all(axis=1).tolist() == [False, False, True, True]  # 10 of 30 s are not enough
    out = condition(signal(rhythm(88, 128), 128), 3, 64, "polyphase").reshape(3, 1920)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("rate_hz", [128.0, 199.9, 10.3])
def test_always_whole_epochs(rate_hz):
    for seconds in (90.0, 90.02, 119.9):
        assert condition(signal(rhythm(seconds, rate_hz), rate_hz), 3, 64, "polyphase").shape == (3 * 1920,)


def test_an_offset_leaves_no_step_at_the_ends():
    x = rhythm(60, 200)
    np.testing.assert_allclose(
        condition(signal(x + 1e6, 200), 2, 64, "polyphase"), condition(signal(x, 200), 2, 64, "polyphase"), atol=1e-3
    )


def test_flat_and_empty_channels_are_told():
    flat = np.full(64 * 100, 3.0)
    flat[-64:] = rhythm(1, 64)  # after the last whole epoch
    assert condition(signal(flat, 64), 3, 64, "polyphase") == "X1: constant in every epoch that was recorded"
    gone = np.full(64 * 90, np.nan)
    gone[:100] = rhythm(100 / 64, 64)
    assert condition(signal(gone, 64), 3, 64, "polyphase") == "X1: no epoch was recorded"
