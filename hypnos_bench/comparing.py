"""From scores per recording to a declared family of paired comparisons between encoders.

Scores are paired by recording and seed, differences are averaged over seeds, then over a person's recordings, and
persons are tested: never seeds, and never two nights of one person as two pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.stats.family import AdjustedFamily, Family, Method, adjust
from hypnos_bench.stats.paired import SignedRank, Zeros, average_by_person, signed_rank
from hypnos_bench.stats.shift import Shift, hodges_lehmann

F64 = NDArray[np.float64]

INTERVAL = 0.95
"""Level of intervals, whatever that of the decision."""


@dataclass(frozen=True)
class PerRecording:
    """Scores of one encoder.

    Parameters
    ----------
    recordings : sequence of str, length R
        Ids, without repeats, in any order.
    persons : sequence of str, length R
        Who each recording is of.
    values : array of float, shape (R,) or (seeds, R)
        NaN where the metric is not defined (or a seed's fit failed). One row without `seeds` holds for every seed
        that the other encoder has.
    seeds : sequence of int, optional
        Seed of each row; 0, 1, ... by default. Encoders are compared on the seeds they share.

    Raises
    ------
    ValueError
        When lengths differ.
    DataError
        When a recording or seed stands twice, or a score is infinite.
    """

    recordings: Sequence[str]
    persons: Sequence[str]
    values: NDArray[Any]
    seeds: Sequence[int] | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "values", values)
        if values.ndim not in (1, 2) or not values.shape[-1] == len(self.recordings) == len(self.persons):
            raise ValueError(
                f"scores {values.shape}, {len(self.recordings)} recordings and {len(self.persons)} persons must match"
            )
        if self.seeds is not None and len(self.seeds) != len(np.atleast_2d(values)):
            raise ValueError(f"{len(self.seeds)} seeds for scores {values.shape}")
        if twice := _twice(self.recordings) or _twice([f"seed {seed}" for seed in self.seeds or ()]):
            raise DataError(f"scores per recording: {twice} stands twice; give each recording and seed one score")
        if np.isinf(values).any():
            raise DataError("scores per recording: a score is infinite; make it NaN (undefined) or mend the metric")

    @property
    def by_seed(self) -> tuple[tuple[int, ...] | None, F64]:
        """Seeds and their rows, (seeds, R); no seeds when one row holds for all of them."""
        rows = np.atleast_2d(self.values)
        if self.seeds is None and self.values.ndim == 1:
            return None, rows
        return tuple(self.seeds if self.seeds is not None else range(len(rows))), rows


@dataclass(frozen=True)
class Comparison:
    """One pair of encoders, `a` against `b`; differences are a - b of the metric.

    Parameters
    ----------
    family, metric, a, b : str
    higher_is_better : bool
    n_persons, n_pairs : int
        Persons tested, and recordings of theirs with a difference.
    n_undefined : int
        Recordings that both encoders have, without a seed in which both are defined.
    only_a, only_b : int
        Recordings that the other encoder lacks.
    n_seeds, seeds_left_out : int
        Seeds averaged before testing (0: neither side has seeds), and those that only one side has.
    mean_a, mean_b : float
        Means over the persons tested, of the same seeds and recordings on both sides.
    shift, low, high, coverage : float
        Hodges-Lehmann shift and its 95 % interval, not adjusted for multiplicity; unbounded (infinite) with too few
        persons. Under ties and zeros it is conservative: it can hold 0 although p is at most 0.05.
    effect : float
        Matched-pairs rank-biserial correlation.
    n_zero : int
        Persons without a difference.
    p, p_bh, p_bonferroni, p_holm : float
        Two-sided signed-rank test, raw and adjusted over the family; NaN without pairs.
    min_p : float
        The smallest raw p that this many persons allow.
    method : {"exact", "normal"}
        Null distribution of the test.
    decided_by : {"bh", "bonferroni", "holm"}
    level : float
    n_tests, family_undefined : int
        Hypotheses of the family that were tested, and declared ones that could not be.
    better : str or None
        The encoder that is better at `level`, if one is.
    verdict : str
        The same in one sentence. Where the interval seems to say otherwise, the sentence says why.
    """

    family: str
    metric: str
    higher_is_better: bool
    a: str
    b: str
    n_persons: int
    n_pairs: int
    n_undefined: int
    only_a: int
    only_b: int
    n_seeds: int
    seeds_left_out: int
    mean_a: float
    mean_b: float
    shift: float
    low: float
    high: float
    coverage: float
    effect: float
    n_zero: int
    p: float
    p_bh: float
    p_bonferroni: float
    p_holm: float
    min_p: float
    method: str
    decided_by: str
    level: float
    n_tests: int
    family_undefined: int
    better: str | None
    verdict: str


def pair_id(a: str, b: str) -> str:
    """Id of a pair's hypothesis, the same in either order."""
    return " vs ".join(sorted((a, b)))


def declare(table: str, encoders: Sequence[str], reference: str | None = None) -> Family:
    """Declare the family of one table: all unordered pairs of encoders, or each against `reference`.

    Parameters
    ----------
    table : str
        Name of the table: task, cohort, head, label budget and metric.
    encoders : sequence of str
        Known from the plan, before a score exists.
    reference : str, optional
        Only pairs with this encoder are hypotheses: fewer, and tested with more power.

    Raises
    ------
    UsageError
        When fewer than two encoders are given, one twice, or `reference` is none of them.
    """
    if twice := _twice(encoders):
        raise UsageError(f"family {table!r}: encoder {twice} is named twice")
    pairs = _pairs(table, encoders, reference)
    return Family(table, tuple(pair_id(a, b) for a, b in pairs))


def compare(
    scores: Mapping[str, PerRecording],
    metric: str,
    higher_is_better: bool,
    *,
    table: str = "one table",
    family: Family | None = None,
    reference: str | None = None,
    method: Method = "bh",
    level: float = 0.05,
    zeros: Zeros = "pratt",
) -> list[Comparison]:
    """Compare encoders pairwise over persons.

    Parameters
    ----------
    scores : mapping of str to PerRecording
        By encoder. One whose cells failed belongs here with NaN: its pairs stay in the family, counted as undefined.
    metric : str
    higher_is_better : bool
    table : str
        Name of the family when none is given.
    family : Family, optional
        As declared by :func:`declare` before any score existed; must hold exactly the pairs of `scores`. By default it
        is declared here, from the encoders' names alone.
    reference : str, optional
        Compare each encoder with this one only; it is `b` of every pair.
    method : {"bh", "bonferroni", "holm"}
        Which adjustment decides; all three are returned.
    level : float
        Of the decision. Intervals are 95 % whatever it is.
    zeros : {"pratt", "wilcox", "zsplit"}
        As :func:`hypnos_bench.stats.paired.signed_rank`.

    Returns
    -------
    list of Comparison
        One per pair, in the order of `scores`.

    Raises
    ------
    UsageError
        When there are fewer than two encoders, `reference` is none of them, the family holds other pairs, or two
        encoders share no seed.
    DataError
        When two encoders disagree on whose recording one is.
    """
    pairs = _pairs(table, tuple(scores), reference)
    declared = family if family is not None else declare(table, tuple(scores), reference)
    found = {pair_id(a, b): _Pair(a, b, scores[a], scores[b], zeros) for a, b in pairs}
    adjusted = adjust(declared, {name: pair.test.p for name, pair in found.items()}, method)
    return [_comparison(name, pair, adjusted, metric, higher_is_better, level) for name, pair in found.items()]


def _pairs(table: str, encoders: Sequence[str], reference: str | None) -> list[tuple[str, str]]:
    if len(encoders) < 2:
        raise UsageError(f"family {table!r}: {len(encoders)} encoder; at least two are compared")
    if reference is None:
        return list(combinations(encoders, 2))
    if reference not in encoders:
        raise UsageError(f"family {table!r}: reference {reference!r} is none of {', '.join(encoders)}")
    return [(encoder, reference) for encoder in encoders if encoder != reference]


class _Pair:
    """Two encoders on what they share, averaged down to persons and tested."""

    def __init__(self, a: str, b: str, left: PerRecording, right: PerRecording, zeros: Zeros) -> None:
        self.a, self.b = a, b
        shared, at_a, at_b = np.intersect1d(
            np.asarray(left.recordings, dtype=str), np.asarray(right.recordings, dtype=str), return_indices=True
        )
        self.only_a, self.only_b = len(left.recordings) - shared.size, len(right.recordings) - shared.size
        persons = [str(left.persons[i]) for i in at_a]
        for recording, person, other in zip(shared, persons, [str(right.persons[i]) for i in at_b], strict=True):
            if person != other:
                raise DataError(f"{recording}: of person {person} for {a} but of {other} for {b}; mend the persons")
        rows_a, rows_b, self.n_seeds, self.seeds_left_out = _same_seeds(a, left, b, right)
        scores_a, scores_b = rows_a[:, at_a], rows_b[:, at_b]
        # A seed counts for a recording only where both sides are defined: both means are over the same draws.
        both = ~(np.isnan(scores_a) | np.isnan(scores_b))
        count = both.sum(axis=0)
        self.n_pairs, self.n_undefined = int((count > 0).sum()), int((count == 0).sum())
        by_person = [
            average_by_person(_mean(scores, both, count), persons)
            for scores in (scores_a, scores_b, scores_a - scores_b)
        ]
        means = [person_means.means for person_means in by_person]
        nothing = np.zeros_like(means[2])
        # Differences are averaged, not averages subtracted: equal nights stay exact zeros.
        self.test: SignedRank = signed_rank(means[2], nothing, zeros=zeros)
        self.shift: Shift = hodges_lehmann(means[2], nothing, level=INTERVAL)
        self.mean_a, self.mean_b = (float(np.nanmean(m)) if self.test.n else float("nan") for m in means[:2])


def _same_seeds(a: str, left: PerRecording, b: str, right: PerRecording) -> tuple[F64, F64, int, int]:
    """Rows of the seeds that both sides have, their number, and how many only one side has."""
    (seeds_a, rows_a), (seeds_b, rows_b) = left.by_seed, right.by_seed
    if seeds_a is None or seeds_b is None:
        n = max(len(rows_a), len(rows_b))
        shape_a, shape_b = (n, rows_a.shape[1]), (n, rows_b.shape[1])
        return np.broadcast_to(rows_a, shape_a), np.broadcast_to(rows_b, shape_b), len(seeds_a or seeds_b or ()), 0
    shared = [seed for seed in seeds_a if seed in seeds_b]
    if not shared:
        raise UsageError(f"{a} has seeds {list(seeds_a)} and {b} {list(seeds_b)}: none in common; run the same seeds")
    left_rows, right_rows = rows_a[[seeds_a.index(s) for s in shared]], rows_b[[seeds_b.index(s) for s in shared]]
    return left_rows, right_rows, len(shared), len(set(seeds_a) ^ set(seeds_b))


def _mean(scores: F64, both: NDArray[np.bool_], count: NDArray[np.int64]) -> F64:
    total = np.where(both, scores, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _comparison(
    name: str, pair: _Pair, adjusted: AdjustedFamily, metric: str, higher_is_better: bool, level: float
) -> Comparison:
    test, shift = pair.test, pair.shift
    better = None
    if adjusted.adjusted[name] <= level and test.effect != 0:
        better = pair.a if (test.effect > 0) == higher_is_better else pair.b
    return Comparison(
        family=adjusted.family.name,
        metric=metric,
        higher_is_better=higher_is_better,
        a=pair.a,
        b=pair.b,
        n_persons=test.n,
        n_pairs=pair.n_pairs,
        n_undefined=pair.n_undefined,
        only_a=pair.only_a,
        only_b=pair.only_b,
        n_seeds=pair.n_seeds,
        seeds_left_out=pair.seeds_left_out,
        mean_a=pair.mean_a,
        mean_b=pair.mean_b,
        shift=shift.value,
        low=shift.low,
        high=shift.high,
        coverage=shift.coverage,
        effect=test.effect,
        n_zero=test.n_zero,
        p=test.p,
        p_bh=adjusted.bh[name],
        p_bonferroni=adjusted.bonferroni[name],
        p_holm=adjusted.holm[name],
        min_p=test.min_p,
        method=test.method,
        decided_by=adjusted.method,
        level=level,
        n_tests=adjusted.n_tests,
        family_undefined=adjusted.n_undefined,
        better=better,
        verdict=_verdict(pair, adjusted, name, better, level),
    )


_NAMES = {"bh": "Benjamini-Hochberg", "bonferroni": "Bonferroni", "holm": "Holm"}


def _verdict(pair: _Pair, adjusted: AdjustedFamily, name: str, better: str | None, level: float) -> str:
    test, shift = pair.test, pair.shift
    persons = f"{test.n} person{'' if test.n == 1 else 's'}"
    if test.n == 0:
        return f"{pair.a} and {pair.b} cannot be compared: no recording has a score from both"
    interval = f" [{shift.low:+.4f}, {shift.high:+.4f}]" if shift.bounded else " (too few persons for an interval)"
    numbers = (
        f"shift {shift.value:+.4f}{interval}, {_NAMES[adjusted.method]} p = {adjusted.adjusted[name]:.3g} "
        f"over {adjusted.n_tests} test{'' if adjusted.n_tests == 1 else 's'}, {persons}"
        f"{_apart(test.p, shift, better is not None, level)}"
    )
    if better is not None:
        other = pair.b if better == pair.a else pair.a
        return f"{better} better than {other}: {numbers}"
    if test.min_p > level:
        return (
            f"{pair.a} and {pair.b}: no difference could be shown, as {persons} with {test.n_zero} zero "
            f"differences allow no p below {test.min_p:.3g}; {numbers}"
        )
    return f"{pair.a} and {pair.b}: no difference shown; {numbers}"


def _apart(p: float, shift: Shift, differs: bool, level: float) -> str:
    """Why decision and interval part, where they do: an interval that holds 0 beside a difference, or the reverse."""
    excludes_zero = shift.low > 0 or shift.high < 0
    if not shift.bounded or differs == excludes_zero:
        return ""
    if differs and p <= 1 - INTERVAL:
        return "; the interval holds 0 because it is conservative under ties and zeros"
    if p <= level and not differs:
        return f"; the {INTERVAL:.0%} interval is not adjusted for the number of tests"
    return f"; the interval is of {INTERVAL:.0%}, the decision at level {level:g}"


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
