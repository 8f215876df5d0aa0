"""Scores of class predictions: over all test units together, recording by recording, and in bootstrap replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.metrics.ranking import Ranking, grouped_ranking
from hypnos_bench.metrics.registry import classes_to_rank, metrics_for, score_confusion, score_rankings
from hypnos_bench.scoring.entries import F64, draws, entry, person_codes
from hypnos_bench.spec import TaskSpec
from hypnos_bench.store.side import ClassificationSide

_TINY = 1e-15


@dataclass(frozen=True)
class Predictions:
    """Test predictions of one cell, units sorted by recording.

    Parameters
    ----------
    recordings, persons : sequence of str, length R
    confusion : ndarray of int64, shape (R, C, C), rows are truth
    unit_recording : ndarray of int32, shape (n,)
    y_true, y_pred : ndarray of int8, shape (n,)
    proba : ndarray of float, shape (n, C)
    share : ndarray of float32, shape (n,), optional
        Of windows: the share that the positive class covers.
    stored : mapping of int to ndarray of float32, shape (n,), optional
        Scores by class that a side file kept, in place of those that `proba` would give.
    fold : ndarray of int, shape (n,), optional
        Which fold's fit made the prediction; ``None`` where one made them all. AUROC compares units of one fold only,
        everything else is of all folds together.
    """

    recordings: Sequence[str]
    persons: Sequence[str]
    confusion: NDArray[np.int64]
    unit_recording: NDArray[np.int32]
    y_true: NDArray[np.int8]
    y_pred: NDArray[np.int8]
    proba: NDArray[np.floating[Any]]
    share: NDArray[np.float32] | None = None
    stored: Mapping[int, NDArray[np.float32]] | None = None
    fold: NDArray[np.integer[Any]] | None = None

    @classmethod
    def of_side(cls, side: ClassificationSide, positive: int | None) -> Predictions:
        """What a cell's side file keeps.

        Where it keeps the score of class `positive`, everything is as it was when the cell was made. Where it keeps
        probabilities, these are rounded to float16: rankings differ by the ties that this makes.

        Raises
        ------
        ValueError
            When it keeps a score and `positive` does not say whose.
        """
        stored = None
        if side.score is not None:
            if positive is None or side.confusion.shape[-1] != 2:
                raise ValueError("a side file with a score is of two classes, one of them positive")
            stored = {positive: side.score, 1 - positive: -side.score}
            odds = np.stack([stored[0], stored[1]], axis=1).astype(np.float64)
            proba: NDArray[np.floating[Any]] = np.exp(-np.logaddexp(0.0, -odds))
        elif side.proba is not None:
            proba = side.proba
        else:
            raise ValueError("a side file keeps a score or probabilities, this one neither")
        return cls(
            side.recordings, side.persons, side.confusion, side.unit_recording, side.y_true, side.y_pred, proba,
            side.share, stored, side.fold,
        )  # fmt: skip

    def score(self, k: int) -> NDArray[np.float32]:
        """Log-odds of class `k` against the rest per unit, by which units are ranked.

        In float32, because scores are stored so; probabilities would run into ties near 0 and 1.
        """
        if self.stored is not None:
            return self.stored[k]
        p = np.clip(self.proba[:, k].astype(np.float64), _TINY, 1 - _TINY)
        log_odds: NDArray[np.float32] = (np.log(p) - np.log1p(-p)).astype(np.float32)
        return log_odds


def pooled_scores(task: TaskSpec, predictions: Predictions, n_boot: int) -> dict[str, dict[str, Any]]:
    """Score a task's metrics over all test units together.

    Returns
    -------
    dict of str to dict
        Metric to :func:`~hypnos_bench.scoring.entries.entry`. Intervals are over test persons, all recordings of a
        drawn person together. ``per_recording`` is left out where a recording is a single unit, and of OSF's metrics.
    """
    boot = _Pooled(task, predictions)
    weights = draws(len(boot.persons), n_boot)
    point = boot.point()
    replicated = {} if weights is None else boot.replicates(weights)
    single = {} if task.by_person else recording_scores(task, predictions)
    known = metrics_for(task.classes, task.positive)
    present = predictions.confusion.sum(axis=(0, 2)) > 0
    absent = [name for name, there in zip(task.classes, present, strict=True) if not there]
    return {m: entry(known[m], point[m], replicated.get(m), single.get(m), absent) for m in task.metrics}


def point_scores(task: TaskSpec, predictions: Predictions) -> dict[str, float]:
    """A task's metrics over all test units together; NaN where undefined."""
    return _Pooled(task, predictions).point()


