"""From predictions to the numbers of a cell: pooled scores with person-level bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Predictions:
    """Test predictions of one cell, units sorted by recording.

    Parameters
    ----------
    recordings, persons : sequence of str, length R
    confusion : ndarray of int64, shape (R, C, C), rows are truth
    unit_recording : ndarray of int32, shape (n,)
    y_true, y_pred : ndarray of int8, shape (n,)
    proba : ndarray of float32, shape (n, C)
    """

    recordings: Sequence[str]
    persons: Sequence[str]
    confusion: NDArray[np.int64]
    unit_recording: NDArray[np.int32]
    y_true: NDArray[np.int8]
    y_pred: NDArray[np.int8]
    proba: NDArray[np.float32]

    def score(self, positive: int) -> NDArray[np.float32]:
        """Probability of class `positive` per unit, the ranking of a two-class task."""
        return np.ascontiguousarray(self.proba[:, positive])



def pooled_scores(task: Any, predictions: Predictions, n_boot: int) -> dict[str, Any]:
    raise NotImplementedError
