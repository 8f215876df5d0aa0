"""Cutting a channel into 30-s epochs, and what an epoch may be used for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.spec import EPOCH_S

Floats = NDArray[np.float64]

_TO_MICROVOLT = {"v": 1e6, "mv": 1e3, "uv": 1.0, "nv": 1e-3}


def microvolts(values: Floats, unit: str) -> Floats:
    """Convert to µV by the file's own unit; an unknown unit (blank, arbitrary) is taken as it is."""
    key = unit.strip().casefold().replace("\u00b5", "u").replace("\u03bc", "u")
    return values * _TO_MICROVOLT.get(key, 1.0)


def fill_gaps(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Bridge NaN and infinity linearly, so that no filter spreads them; also return where they were."""
    gaps = ~np.isfinite(values)
    if not gaps.any():
        return values, gaps
    if gaps.all():
        return np.zeros_like(values), gaps
    index = np.arange(len(values))
    return np.interp(index, index[~gaps], values[~gaps]), gaps


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


def events_per_epoch(times_s: Floats, n_epochs: int, margin_s: float = 0.0) -> list[slice]:
    """Slices of sorted `times_s` that fall into each epoch widened by `margin_s` on both sides."""
    starts = np.arange(n_epochs) * EPOCH_S
    first = np.searchsorted(times_s, starts - margin_s, side="left")
    stop = np.searchsorted(times_s, starts + EPOCH_S + margin_s, side="left")
    return [slice(int(a), int(b)) for a, b in zip(first, stop, strict=True)]
