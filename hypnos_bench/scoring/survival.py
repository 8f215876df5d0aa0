"""Scores of predicted risk: per outcome and as their mean, at the test data, and in bootstrap replicates.

Rows are compared within the fold that scored them, since risks of different fits share no scale. Risks and times are
scored as they are stored, in float32: a comparison read from side files repeats a cell's numbers to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics.catalogue import Metric
from hypnos_bench.metrics.registry import find_metric
from hypnos_bench.metrics.survival.risk_groups import RiskGroups, risk_groups
from hypnos_bench.metrics.survival.rows import person_matrix
from hypnos_bench.scoring.entries import F64, draws, entry, person_codes
from hypnos_bench.scoring.survival_outcome import FollowedOutcome
from hypnos_bench.store.side import SurvivalSide

MIN_EVENTS = 5
"""A score needs this many test events (by its horizon), and at a horizon as many people known to be free of it then."""

CALIBRATION_TABLES = 50
"""With more outcomes than this, calibration is summarised without its table of groups."""


@dataclass(frozen=True)
class SurvivalPredictions:
    """Test predictions of one cell, one row per recording (usually one per person).

    Parameters
    ----------
    recordings, persons : sequence of str, length R
    outcomes : tuple of str, length M
    fold : ndarray of int32, shape (R,)
        Which fold's fit scored the row.
    risk : ndarray of float, shape (R, M)
        Log relative hazard; NaN where the outcome was not fitted.
    time : ndarray of float, shape (R, M)
        Years from the recording to the event or to the end of follow-up; not read where not at risk.
    event, at_risk : ndarray of bool, shape (R, M)
        Not at risk: the event came before the recording, or nothing is known.
    survival : ndarray of float32, shape (R, M, H), optional
        Predicted probability of being event-free at each of `horizons`, for calibration; NaN where the row's fold was
        not fitted, or trained on nobody followed that long.
    horizons : tuple of float, length H
        Years.
    """

    recordings: Sequence[str]
    persons: Sequence[str]
    outcomes: tuple[str, ...]
    fold: NDArray[np.int32]
    risk: NDArray[np.floating[Any]]
    time: NDArray[np.floating[Any]]
    event: NDArray[np.bool_]
    at_risk: NDArray[np.bool_]
    survival: NDArray[np.float32] | None
    horizons: tuple[float, ...]

    def __post_init__(self) -> None:
        both = (len(self.recordings), len(self.outcomes))
        shapes = {name: getattr(self, name).shape for name in ("risk", "time", "event", "at_risk")}
        wrong = [f"{name} {shape}" for name, shape in shapes.items() if shape != both]
        if len(self.persons) != both[0] or self.fold.shape != both[:1]:
            wrong.append(f"persons ({len(self.persons)},) or fold {self.fold.shape}")
        if self.survival is not None and self.survival.shape != (*both, len(self.horizons)):
            wrong.append(f"survival {self.survival.shape} at {len(self.horizons)} horizons")
        if wrong:
            raise ValueError(f"{both[0]} recordings and {both[1]} outcomes do not fit {', '.join(wrong)}")

    @classmethod
    def of_side(cls, side: SurvivalSide) -> SurvivalPredictions:
        """What a cell's side file keeps: everything but predicted survival."""
        event, at_risk = side.event.astype(bool), side.at_risk.astype(bool)
        fixed = (side.recordings, side.persons, tuple(side.outcomes), side.fold)
        return cls(*fixed, side.risk, side.time, event, at_risk, None, ())


