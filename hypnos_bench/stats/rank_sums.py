"""Null distribution of a sum of ranks with random signs: exact with ties, over all sign patterns."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]

MAX_EXACT = 500
"""Nonzero pairs up to which the exact distribution is used (tens of milliseconds); the normal one beyond."""

MAX_FORCED = 1000
"""Nonzero pairs up to which it can be asked for; further on, the smallest share leaves the range of floats."""


def lower_tail(ranks: NDArray[np.int64], upto: int) -> F64:
    """P(W <= w) for w = 0..upto, where W adds each of the whole `ranks` with probability a half.

    Only positive terms are added, so that tiny shares keep their relative precision.
    """
    share = np.zeros(upto + 1)
    share[0] = 1.0
    reached = 0
    for rank in np.sort(ranks).tolist():  # small ranks first: the reached part stays short for longer
        share[: reached + 1] *= 0.5
        stop = min(reached + rank, upto)
        if stop >= rank:
            share[rank : stop + 1] += share[: stop + 1 - rank].copy()
        reached = stop
    return np.cumsum(share)


@lru_cache(maxsize=8)
def untied_tail(n: int) -> F64:
    """P(W <= w) for ranks 1..n, up to the centre of the distribution."""
    tail = lower_tail(np.arange(1, n + 1), n * (n + 1) // 4)
    tail.setflags(write=False)
    return tail


class RankSum:
    """Exact distribution of the sum of positive ranks, given the ranks (midranks under ties) of nonzero differences.

    Midranks are multiples of a half, so doubled ranks are whole numbers and ties need no approximation.
    """

    def __init__(self, ranks: F64) -> None:
        doubled = np.rint(2 * ranks).astype(np.int64)
        self._unit = math.gcd(*doubled.tolist())
        self._ranks: NDArray[np.int64] = doubled // self._unit
        self._total = int(self._ranks.sum())
        self._tail: F64 | None = None

    def p(self, statistic: float, alternative: str) -> float:
        """P-value of a sum of positive ranks."""
        observed = round(2 * statistic / self._unit)
        if alternative == "less":
            return self._cdf(observed)
        if alternative == "greater":
            return self._cdf(self._total - observed)  # the distribution is symmetric
        return min(1.0, 2 * self._cdf(min(observed, self._total - observed)))

    def _cdf(self, w: int) -> float:
        if w > self._total // 2:
            return 1.0 - (self._cdf(self._total - w - 1) if w < self._total else 0.0)
        if self._tail is None or self._tail.size <= w:
            # Beyond the first question (shared by many tests) the whole half is worth its cost.
            self._tail = lower_tail(self._ranks, w if self._tail is None else self._total // 2)
        return float(self._tail[w])


def normal_p(statistic: ArrayLike, centre: ArrayLike, variance: ArrayLike, alternative: str) -> F64:
    """Normal approximation without continuity correction."""
    from scipy.stats import norm

    z = (np.asarray(statistic) - np.asarray(centre)) / np.sqrt(np.asarray(variance))
    tails: dict[str, Callable[[F64], F64]] = {
        "two-sided": lambda z: 2 * norm.sf(np.abs(z)),
        "greater": norm.sf,
        "less": norm.cdf,
    }
    return np.asarray(tails[alternative](z), dtype=np.float64)
