"""Classification metrics on arrays: from confusion matrices, and from scores that rank.

Everything broadcasts over leading axes, so that a bootstrap is ``weights (B, P) @ matrices (P, C*C)``
followed by one call. Rows of a confusion matrix are truth, columns are predictions. A value that is
not defined is NaN, never a default.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]
Counts = NDArray[Any]

_CHUNK = 4_000_000  # entries of a (replicates, units) block


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
    return _ratio(_hits(conf).sum(axis=-1), conf.sum(axis=(-2, -1)))


def recalls(conf: Counts) -> F64:
    """Recall per class, shape (..., C); NaN for a class without true units."""
    return _ratio(_hits(conf), conf.sum(axis=-1))


def balanced_accuracy(conf: Counts) -> F64:
    """Mean recall over the classes that are present in truth."""
    return _mean_defined(recalls(conf))


def class_f1(conf: Counts) -> F64:
    """F1 per class, shape (..., C); NaN for a class in neither truth nor prediction."""
    return _ratio(2 * _hits(conf), conf.sum(axis=-1) + conf.sum(axis=-2))


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
        return _mean_defined(f1)
    empty = np.asarray(conf.sum(axis=(-2, -1))) == 0
    return np.asarray(np.where(empty, np.nan, np.nan_to_num(f1, nan=0.0).mean(axis=-1)), dtype=np.float64)


def cohens_kappa(conf: Counts) -> F64:
    """Agreement beyond chance (Cohen 1960): (p_o - p_e) / (1 - p_e).

    NaN when chance agreement is complete: truth and prediction hold one and the same class only.
    """
    total = np.asarray(conf.sum(axis=(-2, -1)), dtype=np.float64)
    chance = (conf.sum(axis=-1).astype(np.float64) * conf.sum(axis=-2)).sum(axis=-1)
    return _ratio(_hits(conf).sum(axis=-1) * total - chance, total**2 - chance)


def sensitivity(conf: Counts, positive: int) -> F64:
    """Recall of class `positive`."""
    return np.asarray(recalls(conf)[..., positive], dtype=np.float64)


def specificity(conf: Counts, positive: int) -> F64:
    """Share of the units that are truly not `positive` and are not called so."""
    negatives = conf.sum(axis=(-2, -1)) - conf[..., positive, :].sum(axis=-1)
    false_alarms = conf[..., :, positive].sum(axis=-1) - conf[..., positive, positive]
    return _ratio(negatives - false_alarms, negatives)


class Ranking:
    """Units sorted once by falling score, to be scored under many weightings.

    Parameters
    ----------
    y_true : array of bool, shape (n,)
        Whether each unit is positive.
    score : array of float, shape (n,)
        Finite; larger means more positive. Equal scores are ties, to the last bit.
    group : array of int, shape (n,), optional
        Person code of each unit; weights are per person. Without it all units weigh alike.

    Raises
    ------
    ValueError
        When lengths differ or a score is not finite.
    """

    def __init__(self, y_true: ArrayLike, score: ArrayLike, group: ArrayLike | None = None) -> None:
        truth, values = np.asarray(y_true, dtype=bool), np.asarray(score)
        groups = np.zeros(truth.shape, dtype=np.int64) if group is None else np.asarray(group, dtype=np.int64)
        if not truth.shape == values.shape == groups.shape or truth.ndim != 1:
            raise ValueError(f"truth {truth.shape}, score {values.shape} and group {groups.shape} must match")
        if not np.isfinite(values).all():
            raise ValueError(f"{int((~np.isfinite(values)).sum())} of {values.size} scores are not finite")
        order = np.argsort(-values, kind="stable")
        self._truth, self._group = truth[order], groups[order]
        ranked = values[order]
        self._last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if ranked.size else order

    def score(self, weights: ArrayLike) -> tuple[F64, F64]:
        """AUROC and average precision under person weights.

        Parameters
        ----------
        weights : array, shape (..., n_persons)
            How often each person was drawn.

        Returns
        -------
        auroc, average_precision : ndarray, shape (...)
            AUROC is the Mann-Whitney statistic, ties counted half; NaN when one side has no weight.
            Average precision is sum over thresholds of (recall step) x precision, without
            interpolation; NaN without positives.
        """
        w = np.asarray(weights, dtype=np.float64)
        flat = w.reshape(-1, w.shape[-1])
        auroc, precision = np.empty(len(flat)), np.empty(len(flat))
        step = max(1, _CHUNK // max(1, self._truth.size))
        for low in range(0, len(flat), step):
            auroc[low : low + step], precision[low : low + step] = self._block(flat[low : low + step])
        return auroc.reshape(w.shape[:-1]), precision.reshape(w.shape[:-1])

    def _block(self, weights: F64) -> tuple[F64, F64]:
        unit = weights[:, self._group]
        everyone = np.cumsum(unit, axis=1)[:, self._last_of_tie]
        unit[:, ~self._truth] = 0.0
        positives = np.cumsum(unit, axis=1)[:, self._last_of_tie]
        if not self._truth.size:
            nothing = np.full(len(weights), np.nan)
            return nothing, nothing
        gained = np.diff(positives, axis=1, prepend=0.0)
        negatives = everyone - positives
        lost = np.diff(negatives, axis=1, prepend=0.0)
        n_pos, n_neg = positives[:, -1], negatives[:, -1]
        # A negative is beaten by all positives above it, and by half of those tied with it.
        wins = (lost * (positives - gained / 2)).sum(axis=1)
        precision = np.divide(positives, everyone, out=np.zeros_like(positives), where=everyone > 0)
        return _ratio(wins, n_pos * n_neg), _ratio((gained * precision).sum(axis=1), n_pos)


def auroc(y_true: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve (Mann-Whitney, ties half); NaN with a single class."""
    return float(Ranking(y_true, score).score(np.ones(1))[0])


def average_precision(y_true: ArrayLike, score: ArrayLike) -> float:
    """Average precision, the AUPRC without interpolation; NaN without positives."""
    return float(Ranking(y_true, score).score(np.ones(1))[1])


def _hits(conf: Counts) -> Counts:
    return np.diagonal(conf, axis1=-2, axis2=-1)


def _ratio(top: Any, bottom: Any) -> F64:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    out = np.full(np.broadcast(top, bottom).shape, np.nan)
    np.divide(top, bottom, out=out, where=bottom != 0)
    return out


def _mean_defined(values: F64) -> F64:
    """Mean over the last axis without NaN; NaN where nothing is defined (without numpy's warning)."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))
