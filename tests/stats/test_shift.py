"""Hodges-Lehmann shift and its interval against brute force and the test that it inverts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.stats import shift
from hypnos_bench.stats.paired import signed_rank, signed_rank_many
from hypnos_bench.stats.rank_sums import normal_p
from hypnos_bench.stats.shift import hodges_lehmann

MAIZE = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]


def estimate(d, **kwargs):
    return hodges_lehmann(d, np.zeros(len(d)), **kwargs)


def walsh(d):
    return sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(d, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-30, 30), min_size=1, max_size=25))
def test_value_is_the_median_of_walsh_averages(d):
    found = estimate(d)
    assert found.value == pytest.approx(np.median(walsh(d)))
    assert found.low <= found.value <= found.high
    assert estimate([-x for x in d]).value == pytest.approx(-found.value)


@pytest.mark.parametrize("n", [6, 8, 11])
def test_interval_is_the_inverted_test(n):
    """Between neighbouring Walsh averages p is constant: what is not rejected there is the interval."""
    d = np.round(np.random.default_rng(n).standard_normal(n), 6)
    averages = np.array(walsh(d))
    middles = np.concatenate([[averages[0] - 1], (averages[1:] + averages[:-1]) / 2, [averages[-1] + 1]])
    kept = [i for i, theta in enumerate(middles) if signed_rank(d, np.full(n, theta)).p > 0.05]
    found = estimate(d)
    assert (found.low, found.high) == pytest.approx((averages[kept[0] - 1], averages[kept[-1]]))
    assert 0.95 <= found.coverage < 1
    rejected = [signed_rank(d, np.full(n, middles[i])).p for i in (kept[0] - 1, kept[-1] + 1)]
    assert found.coverage == pytest.approx(1 - max(rejected))


@settings(max_examples=60, deadline=None)
@given(st.integers(6, 40), st.floats(-1, 1), st.integers(0, 10_000))
def test_zero_lies_outside_exactly_when_the_test_rejects(n, location, seed):
    d = np.random.default_rng(seed).standard_normal(n) + location
    found = estimate(d)
    assert (found.low > 0 or found.high < 0) == (signed_rank(d, np.zeros(n)).p <= 0.05)


@pytest.mark.parametrize("zeros", ["pratt", "wilcox"])
def test_interval_is_conservative_under_ties_and_zeros(zeros):
    """All 1,287 samples of 8 whole numbers from -2 to 3: where the interval excludes 0 the test rejects, not the reverse."""
    samples = np.array(list(itertools.combinations_with_replacement(range(-2, 4), 8)), dtype=float)
    rejected = signed_rank_many(samples, np.zeros(8), zeros=zeros).p <= 0.05
    shifts = [estimate(d) for d in samples]
    excludes = np.array([s.low > 0 or s.high < 0 for s in shifts])
    assert rejected[excludes].all()
    assert 0 < excludes.sum() < rejected.sum()


def test_a_strict_disagreement_is_possible():
    """Coarse ties: the test rejects although 0 lies well inside."""
    d = [-1, -1, -1, 2, 2, 3, 3, 3, 3]
    assert signed_rank(d, np.zeros(9)).p == 0.0390625
    assert (estimate(d).low, estimate(d).high) == (-1, 3)


def test_tabled_interval_of_maize():
    """n = 15: the table of critical values gives 25 (P(W <= 25) = 0.0240): bounds are the 26th Walsh averages."""
    found = estimate(MAIZE)
    averages = walsh(MAIZE)
    assert (found.low, found.high) == (averages[25], averages[-26])
    assert found.coverage == pytest.approx(0.9521, abs=5e-5)
    assert estimate(MAIZE, level=0.9).low == averages[30]  # tabled: 30 at 0.10


def test_counting_equals_sorting(monkeypatch):
    rng = np.random.default_rng(2)
    for d in (rng.standard_normal(200), rng.integers(-3, 4, 151), np.full(40, 0.25), np.zeros(30)):
        sorted_way = estimate(d)
        monkeypatch.setattr(shift, "_WHOLE", 0)
        assert estimate(d) == sorted_way
        monkeypatch.undo()


def test_thousands_of_pairs_by_the_normal_approximation():
    rng = np.random.default_rng(3)
    d = rng.standard_normal(3000) + 0.1
    found = estimate(d)
    i, j = np.triu_indices(3000)
    assert found.value == pytest.approx(np.median((d[i] + d[j]) / 2), abs=1e-10)
    assert found.method == "normal"
    # The bounds leave out as many Walsh averages on each side as the test still rejects.
    units = np.rint(d * 1e10)
    averages = np.sort((units[i] + units[j]) / 2e10)
    cut = int(np.searchsorted(averages, found.low - 1e-12))
    assert averages.size - int(np.searchsorted(averages, found.high + 1e-12)) == cut
    centre, variance = averages.size / 2, 3000 * 3001 * 6001 / 24
    kept, left_out = normal_p([cut + 1, cut], centre, variance, "two-sided")
    assert left_out <= 0.05 < kept
    assert signed_rank(d, np.full(3000, found.low - 1e-6)).p < 0.05 < signed_rank(d, np.full(3000, found.low + 1e-5)).p


def test_few_pairs_have_no_bounds():
    five = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (five.low, five.high, five.coverage, five.bounded) == (-math.inf, math.inf, 1.0, False)
    assert five.value == 3.0
    assert estimate([1.0, 2.0, 3.0, 4.0, 5.0], level=0.9).bounded
    six = estimate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert (six.low, six.high) == (1.0, 6.0)
    assert six.coverage == 1 - 2 / 64


def test_undefined_pairs_are_counted():
    found = hodges_lehmann([1.0, math.nan, 3.0], [0.0, 1.0, math.nan])
    assert (found.value, found.n, found.n_undefined) == (1.0, 1, 2)
    nothing = hodges_lehmann([math.nan], [1.0])
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.low)
    with pytest.raises(DataError, match="infinite"):
        estimate([math.inf])
    with pytest.raises(UsageError, match="level"):
        estimate([1.0], level=95)


def test_the_largest_differences_do_not_wrap():
    assert estimate([2.3e8]).value == 2.3e8
    assert estimate([-1.1e8, -1.2e8]).value == -1.15e8
    with pytest.raises(DataError, match="too large"):
        estimate([2.0**62 / 1e10])
