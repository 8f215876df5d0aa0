"""Kaplan-Meier estimates of staying event-free, and of staying under observation, under many weightings."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hypnos_bench.metrics.survival.rows import F64, Index, Rows, Weights, blocks, person_matrix

_AT_ONCE = 4_000_000  # entries of a (replicates, rows) block
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


class ProductLimit:
    """Rows sorted once by time, for Kaplan-Meier curves under many weightings.

    Parameters
    ----------
    time, event : array, shape (n,)
    of : {"event", "censoring"}
        Whether the curve drops at events (the usual one) or at censorings (the distribution of censoring, for
        inverse-probability weights).
    group : array of int, shape (n,), optional
        Person code of each row.

    Notes
    -----
    An event comes before a censoring at the same time. So those censored at t are at risk of an event at t, and those
    with the event at t are no longer at risk of being censored at t.
    """

    def __init__(
        self,
        time: ArrayLike,
        event: ArrayLike,
        of: Literal["event", "censoring"] = "event",
        group: ArrayLike | None = None,
    ) -> None:
        rows = Rows.checked(time, event, None, group)
        order = np.lexsort((~rows.event, rows.time))
        self._time, self._group = rows.time[order], rows.group[order]
        drops = np.flatnonzero(rows.event[order] == (of == "event"))
        self._drop_times, begin, count = np.unique(self._time[drops], return_index=True, return_counts=True)
        # Rows that drop out at one time for one cause are neighbours, and everyone from the first of them is at risk.
        self._start: Index = drops[begin] if drops.size else drops
        self._stop: Index = self._start + count

    def at(self, times: ArrayLike, weights: ArrayLike | None = None, *, before: bool = False) -> F64:
        """Value of the curve.

        Parameters
        ----------
        times : array, shape (T,)
        weights : array, shape (B, P), optional
            Person weights; without them every row counts once.
        before : bool
            The value just before each time, instead of at it.

        Returns
        -------
        ndarray of float64, shape (T,) or (B, T)
            NaN at times beyond the last row, unless the curve has reached 0: nobody knows how it goes on.
        """
        asked = np.asarray(times, dtype=np.float64)
        place = np.searchsorted(self._drop_times, asked, side="left" if before else "right")
        if weights is None:
            alone: F64 = self._block(np.ones((1, self._time.size)), asked, place)[0]
            return alone
        drawn = person_matrix(weights)
        out = np.empty((len(drawn), asked.size))
        for block in blocks(len(drawn), _AT_ONCE // max(1, self._time.size)):
            out[block] = self._block(drawn[block].take(self._group, axis=1), asked, place)
        return out

    def _block(self, drawn: Weights, asked: F64, place: Index) -> F64:
        n_drops = int(place.max(initial=0))
        left = np.zeros((len(drawn), self._time.size + 1), dtype=drawn.dtype)  # weight of a row and all after it
        np.cumsum(drawn[:, ::-1], axis=1, out=left[:, -2::-1])
        at_risk = left.take(self._start[:n_drops], axis=1)
        kept = np.ones((len(drawn), n_drops + 1))
        np.divide(
            left.take(self._stop[:n_drops], axis=1), at_risk, out=kept[:, 1:], where=at_risk > 0, dtype=np.float64
        )
        # An emptied sample has fallen to 0 or knows no more; either way its curve stays where it was.
        np.cumprod(kept, axis=1, out=kept)
        values: F64 = kept.take(place, axis=1)
        observed = left.take(np.searchsorted(self._time, asked, side="left"), axis=1) > 0
        values[~observed & (values > 0)] = np.nan
        return values


class Estimate(NamedTuple):
    """Probability of the event by a time, with a 95 % interval."""

    value: float
    low: float
    high: float


def event_probability(time: ArrayLike, event: ArrayLike, by: float) -> Estimate:
    """One minus Kaplan-Meier at `by`.

    The interval is Greenwood's on the log(-log) scale (Kalbfleisch & Prentice 1980). It is NaN where that scale has no
    value, at estimates of 0 and 1; all are NaN when follow-up ends before `by`.
    """
    rows = Rows.checked(time, event)
    survival = float(ProductLimit(rows.time, rows.event).at([by])[0])
    if not 0 < survival < 1:
        return Estimate(1 - survival, np.nan, np.nan)
    times, deaths = np.unique(rows.time[rows.event & (rows.time <= by)], return_counts=True)
    at_risk = rows.time.size - np.searchsorted(np.sort(rows.time), times, side="left")
    greenwood = float((deaths / (at_risk * (at_risk - deaths))).sum())
    spread = np.exp(_Z * np.sqrt(greenwood) / abs(np.log(survival)))
    return Estimate(1 - survival, float(1 - survival ** (1 / spread)), float(1 - survival**spread))
