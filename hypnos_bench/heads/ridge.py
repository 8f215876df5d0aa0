"""Ridge regression: closed form, penalty chosen within the label budget.

What is minimised over n training rows, with features *and* target standardised by training rows alone::

    mean squared error + lambda * ||w||^2

so `lambda` is *per sample*: repeating every row leaves the optimum where it is, and it has no unit: neither the
target's nor the features'. The intercept is not penalised. In scikit-learn's terms ``alpha = n * lambda`` on
standardised features (with or without a standardised target: its solution is linear in the target).

One decomposition gives the optimum for every lambda: with Z'Z/n = V diag(e) V', the weights are
``V (V'Z'y/n / (e + lambda))``. With more rows than features the Gram matrix is decomposed, else the rows
themselves (Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2nd ed., 3.4.1 and 18.3.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.heads.base import Certificate
from hypnos_bench.heads.moments import CHUNK_ROWS, F64, Features, Moments, column_moments
from hypnos_bench.heads.persons import fold_of_rows
from hypnos_bench.heads.regression_rows import RegressionRows, target_moments
from hypnos_bench.heads.rows import RowSource, as_rows, blocks
from hypnos_bench.heads.rule import RULES, check_rule, pick
from hypnos_bench.registry import did_you_mean

RIDGE_SETTINGS: Mapping[str, Any] = {
    # Per-sample penalties to choose from; a single one is used as it is.
    "lambdas": [float(f"{a}e{b}") for b in range(-5, 3) for a in (1, 3)] + [1e3],
    "rule": "min",  # the lambda of the least held-out error, or "one-se"
    "cv_folds": 5,  # grouped by person; also the fewest persons for cross-validation
    "prior": 1.0,  # with fewer persons, lambda = prior * features / recordings
    "tolerance": 1e-8,  # largest gradient entry of the returned fit
}
"""Every setting that can change a number, with its default."""

_ROUNDING = 1e-12  # variance within a fold, relative, that is no more than rounding


@dataclass(frozen=True)
class RidgeHead:
    """A fitted ridge regression.

    Parameters
    ----------
    moments : Moments
        Standardisation by the training rows.
    weights : ndarray of float64, shape (d,)
        Target units per standard deviation of a feature; 0 for constant features.
    intercept : float
        Mean of the training targets.
    selected : mapping
        ``lambda``, ``rule`` (fixed | cv-min | cv-1se | prior), ``sweep`` (held-out squared error in units of the
        training targets' variance), ``at_edge``, ``constant_features``, ``n_rows``, ``n_recordings``,
        ``n_persons``, ``training_mean``, ``training_sd``, ``training_r2``, ``objective``; by cross-validation also
        ``best_lambda``.
    certificate : Certificate
        Residual of the normal equations, from a pass over the rows of its own.
    """

    moments: Moments
    weights: F64
    intercept: float
    selected: Mapping[str, Any]
    certificate: Certificate

    def predict(self, x: Features) -> F64:
        """Predicted targets, shape (n,).

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        found = np.empty(x.shape[0])
        for low, z in self.moments.standardise_checked(x, "ridge regression"):
            found[low : low + len(z)] = self.intercept + z @ self.weights
        return found


def fit_ridge(rows: RegressionRows, settings: Mapping[str, Any]) -> RidgeHead:
    """Fit ridge regression.

    The penalty is chosen by cross-validation over persons inside the budget: the lambda of the least mean held-out
    squared error, or under ``rule = "one-se"`` the largest within one standard error of it. Persons count equally; the
    standard error is that of the persons' paired differences to the best lambda. Standardisation of features and
    target is redone in every fold. With fewer persons than folds, ``lambda = prior * features / recordings``: what
    maximises the posterior when all features matter alike and noise and signal share the target's variance equally (at
    ``prior = 1``).

    Memory: with more rows than features, a chunk and one d x d float64 matrix per fold; else twice the rows in
    float64. Deterministic for a given number of BLAS threads.

    Parameters
    ----------
    rows : RegressionRows
    settings : mapping
        Overrides of `RIDGE_SETTINGS`.

    Raises
    ------
    FitError
        No rows, NaN or infinity, a constant target, or normal equations that are not met.
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = _settings(settings)
    source = as_rows(rows.x)
    centre, spread = target_moments(rows.y, source.shape, rows.person)
    moments = column_moments(source)
    y = (rows.y - centre) / spread
    n_persons = int(np.unique(rows.person).size)
    n_recordings = int(np.unique(rows.recording).size)
    lambdas: list[float] = chosen["lambdas"]
    by_cv = len(lambdas) > 1 and n_persons >= chosen["cv_folds"]
    fold_of_row = fold_of_rows(rows.person, chosen["cv_folds"]) if by_cv else np.zeros(y.size, dtype=np.intp)
    table = _Table.of(source, moments, y, fold_of_row)
    choice: dict[str, Any]
    if by_cv:
        choice = _choose(table, rows.person, lambdas, chosen["rule"])
    elif len(lambdas) == 1:
        choice = {"lambda": lambdas[0], "rule": "fixed", "sweep": [], "at_edge": False}
    else:
        lam = chosen["prior"] * source.shape[1] / n_recordings
        choice = {"lambda": lam, "rule": "prior", "sweep": [], "at_edge": False}
    path = table.path(None)
    weights = np.where(moments.constant, 0.0, path.weights([choice["lambda"]])[:, 0])
    certificate, error = _certify(table, path, weights, choice["lambda"], chosen["tolerance"])
    if not certificate.converged:
        raise FitError(
            f"ridge regression misses its normal equations by {certificate.gradient_norm:.1e} (allowed "
            f"{certificate.tolerance:.1e}) at lambda {choice['lambda']:g}; use larger lambdas"
        )
    selected = {
        **choice,
        "constant_features": np.flatnonzero(moments.constant).tolist(),
        "n_rows": y.size,
        "n_recordings": n_recordings,
        "n_persons": n_persons,
        "training_mean": centre,
        "training_sd": spread,
        "training_r2": 1.0 - error,
        "objective": error + choice["lambda"] * float(weights @ weights),
    }
    return RidgeHead(moments, spread * weights, centre, selected, certificate)


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in RIDGE_SETTINGS:
            raise UsageError(
                f"the ridge head has no setting {name!r}.{did_you_mean(name, RIDGE_SETTINGS)} "
                f"Known: {', '.join(RIDGE_SETTINGS)}"
            )
    merged = {**RIDGE_SETTINGS, **settings}
    merged["lambdas"] = sorted({float(lam) for lam in merged["lambdas"]})
    if not merged["lambdas"] or not all(0 < lam < np.inf for lam in [*merged["lambdas"], merged["prior"]]):
        raise UsageError("ridge head: lambdas must be a list of positive numbers, and prior a positive number")
    check_rule("ridge", merged["rule"])
    if merged["cv_folds"] < 2:
        raise UsageError("ridge head: cv_folds must be at least 2")
    return merged


@dataclass(frozen=True)
class _Path:
    """Optima for every lambda, in units of the table's standardisation.

    `values` are the eigenvalues of Z'Z/n of rows standardised by themselves, `vectors` (d, r) belong to them and
    `projected` (r,) is V'Z'y/n.
    """

    values: F64
    vectors: F64
    projected: F64
    mean: F64
    inverse: F64
    centre: float

    def weights(self, lambdas: Sequence[float]) -> F64:
        """Weights on the fold's own standardised features, shape (d, lambdas)."""
        shrunk = self.projected[:, None] / (self.values[:, None] + np.asarray(lambdas))
        found: F64 = self.vectors @ shrunk
        return found

    def predict(self, z: F64, weights: F64) -> F64:
        """Predicted standardised targets of rows in the table's standardisation."""
        found: F64 = self.centre + ((z - self.mean) * self.inverse) @ weights
        return found


@dataclass(frozen=True)
class _Table:
    """What the folds share: rows in one standardisation, and their sums by fold.

    With more rows than features, `grams` (folds, d, d) and `products` (folds, d) hold Z'Z and Z'y and rows are read
    again when needed; else `z` holds the standardised rows.
    """

    source: RowSource
    moments: Moments
    y: F64
    fold_of_row: NDArray[np.intp]
    sums: F64
    products: F64
    grams: F64 | None
    z: F64 | None

    @classmethod
    def of(cls, source: RowSource, moments: Moments, y: F64, fold_of_row: NDArray[np.intp]) -> _Table:
        n, d = source.shape
        n_folds = int(fold_of_row.max()) + 1
        sums, products = np.zeros((n_folds, d)), np.zeros((n_folds, d))
        wide = n <= d
        whole = np.empty((n, d)) if wide else None
        grams = None if wide else np.zeros((n_folds, d, d))
        for low, block in blocks(source, CHUNK_ROWS):
            z = moments.standardise(block)
            if whole is not None:
                whole[low : low + len(z)] = z
            if grams is not None:
                fold, target = fold_of_row[low : low + len(z)], y[low : low + len(z)]
                for k in np.unique(fold):
                    mine = z[fold == k]
                    sums[k] += mine.sum(axis=0)
                    products[k] += target[fold == k] @ mine
                    grams[k] += mine.T @ mine
        return cls(source, moments, y, fold_of_row, sums, products, grams, whole)

    @property
    def n_folds(self) -> int:
        return len(self.sums)

    def standardised(self) -> list[tuple[int, F64]] | Any:
        """Every row in the table's standardisation, chunk by chunk."""
        if self.z is not None:
            return [(0, self.z)]
        return ((low, self.moments.standardise(block)) for low, block in blocks(self.source, CHUNK_ROWS))

    def path(self, fold: int | None) -> _Path:
        """Optima for the rows outside `fold` (``None``: for all rows)."""
        kept = np.ones(self.y.size, dtype=bool) if fold is None else self.fold_of_row != fold
        y = self.y[kept]
        centre, n = float(y.mean()), y.size
        if self.z is not None:
            z = self.z[kept]
            mean, inverse = _standardisation(z.mean(axis=0), z.var(axis=0), fold)
            scores = (z - mean) * (inverse / np.sqrt(n))
            left, singular, right = np.linalg.svd(scores, full_matrices=False)
            projected = singular * (left.T @ (y - centre)) / np.sqrt(n)
            return _Path(singular**2, right.T, projected, mean, inverse, centre)
        assert self.grams is not None
        folds = [k for k in range(self.n_folds) if k != fold]
        mean = self.sums[folds].sum(axis=0) / n
        gram = self.grams[folds].sum(axis=0) / n - np.outer(mean, mean)
        mean, inverse = _standardisation(mean, gram.diagonal(), fold)
        product = (self.products[folds].sum(axis=0) / n - mean * centre) * inverse
        values, vectors = np.linalg.eigh(gram * np.outer(inverse, inverse))
        return _Path(np.maximum(values, 0.0), vectors, vectors.T @ product, mean, inverse, centre)


def _standardisation(mean: F64, variance: F64, fold: int | None) -> tuple[F64, F64]:
    """Mean and inverse standard deviation of a fold; the table's own standardisation is kept for all rows."""
    if fold is None:
        return np.zeros_like(mean), np.ones_like(mean)
    # Columns that vary only in the fold left out: what remains is rounding.
    constant = variance <= _ROUNDING * (mean**2 + 1.0)
    return mean, np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))


