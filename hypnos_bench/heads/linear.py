"""The linear probe: multinomial logistic regression, penalty chosen within the label budget, fitted to convergence.

What is minimised over n training rows, with rows standardised by training rows alone::

    mean cross-entropy + lambda / 2 * ||W||^2

so `lambda` is *per sample*: repeating every row leaves the optimum where it is. In scikit-learn's
terms ``C = 1 / (n * lambda)`` for three or more classes; for two classes scikit-learn fits one weight
vector where there are two of opposite sign here, and ``C = 2 / (n * lambda)`` gives the same probabilities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.base import Certificate, TrainingRows
from hypnos_bench.heads.softmax import F32, F64, Affine, Rows, Spectrum, solve
from hypnos_bench.registry import did_you_mean

LINEAR_SETTINGS: Mapping[str, Any] = {
    # Per-sample penalties to choose from; a single one is used as it is.
    "lambdas": [1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0],
    "cv_folds": 5,  # grouped by person; also the fewest persons for cross-validation
    "prior": 0.02,  # with fewer persons, lambda = prior / recordings
    "tolerance": 1e-8,  # Newton decrement of the returned fit, relative to the objective
    "cv_tolerance": 1e-6,  # the same for the fits that only choose lambda
    "gradient_tolerance": 1e-5,  # largest gradient entry of the returned fit
    "max_iterations": 100,  # Newton steps
}
"""Every setting that can change a number, with its default."""

_SCAN_ROWS = 4096
_FLOAT32_ULP = 2.0**-23
_ROUNDING = 1e-12  # variance of stored float32 columns, relative, that is no more than rounding


@dataclass(frozen=True)
class LinearHead:
    """A fitted linear probe over the full class list; implements ``heads.base.FittedHead``.

    Parameters
    ----------
    mean, scale : ndarray, shape (d,)
        Standardisation by the training rows.
    weights : ndarray, shape (n_present, d)
        On standardised features, for the classes seen in training.
    intercepts : ndarray, shape (n_present,)
    classes : ndarray of int64, shape (n_present,)
        Class codes seen in training.
    n_classes : int
    selected : mapping
        ``lambda``, ``rule`` (fixed | cv-1se | prior), ``sweep``, ``at_edge``, ``classes_missing``,
        ``constant_features``, ``n_rows``, ``n_recordings``, ``n_persons``, ``objective``.
    certificate : Certificate
    """

    mean: F64
    scale: F64
    weights: F64
    intercepts: F64
    classes: NDArray[np.int64]
    n_classes: int
    selected: Mapping[str, Any]
    certificate: Certificate

    def predict_proba(self, x: NDArray[np.floating[Any]]) -> F64:
        """Class probabilities, shape (n, n_classes); a class missing from training gets 0.

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        if x.ndim != 2 or x.shape[1] != self.mean.size:
            raise DataError(f"linear head was fitted on {self.mean.size} features, got rows of shape {x.shape}")
        proba = np.zeros((len(x), self.n_classes))
        for low in range(0, len(x), _SCAN_ROWS):
            z = (x[low : low + _SCAN_ROWS].astype(np.float64) - self.mean) / self.scale
            if not np.isfinite(z).all():
                raise DataError(f"cannot predict from non-finite features (rows {low} and on); embed them again")
            a = z @ self.weights.T + self.intercepts
            p = np.exp(a - a.max(axis=1, keepdims=True))
            proba[low : low + _SCAN_ROWS, self.classes] = p / p.sum(axis=1, keepdims=True)
        return proba


