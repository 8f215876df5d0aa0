"""Proxies of respiratory events in effort belts: drops of breathing, their rhythm, and belts at odds with each other.

No airflow and no oxygen is looked at, so these are hints of apneas and hypopneas, not scored events. Belts have
arbitrary gain: everything is relative to the breaths before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.features.breathing import (
    BREATHING_NAMES,
    EFFORT_NAMES,
    band_pass,
    breathing_features,
    effort_features,
)
from hypnos_bench.encoders.features.epochs import Floats, decimate, epoch_frames, gappy_epochs
from hypnos_bench.signals.gaps import fill_gaps
from hypnos_bench.spec import EPOCH_S

EVENT_NAMES = ("drop30_share", "drop90_share", "periodicity")
PARADOX_NAMES = ("phase_rad", "paradox_share")
BELT_NAMES = (*BREATHING_NAMES, *EVENT_NAMES)
BELTS_NAMES = (*EFFORT_NAMES, *PARADOX_NAMES)

_RATE_FLOOR_HZ = 8.0
_RANGE_S = 5  # a window that holds a breath
_BASELINE_S, _BASELINE_PERCENTILE = 120, 75
_DROPS = (0.7, 0.1)  # what is left of the baseline
_MIN_DROP_S = 10
_PERIOD_WINDOW_S, _PERIOD_S = 300, (20, 90)
_LEAST_SWING = 0.02  # sd of the depth over its median
_PHASE_HZ = (0.1, 0.8)
_PARADOX_S = 6.0


def depth_per_second(values: Floats, rate_hz: float) -> Floats:
    """Range of a belt within 5 s around each second, shape (n_seconds,); in the belt's unit, gaps bridged."""
    from scipy.ndimage import maximum_filter1d, minimum_filter1d
    from scipy.signal import butter, sosfiltfilt

    belt, rate = decimate(fill_gaps(values)[0], rate_hz, _RATE_FLOOR_HZ)
    n = int(len(belt) / rate + 1e-6)
    if n < 2 * _RANGE_S:
        return np.zeros(0)
    smooth = sosfiltfilt(butter(2, min(1.0, 0.4 * rate), fs=rate, output="sos"), belt)
    width = round(_RANGE_S * rate)
    depth = maximum_filter1d(smooth, width) - minimum_filter1d(smooth, width)
    middles = np.minimum(np.rint((np.arange(n) + 0.5) * rate).astype(np.int64), len(belt) - 1)
    return np.asarray(depth[middles], dtype=np.float64)