def _choose(table: _Table, person: NDArray[np.int64], lambdas: Sequence[float], rule: str) -> dict[str, Any]:
    """Choose lambda by cross-validation."""
    order = sorted(lambdas, reverse=True)
    codes, person_of_row = np.unique(person, return_inverse=True)
    squared = np.zeros((codes.size, len(order)))
    paths = [table.path(k) for k in range(table.n_folds)]
    weights = [path.weights(order) for path in paths]
    for low, z in table.standardised():
        fold = table.fold_of_row[low : low + len(z)]
        for k in np.unique(fold):
            mine = np.flatnonzero(fold == k)
            error = (paths[k].predict(z[mine], weights[k]) - table.y[low + mine, None]) ** 2
            np.add.at(squared, person_of_row[low + mine], error)
    losses = squared / np.bincount(person_of_row)[:, None]  # (persons, lambdas)
    mean = losses.mean(axis=0)
    best = int(mean.argmin())
    error = (losses - losses[:, [best]]).std(axis=0, ddof=1) / np.sqrt(codes.size)
    taken = pick(mean, error, rule)
    return {
        "lambda": order[taken],
        "rule": RULES[rule],
        "sweep": [
            {"lambda": lam, "squared_error": float(m), "excess_se": float(e)}
            for lam, m, e in zip(order, mean, error, strict=True)
        ],
        "best_lambda": order[best],
        "at_edge": bool({best, taken} & {0, len(order) - 1}),
    }


def _certify(table: _Table, path: _Path, weights: F64, lam: float, tolerance: float) -> tuple[Certificate, float]:
    """Gradient at `weights` from a pass over the rows, and the mean squared error there."""
    gradient, bias, error = 2 * lam * weights, 0.0, 0.0
    n = table.y.size
    for low, z in table.standardised():
        residual = path.predict(z, weights) - table.y[low : low + len(z)]
        gradient += 2 / n * (residual @ z)
        bias += 2 / n * float(residual.sum())
        error += float(residual @ residual) / n
    along = path.vectors.T @ gradient
    # The Hessian is 2 (Z'Z/n + lambda): by the path's eigenvectors, and 2 lambda across them.
    across = max(float(gradient @ gradient - along @ along), 0.0)
    decrement = float((along**2 / (path.values + lam)).sum() + across / lam) / 4 + bias**2 / 4
    norm = max(float(np.abs(gradient).max()), abs(bias))
    criterion = "gradient_norm: residual of the normal equations, features and target standardised"
    return Certificate(norm <= tolerance, decrement, norm, tolerance, criterion, 1), error
