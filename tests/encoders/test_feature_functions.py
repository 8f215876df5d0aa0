from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as sp

from hypnos_bench.encoders.features import breathing, cardiac, epochs, spectral


def column(values, names, name):
    return values[:, names.index(name)]


def noise(seconds, rate, scale=1.0, seed=0):
    return scale * np.random.default_rng(seed).normal(size=int(seconds * rate))


def ecg(beat_times, seconds, rate, *, noise_uv=20.0, seed=0):
    """A QRS-like spike (R with a small S) per beat and a T wave, in µV."""
    t = np.arange(int(seconds * rate)) / rate
    x = noise(seconds, rate, noise_uv, seed)
    for beat in beat_times:
        near = slice(max(0, int((beat - 0.2) * rate)), int((beat + 0.5) * rate))
        s = t[near] - beat
        x[near] += 1000 * np.exp(-((s / 0.012) ** 2)) - 250 * np.exp(-(((s - 0.03) / 0.012) ** 2))
        x[near] += 200 * np.exp(-(((s - 0.28) / 0.05) ** 2))
    return x


# --- spectra


@pytest.mark.parametrize("rate", [100, 125, 128.0, 256])
def test_segments_average_to_scipys_welch(rate):
    x = noise(60, rate, 20.0).reshape(2, -1)
    f, segments = spectral.segment_spectra(x, rate, 4.0)
    width = round(4 * rate)
    keys = {"fs": rate, "window": "hann", "nperseg": width, "noverlap": width - width // 2, "detrend": "constant"}
    expected_f, mean = sp.welch(x, average="mean", **keys)
    np.testing.assert_allclose(f, expected_f)
    np.testing.assert_allclose(segments.mean(axis=1), mean, rtol=1e-9)
    _, median = sp.welch(x, average="median", **keys)
    np.testing.assert_allclose(np.median(segments, axis=1) / spectral.median_bias(segments.shape[1]), median, rtol=1e-9)


@pytest.mark.parametrize(("hz", "band"), [(2, "delta"), (6, "theta"), (10, "alpha"), (14, "sigma"), (22, "beta")])
@pytest.mark.parametrize("rate", [64, 100, 200, 256, 512])
def test_a_sine_falls_into_its_band(hz, band, rate):
    t = np.arange(90 * rate) / rate
    out = spectral.spectral_features(20 * np.sin(2 * np.pi * hz * t) + noise(90, rate, 0.1), rate, 3)
    relative = {b: column(out, spectral.SPECTRAL_NAMES, f"log_rel_{b}") for b in spectral.BANDS_HZ}
    assert all(max(relative, key=lambda b: relative[b][e]) == band for e in range(3))
    assert (relative[band] > np.log10(0.99)).all()
    # The median over segments is scaled for noise, whose segments scatter; those of a steady tone do not.
    expected = np.log10(20**2 / 2 / spectral.median_bias(14))
    np.testing.assert_allclose(column(out, spectral.SPECTRAL_NAMES, "log_total"), expected, atol=0.02)
    np.testing.assert_allclose(column(out, spectral.SPECTRAL_NAMES, "edge95_hz"), hz, atol=0.3)
    np.testing.assert_allclose(column(out, spectral.SPECTRAL_NAMES, "mobility"), hz, rtol=0.05)
    assert (column(out, spectral.SPECTRAL_NAMES, "complexity") < 1.3).all()


def test_entropy_orders_noise_above_a_tone():
    t = np.arange(30 * 100) / 100
    tone, white = (
        spectral.spectral_features(x, 100.0, 1) for x in (20 * np.sin(2 * np.pi * 10 * t), noise(30, 100, 20.0))
    )
    assert column(tone, spectral.SPECTRAL_NAMES, "entropy")[0] < 0.4
    assert column(white, spectral.SPECTRAL_NAMES, "entropy")[0] > 0.9


def test_a_spindle_is_a_burst():
    t = np.arange(30 * 100) / 100
    steady = noise(30, 100, 10.0) + 5 * np.sin(2 * np.pi * 13 * t)
    burst = noise(30, 100, 10.0) + 60 * np.sin(2 * np.pi * 13 * t) * (np.abs(t - 11) < 0.6)
    a, b = (
        column(spectral.spectral_features(x, 100, 1), spectral.SPECTRAL_NAMES, "burst_sigma") for x in (steady, burst)
    )
    assert b[0] > 2 * a[0]


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e4), st.integers(0, 99))
def test_gain_moves_only_total_power(gain, seed):
    x = noise(60, 100, 20.0, seed)
    a, b = spectral.spectral_features(x, 100, 2), spectral.spectral_features(gain * x, 100, 2)
    np.testing.assert_allclose(b[:, 0] - a[:, 0], 2 * np.log10(gain), atol=1e-6)
    np.testing.assert_allclose(b[:, 1:], a[:, 1:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "spoil", [lambda x: x.__setitem__(slice(3000, 6000), 0), lambda x: x.__setitem__(slice(3000, 3600), np.nan)]
)
def test_flat_and_gappy_epochs_are_undefined_and_spoil_no_other(spoil):
    x = noise(90, 100, 20.0)
    clean = spectral.spectral_features(x, 100, 3)
    spoil(x)
    out = spectral.spectral_features(x, 100, 3)
    assert np.isnan(out[1]).all()
    np.testing.assert_array_equal(out[[0, 2]], clean[[0, 2]])


def test_a_channel_that_ends_early_is_undefined_afterwards():
    out = spectral.spectral_features(noise(70, 100, 20.0), 100, 4)
    assert np.isfinite(out[:2]).all()
    assert np.isnan(out[2:]).all()
    assert np.isnan(spectral.spectral_features(np.zeros(10), 100, 2)).all()


def test_opposite_eyes_correlate_negatively():
    rate, t = 128, np.arange(60 * 128) / 128
    saccades = 100 * sp.square(2 * np.pi * 0.7 * t)
    together = spectral.eog_features(saccades + noise(60, rate, 5), -saccades + noise(60, rate, 5, 1), rate, 2)
    brain = noise(60, rate, 30)
    common = spectral.eog_features(brain, brain + noise(60, rate, 1, 2), rate, 2)
    assert (together[:, 0] < -0.9).all()
    assert (common[:, 0] > 0.9).all()
    assert (together[:, 1:] > common[:, 1:] + 0.5).all()


def test_muscle_tone_is_its_rms():
    rate, t = 256, np.arange(60 * 256) / 256
    x = 10 * np.sin(2 * np.pi * 25 * t)
    x[30 * rate :] *= 0.1
    out = spectral.tone_features(x, rate, 2)
    np.testing.assert_allclose(out[:, 0], [np.log10(10 / np.sqrt(2)), np.log10(1 / np.sqrt(2))], atol=0.02)
    hum = spectral.tone_features(x + 500 * np.sin(2 * np.pi * 60 * t), rate, 2)  # mains lies outside the band
    np.testing.assert_allclose(hum[:, 0], out[:, 0], atol=0.05)


# --- heart


@pytest.mark.parametrize("rate", [100, 125, 128, 200, 256, 512, 1000])
@pytest.mark.parametrize("bpm", [45, 72, 130])
@pytest.mark.parametrize("sign", [1, -1])
def test_heart_rate_of_a_synthetic_ecg(rate, bpm, sign):
    beats = np.arange(0.4, 89.5, 60 / bpm)
    out = cardiac.cardiac_features(sign * ecg(beats, 90, rate), rate, 3)
    np.testing.assert_allclose(column(out, cardiac.CARDIAC_NAMES, "rate_bpm"), bpm, atol=0.3)
    # Regular beats: what is left is timing noise of a few ms.
    assert (column(out, cardiac.CARDIAC_NAMES, "log_rmssd_ms") < np.log10(6)).all()
    assert (column(out, cardiac.CARDIAC_NAMES, "pnn50") == 0).all()


def test_heart_rate_variability_matches_its_definition():
    rng = np.random.default_rng(5)
    beats = 0.4 + np.cumsum(0.8 + 0.06 * rng.normal(size=110))
    out = cardiac.cardiac_features(ecg(beats, 90, 256, noise_uv=5), 256, 3)
    for epoch in range(3):
        rr = np.diff(beats)[(beats[1:] >= 30 * epoch) & (beats[1:] < 30 * epoch + 30)]
        d = np.diff(rr)
        expected = [
            60 / np.median(rr), np.log10(1e3 * np.sqrt(np.mean(d**2))), np.log10(1e3 * np.std(rr, ddof=1)),
            np.mean(np.abs(d) > 0.05), np.median(np.abs(d)) / np.median(rr),
        ]  # fmt: skip
        np.testing.assert_allclose(out[epoch, :5], expected, rtol=0.05, atol=0.03)


def test_irregular_rhythm_is_told_from_regular():
    rng = np.random.default_rng(1)
    sinus = 0.4 + np.cumsum(0.8 + 0.02 * np.sin(np.arange(140) * 0.8))
    fibrillation = 0.4 + np.cumsum(rng.uniform(0.45, 1.1, 140))
    a, b = (cardiac.cardiac_features(ecg(x, 90, 200), 200, 3) for x in (sinus, fibrillation))
    assert (
        column(b, cardiac.CARDIAC_NAMES, "irregularity").min()
        > 3 * column(a, cardiac.CARDIAC_NAMES, "irregularity").max()
    )


def test_an_electrode_artefact_costs_only_its_surroundings():
    beats = np.arange(0.4, 179, 0.8)
    x = ecg(beats, 180, 200)
    x[200 * 60 : 200 * 61] += 1e6 * np.random.default_rng(0).normal(size=200)
    found = cardiac.r_peaks(x, 200)
    away = beats[(np.abs(beats - 60.5) > 7) & (beats > 1)]
    hit = np.abs(found[None] - away[:, None]).min(axis=1) < 0.03
    assert hit.mean() > 0.99


def test_no_heart_is_undefined():
    assert np.isnan(cardiac.cardiac_features(np.zeros(200 * 60), 200, 2)).all()
    assert np.isnan(cardiac.cardiac_features(np.full(200 * 60, np.nan), 200, 2)).all()
    assert cardiac.r_peaks(np.zeros(10), 200).size == 0


@pytest.mark.parametrize("record", ["100", "102"])
def test_r_peaks_of_the_mit_bih_database(record, shared_data):
    wfdb = pytest.importorskip("wfdb")
    header = next((shared_data / "ecg-non-af").rglob(f"{record}.hea"))
    stop = 360 * 600
    x = wfdb.rdrecord(str(header.with_suffix("")), sampto=stop, channels=[0]).p_signal[:, 0]
    marks = wfdb.rdann(str(header.with_suffix("")), "atr", sampto=stop)
    beats = (
        np.array([s for s, symbol in zip(marks.sample, marks.symbol, strict=True) if symbol in "NLRAVFJSEj/fe"]) / 360
    )
    found = cardiac.r_peaks(x, 360)
    near = np.abs(found[:, None] - beats[None])
    assert (near.min(axis=0) < 0.1).mean() > 0.995  # sensitivity
    assert (near.min(axis=1) < 0.1).mean() > 0.995  # positive predictive value


def test_real_atrial_fibrillation_is_irregular(shared_data):
    """Patient 84 fibrillates throughout, patient 21 never; between two beats of 84 there are long, noisy pauses."""
    wfdb = pytest.importorskip("wfdb")
    found, expected, hits, irregular = 0, 0, 0, {}
    for record in ("84_2", "84_3", "21_7", "21_9"):
        path = str(shared_data / "cpsc2021-af" / f"data_{record}")
        x, marks = wfdb.rdrecord(path).p_signal[:, 0], wfdb.rdann(path, "atr")
        beats = marks.sample[np.isin(marks.symbol, list("NLRAVFJSEj/fe"))] / 200
        peaks = cardiac.r_peaks(x, 200)
        near = np.abs(peaks[:, None] - beats[None]).min(axis=0) < 0.1
        found, expected, hits = found + len(peaks), expected + len(beats), hits + int(near.sum())
        out = cardiac.cardiac_features(x, 200, int(len(x) / 6000))
        irregular[record] = out[:, cardiac.CARDIAC_NAMES.index("irregularity")]
    assert hits / expected > 0.99
    assert hits / found > 0.98
    fibrillating = np.concatenate([irregular["84_2"], irregular["84_3"]])
    sinus = np.concatenate([irregular["21_7"], irregular["21_9"]])
    assert np.nanmin(fibrillating) > 3 * np.nanmax(sinus)


# --- breathing


@pytest.mark.parametrize("rate", [8, 10, 25, 32, 200])
@pytest.mark.parametrize("per_min", [9, 15, 22.5])
def test_respiratory_rate_of_a_sine(rate, per_min):
    t = np.arange(180 * rate) / rate
    out = breathing.breathing_features(3 * np.sin(2 * np.pi * per_min / 60 * t) + noise(180, rate, 0.05), rate, 6)
    np.testing.assert_allclose(column(out, breathing.BREATHING_NAMES, "rate_per_min"), per_min, atol=0.3)
    assert (column(out, breathing.BREATHING_NAMES, "rate_variation") < 0.05).all()
    assert (column(out, breathing.BREATHING_NAMES, "breathing_share")[1:-1] > 0.8).all()


def test_an_apnea_lowers_the_breathing_share():
    rate, t = 10, np.arange(300 * 10) / 10
    x = np.sin(2 * np.pi * 0.25 * t)
    x[(t > 120) & (t < 180)] *= 0.02
    share = column(breathing.breathing_features(x, rate, 10), breathing.BREATHING_NAMES, "breathing_share")
    assert share[4:6].max() < 0.5
    assert share[[1, 2, 7, 8]].min() > 0.9


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_belt_gain_and_offset_do_not_matter(gain, offset):
    t = np.arange(120 * 10) / 10
    x = np.sin(2 * np.pi * 0.25 * t + 0.3) + 0.3 * np.sin(2 * np.pi * 0.11 * t)
    a = breathing.breathing_features(x, 10, 4)
    b = breathing.breathing_features(gain * (x + offset), 10, 4)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_paradoxical_breathing_turns_the_correlation():
    t = np.arange(120 * 10) / 10
    x = np.sin(2 * np.pi * 0.25 * t)
    assert (breathing.effort_features(x, x, 10, 4) > 0.99).all()
    assert (breathing.effort_features(x, -x, 10, 4) < -0.99).all()
    flat = np.where(t < 60, x, 0.0)
    assert np.isnan(breathing.effort_features(x, np.zeros_like(x), 10, 4)).all()
    assert np.isfinite(breathing.effort_features(x, flat, 10, 4)[:2]).all()


def test_no_breath_is_undefined():
    assert np.isnan(breathing.breathing_features(np.zeros(600), 10, 2)).all()


# --- epochs


@pytest.mark.parametrize("unit", ["uV", "µV", "μV", " UV ", "", "BROKEN"])
def test_microvolts_stay(unit):
    np.testing.assert_array_equal(epochs.microvolts(np.ones(2), unit), 1)


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1e3), ("V", 1e6), ("nV", 1e-3)])
def test_other_units_are_converted(unit, factor):
    np.testing.assert_allclose(epochs.microvolts(np.ones(2), unit), factor)