def score_survival(
    metrics: Sequence[str],
    predictions: SurvivalPredictions,
    n_boot: int,
    min_events: int = MIN_EVENTS,
    out: NDArray[np.float32] | None = None,
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Score all outcomes.

    Parameters
    ----------
    metrics : sequence of str
        Ids, main metric first: ``c-index``, ``c-index-5y``, ``auroc-5y``, ``calibration-5y``.
    predictions : SurvivalPredictions
    n_boot : int
        Bootstrap replicates over test persons, the same draws for every outcome, metric and cell.
    min_events : int
    out : ndarray of float32, shape (M, n_boot), optional
        Filled with the main metric's replicates, NaN where undefined: making them again for many outcomes is slow.

    Returns
    -------
    scores : dict of str to dict
        Metric to :func:`~hypnos_bench.scoring.entries.entry`. With several outcomes it is the unweighted mean over
        those in which the metric is defined, ``n_outcomes`` of them (``n_outcomes_undefined`` others); a replicate's
        mean is over those among them that it can compute.
    outcomes : list of dict
        One per outcome: ``name``; ``n`` rows scored, their ``events`` and ``persons``; ``excluded`` rows (not at
        risk) and ``not_fitted`` rows (at risk, without a risk); ``status`` (``ok`` where the main metric is defined,
        ``not-fitted``, ``undefined``) with a ``message``; ``scores``, where an undefined one has a ``reason``;
        ``horizons`` with cases, controls and those censored before; ``calibration_slope``; and ``calibration`` where
        survival was predicted.

    Raises
    ------
    UsageError
        When a metric does not exist.
    """
    asked = _known(metrics)
    code, persons = person_codes(predictions.persons)
    drawn = draws(len(persons), n_boot)
    weights = None if drawn is None else person_matrix(drawn)
    outcomes: list[dict[str, Any]] = []
    means = {metric: _Mean(n_boot) for metric in asked}
    for m in range(len(predictions.outcomes)):
        followed = _followed(predictions, m, code, min_events)
        values, reasons = followed.values(asked)
        defined = [metric for metric in asked if not np.isnan(values[metric])]
        replicated = {} if weights is None else followed.replicates(defined, weights)
        for metric, mean in means.items():
            mean.add(values[metric], replicated.get(metric))
        if out is not None:
            out[m] = replicated.get(metrics[0], np.nan)
        scores = {metric: entry(asked[metric], values[metric], replicated.get(metric)) for metric in asked}
        for metric, reason in reasons.items():
            scores[metric]["reason"] = reason
        outcomes.append(followed.described(asked, reasons) | {"scores": scores} | followed.calibration())
    return {metric: mean.entry(asked[metric], outcomes) for metric, mean in means.items()}, outcomes


def survival_point(
    metrics: Sequence[str], predictions: SurvivalPredictions, min_events: int = MIN_EVENTS
) -> dict[str, F64]:
    """Metrics of every outcome on the test data, shape (M,) each; NaN where undefined."""
    asked = _known(metrics)
    code, _ = person_codes(predictions.persons)
    found = [_followed(predictions, m, code, min_events).values(asked)[0] for m in range(len(predictions.outcomes))]
    return {metric: np.array([values[metric] for values in found], dtype=np.float64) for metric in asked}


def survival_replicates(
    metrics: Sequence[str],
    predictions: SurvivalPredictions,
    weights: ArrayLike,
    outcomes: Iterable[int] | None = None,
    min_events: int = MIN_EVENTS,
) -> dict[str, F64]:
    """Metrics in every bootstrap replicate, for paired comparisons.

    Parameters
    ----------
    metrics : sequence of str
    predictions : SurvivalPredictions
    weights : array of int, shape (B, P)
        How often each person is drawn, persons in the order of their ids; the same for all encoders compared.
    outcomes : iterable of int, optional
        Which outcomes; all by default.
    min_events : int

    Returns
    -------
    dict of str to ndarray of float64, shape (outcomes, B)
        NaN where undefined; all NaN where it is not defined on the test data themselves.

    Raises
    ------
    ValueError
        When the number of persons differs from that of the weights.
    """
    asked = _known(metrics)
    code, persons = person_codes(predictions.persons)
    drawn = person_matrix(weights)
    if drawn.shape[1] != len(persons):
        raise ValueError(f"weights of shape {drawn.shape} do not fit {len(persons)} persons")
    chosen = list(range(len(predictions.outcomes)) if outcomes is None else outcomes)
    found = {metric: np.full((len(chosen), len(drawn)), np.nan) for metric in asked}
    for k, m in enumerate(chosen):
        followed = _followed(predictions, m, code, min_events)
        values, _ = followed.values(asked)
        defined = [metric for metric in asked if not np.isnan(values[metric])]
        for metric, replicates in followed.replicates(defined, drawn).items():
            found[metric][k] = replicates
    return found


def outcome_risk_groups(
    predictions: SurvivalPredictions, outcome: int, n_groups: int = 3, times: Sequence[float] = ()
) -> RiskGroups:
    """Curves and hazard ratios by group of predicted risk, of one outcome; see :func:`risk_groups`."""
    code, _ = person_codes(predictions.persons)
    own = _followed(predictions, outcome, code, MIN_EVENTS)
    return risk_groups(own.time, own.event, own.risk, own.fold, own.person, n_groups, times)


def _followed(predictions: SurvivalPredictions, m: int, code: NDArray[np.intp], min_events: int) -> FollowedOutcome:
    told = np.asarray(predictions.at_risk[:, m], dtype=bool)
    risk = _stored(predictions.risk[:, m])
    kept = told & ~np.isnan(risk)
    survival: dict[float, F64] = {}
    if predictions.survival is not None:
        columns = predictions.survival[kept, m].astype(np.float64)
        survival = {h: columns[:, k] for k, h in enumerate(predictions.horizons)}
    return FollowedOutcome(
        name=predictions.outcomes[m],
        time=_stored(predictions.time[kept, m]),
        event=np.asarray(predictions.event[kept, m], dtype=bool),
        risk=risk[kept],
        fold=predictions.fold[kept],
        person=code[kept],
        survival=survival,
        excluded=int((~told).sum()),
        not_fitted=int((told & ~kept).sum()),
        min_events=min_events,
        tables=len(predictions.outcomes) <= CALIBRATION_TABLES,
    )


class _Mean:
    """Mean over outcomes of a metric and of its replicates, one outcome at a time: there may be a thousand."""

    def __init__(self, n_boot: int) -> None:
        self._values: list[float] = []
        self._undefined = 0
        self._sum, self._count = np.zeros(n_boot), np.zeros(n_boot)
        self._replicated = False

    def add(self, value: float, replicates: F64 | None) -> None:
        if np.isnan(value):
            self._undefined += 1
            return
        self._values.append(value)
        if replicates is not None:
            self._replicated = True
            defined = ~np.isnan(replicates)
            self._sum[defined] += replicates[defined]
            self._count += defined

    def entry(self, metric: Metric, outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        replicates = None
        if self._replicated:
            replicates = np.full(self._sum.shape, np.nan)
            np.divide(self._sum, self._count, out=replicates, where=self._count > 0)
        value = float(np.mean(self._values)) if self._values else float("nan")
        made = entry(metric, value, replicates)
        made |= {"n_outcomes": len(self._values), "n_outcomes_undefined": self._undefined}
        if not self._values:
            reasons = {outcome["scores"][metric.id]["reason"] for outcome in outcomes}
            made["reason"] = reasons.pop() if len(reasons) == 1 else "not defined for any outcome"
        return made


def _known(metrics: Sequence[str]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for metric in metrics:
        known = find_metric(metric, kind="survival")
        if known is None:
            raise UsageError(
                f"unknown survival metric {metric!r}: ask for c-index, c-index-5y, auroc-5y, calibration-5y"
            )
        found[metric] = known
    return found


def _stored(values: NDArray[Any]) -> F64:
    rounded: F64 = np.asarray(values).astype(np.float32).astype(np.float64)
    return rounded
