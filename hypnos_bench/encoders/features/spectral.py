"""EEG, EOG and EMG per epoch: band powers, spectral shape, bursts, eye movements, muscle tone.

Bands and measures are those of the classical sleep-staging literature: relative band powers and
spectral edge (Rechtschaffen-Kales era, AASM bands), spectral entropy, Hjorth (1970) computed as
spectral moments, so that no time-domain filter is needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.features.epochs import Floats, decimate, epoch_frames, gappy_epochs
from hypnos_bench.signals.gaps import fill_gaps

BANDS_HZ = {
    "delta": (0.5, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 12.0),
    "sigma": (12.0, 16.0),
    "beta": (16.0, 30.0),
}
RANGE_HZ = (0.5, 30.0)
MIN_RATE_HZ = 40.0
"""Below this an EEG or EOG channel holds no beta band worth the name."""

_BURST_BANDS = ("delta", "sigma", "beta")
SPECTRAL_NAMES = (
    "log_total",
    *(f"log_rel_{band}" for band in BANDS_HZ),
    "edge95_hz",
    "entropy",
    "mobility",
    "complexity",
    *(f"burst_{band}" for band in _BURST_BANDS),
)
SPECTRAL_AMPLITUDES = ("log_total",)
EOG_NAMES = ("correlation", "log_rms", "log_range", "log_speed")
EOG_AMPLITUDES = ("log_rms", "log_range", "log_speed")
TONE_NAMES = ("log_rms", "log_low", "log_high")

_TINY = 1e-12


class Ready(NamedTuple):
    """A channel without gaps, its rate, and which whole epochs had too many; shapes (n_samples,) and (k,)."""

    values: Floats
    rate_hz: float
    gappy: NDArray[np.bool_]


def spectral_features(values_uv: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Spectral features of one EEG or EOG channel.

    Parameters
    ----------
    values_uv : ndarray, shape (n_samples,)
    rate_hz : float
        At least 40 Hz.
    n_epochs : int

    Returns
    -------
    ndarray, shape (n_epochs, len(SPECTRAL_NAMES))
        NaN in epochs that are flat, gappy, or beyond the end of the channel.
    """
    return features_of(ready(values_uv, rate_hz, n_epochs), n_epochs)


def ready(values: Floats, rate_hz: float, n_epochs: int) -> Ready:
    """Bridge gaps and lower the rate to 100 Hz or a little more."""
    filled, gaps = fill_gaps(values)
    return Ready(*decimate(filled, rate_hz, 100.0), gappy_epochs(gaps, rate_hz, n_epochs))


def features_of(channel: Ready, n_epochs: int) -> Floats:
    """As `spectral_features`, of a channel made ready."""
    values, rate, gappy = channel
    out = np.full((n_epochs, len(SPECTRAL_NAMES)), np.nan)
    frames = epoch_frames(values, rate, n_epochs)
    if len(frames) == 0:
        return out
    f, segments = segment_spectra(frames, rate, 4.0)
    inside = (f >= RANGE_HZ[0]) & (f <= RANGE_HZ[1])
    f, segments = f[inside], segments[:, :, inside]
    psd = np.median(segments, axis=1) / median_bias(segments.shape[1])
    width = f[1] - f[0]
    total = psd.sum(axis=1) * width
    usable = (total > _TINY) & (total > 1e-6 * np.median(total))
    usable[: len(gappy)] &= ~gappy[: len(usable)]

    share = psd / np.maximum(psd.sum(axis=1, keepdims=True), _TINY)
    bands = {name: (f >= low) & (f < high) for name, (low, high) in BANDS_HZ.items()}
    relative = np.stack([share[:, inside].sum(axis=1) for inside in bands.values()], axis=1)
    edge = f[np.argmax(np.cumsum(share, axis=1) >= 0.95, axis=1)]
    entropy = -(share * np.log(np.maximum(share, _TINY))).sum(axis=1) / np.log(len(f))
    second, fourth = ((share * f**power).sum(axis=1) for power in (2, 4))
    mobility = np.sqrt(second)
    complexity = np.sqrt(np.maximum(fourth, _TINY) / np.maximum(second, _TINY)) / np.maximum(mobility, _TINY)
    # Spindles, K-complexes and arousals come and go within an epoch; steady rhythms do not.
    bursts = [np.log10(np.maximum(segments[:, :, bands[b]].sum(axis=2), _TINY)).std(axis=1) for b in _BURST_BANDS]
    out[: len(frames)] = np.column_stack(
        [
            np.log10(np.maximum(total, _TINY)),
            np.log10(np.maximum(relative, 1e-6)),
            edge,
            entropy,
            mobility,
            complexity,
            *bursts,
        ]
    )
    out[: len(frames)][~usable] = np.nan
    return out


