"""Regression: a number that belongs to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.registry import HEADS
from hypnos_bench.heads.regression_rows import RegressionRows
from hypnos_bench.heads.rows import RowSource
from hypnos_bench.probe.data import Indices, ProbeData
from hypnos_bench.probe.kind import Job, Scored, in_memory
from hypnos_bench.scoring.regression import RegressionPredictions, score_regression
from hypnos_bench.store.side import RegressionSide


def fit(job: Job, data: ProbeData, x: RowSource, train: Indices, person: NDArray[np.int64]) -> Any:
    """Fit the cell's head on training rows; `person` are codes of families."""
    rows = RegressionRows(
        x=in_memory(x),
        y=np.asarray(data.targets.y)[train].astype(np.float64),
        person=person,
        recording=data.recording_of_row[train].astype(np.int64),
    )
    return HEADS.load(job.head.id)(rows, job.settings)


def predict(job: Job, fitted: Any, x: RowSource) -> NDArray[np.float64]:
    """Predicted numbers of test rows."""
    predicted: NDArray[np.float64] = fitted.predict(in_memory(x))
    return predicted


def score(job: Job, data: ProbeData, tested: Sequence[Indices], pieces: Sequence[NDArray[np.float64]]) -> Scored:
    """Score the test rows of all folds together."""
    rows = np.concatenate(tested)
    order = np.argsort(rows, kind="stable")
    fold = np.repeat(np.arange(len(tested)), [len(index) for index in tested])[order].astype(np.int32)
    rows = rows[order]
    shown = data.recording_of_row[rows]
    predictions = RegressionPredictions(
        recordings=[data.recordings[i] for i in shown],
        persons=[data.persons[i] for i in shown],
        fold=fold,
        y_true=np.asarray(data.targets.y, dtype=np.float64)[rows],
        y_pred=np.concatenate(pieces)[order],
    )
    side = RegressionSide(predictions.recordings, predictions.persons, fold, predictions.y_true, predictions.y_pred)
    return Scored(score_regression(job.task, predictions, job.bootstrap), (), side)