def fit_linear(rows: TrainingRows, settings: Mapping[str, Any]) -> LinearHead:
    """Fit the linear probe.

    The penalty is chosen by cross-validation over persons inside the budget: the largest lambda
    whose mean held-out cross-entropy is within one standard error of the best. Persons count
    equally; the standard error is that of the persons' differences to the best lambda, since how
    hard a person is to score says nothing about lambda. Held-out rows of classes that a fold's
    training persons lack cannot tell lambdas apart and are left out, and counted. Standardisation
    is redone in every fold. With fewer persons than folds, lambda = prior / recordings.

    The path of lambdas runs from strong to weak and ends early once the held-out loss has risen twice
    in a row by more than a standard error: weaker penalties could not be picked any more.

    Memory: one standardised float32 copy of the rows, two d x d float32 matrices per fold, and chunks.
    Deterministic for a given number of BLAS threads.

    Parameters
    ----------
    rows : TrainingRows
    settings : mapping
        Overrides of `LINEAR_SETTINGS`.

    Raises
    ------
    FitError
        No rows, non-finite features, a single class, or no convergence: never a number without proof.
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = _settings(settings)
    _check_rows(rows)
    present = np.flatnonzero(np.bincount(rows.y, minlength=rows.n_classes))
    persons = np.unique(rows.person)
    if present.size == 1:
        raise FitError(
            f"all {len(rows.y)} training rows of {persons.size} person(s) have the same class (code {present[0]}): "
            "nothing to learn; use more shots or another seed"
        )
    lambdas: list[float] = chosen["lambdas"]
    by_cv = len(lambdas) > 1 and persons.size >= chosen["cv_folds"]
    fold_of_row = _fold_of_row(rows.person, chosen["cv_folds"]) if by_cv else np.zeros(len(rows.y), dtype=np.intp)
    table = _Table.of(rows, fold_of_row)

    n_recordings = int(np.unique(rows.recording).size)
    if by_cv:
        choice = _choose(table, lambdas, chosen)
    if not by_cv or choice is None:
        single = len(lambdas) == 1
        lam = lambdas[0] if single else chosen["prior"] / n_recordings
        choice = {"lambda": lam, "rule": "fixed" if single else "prior", "sweep": [], "at_edge": False}
    everything, _ = _training_rows(table, None)
    solution = solve(
        everything,
        choice["lambda"],
        everything.start(),
        tolerance=chosen["tolerance"],
        gradient_tolerance=chosen["gradient_tolerance"],
        max_iterations=chosen["max_iterations"],
    )
    selected = {
        **choice,
        "classes_missing": [c for c in range(rows.n_classes) if c not in present],
        "constant_features": np.flatnonzero(table.constant).tolist(),
        "n_rows": len(rows.y),
        "n_recordings": n_recordings,
        "n_persons": int(persons.size),
        "objective": solution.objective,
    }
    return LinearHead(
        mean=table.mean,
        scale=table.scale,
        weights=solution.theta[:, :-1],
        intercepts=solution.theta[:, -1],
        classes=present.astype(np.int64),
        n_classes=rows.n_classes,
        selected=selected,
        certificate=solution.certificate,
    )


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in LINEAR_SETTINGS:
            raise UsageError(
                f"the linear head has no setting {name!r}.{did_you_mean(name, LINEAR_SETTINGS)} "
                f"Known: {', '.join(LINEAR_SETTINGS)}"
            )
    merged = {**LINEAR_SETTINGS, **settings}
    merged["lambdas"] = sorted({float(lam) for lam in merged["lambdas"]})
    if not merged["lambdas"] or not all(0 < lam < np.inf for lam in [*merged["lambdas"], merged["prior"]]):
        raise UsageError("linear head: lambdas must be a list of positive numbers, and prior a positive number")
    if merged["cv_folds"] < 2 or merged["max_iterations"] < 1:
        raise UsageError("linear head: cv_folds must be at least 2 and max_iterations at least 1")
    return merged


def _check_rows(rows: TrainingRows) -> None:
    n = len(rows.y)
    if rows.x.ndim != 2 or n == 0 or rows.x.shape[0] != n or rows.x.shape[1] == 0:
        raise FitError(f"linear head needs rows with features and labels, got x {rows.x.shape} and {n} labels")
    if rows.y.min() < 0 or rows.y.max() >= rows.n_classes:
        raise FitError(f"training labels run from {rows.y.min()} to {rows.y.max()}, outside 0..{rows.n_classes - 1}")
    bad_rows, bad_features = 0, np.zeros(rows.x.shape[1], dtype=bool)
    for low in range(0, n, _SCAN_ROWS):
        bad = ~np.isfinite(rows.x[low : low + _SCAN_ROWS])
        bad_rows += int(bad.any(axis=1).sum())
        bad_features |= bad.any(axis=0)
    if bad_rows:
        raise FitError(
            f"{bad_rows} of {n} training rows hold NaN or infinity, in {int(bad_features.sum())} of "
            f"{rows.x.shape[1]} features; embed those recordings again or exclude them"
        )


def _fold_of_row(person: NDArray[np.int64], n_folds: int) -> NDArray[np.intp]:
    """Fold of each row; a person's rows stay together and folds differ by one person at most."""
    codes, inverse = np.unique(person, return_inverse=True)
    # Hash order: neighbouring codes often share a site.
    order = sorted(range(len(codes)), key=lambda i: hashlib.sha256(str(int(codes[i])).encode()).digest())
    fold_of_code = np.empty(len(codes), dtype=np.intp)
    fold_of_code[order] = np.arange(len(codes)) % n_folds
    return fold_of_code[inverse]


