"""Z-scores that survive artefacts, and the compression of what still sticks out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIP_SIGMA = 6.0
VARIANCE_FLOOR = 1e-6
KNEE = 8.0
SCALE = 2.0
_SD_FLOOR = 1e-8


def ema_zscore(values: NDArray[Any], rate_hz: float, tau_s: float = 60.0) -> NDArray[np.float32]:
    """Z-score by exponential moving averages of mean and variance.

    Both averages start from the first `tau_s` seconds, the only look-ahead. A squared deviation enters the variance
    with at most 36 times the variance that unlimited deviations would have given, so a single artefact cannot flatten
    the minutes after it.

    Parameters
    ----------
    values : ndarray, shape (n_samples,)
        NaN is replaced by the starting mean inside the averages and stays NaN in the result.
    rate_hz : float
    tau_s : float
        Time constant of the averages.

    Returns
    -------
    ndarray of float32, shape (n_samples,)
    """
    from scipy.signal import lfilter

    x = np.asarray(values, dtype=np.float64)
    alpha = float(np.exp(-1.0 / max(tau_s * rate_hz, 1.0)))
    first = x[: max(int(tau_s * rate_hz), 1)]
    mean_0 = float(np.nanmean(first))
    variance_0 = max(float(np.nanvar(first)), VARIANCE_FLOOR)

    def average(samples: NDArray[np.float64], start: float) -> NDArray[np.float64]:
        averaged, _ = lfilter([1.0 - alpha], [1.0, -alpha], samples, zi=np.array([_unit_state(alpha) * start]))
        return np.asarray(averaged)

    known = np.where(np.isnan(x), mean_0, x)
    mean = average(known, mean_0)
    squared = np.square(known - mean)
    unlimited = np.maximum(average(squared, variance_0), VARIANCE_FLOOR)
    np.minimum(squared, CLIP_SIGMA**2 * unlimited, out=squared)
    variance = np.maximum(average(squared, variance_0), VARIANCE_FLOOR)
    return np.asarray((x - mean) / np.sqrt(variance), dtype=np.float32)


def _unit_state(alpha: float) -> float:
    """Filter state after an endless input of ones; alpha but for rounding, which must be the reference's."""
    from scipy.signal import lfilter_zi

    return float(lfilter_zi([1.0 - alpha], [1.0, -alpha])[0])


def winsorised_zscore(values: NDArray[Any]) -> NDArray[np.float32]:
    """Z-score of a whole recording, mean and deviation taken after clipping at the 1st and 99th percentile."""
    low, high = np.nanquantile(values, [0.01, 0.99], axis=0)
    clipped = np.clip(values, low, high)
    mean, sd = np.mean(clipped, axis=0), np.std(clipped, axis=0)
    return np.asarray((values - mean) / np.where(sd > _SD_FLOOR, sd, _SD_FLOOR), dtype=np.float32)


def compress(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithm beyond 8: ``8 + 2 log1p((|z| - 8) / 2)`` with the sign kept; continuous, with a continuous slope."""
    out = z.copy()
    beyond = np.abs(z) > KNEE
    excess = np.abs(z[beyond]) - np.float32(KNEE)
    out[beyond] = np.copysign(KNEE + SCALE * np.log1p(excess / SCALE), z[beyond])
    return out
