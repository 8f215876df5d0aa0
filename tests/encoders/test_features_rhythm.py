"""Rhythm features against their definitions, and against real atrial fibrillation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hypnos_bench.encoders.features import rhythm


def column(values, name):
    return values[:, rhythm.RHYTHM_NAMES.index(name)]


def of(intervals, n_epochs=1):
    return rhythm.rhythm_features(np.cumsum(intervals), np.asarray(intervals), n_epochs)


def pairs_of(intervals):
    return np.column_stack([intervals[:-1], intervals[1:]])


def cosen_by_counting(rr, tolerance_s=0.03, fewest=5):
    """Lake and Moorman's definition, template by template."""
    n = len(rr)
    while True:
        alike = going_on = 0
        for i in range(n - 1):
            for j in range(i + 1, n - 1):
                if abs(rr[i] - rr[j]) <= tolerance_s:
                    alike += 1
                    going_on += abs(rr[i + 1] - rr[j + 1]) <= tolerance_s
        if going_on >= fewest:
            return np.log(alike / going_on) + np.log(2 * tolerance_s) - np.log(np.mean(rr))
        tolerance_s += 1e-4


@pytest.mark.parametrize("n", [8, 20, 60])
@pytest.mark.parametrize("spread", [0.002, 0.05, 0.3])
def test_cosen_is_what_counting_gives(n, spread):
    rr = np.random.default_rng(n).normal(0.8, spread, n).clip(0.3)
    np.testing.assert_allclose(rhythm.cosen(pairs_of(rr), rr.mean()), cosen_by_counting(rr), atol=2e-3)


def test_cosen_of_uniform_intervals_is_the_published_limit():
    """Independent values: P(match) = 2r/w - (r/w)^2, so that -ln P + ln 2r - ln mean tends to ln(w / mean)."""
    rr = np.random.default_rng(0).uniform(0.4, 1.2, 2000)
    expected = -np.log(2 * 0.03 / 0.8 - (0.03 / 0.8) ** 2) + np.log(0.06) - np.log(rr.mean())
    np.testing.assert_allclose(rhythm.cosen(pairs_of(rr), rr.mean()), expected, atol=0.05)


def test_shannon_entropy_is_scipys():
    rr = np.random.default_rng(0).normal(0.8, 0.1, 160)
    kept = np.sort(rr)[10:-10]
    counts, _ = np.histogram(kept, 16)
    np.testing.assert_allclose(rhythm.shannon(rr), stats.entropy(counts) / np.log(16))
    assert rhythm.shannon(np.full(20, 0.8)) == 0
    np.testing.assert_allclose(rhythm.shannon(np.linspace(0.5, 1, 18)), 1)


def test_poincare_widths_are_those_of_the_cloud():
    rr = np.random.default_rng(2).normal(0.8, 0.08, 150).clip(0.4)
    out = of(rr)
    inside = rr[np.cumsum(rr) < 90]
    sd1 = np.sqrt(np.mean(np.diff(inside) ** 2) / 2)
    np.testing.assert_allclose(column(out, "log_sd1_over_rr"), np.log10(sd1 / inside.mean()), atol=1e-9)
    sd2 = np.sqrt(2 * inside.var() - sd1**2)  # Brennan et al. 2001, equation 11
    np.testing.assert_allclose(column(out, "log_sd2_over_rr"), np.log10(sd2 / inside.mean()), atol=0.02)


def test_turning_points_of_a_random_and_of_a_rising_series():
    random = np.random.default_rng(0).uniform(0.4, 0.42, 220)
    np.testing.assert_allclose(column(of(random), "turning_points_3min"), 2 / 3, atol=0.06)
    assert column(of(np.linspace(0.5, 0.9, 120)), "turning_points_3min")[0] == 0


def test_planted_ectopic_beats_are_outliers():
    rr = np.full(100, 0.8)
    rr[10:90:10] *= 0.6  # eight early beats, each followed by a pause
    rr[11:91:10] *= 1.4
    np.testing.assert_allclose(column(rhythm.rhythm_features(np.cumsum(rr), rr, 3), "outlier_share")[1], 16 / 100)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.floats(0.7, 1.4))
