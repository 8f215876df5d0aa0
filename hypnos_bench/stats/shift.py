"""How far apart two encoders are: the Hodges-Lehmann shift, with the interval that belongs to the signed-rank test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hypnos_bench.errors import UsageError
from hypnos_bench.stats.differences import PER_ONE, Whole, paired_rows, whole_differences
from hypnos_bench.stats.rank_sums import MAX_EXACT, untied_tail

_WHOLE = 256  # pairs up to which all Walsh averages are held at once


@dataclass(frozen=True)
class Shift:
    """Location of paired differences a - b (Hodges & Lehmann 1963), zeros included.

    Parameters
    ----------
    value : float
        Median of the Walsh averages (d_i + d_j) / 2, i <= j; NaN without any pair.
    low, high : float
        Shifts that the two-sided signed-rank test of untied differences does not reject, bounds included; -inf and inf
        when there are too few pairs for any to be rejected (5 at 95 %); NaN without any pair.
    coverage : float
        Coverage for continuous symmetric differences: at least the level asked for when `method` is exact (1 when
        unbounded), and conservative under ties; the level itself when it is normal.
    n, n_undefined : int
        Pairs used, and pairs left out because a side is NaN.
    method : {"exact", "normal"}
        Null distribution behind the interval; normal above 500 pairs.
    """

    value: float
    low: float
    high: float
    coverage: float
    n: int
    n_undefined: int
    method: str

    @property
    def bounded(self) -> bool:
        """Whether there are enough pairs for an interval."""
        return math.isfinite(self.low)


def hodges_lehmann(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Shift:
    """Shift of paired scores `a` over `b`, both of shape (n,), with its interval.

    Exact for any n: order statistics are found by counting, with memory for n numbers rather than n².

    Without ties and zeros 0 lies outside the interval exactly when :func:`hypnos_bench.stats.paired.signed_rank`
    rejects at 1 - level. With them the interval is conservative, as it keeps the distribution of untied ranks: it can
    hold 0, mostly as a bound, although the test, whose distribution knows of the ties, rejects.

    Raises
    ------
    ValueError
        When shapes differ.
    DataError
        As :func:`hypnos_bench.stats.paired.signed_rank`.
    UsageError
        When `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise UsageError(f"interval level {level} is not between 0 and 1")
    all_differences, undefined = whole_differences(*paired_rows(a, b))
    d = np.sort(all_differences[~undefined])
    n, n_undefined = d.size, int(undefined.sum())
    if n == 0:
        nan = float("nan")
        return Shift(nan, nan, nan, nan, 0, n_undefined, "exact")
    method = "exact" if n <= MAX_EXACT else "normal"
    cut, coverage = _exact_cut(n, level) if method == "exact" else _normal_cut(n, level)
    m = n * (n + 1) // 2
    places = [(m + 1) // 2, m // 2 + 1]
    sums = _walsh_sums(d, places if cut < 0 else [*places, cut + 1, m - cut])
    low, high = (sums[2], sums[3]) if cut >= 0 else (-math.inf, math.inf)
    return Shift((sums[0] + sums[1]) / (4 * PER_ONE), low / (2 * PER_ONE), high / (2 * PER_ONE), coverage, n,
                 n_undefined, method)  # fmt: skip


def _exact_cut(n: int, level: float) -> tuple[int, float]:
    """Largest rank sum that the two-sided test rejects (-1: none), and the coverage that follows."""
    tail = untied_tail(n)
    cut = int(np.searchsorted(tail, (1 - level) / 2, side="right")) - 1
    return cut, 1.0 - 2 * float(tail[cut]) if cut >= 0 else 1.0


def _normal_cut(n: int, level: float) -> tuple[int, float]:
    from scipy.stats import norm

    sd = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return math.floor(n * (n + 1) / 4 - float(norm.isf((1 - level) / 2)) * sd), level


def _walsh_sums(d: Whole, places: list[int]) -> list[int]:
    """Sums d_i + d_j, i <= j, at 1-based places of their sorted list; `d` is sorted."""
    if d.size <= _WHOLE:
        i, j = np.triu_indices(d.size)
        ordered = np.sort(d[i] + d[j])
        return [int(ordered[place - 1]) for place in places]
    return [_counted(d, place) for place in places]


def _counted(d: Whole, place: int) -> int:
    """Smallest whole number that at least `place` of the sums do not exceed, by bisection: it is one of them."""
    index = np.arange(d.size)
    below, found = 2 * int(d[0]) - 1, 2 * int(d[-1])
    while found - below > 1:
        middle = (below + found) // 2
        partners = np.searchsorted(d, middle - d, side="right") - index
        if int(np.maximum(partners, 0).sum()) >= place:
            found = middle
        else:
            below = middle
    return found
