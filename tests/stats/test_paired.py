"""Signed-rank test against published values, brute force and scipy."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, rankdata, wilcoxon

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.stats import paired
from hypnos_bench.stats.paired import average_by_person, signed_rank, signed_rank_many

# Darwin's maize, cross- minus self-fertilised heights, as in scipy's documentation.
MAIZE = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]

# Demšar 2006, table 2: AUC of C4.5 and of C4.5 with m tuned, 14 data sets. The printed ranks sum to 93 and 12.
C45 = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957]
C45_M = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978]


def brute_force(differences, zeros="pratt", alternative="two-sided"):
    """p from every sign pattern, by definition."""
    d = np.asarray(differences, dtype=float)
    if zeros == "wilcox":
        d = d[d != 0]
    if not d.any():
        return 1.0
    ranks = rankdata(np.abs(d))[d != 0]
    observed = ranks[d[d != 0] > 0].sum()
    sums = np.array([np.dot(s, ranks) for s in itertools.product((0, 1), repeat=len(ranks))])
    if alternative == "greater":
        return np.mean(sums >= observed - 1e-9)
    if alternative == "less":
        return np.mean(sums <= observed + 1e-9)
    return np.mean(np.abs(sums - ranks.sum() / 2) >= abs(observed - ranks.sum() / 2) - 1e-9)


def test_published_maize_value():
    test = signed_rank(MAIZE, np.zeros(15))
    assert test.p == pytest.approx(0.041259765625, abs=1e-15)
    assert (test.statistic, test.statistic_negative, test.smaller) == (96, 24, 24)
    assert (test.n, test.n_zero, test.method) == (15, 0, "exact")
    assert test.effect == pytest.approx((96 - 24) / 120)
    assert test.median_difference == 24
    assert signed_rank(MAIZE, np.zeros(15), alternative="greater").p == pytest.approx(0.0206298828125, abs=1e-15)
    # The other tail holds everything but the patterns beyond 96.
    assert signed_rank(MAIZE, np.zeros(15), alternative="less").p > 1 - 0.0206298828125


def test_published_comparison_of_c45():
    test = signed_rank(C45_M, C45, zeros="zsplit", method="normal")
    assert (test.statistic, test.smaller, test.n_zero) == (93, 12, 2)
    assert test.p == pytest.approx(0.010968, abs=5e-7)
    assert test.effect == pytest.approx((93 - 12) / 105)
    exact = signed_rank(C45_M, C45, zeros="zsplit")
    assert (exact.method, exact.smaller) == ("exact", 12)
    assert exact.p == pytest.approx(brute_force(np.round(np.subtract(C45_M, C45), 10)), abs=1e-12)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("zeros", ["pratt", "wilcox", "zsplit"])
def test_normal_approximation_is_scipys(zeros, alternative):
    rng = np.random.default_rng(5)
    d = np.round(rng.standard_normal(40) + 0.2, 1)  # ties and zeros
    assert (d == 0).any()
    ours = signed_rank(d, np.zeros(40), zeros=zeros, alternative=alternative, method="normal")
    oracle = wilcoxon(d, zero_method=zeros, correction=False, method="asymptotic", alternative=alternative)
    assert ours.p == pytest.approx(oracle.pvalue, rel=1e-10)
    assert oracle.statistic in (ours.smaller, ours.statistic)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=10),
    st.sampled_from(["pratt", "wilcox", "zsplit"]),
    st.sampled_from(["two-sided", "greater", "less"]),
)
def test_exact_with_ties_and_zeros_equals_brute_force(differences, zeros, alternative):
    nothing = np.zeros(len(differences))
    test = signed_rank(differences, nothing, zeros=zeros, alternative=alternative)
    assert test.p == pytest.approx(brute_force(differences, zeros, alternative), abs=1e-12)
    opposite = {"greater": "less", "less": "greater"}.get(alternative, alternative)
    mirrored = signed_rank(nothing, differences, zeros=zeros, alternative=opposite)
    assert (mirrored.p, mirrored.effect) == pytest.approx((test.p, -test.effect), abs=1e-12)
    assert test.min_p <= test.p
    assert test.n_zero == differences.count(0)
    ranked = test.n - test.n_zero if zeros == "wilcox" else test.n
    zero_ranks = 0 if zeros == "wilcox" else test.n_zero * (test.n_zero + 1) / 2
    sums = test.statistic + test.statistic_negative
    assert sums == ranked * (ranked + 1) / 2 - (zero_ranks if zeros == "pratt" else 0)


def test_every_attainable_level_is_exactly_kept():
    """Over all sign patterns, P(p <= p0) is p0 for each p0 that can come out: no approximation, ties included."""
    sizes = np.array([1, 2, 2, 3, 5, 5, 5, 8, 9])
    signs = np.array(list(itertools.product((-1, 1), repeat=9)))
    for alternative in ("two-sided", "greater"):
        p = signed_rank_many(signs * sizes, np.zeros(9), alternative=alternative).p
        for level in np.unique(np.round(p, 12)):
            assert (p <= level + 1e-9).mean() == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("zeros", ["pratt", "wilcox", "zsplit"])
def test_tied_pairs_equal_scipys_permutation(zeros):
    """Where scipy's automatic choice is the normal approximation, and its exact one ignores ties."""
    d = np.array([1, 1, 2, 2, -1, 3, 3, 4, -2, 4, 5, 0])
    oracle = wilcoxon(d, zero_method=zeros, method=PermutationMethod(n_resamples=np.inf)).pvalue
    assert signed_rank(d, np.zeros(12), zeros=zeros).p == pytest.approx(oracle, abs=1e-12)


