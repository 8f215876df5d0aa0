"""One Cox model by Newton's method in float64, with standard errors: for small models and as a yardstick.

The objective is that of the head (see `hypnos_bench.heads.cox`): the negative log partial likelihood per event plus
``lambda / 2 * ||theta||^2`` on features standardised by the rows of this model, population standard deviation. With
``penalty=0`` this is the model of R's ``coxph``, and results on the raw scale do not depend on standardisation.
The information matrix takes one product of the features with themselves and one of the risk-set means, O(n d^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.heads.cox.likelihood import TIES, RiskSets, Scan, compares, loss_at, residuals, scan

F64 = NDArray[np.float64]

_ARMIJO = 1e-4
_MAX_HALVINGS = 40
_SINGULAR = 1e-10  # least eigenvalue of the information at zero, relative to the largest
_ALMOST = 1e-6  # decrement per event below which a finite optimum takes small steps only
_FAR = 0.5  # change of the log relative hazard that is not small
_ABSURD = 200.0  # range of log relative hazards that no cohort has
_SMALL = 1e-6  # a step that is small beside the coefficients, however small these are
_ROUNDING = 1e-24  # decrement per event that float64 cannot lower


class NotEstimableError(FitError):
    """The unpenalised model has no finite or no unique optimum.

    Parameters
    ----------
    status : {"separated", "collinear"}
    message : str
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[NotEstimableError], tuple[str, str]]:
        return (type(self), (self.status, str(self)))


@dataclass(frozen=True)
class ExactCox:
    """A Cox model of one outcome.

    Parameters
    ----------
    coefficients : ndarray, shape (d,)
        Log hazard ratio per unit of each feature; exactly zero for a constant feature.
    standard_errors : ndarray, shape (d,)
        From the inverse of the (penalised) information matrix; NaN for a constant feature. With a penalty they
        describe the penalised fit and are too small for confidence intervals.
    standardised : ndarray, shape (d,)
        Log hazard ratio per (population) standard deviation.
    log_likelihood, null_log_likelihood : float
        Log partial likelihood without the penalty, at the optimum and at zero.
    likelihood_ratio : float
        Twice their difference; chi-squared with as many degrees of freedom as features that vary, if unpenalised.
    constant_features : list of int
    n, n_events : int
    newton_decrement : float
        g' H^-1 g / 2 of the objective (per event) at the optimum.
    gradient_norm : float
        Largest absolute entry of its gradient, per standard deviation.
    iterations : int
    """

    coefficients: F64
    standard_errors: F64
    standardised: F64
    log_likelihood: float
    null_log_likelihood: float
    likelihood_ratio: float
    constant_features: list[int]
    n: int
    n_events: int
    newton_decrement: float
    gradient_norm: float
    iterations: int


