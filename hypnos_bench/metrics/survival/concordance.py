"""Harrell's C: how often the person with the higher predicted risk has the event first.

Counting is exact. A pair is comparable when the shorter time is an event; an event and a censoring at the same time
are comparable, with the event first; two events at the same time are not. Equal risks count half.

Replicates of a bootstrap come from matrix products: an event of a person drawn ``w_i`` times contributes ``w_i`` times
the summed weight of the later persons it ranks above, and those sums, for all replicates and a block of events, are
one product of weights with a 0/1/2 matrix. Integers of this size are exact in float32, so the result does not depend on
block sizes, threads or library.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.metrics.survival.rows import F64, Index, Rows, Weights, blocks, finite_scores, person_matrix

_EVENTS_AT_ONCE = 256
_COMPARED_AT_ONCE = 4_000_000  # entries of a (later persons, events) block
_WEIGHTS_AT_ONCE = 16_000_000  # entries of a (replicates, persons) block

FULL: tuple[float, ...] = (np.inf,)
"""The horizon of an untruncated C."""


class Pairs(NamedTuple):
    """Numbers of pairs of persons.

    Parameters
    ----------
    concordant, discordant, tied_risk : int
        Comparable pairs by how the risks compare.
    same_time : int
        Those among them that are an event and a censoring at the same time.
    tied_events : int
        Two events at the same time: not comparable.
    """

    concordant: int
    discordant: int
    tied_risk: int
    same_time: int
    tied_events: int

    @property
    def comparable(self) -> int:
        """All pairs that can be concordant or not."""
        return self.concordant + self.discordant + self.tied_risk

    @property
    def c(self) -> float:
        """Harrell's C; NaN without comparable pairs."""
        return (self.concordant + self.tied_risk / 2) / self.comparable if self.comparable else float("nan")


class _Stratum(NamedTuple):
    """Rows in order of time, events before censorings at the same time."""

    risk: F64
    group: Index
    time: F64
    events: Index  # positions of the events
    first: Index  # per event: every position from here on is comparable with it


