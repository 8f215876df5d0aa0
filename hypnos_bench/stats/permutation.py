"""Sign-flip test of a mean paired difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hypnos_bench.errors import UsageError
from hypnos_bench.stats.differences import PER_ONE, Whole, paired_rows, whole_differences
from hypnos_bench.stats.paired import Alternative

_MAX_EXACT = 20  # nonzero pairs of which all 2^n sign patterns are visited
_CHUNK = 4_000_000  # random signs held at once


@dataclass(frozen=True)
class PermutationMean:
    """Sign-flip test of the mean of a - b: under the null each difference could as well have the other sign.

    Parameters
    ----------
    p : float
        NaN without any pair; 1 when all differences are zero.
    mean_difference : float
    min_p : float
        The smallest p that could have come out: 2^(1-m) of m nonzero pairs if exact, 1 / (resamples + 1) otherwise.
    n, n_zero, n_undefined : int
        Pairs used (zeros included), zeros among them, and pairs left out because a side is NaN.
    method : {"exact", "monte carlo"}
    n_resamples : int
        Sign patterns visited.
    seed : int or None
        ``None`` when exact.
    """

    p: float
    mean_difference: float
    min_p: float
    n: int
    n_zero: int
    n_undefined: int
    method: str
    n_resamples: int
    seed: int | None


def permutation_mean(
    a: ArrayLike, b: ArrayLike, *, alternative: Alternative = "two-sided", n_resamples: int = 9999, seed: int = 0
) -> PermutationMean:
    """Test the mean difference of paired scores `a` and `b`, both of shape (n,).

    All sign patterns up to 20 nonzero pairs; beyond, `n_resamples` random ones with p = (b + 1) / (m + 1), which is
    never zero and keeps its level (Phipson & Smyth 2010). Differences are rounded to 1e-10 first.

    Raises
    ------
    ValueError
        When shapes differ.
    DataError
        As :func:`hypnos_bench.stats.paired.signed_rank`.
    UsageError
        When `alternative` does not exist or `n_resamples` is not positive.
    """
    if alternative not in ("two-sided", "greater", "less") or n_resamples < 1:
        raise UsageError(f"permutation test: no alternative {alternative!r}, or n_resamples {n_resamples} below 1")
    whole, undefined = whole_differences(*paired_rows(a, b))
    used = whole[~undefined]
    moving = used[used != 0]
    n, n_zero, n_undefined = used.size, used.size - moving.size, int(undefined.sum())
    if n == 0:
        nan = float("nan")
        return PermutationMean(nan, nan, nan, 0, 0, n_undefined, "exact", 0, None)
    observed = int(moving.sum())
    mean = observed / PER_ONE / n
    if moving.size <= _MAX_EXACT:
        patterns = 2**moving.size
        p = _as_extreme(_all_sums(moving), observed, alternative) / patterns
        min_p = min(1.0, (2 if alternative == "two-sided" else 1) / patterns)
        return PermutationMean(p, mean, min_p, n, n_zero, n_undefined, "exact", patterns, None)
    hits = _random_hits(moving, observed, alternative, n_resamples, seed)
    p, min_p = (hits + 1) / (n_resamples + 1), 1 / (n_resamples + 1)
    return PermutationMean(p, mean, min_p, n, n_zero, n_undefined, "monte carlo", n_resamples, seed)


def _as_extreme(sums: Whole, observed: int, alternative: str) -> int:
    if alternative == "two-sided":
        return int((np.abs(sums) >= abs(observed)).sum())
    return int((sums >= observed).sum() if alternative == "greater" else (sums <= observed).sum())


def _all_sums(moving: Whole) -> Whole:
    sums = np.zeros(1, dtype=np.int64)
    for size in moving:
        sums = np.concatenate([sums - size, sums + size])
    return sums


def _random_hits(moving: Whole, observed: int, alternative: str, n_resamples: int, seed: int) -> int:
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = max(1, _CHUNK // moving.size)
    hits = 0
    for start in range(0, n_resamples, rows):
        kept = rng.integers(0, 2, size=(min(rows, n_resamples - start), moving.size))
        hits += _as_extreme(2 * (kept @ moving) - int(moving.sum()), observed, alternative)
    return hits
