"""Fitting the Cox head: triage, choice of penalties, batched fits, proof for every outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.heads.base import Certificate
from hypnos_bench.heads.cox.choose import Folds, choose, fold_events
from hypnos_bench.heads.cox.degenerate import Triage, check_rows, none_fitted, triage
from hypnos_bench.heads.cox.exact import NotEstimableError, newton
from hypnos_bench.heads.cox.features import Standardised, fold_scales, standardise
from hypnos_bench.heads.cox.head import Baseline, CoxHead
from hypnos_bench.heads.cox.likelihood import TIES, RiskSets, baseline_hazard, loss_at
from hypnos_bench.heads.cox.solver import Features, Problem, minimise
from hypnos_bench.heads.persons import fold_of_rows
from hypnos_bench.heads.rule import check_rule
from hypnos_bench.heads.survival_rows import SurvivalRows
from hypnos_bench.registry import did_you_mean

F64 = NDArray[np.float64]

COX_SETTINGS: Mapping[str, Any] = {
    "ties": "efron",  # or "breslow"
    # Per-event penalties to choose from; a single one is used as it is, and only a single one may be 0.
    "penalties": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0],
    "rule": "min",  # the penalty of the least held-out loss, or "one-se"
    "cv_folds": 5,  # grouped by person; also the fewest persons for cross-validation
    "min_fold_events": 5,  # an outcome with fewer events than this in some fold gets the prior penalty
    "prior": 1.0,  # then penalty = prior * features / events: the log hazard's prior variance over persons is 1 / prior
    "min_events": 10,  # fewer are marked as few, and refused without a penalty
    "tolerance": 1e-4,  # bound on the distance of every standardised coefficient to the optimum
    "relative_tolerance": 1e-3,  # and on that of all of them together (Euclidean norm), as a share of their own size
    "cv_tolerance": 1e-6,  # bound on the excess objective per event of fits that only choose the penalty
    "max_iterations": 500,  # evaluations of each fit
}
"""Every setting that can change a number, with its default."""

_BLOCK_CELLS = 2**22  # problems times rows of one batch
_BLOCK_PROBLEMS = 128
_CHUNK_ROWS = 2048
_NEWTON_STEP = 1e-8


def fit_cox(rows: SurvivalRows, settings: Mapping[str, Any]) -> CoxHead:
    """Fit a ridge-penalised Cox model for every outcome that allows one.

    Penalties are chosen for each outcome by cross-validation over persons inside the budget, in folds that all
    outcomes share: the penalty of the least held-out partial likelihood loss (``rule = "min"``), or the largest within
    one standard error, of paired differences between folds, of it (``"one-se"``; see `choose`). Features are
    standardised anew in every fold. With fewer persons than folds, or fewer than ``min_fold_events`` events in some
    fold, the penalty is ``prior * d / events``. An outcome that cannot be fitted gets NaN and a status that says why;
    it never fails the others. Where no outcome at all can be fitted, nothing is.

    Without a penalty (``penalties=[0]``) every outcome is fitted by Newton's method in float64, and collinear features
    and separation are refused.

    Memory: a float32 copy of the features, and batches of at most 2**22 linear predictors at a time.
    Deterministic for a given number of BLAS threads.

    Parameters
    ----------
    rows : SurvivalRows
    settings : mapping
        Overrides of `COX_SETTINGS`.

    Raises
    ------
    FitError
        Rows that do not fit together, features that are not finite or do not vary, times at risk that are missing or
        not positive; or no outcome that can be fitted, with what became of each (or of how many).
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = _settings(settings)
    check_rows(rows)
    table = standardise(rows.x)
    penalised = chosen["penalties"] != [0.0]
    sorted_out = [triage(rows, i, min_events=chosen["min_events"], penalised=penalised) for i in range(len(rows.names))]
    fits = [i for i, found in enumerate(sorted_out) if found.fits]
    models = _Models(rows, table, sorted_out)
    if penalised and fits:
        features = Features.of(table.z)
        choices = _choices(features, rows, fits, sorted_out, int((~table.moments.constant).sum()), chosen)
        for block in _blocks(fits, _block_size(len(rows.x))):
            _fit_block(models, features, block, choices, chosen)
    else:
        for i in fits:
            models.newton(i, _sets(rows, i, chosen["ties"]), _fixed(0.0), np.zeros(rows.x.shape[1]), chosen)
    return models.head(chosen)


