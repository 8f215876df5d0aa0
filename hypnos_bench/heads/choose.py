"""The penalty, chosen within the label budget by cross-validation over persons.

All folds of a penalty are one batch of problems on shared rows, and penalties follow one another from strong to weak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.heads.precondition import Spectrum
from hypnos_bench.heads.rule import RULES, pick
from hypnos_bench.heads.solve import Precision, Solution, losses_of_part, solve_path
from hypnos_bench.heads.table import F64, Table


@dataclass(frozen=True)
class Choice:
    """A penalty and how it was chosen.

    Parameters
    ----------
    lam : float
    start : ndarray, shape (K, d + 1), optional
        Where a fit to all rows may begin: the mean of the folds' parameters, in that fit's coordinates.
    record : mapping
        ``lambda``, ``rule``, ``sweep`` and what else there is to say.
    """

    lam: float
    start: F64 | None
    record: Mapping[str, Any]


def choose(
    table: Table,
    person: NDArray[np.int64],
    n_folds: int,
    lambdas: Sequence[float],
    precision: Precision,
    spectrum: Spectrum | None = None,
) -> Choice | None:
    """Choose a penalty on the sampled rows of a table whose parts are the folds.

    The largest lambda whose mean held-out cross-entropy is within one standard error of the best. Persons count
    equally; the standard error is that of the persons' differences to the best lambda, since how hard a
    person is to score says nothing about lambda. Every fold is standardised by its own training rows. Held-out
    rows of classes that a fold's training persons lack cannot tell lambdas apart: they are left out, and counted.

    A lambda at which a fold's fit does not converge within its passes is not eligible, nor are weaker ones, which are
    harder still; the sweep lists them without a number, and ``at_edge`` looks at the weakest that is eligible.

    Parameters
    ----------
    table : Table
    person : ndarray of int64, shape (n,)
        Of every row of the source.
    n_folds : int
    lambdas : sequence of float
    precision : Precision
        Of the folds' fits; not `proven`.
    spectrum : Spectrum, optional
        ``spectrum_of(table)``, where the caller has it.

    Returns
    -------
    Choice or None
        ``None`` when fewer than two folds can be used.

    Raises
    ------
    FitError
        When no lambda is eligible.
    """
    path = sorted(lambdas, reverse=True)
    usable, others = [], []
    for fold in range(n_folds):
        rest = tuple(k for k in range(n_folds) if k != fold)
        classes = table.row_set(table.sample.sums, 0, rest).classes
        held = table.row_set(table.sample.sums, 0, (fold,)).classes
        if classes.size > 1 and np.isin(held, classes).any():
            usable.append(fold)
            others.append(rest)
    if len(usable) < 2:
        return None
    solutions = solve_path(table, path, others, precision, spectrum)
    proven = sum(all(s.certificate.converged for s in folds) for folds in solutions)
    if proven == 0:
        raise FitError(
            f"no penalty could be chosen: fits to {len(usable)} folds did not converge at lambda={path[0]:g} within "
            f"{precision.max_passes} passes; check the embeddings for extreme values or use a larger lambda"
        )
    per_person, unscored = [], 0
    for i, fold in enumerate(usable):
        losses, index, known = losses_of_part(table, [folds[i] for folds in solutions[:proven]], fold)
        unscored += int((~known).sum())
        code = np.unique(person[index], return_inverse=True)[1]
        per_person.append(np.stack([np.bincount(code, row) for row in losses]) / np.bincount(code))
    mean, error, best = _excess(np.concatenate(per_person, axis=1))
    taken = pick(mean, error, "one-se")
    sweep: list[dict[str, Any]] = [
        {"lambda": lam, "cross_entropy": float(m), "excess_se": float(e), "converged": True}
        for lam, m, e in zip(path, mean, error, strict=False)
    ]
    sweep += [{"lambda": lam, "cross_entropy": None, "excess_se": None, "converged": False} for lam in path[proven:]]
    record = {
        "lambda": path[taken],
        "rule": RULES["one-se"],
        "sweep": sweep,
        "best_lambda": path[best],
        "at_edge": bool({best, taken} & {0, proven - 1}),
        "cv_unconverged": len(path) - proven,
        "folds_skipped": n_folds - len(usable),
        "cv_rows": len(table.sample.z),
        "cv_rows_unscored": unscored,
    }
    return Choice(path[taken], _mean_start(table, solutions[taken]), record)


def _excess(losses: F64) -> tuple[F64, F64, int]:
    """From losses (lambdas, persons): mean per lambda, standard error of its excess over the best, which is best."""
    mean = losses.mean(axis=1)
    best = int(mean.argmin())
    error = (losses - losses[best]).std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return mean, error, best


def _mean_start(table: Table, solutions: Sequence[Solution]) -> F64 | None:
    """Mean of the folds' models, as one that acts on rows standardised by all of them."""
    whole = table.row_set(table.everything.sums)
    if any(s.rowset.classes.size != whole.classes.size for s in solutions):
        return None
    total = np.zeros((whole.classes.size, whole.mean.size + 1))
    for s in solutions:
        w = np.where(s.rowset.constant, 0.0, s.theta[:, :-1] / s.rowset.scale)
        total[:, -1] += s.theta[:, -1] + w @ (whole.mean - s.rowset.mean)
        total[:, :-1] += np.where(whole.constant, 0.0, w * whole.scale)
    return total / len(solutions)
