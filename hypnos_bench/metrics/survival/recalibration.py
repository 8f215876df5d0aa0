"""Unpenalised Cox regression on one or a few columns: how predicted risk would have to be bent to fit what happened.

Small on purpose. Heads learn risk from embeddings; this only judges a risk that is already there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hypnos_bench.errors import FitError
from hypnos_bench.metrics.survival.rows import F64, Index, Rows

_MAX_STEPS = 50
_DECREMENT = 1e-10  # Newton decrement at which the fit is done
_FAR = 0.1  # change of a log hazard that the last step of a finite estimate does not make
_LONGEST = 20.0  # change of a log hazard by one step: from flat regions Newton's method leaps out of reach
_WIDEST = 600.0  # range of log hazards beyond which the lowest exponentials vanish beside the highest
_SEPARATED = "recalibration: events are perfectly separated, no finite estimate exists"


@dataclass(frozen=True)
class Recalibration:
    """A fitted Cox regression.

    Parameters
    ----------
    coefficients : ndarray of float64, shape (d,)
    covariance : ndarray of float64, shape (d, d)
        Inverse of the observed information.
    log_likelihood : float
        Partial log-likelihood.
    """

    coefficients: F64
    covariance: F64
    log_likelihood: float


class _Stratum(NamedTuple):
    """A stratum's rows by falling time, so that sums over those at risk are running sums."""

    x: F64
    death: F64
    last: Index  # per row: the last row with its time, up to which all are at risk


def fit_recalibration(
    time: ArrayLike, event: ArrayLike, x: ArrayLike, stratum: ArrayLike | None = None
) -> Recalibration:
    """Maximise the partial likelihood by Newton's method, tied events by Breslow.

    Parameters
    ----------
    time, event : array, shape (n,)
    x : array of float, shape (n, d)
        Finite.
    stratum : array of int, shape (n,), optional
        Each stratum has a baseline hazard of its own.

    Raises
    ------
    FitError
        Without events, when columns do not vary independently among those at risk, or when no finite estimate exists.
    ValueError
        When shapes do not match.
    """
    rows = Rows.checked(time, event, stratum)
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 2 or len(values) != rows.time.size:
        raise ValueError(f"columns of shape {values.shape} do not fit {rows.time.size} rows")
    if not rows.event.any():
        raise FitError("recalibration: no events")
    spread = values.std(axis=0)
    if not (spread > 1e-12 * np.maximum(1.0, np.abs(values).max(axis=0))).all():
        raise FitError("recalibration: a column does not vary")
    scaled = (values - values.mean(axis=0)) / spread
    parts = [_by_falling_time(rows, scaled, members) for members in rows.strata()]
    beta = np.zeros(values.shape[1])
    likelihood, gradient, information = _derivatives(parts, beta)
    for _ in range(_MAX_STEPS):
        step = _newton_step(information, gradient, started=bool(beta.any()))
        decrement = float(gradient @ step)
        change = max(float(np.abs(part.x @ step).max()) for part in parts)
        step *= min(1.0, _LONGEST / change) if change > 0 else 1.0
        beta, (likelihood, gradient, information) = _moved(parts, beta, step, likelihood)
        if decrement < _DECREMENT:
            # On the way to infinity the likelihood rises ever less while steps stay as long as they are.
            if change > _FAR:
                raise FitError(_SEPARATED)
            inverse = np.linalg.inv(information)
            return Recalibration(beta / spread, inverse / np.outer(spread, spread), likelihood)
    raise FitError(f"recalibration: not converged after {_MAX_STEPS} Newton steps")


def baseline_hazard(time: ArrayLike, event: ArrayLike, log_hazard: ArrayLike, by: float) -> float:
    """Breslow's cumulative baseline hazard at `by` for given log hazards, one stratum.

    Centre the log hazards so that the largest is 0: their exponentials are summed as they are.
    """
    rows = Rows.checked(time, event)
    part = _by_falling_time(rows, np.asarray(log_hazard, dtype=np.float64)[:, None], np.arange(rows.time.size))
    at_risk = np.cumsum(np.exp(part.x[:, 0]))[part.last]
    falling = np.sort(rows.time)[::-1]
    counted = (part.death > 0) & (falling <= by)
    return float((1 / at_risk[counted]).sum())


def _by_falling_time(rows: Rows, x: F64, members: Index) -> _Stratum:
    order = members[np.argsort(-rows.time[members], kind="stable")]
    falling = -rows.time[order]
    return _Stratum(x[order], rows.event[order].astype(np.float64), np.searchsorted(falling, falling, side="right") - 1)


def _derivatives(parts: list[_Stratum], beta: F64) -> tuple[float, F64, F64]:
    """Log-likelihood, gradient, information; minus infinity where log hazards lie too far apart to compute."""
    d = beta.size
    likelihood, gradient, information = 0.0, np.zeros(d), np.zeros((d, d))
    for x, death, last in parts:
        eta = x @ beta
        top = eta.max()
        if not top - eta.min() < _WIDEST:
            return -np.inf, gradient, information
        hazard = np.exp(eta - top)
        died = death > 0
        at = last[died]
        total = np.cumsum(hazard)[at]
        mean = np.cumsum(hazard[:, None] * x, axis=0)[at] / total[:, None]
        likelihood += float((eta[died] - top - np.log(total)).sum())
        gradient += (x[died] - mean).sum(axis=0)
        # Sum over events of E[xx'], as one product: a row counts in all events at or before its time.
        share = np.bincount(at, weights=1 / total, minlength=len(x))
        exposure = hazard * np.cumsum(share[::-1])[::-1]
        information += (x * exposure[:, None]).T @ x - mean.T @ mean
    return likelihood, gradient, information


def _moved(parts: list[_Stratum], beta: F64, step: F64, before: float) -> tuple[F64, tuple[float, F64, F64]]:
    """Go as far along the step as the likelihood does not fall, and look around there."""
    # Terms as large as log hazards cancel in the likelihood: it is known to so much of them, not of itself.
    rounding = 1e-12 * (abs(before) + sum(float(np.abs(part.x @ beta) @ part.death) for part in parts))
    blocked = False
    for _ in range(30):
        found = _derivatives(parts, beta + step)
        blocked = blocked or np.isinf(found[0])
        if found[0] >= before - rounding:
            return beta + step, found
        step = step / 2
    if blocked:
        raise FitError("recalibration: events are separated, perfectly or nearly so, no usable estimate exists")
    raise FitError("recalibration: no step raises the likelihood")


def _newton_step(information: F64, gradient: F64, started: bool) -> F64:
    try:
        factor = np.linalg.cholesky(information)
    except np.linalg.LinAlgError:
        # Columns that told something at the start tell nothing where every event is certain.
        dependent = "recalibration: columns do not vary independently among those at risk"
        raise FitError(_SEPARATED if started else dependent) from None
    step: F64 = np.linalg.solve(factor.T, np.linalg.solve(factor, gradient))
    return step