@dataclass(frozen=True)
class _Table:
    """Standardised rows sorted by fold, so that a fold's training rows are at most two stretches."""

    z: F32
    y: NDArray[np.intp]
    person: NDArray[np.int64]
    bounds: NDArray[np.intp]  # fold k is rows bounds[k]:bounds[k + 1]
    mean: F64
    scale: F64
    constant: NDArray[np.bool_]
    sums: F64  # (folds, d): column sums of z
    squares: F64  # (folds, d): and of its squares
    grams: F32  # (folds, d, d): z'z, for preconditioners

    @classmethod
    def of(cls, rows: TrainingRows, fold_of_row: NDArray[np.intp]) -> _Table:
        order = np.argsort(fold_of_row, kind="stable")
        n, d = rows.x.shape
        mean, scale, constant = _moments(rows.x)
        z = np.empty((n, d), dtype=np.float32)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(fold_of_row))]).astype(np.intp)
        n_folds = len(bounds) - 1
        sums, squares = np.zeros((n_folds, d)), np.zeros((n_folds, d))
        grams = np.zeros((n_folds, d, d), dtype=np.float32)
        for k in range(n_folds):
            for low in range(bounds[k], bounds[k + 1], _SCAN_ROWS):
                high = min(low + _SCAN_ROWS, bounds[k + 1])
                block = z[low:high]
                block[:] = (rows.x[order[low:high]].astype(np.float64) - mean) / scale
                sums[k] += block.sum(axis=0, dtype=np.float64)
                squares[k] += np.einsum("nd,nd->d", block, block, dtype=np.float64)
                grams[k] += block.T @ block
        y, person = rows.y[order].astype(np.intp), rows.person[order]
        return cls(z, y, person, bounds, mean, scale, constant, sums, squares, grams)

    @property
    def n_folds(self) -> int:
        return len(self.bounds) - 1

    def without(self, fold: int | None) -> list[tuple[int, int]]:
        """Stretches of rows outside `fold`."""
        if fold is None:
            return [(0, len(self.y))]
        return [(0, int(self.bounds[fold])), (int(self.bounds[fold + 1]), len(self.y))]


