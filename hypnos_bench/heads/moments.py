"""Standardisation by the training rows, for rows that may lie on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError, FitError
from hypnos_bench.heads.rows import RowSource, blocks

F64 = NDArray[np.float64]
Features = NDArray[np.floating[Any]] | RowSource
"""Rows to predict from: in memory, or wherever a source has them."""

CHUNK_ROWS = 4096
_FLOAT32_ULP = 2.0**-23


@dataclass(frozen=True)
class Moments:
    """Column means, population standard deviations, and which columns do not vary.

    A column that varies by less than float32 can tell apart is constant: its scale is 1 here, and `standardise`
    turns it into zeros, also for rows in which it has another value, because nothing was learned about it.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (d,)
    constant : ndarray of bool, shape (d,)
    """

    mean: F64
    scale: F64
    constant: NDArray[np.bool_]

    @property
    def inverse(self) -> F64:
        """What centred columns are multiplied with: 1 / scale, and 0 for constant columns."""
        return np.where(self.constant, 0.0, 1.0 / self.scale)

    def standardise(self, x: NDArray[np.floating[Any]]) -> F64:
        """Rows in units of the training rows' standard deviation, float64."""
        z: F64 = (x.astype(np.float64) - self.mean) * self.inverse
        return z

    def standardise_checked(self, x: Features, head: str) -> Iterator[tuple[int, F64]]:
        """Standardised chunks of rows to predict from, each with the number of its first row.

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        if len(x.shape) != 2 or x.shape[1] != self.mean.size:
            raise DataError(f"{head} was fitted on {self.mean.size} features, got rows of shape {x.shape}")
        for low, block in _pieces(x):
            if not np.isfinite(block).all():
                raise DataError(f"cannot predict from non-finite features (rows {low} and on); embed them again")
            yield low, self.standardise(block)


def _pieces(x: Features) -> Iterator[tuple[int, NDArray[np.floating[Any]]]]:
    if isinstance(x, np.ndarray):
        return ((low, x[low : low + CHUNK_ROWS]) for low in range(0, len(x), CHUNK_ROWS))
    return blocks(x, CHUNK_ROWS)


def column_moments(rows: RowSource, kept: NDArray[np.bool_] | None = None) -> Moments:
    """Means and standard deviations of the rows in `kept` (default: all); every row must be finite.

    Two passes, in float64. Sums run over differences to the first kept row, so that a constant column gives
    exactly zero.

    Raises
    ------
    FitError
        When rows, kept or not, hold NaN or infinity; says how many, and in how many features.
    """
    n, d = rows.shape
    use = np.ones(n, dtype=bool) if kept is None else kept
    first: F64 | None = None
    total, n_kept = np.zeros(d), int(use.sum())
    bad_rows, bad_features = 0, np.zeros(d, dtype=bool)
    for low, block in blocks(rows, CHUNK_ROWS):
        bad = ~np.isfinite(block)
        if bad.any():
            bad_rows += int(bad.any(axis=1).sum())
            bad_features |= bad.any(axis=0)
        mine = block[use[low : low + len(block)]].astype(np.float64)
        if len(mine) and not bad_rows:
            first = mine[0] if first is None else first
            total += (mine - first).sum(axis=0)
    if bad_rows:
        raise FitError(
            f"{bad_rows} of {n} training rows hold NaN or infinity, in {int(bad_features.sum())} of {d} features; "
            "embed those recordings again or exclude them"
        )
    if first is None:
        raise FitError("there are no training rows")
    mean = first + total / n_kept
    squares = np.zeros(d)
    for low, block in blocks(rows, CHUNK_ROWS):
        centred = block[use[low : low + len(block)]] - mean
        squares += np.einsum("nd,nd->d", centred, centred)
    sd = np.sqrt(squares / n_kept)
    constant = sd <= _FLOAT32_ULP * np.abs(mean)
    return Moments(mean, np.where(constant, 1.0, sd), constant)