def test_a_steady_tempo_changes_only_cosen(seed, factor):
    """All other features are relative to the mean interval; only the tolerance of 30 ms is not."""
    rr = np.random.default_rng(seed).normal(0.6, 0.05, 60).clip(0.4)
    ends = np.linspace(1, 80, 60)
    a, b = (rhythm.rhythm_features(ends, k * rr, 1) for k in (1.0, factor))
    kept = [i for i, name in enumerate(rhythm.RHYTHM_NAMES) if name != "cosen"]
    np.testing.assert_allclose(b[:, kept], a[:, kept], rtol=1e-6)
    np.testing.assert_allclose(rhythm.rhythm_features(ends + 300, rr, 12)[10], a[0])  # ten epochs later


def test_intervals_across_holes_are_no_neighbours():
    rr = np.full(60, 0.8)
    rr[30:] = 1.0
    rr[30] = np.nan
    out = of(np.nan_to_num(rr, nan=5.0))
    whole = rhythm.rhythm_features(np.arange(60) * 0.9, rr, 1)
    assert column(whole, "log_sd1_over_rr")[0] == -4  # the step lies across the hole
    assert column(whole, "outlier_share")[0] == 0
    assert column(out, "outlier_share")[0] > 0


def test_too_few_beats_are_undefined():
    assert np.isnan(of(np.full(5, 0.8))).all()
    assert np.isnan(of(np.full(40, np.nan))).all()
    assert np.isnan(rhythm.ecg_features(np.zeros(200 * 60), 200, 2)).all()
    assert np.isfinite(of(np.full(12, 0.8))).all()  # a steady heart is defined


def windows_of(shared_data, wfdb):
    """Features of 30-s windows of the nine records, and whether each lies in atrial fibrillation throughout or not."""
    features, fibrillates = [], []
    for header in sorted((shared_data / "cpsc2021-af").glob("*.hea")):
        path = str(header.with_suffix(""))
        x, marks = wfdb.rdrecord(path).p_signal[:, 0], wfdb.rdann(path, "atr")
        inside = np.zeros(len(x), bool)
        for sample, note in zip(marks.sample, marks.aux_note, strict=True):
            if note.startswith("("):
                inside[sample:] = note.startswith("(AF")
        n = len(x) // 6000
        share = inside[: n * 6000].reshape(n, -1).mean(axis=1)
        pure = (share < 0.05) | (share > 0.95)
        features.append(rhythm.ecg_features(x, 200, n)[pure])
        fibrillates.append(share[pure] > 0.5)
    return np.concatenate(features), np.concatenate(fibrillates)


def test_real_atrial_fibrillation_is_ranked_above_sinus_rhythm(shared_data):
    """CPSC 2021, one patient who always, one who never and one who now and then fibrillates: 77 windows."""
    wfdb = pytest.importorskip("wfdb")
    features, fibrillates = windows_of(shared_data, wfdb)
    assert 25 < fibrillates.sum() < len(fibrillates) - 25
    pairs = fibrillates.sum() * (~fibrillates).sum()
    above = stats.mannwhitneyu(features[fibrillates], features[~fibrillates]).statistic
    area = dict(zip(rhythm.ECG_NAMES, above / pairs, strict=True))
    for name, least in {"cosen": 0.99, "turning_points_3min": 0.98, "outlier_share": 0.98, "log_sd1_over_rr": 0.95,
                        "log_sd2_over_rr": 0.95, "rr_shannon": 0.65}.items():  # fmt: skip
        assert area[name] > least, (name, area[name])


def test_a_normal_heart_with_ectopic_beats_is_no_fibrillation(shared_data):
    """MIT-BIH 100: sinus rhythm with 33 atrial premature beats. Lake and Moorman's threshold of COSEn is -1.4."""
    wfdb = pytest.importorskip("wfdb")
    x = wfdb.rdrecord(str(shared_data / "ecg-non-af" / "mitdb" / "100"), sampto=360 * 600, channels=[0]).p_signal[:, 0]
    cosen = column(rhythm.ecg_features(x, 360, 20)[:, -len(rhythm.RHYTHM_NAMES) :], "cosen")
    assert np.nanmax(cosen) < -1.4
