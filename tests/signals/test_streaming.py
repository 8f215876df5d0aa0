"""Streams give what the offline functions give, however the signal is cut."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.signals.filters import ForwardFilter, butterworth, forward, notch
from hypnos_bench.signals.normalise import RunningZscore, compress, ema_zscore
from hypnos_bench.signals.resample import factors, resample
from hypnos_bench.signals.streaming import StreamingPreprocessor, StreamingResampler, StreamingZscore

RATES = [(256, 128), (512, 128), (100, 128), (10, 32), (200, 128), (97.3, 128), (256, 16), (256 / 3, 16), (2000, 32)]
BAND, NOTCH = butterworth(0.5, 45, 128), notch(50, 128)


def signal(n, seed=0):
    rng = np.random.default_rng([seed, n])
    return rng.standard_normal(n) * 30 + 200 + np.sin(np.arange(n) / 9) * 50


def pieces(values, seed, longest=300):
    """Cut at random places; empty pieces and single samples are among them."""
    rng, start = np.random.default_rng(seed), 0
    while start < len(values):
        n = int(rng.choice([0, 1, rng.integers(2, longest)]))
        yield values[start : start + n]
        start += n


def through(stream, values, seed):
    parts = [stream.push(piece) for piece in pieces(values, seed)]
    if hasattr(stream, "finish"):
        parts.append(stream.finish())
    return np.concatenate(parts)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("n", [1, 20, 3001])
def test_resampling_equals_the_offline_one_to_the_last_bit(rates, n):
    values = signal(n)
    expected = resample(values, *rates)
    for seed in range(3):
        found = through(StreamingResampler(*rates), values, seed)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(through(StreamingResampler(*rates), values, 9), expected)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(40, 6000).map(lambda tenths: tenths / 10),
    st.sampled_from([16, 32, 128]),
    st.integers(1, 2500),
    st.integers(0, 9),
)
def test_any_rate_and_length(from_hz, to_hz, n, seed):
    values = signal(n, seed)
    np.testing.assert_array_equal(
        through(StreamingResampler(from_hz, to_hz), values, seed), resample(values, from_hz, to_hz)
    )


def test_an_equal_rate_passes_through():
    values = signal(50)
    stream = StreamingResampler(128, 128)
    assert stream.push(values) is values
    assert len(stream.finish()) == 0


@pytest.mark.parametrize("rates", RATES)
def test_an_output_comes_as_soon_as_its_filter_is_covered(rates):
    """Every output is given at the first sample from which no later one can change it."""
    n, stream, given_out = 2000, StreamingResampler(*rates), []
    for sample in signal(n)[:, None]:
        given_out.append(len(stream.push(sample)))
    assert sum(given_out) > 0
    at_input = np.repeat(np.arange(n), given_out)  # the input that brought each output
    up, down = factors(*rates)
    last_needed = (np.arange(len(at_input)) * down + 10 * max(up, down)) // up
    np.testing.assert_array_equal(at_input, last_needed)
    wait_s = (at_input + 1) / rates[0] - np.arange(len(at_input)) / rates[1]
    assert wait_s.max() <= 10 / min(rates) + 1 / rates[0] + 1e-9


@pytest.mark.parametrize("rates", [(200, 128), (100, 128), (97.3, 128)])
def test_the_resampler_keeps_only_what_it_needs(rates):
    stream = StreamingResampler(*rates)
    for _ in range(50):
        stream.push(signal(1000))
    assert len(stream._kept) <= 20 * max(factors(*rates)) / factors(*rates)[0] + 2


@pytest.mark.parametrize("rates", [(0, 128), (math.nan, 128), (128, math.inf)])
def test_rates_must_be_positive(rates):
    with pytest.raises(ValueError, match="rates must be positive"):
        StreamingResampler(*rates)


@pytest.mark.parametrize("sos", [BAND, NOTCH, butterworth(0.05, None, 32)], ids=["band", "notch", "high-pass"])
def test_filtering_equals_the_offline_one_to_the_last_bit(sos):
    values = signal(3000)
    for seed in range(3):
        np.testing.assert_array_equal(through(ForwardFilter(sos), values, seed), forward(sos, values))


@pytest.mark.parametrize("n", [1, 99, 600, 601, 4000])
def test_z_score_equals_the_offline_one_to_the_last_bit(n):
    values = signal(n)
    values[n // 2 : n // 2 + 3] += 5000
    for seed in range(3):
        found = through(StreamingZscore(10, 60.0), values, seed)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, ema_zscore(values, 10, 60.0))


def test_z_score_holds_back_what_its_start_is_taken_from():
    stream, values = StreamingZscore(10, 6.0), signal(100)
    assert len(stream.push(values[:59])) == 0
    assert stream.moments is None
    assert len(stream.push(values[59:60])) == 60
    assert len(stream.push(values[60:])) == 40


def test_given_start_values_replace_the_wait():
    values, rate_hz, tau_s = signal(400), 10, 12.0
    mean, limited, unlimited = 150.0, 900.0, 900.0
    a = math.exp(-1 / (tau_s * rate_hz))
    stream, expected = StreamingZscore(rate_hz, tau_s, (mean, limited)), []
    for value in values:
        mean = a * mean + (1 - a) * value
        squared = (value - mean) ** 2
        unlimited = a * unlimited + (1 - a) * squared
        limited = a * limited + (1 - a) * min(squared, 36 * unlimited)
        expected.append((value - mean) / math.sqrt(limited))
    found = np.concatenate([stream.push(values[:1]), stream.push(values[1:])])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stream.moments, (mean, limited), rtol=1e-9)


def test_moments_forget_the_start_and_follow_the_signal():
    stream = RunningZscore(10, 5.0, mean=-1e4, variance=1.0)
    rng = np.random.default_rng(0)
    stream.push(rng.standard_normal(20_000) * 3 + 7)
    assert stream.moments == pytest.approx((7, 9), rel=0.3)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([128, 256, 100, 512]), st.integers(1, 3000), st.integers(0, 99))
def test_the_whole_chain_equals_its_offline_steps(from_hz, n, seed):
    values = signal(n, seed)
    expected = resample(values, from_hz, 128).astype(np.float64)
    for sos in (BAND, NOTCH):
        expected = forward(sos, expected)
    found = through(StreamingPreprocessor(from_hz, 128, [BAND, NOTCH], 5.0), values, seed)
    np.testing.assert_array_equal(found, compress(ema_zscore(expected, 128, 5.0)))
