"""Polyphase resampling to another rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_DENOMINATOR = 1000  # rates are told apart to a thousandth of a hertz
_HALF_LENGTH = 10  # of the low-pass, in periods of the slower rate: the zero crossings of a sinc
_WINDOW = ("kaiser", 5.0)


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
    up, down = factors(from_hz, to_hz)
    if up == down:
        return values
    from scipy.signal import resample_poly

    taps = low_pass(up, down)
    if np.issubdtype(values.dtype, np.floating):
        taps = taps.astype(values.dtype)  # as SciPy does with a filter of its own
    resampled: NDArray[Any] = resample_poly(values, up, down, axis=0, window=taps)
    return resampled.astype(values.dtype, copy=False)


def resample(values: NDArray[Any], from_hz: float, to_hz: float) -> NDArray[Any]:
    """Resample with `polyphase`; float32 when the rate changes, the very same array when it does not."""
    resampled = polyphase(values, from_hz, to_hz)
    return values if resampled is values else resampled.astype(np.float32)


def factors(from_hz: float, to_hz: float) -> tuple[int, int]:
    """Factors (up, down) of a change of rate, in lowest terms.

    Raises
    ------
    ValueError
        When a rate is not a positive number.
    """
    if not (0 < from_hz < np.inf and 0 < to_hz < np.inf):
        raise ValueError(f"cannot resample from {from_hz} Hz to {to_hz} Hz: rates must be positive")
    ratio = _rational(to_hz) / _rational(from_hz)
    return ratio.numerator, ratio.denominator


def low_pass(up: int, down: int) -> NDArray[np.float64]:
    """Low-pass against aliasing at the `up`-fold rate: the symmetric Kaiser FIR of SciPy's ``resample_poly``.

    Returns
    -------
    ndarray of float64, shape (20 * max(up, down) + 1,)
        Unit gain; to be multiplied by `up`.
    """
    from scipy.signal import firwin

    slower = max(up, down)
    return np.asarray(firwin(2 * _HALF_LENGTH * slower + 1, 1.0 / slower, window=_WINDOW))


def _rational(rate_hz: float) -> Fraction:
    return Fraction(rate_hz).limit_denominator(_MAX_DENOMINATOR)
