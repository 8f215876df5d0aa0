"""Paired comparison of two encoders over recordings or persons, and false discovery rates.

Tests run over recordings or persons, never over seeds: with 5 pairs no two-sided p can fall below 0.0625.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]

_DECIMALS = 10  # differences closer than this are float noise, and noise must not break ties
_MAX_EXACT = 500  # pairs for which the exact null distribution is computed (well under a second)


@dataclass(frozen=True)
class SignedRank:
    """Two-sided Wilcoxon signed-rank test of paired differences a - b, zeros by Pratt's rule.

    Parameters
    ----------
    p : float
        NaN without any pair; 1 when all differences are zero.
    statistic : float
        Sum of the ranks of positive differences. Zeros take part in ranking and then drop out (Pratt 1959).
    effect : float
        Matched-pairs rank-biserial correlation, from -1 (b always larger) to 1 (a always larger).
    median_difference : float
    n, n_zero, n_undefined : int
        Pairs used (zeros included), zeros among them, and pairs left out because a side is NaN.
    min_p : float
        The smallest p these ranks could have given: a test that cannot reach the level says so.
    method : {"exact", "normal"}
        Exact: the distribution over all sign patterns, valid with ties. Normal: above 500 pairs.
    """

    p: float
    statistic: float
    effect: float
    median_difference: float
    n: int
    n_zero: int
    n_undefined: int
    min_p: float
    method: str


def signed_rank(a: ArrayLike, b: ArrayLike) -> SignedRank:
    """Compare paired scores `a` and `b`, both of shape (n,), NaN where a score is not defined.

    Raises
    ------
    ValueError
        When shapes differ.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"paired scores must be two equally long rows, got {left.shape} and {right.shape}")
    all_differences = left - right
    differences = np.round(all_differences[~np.isnan(all_differences)], _DECIMALS)
    n, undefined = differences.size, int(np.isnan(all_differences).sum())
    if n == 0:
        nan = float("nan")
        return SignedRank(nan, nan, nan, nan, 0, 0, undefined, nan, "exact")
    from scipy.stats import rankdata

    ranks = rankdata(np.abs(differences))[differences != 0]
    signs = differences[differences != 0] > 0
    n_zero = n - ranks.size
    median = float(np.median(differences))
    if ranks.size == 0:
        return SignedRank(1.0, 0.0, 0.0, median, n, n_zero, undefined, 1.0, "exact")
    statistic = float(ranks[signs].sum())
    effect = 2 * statistic / float(ranks.sum()) - 1
    exact = ranks.size <= _MAX_EXACT
    p = _exact_p(ranks, statistic) if exact else _normal_p(ranks, statistic)
    min_p = _exact_p(ranks, float(ranks.sum())) if exact else _normal_p(ranks, float(ranks.sum()))
    method = "exact" if exact else "normal"
    return SignedRank(p, statistic, effect, median, n, n_zero, undefined, min_p, method)


def _exact_p(ranks: F64, statistic: float) -> float:
    """Two-sided p over all 2^n sign patterns, from the distribution of the rank sum.

    Midranks are multiples of a half, so doubled ranks are whole numbers and ties need no approximation.
    """
    doubled = np.rint(2 * ranks).astype(np.int64)
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    reached = 0
    for rank in doubled:
        share[: reached + 1] *= 0.5
        share[rank : reached + rank + 1] += share[: reached + 1].copy()
        reached += int(rank)
    observed = round(2 * statistic)
    # The distribution is symmetric: take the tail beyond the observed sum, on its own side, twice.
    tail = share[: min(observed, share.size - 1 - observed) + 1].sum()
    return float(min(1.0, 2 * tail))


def _normal_p(ranks: F64, statistic: float) -> float:
    """Normal approximation; the variance over the ranks in use already accounts for ties and zeros."""
    from scipy.stats import norm

    z = (statistic - ranks.sum() / 2) / np.sqrt((ranks**2).sum() / 4)
    return float(2 * norm.sf(abs(z)))


@dataclass(frozen=True)
class Adjusted:
    """Benjamini-Hochberg adjusted p-values in the order given, NaN where p was NaN, and how many were."""

    p: F64
    n_undefined: int


def benjamini_hochberg(p: ArrayLike) -> Adjusted:
    """Adjust the p-values of one family fixed in advance (Benjamini & Hochberg 1995).

    NaN values do not count as tests: they stay NaN and are counted.

    Raises
    ------
    ValueError
        When a p-value lies outside [0, 1].
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, dtype=np.float64)
    defined = ~np.isnan(values)
    adjusted = np.full(values.shape, np.nan)
    if defined.any():
        adjusted[defined] = false_discovery_control(values[defined], method="bh")
    return Adjusted(adjusted, int((~defined).sum()))