class Concordance:
    """Rows sorted once by time, to be scored under many weightings and at many horizons.

    Parameters
    ----------
    time, event : array, shape (n,)
        Follow-up time and whether it ends with the event.
    risk : array of float, shape (n,)
        Finite; larger means sooner.
    stratum : array of int, shape (n,), optional
        Pairs are formed within a stratum only and pooled over strata. Risks from different fits (folds of a
        cross-validation) share no scale, so their rows must not be compared.
    group : array of int, shape (n,), optional
        Person code of each row; weights are per person. Without it every row is a person. Two rows of one person
        are compared like any two.

    Notes
    -----
    At a horizon h all follow-up ends at h: later events are censored at h. Since an event at h still comes before
    those censorings, this leaves just the pairs whose earlier event lies at or before h.

    References
    ----------
    Harrell et al. 1982 (JAMA 247:2543), Harrell et al. 1996 (Stat Med 15:361).
    """

    def __init__(
        self,
        time: ArrayLike,
        event: ArrayLike,
        risk: ArrayLike,
        stratum: ArrayLike | None = None,
        group: ArrayLike | None = None,
    ) -> None:
        rows = Rows.checked(time, event, stratum, group)
        risks = finite_scores(risk, rows.time.size)
        self._strata = [_sorted(rows, risks, members) for members in rows.strata()]

    def pairs(self, horizon: float = np.inf) -> Pairs:
        """Exact counts, every row once."""
        total = np.zeros(5, dtype=np.int64)
        for part in self._strata:
            n, n_events = part.time.size, int(np.searchsorted(part.time[part.events], horizon, side="right"))
            events, first = part.events[:n_events], part.first[:n_events]
            times = part.time[events]
            at_once = max(1, _COMPARED_AT_ONCE // max(1, n))
            for block in blocks(n_events, at_once):
                ours, start = part.risk[events[block]], int(first[block.start])
                theirs = part.risk[start:, None]
                later = np.arange(start, n)[:, None] >= first[block]
                concordant = int(np.count_nonzero((theirs < ours) & later))
                tied = int(np.count_nonzero((theirs == ours) & later))
                total[:3] += concordant, int(later.sum()) - concordant - tied, tied
            total[3] += int((np.searchsorted(part.time, times, side="right") - first).sum())
            _, sizes = np.unique(times, return_counts=True)
            total[4] += int((sizes * (sizes - 1) // 2).sum())
        return Pairs(*(int(count) for count in total))

    def value(self, horizon: float = np.inf) -> float:
        """C with every row once; NaN without comparable pairs."""
        return self.pairs(horizon).c

    def replicates(self, weights: ArrayLike) -> F64:
        """C under person weights (B, P), shape (B,); the same as with each row repeated so often."""
        values: F64 = self.at_horizons(weights, FULL)[0]
        return values

    def at_horizons(self, weights: ArrayLike, horizons: Sequence[float]) -> F64:
        """C truncated at each horizon under person weights.

        Parameters
        ----------
        weights : array of int, shape (B, P)
            How often each person was drawn, by person code.
        horizons : sequence of float
            In the unit of the times; ``inf`` for all of the follow-up.

        Returns
        -------
        ndarray of float64, shape (len(horizons), B)
            NaN where a replicate holds no comparable pair.
        """
        drawn = person_matrix(weights)
        top, bottom = (np.zeros((len(horizons), len(drawn))) for _ in range(2))
        for part in self._strata:
            for block in blocks(len(drawn), _WEIGHTS_AT_ONCE // max(1, part.time.size)):
                wins, pairs = _counted(part, drawn[block].take(part.group, axis=1), horizons)
                top[:, block] += wins
                bottom[:, block] += pairs
        values = np.full(top.shape, np.nan)
        np.divide(top, 2 * bottom, out=values, where=bottom > 0)
        return values


def _sorted(rows: Rows, risk: F64, members: Index) -> _Stratum:
    order = members[np.lexsort((~rows.event[members], rows.time[members]))]
    time = rows.time[order]
    events = np.flatnonzero(rows.event[order])
    at = time[events]
    last = np.searchsorted(at, at, side="right") - 1  # the last event at the same time
    first = events[last] + 1 if events.size else events
    return _Stratum(risk[order], rows.group[order], time, events, first)


def _counted(part: _Stratum, drawn: Weights, horizons: Sequence[float]) -> tuple[F64, F64]:
    """Twice the concordant pairs (ties count one) and all comparable pairs, each of shape (horizons, B)."""
    reached = np.searchsorted(part.time[part.events], horizons, side="right")
    parts = np.unique(np.concatenate(([0], reached)))
    before: Weights = np.cumsum(drawn, axis=1)
    everyone: NDArray[Any] = before[:, -1:]
    wins, pairs = (np.zeros((len(parts), len(drawn))) for _ in range(2))
    for k, (low, high) in enumerate(pairwise(parts), start=1):
        wins[k], pairs[k] = wins[k - 1], pairs[k - 1]
        for block in blocks(int(high - low), _EVENTS_AT_ONCE):
            span = slice(int(low) + block.start, int(low) + block.stop)
            own = drawn.take(part.events[span], axis=1).astype(np.float64)
            outranked = drawn[:, part.first[span.start] :] @ _beaten(part, span)
            wins[k] += np.einsum("be,be->b", own, outranked)
            # Events have somebody at `first - 1`: at least themselves.
            later = everyone - before.take(part.first[span] - 1, axis=1)
            pairs[k] += np.einsum("be,be->b", own, later)
    place = np.searchsorted(parts, reached)
    return wins[place], pairs[place]


def _beaten(part: _Stratum, span: slice) -> NDArray[np.float32]:
    """Whom the events of `span` outrank: 2 beaten, 1 tied, 0 not or not comparable; shape (later persons, events)."""
    ours, first = part.risk[part.events[span]], part.first[span]
    start, stop = int(first[0]), int(first[-1])
    theirs = part.risk[start:, None]
    points = (theirs < ours).view(np.uint8)
    points += theirs <= ours
    points[: stop - start] *= np.arange(start, stop)[:, None] >= first
    return points.astype(np.float32)