def eog_features(left_uv: Floats, right_uv: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Eye movements from both EOG channels at one rate.

    Correlation of E1 and E2 between 0.3 and 5 Hz (eyes move together, so opposite electrodes move apart;
    EEG in the EOG is common to both), and size, range and speed of their difference.

    Returns
    -------
    ndarray, shape (n_epochs, len(EOG_NAMES))
        NaN where either channel is flat or gappy.
    """
    from scipy.signal import butter, sosfiltfilt

    out = np.full((n_epochs, len(EOG_NAMES)), np.nan)
    n = min(len(left_uv), len(right_uv))
    pair, gap = [], np.zeros(n, np.bool_)
    for channel in (left_uv, right_uv):
        filled, gaps = fill_gaps(channel[:n])
        gap |= gaps
        pair.append(decimate(filled, rate_hz, 50.0)[0])
    rate = decimate(np.zeros(1), rate_hz, 50.0)[1]
    if len(epoch_frames(pair[0], rate, n_epochs)) == 0:
        return out
    sos = butter(2, (0.3, 5.0), btype="bandpass", fs=rate, output="sos")
    left, right = (epoch_frames(sosfiltfilt(sos, channel), rate, n_epochs).astype(np.float64) for channel in pair)
    left, right = (side - side.mean(axis=1, keepdims=True) for side in (left, right))
    norms = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    difference = left - right
    low, high = np.percentile(difference, (0.5, 99.5), axis=1)
    speed = np.percentile(np.abs(np.diff(difference, axis=1)), 99, axis=1) * rate  # µV/s
    values = np.column_stack(
        [
            (left * right).sum(axis=1) / np.maximum(norms, _TINY),
            np.log10(np.maximum(difference.std(axis=1), 1e-6)),
            np.log10(np.maximum(high - low, 1e-6)),
            np.log10(np.maximum(speed, 1e-6)),
        ]
    )
    gappy = gappy_epochs(gap, rate_hz, n_epochs)
    values[norms <= _TINY] = np.nan
    values[: len(gappy)][gappy[: len(values)]] = np.nan
    out[: len(values)] = values
    return out


def tone_features(values_uv: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Chin muscle tone: log RMS between 10 and 40 Hz in seconds of an epoch, its median, 10th and 90th percentile.

    Returns
    -------
    ndarray, shape (n_epochs, len(TONE_NAMES))
        log10 of µV; NaN where flat or gappy.
    """
    out = np.full((n_epochs, len(TONE_NAMES)), np.nan)
    filled, gaps = fill_gaps(values_uv)
    values, rate = decimate(filled, rate_hz, 100.0)
    frames = epoch_frames(values, rate, n_epochs)
    if len(frames) == 0:
        return out
    f, segments = segment_spectra(frames, rate, 1.0)
    rms = np.sqrt(segments[:, :, (f >= 10.0) & (f <= 40.0)].sum(axis=2) * (f[1] - f[0]))
    median = np.median(rms, axis=1)
    low, high = np.percentile(rms, (10, 90), axis=1)
    levels = np.log10(np.maximum(np.column_stack([median, low, high]), 1e-6))
    levels[~((median > _TINY) & (median > 1e-6 * np.median(median)))] = np.nan
    gappy = gappy_epochs(gaps, rate_hz, n_epochs)
    levels[: len(gappy)][gappy[: len(levels)]] = np.nan
    out[: len(levels)] = levels
    return out


def segment_spectra(frames: NDArray[Any], rate_hz: float, length_s: float) -> tuple[Floats, Floats]:
    """One-sided power densities of half-overlapping Hann segments, mean removed: the parts of Welch's estimate.

    Returns
    -------
    frequencies_hz : ndarray, shape (n_freqs,)
    density : ndarray, shape (n_frames, n_segments, n_freqs)
        Unit² per Hz.
    """
    width = round(length_s * rate_hz)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    parts = np.lib.stride_tricks.sliding_window_view(frames, width, axis=1)[:, :: width // 2]
    parts = np.asarray(parts, dtype=np.float64)
    spectra = np.fft.rfft((parts - parts.mean(axis=2, keepdims=True)) * window, axis=2)
    density = (spectra.real**2 + spectra.imag**2) / (rate_hz * (window**2).sum())
    last = -1 if width % 2 == 0 else None
    density[:, :, 1:last] *= 2
    return np.fft.rfftfreq(width, 1 / rate_hz).astype(np.float64), density


def median_bias(n: int) -> float:
    """Expected median of `n` exponential variables of mean 1: what a median of periodograms must be divided by.

    Source: Allen et al. 2012 (FINDCHIRP), appendix B.
    """
    k = np.arange(1, (n - 1) // 2 + 1)
    return float(1 + np.sum(1 / (2 * k + 1) - 1 / (2 * k)))
