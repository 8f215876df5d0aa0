"""A linear model on standardised features, applied to rows in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError
from hypnos_bench.heads.rows import RowSource, as_rows, blocks
from hypnos_bench.heads.table import F64

_BLOCK_ROWS = 512


def linear_scores(
    x: NDArray[np.floating[Any]] | RowSource, mean: F64, scale: F64, weights: F64, intercepts: F64, head: str
) -> Iterator[tuple[slice, F64]]:
    """Rows and their scores ``weights @ (x - mean) / scale + intercepts``, block by block.

    Products are float32, as in fitting; everything after them is float64.

    Raises
    ------
    DataError
        When `x` has another width than the training rows, or holds NaN or infinity.
    """
    if len(x.shape) != 2 or x.shape[1] != mean.size:
        raise DataError(f"{head} was fitted on {mean.size} features, got rows of shape {tuple(x.shape)}")
    centre = mean.astype(np.float32)
    w = weights / scale
    b = intercepts - w @ (mean - centre)
    columns = w.T.astype(np.float32)
    for start, block in blocks(as_rows(x), _BLOCK_ROWS):
        with np.errstate(over="ignore", invalid="ignore"):
            block -= centre
            scores = (block @ columns).astype(np.float64)
        scores += b
        # A product of infinity and an exact zero is NaN too: every bad value shows.
        if not np.isfinite(scores).all():
            raise DataError(f"cannot predict from non-finite features (rows {start} and on); embed them again")
        yield slice(start, start + len(block)), scores


def softmax_rows(scores: F64) -> F64:
    """Probabilities from scores, shape (n, classes)."""
    p: F64 = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p