def test_untied_pairs_equal_scipys_exact_test():
    rng = np.random.default_rng(8)
    d = rng.standard_normal(50) + 0.3
    assert signed_rank(d, np.zeros(50)).p == pytest.approx(wilcoxon(d, method="exact").pvalue, rel=1e-10)


@pytest.mark.parametrize("n", [55, 500])
def test_tiny_p_values_are_exact(n):
    """Counted in whole numbers: patterns whose rank sum is at most 60, of 2^n."""
    counts = [1] + [0] * 60
    for rank in range(1, min(n, 60) + 1):
        for w in range(60, rank - 1, -1):
            counts[w] += counts[w - rank]
    d = np.arange(1.0, n + 1)
    d[[9, 19, 29]] *= -1  # ranks 10 + 20 + 30
    test = signed_rank(d, np.zeros(n))
    assert test.smaller == 60
    assert test.p == pytest.approx(2 * sum(counts) / 2**n, rel=1e-12)


def test_many_pairs_equal_scipys_normal_approximation():
    rng = np.random.default_rng(0)
    d = np.round(rng.standard_normal(2900) + 0.05, 1)  # ties and zeros
    test = signed_rank(d, np.zeros(2900))
    oracle = wilcoxon(d, zero_method="pratt", correction=False, method="asymptotic")
    assert test.method == "normal"
    assert test.p == pytest.approx(oracle.pvalue, rel=1e-9)


def test_exact_and_normal_meet():
    d = np.round(np.random.default_rng(1).standard_normal(400) + 0.08, 1)
    exact, normal = (signed_rank(d, np.zeros(400), method=m) for m in ("auto", "normal"))
    assert (exact.method, normal.method) == ("exact", "normal")
    assert exact.p == pytest.approx(normal.p, rel=0.02)
    assert exact.p != normal.p


def test_float_noise_does_not_break_ties():
    a = np.array([0.1 + 0.2, 0.3, 0.7, 0.4])
    b = np.array([0.3, 0.2, 0.6, 0.4])  # 4e-17, 0.1, 0.1 (up to noise), 0
    test = signed_rank(a, b)
    assert test.n_zero == 2
    assert test.p == 0.5  # two tied positive differences: 2 * (1/2)**2


def test_smallest_p_is_stated():
    test = signed_rank([1, 2, 3, 4, 5], np.zeros(5))
    assert test.p == test.min_p == 2 * 0.5**5 == 0.0625
    assert signed_rank([1, -2, 3, 4, 5], np.zeros(5)).min_p == 0.0625
    assert signed_rank([1, -2, 0, 4, 5], np.zeros(5)).min_p == 0.125  # a zero has no sign
    assert signed_rank([1, -2, 3, 4, 5], np.zeros(5), alternative="less").min_p == 0.5**5
    d = np.arange(1, 701.0)
    assert signed_rank(d, np.zeros(700)).p == signed_rank(-d, np.zeros(700), alternative="two-sided").min_p > 0


