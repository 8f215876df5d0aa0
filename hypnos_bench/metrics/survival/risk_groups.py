"""Kaplan-Meier curves and hazard ratios by group of predicted risk, through lifelines.

What a paper shows of a risk score: do the thirds of the people separate, and by how much does the hazard rise with the
score. An estimate that does not exist comes with the reason in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics.survival.rows import F64, Rows, finite_scores

NAMES = {2: ("low", "high"), 3: ("low", "middle", "high"), 4: ("lowest", "low", "high", "highest")}
"""Names of groups by rising risk."""


@dataclass(frozen=True)
class GroupCurve:
    """Kaplan-Meier curve of one group.

    Parameters
    ----------
    name : str
    n, events : int
    time, survival, low, high : tuple of float
        Share free of the event from each time on, starting at 0 and 1, with its 95 % band (Greenwood on the
        log(-log) scale); times of events only, since the curve is level in between.
    last : float
        End of the longest follow-up, where the curve ends.
    at_risk : tuple of int
        People still at risk just before each of the times asked for.
    """

    name: str
    n: int
    events: int
    time: tuple[float, ...]
    survival: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    last: float
    at_risk: tuple[int, ...]


@dataclass(frozen=True)
class HazardRatio:
    """Hazard ratio with its 95 % interval and Wald p; all ``None`` with a `reason` when it has no estimate.

    `of` says what the ratio compares, such as ``"per sd of risk"`` or ``"high vs low"``.
    """

    of: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str | None = None


@dataclass(frozen=True)
class RiskGroups:
    """Curves by rising risk, the log-rank p over all groups, and hazard ratios.

    `log_rank_p` is ``None`` with a reason when fewer than two groups hold anybody, or there are no events.
    """

    curves: tuple[GroupCurve, ...]
    log_rank_p: float | None
    log_rank_reason: str | None
    per_sd: HazardRatio
    against_lowest: tuple[HazardRatio, ...]


def risk_groups(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    stratum: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n_groups: int = 3,
    times: Sequence[float] = (),
) -> RiskGroups:
    """Divide people by predicted risk and compare how they fare.

    Cut points are quantiles of the risks given here, within each stratum, since risks of different fits share no
    scale: the groups show how well the risk separates these people, and are no rule for others. A risk equal to a
    cut point belongs to the lower group. The sd is that of the risk within strata (pooled).

    Parameters
    ----------
    time, event : array, shape (n,)
    risk : array of float, shape (n,)
        Log hazard; finite.
    stratum : array of int, shape (n,), optional
        Hazard ratios come from Cox regressions (Efron ties) with a baseline hazard per stratum.
    group : array of int, shape (n,), optional
        Person of each row. Where a person has several rows, hazard ratios get robust intervals by person; curves and
        the log-rank test take rows for independent.
    n_groups : int
        2 (halves), 3 (thirds) or 4.
    times : sequence of float
        Where to count the people at risk.

    Raises
    ------
    UsageError
        When `n_groups` is not 2, 3 or 4.
    ValueError
        When shapes differ, or a risk is not finite.
    """
    if n_groups not in NAMES:
        raise UsageError(f"people are divided into {', '.join(map(str, NAMES))} groups by risk, not {n_groups}")
    rows = Rows.checked(time, event, stratum, group)
    risks = finite_scores(risk, rows.time.size)
    place, scaled = _divided(rows, risks, n_groups)
    names = NAMES[n_groups]
    present = [k for k in range(n_groups) if (place == k).any()]
    curves = tuple(_curve(names[k], rows.time[place == k], rows.event[place == k], times) for k in present)
    p, reason = _log_rank(rows, place)
    if scaled is None:
        per_sd = HazardRatio("per sd of risk", None, None, None, None, "all risks are the same")
    else:
        per_sd = _hazard_ratios(rows, {"per sd of risk": scaled})[0]
    return RiskGroups(curves, p, reason, per_sd, _against_lowest(rows, place, names))


def _divided(rows: Rows, risk: F64, n_groups: int) -> tuple[NDArray[np.intp], F64 | None]:
    """Each row's group, and its risk in sd; ``None`` when nothing varies."""
    place = np.zeros(risk.size, dtype=np.intp)
    centred = np.zeros(risk.size)
    for members in rows.strata():
        cuts = np.quantile(risk[members], np.arange(1, n_groups) / n_groups)
        place[members] = np.searchsorted(cuts, risk[members], side="left")
        centred[members] = risk[members] - risk[members].mean()
    sd = float(np.sqrt((centred**2).mean())) if risk.size else 0.0
    largest = float(np.abs(risk).max(initial=1.0))
    return place, centred / sd if sd > 1e-12 * largest else None


