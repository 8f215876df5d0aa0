"""Polyphase resampling to another rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_DENOMINATOR = 1000  # rates are told apart to a thousandth of a hertz


def polyphase(values: NDArray[Any], from_hz: float, to_hz: float) -> NDArray[Any]:
    """Resample along the first axis with SciPy's polyphase filter; the very same array at an equal rate.

    Parameters
    ----------
    values : ndarray, shape (n_samples,) or (n_samples, n_channels)
    from_hz, to_hz : float
        Need not be whole.

    Returns
    -------
    ndarray, shape (ceil(n_samples * to_hz / from_hz), ...)
        Of the dtype of `values`.

    Raises
    ------
    ValueError
        When a rate is not a positive number.
    """
    if not (0 < from_hz < np.inf and 0 < to_hz < np.inf):
        raise ValueError(f"cannot resample from {from_hz} Hz to {to_hz} Hz: rates must be positive")
    ratio = _rational(to_hz) / _rational(from_hz)
    if ratio == 1:
        return values
    from scipy.signal import resample_poly

    resampled: NDArray[Any] = resample_poly(values, ratio.numerator, ratio.denominator, axis=0)
    return resampled.astype(values.dtype, copy=False)


def resample(values: NDArray[Any], from_hz: float, to_hz: float) -> NDArray[Any]:
    """Resample with `polyphase`; float32 when the rate changes, the very same array when it does not."""
    resampled = polyphase(values, from_hz, to_hz)
    return values if resampled is values else resampled.astype(np.float32)


def _rational(rate_hz: float) -> Fraction:
    return Fraction(rate_hz).limit_denominator(_MAX_DENOMINATOR)
