"""One outcome of a survival task: its scores, and why those that it lacks are not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.metrics.registry import horizon_of
from hypnos_bench.metrics.survival.calibration import (
    CalibrationGroup,
    calibration_at,
    calibration_slope,
    expected_over_observed,
)
from hypnos_bench.metrics.survival.concordance import Concordance
from hypnos_bench.metrics.survival.dynamic_auc import Counts, DynamicAUC
from hypnos_bench.metrics.survival.kaplan_meier import event_probability
from hypnos_bench.metrics.survival.rows import Weights
from hypnos_bench.scoring.entries import F64


@dataclass(frozen=True)
class FollowedOutcome:
    """The rows of one outcome that can be scored.

    Parameters
    ----------
    name : str
    time, event, risk : ndarray, shape (n,)
    fold : ndarray of int, shape (n,)
        Rows of different folds are not compared.
    person : ndarray of int, shape (n,)
        Column of a weight matrix.
    survival : mapping of float to ndarray of float64, shape (n,)
        Predicted survival by horizon; none where nothing was predicted. NaN where the fit of a row's fold saw nobody
        that long: then nothing that needs it is defined, since leaving the fold out would score other people.
    excluded, not_fitted : int
        Rows left out: not at risk; at risk, but without a risk.
    min_events : int
        Events (and people free of the event, at a horizon) that a score needs.
    tables : bool
        Whether calibration comes with its table of groups.
    """

    name: str
    time: F64
    event: NDArray[np.bool_]
    risk: F64
    fold: NDArray[np.int32]
    person: NDArray[np.intp]
    survival: Mapping[float, F64]
    excluded: int
    not_fitted: int
    min_events: int
    tables: bool

    def values(self, asked: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
        """Each metric with every row once, and why it is NaN where it is."""
        metrics = list(asked)
        reasons = {metric: reason for metric in metrics if (reason := self._why_not(metric))}
        alone = np.ones((1, int(self.person.max(initial=-1)) + 1), dtype=np.float32)
        found = self.replicates([metric for metric in metrics if metric not in reasons], alone)
        values = {metric: float(found[metric][0]) if metric in found else float("nan") for metric in metrics}
        nothing = "no comparable pair of people within a fold"
        return values, reasons | {m: nothing for m, value in values.items() if np.isnan(value) and m not in reasons}

    def replicates(self, asked: Iterable[str], weights: Weights) -> dict[str, F64]:
        """Each metric under person weights (B, P), shape (B,)."""
        by_stem: dict[str, dict[str, float]] = {}
        for metric in asked:
            stem, horizon = horizon_of(metric) or (metric, np.inf)
            by_stem.setdefault(stem, {})[metric] = horizon
        found: dict[str, F64] = {}
        arrays = (self.time, self.event, self.risk, self.fold, self.person)
        for stem, horizons in by_stem.items():
            years = [_year(h) for h in horizons.values()]
            if stem == "c-index":
                found |= zip(horizons, Concordance(*arrays).at_horizons(weights, years), strict=True)
            elif stem == "auroc":
                found |= zip(horizons, DynamicAUC(*arrays).at_horizons(weights, years), strict=True)
            else:
                for metric, h in horizons.items():
                    predicted = self.survival[h]
                    found[metric] = expected_over_observed(
                        self.time, self.event, predicted, _year(h), weights, self.person
                    )
        return found

    def described(self, asked: Iterable[str], reasons: Mapping[str, str]) -> dict[str, Any]:
        """Counts and status."""
        main = next(iter(asked), None)
        status = "ok" if main not in reasons else "undefined"
        if self.not_fitted and not self.time.size:
            status = "not-fitted"
        at = {horizon[1] for metric in asked if (horizon := horizon_of(metric))} | set(self.survival)
        return {
            "name": self.name,
            "n": int(self.time.size),
            "events": int(self.event.sum()),
            "excluded": self.excluded,
            "not_fitted": self.not_fitted,
            "persons": int(np.unique(self.person).size),
            "status": status,
            "message": "; ".join(dict.fromkeys(f"{metric}: {reason}" for metric, reason in reasons.items())),
            "horizons": [{"years": h, **self._counts(h)._asdict()} for h in sorted(at)],
        }

    def calibration(self) -> dict[str, Any]:
        """The slope of the risk, and where survival was predicted how it compares with what happened."""
        found: dict[str, Any] = {"calibration_slope": self._slope()}
        if self.survival:
            found["calibration"] = [self._calibration_at(h) for h in self.survival]
        return found

    def _counts(self, horizon: float) -> Counts:
        return DynamicAUC(self.time, self.event, self.risk).counts(_year(horizon))

    def _why_not(self, metric: str) -> str | None:
        """Why a metric has no value that could be trusted, or ``None``."""
        stem, horizon = horizon_of(metric) or (metric, None)
        if not self.time.size:
            return "the outcome was not fitted" if self.not_fitted else "nobody is at risk"
        if horizon is None:
            return self._too_few(int(self.event.sum()), "test events")
        if stem == "calibration" and horizon not in self.survival:
            return f"no predicted survival at {horizon:g} years"
        if stem == "calibration" and not self._predicted_at(horizon):
            return f"predicted survival ends before {horizon:g} years in some fold"
        counts = self._counts(horizon)
        if not counts.controls:
            return f"nobody is followed to {horizon:g} years without the event"
        few = self._too_few(counts.cases, f"test events by {horizon:g} years")
        if few is None and stem == "auroc":
            few = self._too_few(counts.controls, f"people known to be event-free at {horizon:g} years")
        return few

    def _predicted_at(self, horizon: float) -> bool:
        """Whether every row has a predicted survival."""
        return not np.isnan(self.survival[horizon]).any()

    def _too_few(self, count: int, of: str) -> str | None:
        return f"{count} {of}, fewer than {self.min_events}" if count < self.min_events else None

    def _slope(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"value": None, "low": None, "high": None}
        if few := self._why_not("c-index"):
            return {**nothing, "reason": few}
        try:
            slope = calibration_slope(self.time, self.event, self.risk, self.fold)
        except FitError as error:
            return {**nothing, "reason": str(error)}
        return {"value": slope.value, "low": slope.low, "high": slope.high}

    def _calibration_at(self, horizon: float) -> dict[str, Any]:
        found = None
        if self._predicted_at(horizon):
            found = calibration_at(self.time, self.event, self.survival[horizon], _year(horizon))
        observed = found.observed if found else event_probability(self.time, self.event, _year(horizon))
        made: dict[str, Any] = {
            "years": horizon,
            "predicted": _number(found.predicted) if found else None,
            "observed": _number(observed.value),
            "observed_low": _number(observed.low),
            "observed_high": _number(observed.high),
        }
        reason = self._why_not(f"calibration-{horizon:g}y") or (found.ici_undefined if found else None)
        made["ici"] = None if reason or found is None else found.ici
        if reason:
            made["ici_reason"] = reason
        if self.tables:
            made["groups"] = [_group(group) for group in found.groups] if found else []
        return made


def _year(horizon: float) -> float:
    """A horizon rounded as times are, so that an event at the very horizon stays there."""
    return float(np.float32(horizon))


def _group(group: CalibrationGroup) -> dict[str, Any]:
    return {
        "n": group.n,
        "events": group.events,
        "predicted": _number(group.predicted),
        "observed": _number(group.observed.value),
        "low": _number(group.observed.low),
        "high": _number(group.observed.high),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