@given(st.floats(1, 600), st.integers(0, 20), st.integers(0, 2000))
def test_epochs_start_on_time_and_lie_inside(rate, n, length):
    frames = epochs.epoch_frames(np.arange(length), rate, n)
    assert len(frames) <= n
    for i, frame in enumerate(frames):
        assert abs(frame[0] - 30 * rate * i) <= 0.5
        assert frame[-1] < length


@pytest.mark.parametrize("gap_s", [0.2, 1.0, 2.0])
def test_an_interval_across_a_gap_is_none(gap_s):
    """A steady heart of 66 per minute stays steady; the beats lost in the gap make no long interval."""
    rate = 200
    ecg = 1000 * np.maximum(0, np.cos(2 * np.pi * 1.1 * np.arange(120 * rate) / rate)) ** 60
    clean = cardiac.cardiac_features(ecg, rate, 4)
    ecg[round(45.4 * rate) : round((45.4 + gap_s) * rate)] = np.nan
    out = cardiac.cardiac_features(ecg, rate, 4)
    np.testing.assert_allclose(out[:, :5], clean[:, :5], atol=0.2)


def test_a_gap_in_a_belt_is_no_apnea():
    rate = 10
    belt = np.sin(2 * np.pi * 0.25 * np.arange(600 * rate) / rate)
    clean = breathing.breathing_features(belt, rate, 20)
    belt[300 * rate : 420 * rate] = np.nan
    out = breathing.breathing_features(belt, rate, 20)
    assert np.flatnonzero(np.isnan(out).all(axis=1)).tolist() == list(range(9, 15))  # the epochs whose minute it cuts
    kept = [*range(9), *range(15, 20)]
    np.testing.assert_allclose(out[kept], clean[kept], atol=0.05)


def test_belts_are_not_compared_in_a_gap():
    rate = 10
    belt = np.sin(2 * np.pi * 0.25 * np.arange(300 * rate) / rate)
    other = belt.copy()
    other[95 * rate : 100 * rate] = np.nan
    out = breathing.effort_features(belt, other, rate, 10)[:, 0]
    assert np.flatnonzero(np.isnan(out)).tolist() == [3]
    np.testing.assert_allclose(np.delete(out, 3), 1, atol=0.02)
