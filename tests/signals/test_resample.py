import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from hypnos_bench.signals.resample import polyphase, resample


def test_equal_rate_is_the_same_array():
    values = np.arange(5.0)
    assert resample(values, 128, 128) is values
    assert polyphase(values, 97.3, 97.3) is values


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "up", "down"), [(200, 128, 16, 25), (100, 32, 8, 25), (97.3, 128, 1280, 973)]
)
def test_ratio_in_lowest_terms(from_hz, to_hz, up, down):
    values = np.random.default_rng(0).standard_normal(1001)
    expected = resample_poly(values, up, down)
    np.testing.assert_array_equal(polyphase(values, from_hz, to_hz), expected)
    result = resample(values, from_hz, to_hz)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected.astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([50, 99.5, 100, 200, 256, 512]), st.floats(0.5, 10))
def test_a_slow_sine_keeps_its_shape(from_hz, frequency_hz):
    seconds = 8
    sine = np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * from_hz)) / from_hz)
    result = resample(sine, from_hz, 128)
    expected = np.sin(2 * np.pi * frequency_hz * np.arange(len(result)) / 128)
    inside = slice(128, 6 * 128)  # away from the ends, where the filter sees zeros
    np.testing.assert_allclose(result[inside], expected[inside], atol=0.01)
    assert abs(len(result) - seconds * 128) <= 2


@pytest.mark.parametrize("rates", [(0, 128), (128, -1), (np.nan, 128), (128, np.inf)])
def test_rates_must_be_positive(rates):
    with pytest.raises(ValueError, match="rates must be positive"):
        resample(np.ones(4), *rates)
