"""From predictions to the numbers of a cell: pooled scores with person-level bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.metrics.registry import metrics_for, score_confusion, score_ranking
from hypnos_bench.spec import TaskSpec
from hypnos_bench.stats.bootstrap import person_bootstrap_confusion, person_bootstrap_ranking

BOOTSTRAP_SEED = 0
"""One seed for all cells: cells that test the same persons share their replicates, so differences are paired."""


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
    proba : ndarray of float64, shape (n, C)
    share : ndarray of float32, shape (n,), optional
        Of windows: the share that the positive class covers.
    """

    recordings: Sequence[str]
    persons: Sequence[str]
    confusion: NDArray[np.int64]
    unit_recording: NDArray[np.int32]
    y_true: NDArray[np.int8]
    y_pred: NDArray[np.int8]
    proba: NDArray[np.float64]
    share: NDArray[np.float32] | None = None

    def score(self, positive: int) -> NDArray[np.float32]:
        """Log-odds of class `positive` per unit, the ranking of a two-class task.

        In float32, because scores are stored so; probabilities would run into ties near 0 and 1.
        """
        p = np.clip(self.proba[:, positive], _TINY, 1 - _TINY)
        log_odds: NDArray[np.float32] = (np.log(p) - np.log1p(-p)).astype(np.float32)
        return log_odds


def pooled_scores(task: TaskSpec, predictions: Predictions, n_boot: int) -> dict[str, dict[str, Any]]:
    """Score a task's metrics over all test units together.

    Returns
    -------
    dict of str to dict
        Metric to ``value``, ``low`` and ``high`` (95 % percentile bootstrap over test persons, all
        recordings of a drawn person together; ``None`` where undefined), ``n_boot`` (replicates in
        which the metric was defined), ``higher_is_better``, and ``per_recording`` (mean, sd and median
        of the metric computed recording by recording, and the number in which it is defined) for
        metrics that come from a confusion matrix.
    """
    person_of_recording, n_persons = _codes(predictions.persons)
    by_person = np.zeros((n_persons, *predictions.confusion.shape[1:]), dtype=np.int64)
    np.add.at(by_person, person_of_recording, predictions.confusion)
    classes, positive = task.classes, task.positive

    def score(confusion: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        return score_confusion(confusion, classes, positive)

    point: dict[str, Any] = score(by_person.sum(axis=0))
    interval = person_bootstrap_confusion(by_person, score, n_boot, BOOTSTRAP_SEED)
    single = score_confusion(predictions.confusion, classes, positive, per_recording=True)
    if positive is not None:
        k = classes.index(positive)
        truth, ranks = predictions.y_true == k, predictions.score(k)
        person = person_of_recording[predictions.unit_recording]
        point |= score_ranking(truth, ranks)
        interval |= person_bootstrap_ranking(truth, ranks, person, n_persons, n_boot, BOOTSTRAP_SEED)
    known = metrics_for(classes, positive)
    scores: dict[str, dict[str, Any]] = {}
    for name in task.metrics:
        found = interval[name]
        scores[name] = {
            "value": _number(float(point[name])),
            "low": found.low if found else None,
            "high": found.high if found else None,
            "n_boot": found.n_valid if found else 0,
            "higher_is_better": known[name].higher_is_better,
        }
        if name in single:
            scores[name]["per_recording"] = _spread(single[name])
    return scores


def _codes(persons: Sequence[str]) -> tuple[NDArray[np.intp], int]:
    names, codes = np.unique(np.asarray(persons), return_inverse=True)
    return codes, len(names)


def _spread(values: NDArray[np.float64]) -> Mapping[str, Any]:
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return {"mean": None, "sd": None, "median": None, "n": 0}
    sd = float(defined.std(ddof=1)) if defined.size > 1 else None
    return {"mean": float(defined.mean()), "sd": sd, "median": float(np.median(defined)), "n": int(defined.size)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
