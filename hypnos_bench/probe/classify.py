"""Classification: the class of a unit, or of a person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.heads.base import FittedHead, TrainingRows
from hypnos_bench.heads.registry import HEADS
from hypnos_bench.heads.rows import RowSource
from hypnos_bench.metrics.classification import confusion_matrices
from hypnos_bench.probe.data import Indices, ProbeData
from hypnos_bench.probe.kind import Job, Scored
from hypnos_bench.scoring.classification import Predictions, pooled_scores
from hypnos_bench.spec import TaskSpec
from hypnos_bench.store.side import ClassificationSide


def fit(job: Job, data: ProbeData, x: RowSource, train: Indices, person: NDArray[np.int64]) -> FittedHead:
    """Fit the cell's head on training rows; `person` are codes of families."""
    y = np.asarray(data.targets.y)[train].astype(np.int64)
    if (y == y[0]).all():  # heads refuse it too, but cannot name the class
        raise FitError(
            f"all {len(y)} training {job.task.unit}s of {len(np.unique(person))} person(s) are "
            f"{job.task.classes[y[0]]}: nothing to learn; use more shots or other seeds"
        )
    rows = TrainingRows(
        x=x, y=y, person=person, recording=data.recording_of_row[train].astype(np.int64),
        n_classes=len(job.task.classes),
    )  # fmt: skip
    fitted: FittedHead = HEADS.load(job.head.id)(rows, job.settings)
    return fitted


def predict(job: Job, fitted: FittedHead, x: RowSource) -> NDArray[np.float64]:
    """Class probabilities of test rows."""
    return fitted.predict_proba(x)


def score(job: Job, data: ProbeData, tested: Sequence[Indices], pieces: Sequence[NDArray[np.float64]]) -> Scored:
    """Score the test rows of all folds together; folds never share one, so pooling them repeats nothing."""
    rows = np.concatenate(tested)
    order = np.argsort(rows, kind="stable")
    rows, proba, fold = rows[order], np.concatenate(pieces)[order], _fold(tested, order)
    shown, unit_recording = np.unique(data.recording_of_row[rows], return_inverse=True)
    y_true, y_pred = np.asarray(data.targets.y)[rows], proba.argmax(axis=1)
    confusion = confusion_matrices(y_true, y_pred, unit_recording, len(shown), len(job.task.classes))
    predictions = Predictions(
        recordings=[data.recordings[i] for i in shown],
        persons=[data.persons[i] for i in shown],
        confusion=confusion,
        unit_recording=unit_recording.astype(np.int32),
        y_true=y_true.astype(np.int8),
        y_pred=y_pred.astype(np.int8),
        proba=proba,
        share=None if data.share is None else data.share[rows],
        fold=fold,
    )
    return Scored(pooled_scores(job.task, predictions, job.bootstrap), (), _side(job.task, predictions, fold))


def _fold(tested: Sequence[Indices], order: Indices) -> NDArray[np.int8] | NDArray[np.int32] | None:
    """Fold of each test row in this order; a leaky split may put the epochs of one recording into several."""
    if sum(len(index) > 0 for index in tested) < 2:
        return None
    fold = np.repeat(np.arange(len(tested), dtype=np.int32), [len(index) for index in tested])[order]
    return fold.astype(np.int8) if len(tested) <= np.iinfo(np.int8).max else fold


def _side(
    task: TaskSpec, predictions: Predictions, fold: NDArray[np.int8] | NDArray[np.int32] | None
) -> ClassificationSide:
    """What is kept per recording and unit: a ranked task keeps its score in full, others rounded probabilities."""
    ranked = task.positive is not None
    return ClassificationSide(
        recordings=predictions.recordings,
        persons=predictions.persons,
        confusion=predictions.confusion,
        unit_recording=predictions.unit_recording,
        y_true=predictions.y_true,
        y_pred=predictions.y_pred,
        proba=None if ranked else predictions.proba.astype(np.float16),
        score=predictions.score(task.classes.index(task.positive)) if task.positive is not None else None,
        share=predictions.share,
        fold=fold,
    )
