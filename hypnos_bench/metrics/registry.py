"""Metric ids, what each means, and scoring by id.

Ids: ``accuracy``, ``balanced-accuracy``, ``macro-f1``, ``kappa``, ``f1-<class>`` (one per class,
lower case), and for tasks with a positive class ``sensitivity``, ``specificity``, ``f1``, ``auroc``, ``auprc``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics import classification as c
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import TaskSpec


@dataclass(frozen=True)
class Metric:
    """What a reader must know about a metric; `needs` says what it is computed from."""

    id: str
    title: str
    definition: str
    needs: Literal["confusion", "score"] = "confusion"
    positive: bool = False  # only for tasks with a positive class
    higher_is_better: bool = True


METRICS: Mapping[str, Metric] = {
    m.id: m
    for m in (
        Metric("accuracy", "Accuracy", "Share of units called correctly, pooled over recordings."),
        Metric("balanced-accuracy", "Balanced accuracy", "Mean recall over the classes present in truth."),
        Metric(
            "macro-f1",
            "Macro F1",
            "Unweighted mean of the classes' F1. Pooled: over the full label space, a class in neither truth nor "
            "prediction counts as 0. Per recording: over classes present in truth or prediction.",
        ),
        Metric(
            "kappa",
            "Cohen's kappa",
            "(p_o - p_e) / (1 - p_e), unweighted; undefined when truth and prediction hold one and the same class.",
        ),
        Metric("sensitivity", "Sensitivity", "Recall of the positive class.", positive=True),
        Metric("specificity", "Specificity", "Share of negative units not called positive.", positive=True),
        Metric("f1", "F1", "F1 of the positive class.", positive=True),
        Metric("auroc", "AUROC", "Area under the ROC curve: Mann-Whitney, ties count half.", "score", True),
        Metric(
            "auprc",
            "AUPRC",
            "Average precision of the positive class: sum of recall steps x precision, no interpolation.",
            "score",
            True,
        ),
    )
}
"""Metrics with fixed ids; per-class F1 are made by `metrics_for`."""


def class_f1_id(name: str) -> str:
    """Id of a class's F1: ``"f1-n1"``."""
    return f"f1-{name.lower()}"


def metrics_for(classes: Sequence[str], positive: str | None = None) -> dict[str, Metric]:
    """All metrics that make sense for these classes, by id.

    Raises
    ------
    UsageError
        When `positive` is not a class, or two classes share a per-class id.
    """
    if positive is not None and positive not in classes:
        raise UsageError(f"positive class {positive!r} is not one of {', '.join(classes)}")
    known = {i: m for i, m in METRICS.items() if positive is not None or not m.positive}
    for name in classes:
        metric = class_f1_id(name)
        if metric in known:
            raise UsageError(f"two classes would share the metric id {metric}: rename class {name!r}")
        known[metric] = Metric(metric, f"F1 of {name}", "F1 of one class; undefined when it is nowhere.")
    return known


def check_metrics(task: TaskSpec) -> None:
    """Raise ``UsageError`` when `task` asks for a metric that does not exist or does not fit its classes."""
    known = metrics_for(task.classes, task.positive)
    for metric in task.metrics:
        if metric in known:
            continue
        if metric in METRICS:
            raise UsageError(f"task {task.id}: metric {metric!r} needs a positive class; set 'positive' in the task")
        raise UsageError(
            f"task {task.id}: unknown metric {metric!r}.{did_you_mean(metric, known)} Known: {', '.join(known)}"
        )


def score_confusion(
    conf: NDArray[Any], classes: Sequence[str], positive: str | None = None, *, per_recording: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Every metric that needs a confusion matrix, by id.

    Parameters
    ----------
    conf : ndarray, shape (..., C, C)
        Rows are truth. Pooled, per recording or per bootstrap replicate.
    classes : sequence of str
    positive : str, optional
    per_recording : bool
        Use the per-recording rule of macro-F1.

    Returns
    -------
    dict of str to ndarray of shape (...)
        0-d for one matrix: ``float()`` makes a number. NaN where undefined.
    """
    if conf.shape[-2:] != (len(classes), len(classes)):
        raise ValueError(f"confusion of shape {conf.shape} does not fit {len(classes)} classes")
    f1 = c.class_f1(conf)
    scores = {
        "accuracy": c.accuracy(conf),
        "balanced-accuracy": c.balanced_accuracy(conf),
        "macro-f1": c.macro_f1(conf, per_recording=per_recording),
        "kappa": c.cohens_kappa(conf),
    }
    for k, name in enumerate(classes):
        scores[class_f1_id(name)] = np.asarray(f1[..., k])
    if positive is not None:
        k = list(classes).index(positive)
        scores |= {
            "sensitivity": c.sensitivity(conf, k),
            "specificity": c.specificity(conf, k),
            "f1": np.asarray(f1[..., k]),
        }
    return scores


def score_ranking(y_true: ArrayLike, score: ArrayLike) -> dict[str, float]:
    """``auroc`` and ``auprc`` of one score against a boolean truth; NaN where undefined."""
    area, precision = c.Ranking(y_true, score).score(np.ones(1))
    return {"auroc": float(area), "auprc": float(precision)}
