"""Scores of a predicted quantity, one value per recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.metrics.registry import metrics_for
from hypnos_bench.metrics.regression import Agreement
from hypnos_bench.scoring.entries import F64, draws, entry, person_codes
from hypnos_bench.spec import TaskSpec


@dataclass(frozen=True)
class RegressionPredictions:
    """Test predictions of one cell.

    Parameters
    ----------
    recordings, persons : sequence of str, length R
    fold : ndarray of int32, shape (R,)
        Which fold's fit made the prediction. Errors and R² are of all folds together, because they share the unit of
        the quantity; correlations are within folds.
    y_true, y_pred : ndarray of float64, shape (R,)
    """

    recordings: Sequence[str]
    persons: Sequence[str]
    fold: NDArray[np.int32]
    y_true: NDArray[np.float64]
    y_pred: NDArray[np.float64]


def score_regression(task: TaskSpec, predictions: RegressionPredictions, n_boot: int) -> dict[str, dict[str, Any]]:
    """Score a task's metrics over all test recordings.

    Returns
    -------
    dict of str to dict
        Metric to :func:`~hypnos_bench.scoring.entries.entry`. Intervals are over test persons, all recordings of a
        drawn person together. ``per_recording`` has the absolute errors for ``mae`` and the errors for ``bias``;
        other metrics have no value for one recording.
    """
    agreement, persons = _prepared(predictions)
    weights = draws(len(persons), n_boot)
    point = agreement.score(np.ones(len(persons)))
    replicated = {} if weights is None else agreement.score(weights)
    known = metrics_for((), kind="regression")
    single = recording_errors(predictions)
    return {m: entry(known[m], float(point[m]), replicated.get(m), single.get(m)) for m in task.metrics}


def regression_point(task: TaskSpec, predictions: RegressionPredictions) -> dict[str, float]:
    """A task's metrics over all test recordings; NaN where undefined."""
    agreement, persons = _prepared(predictions)
    scores = agreement.score(np.ones(len(persons)))
    return {metric: float(scores[metric]) for metric in task.metrics}


def regression_replicates(
    task: TaskSpec, predictions: RegressionPredictions, weights: NDArray[np.int64]
) -> dict[str, F64]:
    """A task's metrics in every bootstrap replicate, shape (B,); NaN where undefined.

    Parameters
    ----------
    task : TaskSpec
    predictions : RegressionPredictions
    weights : ndarray of int, shape (B, P)
        How often each person is drawn, persons in the order of their ids; the same for all encoders compared.

    Raises
    ------
    ValueError
        When the number of persons differs from that of the weights.
    """
    agreement, persons = _prepared(predictions)
    if weights.ndim != 2 or weights.shape[1] != len(persons):
        raise ValueError(f"weights of shape {weights.shape} do not fit {len(persons)} persons")
    scores = agreement.score(weights)
    return {metric: scores[metric] for metric in task.metrics}


def recording_errors(predictions: RegressionPredictions) -> dict[str, F64]:
    """Absolute error (``mae``) and error (``bias``) of every recording, shape (R,)."""
    error = np.asarray(predictions.y_pred, dtype=np.float64) - predictions.y_true
    return {"mae": np.abs(error), "bias": error}


def _prepared(predictions: RegressionPredictions) -> tuple[Agreement, list[str]]:
    code, persons = person_codes(predictions.persons)
    return Agreement(predictions.y_true, predictions.y_pred, code, predictions.fold), persons