def test_edges():
    zeros = signed_rank([1.0, 2.0], [1.0, 2.0])
    assert (zeros.p, zeros.min_p, zeros.n_zero, zeros.effect) == (1.0, 1.0, 2, 0.0)
    dropped = signed_rank([1.0, math.nan, 3.0], [0.5, 1.0, math.nan])
    assert (dropped.n, dropped.n_undefined) == (1, 2)
    for nothing in (signed_rank([], []), signed_rank([math.nan], [1.0])):
        assert nothing.n == 0
        assert all(math.isnan(v) for v in (nothing.p, nothing.min_p, nothing.effect, nothing.statistic))
    with pytest.raises(ValueError, match="equally long"):
        signed_rank([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="must be"):
        signed_rank_many(np.zeros((2, 3)), np.zeros(2))
    for infinite in (math.inf, -math.inf):
        with pytest.raises(DataError, match="infinite"):
            signed_rank([1.0, infinite], [1.0, 2.0])
    with pytest.raises(DataError, match="too large"):
        signed_rank([1e12], [0.0])
    with pytest.raises(UsageError, match="'bogus' is none of pratt"):
        signed_rank([1.0], [2.0], zeros="bogus")
    with pytest.raises(UsageError, match="1001 pairs are too many"):
        signed_rank(np.arange(1, 1002.0), np.zeros(1001), method="exact")


@pytest.mark.parametrize("zeros", ["pratt", "wilcox", "zsplit"])
@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_many_equals_one_by_one(zeros, alternative):
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((30, 40)), rng.standard_normal((30, 40))
    a[10:] = np.round(a[10:])
    b[10:] = np.round(b[10:])
    a[5:8, :12] = np.nan
    a[8], a[9] = np.nan, b[9]
    tests = signed_rank_many(a, b, zeros=zeros, alternative=alternative)
    assert len(tests) == 30
    for i in range(30):
        one = signed_rank(a[i], b[i], zeros=zeros, alternative=alternative)
        np.testing.assert_equal(vars(tests[i]), vars(one))
    shared = signed_rank_many(a, b[0], zeros=zeros, alternative=alternative)
    assert shared[4] == signed_rank(a[4], b[0], zeros=zeros, alternative=alternative)


def test_tied_rows_with_other_numbers_of_zeros_are_kept_apart():
    """All-tied rows reduce to the same whole ranks, but not to the same sums."""
    rows = np.array([[1, 1, -1, math.nan], [0, 1, 1, -1]])
    assert signed_rank_many(rows, np.zeros(4))[1].p == signed_rank(rows[1], np.zeros(4)).p == 1.0
    rows = np.array([[0.01] * 6 + [math.nan] * 2, [0.01] * 6 + [0.0] * 2])
    np.testing.assert_array_equal(signed_rank_many(rows, np.zeros(8)).p, 2 * 0.5**6)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from([-1, 0, 1, math.nan]), min_size=n, max_size=n), min_size=1, max_size=12
        )
    ),
    st.sampled_from(["pratt", "wilcox", "zsplit"]),
    st.sampled_from(["two-sided", "greater", "less"]),
    st.sampled_from(["auto", "normal"]),
)
def test_many_equals_one_by_one_where_nearly_all_is_tied(rows, zeros, alternative, method):
    how = {"zeros": zeros, "alternative": alternative, "method": method}
    several = np.array(rows, dtype=float)
    tests = signed_rank_many(several, np.zeros(several.shape[1]), **how)
    assert len(tests) == len(rows)
    for test, row in zip(tests, several, strict=True):
        np.testing.assert_equal(vars(test), vars(signed_rank(row, np.zeros(row.size), **how)))
        if method == "auto" and test.n:
            assert test.p == pytest.approx(brute_force(row[~np.isnan(row)], zeros, alternative), abs=1e-12)


def test_a_thousand_tests_are_fast():
    a = np.random.default_rng(4).standard_normal((1000, 100))
    start = time.process_time()
    tests = signed_rank_many(a, np.zeros(100))
    assert time.process_time() - start < 1.5
    assert (tests.method == "exact").all()
    oracle = wilcoxon(a[7], method="asymptotic").pvalue
    assert tests.p[7] == pytest.approx(oracle, rel=0.05)


def test_order_of_pairs_and_a_common_scale_do_not_matter():
    rng = np.random.default_rng(6)
    d = np.round(rng.standard_normal(25), 1)
    p = signed_rank(d, np.zeros(25)).p
    assert signed_rank(rng.permutation(d), np.zeros(25)).p == p
    assert signed_rank(1000 * d, np.zeros(25)).p == p
    assert signed_rank(d + 0.5, np.full(25, 0.5)).p == p


def test_persons_are_averaged_and_undefined_recordings_counted():
    means = average_by_person([1.0, 3.0, math.nan, 5.0, math.nan], ["p2", "p1", "p2", "p2", "p3"])
    assert means.persons == ("p1", "p2", "p3")
    np.testing.assert_array_equal(means.means, [3.0, 3.0, math.nan])
    np.testing.assert_array_equal(means.n_undefined, [0, 1, 1])
    with pytest.raises(ValueError, match="equally many"):
        average_by_person([1.0], ["a", "b"])
    with pytest.raises(DataError, match="infinite"):
        average_by_person([math.inf], ["a"])


def test_two_nights_of_one_person_are_one_pair():
    """Doubling every recording must not make anything more certain."""
    rng = np.random.default_rng(9)
    d = rng.standard_normal(12) + 0.5
    once = signed_rank(d, np.zeros(12))
    means = average_by_person(np.repeat(d, 2), np.repeat([f"p{i:02d}" for i in range(12)], 2).tolist()).means
    assert signed_rank(means, np.zeros(12)) == once
    assert signed_rank(np.repeat(d, 2), np.zeros(24)).p < once.p
    assert paired.average_by_person([], []).means.size == 0
