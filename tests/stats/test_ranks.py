"""Average ranks, Friedman and critical differences against Demšar's tables and scipy."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.stats.paired import signed_rank
from hypnos_bench.stats.ranks import average_ranks, critical_difference, friedman, nemenyi_critical_difference

ENCODERS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
DATASETS = ("adult", "breast", "wisconsin", "cmc", "ionosphere", "iris", "liver", "lung", "lymphography", "mushroom",
            "tumor", "rheum", "voting", "wine")  # fmt: skip
# Demšar 2006, table 6. For voting the paper prints 0.975 twice with ranks 2 and 3: the last digit is ours.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798],
    [0.599, 0.591, 0.590, 0.569],
    [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657],
    [0.882, 0.888, 0.886, 0.898],
    [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685],
    [0.583, 0.583, 0.563, 0.625],
    [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000],
    [0.940, 0.962, 0.965, 0.962],
    [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9752, 0.975],
    [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def summary(scores, level=0.05, higher_is_better=True):
    n, k = np.shape(scores)
    datasets, encoders = [f"d{i}" for i in range(n)], [f"e{i}" for i in range(k)]
    return critical_difference(scores, datasets, encoders, higher_is_better=higher_is_better, level=level)


def test_published_ranks_and_tests():
    found = critical_difference(DEMSAR, DATASETS, ENCODERS, higher_is_better=True)
    assert found.encoders == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    np.testing.assert_allclose(found.average_ranks, [1.964, 2.000, 2.893, 3.143], atol=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    printed = friedman(found.ranks, correct_ties=False)  # the paper does not correct for ties
    assert printed.statistic == pytest.approx(9.28, abs=5e-3)
    assert printed.iman_davenport == pytest.approx(3.69, abs=5e-3)
    assert printed.df == 3
    assert printed.iman_davenport_p < 0.05  # F(3, 39) at 0.05 is 2.85
    assert found.friedman.statistic > printed.statistic
    # "the critical difference for 0.10 is 1.12": C4.5 and its two tuned forms then differ, at 0.05 nothing does.
    assert found.nemenyi_groups == (found.encoders,)
    loose = critical_difference(DEMSAR, DATASETS, ENCODERS, higher_is_better=True, level=0.1)
    assert loose.critical_difference == pytest.approx(1.12, abs=5e-3)
    assert {(p.a, p.b) for p in loose.pairs if p.nemenyi} == {("C4.5+m+cf", "C4.5"), ("C4.5+m", "C4.5")}
    assert loose.nemenyi_groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))


def test_published_quantiles():
    """Demšar 2006, table 5a, is q / sqrt(2) for 2 to 10 classifiers."""
    table = {
        0.05: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
        0.10: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
    }
    for level, printed in table.items():
        found = [nemenyi_critical_difference(k, 1, level) / math.sqrt(k * (k + 1) / 6) for k in range(2, 11)]
        np.testing.assert_allclose(found, printed, atol=1.5e-3)  # the printed table rounds some up


@pytest.mark.parametrize("digits", [8, 1])
def test_friedman_equals_scipy(digits):
    scores = np.round(np.random.default_rng(1).standard_normal((12, 5)) + np.array([0, 0, 0.3, 0.6, 0.9]), digits)
    oracle = friedmanchisquare(*scores.T)
    found = friedman(average_ranks(scores, higher_is_better=True))
    assert (found.statistic, found.p) == pytest.approx(oracle, rel=1e-10)
    assert friedman(average_ranks(scores, higher_is_better=False)).statistic == pytest.approx(oracle.statistic)


def test_identical_and_fully_tied_rankings():
    same = friedman(np.tile([1.0, 2.0, 3.0], (6, 1)))
    assert (same.statistic, same.iman_davenport, same.iman_davenport_p) == (12.0, math.inf, 0.0)
    tied = friedman(np.full((6, 3), 2.0))
    assert (tied.statistic, tied.p, tied.iman_davenport_p) == (0.0, 1.0, 1.0)


def test_two_encoders_are_a_sign_test():
    """With two encoders Friedman's statistic is the squared z of the sign test."""
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((20, 2))
    wins = (scores[:, 0] > scores[:, 1]).sum()
    assert summary(scores).friedman.statistic == pytest.approx((wins - 10) ** 2 / 5)