def replicates(task: TaskSpec, predictions: Predictions, weights: NDArray[np.int64]) -> dict[str, F64]:
    """A task's metrics in every bootstrap replicate, to form differences of encoders that tested the same persons.

    Parameters
    ----------
    task : TaskSpec
    predictions : Predictions
    weights : ndarray of int, shape (B, P)
        How often each person is drawn, persons in the order of their ids (:func:`person_codes`); the same for all
        encoders compared, such as :func:`~hypnos_bench.scoring.entries.draws`.

    Returns
    -------
    dict of str to ndarray of shape (B,)
        NaN where undefined. Values from confusion matrices are exact; rankings of many units are as exact as
        :meth:`~hypnos_bench.metrics.ranking.Ranking.replicates` says.

    Raises
    ------
    ValueError
        When the number of persons differs from that of the weights.
    """
    return _Pooled(task, predictions).replicates(weights)


def recording_scores(task: TaskSpec, predictions: Predictions) -> dict[str, F64]:
    """A task's metrics recording by recording, shape (R,); NaN where undefined, without OSF's metrics."""
    classes, positive = task.classes, task.positive
    scores = score_confusion(predictions.confusion, classes, positive, per_recording=True)
    ranked = {
        k: grouped_ranking(
            predictions.y_true == k,
            predictions.score(k),
            predictions.unit_recording,
            len(predictions.recordings),
            predictions.fold,
        )
        for k in classes_to_rank(task.metrics, classes, positive)
    }
    scores |= score_rankings(ranked, classes, positive, per_recording=True)
    return {metric: scores[metric] for metric in task.metrics if metric in scores}


class _Pooled:
    """Counts by person and units by rank, made once for the value and its replicates."""

    def __init__(self, task: TaskSpec, predictions: Predictions) -> None:
        self._task = task
        code, self.persons = person_codes(predictions.persons)
        self._counts = np.zeros((len(self.persons), *predictions.confusion.shape[1:]), dtype=np.int64)
        np.add.at(self._counts, code, predictions.confusion)
        person = code.astype(np.int32)[predictions.unit_recording]
        self._rankings = {
            k: Ranking(predictions.y_true == k, predictions.score(k), person, predictions.fold)
            for k in classes_to_rank(task.metrics, task.classes, task.positive)
        }

    def point(self) -> dict[str, float]:
        everyone = np.ones(len(self.persons))
        ranked = {k: ranking.score(everyone) for k, ranking in self._rankings.items()}
        return {metric: float(value) for metric, value in self._named(self._counts.sum(axis=0), ranked).items()}

    def replicates(self, weights: NDArray[np.int64]) -> dict[str, F64]:
        if weights.ndim != 2 or weights.shape[1] != len(self.persons):
            raise ValueError(f"weights of shape {weights.shape} do not fit {len(self.persons)} persons")
        # Counts stay below 2**53, so the float product is exact and far faster than the integer one.
        flat = self._counts.reshape(len(self.persons), -1).astype(np.float64)
        pooled = np.rint(weights.astype(np.float64) @ flat).astype(np.int64)
        ranked = {k: ranking.replicates(weights) for k, ranking in self._rankings.items()}
        return self._named(pooled.reshape(len(weights), *self._counts.shape[1:]), ranked)

    def _named(self, confusion: NDArray[np.int64], ranked: Mapping[int, tuple[F64, F64]]) -> dict[str, F64]:
        task = self._task
        scores = score_confusion(confusion, task.classes, task.positive)
        scores |= score_rankings(ranked, task.classes, task.positive)
        return {metric: scores[metric] for metric in task.metrics}
