"""Cox's partial likelihood of one outcome as scans over its own time order, with Breslow's or Efron's rule for ties.

Rows are sorted by time and cut at the event times. The risk set of event time k is every row from segment k on, so its
sum of exp(eta) is a sum per segment followed by a cumulative sum from the end; the hazard that a row has lived through
is a cumulative sum from the start. Rows that leave before the first event are in no risk set and drop out.

Ties (Efron, J. Am. Stat. Assoc. 72, 1977; Breslow, Biometrics 30, 1974): with d events at one time, S the sum of
exp(eta) over the risk set and E that over the d events, the l-th event (l = 0..d-1) has the denominator
``S - (l / d) E`` under Efron's rule and ``S`` under Breslow's. Times are tied when they are equal as float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Index = NDArray[np.intp]

TIES = ("efron", "breslow")


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk at each event time of one outcome.

    Parameters
    ----------
    rows : ndarray of intp, shape (r,)
        Rows in some risk set, by ascending time.
    starts, sizes : ndarray of intp, shape (K,)
        Segment k, from event time k to just before the next, is ``rows[starts[k]:starts[k] + sizes[k]]``.
    events : ndarray of intp, shape (D,)
        Positions in `rows` of the events, by ascending time.
    first : ndarray of intp, shape (K,)
        Position in `events` of the first event of each event time.
    group : ndarray of intp, shape (D,)
        Event time of each event.
    share : ndarray, shape (D,)
        Efron's l / d; zero under Breslow's rule.
    times : ndarray, shape (K,)
    split : bool
        Whether any `share` is not zero.
    """

    rows: Index
    starts: Index
    sizes: Index
    events: Index
    first: Index
    group: Index
    share: F64
    times: F64
    split: bool

    @classmethod
    def of(cls, time: F64, event: NDArray[np.bool_], use: NDArray[np.bool_], ties: str) -> RiskSets:
        """Sort the rows in `use`, of which at least one has an event."""
        kept = np.flatnonzero(use)
        order = kept[np.argsort(time[kept], kind="stable")]
        happened = event[order]
        times, counts = np.unique(time[order][happened], return_counts=True)
        starts = np.searchsorted(time[order], times, side="left")
        rows = order[starts[0] :]
        starts = (starts - starts[0]).astype(np.intp)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
        group = np.repeat(np.arange(len(times)), counts)
        share = np.zeros(len(group))
        if ties == "efron":
            share = (np.arange(len(group)) - first[group]) / counts[group]
        events = np.flatnonzero(event[rows])
        sizes = np.diff(np.append(starts, len(rows)))
        return cls(rows, starts, sizes, events, first, group, share, times, bool(share.any()))

    @property
    def n_events(self) -> int:
        """D."""
        return len(self.events)


def compares(time: F64, event: NDArray[np.bool_]) -> bool:
    """Whether somebody at risk at an event time does not have the event then; without that nothing can be learnt.

    The first event time decides: its risk set holds all the later ones.
    """
    first = time[event].min()
    return bool((time >= first).sum() > (time[event] == first).sum())


@dataclass(frozen=True)
class Scan:
    """Everything a partial likelihood needs at one linear predictor, over `RiskSets.rows` in their order.

    Parameters
    ----------
    loss : float
        Negative log partial likelihood; infinite where it cannot be represented.
    weight : ndarray, shape (r,)
        exp(eta - shift).
    shift : float
    inverse : ndarray, shape (D,)
        One over the denominator of each event, in units of `weight`.
    steps : ndarray, shape (K,)
        Increments of the cumulative baseline hazard, in units of `weight`.
    expected : ndarray, shape (r,)
        Events that the model expects of each row during its time at risk.
    """

    loss: float
    weight: F64
    shift: float
    inverse: F64
    steps: F64
    expected: F64


def scan(sets: RiskSets, eta: NDArray[np.floating[Any]]) -> Scan:
    """Evaluate the partial likelihood of `sets` at the linear predictor `eta` of all n rows."""
    predictor = eta[sets.rows].astype(np.float64)
    shift = float(predictor.max())
    if not np.isfinite(shift):
        return _lost(shift)
    weight = np.exp(predictor - shift)
    at_risk = np.add.reduceat(weight, sets.starts)[::-1].cumsum()[::-1]
    if sets.split:
        own = weight[sets.events]
        denominator = at_risk[sets.group] - sets.share * np.add.reduceat(own, sets.first)[sets.group]
    else:
        denominator = at_risk[sets.group]
    if not denominator.min() > np.finfo(np.float64).tiny:
        return _lost(shift)
    inverse = 1.0 / denominator
    steps = np.add.reduceat(inverse, sets.first)
    expected = weight * np.repeat(np.cumsum(steps), sets.sizes)
    if sets.split:
        expected[sets.events] -= own * np.add.reduceat(sets.share * inverse, sets.first)[sets.group]
    loss = float(np.log(denominator).sum() - predictor[sets.events].sum()) + shift * sets.n_events
    return Scan(loss, weight, shift, inverse, steps, expected)


def _lost(shift: float) -> Scan:
    """Where exp(eta) cannot be summed any more: no step may end here."""
    nothing = np.empty(0)
    return Scan(np.inf, nothing, shift, nothing, nothing, nothing)


def residuals(sets: RiskSets, found: Scan, out: NDArray[np.floating[Any]]) -> None:
    """Write events minus expected events (martingale residuals) of all n rows to `out`.

    The gradient of the loss with respect to the coefficients is minus their product with the features.
    """
    out[:] = 0.0
    own = -found.expected
    own[sets.events] += 1.0
    out[sets.rows] = own


def loss_at(sets: RiskSets, eta: NDArray[np.floating[Any]]) -> float:
    """Negative log partial likelihood at the linear predictor `eta` of all n rows."""
    return scan(sets, eta).loss


def baseline_hazard(sets: RiskSets, eta: F64) -> F64:
    """Cumulative hazard of a row with eta = 0 after each event time, consistent with the rule for ties, shape (K,).

    Breslow's estimator, or Efron's as in R's ``survfit``.
    """
    found = scan(sets, eta)
    return np.asarray(np.cumsum(found.steps) * np.exp(-found.shift), dtype=np.float64)
