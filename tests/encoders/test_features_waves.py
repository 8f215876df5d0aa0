"""Spindles and slow waves: planted ones are counted, others are not, and YASA's own examples agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.encoders.features import waves


def column(values, name):
    return values[:, waves.WAVE_NAMES.index(name)]


def background(seconds, rate, sd_uv=20.0, seed=0):
    """Noise whose power falls with the square of the frequency, as an EEG's does: no rhythm of its own."""
    n = int(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=n))
    f = np.fft.rfftfreq(n, 1 / rate)
    x = np.fft.irfft(spectrum / np.maximum(f, 0.3), n)
    return sd_uv * x / x.std()


def with_bursts(x, rate, middles_s, uv, hz=13.5, length_s=1.0):
    """Add bursts under a Gaussian whose half-maximum width is the length."""
    x = x.copy()
    for middle in middles_s:
        first = max(0, int((middle - 4) * rate))
        near = slice(first, int((middle + 4) * rate))
        t = np.arange(first, first + len(x[near])) / rate - middle
        x[near] += uv * np.exp(-np.log(2) * (2 * t / length_s) ** 2) * np.sin(2 * np.pi * hz * t)
    return x


@pytest.mark.parametrize("rate", [100, 128, 200, 256])
@pytest.mark.parametrize("hz", [12.0, 15.0])
def test_planted_spindles_are_found_where_they_are(rate, hz):
    middles = np.arange(8.0, 290, 12)
    found = waves.spindles(with_bursts(background(300, rate), rate, middles, 25, hz), float(rate))
    distance = np.abs(found.middles_s[:, None] - middles)
    assert (distance.min(axis=0) < 0.3).mean() >= 0.95  # sensitivity
    assert (distance.min(axis=1) < 0.3).mean() >= 0.95  # precision
    np.testing.assert_allclose(np.median(found.hz), hz, atol=0.3)
    np.testing.assert_allclose(np.median(found.peak_to_peak), 50, rtol=0.2)
    np.testing.assert_allclose(np.median(found.lengths_s), 1.3, atol=0.3)  # its foot is wider than its half-maximum


def test_what_is_no_spindle():
    x = background(300, 100)
    middles = np.arange(8.0, 290, 12)
    short = with_bursts(x, 100, middles, 25, length_s=0.15)
    alpha = with_bursts(x, 100, middles, 25, hz=8.5)
    beta = with_bursts(x, 100, middles, 25, hz=22)
    for none in (x, short, alpha, beta, np.random.default_rng(1).normal(size=30000)):
        assert len(waves.spindles(none, 100.0).hz) <= 2
    t = np.arange(30000) / 100
    long = x + 25 * np.sin(2 * np.pi * 13.5 * t) * (t % 30 < 6)  # six seconds are no spindle
    assert len(waves.spindles(long, 100.0).hz) <= 2


def test_a_burst_of_muscle_is_no_spindle():
    """A second of white noise holds much sigma, but no more than its share."""
    middles = np.arange(8.0, 290, 12)
    x, t = background(300, 100), np.arange(30000) / 100
    for middle in middles:
        x += 30 * np.random.default_rng(int(middle)).normal(size=30000) * (np.abs(t - middle) < 0.5)
    assert len(waves.spindles(x, 100.0).hz) <= 0.25 * len(middles)


def test_density_counts_per_epoch_and_minute():
    middles = [5, 15, 35, 95, 105, 115]
    out = waves.wave_features(with_bursts(background(150, 128), 128, middles, 30), 128, 5)
    assert column(out, "spindles_per_min").tolist() == [4, 2, 0, 6, 0]
    np.testing.assert_allclose(column(out, "spindle_hz")[[0, 1, 3]], 13.5, atol=0.4)
    np.testing.assert_allclose(column(out, "spindle_log_uv")[[0, 1, 3]], np.log10(60), atol=0.1)
    assert np.isnan(out[[2, 4]][:, 1:3]).all()  # there is none to measure


def test_planted_slow_waves():
    t = np.arange(120 * 100) / 100
    slow = np.where((t >= 30) & (t < 60), 50 * np.sin(2 * np.pi * 0.8 * t), 0.0)  # 100 µV peak to peak
    small = np.where((t >= 60) & (t < 90), 30 * np.sin(2 * np.pi * 0.8 * t), 0.0)  # 60 µV
    out = waves.wave_features(background(120, 100, 3) + slow + small, 100, 4)
    per_min, share = column(out, "slow_waves_per_min"), column(out, "slow_wave_share")
    np.testing.assert_allclose(per_min[1], 48, atol=4)  # 0.8 per second
    assert per_min[[0, 2, 3]].max() <= 2
    np.testing.assert_allclose(share[1], 1, atol=0.08)
    assert share[[0, 2, 3]].max() < 0.05
    assert column(out, "large_slow_waves_per_min").max() <= 20  # beside waves of 60 µV those of 100 are not large


def test_large_waves_stand_out_of_their_recording():
    t = np.arange(300 * 100) / 100
    planted = np.where((t >= 30) & (t < 60), 50 * np.sin(2 * np.pi * 0.8 * t), 0.0)
    large = column(waves.wave_features(background(300, 100, 8) + planted, 100, 10), "large_slow_waves_per_min")
    assert large[1] >= 40
    assert np.delete(large, 1).max() <= 14


