"""The linear probe: multinomial logistic regression, penalty chosen within the label budget, fitted to convergence.

What is minimised over n training rows, with rows standardised by training rows alone::

    mean cross-entropy + lambda / 2 * ||W||^2

so `lambda` is *per sample*: repeating every row leaves the optimum where it is. In scikit-learn's
terms ``C = 1 / (n * lambda)`` for three or more classes; for two classes scikit-learn fits one weight
vector where there are two of opposite sign here, and ``C = 2 / (n * lambda)`` gives the same probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.heads.base import Certificate, TrainingRows
from hypnos_bench.heads.choose import Choice, choose
from hypnos_bench.heads.persons import fold_of_rows
from hypnos_bench.heads.rows import RowSource, as_rows
from hypnos_bench.heads.scores import linear_scores, softmax_rows
from hypnos_bench.heads.solve import Precision, Problem, solve_many, spectrum_of
from hypnos_bench.heads.table import F64, SAMPLE_ROWS, Labels, Table
from hypnos_bench.registry import did_you_mean

LINEAR_SETTINGS: Mapping[str, Any] = {
    # Per-sample penalties to choose from; a single one is used as it is. Around the best, a decade changes accuracy by
    # 0.1-0.3 points; the ends are next to no penalty, and next to no model.
    "lambdas": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0],
    "cv_folds": 5,  # grouped by person; also the fewest persons for cross-validation
    "prior": 0.02,  # with fewer persons, lambda = prior / recordings
    "tolerance": 1e-7,  # Newton decrement of the returned fit, relative to the objective
    # The same, as L-BFGS estimates it, for the fits that only choose lambda; at 1e-4 stopping early moves the choice.
    "cv_tolerance": 3e-6,
    "gradient_tolerance": 1e-5,  # largest gradient entry of the returned fit
    "max_passes": 500,  # evaluations of the returned fit
    # The same for a fit that only chooses lambda: a penalty that needs more is not eligible, nor are weaker ones.
    "cv_passes": 200,
    # Rows in memory, of which lambda is chosen: a thinner sample wants a stronger penalty.
    "sample_rows": SAMPLE_ROWS,
}
"""Every setting that can change a number, with its default."""

_CV_GRADIENT = 1e-3


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
        ``constant_features``, ``n_rows``, ``n_recordings``, ``n_persons``, ``objective``; with ``cv-1se`` also
        ``cv_rows``, the rows that lambda was chosen on: all, or an evenly spaced sample of every recording, and
        ``cv_unconverged``, how many penalties of the sweep (``converged``: false) were not eligible.
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

    def predict_proba(self, x: NDArray[np.floating[Any]] | RowSource) -> F64:
        """Class probabilities, shape (n, n_classes); a class missing from training gets 0.

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        proba = np.zeros((x.shape[0], self.n_classes))
        parts = (self.mean, self.scale, self.weights, self.intercepts)
        for rows, scores in linear_scores(x, *parts, head="linear head"):
            proba[rows, self.classes] = softmax_rows(scores)
        return proba


def fit_linear(rows: TrainingRows, settings: Mapping[str, Any]) -> LinearHead:
    """Fit the linear probe.

    The penalty is chosen by cross-validation over persons inside the budget (``heads.choose``); with fewer persons
    than folds, lambda = prior / recordings. All folds are solved as one batch, from strong to
    weak penalties; from there the fit to all rows starts. A penalty at which a fold's fit does not converge within
    `cv_passes` is not eligible.

    Rows may be on disk: no more than `sample_rows` of them are held in memory, and nothing else grows with
    their number but labels and codes. Deterministic for a given number of BLAS threads.

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
    chosen = settings_of("linear head", LINEAR_SETTINGS, settings)
    lambdas = _check_settings(chosen)
    present = check_rows("linear head", rows)
    persons = int(np.unique(rows.person).size)
    recordings = int(np.unique(rows.recording).size)
    by_cv = len(lambdas) > 1 and persons >= chosen["cv_folds"]
    table = Table.of(
        as_rows(rows.x),
        [Labels(rows.y, rows.n_classes)],
        part=fold_of_rows(rows.person, chosen["cv_folds"]).astype(np.int64) if by_cv else None,
        recording=rows.recording,
        sample_rows=chosen["sample_rows"],
    )
    spectrum = spectrum_of(table)
    choice: Choice | None = None
    if by_cv:
        rough = Precision(chosen["cv_tolerance"], _CV_GRADIENT, chosen["cv_passes"], proven=False)
        choice = choose(table, rows.person, chosen["cv_folds"], lambdas, rough, spectrum)
    if choice is None:
        single = len(lambdas) == 1
        lam = lambdas[0] if single else chosen["prior"] / recordings
        choice = Choice(
            lam, None, {"lambda": lam, "rule": "fixed" if single else "prior", "sweep": [], "at_edge": False}
        )
    precision = Precision(chosen["tolerance"], chosen["gradient_tolerance"], chosen["max_passes"])
    solution = solve_many(table, [Problem(choice.lam, start=choice.start)], precision, spectrum=spectrum)[0]
    rowset = solution.rowset
    selected = {
        **choice.record,
        "classes_missing": [c for c in range(rows.n_classes) if c not in present],
        "constant_features": np.flatnonzero(rowset.constant).tolist(),
        "n_rows": len(rows.y),
        "n_recordings": recordings,
        "n_persons": persons,
        "objective": solution.objective,
    }
    return LinearHead(
        mean=table.shift + rowset.mean,
        scale=rowset.scale,
        weights=solution.theta[:, :-1],
        intercepts=solution.theta[:, -1],
        classes=present,
        n_classes=rows.n_classes,
        selected=selected,
        certificate=solution.certificate,
    )


def settings_of(head: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults with what was given; raises ``UsageError`` for a setting that does not exist."""
    for name in given:
        if name not in known:
            raise UsageError(
                f"the {head} has no setting {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"
            )
    return {**known, **given}


def check_rows(head: str, rows: TrainingRows) -> NDArray[np.int64]:
    """Class codes that occur; raises ``FitError`` when there is nothing to learn from."""
    n, shape = len(rows.y), rows.x.shape
    if len(shape) != 2 or n == 0 or shape[0] != n or shape[1] == 0:
        raise FitError(f"{head} needs rows with features and labels, got x {tuple(shape)} and {n} labels")
    if rows.y.min() < 0 or rows.y.max() >= rows.n_classes:
        raise FitError(f"training labels run from {rows.y.min()} to {rows.y.max()}, outside 0..{rows.n_classes - 1}")
    present = np.flatnonzero(np.bincount(rows.y, minlength=rows.n_classes)).astype(np.int64)
    if present.size == 1:
        raise FitError(
            f"all {n} training rows of {np.unique(rows.person).size} person(s) have the same class (code "
            f"{present[0]}): nothing to learn; use more shots or another seed"
        )
    return present


def _check_settings(chosen: Mapping[str, Any]) -> list[float]:
    """Penalties in ascending order."""
    lambdas = sorted({float(lam) for lam in chosen["lambdas"]})
    if not lambdas or not all(0 < lam < np.inf for lam in [*lambdas, chosen["prior"]]):
        raise UsageError("linear head: lambdas must be a list of positive numbers, and prior a positive number")
    if chosen["cv_folds"] < 2 or min(chosen[name] for name in ("max_passes", "cv_passes", "sample_rows")) < 1:
        raise UsageError("linear head: cv_folds must be at least 2; max_passes, cv_passes and sample_rows at least 1")
    return lambdas