def _fit_block(
    models: _Models,
    features: Features,
    block: Sequence[int],
    choices: Mapping[int, Mapping[str, Any]],
    chosen: Mapping[str, Any],
) -> None:
    """Fit outcomes at their penalties; what the batched solver does not finish goes on by Newton's method."""
    ones, zeros = np.ones(features.z.shape[1]), np.zeros(features.z.shape[1])
    sets = [_sets(models.rows, i, chosen["ties"]) for i in block]
    problems = [Problem(s, choices[i]["penalty"], ones, zeros) for s, i in zip(sets, block, strict=True)]
    limits = np.array([0.5 * p.lam for p in problems]) * chosen["tolerance"] ** 2
    solved = minimise(
        features,
        problems,
        limits,
        max_evaluations=chosen["max_iterations"],
        certify=True,
        relative=chosen["relative_tolerance"],
    )
    eta = predictors(features.z, solved.theta)
    for row, i in enumerate(block):
        if not solved.converged[row]:
            models.newton(i, sets[row], choices[i], solved.theta[row], chosen)
            continue
        proof = Certificate(
            converged=True,
            newton_decrement=float(solved.gap[row]),
            gradient_norm=float(solved.gradient_norm[row]),
            tolerance=float(solved.limit[row]),
            criterion="||gradient||^2 / (2 penalty), which bounds newton_decrement: no standardised coefficient is "
            f"further than {chosen['tolerance']:g} from the optimum, nor all together further than "
            f"{chosen['relative_tolerance']:g} of their norm",
            iterations=int(solved.evaluations[row]),
        )
        facts = {**choices[i], "loss": float(solved.loss[row]), "solver": "batched"}
        models.keep(i, solved.theta[row], sets[row], eta[row], proof, facts)


def predictors(z: NDArray[np.float32], theta: F64) -> F64:
    """Linear predictors in float64, shape (B, n), without a float64 copy of all features."""
    eta = np.empty((len(theta), len(z)))
    for low in range(0, len(z), _CHUNK_ROWS):
        eta[:, low : low + _CHUNK_ROWS] = theta @ z[low : low + _CHUNK_ROWS].astype(np.float64).T
    return eta


class _Models:
    """Models as they are finished, and the head they make."""

    def __init__(self, rows: SurvivalRows, table: Standardised, sorted_out: Sequence[Triage]) -> None:
        self.rows, self.table, self._triage = rows, table, sorted_out
        m = len(rows.names)
        self._coefficients = np.full((m, rows.x.shape[1]), np.nan)
        self._baselines: list[Baseline | None] = [None] * m
        self._certificates = [_no_model(found.status) for found in sorted_out]
        self._outcomes: list[dict[str, Any]] = [
            {
                "name": name,
                "n": found.n,
                "events": found.events,
                "excluded": found.excluded,
                "status": found.status,
                "fitted": False,
                "message": found.message,
                **_NO_CHOICE,
            }
            for name, found in zip(rows.names, sorted_out, strict=True)
        ]

    def keep(
        self, index: int, theta: F64, sets: RiskSets, eta: F64, proof: Certificate, facts: Mapping[str, Any]
    ) -> None:
        """A converged model."""
        self._coefficients[index] = np.where(self.table.moments.constant, 0.0, theta)
        until = float(self.rows.time[self.rows.at_risk[:, index], index].max())
        self._baselines[index] = Baseline(sets.times, baseline_hazard(sets, eta), until)
        self._certificates[index] = proof
        self._outcomes[index].update(facts, fitted=True)

    def refuse(self, index: int, status: str, message: str, facts: Mapping[str, Any]) -> None:
        """No model after all."""
        self._certificates[index] = _no_model(status)
        self._outcomes[index].update(facts, status=status, message=message, loss=None)

    def newton(
        self, index: int, sets: RiskSets, choice: Mapping[str, Any], start: F64, chosen: Mapping[str, Any]
    ) -> None:
        """Fit in float64 by Newton's method, or refuse."""
        varies = ~self.table.moments.constant
        z = self.rows.x[:, varies].astype(np.float64)
        z -= self.table.moments.mean[varies]
        z /= self.table.moments.scale[varies]
        facts = {**choice, "solver": "newton"}
        step = min(_NEWTON_STEP, chosen["tolerance"])
        try:
            found, decrement, norm, iterations = newton(
                z, sets, choice["penalty"], start[varies], tolerance=step, max_iterations=chosen["max_iterations"]
            )
        except NotEstimableError as error:
            self.refuse(index, error.status, str(error), facts)
            return
        except FitError as error:
            self.refuse(index, "unconverged", str(error), facts)
            return
        theta = np.zeros(varies.size)
        theta[varies] = found
        eta = z @ found
        criterion = f"no entry of the next Newton step above {step:g}, in float64"
        objective = float(loss_at(sets, eta)) / sets.n_events
        proof = Certificate(True, decrement, norm, step, criterion, iterations)
        self.keep(index, theta, sets, eta, proof, {**facts, "loss": objective})

    def head(self, chosen: Mapping[str, Any]) -> CoxHead:
        """Everything in its place, if there is anything."""
        if not any(outcome["fitted"] for outcome in self._outcomes):
            raise none_fitted(self._outcomes)
        selected = {
            "ties": chosen["ties"],
            "penalty_scale": "per event, on features standardised by all training rows",
            "n_rows": len(self.rows.x),
            "n_persons": int(np.unique(self.rows.person).size),
            "n_features": int(self.rows.x.shape[1]),
            "constant_features": np.flatnonzero(self.table.moments.constant).tolist(),
            "statuses": dict(sorted(Counter(outcome["status"] for outcome in self._outcomes).items())),
            "outcomes": self._outcomes,
        }
        return CoxHead(
            names=self.rows.names,
            moments=self.table.moments,
            coefficients=self._coefficients,
            baselines=tuple(self._baselines),
            certificates=tuple(self._certificates),
            selected=selected,
        )


