"""Sleep spindles and slow waves of an EEG channel, counted per epoch.

Spindles: a sigma-band envelope beyond a multiple of the recording's own (Mölle et al. 2002, J Neurosci 22:10941)
together with a share of sigma in the broad band (Lacourse et al. 2019, J Neurosci Methods 316:3), for 0.5 to 2 s.
Slow waves: half-waves between zero crossings below 2 Hz (Massimini et al. 2004, J Neurosci 24:6862), large by the
75 µV of the AASM manual, or beside the recording's own waves where amplitudes mean nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.features.epochs import Floats, decimate, epoch_frames, events_per_epoch
from hypnos_bench.encoders.features.spectral import SPECTRAL_AMPLITUDES, SPECTRAL_NAMES, Ready, features_of, ready
from hypnos_bench.spec import EPOCH_S

WAVE_NAMES = (
    "spindles_per_min",
    "spindle_log_uv",
    "spindle_hz",
    "slow_waves_per_min",
    "slow_wave_share",
    "large_slow_waves_per_min",
)
EEG_NAMES = (*SPECTRAL_NAMES, *WAVE_NAMES)
EEG_AMPLITUDES = (*SPECTRAL_AMPLITUDES, "spindle_log_uv", "slow_waves_per_min", "slow_wave_share")
EEG_OPTIONAL = ("spindle_log_uv", "spindle_hz")
"""Without a spindle there is none to measure."""

_SIGMA_HZ, _BROAD_HZ = (11.0, 16.0), (1.0, 30.0)
_ENVELOPE_S, _SHARE_S = 0.2, 1.0
_PEAK, _EDGE = 4.0, 1.5  # of the recording's median sigma envelope
_FOOT = 0.3  # of the peak: the tails of a large spindle stand out of the background for longer than it lasts
_MIN_SHARE = 0.3  # of the broad-band power; a flat spectrum has 0.2
_SPINDLE_S = (0.5, 2.0)
_SLOW_HZ = (0.3, 2.0)
_NEGATIVE_S, _POSITIVE_S = (0.3, 1.5), (0.1, 1.0)
_AASM_UV = 75.0
_PER_MIN = 60.0 / EPOCH_S
_LARGE = 2.0  # of the recording's median wave


class Spindles(NamedTuple):
    """Middle (s), length (s), peak-to-peak amplitude (unit of the channel) and frequency (Hz), each (n_spindles,)."""

    middles_s: Floats
    lengths_s: Floats
    peak_to_peak: Floats
    hz: Floats


class SlowWaves(NamedTuple):
    """Start (s), length (s) and peak-to-peak amplitude (unit of the channel) of waves, each (n_waves,)."""

    starts_s: Floats
    lengths_s: Floats
    peak_to_peak: Floats


def spindles(values: Floats, rate_hz: float, known: NDArray[np.bool_] | None = None) -> Spindles:
    """Find sleep spindles.

    Where the moving root mean square (0.2 s) of 11-16 Hz exceeds 4 times its median over the recording, stays above
    1.5 times that median and above 0.3 of its peak for 0.5 to 2 s, and where around the peak (1 s, Hann) these
    frequencies carry at least 0.3 of the power between 1 and 30 Hz. Nothing depends on the gain. The amplitude is
    that of the filtered signal (a sixth less at the band's edges), the frequency that of its zero crossings.

    Parameters
    ----------
    values : ndarray, shape (n_samples,)
        EEG without gaps, at 40 Hz or more.
    rate_hz : float
    known : ndarray of bool, shape (n_samples,), optional
        Samples that the median is taken of: neither flat nor bridged. All, when not given.
    """
    none = Spindles(*(np.empty(0),) * 4)
    if len(values) < 3 * rate_hz:
        return none
    sigma = _band(values, rate_hz, _SIGMA_HZ)
    envelope = np.sqrt(_moving_mean(sigma**2, _ENVELOPE_S * rate_hz))
    usual = float(np.median(envelope if known is None else envelope[known]))
    if usual <= 0:
        return none
    cores = [a + int(np.argmax(envelope[a:b])) for a, b in _runs(envelope >= _PEAK * usual)]
    bounds = [_bounds(envelope, peak, max(_EDGE * usual, _FOOT * envelope[peak]), rate_hz) for peak in cores]
    shares = _sigma_share(values, rate_hz, np.array(cores, dtype=np.int64))
    found: list[tuple[float, float, float, float]] = []
    last = 0
    for (start, stop), share in zip(bounds, shares, strict=True):
        # An envelope that dips between two cores leads to the same spindle twice.
        if start < last or share < _MIN_SHARE or not _SPINDLE_S[0] <= (stop - start) / rate_hz <= _SPINDLE_S[1]:
            continue
        last, wave = stop, sigma[start:stop]
        crossings = np.flatnonzero(np.signbit(wave[1:]) != np.signbit(wave[:-1]))
        hz = 0.5 * (len(crossings) - 1) * rate_hz / max(crossings[-1] - crossings[0], 1)
        found.append(((start + stop) / 2 / rate_hz, (stop - start) / rate_hz, float(np.ptp(wave)), float(hz)))
    return Spindles(*np.array(found, dtype=np.float64).reshape(-1, 4).T)


def _bounds(envelope: Floats, peak: int, level: float, rate_hz: float) -> tuple[int, int]:
    """First and stop of the stretch around a peak that stays above a level; cut off where it is too long anyway."""
    reach = int(2 * _SPINDLE_S[1] * rate_hz)
    before, after = envelope[max(0, peak - reach) : peak + 1][::-1] < level, envelope[peak : peak + reach] < level
    start = peak - (int(np.argmax(before)) if before.any() else len(before)) + 1
    return start, peak + (int(np.argmax(after)) if after.any() else len(after))


def _sigma_share(values: Floats, rate_hz: float, peaks: NDArray[np.int64]) -> Floats:
    """Share of sigma in the power between 1 and 30 Hz in the second around each peak, shape (n_peaks,)."""
    width = round(_SHARE_S * rate_hz)
    firsts = np.clip(peaks - width // 2, 0, len(values) - width)
    parts = np.lib.stride_tricks.sliding_window_view(values, width)[firsts]
    power = np.abs(np.fft.rfft((parts - parts.mean(axis=1, keepdims=True)) * np.hanning(width), axis=1)) ** 2
    f = np.fft.rfftfreq(width, 1 / rate_hz)
    in_sigma, in_all = (
        power[:, (f >= low - 1e-9) & (f <= high + 1e-9)].sum(axis=1) for low, high in (_SIGMA_HZ, _BROAD_HZ)
    )
    return np.asarray(in_sigma / np.maximum(in_all, 1e-300))


def slow_waves(values: Floats, rate_hz: float) -> SlowWaves:
    """Find waves of any size: a negative half-wave of 0.3 to 1.5 s between 0.3 and 2 Hz, then a positive of 0.1 to 1 s.

    Parameters
    ----------
    values : ndarray, shape (n_samples,)
        EEG without gaps.
    rate_hz : float
    """
    if len(values) < 10 * rate_hz:
        return SlowWaves(*(np.empty(0),) * 3)
    band = _band(values, rate_hz, _SLOW_HZ)
    falls = np.flatnonzero((band[:-1] >= 0) & (band[1:] < 0)) + 1
    rises = np.flatnonzero((band[:-1] < 0) & (band[1:] >= 0)) + 1
    rises = rises[np.searchsorted(rises, falls[0]) :] if len(falls) else rises
    n = min(len(falls) - 1, len(rises))
    if n < 1:
        return SlowWaves(*(np.empty(0),) * 3)
    starts, middles, stops = falls[:n], rises[:n], falls[1 : n + 1]
    times = [at - band[at] / (band[at] - band[at - 1]) for at in (starts, middles, stops)]  # samples, of the crossing
    negative, positive = ((b - a) / rate_hz for a, b in pairwise(times))
    size = np.maximum.reduceat(band, middles)[:n] - np.minimum.reduceat(band, starts)[:n]
    real = (negative >= _NEGATIVE_S[0]) & (negative <= _NEGATIVE_S[1])
    real &= (positive >= _POSITIVE_S[0]) & (positive <= _POSITIVE_S[1])
    return SlowWaves(times[0][real] / rate_hz, (negative + positive)[real], size[real])


def wave_features(values_uv: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Spindles and slow waves of one EEG channel per epoch.

    Spindles per minute, log10 of their mean peak-to-peak amplitude in µV and their mean frequency; slow waves of
    75 µV or more per minute, and the share of the epoch that they cover (the AASM manual's criterion of N3 is a
    fifth); slow waves per minute of at least twice the recording's median wave, which has no unit.

    Returns
    -------
    ndarray, shape (n_epochs, len(WAVE_NAMES))
        NaN in epochs that are flat, gappy, or beyond the end; amplitude and frequency NaN in epochs without spindle.
    """
    return _waves_of(ready(values_uv, rate_hz, n_epochs), n_epochs)


def _waves_of(channel: Ready, n_epochs: int) -> Floats:
    values, rate, gappy = channel
    out = np.full((n_epochs, len(WAVE_NAMES)), np.nan)
    frames = epoch_frames(values, rate, n_epochs)
    n = len(frames)
    usable = np.ptp(frames, axis=1) > 0 if n else np.zeros(0, dtype=np.bool_)
    usable[: len(gappy)] &= ~gappy[:n]
    if not usable.any():
        return out
    of_epoch = np.minimum(np.arange(len(values)) / (rate * EPOCH_S), n - 1).astype(np.int64)
    _count_spindles(out[:n], spindles(values, rate, usable[of_epoch]))
    _count_slow_waves(out[:n], slow_waves(*decimate(values, rate, 25.0)), usable)
    out[:n][~usable] = np.nan
    return out


def _count_spindles(out: Floats, found: Spindles) -> None:
    for epoch, inside in enumerate(events_per_epoch(found.middles_s, len(out))):
        out[epoch, 0] = _PER_MIN * (inside.stop - inside.start)
        if inside.stop > inside.start:
            out[epoch, 1] = np.log10(max(float(found.peak_to_peak[inside].mean()), 1e-6))
            out[epoch, 2] = found.hz[inside].mean()


def _count_slow_waves(out: Floats, found: SlowWaves, usable: NDArray[np.bool_]) -> None:
    """By the epoch in which each wave has its middle; the usual size is that of waves in usable epochs."""
    n = len(out)
    epoch = ((found.starts_s + found.lengths_s / 2) // EPOCH_S).astype(np.int64)
    known = (epoch < n) & usable[np.minimum(epoch, n - 1)]
    epoch, size, lengths_s = epoch[known], found.peak_to_peak[known], found.lengths_s[known]
    usual = np.median(size) if len(size) else 0.0
    by_rule, large = size >= _AASM_UV, size >= _LARGE * usual
    out[:, 3] = _PER_MIN * np.bincount(epoch[by_rule], minlength=n)
    out[:, 4] = np.bincount(epoch[by_rule], lengths_s[by_rule], minlength=n) / EPOCH_S
    out[:, 5] = _PER_MIN * np.bincount(epoch[large], minlength=n)


def eeg_features(values_uv: Floats, rate_hz: float, n_epochs: int) -> Floats:
    """Spectral and wave features of one EEG channel, shape (n_epochs, len(EEG_NAMES))."""
    channel = ready(values_uv, rate_hz, n_epochs)
    return np.concatenate([features_of(channel, n_epochs), _waves_of(channel, n_epochs)], axis=1)


def _band(values: Floats, rate_hz: float, band_hz: tuple[float, float]) -> Floats:
    from scipy.signal import butter, sosfiltfilt

    high = min(band_hz[1], 0.45 * rate_hz)
    sos = butter(2, (band_hz[0], high), btype="bandpass", fs=rate_hz, output="sos")
    return np.asarray(sosfiltfilt(sos, values), dtype=np.float64)


def _moving_mean(values: Floats, width: float) -> Floats:
    from scipy.ndimage import uniform_filter1d

    mean = uniform_filter1d(values, max(1, round(width)), mode="nearest")
    return np.asarray(np.maximum(mean, 0.0), dtype=np.float64)  # a running sum may fall below 0 by rounding


def _runs(inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
