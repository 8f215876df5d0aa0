"""Wilcoxon's signed-rank test of two encoders over recordings or persons.

Tests run over persons (or recordings), never over seeds: with 5 pairs no two-sided p can fall below 0.0625.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.stats.differences import PER_ONE, Whole, paired_rows, whole_differences
from hypnos_bench.stats.rank_sums import MAX_EXACT, MAX_FORCED, RankSum, normal_p

F64 = NDArray[np.float64]
Zeros = Literal["pratt", "wilcox", "zsplit"]
Alternative = Literal["two-sided", "greater", "less"]
Method = Literal["auto", "exact", "normal"]


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon signed-rank test of paired differences a - b.

    Parameters
    ----------
    p : float
        NaN without any pair; 1 when all differences are zero.
    statistic, statistic_negative : float
        Sums of the ranks of positive and of negative differences (W+ and W-).
    effect : float
        Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), from -1 (b always larger) to 1 (a always
        larger); 0 when all differences are zero (Kerby 2014).
    median_difference : float
    n, n_zero, n_undefined : int
        Pairs used (zeros included), zeros among them, and pairs left out because a side is NaN.
    min_p : float
        The smallest p these ranks could have given: a test that cannot reach the level says so.
    method : {"exact", "normal"}
        Exact: the distribution over all sign patterns of the nonzero differences, valid with ties.
    """

    p: float
    statistic: float
    statistic_negative: float
    effect: float
    median_difference: float
    n: int
    n_zero: int
    n_undefined: int
    min_p: float
    method: str

    @property
    def smaller(self) -> float:
        """Wilcoxon's T: the smaller of the two sums."""
        return min(self.statistic, self.statistic_negative)


@dataclass(frozen=True)
class SignedRanks:
    """Many signed-rank tests: each field of :class:`SignedRank` as an array (k,); an index gives one test."""

    p: F64
    statistic: F64
    statistic_negative: F64
    effect: F64
    median_difference: F64
    n: Whole
    n_zero: Whole
    n_undefined: Whole
    min_p: F64
    method: NDArray[np.str_]

    def __len__(self) -> int:
        return int(self.p.size)

    def __getitem__(self, index: int) -> SignedRank:
        values: dict[str, Any] = {field.name: getattr(self, field.name)[index].item() for field in fields(self)}
        return SignedRank(**values)


def signed_rank(
    a: ArrayLike,
    b: ArrayLike,
    *,
    zeros: Zeros = "pratt",
    alternative: Alternative = "two-sided",
    method: Method = "auto",
) -> SignedRank:
    """Compare paired scores `a` and `b`, both of shape (n,), NaN where a score is not defined.

    Differences are rounded to 1e-10 first. The exact distribution is used up to 500 nonzero pairs, whether or not
    there are ties or zeros; the normal approximation (no continuity correction) beyond.

    Parameters
    ----------
    a, b : array of float, shape (n,)
    zeros : {"pratt", "wilcox", "zsplit"}
        What becomes of zero differences. ``pratt`` (Pratt 1959): they take part in ranking, then their ranks drop out.
        ``wilcox``: they drop out before ranking. ``zsplit`` (Demšar 2006): they are ranked, and half of their ranks
        goes to each side; its normal approximation keeps their ranks in the variance, as published, which is
        conservative. The exact p of ``zsplit`` is that of ``pratt``: zeros have no sign to flip.
    alternative : {"two-sided", "greater", "less"}
        ``greater``: `a` tends to be larger than `b`.
    method : {"auto", "exact", "normal"}

    Raises
    ------
    ValueError
        When shapes differ.
    DataError
        When a score is infinite, or differences are too large to be ranked exactly.
    UsageError
        When a choice does not exist, or the exact distribution is forced for more than 1,000 nonzero pairs.

    Notes
    -----
    Under ties or zeros p can be at most 0.05 although the 95 % interval of
    :func:`hypnos_bench.stats.shift.hodges_lehmann` holds 0: the interval is the conservative one of the two.
    """
    left, right = paired_rows(a, b)
    return _tests(left[None], right[None], zeros, alternative, method)[0]


