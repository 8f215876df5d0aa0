"""Encoders over many data sets: average ranks, Friedman's test and critical differences (Demšar 2006)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.stats.differences import DECIMALS
from hypnos_bench.stats.family import holm
from hypnos_bench.stats.paired import signed_rank_many

F64 = NDArray[np.float64]
Groups = tuple[tuple[str, ...], ...]

MIN_DATASETS = 3
"""With fewer data sets no test over them says anything."""


@dataclass(frozen=True)
class Friedman:
    """Whether all encoders rank alike.

    `statistic` is Friedman's chi-squared with `df` degrees of freedom, `iman_davenport` the less conservative F that
    Demšar recommends, with `df` and `df * (n - 1)`; it is infinite when all data sets rank the encoders identically.
    """

    statistic: float
    p: float
    iman_davenport: float
    iman_davenport_p: float
    df: int
    n: int


@dataclass(frozen=True)
class RankPair:
    """Two encoders over the data sets, the better average rank first.

    `p` is the two-sided signed-rank test of their scores, `p_holm` adjusted over all pairs, `min_p` the smallest p that
    the data sets allow; `nemenyi` says whether the average ranks differ by the critical difference or more.
    """

    a: str
    b: str
    rank_difference: float
    nemenyi: bool
    p: float
    p_holm: float
    min_p: float


@dataclass(frozen=True)
class CriticalDifference:
    """Summary of encoders over data sets, best average rank first: all that a critical-difference figure needs.

    Parameters
    ----------
    encoders : tuple of str
        By average rank, ties by name.
    average_ranks : ndarray, shape (k,)
        1 is best.
    ranks : ndarray, shape (n, k)
        Per data set used; ties share the mean of their ranks.
    datasets, dropped : tuple of str
        Data sets used, and those left out because some encoder has no value there.
    friedman : Friedman
    critical_difference : float
        Of average ranks, by Nemenyi's test at `level`.
    level : float
    pairs : tuple of RankPair
    nemenyi_groups, wilcoxon_groups : tuple of tuple of str
        Largest runs of neighbours (by average rank) of which no two differ: by the critical difference, and by
        signed-rank tests with Holm's adjustment. Only runs of two and more.
    """

    encoders: tuple[str, ...]
    average_ranks: F64
    ranks: F64
    datasets: tuple[str, ...]
    dropped: tuple[str, ...]
    friedman: Friedman
    critical_difference: float
    level: float
    pairs: tuple[RankPair, ...]
    nemenyi_groups: Groups
    wilcoxon_groups: Groups


def critical_difference(
    scores: ArrayLike,
    datasets: Sequence[str],
    encoders: Sequence[str],
    *,
    higher_is_better: bool,
    level: float = 0.05,
) -> CriticalDifference:
    """Compare encoders over data sets (cohorts, or tasks on cohorts).

    Parameters
    ----------
    scores : array of float, shape (n, k)
        One score per data set and encoder. A data set on which any encoder has NaN is left out for all of them and
        named: ranks among fewer encoders are no ranks among all.
    datasets, encoders : sequence of str
        Names of rows and columns.
    higher_is_better : bool
    level : float
        Of the critical difference and of the groups.

    Notes
    -----
    Data sets count as independent: cohorts that share persons are not. The signed-rank tests compare score differences
    across data sets; with few data sets they cannot reach the level (see ``min_p``), and a group is then no evidence of
    equality.

    Raises
    ------
    ValueError
        When shapes do not match.
    UsageError
        When there are fewer than two encoders, a name twice, or a level outside (0, 1).
    DataError
        When fewer than three data sets have a value for every encoder, or a score is infinite.
    """
    table = np.asarray(scores, dtype=np.float64)
    _check(table, datasets, encoders, level)
    complete = np.asarray(~np.isnan(table).any(axis=1))
    kept = tuple(name for name, whole in zip(datasets, complete.tolist(), strict=True) if whole)
    dropped = tuple(name for name, whole in zip(datasets, complete.tolist(), strict=True) if not whole)
    if len(kept) < MIN_DATASETS:
        left = f" ({', '.join(dropped)} left out: some encoder has no value)" if dropped else ""
        raise DataError(
            f"critical difference: {len(kept)} data sets with a value for every encoder{left}; at least {MIN_DATASETS} "
            "are needed: add data sets, or leave out the encoder that lacks values"
        )
    by_rank = average_ranks(table[complete], higher_is_better=higher_is_better)
    order = sorted(range(len(encoders)), key=lambda i: (by_rank.mean(axis=0)[i], encoders[i]))
    names, ranks = tuple(encoders[i] for i in order), by_rank[:, order]
    mean = ranks.mean(axis=0)
    cd = nemenyi_critical_difference(len(names), len(kept), level)
    pairs = _pairs(names, mean, table[complete][:, order], cd)
    known = {(pair.a, pair.b): pair for pair in pairs}
    return CriticalDifference(
        encoders=names,
        average_ranks=mean,
        ranks=ranks,
        datasets=kept,
        dropped=dropped,
        friedman=friedman(ranks),
        critical_difference=cd,
        level=level,
        pairs=pairs,
        nemenyi_groups=_groups(names, lambda a, b: known[a, b].nemenyi),
        wilcoxon_groups=_groups(names, lambda a, b: known[a, b].p_holm <= level),
    )


def average_ranks(scores: ArrayLike, *, higher_is_better: bool) -> F64:
    """Rank encoders within each data set, (n, k) to (n, k): 1 is best, ties share the mean; noise below 1e-10 ties."""
    from scipy.stats import rankdata

    table = np.round(np.asarray(scores, dtype=np.float64), DECIMALS)
    return np.asarray(rankdata(-table if higher_is_better else table, axis=1), dtype=np.float64)


def friedman(ranks: ArrayLike, *, correct_ties: bool = True) -> Friedman:
    """Friedman's test (1937) on ranks within data sets, (n, k), and its F form (Iman & Davenport 1980).

    `correct_ties` divides by the variance that ties leave, as most software does; Demšar's worked example does not.
    When every data set ties all encoders, the statistics are 0 and p is 1.
    """
    from scipy.stats import chi2, f

    table = np.asarray(ranks, dtype=np.float64)
    n, k = table.shape
    centred = table - (k + 1) / 2
    spread = float((centred**2).sum()) / (n * (k - 1)) if correct_ties else k * (k + 1) / 12
    between = n * float((centred.mean(axis=0) ** 2).sum())
    statistic = between / spread if spread > 0 else 0.0
    # Identical rankings make the denominator zero up to rounding.
    left = n * (k - 1) - statistic
    ratio = (n - 1) * statistic / left if left > 1e-9 * n * k else math.inf
    return Friedman(
        statistic, float(chi2.sf(statistic, k - 1)), ratio, float(f.sf(ratio, k - 1, (k - 1) * (n - 1))), k - 1, n
    )


def nemenyi_critical_difference(n_encoders: int, n_datasets: int, level: float = 0.05) -> float:
    """Return the difference of average ranks from which two encoders differ (Nemenyi 1963): q √(k (k + 1) / 6 n).

    q is the upper quantile of the studentized range with infinite degrees of freedom, divided by √2.
    """
    quantile = _studentized_range(n_encoders, level)
    return quantile / math.sqrt(2) * math.sqrt(n_encoders * (n_encoders + 1) / (6 * n_datasets))


@lru_cache(maxsize=64)
def _studentized_range(k: int, level: float) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.isf(level, k, np.inf))


def _check(table: F64, datasets: Sequence[str], encoders: Sequence[str], level: float) -> None:
    if table.shape != (len(datasets), len(encoders)):
        raise ValueError(f"scores {table.shape} must be {len(datasets)} data sets by {len(encoders)} encoders")
    for kind, names in (("data set", datasets), ("encoder", encoders)):
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise UsageError(f"critical difference: {kind} named twice: {', '.join(twice)}")
    if len(encoders) < 2:
        raise UsageError(f"critical difference: {len(encoders)} encoder; at least two are compared")
    if not 0 < level < 1:
        raise UsageError(f"critical difference: level {level} is not between 0 and 1")
    if np.isinf(table).any():
        raise DataError("critical difference: a score is infinite; make it NaN (undefined) or mend the metric")


def _pairs(names: Sequence[str], mean: F64, table: F64, cd: float) -> tuple[RankPair, ...]:
    places = list(combinations(range(len(names)), 2))
    left, right = [i for i, _ in places], [j for _, j in places]
    tests = signed_rank_many(table.T[left], table.T[right])
    adjusted = holm(tests.p).p
    # The difference is not rounded below cd by float noise: average ranks are sums of halves over n.
    apart = mean[right] - mean[left]
    return tuple(
        RankPair(names[i], names[j], float(apart[at]), bool(apart[at] >= cd - 1e-12), float(tests.p[at]),
                 float(adjusted[at]), float(tests.min_p[at]))
        for at, (i, j) in enumerate(places)
    )  # fmt: skip


def _groups(names: Sequence[str], differ: Callable[[str, str], bool]) -> Groups:
    """Largest runs of neighbours of which no two differ."""
    found: list[tuple[int, int]] = []
    for start in range(len(names)):
        stop = start
        while stop + 1 < len(names) and not any(differ(names[i], names[stop + 1]) for i in range(start, stop + 1)):
            stop += 1
        if stop > start and not (found and found[-1][1] >= stop):
            found.append((start, stop))
    return tuple(tuple(names[start : stop + 1]) for start, stop in found)
