"""What p-values and intervals promise, over simulated studies with fixed seeds."""

import numpy as np
import pytest

from hypnos_bench.stats.family import benjamini_hochberg, bonferroni
from hypnos_bench.stats.paired import signed_rank_many
from hypnos_bench.stats.shift import hodges_lehmann

PAIRS = [(i, j) for i in range(6) for j in range(i)]
TRIALS = 4000


def shared_persons(rng, shifts, trials, n_persons=25):
    """p of all pairs of encoders, (trials, 15), whose scores share persons: pairs with a common encoder are dependent."""
    person = rng.standard_normal((trials, 1, n_persons))
    scores = person + shifts[:, None] + 0.5 * rng.standard_normal((trials, len(shifts), n_persons))
    left, right = (scores[:, list(side)].reshape(-1, n_persons) for side in zip(*PAIRS))
    return signed_rank_many(left, right).p.reshape(trials, len(PAIRS))


def independent(rng, trials, n_persons=25):
    p = signed_rank_many(rng.standard_normal((trials * len(PAIRS), n_persons)), np.zeros(n_persons)).p
    return p.reshape(trials, len(PAIRS))


def any_rejected(p, adjust):
    return np.mean([(adjust(row).p <= 0.05).any() for row in p])


@pytest.mark.parametrize("dependent", [True, False])
def test_no_false_discoveries_beyond_the_level_when_nothing_differs(dependent):
    rng = np.random.default_rng(0)
    p = shared_persons(rng, np.zeros(6), TRIALS) if dependent else independent(rng, TRIALS)
    by_bh, by_bonferroni = any_rejected(p, benjamini_hochberg), any_rejected(p, bonferroni)
    error = np.sqrt(0.05 * 0.95 / TRIALS)
    assert by_bonferroni <= by_bh <= 0.05 + 2 * error
    # Independent tests use the level up, but for the steps of a discrete p; dependent ones leave some of it.
    assert by_bh >= (0.03 if dependent else 0.05 - 2 * error)
    assert (p <= 0.05).any(axis=1).mean() > 0.3  # what unadjusted tests would claim


def test_false_discovery_rate_when_some_differ():
    shifts = np.array([0.0, 0.0, 0.0, 0.45, 0.45, 0.45])
    null = np.array([shifts[i] == shifts[j] for i, j in PAIRS])
    p = shared_persons(np.random.default_rng(1), shifts, TRIALS // 2)
    rejected = np.array([benjamini_hochberg(row).p for row in p]) <= 0.05
    rates = (rejected & null).sum(axis=1) / np.maximum(rejected.sum(axis=1), 1)
    # BH promises level times the share of true nulls.
    assert rates.mean() <= 0.05 * null.mean() + 2 * rates.std() / np.sqrt(rates.size)
    assert rates.mean() > 0.01
    assert rejected[:, ~null].mean() > 0.5


def test_raw_p_values_keep_every_level():
    rng = np.random.default_rng(2)
    p = signed_rank_many(rng.laplace(size=(6000, 10)), np.zeros(10)).p
    for level in (0.01, 0.05, 0.1, 0.3):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / 6000)
    attained = np.unique(p)
    shares = np.array([(p <= level).mean() for level in attained])
    assert np.abs(shares - attained).max() < 4 * 0.5 / np.sqrt(6000)


def test_coverage_of_the_shift():
    rng = np.random.default_rng(3)
    for draw in (rng.standard_normal, rng.laplace):
        shifts = [hodges_lehmann(0.3 + draw(size=20), np.zeros(20)) for _ in range(1500)]
        covered = np.mean([s.low <= 0.3 <= s.high for s in shifts])
        assert abs(covered - shifts[0].coverage) < 3 * np.sqrt(0.05 * 0.95 / 1500)
        assert shifts[0].coverage >= 0.95


def test_coverage_is_kept_under_ties():
    rng = np.random.default_rng(4)
    shifts = [hodges_lehmann(np.round(0.3 + rng.standard_normal(20), 1), np.zeros(20)) for _ in range(1000)]
    assert np.mean([s.low <= 0.3 <= s.high for s in shifts]) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 1000)