def signed_rank_many(
    a: ArrayLike,
    b: ArrayLike,
    *,
    zeros: Zeros = "pratt",
    alternative: Alternative = "two-sided",
    method: Method = "auto",
) -> SignedRanks:
    """As :func:`signed_rank`, for `k` tests at once: `a` of shape (k, n), `b` of shape (k, n) or (n,).

    Each row equals a test of its own to the last bit. Rows with the same ranks of nonzero differences, such as all rows
    without ties or zeros, share one null distribution; tied rows of hundreds of pairs need one each (a few
    milliseconds).
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.ndim != 2 or right.shape not in (left.shape, left.shape[1:]):
        raise ValueError(f"paired scores must be (k, n) and (k, n) or (n,), got {left.shape} and {right.shape}")
    return _tests(left, np.broadcast_to(right, left.shape), zeros, alternative, method)


def _tests(a: F64, b: F64, zeros: str, alternative: str, method: str) -> SignedRanks:
    for word, choices in ((zeros, Zeros), (alternative, Alternative), (method, Method)):
        if word not in get_args(choices):
            raise UsageError(f"signed-rank test: {word!r} is none of {', '.join(get_args(choices))}")
    whole, undefined = whole_differences(a, b)
    is_zero = (whole == 0) & ~undefined
    ranks = _ranks(whole, undefined | is_zero if zeros == "wilcox" else undefined)
    signed = np.where(is_zero, 0.0, ranks)
    up, down = signed.sum(axis=1, where=whole > 0), signed.sum(axis=1, where=whole < 0)
    # Half of the zeros' ranks is the same under every sign pattern: the exact test needs the other ranks alone.
    half = ranks.sum(axis=1, where=is_zero) / 2 if zeros == "zsplit" else np.zeros(len(whole))
    n, n_zero = (~undefined).sum(axis=1), is_zero.sum(axis=1)
    p, min_p, exact = _p_values(signed, up, n - n_zero, alternative, method)
    normal = ~exact & (n > n_zero)
    if normal.any():
        kept = ranks if zeros == "zsplit" else signed
        centre, variance = ((up + down) / 2)[normal], ((kept**2).sum(axis=1) / 4)[normal]
        best = np.zeros_like(up) if alternative == "less" else up + down
        p[normal] = normal_p(up[normal], centre, variance, alternative)
        min_p[normal] = normal_p(best[normal], centre, variance, alternative)
    total = up + down + 2 * half
    nothing = n == 0
    p[nothing] = min_p[nothing] = np.nan
    return SignedRanks(
        p=p,
        statistic=np.where(nothing, np.nan, up + half),
        statistic_negative=np.where(nothing, np.nan, down + half),
        effect=np.where(nothing, np.nan, (up - down) / np.where(total > 0, total, 1.0)),
        median_difference=_medians(whole, undefined),
        n=n.astype(np.int64),
        n_zero=n_zero.astype(np.int64),
        n_undefined=undefined.sum(axis=1).astype(np.int64),
        min_p=min_p,
        method=np.where(normal, "normal", "exact"),
    )


def _ranks(whole: Whole, left_out: NDArray[np.bool_]) -> F64:
    """Midranks of absolute differences per row; 0 for what is left out."""
    from scipy.stats import rankdata

    if whole.shape[1] == 0:
        return np.zeros(whole.shape)
    # What is left out sorts behind everything else and leaves the other ranks alone.
    sizes = np.where(left_out, np.iinfo(np.int64).max, np.abs(whole))
    return np.where(left_out, 0.0, rankdata(sizes, axis=1))


def _p_values(
    signed: F64, up: F64, n_signed: Whole, alternative: str, method: str
) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Exact p and smallest p of the rows that get them (1 elsewhere), and which rows these are."""
    exact = np.full(len(signed), method == "exact") if method != "auto" else n_signed <= MAX_EXACT
    if (most := n_signed[exact].max(initial=0)) > MAX_FORCED:
        raise UsageError(f"signed-rank test: {most} pairs are too many for method 'exact'; use 'normal' or 'auto'")
    p, min_p = np.ones(len(signed)), np.ones(len(signed))
    # Rows that hold the same ranks, in whatever order, share one distribution.
    ordered = np.sort(signed, axis=1)
    shared: dict[bytes, RankSum] = {}
    for i in np.flatnonzero(exact & (n_signed > 0)):
        key = ordered[i].tobytes()
        if (null := shared.get(key)) is None:
            null = shared[key] = RankSum(ordered[i][ordered[i] > 0])
        p[i] = null.p(up[i], alternative)
        # All signs alike is one pattern of 2^m: ranks are positive.
        min_p[i] = min(1.0, 0.5 ** int(n_signed[i]) * (2 if alternative == "two-sided" else 1))
    return p, min_p, exact


def _medians(whole: Whole, undefined: NDArray[np.bool_]) -> F64:
    found = np.full(len(whole), np.nan)
    some = ~undefined.all(axis=1)
    found[some] = np.nanmedian(np.where(undefined, np.nan, whole / PER_ONE)[some], axis=1)
    return found


class PersonMeans(NamedTuple):
    """Mean score per person, persons sorted; NaN for a person without any defined recording.

    `n_undefined` counts the recordings left out of each person's mean.
    """

    persons: tuple[str, ...]
    means: F64
    n_undefined: Whole


def average_by_person(values: ArrayLike, persons: Sequence[str]) -> PersonMeans:
    """Average recordings within persons: nights of one person are no independent pairs.

    Parameters
    ----------
    values : array of float, shape (R,)
        One score (or difference) per recording; NaN recordings are left out of the mean and counted.
    persons : sequence of str, length R
        Who each recording is of.

    Raises
    ------
    ValueError
        When lengths differ.
    DataError
        When a value is infinite.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size != len(persons):
        raise ValueError(f"scores {scores.shape} and {len(persons)} persons must be equally many")
    if np.isinf(scores).any():
        raise DataError("scores per recording: a score is infinite; make it NaN (undefined) or mend the metric")
    names, codes = np.unique(np.asarray(persons, dtype=str), return_inverse=True)
    defined = ~np.isnan(scores)
    count = np.bincount(codes[defined], minlength=names.size)
    total = np.bincount(codes[defined], weights=scores[defined], minlength=names.size)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    left_out = np.bincount(codes[~defined], minlength=names.size)
    return PersonMeans(tuple(names.tolist()), means, left_out.astype(np.int64))