def _curve(name: str, time: F64, event: NDArray[np.bool_], times: Sequence[float]) -> GroupCurve:
    from lifelines import KaplanMeierFitter

    fitter = KaplanMeierFitter().fit(time, event)
    estimate = fitter.survival_function_.iloc[:, 0]
    band = fitter.confidence_interval_
    at = np.unique(np.concatenate(([0.0], time[event])))
    low, high = (band.iloc[:, k].reindex(at).to_numpy(dtype=np.float64) for k in range(2))
    whole = np.isnan(low)  # before the first event nothing is uncertain; at 0 survivors the scale has no value
    survival = estimate.reindex(at).to_numpy(dtype=np.float64)
    low, high = np.where(whole, survival, low), np.where(whole, survival, high)
    return GroupCurve(
        name=name,
        n=time.size,
        events=int(event.sum()),
        time=tuple(at.tolist()),
        survival=tuple(survival.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        last=float(time.max()),
        at_risk=tuple(int((time >= t).sum()) for t in times),
    )


def _log_rank(rows: Rows, place: NDArray[np.intp]) -> tuple[float | None, str | None]:
    from lifelines.statistics import multivariate_logrank_test

    if np.unique(place).size < 2:
        return None, "all risks are the same"
    if not rows.event.any():
        return None, "no events"
    return float(multivariate_logrank_test(rows.time, place, rows.event).p_value), None


def _against_lowest(rows: Rows, place: NDArray[np.intp], names: Sequence[str]) -> tuple[HazardRatio, ...]:
    """Each group against the lowest; one without events would have an infinite coefficient, and has no ratio."""
    present = [int(k) for k in np.unique(place)]
    labels = {k: f"{names[k]} vs {names[present[0]]}" for k in present[1:]}
    with_events = [k for k in present if rows.event[place == k].any()]
    if present and present[0] not in with_events:
        return tuple(_without_estimate(labels.values(), f"no events in group {names[present[0]]}"))
    # As the coefficient of a group falls to minus infinity its rows drop out of the likelihood: leave them out.
    kept = np.isin(place, with_events)
    fitted = _hazard_ratios(
        Rows(rows.time[kept], rows.event[kept], rows.stratum[kept], rows.group[kept]),
        {labels[k]: (place[kept] == k).astype(np.float64) for k in with_events[1:]},
    )
    found = {ratio.of: ratio for ratio in fitted}
    missing = {r.of: r for k in labels for r in _without_estimate([labels[k]], f"no events in group {names[k]}")}
    return tuple(found.get(label, missing[label]) for label in labels.values())


def _hazard_ratios(rows: Rows, columns: dict[str, F64]) -> tuple[HazardRatio, ...]:
    """One Cox regression on all the columns."""
    if not columns:
        return ()
    if not rows.event.any():
        return _without_estimate(columns, "no events")
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError, ConvergenceWarning

    frame, options = _frame(rows, columns)
    try:
        with warnings.catch_warnings():
            # lifelines warns, and returns numbers all the same, when Newton's method did not converge.
            warnings.simplefilter("error", ConvergenceWarning)
            fitted = CoxPHFitter().fit(frame, **options)
    except (ConvergenceError, ConvergenceWarning) as error:
        sentence = " ".join(str(error).split()).partition(". ")[0]
        return _without_estimate(columns, f"Cox regression: {sentence}")
    names = ("exp(coef)", "exp(coef) lower 95%", "exp(coef) upper 95%", "p")
    table = fitted.summary[list(names)].to_numpy(dtype=np.float64).tolist()
    return tuple(HazardRatio(of, *row) for of, row in zip(columns, table, strict=True))


def _frame(rows: Rows, columns: dict[str, F64]) -> tuple[Any, dict[str, Any]]:
    import pandas as pd

    frame = pd.DataFrame({f"x{k}": values for k, values in enumerate(columns.values())})
    frame["time"], frame["event"] = rows.time, rows.event
    options: dict[str, Any] = {"duration_col": "time", "event_col": "event"}
    if np.unique(rows.stratum).size > 1:
        frame["stratum"] = rows.stratum
        options["strata"] = ["stratum"]
    if np.unique(rows.group).size < rows.group.size:
        frame["person"] = rows.group
        options["cluster_col"] = "person"
    return frame, options


def _without_estimate(labels: Iterable[str], reason: str) -> tuple[HazardRatio, ...]:
    return tuple(HazardRatio(label, None, None, None, None, reason) for label in labels)