def _moments(x: NDArray[np.floating[Any]]) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Column means and standard deviations in float64, and which columns do not vary.

    A column that varies by less than float32 can tell apart is constant; its scale becomes 1.
    Sums run over differences to the first row, so that a constant column gives exactly zero.
    """
    first = x[0].astype(np.float64)
    total, squares = np.zeros(first.size), np.zeros(first.size)
    for low in range(0, len(x), _SCAN_ROWS):
        total += (x[low : low + _SCAN_ROWS] - first).sum(axis=0)
    mean = first + total / len(x)
    for low in range(0, len(x), _SCAN_ROWS):
        centred = x[low : low + _SCAN_ROWS] - mean
        squares += np.einsum("nd,nd->d", centred, centred)
    sd = np.sqrt(squares / len(x))
    constant = sd <= _FLOAT32_ULP * np.abs(mean)
    return mean, np.where(constant, 1.0, sd), constant


def _training_rows(table: _Table, fold: int | None) -> tuple[Rows, NDArray[np.intp]]:
    """Rows outside `fold`, standardised by themselves, and the class codes among them."""
    spans = table.without(fold)
    kept = [k for k in range(table.n_folds) if k != fold]
    n = sum(b - a for a, b in spans)
    mean = table.sums[kept].sum(axis=0) / n
    variance = table.squares[kept].sum(axis=0) / n - mean**2
    # Columns that vary only in the fold left out: what remains is rounding.
    constant = variance <= _ROUNDING * (mean**2 + 1.0)
    scale = np.where(constant, 1.0, np.sqrt(np.maximum(variance, 0.0)))
    if fold is None:
        mean, scale = np.zeros_like(mean), np.ones_like(scale)
    seen = np.unique(np.concatenate([table.y[a:b] for a, b in spans]))
    code = np.full(int(table.y.max()) + 1, -1, dtype=np.intp)
    code[seen] = np.arange(seen.size)
    gram = table.grams[kept].sum(axis=0, dtype=np.float64) / n - np.outer(mean, mean)
    spectrum = Spectrum.of(gram / np.outer(scale, scale))
    return Rows(table.z, code[table.y], spans, int(seen.size), Affine(mean, scale), spectrum), seen


class _HeldOut:
    """One fold: its training rows, the state of the path, and the held-out rows that can be scored."""

    def __init__(self, table: _Table, fold: int) -> None:
        self.rows, seen = _training_rows(table, fold)
        held = np.arange(table.bounds[fold], table.bounds[fold + 1])
        known = held[np.isin(table.y[held], seen)]
        self.unscored = held.size - known.size
        self.usable = seen.size > 1 and known.size > 0
        self._held, self._truth = known, np.searchsorted(seen, table.y[known])
        self._person = np.unique(table.person[known], return_inverse=True)[1]
        self._theta = self.rows.start()

    def losses(self, lam: float, settings: Mapping[str, Any]) -> F64:
        """Fit at `lam`, starting from the fit before; mean cross-entropy per held-out person."""
        self._theta = solve(
            self.rows,
            lam,
            self._theta,
            tolerance=settings["cv_tolerance"],
            gradient_tolerance=settings["gradient_tolerance"],
            max_iterations=settings["max_iterations"],
        ).theta
        total = np.bincount(self._person, self.rows.losses(self._theta, self._held, self._truth))
        return np.asarray(total / np.bincount(self._person), dtype=np.float64)


def _choose(table: _Table, lambdas: Sequence[float], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Choose lambda by cross-validation, or ``None`` when fewer than two folds can be used."""
    folds = [_HeldOut(table, fold) for fold in range(table.n_folds)]
    usable = [fold for fold in folds if fold.usable]
    if len(usable) < 2:
        return None
    by_lambda: list[F64] = []
    path = sorted(lambdas, reverse=True)
    worse = 0
    for lam in path:
        by_lambda.append(np.concatenate([fold.losses(lam, settings) for fold in usable]))
        mean, error, best = _excess(by_lambda)
        worse = worse + 1 if mean[-1] - mean[best] > error[-1] else 0
        if worse == 2:
            break
    pick = int(np.flatnonzero(mean - mean[best] <= error).min())
    return {
        "lambda": path[pick],
        "rule": "cv-1se",
        "sweep": [
            {"lambda": lam, "cross_entropy": float(m), "excess_se": float(e)}
            for lam, m, e in zip(path[: len(mean)], mean, error, strict=True)
        ],
        "best_lambda": path[best],
        "at_edge": bool({best, pick} & {0, len(path) - 1}),
        "folds_skipped": len(folds) - len(usable),
        "cv_rows_unscored": sum(fold.unscored for fold in folds),
    }


def _excess(by_lambda: Sequence[F64]) -> tuple[F64, F64, int]:
    """Mean loss per lambda, standard error of its excess over the best lambda, and which is best."""
    losses = np.stack(by_lambda)  # (lambdas, persons)
    mean = losses.mean(axis=1)
    best = int(mean.argmin())
    error = (losses - losses[best]).std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return mean, error, best