def test_pairs_are_signed_rank_tests_with_holm():
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels, the oracle, is not installed")
    scores = np.random.default_rng(23).standard_normal((15, 4)) + np.array([0, 0.2, 1.0, 2.0])
    found = summary(scores)
    assert found.encoders == ("e3", "e2", "e1", "e0")
    assert [(p.a, p.b) for p in found.pairs] == list(combinations(found.encoders, 2))
    one_by_one = [signed_rank(scores[:, int(p.a[1])], scores[:, int(p.b[1])]) for p in found.pairs]
    assert [p.p for p in found.pairs] == [t.p for t in one_by_one]
    adjusted = multitest.multipletests([t.p for t in one_by_one], method="holm")[1]
    np.testing.assert_allclose([p.p_holm for p in found.pairs], adjusted)
    by_names = {frozenset((p.a, p.b)): p for p in found.pairs}
    # Holm matters here, and groups are as long as they can be.
    assert any(p.p <= 0.05 < p.p_holm for p in found.pairs)
    for i, j in combinations(range(4), 2):
        run = found.encoders[i : j + 1]
        alike = all(by_names[frozenset(pair)].p_holm > 0.05 for pair in combinations(run, 2))
        assert alike == any(set(run) <= set(group) for group in found.wilcoxon_groups)
    for group in found.wilcoxon_groups:
        assert all(by_names[frozenset(pair)].p_holm > 0.05 for pair in combinations(group, 2))
    for group in found.nemenyi_groups:
        assert all(
            by_names[frozenset(pair)].rank_difference < found.critical_difference for pair in combinations(group, 2)
        )


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(3, 9), st.integers(2, 5)).flatmap(
        lambda shape: st.lists(
            st.lists(st.integers(-1, 1), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
        )
    ),
    st.booleans(),
)
def test_small_whole_scores_equal_brute_force(scores, higher):
    """Ties and zeros everywhere: ranks by counting, pairs as tests of their own, Holm and groups by their definition."""
    table = np.array(scores, dtype=float)
    k = table.shape[1]
    found = summary(table, higher_is_better=higher)
    sign = 1 if higher else -1
    ranks = [
        [1 + sum(sign * (x - y) > 0 for x in row) + (sum(x == y for x in row) - 1) / 2 for y in row] for row in table
    ]
    column = {name: int(name[1:]) for name in found.encoders}
    np.testing.assert_allclose(found.average_ranks, np.mean(ranks, axis=0)[list(column.values())])
    assert list(found.encoders) == sorted(column, key=lambda name: (np.mean(ranks, axis=0)[column[name]], name))
    pairs = list(combinations(found.encoders, 2))
    assert [(pair.a, pair.b) for pair in found.pairs] == pairs
    tests = [signed_rank(table[:, column[a]], table[:, column[b]]) for a, b in pairs]
    assert [(pair.p, pair.min_p) for pair in found.pairs] == [(t.p, t.min_p) for t in tests]
    p = sorted(t.p for t in tests)
    for pair, test in zip(found.pairs, tests, strict=True):
        steps = [(len(p) - i) * value for i, value in enumerate(p) if value <= test.p]
        # Equal p-values share the largest step among those up to the first of them.
        first = p.index(test.p)
        assert pair.p_holm == pytest.approx(min(1.0, max(steps[: first + 1])))
    assert all(0 <= value <= 1 for value in (found.friedman.p, found.friedman.iman_davenport_p))
    if k > 2 and (np.ptp(table, axis=1) > 0).any():
        assert found.friedman.statistic == pytest.approx(friedmanchisquare(*table.T).statistic, abs=1e-9)


def test_every_pair_without_a_difference_between_neighbours_shares_a_group():
    scores = np.random.default_rng(4).standard_normal((12, 6)) + np.linspace(0, 2, 6)
    found = summary(scores)
    for pair in found.pairs:
        together = any({pair.a, pair.b} <= set(group) for group in found.nemenyi_groups)
        assert together == (not pair.nemenyi)  # by ranks alone, groups say it all
    assert all(not set(a) <= set(b) for a, b in combinations(found.nemenyi_groups, 2))


def test_direction_noise_and_order():
    scores = np.random.default_rng(5).standard_normal((9, 3))
    assert summary(scores).encoders == summary(-scores, higher_is_better=False).encoders
    np.testing.assert_array_equal(summary(scores).ranks, summary(-scores, higher_is_better=False).ranks)
    shuffled = critical_difference(scores[:, [2, 0, 1]], list("abcdefghi"), ["e2", "e0", "e1"], higher_is_better=True)
    assert shuffled.encoders == summary(scores).encoders
    np.testing.assert_array_equal(shuffled.average_ranks, summary(scores).average_ranks)
    np.testing.assert_array_equal(average_ranks([[0.3, 0.1 + 0.2]], higher_is_better=True), [[1.5, 1.5]])


def test_missing_values_drop_the_data_set_for_all():
    scores = np.random.default_rng(6).standard_normal((6, 3))
    holed = scores.copy()
    holed[[1, 4], [0, 2]] = np.nan
    found = summary(holed)
    assert found.dropped == ("d1", "d4")
    assert found.datasets == ("d0", "d2", "d3", "d5")
    np.testing.assert_array_equal(found.average_ranks, summary(scores[[0, 2, 3, 5]]).average_ranks)
    holed[[0, 2], 1] = np.nan
    with pytest.raises(DataError, match=r"2 data sets .*\(d0, d1, d2, d4 left out"):
        summary(holed)


def test_too_little_is_refused():
    with pytest.raises(DataError, match="2 data sets"):
        summary(np.zeros((2, 3)))
    with pytest.raises(UsageError, match="at least two"):
        summary(np.zeros((5, 1)))
    with pytest.raises(UsageError, match="level"):
        summary(np.zeros((5, 2)), level=5)
    with pytest.raises(DataError, match="infinite"):
        summary(np.full((5, 2), np.inf))
    with pytest.raises(UsageError, match="encoder named twice: a"):
        critical_difference(np.zeros((3, 2)), "xyz", ("a", "a"), higher_is_better=True)
    with pytest.raises(ValueError, match="3 data sets by 2 encoders"):
        critical_difference(np.zeros((2, 3)), "xyz", ("a", "b"), higher_is_better=True)
