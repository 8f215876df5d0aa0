"""Features as the Cox solvers take them: checked, standardised, with the scale every fold has of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.heads.moments import CHUNK_ROWS, F64, Moments, column_moments
from hypnos_bench.heads.rows import as_rows

F32 = NDArray[np.float32]

_ROUNDING = 1e-12  # variance among a fold's rows, relative, that is no more than rounding


@dataclass(frozen=True)
class Standardised:
    """Features less their mean over their standard deviation, by all rows.

    Parameters
    ----------
    z : ndarray of float32, shape (n, d)
        Zero where constant.
    moments : Moments
    """

    z: F32
    moments: Moments


def standardise(x: NDArray[np.floating[Any]]) -> Standardised:
    """Standardise rows in float64 and store them in float32.

    Raises
    ------
    FitError
        When a value is not finite, or no feature varies.
    """
    moments = column_moments(as_rows(x))
    n, d = x.shape
    if moments.constant.all():
        raise FitError(f"none of {d} features varies among {n} training rows: nothing to learn")
    z = np.empty((n, d), dtype=np.float32)
    for low in range(0, n, CHUNK_ROWS):
        z[low : low + CHUNK_ROWS] = moments.standardise(x[low : low + CHUNK_ROWS])
    return Standardised(z, moments)


def fold_scales(z: F32, fold: NDArray[np.intp], n_folds: int) -> F64:
    """Standard deviations of `z` among the rows outside each fold, 1 where they do not vary, shape (n_folds, d)."""
    sums, squares = np.zeros((n_folds, z.shape[1])), np.zeros((n_folds, z.shape[1]))
    for low in range(0, len(z), CHUNK_ROWS):
        block, of = z[low : low + CHUNK_ROWS].astype(np.float64), fold[low : low + CHUNK_ROWS]
        for k in range(n_folds):
            part = block[of == k]
            sums[k] += part.sum(axis=0)
            squares[k] += np.einsum("nd,nd->d", part, part)
    n = len(z) - np.bincount(fold, minlength=n_folds)[:, None]
    mean = (sums.sum(axis=0) - sums) / n
    variance = (squares.sum(axis=0) - squares) / n - mean**2
    return np.where(variance > _ROUNDING * (mean**2 + 1.0), np.sqrt(np.maximum(variance, 0.0)), 1.0)