_NO_CHOICE: Mapping[str, Any] = {
    "penalty": None,
    "rule": None,
    "sweep": [],
    "best_penalty": None,
    "null_loss": None,
    "at_edge": False,
    "cv_unconverged": 0,
    "loss": None,
    "solver": None,
}


def _no_model(status: str) -> Certificate:
    return Certificate(False, float("nan"), float("nan"), float("nan"), f"not fitted: {status}", 0)


def _fixed(penalty: float, rule: str = "fixed") -> dict[str, Any]:
    return {**_NO_CHOICE, "penalty": penalty, "rule": rule}


def _choices(
    features: Features,
    rows: SurvivalRows,
    fits: Sequence[int],
    sorted_out: Sequence[Triage],
    n_varying: int,
    chosen: Mapping[str, Any],
) -> dict[int, Mapping[str, Any]]:
    """Penalty of each outcome, and how it was chosen."""
    penalties: list[float] = chosen["penalties"]
    if len(penalties) == 1:
        return {i: _fixed(penalties[0]) for i in fits}
    choices: dict[int, Mapping[str, Any]] = {
        i: _fixed(chosen["prior"] * n_varying / sorted_out[i].events, "prior") for i in fits
    }
    n_folds = chosen["cv_folds"]
    if np.unique(rows.person).size < n_folds:
        return choices
    of_row = fold_of_rows(rows.person, n_folds)
    folds = Folds(of_row, n_folds, fold_scales(features.z, of_row, n_folds))
    enough = max(1, chosen["min_fold_events"])
    able = [i for i in fits if fold_events(rows, i, folds).min() >= enough and sorted_out[i].status == "fitted"]
    for block in _blocks(able, max(1, _block_size(len(rows.x)) // n_folds)):
        choices.update(zip(block, choose(features, rows, block, folds, chosen), strict=True))
    return choices


def _sets(rows: SurvivalRows, index: int, ties: str) -> RiskSets:
    return RiskSets.of(rows.time[:, index], rows.event[:, index], rows.at_risk[:, index], ties)


def _block_size(n: int) -> int:
    return int(np.clip(_BLOCK_CELLS // n, 1, _BLOCK_PROBLEMS))


def _blocks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for low in range(0, len(items), size):
        yield items[low : low + size]


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in COX_SETTINGS:
            raise UsageError(
                f"the Cox head has no setting {name!r}.{did_you_mean(name, COX_SETTINGS)} "
                f"Known: {', '.join(COX_SETTINGS)}"
            )
    merged = {**COX_SETTINGS, **settings}
    merged["penalties"] = sorted({float(lam) for lam in merged["penalties"]})
    if merged["ties"] not in TIES:
        raise UsageError(f"Cox head: ties must be one of {', '.join(TIES)}, not {merged['ties']!r}")
    if not merged["penalties"] or not all(0 <= lam < np.inf for lam in merged["penalties"]):
        raise UsageError("Cox head: penalties must be a list of finite numbers that are not negative")
    if merged["penalties"][0] == 0 and len(merged["penalties"]) > 1:
        raise UsageError("Cox head: a penalty of 0 cannot be one among several; ask for penalties = [0] alone")
    if not all(0 < merged[name] < np.inf for name in ("prior", "tolerance", "relative_tolerance", "cv_tolerance")):
        raise UsageError("Cox head: prior, tolerance, relative_tolerance and cv_tolerance must be positive numbers")
    check_rule("Cox", merged["rule"])
    if (
        merged["cv_folds"] < 2
        or merged["max_iterations"] < 1
        or min(merged["min_fold_events"], merged["min_events"]) < 1
    ):
        raise UsageError(
            "Cox head: cv_folds must be at least 2, and max_iterations, min_fold_events and min_events at least 1"
        )
    return merged
