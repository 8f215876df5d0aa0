"""Classification metrics from confusion matrices. Those of scores that rank: ``ranking.py``.

Everything broadcasts over leading axes, so that a bootstrap is ``weights (B, P) @ matrices (P, C*C)``
followed by one call. Rows of a confusion matrix are truth, columns are predictions. A value that is
not defined is NaN, never a default.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.metrics._arrays import F64, mean_defined, ratio

Counts = NDArray[Any]


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Counts of truth x prediction, shape (C, C) int64."""
    one_group = np.zeros(np.shape(y_true), dtype=np.int64)
    matrix: NDArray[np.int64] = confusion_matrices(y_true, y_pred, one_group, 1, n_classes)[0]
    return matrix


def confusion_matrices(
    y_true: ArrayLike, y_pred: ArrayLike, group: ArrayLike, n_groups: int, n_classes: int
) -> NDArray[np.int64]:
    """Confusion matrices of all groups (recordings or persons) by one count, shape (R, C, C) int64.

    Parameters
    ----------
    y_true, y_pred : array of int, shape (n,)
        Codes 0..n_classes-1.
    group : array of int, shape (n,)
        Codes 0..n_groups-1. A group without rows gets zeros.

    Raises
    ------
    ValueError
        When lengths differ or a code lies outside its range.
    """
    truth, predicted, groups = (np.asarray(a, dtype=np.int64) for a in (y_true, y_pred, group))
    if not truth.shape == predicted.shape == groups.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape}, prediction {predicted.shape} and group {groups.shape} must match")
    checks = (("truth", truth, n_classes), ("prediction", predicted, n_classes), ("group", groups, n_groups))
    for name, codes, size in checks:
        if codes.size and (codes.min() < 0 or codes.max() >= size):
            raise ValueError(f"{name} codes run from {codes.min()} to {codes.max()}, outside 0..{size - 1}")
    flat = (groups * n_classes + truth) * n_classes + predicted
    counts = np.bincount(flat, minlength=n_groups * n_classes * n_classes)
    return counts.reshape(n_groups, n_classes, n_classes).astype(np.int64)


def accuracy(conf: Counts) -> F64:
    """Share of units on the diagonal; NaN without units."""
    return ratio(_hits(conf).sum(axis=-1), conf.sum(axis=(-2, -1)))


def recalls(conf: Counts) -> F64:
    """Recall per class, shape (..., C); NaN for a class without true units."""
    return ratio(_hits(conf), conf.sum(axis=-1))


def precisions(conf: Counts) -> F64:
    """Precision per class, shape (..., C); NaN for a class that is never called."""
    return ratio(_hits(conf), conf.sum(axis=-2))


def balanced_accuracy(conf: Counts) -> F64:
    """Mean recall over the classes that are present in truth."""
    return mean_defined(recalls(conf))


def class_f1(conf: Counts) -> F64:
    """F1 per class, shape (..., C); NaN for a class in neither truth nor prediction."""
    return ratio(2 * _hits(conf), conf.sum(axis=-1) + conf.sum(axis=-2))


def macro_f1(conf: Counts, *, per_recording: bool = False) -> F64:
    """Unweighted mean of the classes' F1.

    Two rules, which differ by a factor when a class is absent:

    - pooled (default): over the full label space; a class in neither truth nor prediction counts as 0,
      so that pooled values always average over the same classes;
    - `per_recording`: over classes present in truth or prediction, since a night without N3 is not a
      failure to find it.
    """
    f1 = class_f1(conf)
    if per_recording:
        return mean_defined(f1)
    empty = np.asarray(conf.sum(axis=(-2, -1))) == 0
    return np.asarray(np.where(empty, np.nan, np.nan_to_num(f1, nan=0.0).mean(axis=-1)), dtype=np.float64)


def cohens_kappa(conf: Counts) -> F64:
    """Agreement beyond chance (Cohen 1960): (p_o - p_e) / (1 - p_e).

    NaN when chance agreement is complete: truth and prediction hold one and the same class only.
    """
    total = np.asarray(conf.sum(axis=(-2, -1)), dtype=np.float64)
    chance = (conf.sum(axis=-1).astype(np.float64) * conf.sum(axis=-2)).sum(axis=-1)
    return ratio(_hits(conf).sum(axis=-1) * total - chance, total**2 - chance)


def quadratic_kappa(conf: Counts) -> F64:
    """Kappa with quadratic weights (Cohen 1968): a unit called k classes off costs k**2.

    Classes are taken as ordered, by index. NaN when truth and prediction hold one and the same class only.
    """
    codes = np.arange(conf.shape[-1], dtype=np.float64)
    cost = (codes[:, None] - codes) ** 2
    total = np.asarray(conf.sum(axis=(-2, -1)), dtype=np.float64)
    chance = ((conf.sum(axis=-1) @ cost) * conf.sum(axis=-2)).sum(axis=-1)
    return ratio(chance - total * (conf * cost).sum(axis=(-2, -1)), chance)


def sensitivity(conf: Counts, positive: int) -> F64:
    """Recall of class `positive`."""
    return np.asarray(recalls(conf)[..., positive], dtype=np.float64)


def specificity(conf: Counts, positive: int) -> F64:
    """Share of the units that are truly not `positive` and are not called so."""
    negatives = conf.sum(axis=(-2, -1)) - conf[..., positive, :].sum(axis=-1)
    false_alarms = conf[..., :, positive].sum(axis=-1) - conf[..., positive, positive]
    return ratio(negatives - false_alarms, negatives)


def _hits(conf: Counts) -> Counts:
    return np.diagonal(conf, axis1=-2, axis2=-1)
