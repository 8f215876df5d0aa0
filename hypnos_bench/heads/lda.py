"""Free baselines from the second moments alone: linear discriminant analysis, and ridge regression on class indicators.

Both need one Gram matrix of all rows and no iterations. What they cost is next to nothing, so a probe
that does not beat them has learned nothing that means and covariances do not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.heads.base import Certificate, TrainingRows
from hypnos_bench.heads.linear import LinearHead, check_rows, settings_of
from hypnos_bench.heads.rows import RowSource, as_rows
from hypnos_bench.heads.scores import linear_scores
from hypnos_bench.heads.table import F64, SAMPLE_ROWS, Labels, Passes, RowSet, Table

LDA_SETTINGS: Mapping[str, Any] = {
    # Added to the variances of standardised features: rounding of the covariance, so that it can be inverted.
    "ridge": 1e-6,
}
"""Every setting of LDA that can change a number, with its default."""

RIDGE_CLASSES_SETTINGS: Mapping[str, Any] = {
    "lambda": 1e-3,  # penalty per sample on standardised features; not tuned
}
"""Every setting of ridge regression on classes that can change a number, with its default."""

_BLOCK_ROWS = 1024
_RESIDUAL = 1e-6


@dataclass(frozen=True)
class RidgeClassesHead:
    """Ridge regression on class indicators; implements ``heads.base.FittedHead``.

    Its scores are no probabilities: they may lie below 0 or above 1. `predict_proba` sets negative ones to zero
    and divides by the sum, which is positive because the scores of a row add up to one. The largest score
    stays the largest; cross-entropy and thresholds mean nothing.

    Parameters
    ----------
    mean, scale, weights, intercepts, classes, n_classes, selected, certificate
        As in ``heads.linear.LinearHead``.
    """

    mean: F64
    scale: F64
    weights: F64
    intercepts: F64
    classes: NDArray[np.int64]
    n_classes: int
    selected: Mapping[str, Any]
    certificate: Certificate

    def predict_proba(self, x: NDArray[np.floating[Any]] | RowSource) -> F64:
        """Clipped and normalised scores, shape (n, n_classes); a class missing from training gets 0."""
        proba = np.zeros((x.shape[0], self.n_classes))
        parts = (self.mean, self.scale, self.weights, self.intercepts)
        for rows, scores in linear_scores(x, *parts, head="ridge head"):
            np.maximum(scores, 0.0, out=scores)
            proba[rows, self.classes] = scores / scores.sum(axis=1, keepdims=True)
        return proba


def fit_lda(rows: TrainingRows, settings: Mapping[str, Any]) -> LinearHead:
    """Linear discriminant analysis: Gaussian classes with one pooled covariance, priors from the training rows.

    The covariance is the maximum-likelihood one, without shrinkage, of standardised features; ``ridge`` on its
    diagonal lets collinear features pass. Probabilities are posteriors.

    Parameters
    ----------
    rows : TrainingRows
    settings : mapping
        Overrides of `LDA_SETTINGS`.

    Raises
    ------
    FitError
        No rows, non-finite features, a single class, or equations that cannot be solved.
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = settings_of("LDA head", LDA_SETTINGS, settings)
    if not 0 < chosen["ridge"] < np.inf:
        raise UsageError("LDA head: ridge must be a positive number")
    moments = _Moments.of(rows, "LDA head")
    between = (moments.centres * moments.shares[:, None]).T @ moments.centres
    covariance = moments.covariance - between
    weights, residual = _solve("LDA head", covariance, chosen["ridge"], moments.centres, moments.rowset)
    intercepts = np.log(moments.shares) - 0.5 * np.einsum("kd,kd->k", weights, moments.centres)
    record = {"ridge": chosen["ridge"], **moments.record}
    return LinearHead(**moments.standard, **_closed(weights, intercepts, record, residual))


