"""Heart rate, its variability and its irregularity per epoch, from own R-peaks.

R-peaks by two moving averages of squared band-passed ECG (Elgendi 2013, PLoS ONE 8:e73557):
nothing depends on polarity, gain or unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.features.epochs import Floats, decimate, events_per_epoch
from hypnos_bench.signals.gaps import fill_gaps

CARDIAC_NAMES = ("rate_bpm", "log_rmssd_ms", "log_sdnn_ms", "pnn50", "irregularity", "turning_points")
MIN_RATE_HZ = 60.0

_BAND_HZ = (8.0, 20.0)
_QRS_S, _BEAT_S, _LEVEL_S = 0.097, 0.611, 10.0
_OFFSET = 0.08  # of the local mean energy: keeps noise between beats below threshold
_REFRACTORY_S = 0.25
_MIN_HEIGHT, _NEIGHBOURS = 0.35, 15  # of the 75th percentile among so many peaks around
_RR_LIMITS_S = (0.25, 3.0)
_MIN_INTERVALS = 5


def r_peaks(values: Floats, rate_hz: float) -> Floats:
    """Times of R-peaks in seconds, sorted, finer than the sampling by a parabola through each peak.

    Parameters
    ----------
    values : ndarray, shape (n_samples,)
        ECG in any unit and polarity, at `rate_hz` of 60 Hz or more.
    """
    from scipy.ndimage import percentile_filter, uniform_filter1d
    from scipy.signal import butter, sosfiltfilt

    filled, gaps = fill_gaps(values)
    ecg, rate = decimate(filled, rate_hz, 125.0)
    if len(ecg) < rate * 2:
        return np.empty(0)
    band = sosfiltfilt(butter(2, _BAND_HZ, btype="bandpass", fs=rate, output="sos"), ecg)
    energy = band**2
    qrs, beat, level = (
        uniform_filter1d(energy, max(1, round(seconds * rate)), mode="nearest")
        for seconds in (_QRS_S, _BEAT_S, _LEVEL_S)
    )
    # A local level, not the record's mean: one electrode artefact must not silence the rest of a night.
    inside = np.concatenate([[False], qrs > beat + _OFFSET * level, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, stops = edges[::2], edges[1::2]
    wide = stops - starts >= 0.5 * _QRS_S * rate
    peaks = np.array(
        [a + int(np.argmax(energy[a:b])) for a, b in zip(starts[wide], stops[wide], strict=True)], np.int64
    )
    peaks = _strongest_within(peaks, energy, round(_REFRACTORY_S * rate))
    # In a long pause the averages sink so far that noise passes; beside its neighbours it is small.
    heights = np.abs(band[peaks])
    peaks = peaks[heights >= _MIN_HEIGHT * percentile_filter(heights, 75, size=_NEIGHBOURS, mode="nearest")]
    times: Floats = (peaks + _parabola(np.abs(band), peaks)) / rate
    return times[~gaps[np.minimum(np.rint(times * rate_hz).astype(np.int64), len(gaps) - 1)]]


def cardiac_features(values: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Heart-rate features per epoch.

    Rate from the median RR interval; log10 RMSSD and SDNN in ms; pNN50 (share of successive differences
    beyond 50 ms); irregularity (median absolute successive difference over median RR: robust to single
    ectopic beats, high in atrial fibrillation); turning points (share of RR intervals longer or shorter
    than both neighbours: 2/3 when they are random).

    Returns
    -------
    ndarray, shape (n_epochs, len(CARDIAC_NAMES))
        NaN with fewer than 5 RR intervals between 0.25 and 3 s.
    """
    return interval_features(*rr_intervals(values, rate_hz), n_epochs)


def rr_intervals(values: Floats, rate_hz: float) -> tuple[Floats, Floats]:
    """Find the beats of an ECG.

    Returns
    -------
    ends_s, intervals_s : ndarray, each of shape (n_beats - 1,)
        Time of each beat but the first, and the time since the beat before: NaN across a gap, in which beats may have
        been lost, and where it is no possible interval (0.25 to 3 s).
    """
    times = r_peaks(values, rate_hz)
    intervals, ends = np.diff(times), times[1:]
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(values))])
    at = np.minimum(np.rint(times * rate_hz).astype(np.int64), len(values))
    possible = (np.diff(missing[at]) == 0) & (intervals >= _RR_LIMITS_S[0]) & (intervals <= _RR_LIMITS_S[1])
    return ends, np.where(possible, intervals, np.nan)


def interval_features(ends_s: Floats, intervals_s: Floats, n_epochs: int) -> Floats:
    """As `cardiac_features`, from :func:`rr_intervals`."""
    out = np.full((n_epochs, len(CARDIAC_NAMES)), np.nan)
    for epoch, beats in enumerate(events_per_epoch(ends_s, n_epochs)):
        rr = intervals_s[beats]
        valid = np.isfinite(rr)
        differences = np.diff(rr)[valid[1:] & valid[:-1]]
        kept = rr[valid]
        if len(kept) < _MIN_INTERVALS or len(differences) < _MIN_INTERVALS - 1:
            continue
        middle, before, after = kept[1:-1], kept[:-2], kept[2:]
        out[epoch] = (
            60.0 / np.median(kept),
            np.log10(max(1e3 * np.sqrt(np.mean(differences**2)), 1.0)),
            np.log10(max(1e3 * kept.std(ddof=1), 1.0)),
            np.mean(np.abs(differences) > 0.05),
            np.median(np.abs(differences)) / np.median(kept),
            np.mean((middle - before) * (middle - after) > 0),
        )
    return out


def _strongest_within(peaks: NDArray[np.int64], energy: Floats, distance: int) -> NDArray[np.int64]:
    """Of peaks nearer than `distance` samples to each other keep the stronger."""
    kept: list[int] = []
    for peak in peaks.tolist():
        if kept and peak - kept[-1] < distance:
            if energy[peak] > energy[kept[-1]]:
                kept[-1] = peak
        else:
            kept.append(peak)
    return np.array(kept, np.int64)


def _parabola(height: Floats, peaks: NDArray[np.int64]) -> Floats:
    """Offset of the true maximum from each peak sample, in samples within -0.5..0.5."""
    at = np.clip(peaks, 1, len(height) - 2)
    left, middle, right = height[at - 1], height[at], height[at + 1]
    curvature = left - 2 * middle + right
    offset = np.where(curvature < 0, 0.5 * (left - right) / np.where(curvature < 0, curvature, -1.0), 0.0)
    return np.clip(offset, -0.5, 0.5)
