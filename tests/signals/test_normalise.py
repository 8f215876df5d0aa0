import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.signals.normalise import compress, ema_zscore, winsorised_zscore


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def test_ema_zscore_against_its_definition():
    """The recursions written out sample by sample."""
    x = noise(600) * 30 + 5
    x[300:303] = 4000
    rate_hz, tau_s = 10, 12.0
    a = math.exp(-1 / (tau_s * rate_hz))
    mean = x[:120].mean()
    limited = unlimited = x[:120].var()
    expected = []
    for value in x:
        mean = a * mean + (1 - a) * value
        squared = (value - mean) ** 2
        unlimited = a * unlimited + (1 - a) * squared
        limited = a * limited + (1 - a) * min(squared, 36 * unlimited)
        expected.append((value - mean) / math.sqrt(limited))
    np.testing.assert_allclose(ema_zscore(x, rate_hz, tau_s), expected, rtol=1e-5, atol=1e-6)


def test_an_artefact_does_not_flatten_what_follows():
    x = noise(128 * 300)
    clean = ema_zscore(x, 128)
    x[128 * 100] = 1e4
    disturbed = ema_zscore(x, 128)
    after = slice(128 * 101, 128 * 110)
    # Without the limit the variance would be four orders of magnitude too large here.
    assert disturbed[after].std() > 0.1 * clean[after].std()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 1e5), st.floats(-1e3, 1e3), st.integers(0, 99))
def test_units_and_offset_do_not_matter(scale, offset, seed):
    x = noise(2000, seed)
    np.testing.assert_allclose(ema_zscore(scale * (x + offset), 10), ema_zscore(x, 10), atol=1e-3)
    np.testing.assert_allclose(winsorised_zscore(scale * (x + offset)), winsorised_zscore(x), atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(600, 1999))
def test_no_look_ahead_after_the_first_minute(cut):
    x = noise(2000)
    changed = np.concatenate([x[:cut], noise(2000 - cut, 1) * 50])
    np.testing.assert_array_equal(ema_zscore(x, 10)[:cut], ema_zscore(changed, 10)[:cut])


def test_the_first_minute_does_look_ahead():
    x = noise(2000)
    changed = x.copy()
    changed[599] = 100
    assert ema_zscore(x, 10)[0] != ema_zscore(changed, 10)[0]


def test_nan_stays_where_it_is():
    x = noise(2000)
    x[700] = np.nan
    result = ema_zscore(x, 10)
    assert np.flatnonzero(np.isnan(result)).tolist() == [700]


def test_a_flat_line_gives_zeros():
    assert not ema_zscore(np.full(100, 7.0), 10).any()
    assert not winsorised_zscore(np.full(100, 7.0)).any()


def test_winsorised_zscore_ignores_spikes():
    x = noise(10_000)
    spiked = x.copy()
    spiked[::500] = 1e6
    inside = np.abs(spiked) < 10
    np.testing.assert_allclose(winsorised_zscore(spiked)[inside], winsorised_zscore(x)[inside], atol=0.05)


def test_compression_at_known_points():
    z = np.array([0, -8, 8, 8 + 2 * (math.e - 1), -(8 + 2 * (math.e - 1)), 1e6], dtype=np.float32)
    expected = [0, -8, 8, 10, -10, 8 + 2 * math.log1p((1e6 - 8) / 2)]
    np.testing.assert_allclose(compress(z), expected, rtol=1e-6)


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=20))
def test_compression_is_odd_and_keeps_order(values):
    z = np.sort(np.array(values, dtype=np.float32))
    result = compress(z)
    assert np.all(np.diff(result) >= 0)
    np.testing.assert_array_equal(compress(-z), -result)
    small = np.abs(z) <= 8
    np.testing.assert_array_equal(result[small], z[small])
    assert result.dtype == np.float32


def test_nan_passes_compression():
    assert np.isnan(compress(np.array([np.nan], dtype=np.float32)))[0]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_signals_shorter_than_the_start_window(n):
    assert np.isfinite(ema_zscore(noise(n), 128)).all()
