"""Respiratory event proxies: planted apneas, hypopneas, cycles and paradox."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.encoders.features import effort

RATE = 10


def column(values, name):
    return values[:, effort.EVENT_NAMES.index(name)]


def belt(seconds, *, hz=0.25, rate=RATE, noise=0.01, seed=0):
    t = np.arange(int(seconds * rate)) / rate
    return np.sin(2 * np.pi * hz * t) + noise * np.random.default_rng(seed).normal(size=len(t))


def with_drop(x, first_s, length_s, left, rate=RATE):
    x = x.copy()
    x[round(first_s * rate) : round((first_s + length_s) * rate)] *= left
    return x


@pytest.mark.parametrize("rate", [8, 10, 32, 128])
@pytest.mark.parametrize(("left", "share"), [(0.02, (1, 1)), (0.5, (1, 0)), (0.85, (0, 0))])
def test_a_planted_drop_is_measured(rate, left, share):
    x = with_drop(belt(600, rate=rate), 305, 20, left, rate)
    out = effort.event_features(x, rate, 20)
    for name, there in zip(("drop30_share", "drop90_share"), share, strict=True):
        found = column(out, name)
        np.testing.assert_allclose(found[10], there * 20 / 30, atol=0.2)
        assert np.delete(found, 10).max() < 0.1


@pytest.mark.parametrize("length_s", [3, 6])
def test_a_pause_of_a_breath_is_no_event(length_s):
    out = effort.event_features(with_drop(belt(600), 305, length_s, 0.0), RATE, 20)
    assert (out[:, :2] == 0).all()


def test_the_share_grows_with_the_number_of_apneas():
    x = belt(1200)
    for first in range(310, 900, 60):
        x = with_drop(x, first, 25, 0.02)
    drops = column(effort.event_features(x, RATE, 40), "drop90_share")
    np.testing.assert_allclose(drops.sum() * 30, 10 * 25, rtol=0.25)
    assert drops[:10].max() == drops[31:].max() == 0


def test_the_baseline_is_what_came_before():
    """A step down is a drop until it has become the baseline itself; a step up is none."""
    none = np.zeros(900, bool)
    step = np.where(np.arange(900) < 400, 1.0, 0.5)
    found = np.flatnonzero(effort.drops(step, 0.7, none))
    assert 395 <= found[0] <= 400
    assert 440 <= found[-1] <= 525  # 75th percentile of two minutes
    assert len(found) == found[-1] - found[0] + 1
    assert not effort.drops(step[::-1], 0.7, none).any()
    missing = (np.arange(900) >= 420) & (np.arange(900) < 430)
    assert not (effort.drops(step, 0.7, missing) & missing).any()


def acf_by_counting(x, lag):
    x = x - np.nanmean(x)
    products = x[lag:] * x[: len(x) - lag]
    return np.nanmean(products) / np.nanmean(x * x)


def test_periodicity_is_the_highest_local_maximum_of_the_autocorrelation():
    rng = np.random.default_rng(0)
    depth = 1 + 0.5 * np.sin(2 * np.pi * np.arange(900) / 45) + 0.3 * rng.normal(size=900)
    missing = rng.uniform(size=900) < 0.05
    out = effort.periodicity(depth, missing, 30)
    for epoch in (8, 15, 20):
        part = np.where(missing, np.nan, depth)[30 * epoch - 135 : 30 * epoch + 165]
        acf = {lag: acf_by_counting(part, lag) for lag in range(19, 92)}
        peaks = [acf[k] for k in range(20, 91) if acf[k] > acf[k - 1] and acf[k] >= acf[k + 1]]
        np.testing.assert_allclose(out[epoch], max(peaks), atol=1e-9)


@pytest.mark.parametrize("period_s", [30, 45, 70])
def test_periodic_breathing_is_told_from_regular(period_s):
    t = np.arange(900 * RATE) / RATE
    waxing = belt(900) * (0.55 + 0.45 * np.sin(2 * np.pi * t / period_s))
    drift = belt(900) * (1 + t / 900)
    inner = slice(6, 24)
    assert column(effort.event_features(waxing, RATE, 30), "periodicity")[inner].min() > 0.8
    assert column(effort.event_features(belt(900, noise=0.1), RATE, 30), "periodicity")[inner].max() < 0.6
    assert column(effort.event_features(drift, RATE, 30), "periodicity")[inner].max() < 0.6


@pytest.mark.parametrize("gain", [1e-9, 1e-6, 1.0, 1e6])
def test_periodicity_is_of_the_belt_and_not_of_its_unit(gain):
    t = np.arange(900 * RATE) / RATE
    waxing = gain * belt(900) * (0.55 + 0.45 * np.sin(2 * np.pi * t / 45))
    assert column(effort.event_features(waxing, RATE, 30), "periodicity")[6:24].min() > 0.8


@pytest.mark.parametrize("rate", [8, 25, 128 / 3])
@pytest.mark.parametrize("hz", [0.2333, 0.25, 0.31])
def test_ripple_of_steady_breathing_is_no_rhythm(rate, hz):
    """Whole seconds and whole samples beat with the breath: a depth that varies by a thousandth, but evenly."""
    steady = belt(900, hz=hz, rate=rate, noise=0.0)
    assert column(effort.event_features(steady, rate, 30), "periodicity").max() == 0


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-100, 100))
def test_gain_sign_and_offset_do_not_matter(gain, offset):
    x = with_drop(with_drop(belt(450), 200, 20, 0.02), 300, 30, 0.5)
    a, b = (effort.event_features(each, RATE, 15) for each in (x, -gain * (x + offset)))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_shift_by_epochs_shifts_the_rows():
    x = with_drop(belt(900), 305, 20, 0.02)
    a, b = (effort.event_features(each, RATE, 30) for each in (x, np.concatenate([x[-600:], x[:-600]])))
    np.testing.assert_allclose(b[10:22, :2], a[8:20, :2], atol=1e-6)


def test_a_gap_is_no_apnea():
    x = belt(600)
    x[300 * RATE : 390 * RATE] = np.nan
    out = effort.event_features(x, RATE, 20)
    assert np.flatnonzero(np.isnan(out).any(axis=1)).tolist() == [10, 11, 12]
    assert (out[np.isfinite(out[:, 0])][:, :2] == 0).all()
    for nothing in (np.zeros(600), np.full(600, np.nan), np.full(600, 3.0), np.zeros(9)):
        assert np.isnan(effort.event_features(nothing, RATE, 2)).all()


def test_a_belt_that_ends_early_is_undefined_afterwards():
    out = effort.event_features(belt(95), RATE, 5)
    assert np.isfinite(out[:3]).all()
    assert np.isnan(out[3:]).all()


@pytest.mark.parametrize("phase", [0.0, 0.7, 1.3, 1.8, 2.5, 3.1])
def test_the_phase_between_the_belts(phase):
    t = np.arange(180 * RATE) / RATE
    a, b = np.sin(2 * np.pi * 0.2333 * t + 0.4), 5 * np.sin(2 * np.pi * 0.2333 * t + 0.4 - phase)
    out = effort.paradox_features(a, b, RATE, 6)
    np.testing.assert_allclose(out[1:-1, 0], phase, atol=0.06)
    np.testing.assert_allclose(out[1:-1, 1], float(np.cos(phase) < 0), atol=0.1)
    np.testing.assert_allclose(effort.paradox_features(b, a, RATE, 6), out, atol=1e-9)  # whichever leads


def test_paradox_for_part_of_an_epoch():
    t = np.arange(120 * RATE) / RATE
    a = np.sin(2 * np.pi * 0.25 * t)
    b = np.where((t >= 60) & (t < 75), -a, a)
    share = effort.paradox_features(a, b, RATE, 4)[:, 1]
    np.testing.assert_allclose(share[2], 0.5, atol=0.1)
    assert share[[0, 3]].max() < 0.05
    gap = np.where((t > 40) & (t < 50), np.nan, a)
    assert np.flatnonzero(np.isnan(effort.paradox_features(gap, b, RATE, 4)[:, 0])).tolist() == [1]
    assert np.isnan(effort.paradox_features(a, np.zeros_like(a), RATE, 4)).all()
