"""Butterworth and notch filters, forward only or zero-phase.

The forward filters start in the steady state that belongs to the first sample, so that an offset does not ring.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDER = 4
NOTCH_Q = 30.0


def butterworth(low_hz: float, high_hz: float | None, rate_hz: float) -> NDArray[np.float64]:
    """Second-order sections of a 4th-order Butterworth band-pass, or high-pass when `high_hz` is ``None``.

    Returns
    -------
    ndarray of float64, shape (n_sections, 6)
    """
    from scipy.signal import butter

    if high_hz is None:
        sos = butter(ORDER, low_hz, btype="highpass", fs=rate_hz, output="sos")
    else:
        sos = butter(ORDER, [low_hz, high_hz], btype="bandpass", fs=rate_hz, output="sos")
    return np.asarray(sos)


def notch(frequency_hz: float, rate_hz: float) -> NDArray[np.float64]:
    """Second-order section of a notch with quality 30, shape (1, 6)."""
    from scipy.signal import iirnotch, tf2sos

    return np.asarray(tf2sos(*iirnotch(frequency_hz, NOTCH_Q, rate_hz)))


def forward(sos: NDArray[np.float64], values: NDArray[Any]) -> NDArray[Any]:
    """Filter causally: sample t of the result depends on samples up to t only.

    Parameters
    ----------
    sos : ndarray, shape (n_sections, 6)
    values : ndarray, shape (n_samples,)
    """
    return ForwardFilter(sos).push(values)


class ForwardFilter:
    """Causal filter that carries its state: a signal fed in pieces gives what :func:`forward` gives for all of it.

    Parameters
    ----------
    sos : ndarray, shape (n_sections, 6)
    """

    def __init__(self, sos: NDArray[np.float64]) -> None:
        self._sos = sos
        self._state: NDArray[np.float64] | None = None

    def push(self, values: NDArray[Any]) -> NDArray[Any]:
        """Filter the next samples, any number of them; of the dtype of `values`."""
        from scipy.signal import sosfilt, sosfilt_zi

        if not len(values):
            return values
        if self._state is None:
            self._state = sosfilt_zi(self._sos) * values[0]
        filtered, self._state = sosfilt(self._sos, values, zi=self._state)
        return np.asarray(filtered, dtype=values.dtype)


def zero_phase(sos: NDArray[np.float64], values: NDArray[Any]) -> NDArray[Any]:
    """Filter forward and backward: no delay, but every sample depends on later ones."""
    from scipy.signal import sosfiltfilt

    return np.asarray(sosfiltfilt(sos, values), dtype=values.dtype)
