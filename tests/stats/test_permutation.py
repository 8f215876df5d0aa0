"""Sign-flip test of a mean against brute force and scipy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from hypnos_bench.errors import UsageError
from hypnos_bench.stats.permutation import permutation_mean

# Darwin's maize in inches: Fisher (1935) counted the patterns by hand, 1,726 of 32,768 in both tails.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_fishers_count():
    test = permutation_mean(MAIZE, np.zeros(15))
    assert test.p == 1726 / 32768
    assert (test.method, test.n_resamples, test.seed) == ("exact", 32768, None)
    assert test.mean_difference == pytest.approx(314 / 15)
    assert permutation_mean(MAIZE, np.zeros(15), alternative="greater").p == 863 / 32768


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9), st.sampled_from(["two-sided", "greater", "less"]))
def test_exact_equals_brute_force(d, alternative):
    d = np.array(d) / 10  # tenths: sums tie only if float noise is kept out
    sums = np.array([np.dot(s, d) for s in itertools.product((-1, 1), repeat=d.size)])
    observed = d.sum()
    expected = {
        "two-sided": np.abs(sums) >= abs(observed) - 1e-9,
        "greater": sums >= observed - 1e-9,
        "less": sums <= observed + 1e-9,
    }[alternative].mean()
    test = permutation_mean(d, np.zeros(d.size), alternative=alternative)
    assert test.p == pytest.approx(expected, abs=1e-12)
    assert test.p >= test.min_p


def test_equals_scipys_exact_permutation():
    d = np.random.default_rng(0).standard_normal(10) + 0.4
    oracle = permutation_test((d,), lambda x: np.mean(x), permutation_type="samples", n_resamples=np.inf)
    assert permutation_mean(d, np.zeros(10)).p == pytest.approx(oracle.pvalue, abs=1e-12)


def test_monte_carlo_is_near_the_normal_limit_and_never_zero():
    rng = np.random.default_rng(1)
    d = rng.standard_normal(400) + 0.1
    test = permutation_mean(d, np.zeros(400), n_resamples=20_000, seed=5)
    z = d.sum() / np.sqrt((d**2).sum())
    assert test.p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=4 * math.sqrt(test.p / 20_000))
    assert (test.method, test.n_resamples, test.seed) == ("monte carlo", 20_000, 5)
    assert test == permutation_mean(d, np.zeros(400), n_resamples=20_000, seed=5)
    far = permutation_mean(d + 5, np.zeros(400), n_resamples=99)
    assert far.p == far.min_p == 0.01


def test_exact_and_monte_carlo_meet(monkeypatch):
    d = np.round(np.random.default_rng(2).standard_normal(14) + 0.3, 2)
    exact = permutation_mean(d, np.zeros(14))
    monkeypatch.setattr("hypnos_bench.stats.permutation._MAX_EXACT", 5)
    drawn = permutation_mean(d, np.zeros(14), n_resamples=40_000)
    assert drawn.method == "monte carlo"
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / 40_000))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([-2, -1, 0, 1, 2, math.nan]), min_size=1, max_size=8), st.integers(0, 99))
def test_drawn_signs_meet_brute_force_and_chunks_do_not_matter(d, seed):
    d = np.array(d, dtype=float)
    used = d[~np.isnan(d)]
    sums = np.array([np.dot(s, used) for s in itertools.product((-1, 1), repeat=used.size)])
    expected = {"two-sided": np.abs(sums) >= abs(used.sum()), "greater": sums >= used.sum(), "less": sums <= used.sum()}
    for alternative, reached in expected.items():
        exact = permutation_mean(d, np.zeros(d.size), alternative=alternative)
        assert (exact.n, exact.n_zero, exact.n_undefined) == (used.size, (used == 0).sum(), d.size - used.size)
        assert exact.p == pytest.approx(reached.mean() if used.size else math.nan, abs=1e-12, nan_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hypnos_bench.stats.permutation._MAX_EXACT", 0)
            drawn = permutation_mean(d, np.zeros(d.size), alternative=alternative, n_resamples=2000, seed=seed)
            patch.setattr("hypnos_bench.stats.permutation._CHUNK", 700)
            assert str(permutation_mean(d, np.zeros(d.size), alternative=alternative, n_resamples=2000, seed=seed)) == (
                str(drawn)
            )
        assert drawn.p == pytest.approx(exact.p, abs=5 * 0.5 / math.sqrt(2000) + 1e-3, nan_ok=True)


def test_edges():
    assert permutation_mean([1.0, 2.0], [1.0, 2.0]).p == 1.0
    dropped = permutation_mean([1.0, math.nan, 2.0], [0.5, 1.0, 2.0])
    assert (dropped.n, dropped.n_zero, dropped.n_undefined, dropped.mean_difference) == (2, 1, 1, 0.25)
    assert math.isnan(permutation_mean([], []).p)
    with pytest.raises(UsageError):
        permutation_mean([1.0], [2.0], alternative="bigger")
    with pytest.raises(UsageError):
        permutation_mean([1.0], [2.0], n_resamples=0)
