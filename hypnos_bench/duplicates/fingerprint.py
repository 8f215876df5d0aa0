"""What identifies a night: its beat times, or the envelope of its EEG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.duplicates.patterns import Patterns, envelope_patterns, rr_patterns
from hypnos_bench.errors import DataError, RecordingError, UsageError

ENVELOPE_HZ = 4.0
STEP_DB = 0.25
GAP = -128
"""Envelope value where nothing was recorded."""

CHANNELS = ("ECG", "C3", "C4", "E1", "E2")
"""Canonical channels in the order in which they are asked; EOG holds enough EEG where a file has nothing better."""

MIN_DURATION_S = 600.0
_MIN_ECG_HZ, _MIN_EEG_HZ = 60.0, 40.0
_MIN_PATTERNS = 16  # of those that are kept: fewer could never make a case
_BAND_HZ = (1.5, 18.0)  # clear of the usual high-pass and mains filters, which another export may have changed
_SMOOTH_S = 2.0  # twice: a triangle 4 s wide
_CLIP_DB = 31.0

Kind = Literal["rr", "envelope"]


@dataclass(frozen=True)
class Fingerprint:
    """A night in a hundred kilobytes. Only fingerprints of one kind and channel can be compared.

    Parameters
    ----------
    kind : {"rr", "envelope"}
    values : ndarray
        ``rr``: int32 beat times in ms from the start of the signals, ascending. ``envelope``: int8 log-variance
        at `ENVELOPE_HZ`, in steps of `STEP_DB` around the night's median; `GAP` where nothing was recorded.
    channel : str
        Canonical channel it was made from; may be blank.
    """

    kind: Kind
    values: NDArray[np.integer[Any]]
    channel: str = ""

    @property
    def comparable(self) -> str:
        """Fingerprints can be compared when this is equal."""
        return f"{self.kind}:{self.channel}"

    def patterns(self) -> Patterns:
        """Hashed patterns with their times, thinned out by content."""
        if self.kind == "rr":
            return rr_patterns(self.values)
        return envelope_patterns(self.values, ENVELOPE_HZ, STEP_DB, GAP)

    @property
    def telling(self) -> bool:
        """Whether there are patterns enough to recognise a copy; not so of a paced heart or a flat line."""
        return len(self.patterns().hashes) >= _MIN_PATTERNS


def rr_fingerprint(beat_times_s: NDArray[np.floating[Any]], *, channel: str = "ECG") -> Fingerprint:
    """Fingerprint from beat times in seconds, in any order.

    Raises
    ------
    UsageError
        When times are not finite, or do not fit 24 days.
    """
    times = np.asarray(beat_times_s, np.float64)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise UsageError(f"beat times must be a flat array of finite seconds, got shape {times.shape}")
    if times.size and np.abs(times).max() > 2e6:
        raise UsageError(f"beat times of {np.abs(times).max():g} s: seconds from the start of the signals are wanted")
    return Fingerprint("rr", np.unique(np.rint(times * 1e3).astype(np.int32)), channel)


def envelope_fingerprint(samples: NDArray[np.floating[Any]], rate_hz: float, *, channel: str = "") -> Fingerprint:
    """Fingerprint from a channel's log-variance between 1.5 and 18 Hz, whatever its unit, gain and polarity.

    Parameters
    ----------
    samples : ndarray, shape (n_samples,)
        NaN where nothing was recorded.
    rate_hz : float
        40 Hz or more.

    Raises
    ------
    UsageError
        At lower rates.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, sosfiltfilt

    from hypnos_bench.encoders.features.epochs import decimate
    from hypnos_bench.signals.gaps import fill_gaps

    if not rate_hz >= _MIN_EEG_HZ:
        raise UsageError(f"an envelope needs a channel at {_MIN_EEG_HZ:g} Hz or more, got {rate_hz:g} Hz")
    values = np.asarray(samples, np.float64)
    length = int(len(values) / rate_hz * ENVELOPE_HZ)
    if length < 2 * ENVELOPE_HZ * _SMOOTH_S:
        return Fingerprint("envelope", np.empty(0, np.int8), channel)
    filled, gaps = fill_gaps(values)
    slow, rate = decimate(filled, rate_hz, _MIN_EEG_HZ)
    power = sosfiltfilt(butter(2, _BAND_HZ, btype="bandpass", fs=rate, output="sos"), slow) ** 2
    width = max(1, round(_SMOOTH_S * rate))
    for _ in range(2):
        power = uniform_filter1d(power, width, mode="nearest")
    at = np.arange(length) / ENVELOPE_HZ * rate
    level = np.interp(at, np.arange(len(power)), power)
    recorded = level > level.max() * 1e-12  # below is a flat line and the filter's own rounding
    if gaps.any():
        near = uniform_filter1d(gaps.astype(np.float32), max(1, round(2 * _SMOOTH_S * rate_hz)), mode="nearest")
        recorded &= near[np.minimum((at * (rate_hz / rate)).astype(np.int64), len(gaps) - 1)] < 1e-6
    codes = np.full(length, GAP, np.int8)
    if recorded.any():
        db = 10.0 * np.log10(level[recorded])
        codes[recorded] = np.rint(np.clip(db - np.median(db), -_CLIP_DB, _CLIP_DB) / STEP_DB)
    return Fingerprint("envelope", codes, channel)


def fingerprint(recording: Recording) -> Fingerprint | None:
    """Fingerprint of a recording: from its ECG, else from the first EEG or EOG that says anything.

    One channel is in memory at a time, and nearly always only one is read. ``None`` for what is shorter than ten
    minutes, of which nothing is read, and for what has no channel with patterns enough.

    Raises
    ------
    RecordingError
        When the file cannot be read.
    """
    if recording.duration_s() < MIN_DURATION_S:
        return None
    for channel in CHANNELS:
        made = _of_channel(recording, channel)
        if made is not None and made.telling:
            return made
    return None


def _of_channel(recording: Recording, channel: str) -> Fingerprint | None:
    from hypnos_bench.encoders.features.cardiac import r_peaks

    try:
        signal = recording.signal(channel)
    except RecordingError:
        raise
    except DataError:  # this channel alone cannot be used: the next one is asked
        return None
    if signal is None or signal.rate_hz < (_MIN_ECG_HZ if channel == "ECG" else _MIN_EEG_HZ):
        return None
    if channel != "ECG":
        return envelope_fingerprint(signal.values, signal.rate_hz, channel=channel)
    return rr_fingerprint(r_peaks(signal.values, signal.rate_hz), channel=channel)