def exact_cox(
    x: NDArray[np.floating[Any]],
    time: F64,
    event: NDArray[np.bool_],
    *,
    penalty: float = 0.0,
    ties: str = "efron",
    max_iterations: int = 100,
) -> ExactCox:
    """Fit one outcome.

    Parameters
    ----------
    x : ndarray, shape (n, d)
    time : ndarray, shape (n,)
        Positive.
    event : ndarray of bool, shape (n,)
    penalty : float
        lambda, per event, on standardised features.
    ties : {"efron", "breslow"}
    max_iterations : int
        Newton steps.

    Raises
    ------
    NotEstimableError
        Without a penalty: collinear features, or a combination of them that predicts the order of events perfectly.
    FitError
        Rows that cannot be used, no events, or no convergence.
    """
    values, times, happened = _checked(x, time, event, penalty, ties)
    mean, sd = values.mean(axis=0), values.std(axis=0)
    constant = sd <= 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    z = (values[:, ~constant] - mean[~constant]) / sd[~constant]
    if not compares(times, happened):
        raise FitError(
            "Cox model: whoever is at risk at an event time has the event then, so there is nothing to compare"
        )
    sets = RiskSets.of(times, happened, np.ones(len(z), dtype=bool), ties)
    theta, decrement, norm, iterations = newton(z, sets, penalty, np.zeros(z.shape[1]), max_iterations=max_iterations)
    eta = z @ theta
    found = scan(sets, eta)
    null = -loss_at(sets, np.zeros(len(z)))
    information = hessian(z, sets, found) + penalty * sets.n_events * np.eye(z.shape[1])
    coefficients, errors, standardised = (np.zeros(x.shape[1]), np.full(x.shape[1], np.nan), np.zeros(x.shape[1]))
    standardised[~constant] = theta
    coefficients[~constant] = theta / sd[~constant]
    errors[~constant] = np.sqrt(np.diag(np.linalg.inv(information))) / sd[~constant]
    return ExactCox(
        coefficients=coefficients,
        standard_errors=errors,
        standardised=standardised,
        log_likelihood=-found.loss,
        null_log_likelihood=null,
        likelihood_ratio=2 * (-found.loss - null),
        constant_features=np.flatnonzero(constant).tolist(),
        n=len(z),
        n_events=sets.n_events,
        newton_decrement=decrement,
        gradient_norm=norm,
        iterations=iterations,
    )


def _checked(
    x: NDArray[np.floating[Any]], time: F64, event: NDArray[np.bool_], penalty: float, ties: str
) -> tuple[F64, F64, NDArray[np.bool_]]:
    values, times = np.asarray(x, dtype=np.float64), np.asarray(time, dtype=np.float64)
    happened = np.asarray(event, dtype=bool)
    if values.ndim != 2 or times.shape != (len(values),) or happened.shape != times.shape or values.shape[1] == 0:
        raise FitError(f"Cox model: features {values.shape}, times {times.shape} and events {happened.shape} differ")
    if not (np.isfinite(values).all() and np.isfinite(times).all() and (times > 0).all()):
        raise FitError("Cox model: features must be finite and times positive; drop rows where they are not")
    if not happened.any():
        raise FitError(f"Cox model: none of {len(times)} rows has an event")
    if ties not in TIES or not 0 <= penalty < np.inf:
        raise FitError(f"Cox model: ties must be one of {', '.join(TIES)} and the penalty finite and not negative")
    return values, times, happened


def newton(
    z: F64, sets: RiskSets, penalty: float, start: F64, *, tolerance: float = 1e-10, max_iterations: int = 100
) -> tuple[F64, float, float, int]:
    """Minimise over features `z` (n, d) as they are.

    Returns
    -------
    theta : ndarray, shape (d,)
        Where the next Newton step would change no coefficient by more than `tolerance`, nor by more than a millionth of
        the largest one, or nothing float64 could tell.
    newton_decrement, gradient_norm : float
        At `theta`, of the objective per event.
    iterations : int

    Raises
    ------
    NotEstimableError, FitError
    """
    theta = np.array(start, dtype=np.float64)
    value, gradient, curvature = _evaluate(z, sets, penalty, theta)
    if not np.isfinite(value):
        theta = np.zeros_like(theta)
        value, gradient, curvature = _evaluate(z, sets, penalty, theta)
    if penalty == 0:
        _check_rank(curvature if not theta.any() else _evaluate(z, sets, penalty, np.zeros_like(theta))[2])
    decrement = np.inf
    for iteration in range(max_iterations + 1):
        step, decrement = _newton_step(curvature, gradient)
        if penalty == 0 and _runs_away(z, theta, step, decrement):
            raise NotEstimableError(
                "separated",
                "a combination of features predicts who has the event first without error (or nearly), so the "
                "unpenalised coefficients are infinite; use a penalty",
            )
        small = min(tolerance, _SMALL * float(np.abs(theta).max(initial=0.0)))
        if np.abs(step).max(initial=0.0) <= small or decrement <= _ROUNDING:
            return theta, decrement, float(np.abs(gradient).max(initial=0.0)), iteration
        if iteration == max_iterations:
            break
        theta, value, gradient, curvature = _line_search(z, sets, penalty, theta, value, step, decrement)
    raise FitError(
        f"Cox model did not converge in {max_iterations} Newton steps (decrement {decrement:.3g}); "
        "check the features for extreme values or use a larger penalty"
    )


