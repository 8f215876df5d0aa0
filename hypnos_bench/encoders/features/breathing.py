"""Respiratory rate, its variability and the depth of breathing per epoch, from effort belts.

A breath runs from one rise of the band-passed belt through zero to the next. Belts have arbitrary
gain, so depth is told relative to the recording's own median breath.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.features.epochs import Floats, decimate, epoch_frames, events_per_epoch, gappy_epochs
from hypnos_bench.signals.gaps import MAX_BRIDGED, fill_gaps
from hypnos_bench.spec import EPOCH_S

BREATHING_NAMES = ("rate_per_min", "rate_variation", "log_depth", "depth_variation", "breathing_share")
EFFORT_NAMES = ("correlation",)
MIN_RATE_HZ = 4.0

_BAND_HZ = (0.1, 0.8)
_RATE_FLOOR_HZ = 8.0
_MARGIN_S = 15.0  # a minute around each epoch's middle: 30 s hold too few breaths for a rate
_MIN_DEPTH = 0.25  # of the recording's median breath; less is the flutter of a held breath
_BREATH_LIMITS_S = (1.0, 15.0)


def breaths(values: Floats, rate_hz: float) -> tuple[Floats, Floats, Floats]:
    """Find breaths in a belt.

    Returns
    -------
    middles_s, lengths_s, depths : ndarray, shape (n_breaths,)
        Depth is peak to trough in the belt's unit.
    """
    band, rate = band_pass(values, rate_hz)
    rises = np.flatnonzero((band[:-1] < 0) & (band[1:] >= 0))
    if len(rises) < 2:
        return np.empty(0), np.empty(0), np.empty(0)
    times = (rises + band[rises] / (band[rises] - band[rises + 1])) / rate
    depths = (np.maximum.reduceat(band, rises) - np.minimum.reduceat(band, rises))[:-1]
    lengths = np.diff(times)
    real = (lengths >= _BREATH_LIMITS_S[0]) & (lengths <= _BREATH_LIMITS_S[1])
    if real.any():
        real &= depths >= _MIN_DEPTH * np.median(depths[real])
    return (times[:-1] + lengths / 2)[real], lengths[real], depths[real]


def breathing_features(values: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Breathing features of one belt per epoch, over the epoch and 15 s on both sides.

    Rate from the median breath; variation of breath lengths and of depths (standard deviation over mean);
    log10 of depth over the recording's median; share of the time that breaths cover (apnea lowers it).

    Returns
    -------
    ndarray, shape (n_epochs, len(BREATHING_NAMES))
        NaN with fewer than 3 breaths, except for the share, which then is 0 or small. NaN altogether where more than
        a tenth of the minute is missing: a gap is no apnea.
    """
    out = np.full((n_epochs, len(BREATHING_NAMES)), np.nan)
    middles, lengths, depths = breaths(values, rate_hz)
    if len(middles) == 0:
        return out
    usual = np.median(depths)
    covered_epochs = len(epoch_frames(values, rate_hz, n_epochs))
    gappy = _gappy_minutes(~np.isfinite(values), rate_hz, covered_epochs)
    for epoch, inside in enumerate(events_per_epoch(middles, covered_epochs, _MARGIN_S)):
        if gappy[epoch]:
            continue
        length, depth = lengths[inside], depths[inside]
        out[epoch, 4] = min(length.sum() / 60.0, 1.0)
        if len(length) >= 3:
            out[epoch, :4] = (
                60.0 / np.median(length),
                length.std() / length.mean(),
                np.log10(np.median(depth) / usual),
                depth.std() / depth.mean(),
            )
    return out


def effort_features(abdomen: Floats, thorax: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Correlation of both belts at one rate per epoch: paradoxical breathing turns it negative.

    Returns
    -------
    ndarray, shape (n_epochs, 1)
        NaN where either belt is flat or gappy.
    """
    out = np.full((n_epochs, len(EFFORT_NAMES)), np.nan)
    n = min(len(abdomen), len(thorax))
    gappy = gappy_epochs(~np.isfinite(abdomen[:n] + thorax[:n]), rate_hz, n_epochs)
    pair = [band_pass(belt[:n], rate_hz) for belt in (abdomen, thorax)]
    a, b = (epoch_frames(band, rate, n_epochs).astype(np.float64) for band, rate in pair)
    if len(a) == 0:
        return out
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    norms = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    usable = norms > 1e-9 * np.median(norms)
    usable[: len(gappy)] &= ~gappy[: len(usable)]
    out[: len(a), 0] = np.where(usable, (a * b).sum(axis=1) / np.where(usable, norms, 1.0), np.nan)
    return out


def _gappy_minutes(gaps: NDArray[np.bool_], rate_hz: float, n_epochs: int) -> NDArray[np.bool_]:
    """Epochs of which, with the margin on both sides, more than a tenth is missing."""
    edges_s = np.arange(n_epochs)[:, None] * EPOCH_S + np.array([-_MARGIN_S, EPOCH_S + _MARGIN_S])
    edges = np.clip(np.rint(edges_s * rate_hz), 0, len(gaps)).astype(np.int64)
    missing = np.concatenate([[0], np.cumsum(gaps)])
    first, stop = edges.T
    return np.asarray(missing[stop] - missing[first] > MAX_BRIDGED * (stop - first))


def band_pass(values: Floats, rate_hz: float) -> tuple[Floats, float]:
    """Belt between 0.1 and 0.8 Hz at 8 Hz or a little more, gaps bridged, and that rate; zeros when below 4 s."""
    from scipy.signal import butter, sosfiltfilt

    belt, rate = decimate(fill_gaps(values)[0], rate_hz, _RATE_FLOOR_HZ)
    if len(belt) < 4 * rate:
        return np.zeros(2), rate
    sos = butter(2, _BAND_HZ, btype="bandpass", fs=rate, output="sos")
    return np.asarray(sosfiltfilt(sos, belt), dtype=np.float64), rate
