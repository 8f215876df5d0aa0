"""One channel as OSF wants it: 64 Hz, unit variance over the recording, clipped; whole epochs, NaN where none is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.osf.layout import EPOCH_SAMPLES, RATE_HZ
from hypnos_bench.signals.base import Signal
from hypnos_bench.signals.gaps import fill_gaps, missing_steps
from hypnos_bench.signals.resample import polyphase
from hypnos_bench.spec import EPOCH_S

RESAMPLERS = ("polyphase", "upstream")
CLIP = 6.0


def condition(signal: Signal, n_epochs: int, storage_hz: float, resampler: str) -> NDArray[np.float32] | str:
    """Resample, z-score over the epochs that were recorded, clip to +-6.

    Samples that are missing are bridged by a line, which goes on flat before the first and after the last. An epoch
    that lacks more than a tenth counts as not recorded.

    Parameters
    ----------
    signal : Signal
        Not constant, with at least one finite sample.
    n_epochs : int
        Whole epochs of the recording.
    storage_hz : float
        Rate of upstream's stored data.
    resampler : str
        ``"polyphase"``, or ``"upstream"``: first to `storage_hz`, then as upstream's loader does it, by a line
        between samples and without a filter. How upstream comes to its stored rates is not published.

    Returns
    -------
    ndarray of float32, shape (n_epochs * 1920,), or str
        NaN for an epoch as a whole where it was not recorded; or the reason why the channel cannot be used.
    """
    n_needed = round(n_epochs * EPOCH_S * signal.rate_hz)
    values = signal.values
    if len(values) < n_needed:
        values = np.concatenate([values, np.full(n_needed - len(values), np.nan)])
    filled, gaps = fill_gaps(values)
    missing = missing_steps(gaps[:n_needed], signal.rate_hz, EPOCH_S)[:n_epochs]
    if missing.all():
        return f"{signal.source}: no epoch was recorded"
    if _flat(filled, missing, signal.rate_hz):  # told before a filter's ripple could pass for a signal
        return f"{signal.source}: constant in every epoch that was recorded"
    # Its offset would leave a step at both ends, where the filter sees zeros.
    resampled = _to_model_rate(filled - filled.mean(), signal.rate_hz, storage_hz, resampler)
    epochs = _whole(resampled, n_epochs).reshape(n_epochs, EPOCH_SAMPLES)
    there = epochs[~missing]
    mean, sd = there.mean(), there.std()
    if not 0 < sd < np.inf:
        return f"{signal.source}: no deviation to scale by (it is {sd:g})"
    scaled: NDArray[np.float32] = np.clip((epochs - mean) / sd, -CLIP, CLIP).astype(np.float32)
    scaled[missing] = np.nan
    return scaled.reshape(-1)


def loader_resample(values: NDArray[np.float64], from_hz: float) -> NDArray[np.float64]:
    """Values on the 64-Hz grid by a line between samples, as upstream's loader does it; 128 Hz: every other one."""
    n = int(np.ceil(len(values) * RATE_HZ / from_hz - 1e-6))
    return np.interp(np.arange(n) / RATE_HZ, np.arange(len(values)) / from_hz, values)


def _flat(values: NDArray[np.float64], missing: NDArray[np.bool_], rate_hz: float) -> bool:
    """Whether the epochs that were recorded hold one value only."""
    edges = np.rint(np.arange(len(missing) + 1) * EPOCH_S * rate_hz).astype(np.int64)
    low, high = (bound.reduceat(values[: edges[-1]], edges[:-1])[~missing] for bound in (np.minimum, np.maximum))
    return bool(low.min() == high.max())


def _to_model_rate(
    values: NDArray[np.float64], rate_hz: float, storage_hz: float, resampler: str
) -> NDArray[np.float64]:
    if resampler == "polyphase":
        return polyphase(values, rate_hz, RATE_HZ)
    return loader_resample(polyphase(values, rate_hz, storage_hz), storage_hz)


def _whole(values: NDArray[np.float64], n_epochs: int) -> NDArray[np.float64]:
    """Exactly so many epochs; the last sample again where rounding of a rate left one out."""
    lacking = n_epochs * EPOCH_SAMPLES - len(values)
    return np.pad(values, (0, lacking), mode="edge") if lacking > 0 else values[: n_epochs * EPOCH_SAMPLES]
