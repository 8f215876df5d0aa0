"""Cumulative/dynamic AUROC: telling those with the event by a horizon from those still free of it then.

Cases have the event at or before the horizon h, controls are known to be free of it at h: followed beyond h, or
censored at h itself (an event at h would have come first), so that follow-up that was cut at h can be scored at h. Who
is censored before h is neither; cases stand in for them by inverse-probability-of-censoring weights ``1 / G(T-)``,
where G is the Kaplan-Meier curve of censoring. Controls would all weigh ``1 / G(h-)``, which cancels.

References
----------
Uno et al. 2007 (JASA 102:527), Hung & Chiang 2010 (Can J Stat 38:8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.metrics.survival.kaplan_meier import ProductLimit
from hypnos_bench.metrics.survival.rows import F64, Index, Rows, Weights, blocks, finite_scores, person_matrix

_AT_ONCE = 4_000_000  # entries of a (replicates, controls or cases) block


class Counts(NamedTuple):
    """Rows by what is known of them at a horizon."""

    cases: int
    controls: int
    censored: int


class _Compared(NamedTuple):
    """Cases and controls of a stratum at a horizon."""

    cases: Index  # positions among all events
    controls: Index  # rows, by rising risk
    below: Index  # per case: how many controls it outranks
    up_to: Index  # per case: how many it outranks or ties with


class DynamicAUC:
    """Rows to be scored at many horizons and under many weightings.

    Parameters
    ----------
    time, event : array, shape (n,)
        Follow-up time and whether it ends with the event.
    risk : array of float, shape (n,)
        Finite; larger means sooner. Equal risks count half.
    stratum : array of int, shape (n,), optional
        Cases and controls are compared within a stratum only; their weighted numbers are pooled.
    group : array of int, shape (n,), optional
        Person code of each row; weights are per person. Without it every row is a person.

    Notes
    -----
    G is estimated from all rows given here, all strata together: how long people are followed is a property of the
    cohort, not of a fit. A bootstrap estimates it again in every replicate. G cannot be 0 just before an event of the
    same rows, so no weight is infinite.
    """

    def __init__(
        self,
        time: ArrayLike,
        event: ArrayLike,
        risk: ArrayLike,
        stratum: ArrayLike | None = None,
        group: ArrayLike | None = None,
    ) -> None:
        self._rows = Rows.checked(time, event, stratum, group)
        self._risk = finite_scores(risk, self._rows.time.size)
        self._censoring = ProductLimit(self._rows.time, self._rows.event, "censoring", self._rows.group)
        self._by_risk = [members[np.argsort(self._risk[members], kind="stable")] for members in self._rows.strata()]

    def counts(self, horizon: float) -> Counts:
        """How many rows are cases, controls, or censored before the horizon and so neither."""
        cases = int((self._rows.event & (self._rows.time <= horizon)).sum())
        controls = int(_free(self._rows, horizon).sum())
        return Counts(cases, controls, self._rows.time.size - cases - controls)

    def values(self, horizons: Sequence[float]) -> F64:
        """AUROC at each horizon with every row once, shape (H,); NaN without cases or controls."""
        persons = np.ones((1, int(self._rows.group.max(initial=-1)) + 1))
        alone: F64 = self.at_horizons(persons, horizons)[:, 0]
        return alone

    def replicates(self, weights: ArrayLike, horizon: float) -> F64:
        """AUROC at one horizon under person weights (B, P), shape (B,)."""
        values: F64 = self.at_horizons(weights, (horizon,))[0]
        return values

    def at_horizons(self, weights: ArrayLike, horizons: Sequence[float]) -> F64:
        """AUROC at each horizon under person weights.

        Parameters
        ----------
        weights : array of int, shape (B, P)
            How often each person was drawn, by person code.
        horizons : sequence of float
            Finite, in the unit of the times.

        Returns
        -------
        ndarray of float64, shape (H, B)
            NaN where a replicate holds no case or no control.
        """
        drawn = person_matrix(weights)
        values = np.full((len(horizons), len(drawn)), np.nan)
        events = np.flatnonzero(self._rows.event & (self._rows.time <= max(horizons, default=0.0)))
        compared = [self._compared(events, horizon) for horizon in horizons]
        for block in blocks(len(drawn), _AT_ONCE // max(1, self._rows.time.size)):
            own = drawn[block]
            observed = self._censoring.at(self._rows.time[events], own, before=True)
            # Where G is NaN or 0 the replicate has nobody at that event, so its weight is 0 either way.
            case_weight = np.zeros(observed.shape)
            np.divide(own.take(self._rows.group[events], axis=1), observed, out=case_weight, where=observed > 0)
            for k, strata in enumerate(compared):
                values[k, block] = self._ratio(own, case_weight, strata)
        return values

    def _compared(self, events: Index, horizon: float) -> list[_Compared]:
        rows, found = self._rows, []
        for by_risk in self._by_risk:
            controls = by_risk[_free(rows, horizon)[by_risk]]
            same = rows.stratum[events] == rows.stratum[by_risk[0]]
            cases = np.flatnonzero(same & (rows.time[events] <= horizon))
            risks, theirs = self._risk[events[cases]], self._risk[controls]
            below, up_to = np.searchsorted(theirs, risks, side="left"), np.searchsorted(theirs, risks, side="right")
            found.append(_Compared(cases, controls, below, up_to))
        return found

    def _ratio(self, drawn: Weights, case_weight: F64, strata: Sequence[_Compared]) -> F64:
        wins, pairs = np.zeros(len(drawn)), np.zeros(len(drawn))
        for part in strata:
            passed = np.zeros((len(drawn), part.controls.size + 1), dtype=drawn.dtype)
            np.cumsum(drawn.take(self._rows.group[part.controls], axis=1), axis=1, out=passed[:, 1:])
            weight = case_weight.take(part.cases, axis=1)
            wins += np.einsum("be,be->b", weight, passed.take(part.below, axis=1))
            wins += np.einsum("be,be->b", weight, passed.take(part.up_to, axis=1))
            pairs += weight.sum(axis=1) * passed[:, -1]
        values = np.full(len(drawn), np.nan)
        np.divide(wins, 2 * pairs, out=values, where=pairs > 0)
        return values


def _free(rows: Rows, horizon: float) -> NDArray[np.bool_]:
    """Which rows are known to be free of the event at the horizon."""
    free: NDArray[np.bool_] = np.where(rows.event, rows.time > horizon, rows.time >= horizon)
    return free