def test_length_and_size_of_a_slow_wave():
    t = np.arange(60 * 25) / 25
    found = waves.slow_waves(60 * np.sin(2 * np.pi * 0.75 * t), 25.0)
    inner = slice(3, -3)
    np.testing.assert_allclose(found.lengths_s[inner], 1 / 0.75, atol=0.01)
    np.testing.assert_allclose(found.peak_to_peak[inner], 120, rtol=0.03)
    np.testing.assert_allclose(np.diff(found.starts_s[inner]), 1 / 0.75, atol=0.01)
    assert len(waves.slow_waves(60 * np.sin(2 * np.pi * 0.32 * t), 25.0).starts_s) == 0  # halves of more than 1.5 s


@pytest.mark.parametrize(("negative_s", "found"), [(1.2, True), (1.9, False)])
def test_a_negative_half_of_more_than_a_second_and_a_half_is_no_slow_wave(negative_s, found):
    """Halves of equal area, so that the high-pass leaves the crossings where they are."""
    t = np.arange(120 * 25) / 25 % (negative_s + 0.8)
    down = -40 * np.sin(np.pi * t / negative_s)
    up = 50 * negative_s * np.sin(np.pi * (t - negative_s) / 0.8)
    waves_found = waves.slow_waves(np.where(t < negative_s, down, up), 25.0)
    assert (len(waves_found.starts_s) > 40) == found


def test_a_spindle_with_a_dip_counts_once():
    t = np.arange(60 * 100) / 100
    x = 0.5 * np.random.default_rng(0).normal(size=6000)
    usual = np.median(np.abs(x)) / 0.674 * np.sqrt(5 / 50)  # root mean square of white noise in the sigma band
    for middle in range(5, 60, 5):
        dip = 1 - 0.65 * np.exp(-(((t - middle) / 0.15) ** 2))
        x += 9 * usual * dip * np.exp(-(((t - middle) / 0.7) ** 2)) * np.sin(2 * np.pi * 13.5 * t)
    found = waves.spindles(x, 100.0).middles_s
    assert len(found) >= 6
    assert np.diff(found).min() > 2


def test_yasas_examples_of_n2_and_n3(shared_data):
    """What YASA 0.7 finds in them: spindles from 3.305 s for 0.750 s and from 13.265 s for 0.575 s, and no other; one
    slow wave in N3, from 12.11 s for 1.13 s, of 92 µV."""
    n2 = np.loadtxt(shared_data / "yasa-rem-eog" / "data_N2_spindles_15sec_200Hz.txt")
    n3 = np.loadtxt(shared_data / "yasa-rem-eog" / "data_N3_no-spindles_30sec_100Hz.txt")
    found = waves.spindles(n2, 200.0)
    np.testing.assert_allclose(found.middles_s, [3.68, 13.55], atol=0.25)
    np.testing.assert_allclose(found.hz, [12.85, 12.15], atol=0.6)
    assert len(waves.spindles(n3, 100.0).hz) == 0
    slow = waves.slow_waves(n3, 100.0)
    by_rule = slow.peak_to_peak >= 75
    np.testing.assert_allclose(slow.starts_s[by_rule], [12.11], atol=0.05)
    np.testing.assert_allclose(slow.lengths_s[by_rule], [1.13], atol=0.05)
    np.testing.assert_allclose(slow.peak_to_peak[by_rule], [92.4], rtol=0.05)


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_gain_and_offset_move_only_amplitudes(gain, offset):
    x = with_bursts(background(90, 100), 100, [10, 40, 50, 70], 30)
    a, b = (waves.wave_features(each, 100, 3) for each in (x, gain * x + offset))
    free = [waves.WAVE_NAMES.index(n) for n in ("spindles_per_min", "spindle_hz", "large_slow_waves_per_min")]
    np.testing.assert_allclose(b[:, free], a[:, free], rtol=1e-4)
    np.testing.assert_allclose(b[:, 1] - a[:, 1], np.where(np.isnan(a[:, 1]), np.nan, np.log10(gain)), atol=1e-3)


def test_a_shift_by_epochs_shifts_the_rows():
    x = with_bursts(background(240, 100), 100, [10, 40, 50, 70, 130, 200], 30)
    a, b = (waves.wave_features(each, 100, 8) for each in (x, np.roll(x, 60 * 100)))
    np.testing.assert_allclose(b[3:7, :5], a[1:5, :5], atol=1e-6)


def test_gaps_flats_and_ends_are_undefined_and_spoil_no_other():
    x = with_bursts(background(150, 100), 100, [10, 40, 50, 70, 130], 30)
    clean = waves.wave_features(x, 100, 5)
    x[6000:9000] = np.nan
    gappy = waves.wave_features(x, 100, 5)
    assert np.isnan(gappy[2]).all()
    np.testing.assert_array_equal(gappy[[0, 4], 0], clean[[0, 4], 0])
    x[6000:9000] = 5.0
    assert np.isnan(waves.wave_features(x, 100, 5)[2]).all()
    short = waves.wave_features(x[:5500], 100, 4)
    assert np.isfinite(short[0, 0])
    assert np.isnan(short[1:]).all()
    for nothing in (np.zeros(6000), np.full(6000, 7.0), np.full(6000, np.nan), np.zeros(5)):
        assert np.isnan(waves.wave_features(nothing, 100, 2)).all()


def test_a_long_pause_does_not_lower_the_threshold():
    x = with_bursts(background(300, 100), 100, np.arange(10, 290, 30), 30)
    paused = np.concatenate([x, np.full(100 * 900, np.nan)])
    a, b = waves.wave_features(x, 100, 10), waves.wave_features(paused, 100, 40)
    np.testing.assert_array_equal(b[:9, 0], a[:9, 0])
