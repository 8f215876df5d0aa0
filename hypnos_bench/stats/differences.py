"""Differences as whole numbers, so that ties, zeros and sums are exact whatever float noise the scores carry."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import DataError

F64 = NDArray[np.float64]
Whole = NDArray[np.int64]

DECIMALS = 10
"""Differences closer than this are float noise: 0.1 + 0.2 - 0.3 is a zero, and noise must not break ties."""

PER_ONE = 10**DECIMALS
"""Units of a difference of one."""

_MOST = 2.0**61  # twice the sum of all absolute differences stays a whole number of 64 bits


def paired_rows(a: ArrayLike, b: ArrayLike) -> tuple[F64, F64]:
    """Two equally long rows of scores as float64.

    Raises
    ------
    ValueError
        When shapes differ or are not (n,).
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"paired scores must be two equally long rows, got {left.shape} and {right.shape}")
    return left, right


def whole_differences(a: F64, b: F64) -> tuple[Whole, NDArray[np.bool_]]:
    """Return a - b in units of 1e-10 (0 where undefined), and where a pair is undefined because a side is NaN.

    Raises
    ------
    DataError
        When a score is infinite, or the differences of a row add up to more than about 2.3e8 in absolute value.
    """
    if np.isinf(a).any() or np.isinf(b).any():
        raise DataError("paired scores: a score is infinite; make it NaN (undefined) or mend the metric")
    differences = a - b
    undefined = np.isnan(differences)
    scaled = np.where(undefined, 0.0, differences) * PER_ONE
    if scaled.size and np.abs(scaled).sum(axis=-1).max() > _MOST:
        raise DataError("paired scores: differences too large for exact ranking; express the scores in a larger unit")
    return np.rint(scaled).astype(np.int64), undefined
