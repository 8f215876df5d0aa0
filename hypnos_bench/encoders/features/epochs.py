"""Cutting a channel into 30-s epochs, and what an epoch may be used for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.signals.gaps import MAX_BRIDGED
from hypnos_bench.spec import EPOCH_S

Floats = NDArray[np.float64]

_TO_MICROVOLT = {"v": 1e6, "mv": 1e3, "uv": 1.0, "nv": 1e-3}


def microvolts(values: Floats, unit: str) -> Floats:
    """Convert to µV by the file's own unit; an unknown unit (blank, arbitrary) is taken as it is.

    Not for a channel without calibration: see `signals.base.UNCALIBRATED`.
    """
    key = unit.strip().casefold().replace("\u00b5", "u").replace("\u03bc", "u")
    return values * _TO_MICROVOLT.get(key, 1.0)


def decimate(values: Floats, rate_hz: float, floor_hz: float) -> tuple[Floats, float]:
    """Lower the rate by the largest whole factor that keeps at least `floor_hz` (polyphase, no phase shift)."""
    from scipy.signal import resample_poly

    factor = int(rate_hz / floor_hz + 1e-9)
    if factor <= 1:
        return values, rate_hz
    return np.asarray(resample_poly(values, 1, factor), dtype=np.float64), rate_hz / factor


def epoch_frames(values: NDArray[Any], rate_hz: float, n_epochs: int) -> NDArray[Any]:
    """Stack whole epochs, shape (k, samples) with k <= `n_epochs`: a channel may end before its recording.

    At rates where 30 s are no whole number of samples, epochs start at the nearest sample and one sample may be lost.
    """
    width = int(EPOCH_S * rate_hz + 1e-6)
    starts = np.rint(np.arange(n_epochs) * EPOCH_S * rate_hz).astype(np.int64)
    starts = starts[starts + width <= len(values)]
    if starts.size == 0:
        return np.empty((0, width), values.dtype)
    frames: NDArray[Any] = np.lib.stride_tricks.sliding_window_view(values, width)[starts]
    return frames


def gappy_epochs(gaps: NDArray[np.bool_], rate_hz: float, n_epochs: int) -> NDArray[np.bool_]:
    """Whole epochs of which more than a tenth of the samples had to be bridged, shape (k,) as `epoch_frames`."""
    return np.asarray(epoch_frames(gaps, rate_hz, n_epochs).mean(axis=1) > MAX_BRIDGED)


def events_per_epoch(times_s: Floats, n_epochs: int, margin_s: float = 0.0) -> list[slice]:
    """Slices of sorted `times_s` that fall into each epoch widened by `margin_s` on both sides."""
    starts = np.arange(n_epochs) * EPOCH_S
    first = np.searchsorted(times_s, starts - margin_s, side="left")
    stop = np.searchsorted(times_s, starts + EPOCH_S + margin_s, side="left")
    return [slice(int(a), int(b)) for a, b in zip(first, stop, strict=True)]