def _runs_away(z: F64, theta: F64, step: F64, decrement: float) -> bool:
    """Whether there is next to nothing left to gain and yet far to go, or hazards already differ beyond belief."""
    return bool((decrement < _ALMOST and np.ptp(z @ step) > _FAR) or np.ptp(z @ theta) > _ABSURD)


def _line_search(
    z: F64, sets: RiskSets, penalty: float, theta: F64, value: float, step: F64, decrement: float
) -> tuple[F64, float, F64, F64]:
    size = 1.0
    slack = 1e-13 * max(1.0, abs(value))
    for _ in range(_MAX_HALVINGS):
        trial = theta + size * step
        new, gradient, curvature = _evaluate(z, sets, penalty, trial)
        if new <= value - _ARMIJO * size * 2 * decrement + slack:
            return trial, new, gradient, curvature
        size *= 0.5
    raise FitError("Cox model: no step lowers the objective; check the features for extreme values")


def _newton_step(curvature: F64, gradient: F64) -> tuple[F64, float]:
    try:
        step = np.asarray(-np.linalg.solve(curvature, gradient), dtype=np.float64)
    except np.linalg.LinAlgError:
        step = np.asarray(-np.linalg.lstsq(curvature, gradient, rcond=None)[0], dtype=np.float64)
    return step, -0.5 * float(gradient @ step)


def _check_rank(information: F64) -> None:
    values, vectors = np.linalg.eigh(information)
    rank = int((values > _SINGULAR * values[-1]).sum())
    if rank < len(values):
        parts = np.abs(vectors[:, : len(values) - rank]).max(axis=1)
        involved = np.flatnonzero(parts > 0.1 * parts.max())[:8].tolist()
        raise NotEstimableError(
            "collinear",
            f"{len(values)} features carry only {rank} independent pieces of information about this outcome "
            f"(among those involved: {involved}, counted without constant ones); drop features or use a penalty",
        )


def _evaluate(z: F64, sets: RiskSets, penalty: float, theta: F64) -> tuple[float, F64, F64]:
    """Objective, gradient and Hessian, per event."""
    found = scan(sets, z @ theta)
    if not np.isfinite(found.loss):
        return np.inf, np.full(theta.shape, np.nan), np.full((theta.size, theta.size), np.nan)
    left = np.empty(len(z))
    residuals(sets, found, left)
    value = found.loss / sets.n_events + 0.5 * penalty * float(theta @ theta)
    gradient = -(left @ z) / sets.n_events + penalty * theta
    return value, gradient, hessian(z, sets, found) / sets.n_events + penalty * np.eye(theta.size)


def hessian(z: F64, sets: RiskSets, found: Scan) -> F64:
    """Information matrix of the partial likelihood, shape (d, d).

    The sum over events of the covariance of the features within the risk set, weighted by exp(eta); under Efron's
    rule the l-th of d tied events counts the tied ones with a weight less by l / d.
    """
    rows = z[sets.rows]
    weighted = rows * found.weight[:, None]
    totals = np.add.reduceat(weighted, sets.starts, axis=0)[::-1].cumsum(axis=0)[::-1]
    means = totals[sets.group]
    if sets.split:
        own = np.add.reduceat(weighted[sets.events], sets.first, axis=0)
        means = means - sets.share[:, None] * own[sets.group]
    means = means * found.inverse[:, None]
    second = rows.T @ (rows * found.expected[:, None])
    return np.asarray(second - means.T @ means, dtype=np.float64)