def drops(depth: Floats, left: float, missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Seconds within a drop of breathing of at least 10 s.

    The depth falls below `left` times its baseline: the 75th percentile of the two minutes before. The AASM manual
    (2.6) scores hypopneas from drops of 30 % and apneas from drops of 90 % in flow, for 10 s.

    Parameters
    ----------
    depth : ndarray, shape (n_seconds,)
        From :func:`depth_per_second`, whose window shortens a drop by 5 s: given back here.
    left : float
        0.7 or 0.1.
    missing : ndarray of bool, shape (n_seconds,)
        Seconds that were not recorded: no drop reaches into them.
    """
    from scipy.ndimage import percentile_filter

    out = np.zeros(len(depth), dtype=np.bool_)
    if len(depth) == 0:
        return out
    baseline = percentile_filter(
        depth, _BASELINE_PERCENTILE, size=_BASELINE_S, origin=_BASELINE_S // 2 - 1, mode="nearest"
    )
    low = (depth < left * baseline) & ~missing
    edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]]).astype(np.int8)))
    given_back = _RANGE_S // 2
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if stop - start + 2 * given_back >= _MIN_DROP_S:
            out[max(0, start - given_back) : stop + given_back] = True
    return out & ~missing


def periodicity(depth: Floats, missing: NDArray[np.bool_], n_epochs: int) -> Floats:
    """Highest autocorrelation of the depth of breathing over five minutes at 20 to 90 s: periodic breathing.

    The range holds the cycles of repetitive obstructive apnea and of Cheyne-Stokes breathing (AASM manual: 40 s and
    more). Only a maximum within the range counts, not the flank of a slow drift.

    Returns
    -------
    ndarray, shape (n_epochs,)
        0 to 1, and 0 where the depth varies by less than 2 % (sd over median); NaN where less than half of the five
        minutes was recorded.
    """
    half = (_PERIOD_WINDOW_S - int(EPOCH_S)) // 2
    known = np.where(missing, np.nan, depth)
    padded = np.full(max(len(known), int(n_epochs * EPOCH_S)) + 2 * half, np.nan)
    padded[half : half + len(known)] = known
    frames = np.lib.stride_tricks.sliding_window_view(padded, _PERIOD_WINDOW_S)[:: int(EPOCH_S)][:n_epochs]
    there = np.isfinite(frames)
    count = there.sum(axis=1, keepdims=True)
    x = np.where(there, frames, 0.0)
    x = np.where(there, x - x.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0.0)
    size = 2 * _PERIOD_WINDOW_S
    power, weight = (np.abs(np.fft.rfft(part, size, axis=1)) ** 2 for part in (x, there.astype(np.float64)))
    products, pairs = (np.fft.irfft(part, size, axis=1)[:, : _PERIOD_S[1] + 2] for part in (power, weight))
    acf = products / np.maximum(np.rint(pairs), 1.0)  # mean product of the pairs that are there
    # Gain is arbitrary, so a flat depth is one that varies little beside itself: ripple from sampling a steady breath
    # at whole seconds is below 0.4 %, and periodic.
    median = np.nanmedian(np.where(count > 0, frames, 0.0), axis=1, keepdims=True)
    varies = acf[:, :1] > np.square(_LEAST_SWING * median)
    acf = np.divide(acf, acf[:, :1], out=np.zeros_like(acf), where=varies)
    lags = np.arange(_PERIOD_S[0], _PERIOD_S[1] + 1)
    peak = (acf[:, lags] > acf[:, lags - 1]) & (acf[:, lags] >= acf[:, lags + 1])
    best = np.where(peak, acf[:, lags], 0.0).max(axis=1)
    return np.where(count[:, 0] >= _PERIOD_WINDOW_S / 2, np.clip(best, 0.0, 1.0), np.nan)


def event_features(values: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Drops and their rhythm in one belt: share of each epoch within drops of 30 and of 90 %, and :func:`periodicity`.

    Returns
    -------
    ndarray, shape (n_epochs, len(EVENT_NAMES))
        NaN where gappy or beyond the end; periodicity over what is there of its five minutes, 0 with less than half.
    """
    out = np.full((n_epochs, len(EVENT_NAMES)), np.nan)
    depth = depth_per_second(values, rate_hz)
    gaps = ~np.isfinite(values)
    gappy = gappy_epochs(gaps, rate_hz, n_epochs)
    n = len(gappy)
    if n == 0 or len(depth) == 0 or not depth.any():
        return out
    edges = np.minimum(np.rint(np.arange(len(depth) + 1) * rate_hz).astype(np.int64), len(gaps))
    missing = np.diff(np.concatenate([[0], np.cumsum(gaps)])[edges]) > 0
    seconds = max(len(depth), round(n * EPOCH_S))
    for column, left in enumerate(_DROPS):
        inside = np.zeros(seconds)
        inside[: len(depth)] = drops(depth, left, missing)
        out[:n, column] = inside[: round(n * EPOCH_S)].reshape(n, -1).mean(axis=1)
    out[:n, 2] = np.nan_to_num(periodicity(depth, missing, n), nan=0.0)
    out[:n][gappy] = np.nan
    return out


def paradox_features(abdomen: Floats, thorax: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """How far the belts are out of step per epoch.

    Absolute phase of their cross-spectrum between 0.1 and 0.8 Hz, weighted by its size (0 together, pi opposed), and
    the share of time in which their correlation over 6 s is negative.

    Returns
    -------
    ndarray, shape (n_epochs, len(PARADOX_NAMES))
        NaN where either belt is flat or gappy.
    """
    from scipy.ndimage import uniform_filter1d

    out = np.full((n_epochs, len(PARADOX_NAMES)), np.nan)
    n = min(len(abdomen), len(thorax))
    gappy = gappy_epochs(~np.isfinite(abdomen[:n] + thorax[:n]), rate_hz, n_epochs)
    (a, rate), (b, _) = (band_pass(belt[:n], rate_hz) for belt in (abdomen, thorax))
    frames = [epoch_frames(band, rate, n_epochs) for band in (a, b)]
    k = len(frames[0])
    if k == 0:
        return out
    power = [np.square(side).mean(axis=1) for side in frames]
    usable = np.logical_and(*(p > 1e-18 * max(np.median(p), 1e-300) for p in power))
    usable[: len(gappy)] &= ~gappy[:k]
    spectra = [np.fft.rfft(side - side.mean(axis=1, keepdims=True), axis=1) for side in frames]
    f = np.fft.rfftfreq(frames[0].shape[1], 1 / rate)
    cross = (spectra[0] * spectra[1].conj())[:, (f >= _PHASE_HZ[0]) & (f <= _PHASE_HZ[1])].sum(axis=1)
    together = uniform_filter1d(a * b, max(1, round(_PARADOX_S * rate)), mode="nearest")
    out[:k, 0] = np.abs(np.angle(cross))
    out[:k, 1] = (epoch_frames(together, rate, n_epochs) < 0).mean(axis=1)
    out[:k][~usable] = np.nan
    return out


def belt_features(values: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Breathing and event features of one belt, shape (n_epochs, len(BELT_NAMES))."""
    parts = [features(values, rate_hz, n_epochs) for features in (breathing_features, event_features)]
    return np.concatenate(parts, axis=1)


def belts_features(abdomen: Floats, thorax: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Features of both belts together, shape (n_epochs, len(BELTS_NAMES))."""
    parts = [features(abdomen, thorax, rate_hz, n_epochs) for features in (effort_features, paradox_features)]
    return np.concatenate(parts, axis=1)