def fit_ridge_classes(rows: TrainingRows, settings: Mapping[str, Any]) -> RidgeClassesHead:
    """Ridge regression on class indicators: mean squared error + lambda * ||W||^2, intercepts not penalised.

    Parameters
    ----------
    rows : TrainingRows
    settings : mapping
        Overrides of `RIDGE_CLASSES_SETTINGS`.

    Raises
    ------
    FitError
        No rows, non-finite features, a single class, or equations that cannot be solved.
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = settings_of("ridge head", RIDGE_CLASSES_SETTINGS, settings)
    if not 0 < chosen["lambda"] < np.inf:
        raise UsageError("ridge head: lambda must be a positive number")
    moments = _Moments.of(rows, "ridge head")
    cross = moments.centres * moments.shares[:, None]  # mean of standardised rows times indicator
    weights, residual = _solve("ridge head", moments.covariance, chosen["lambda"], cross, moments.rowset)
    record = {"lambda": chosen["lambda"], **moments.record}
    return RidgeClassesHead(**moments.standard, **_closed(weights, moments.shares, record, residual))


@dataclass(frozen=True)
class _Moments:
    """Shares and means of classes, and the covariance of all rows, on standardised features."""

    shares: F64
    centres: F64
    covariance: F64
    rowset: RowSet
    standard: Mapping[str, Any]
    record: Mapping[str, Any]

    @classmethod
    def of(cls, rows: TrainingRows, head: str) -> _Moments:
        present = check_rows(head, rows)
        table = Table.of(
            as_rows(rows.x), [Labels(rows.y, rows.n_classes)], recording=rows.recording, sample_rows=SAMPLE_ROWS
        )
        sums = table.everything.sums
        rowset = table.row_set(sums)
        counts = sums.counts[0].sum(axis=0)[present]
        factor = np.where(rowset.constant, 0.0, 1.0 / rowset.scale)
        centres = (sums.classes[0].sum(axis=0)[present] / counts[:, None] - rowset.mean) * factor
        record = {
            "classes_missing": [c for c in range(rows.n_classes) if c not in present],
            "constant_features": np.flatnonzero(rowset.constant).tolist(),
            "n_rows": len(rows.y),
            "n_recordings": int(np.unique(rows.recording).size),
            "n_persons": int(np.unique(rows.person).size),
        }
        standard = {
            "mean": table.shift + rowset.mean,
            "scale": rowset.scale,
            "classes": present,
            "n_classes": rows.n_classes,
        }
        covariance = _covariance(table.everything, rowset.mean, factor)
        return cls(counts / counts.sum(), centres, covariance, rowset, standard, record)


def _covariance(rows: Passes, mean: F64, factor: F64) -> F64:
    """Covariance of standardised rows: products in the rows' own type, sums in float64."""
    gram, n = np.zeros((mean.size, mean.size)), 0
    mean, factor = mean.astype(rows.dtype), factor.astype(rows.dtype)
    for z, _ in rows.pieces(_BLOCK_ROWS):
        own = (z - mean) * factor
        gram += own.T @ own
        n += len(z)
    return gram / n


def _solve(head: str, covariance: F64, ridge: float, right: F64, rowset: RowSet) -> tuple[F64, float]:
    """Solve ``(covariance + ridge I) W' = right'``; W with zeros for constant columns, and the largest residual."""
    varies = np.flatnonzero(~rowset.constant)
    weights = np.zeros_like(right)
    if varies.size == 0:
        return weights, 0.0
    matrix = covariance[np.ix_(varies, varies)] + ridge * np.eye(varies.size)
    weights[:, varies] = np.linalg.solve(matrix, right[:, varies].T).T
    residual = float(np.abs(weights[:, varies] @ matrix - right[:, varies]).max())
    if not residual <= _RESIDUAL:
        raise FitError(f"{head}: its equations leave a residual of {residual:.3g}; use a larger penalty")
    return weights, residual


def _closed(weights: F64, intercepts: F64, record: Mapping[str, Any], residual: float) -> dict[str, Any]:
    criterion = "closed form: largest residual of the normal equations"
    return {
        "weights": weights,
        "intercepts": intercepts,
        "selected": {**record, "sweep": [], "at_edge": False},
        "certificate": Certificate(True, 0.0, residual, _RESIDUAL, criterion, 0),
    }
