"""Signs of atrial fibrillation in the beat-to-beat intervals around an epoch.

Thirty seconds hold too few beats for entropies: each epoch is judged with a minute on both sides.
"""

from __future__ import annotations

import numpy as np

from hypnos_bench.encoders.features.cardiac import CARDIAC_NAMES, interval_features, rr_intervals
from hypnos_bench.encoders.features.epochs import Floats, events_per_epoch

RHYTHM_NAMES = ("log_sd1_over_rr", "log_sd2_over_rr", "rr_shannon", "cosen", "turning_points_3min", "outlier_share")
ECG_NAMES = (*CARDIAC_NAMES, *RHYTHM_NAMES)

_MARGIN_S = 60.0
_MIN_INTERVALS = 5
_MAX_INTERVALS = 512  # 150 s of 0.3-s intervals: bounds what pairs cost
_SHANNON_BINS, _TRIMMED = 16, 1 / 16
_TOLERANCE_S, _MIN_MATCHES = 0.03, 5
_OUTLIER = 0.2


def ecg_features(values: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Heart-rate and rhythm features of one ECG per epoch, shape (n_epochs, len(ECG_NAMES))."""
    beats = rr_intervals(values, rate_hz)
    return np.concatenate([interval_features(*beats, n_epochs), rhythm_features(*beats, n_epochs)], axis=1)


def rhythm_features(ends_s: Floats, intervals_s: Floats, n_epochs: int) -> Floats:
    """Features of the intervals that end within a minute of each epoch.

    log10 of the Poincaré plot's widths over the mean interval (Brennan et al. 2001, IEEE Trans Biomed Eng 48:1342:
    SD1 is RMSSD over the square root of 2, SD2 the spread along the identity line); Shannon entropy of the intervals
    in 16 bins without the longest and shortest sixteenth (Dash et al. 2009, Ann Biomed Eng 37:1701);
    :func:`cosen`; turning points over the three minutes (Dash); share of intervals that differ by more than a fifth
    from the median of the five around them (ectopic beats, misses).

    Parameters
    ----------
    ends_s, intervals_s : ndarray, shape (n,)
        From :func:`hypnos_bench.encoders.features.cardiac.rr_intervals`.
    n_epochs : int

    Returns
    -------
    ndarray, shape (n_epochs, len(RHYTHM_NAMES))
        NaN with fewer than 5 intervals, or fewer than 5 pairs of neighbours.
    """
    out = np.full((n_epochs, len(RHYTHM_NAMES)), np.nan)
    for epoch, beats in enumerate(events_per_epoch(ends_s, n_epochs, _MARGIN_S)):
        rr = intervals_s[beats][:_MAX_INTERVALS]
        kept = rr[np.isfinite(rr)]
        pairs = _neighbours(rr, 2)
        triples = _neighbours(rr, 3)
        if len(kept) < _MIN_INTERVALS or len(pairs) < _MIN_INTERVALS or not len(triples):
            continue
        mean = kept.mean()
        across, along = (pairs[:, 1] - pairs[:, 0]) / np.sqrt(2), (pairs[:, 1] + pairs[:, 0]) / np.sqrt(2)
        turns = (triples[:, 1] - triples[:, 0]) * (triples[:, 1] - triples[:, 2]) > 0
        out[epoch] = (
            np.log10(max(np.sqrt(np.mean(across**2)) / mean, 1e-4)),
            np.log10(max(along.std() / mean, 1e-4)),
            shannon(kept),
            cosen(pairs, mean),
            turns.mean(),
            np.mean(np.abs(kept / _local_median(kept) - 1) > _OUTLIER),
        )
    return out


def shannon(intervals: Floats) -> float:
    """Shannon entropy, 0 to 1, of a 16-bin histogram between the extremes of the middle seven eighths of the values."""
    cut = round(len(intervals) * _TRIMMED)
    middle = np.sort(intervals)[cut : len(intervals) - cut]
    width = middle[-1] - middle[0]
    if width <= 1e-3:  # less than the timing of a beat is worth
        return 0.0
    bins = np.minimum((middle - middle[0]) / width * _SHANNON_BINS, _SHANNON_BINS - 1).astype(np.int64)
    share = np.bincount(bins, minlength=_SHANNON_BINS) / len(middle)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum() / np.log(_SHANNON_BINS))


def cosen(pairs: Floats, mean_s: float) -> float:
    """Coefficient of sample entropy: how seldom two stretches of two intervals that start alike also go on alike.

    Lake and Moorman 2011, Am J Physiol Heart Circ Physiol 300:H319: ``ln(B / A) + ln(2 r) - ln(mean)`` with m = 1 and
    tolerance r = 30 ms, or as large as five matches need.

    Parameters
    ----------
    pairs : ndarray, shape (n, 2)
        At least five intervals with the interval that follows each, in seconds.
    mean_s : float
        Mean interval.
    """
    first, second = (np.abs(side[:, None] - side) for side in pairs.T)  # every pair of stretches twice
    both = np.maximum(first, second)
    np.fill_diagonal(both, np.inf)
    np.fill_diagonal(first, np.inf)
    tolerance, twice = _TOLERANCE_S, 2 * _MIN_MATCHES
    if np.count_nonzero(both <= tolerance) < twice:
        tolerance = float(np.partition(both, twice - 1, axis=None)[twice - 1])
    alike, going_on = np.count_nonzero(first <= tolerance), np.count_nonzero(both <= tolerance)
    return float(np.log(alike / going_on) + np.log(2 * tolerance) - np.log(mean_s))


def _neighbours(intervals: Floats, n: int) -> Floats:
    """Stretches of `n` intervals without a hole, shape (k, n)."""
    if len(intervals) < n:
        return np.empty((0, n))
    stretches = np.lib.stride_tricks.sliding_window_view(intervals, n)
    return stretches[np.isfinite(stretches).all(axis=1)]


def _local_median(intervals: Floats) -> Floats:
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(intervals, size=5, mode="nearest"), dtype=np.float64)
