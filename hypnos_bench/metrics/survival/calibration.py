"""Whether predicted probabilities of the event by a horizon come true: overall, by group of risk, and on average.

Observed risk is one minus Kaplan-Meier at the horizon, so that people censored before it count for as long as they were
seen. Probabilities mean the same whatever fit they come from, so rows of all folds are taken together.

References
----------
Austin, Harrell & van Klaveren 2020 (Stat Med 39:2714), McLernon et al. 2023 (Ann Intern Med 176:105),
van Houwelingen 2000 (Stat Med 19:3401).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.metrics.survival.kaplan_meier import Estimate, ProductLimit, event_probability
from hypnos_bench.metrics.survival.recalibration import baseline_hazard, fit_recalibration
from hypnos_bench.metrics.survival.rows import F64, Rows, finite_scores, person_matrix

MAX_GROUPS = 10
"""Groups of predicted risk when there are events enough."""

EVENTS_PER_GROUP = 5
"""Fewer groups are formed until each would hold this many events by the horizon, on average."""

MIN_EVENTS = 5
"""With fewer events, the regressions behind the slope and the calibration index are not made."""

_KNOTS = (0.1, 0.5, 0.9)  # quantiles for three knots (Harrell)
_EDGE = 1e-7  # a predicted probability of 0 or 1 has no complementary log-log
_Z = 1.959963984540054


@dataclass(frozen=True)
class CalibrationGroup:
    """People of similar predicted risk: how many, events by the horizon, mean predicted and observed risk."""

    n: int
    events: int
    predicted: float
    observed: Estimate


@dataclass(frozen=True)
class Calibration:
    """Calibration at one horizon.

    Parameters
    ----------
    horizon : float
    n : int
    predicted : float
        Mean predicted risk.
    observed : Estimate
        One minus Kaplan-Meier; NaN when follow-up ends before the horizon.
    expected_over_observed : float
        1 is perfect, above 1 too much risk was predicted; NaN without events.
    ici : float
        Integrated calibration index: mean absolute difference between predicted risk and the risk observed at that
        prediction, the latter smoothed by a Cox regression on a restricted cubic spline (3 knots) of the
        complementary log-log of predicted risk, follow-up ending at the horizon. 0 is perfect. NaN below `MIN_EVENTS`
        events by the horizon or where that regression has no estimate, with the reason in `ici_undefined`.
    ici_undefined : str, optional
    groups : tuple of CalibrationGroup
        By rising predicted risk; equal predictions are never torn apart.
    """

    horizon: float
    n: int
    predicted: float
    observed: Estimate
    expected_over_observed: float
    ici: float
    ici_undefined: str | None
    groups: tuple[CalibrationGroup, ...]


def calibration_at(
    time: ArrayLike, event: ArrayLike, survival: ArrayLike, horizon: float, max_groups: int = MAX_GROUPS
) -> Calibration:
    """Compare predicted survival at `horizon` with what was observed.

    Parameters
    ----------
    time, event : array, shape (n,)
    survival : array of float, shape (n,)
        Predicted probability of being event-free at the horizon.
    horizon : float
        In the unit of the times.
    max_groups : int

    Raises
    ------
    ValueError
        When shapes differ or a probability lies outside [0, 1].
    """
    rows, risk = Rows.checked(time, event), _risk(survival, np.size(time))
    observed = event_probability(rows.time, rows.event, horizon)
    ici, reason = float("nan"), None
    try:
        smoothed = _smoothed(rows, risk, horizon, observed)
        ici = float(np.abs(risk - smoothed).mean())
    except FitError as error:
        reason = str(error)
    return Calibration(
        horizon=horizon,
        n=risk.size,
        predicted=float(risk.mean()) if risk.size else float("nan"),
        observed=observed,
        expected_over_observed=float(risk.mean() / observed.value) if observed.value > 0 else float("nan"),
        ici=ici,
        ici_undefined=reason,
        groups=_groups(rows, risk, horizon, max_groups),
    )


def expected_over_observed(
    time: ArrayLike, event: ArrayLike, survival: ArrayLike, horizon: float, weights: ArrayLike, group: ArrayLike
) -> F64:
    """Mean predicted over observed risk under person weights (B, P), shape (B,); NaN without events or follow-up.

    `survival` is as in `calibration_at`, `group` (n,) the person code of each row.
    """
    rows, risk = Rows.checked(time, event, None, group), _risk(survival, np.size(time))
    drawn = person_matrix(weights)
    own = drawn.take(rows.group, axis=1)
    expected = own @ risk
    observed = own.sum(axis=1) * (1 - ProductLimit(rows.time, rows.event, group=rows.group).at([horizon], drawn)[:, 0])
    values = np.full(len(drawn), np.nan)
    np.divide(expected, observed, out=values, where=observed > 0)
    return values


def calibration_slope(time: ArrayLike, event: ArrayLike, risk: ArrayLike, stratum: ArrayLike | None = None) -> Estimate:
    """Cox coefficient of the predicted log hazard in the scored people, with its 95 % Wald interval.

    1 is perfect; below 1 the predictions are too extreme (overfitted), above 1 too timid. Each stratum keeps its own
    baseline hazard. The interval takes rows for independent.

    Raises
    ------
    FitError
        Below `MIN_EVENTS` events, or where that regression has no estimate.
    """
    _enough(np.asarray(event, dtype=bool), "events")
    column = finite_scores(risk, np.size(time))[:, None]
    fit = fit_recalibration(time, event, column, stratum)
    slope, se = float(fit.coefficients[0]), float(np.sqrt(fit.covariance[0, 0]))
    return Estimate(slope, slope - _Z * se, slope + _Z * se)


def _risk(survival: ArrayLike, n: int) -> F64:
    values = finite_scores(survival, n)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"predicted survival runs from {values.min():.6g} to {values.max():.6g}, outside [0, 1]")
    return 1 - values


def _smoothed(rows: Rows, risk: F64, horizon: float, observed: Estimate) -> F64:
    """Observed risk as a smooth function of predicted risk, at each row's prediction."""
    if np.isnan(observed.value):
        raise FitError(f"calibration: follow-up ends before the horizon of {horizon:g}")
    time, event = np.minimum(rows.time, horizon), rows.event & (rows.time <= horizon)
    _enough(event, f"events by the horizon of {horizon:g}")
    columns = _spline(np.log(-np.log1p(-np.clip(risk, _EDGE, 1 - _EDGE))))
    fit = fit_recalibration(time, event, columns)
    log_hazard = (columns - columns.mean(axis=0)) @ fit.coefficients
    log_hazard -= log_hazard.max()  # only differences count, and what is at most 0 has no exponential that overflows
    smoothed: F64 = -np.expm1(-baseline_hazard(time, event, log_hazard, horizon) * np.exp(log_hazard))
    return smoothed


