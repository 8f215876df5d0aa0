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
    x = np.asarray(values, dtype=np.float64)
    return RunningZscore(rate_hz, tau_s, *moments(x[: start_samples(rate_hz, tau_s)])).push(x)


def start_samples(rate_hz: float, tau_s: float) -> int:
    """Samples from which `ema_zscore` takes its start values."""
    return max(int(tau_s * rate_hz), 1)


def moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and variance without NaN."""
    return float(np.nanmean(values)), float(np.nanvar(values))


class RunningZscore:
    """The recursion of `ema_zscore` with its state: a signal fed in pieces gives what one pass gives.

    Parameters
    ----------
    rate_hz : float
    tau_s : float
        Time constant of the averages.
    mean, variance : float
        Start values; the variance is at least 1e-6.
    """

    def __init__(self, rate_hz: float, tau_s: float, mean: float, variance: float) -> None:
        self._alpha = float(np.exp(-1.0 / max(tau_s * rate_hz, 1.0)))
        self._unit = _unit_state(self._alpha)
        self._start_mean = mean
        self._mean = np.array([self._unit * mean])
        self._unlimited = np.array([self._unit * max(variance, VARIANCE_FLOOR)])
        self._limited = self._unlimited

    def push(self, x: NDArray[np.float64]) -> NDArray[np.float32]:
        """Z-score of the next samples, any number of them."""
        if not len(x):
            return np.empty(0, np.float32)
        known = np.where(np.isnan(x), self._start_mean, x)
        mean, self._mean = self._average(known, self._mean)
        squared = np.square(known - mean)
        unlimited, self._unlimited = self._average(squared, self._unlimited)
        np.minimum(squared, CLIP_SIGMA**2 * np.maximum(unlimited, VARIANCE_FLOOR), out=squared)
        variance, self._limited = self._average(squared, self._limited)
        return np.asarray((x - mean) / np.sqrt(np.maximum(variance, VARIANCE_FLOOR)), dtype=np.float32)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance as they stand."""
        return float(self._mean[0]) / self._unit, max(float(self._limited[0]) / self._unit, VARIANCE_FLOOR)

    def _average(
        self, samples: NDArray[np.float64], state: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.signal import lfilter

        averaged, state = lfilter([1.0 - self._alpha], [1.0, -self._alpha], samples, zi=state)
        return np.asarray(averaged), state


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
