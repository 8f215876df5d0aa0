"""Signed-rank test and BH against published values, brute force and scipy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, wilcoxon

from hypnos_bench.stats import paired
from hypnos_bench.stats.paired import benjamini_hochberg, signed_rank

# Darwin's maize, cross- minus self-fertilised heights, as in scipy's documentation.
MAIZE = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]


def brute_force(differences):
    """p from every sign pattern, by definition."""
    d = np.asarray(differences, dtype=float)
    from scipy.stats import rankdata

    ranks = rankdata(np.abs(d))[d != 0]
    centre = ranks.sum() / 2
    observed = abs(ranks[d[d != 0] > 0].sum() - centre)
    sums = [np.dot(s, ranks) for s in itertools.product((0, 1), repeat=len(ranks))]
    return np.mean([abs(s - centre) >= observed - 1e-9 for s in sums])


def test_published_maize_value():
    test = signed_rank(MAIZE, np.zeros(15))
    assert test.p == pytest.approx(0.041259765625, abs=1e-15)
    assert test.statistic == 96
    assert (test.n, test.n_zero, test.method) == (15, 0, "exact")
    assert test.effect == pytest.approx((96 - 24) / 120)
    assert test.median_difference == 24


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_exact_with_ties_and_zeros_equals_brute_force(differences):
    test = signed_rank(differences, np.zeros(len(differences)))
    expected = 1.0 if not any(differences) else brute_force(differences)
    assert test.p == pytest.approx(expected, abs=1e-12)
    mirrored = signed_rank(np.zeros(len(differences)), differences)
    assert (mirrored.p, mirrored.effect) == pytest.approx((test.p, -test.effect))
    assert test.min_p <= test.p
    assert test.n_zero == differences.count(0)


def test_tied_pairs_equal_scipys_permutation():
    """Where scipy's automatic choice is the normal approximation, and its exact one ignores ties."""
    d = np.array([1, 1, 2, 2, -1, 3, 3, 4, -2, 4, 5, 0])
    oracle = wilcoxon(d, zero_method="pratt", method=PermutationMethod(n_resamples=np.inf)).pvalue
    assert signed_rank(d, np.zeros(12)).p == pytest.approx(oracle, abs=1e-12)


def test_many_pairs_equal_scipys_normal_approximation():
    rng = np.random.default_rng(0)
    d = np.round(rng.standard_normal(2900) + 0.05, 1)  # ties and zeros
    test = signed_rank(d, np.zeros(2900))
    oracle = wilcoxon(d, zero_method="pratt", correction=False, method="asymptotic")
    assert test.method == "normal"
    assert test.p == pytest.approx(oracle.pvalue, rel=1e-9)


def test_exact_and_normal_meet(monkeypatch):
    d = np.round(np.random.default_rng(1).standard_normal(400) + 0.08, 1)
    exact = signed_rank(d, np.zeros(400))
    monkeypatch.setattr(paired, "_MAX_EXACT", 10)
    normal = signed_rank(d, np.zeros(400))
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


def test_edges():
    zeros = signed_rank([1.0, 2.0], [1.0, 2.0])
    assert (zeros.p, zeros.n_zero, zeros.effect) == (1.0, 2, 0.0)
    dropped = signed_rank([1.0, math.nan, 3.0], [0.5, 1.0, math.nan])
    assert (dropped.n, dropped.n_undefined) == (1, 2)
    assert math.isnan(signed_rank([], []).p)
    with pytest.raises(ValueError, match="equally long"):
        signed_rank([1.0], [1.0, 2.0])


# Benjamini & Hochberg 1995, 15 p-values of a thrombolysis trial.
P_1995 = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
          0.7590, 1.0]  # fmt: skip


def test_published_false_discovery_rates():
    adjusted = benjamini_hochberg(P_1995).p
    printed = [0.0015, 0.0030, 0.0095, 0.035625, 0.0603, 0.06385714, 0.06385714, 0.0645, 0.0765, 0.486]
    np.testing.assert_allclose(adjusted[:10], printed, rtol=1e-6)
    assert (adjusted <= 0.05).sum() == 4


def test_undefined_p_values_are_no_tests():
    with_nan = benjamini_hochberg([*P_1995[:7], math.nan, *P_1995[7:], math.nan])
    assert with_nan.n_undefined == 2
    np.testing.assert_array_equal(with_nan.p[~np.isnan(with_nan.p)], benjamini_hochberg(P_1995).p)
    assert np.isnan(with_nan.p[[7, 16]]).all()
    assert benjamini_hochberg([math.nan]).n_undefined == 1
    with pytest.raises(ValueError):
        benjamini_hochberg([0.2, 1.2])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_values_keep_the_order(p):
    adjusted = benjamini_hochberg(p).p
    assert (adjusted >= np.array(p) - 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= -1e-15).all()