def _enough(event: NDArray[np.bool_], of: str) -> None:
    if (count := int(event.sum())) < MIN_EVENTS:
        raise FitError(f"calibration: {count} {of}, fewer than {MIN_EVENTS}")


def _spline(x: F64) -> F64:
    """Restricted cubic spline with three knots: x and one bent column; x alone when knots fall together."""
    low, middle, high = np.quantile(x, _KNOTS)
    if not low < middle < high:
        return x[:, None]

    def cube(knot: float) -> F64:
        part: F64 = np.maximum(x - knot, 0.0) ** 3
        return part

    outer = (cube(low) - cube(middle) * (high - low) / (high - middle)) / (high - low) ** 2
    bent = outer + cube(high) * (middle - low) / (high - middle) / (high - low) ** 2
    return np.column_stack((x, bent))


def _groups(rows: Rows, risk: F64, horizon: float, max_groups: int) -> tuple[CalibrationGroup, ...]:
    happened = rows.event & (rows.time <= horizon)
    n_groups = int(np.clip(happened.sum() // EVENTS_PER_GROUP, 1, max_groups))
    if not risk.size:
        return ()
    edges = np.quantile(risk, np.arange(1, n_groups) / n_groups)
    place = np.searchsorted(edges, risk, side="left")
    found = []
    for code in np.unique(place):
        own = place == code
        observed = event_probability(rows.time[own], rows.event[own], horizon)
        found.append(CalibrationGroup(int(own.sum()), int(happened[own].sum()), float(risk[own].mean()), observed))
    return tuple(found)
