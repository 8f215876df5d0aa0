import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import sosfreqz

from hypnos_bench.signals.filters import butterworth, forward, notch, zero_phase

SECTIONS = {
    "eeg": butterworth(0.5, 45, 128),
    "ecg": butterworth(0.05, 45, 128),
    "belt": butterworth(0.05, None, 32),
    "notch": notch(50, 128),
}


@pytest.mark.parametrize(("low_hz", "high_hz", "rate_hz"), [(0.5, 45, 128), (0.05, 45, 128), (0.05, None, 32)])
def test_butterworth_loses_3_db_at_its_corners(low_hz, high_hz, rate_hz):
    corners = [f for f in (low_hz, high_hz) if f]
    _, response = sosfreqz(butterworth(low_hz, high_hz, rate_hz), corners, fs=rate_hz)
    np.testing.assert_allclose(np.abs(response), 1 / np.sqrt(2), rtol=1e-5)
    # Fourth order: 24 dB per octave below the lower corner.
    _, below = sosfreqz(butterworth(low_hz, high_hz, rate_hz), [low_hz / 4, low_hz / 8], fs=rate_hz)
    assert 20 * np.log10(np.abs(below[0] / below[1])) == pytest.approx(24.1, abs=0.3)


@pytest.mark.parametrize("mains_hz", [50, 60])
def test_notch_is_deep_and_narrow(mains_hz):
    hz = np.linspace(mains_hz - 3, mains_hz + 3, 60_001)
    _, response = sosfreqz(notch(mains_hz, 128), hz, fs=128)
    gain = np.abs(response)
    assert hz[np.argmin(gain)] == pytest.approx(mains_hz)
    assert gain.min() < 1e-9
    weakened = hz[gain < 1 / np.sqrt(2)]
    assert weakened[-1] - weakened[0] == pytest.approx(mains_hz / 30, rel=1e-3)  # quality 30


@pytest.mark.parametrize("name", SECTIONS)
def test_an_offset_does_not_ring(name):
    result = forward(SECTIONS[name], np.full(2000, 1e4))
    np.testing.assert_allclose(result, 1e4 if name == "notch" else 0, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(SECTIONS)), st.integers(1, 999), st.integers(0, 99))
def test_forward_sees_no_later_sample(name, cut, seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(1000)
    changed = np.concatenate([values[:cut], rng.standard_normal(1000 - cut) * 100])
    whole, other = forward(SECTIONS[name], values), forward(SECTIONS[name], changed)
    np.testing.assert_array_equal(whole[:cut], other[:cut])
    assert not np.array_equal(whole[cut:], other[cut:])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(SECTIONS)), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_forward_is_linear(name, a, b):
    x, y = np.random.default_rng(0).standard_normal((2, 500))
    combined = forward(SECTIONS[name], a * x + b * y)
    parts = a * forward(SECTIONS[name], x) + b * forward(SECTIONS[name], y)
    np.testing.assert_allclose(combined, parts, rtol=0, atol=1e-8 * (1 + abs(a) + abs(b)))


def test_zero_phase_does_not_delay():
    pulse = np.exp(-0.5 * ((np.arange(2001) - 1000) / 8) ** 2)
    both_ways, one_way = zero_phase(SECTIONS["eeg"], pulse), forward(SECTIONS["eeg"], pulse)
    assert np.argmax(both_ways) == 1000
    np.testing.assert_allclose(both_ways, both_ways[::-1], atol=1e-4)
    assert np.abs(one_way - one_way[::-1]).max() > 0.1


def test_dtype_is_kept():
    values = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    assert forward(SECTIONS["eeg"], values).dtype == zero_phase(SECTIONS["eeg"], values).dtype == np.float32
