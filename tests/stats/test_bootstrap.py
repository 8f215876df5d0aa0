"""Person bootstrap: exact replicates, paired draws, honest coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from hypnos_bench.metrics.classification import accuracy, cohens_kappa, confusion_matrices
from hypnos_bench.stats.bootstrap import Interval, paired_difference, percentile_interval, person_weights

UNITS = np.array([84, 36])
"""Epochs of each class that every simulated person has."""


def test_weights_are_draws_with_replacement():
    weights = person_weights(30, 400, seed=3)
    assert weights.shape == (400, 30)
    assert (weights.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(weights, person_weights(30, 400, seed=3))
    assert (weights != person_weights(30, 400, seed=4)).any()
    # Binomial(30, 1/30): mean 1, variance 29/30.
    assert abs(weights.var() - 29 / 30) < 0.05
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.25


def test_weighted_matrices_are_those_of_redrawn_persons():
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(7), 40)
    truth = rng.integers(0, 2, person.size)
    pred = np.where(rng.random(person.size) < 0.5 + 0.06 * person, truth, 1 - truth)
    weights = person_weights(7, 50, seed=1)
    pooled = np.tensordot(weights, confusion_matrices(truth, pred, person, 7, 2), axes=1)
    by_hand = []
    for drawn in weights:
        rows = np.concatenate([np.flatnonzero(person == p) for p in np.repeat(np.arange(7), drawn)])
        by_hand.append(cohen_kappa_score(truth[rows], pred[rows]))
    np.testing.assert_allclose(cohens_kappa(pooled), by_hand, rtol=1e-12)


def test_undefined_replicates_are_counted():
    assert percentile_interval([math.nan] * 3 + [0.5, 0.6]) is None
    assert percentile_interval([math.nan, 0.5, 0.6]) == Interval(0.5025, pytest.approx(0.5975), 2)
    assert percentile_interval([0.5]) is None
    values = np.random.default_rng(1).standard_normal(400)
    values[::3] = math.nan
    expected = np.quantile(values[~np.isnan(values)], [0.025, 0.975])
    found = percentile_interval(values)
    assert found[:2] == pytest.approx(expected)
    assert found.n_valid == 266


def test_paired_difference_is_interval_and_p_of_shared_draws():
    a = np.linspace(0, 1, 999)
    b = np.full(999, 0.1)
    b[0] = np.nan
    found = paired_difference(a, b, 0.5, 0.1)
    d = (a - b)[1:]
    assert (found.low, found.high) == pytest.approx(np.quantile(d, [0.025, 0.975]))
    assert (found.value, found.n_valid) == (pytest.approx(0.4), 998)
    assert found.p == pytest.approx(2 * ((d <= 0).sum() + 1) / 999)
    assert found.min_p == 2 / 999
    mirrored = paired_difference(b, a, 0.1, 0.5)
    assert mirrored.p == found.p
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    always = paired_difference(a + 2, b, 2.5, 0.1)
    assert always.p == always.min_p
    same = paired_difference(a, a, 0.5, 0.5)
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert paired_difference(a + 0.1 + 0.2, a + 0.3, 0, 0).p == 1.0  # float noise
    few = paired_difference([0.1, np.nan, np.nan], [0.0, 0.1, 0.2], 0.3, 0.1)
    assert few.value == pytest.approx(0.2)
    assert np.isnan([few.low, few.high, few.p, few.min_p]).all()
    assert few.n_valid == 1
    with pytest.raises(ValueError, match="equally long"):
        paired_difference([0.1], [0.1, 0.2], 0, 0)


REPLICATES = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1, 2, math.nan]), st.sampled_from([0, 1, math.nan])), min_size=1, max_size=30
)


@settings(max_examples=100, deadline=None)
@given(REPLICATES, st.sampled_from([1, 10, 60]))
def test_paired_difference_equals_counting(pairs, times):
    """Small whole numbers, tied, with gaps: p by its definition, and never at odds with the interval."""
    a, b = np.array(pairs * times, dtype=float).T
    found = paired_difference(a, b, 0, 0)
    d = sorted(x - y for x, y in pairs * times if not math.isnan(x - y))
    assert found.n_valid == len(d)
    if len(d) < max(2, len(a) / 2):
        assert np.isnan([found.low, found.high, found.p, found.min_p]).all()
        return
    share = min(sum(x <= 0 for x in d) + 1, sum(x >= 0 for x in d) + 1) / (len(d) + 1)
    assert found.p == pytest.approx(min(1.0, 2 * share))
    assert found.min_p == pytest.approx(2 / (len(d) + 1))
    assert found.p >= found.min_p
    for bound, q in ((found.low, 0.025), (found.high, 0.975)):
        at = q * (len(d) - 1)
        below = math.floor(at)
        between = d[below] + (at - below) * (d[min(below + 1, len(d) - 1)] - d[below])
        assert bound == pytest.approx(between, abs=1e-12)
    if found.p <= 0.05:
        assert found.low > 0 or found.high < 0
    assert paired_difference(b, a, 0, 0).p == found.p


def hit_rates(person, encoder):
    """Chance that an epoch of each class is called right, (..., 2, 2): persons differ, two encoders share them."""
    ease = np.array([1.4, 0.6]) + np.array([[0.0], [0.2]]) + 0.9 * person[..., None, None] + 0.4 * encoder[..., None]
    return 1 / (1 + np.exp(-ease))


def confusions(hits):
    """Confusion matrices, (..., 2, 2), from right calls per class, (..., 2)."""
    conf = np.zeros((*hits.shape, 2))
    for k in (0, 1):
        conf[..., k, k], conf[..., k, 1 - k] = hits[..., k], UNITS[k] - hits[..., k]
    return conf


def covered(n_persons, trials, seed, n_boot=600, block=20):
    """Share of simulated cohorts whose 95 % interval holds the truth: by persons and, of accuracy, by epochs.

    Cohorts of one block share the draws of persons, as cells of one benchmark do.
    """
    rng, grid = np.random.default_rng(seed), np.random.default_rng(21)
    rates = hit_rates(grid.standard_normal(400_000), grid.standard_normal((400_000, 2)))
    everybody = confusions(UNITS * rates).mean(axis=0)
    share, kappas = accuracy(everybody)[0], cohens_kappa(everybody)
    truth = {"accuracy": share, "kappa": kappas[0], "difference": kappas[1] - kappas[0], "epochs": share}
    hits = dict.fromkeys(truth, 0)
    for at in range(trials // block):
        drawn = hit_rates(rng.standard_normal((block, n_persons)), rng.standard_normal((block, n_persons, 2)))
        conf = confusions(rng.binomial(UNITS, drawn))  # (block, P, encoder, 2, 2)
        weights = person_weights(n_persons, n_boot, at).astype(float)
        pooled = np.rint(np.tensordot(weights, conf, axes=(1, 1)))
        shares, replicates, points = accuracy(pooled), cohens_kappa(pooled), cohens_kappa(conf.sum(axis=1))
        observed = accuracy(conf.sum(axis=1))[:, 0]
        half = 1.96 * np.sqrt(observed * (1 - observed) / (n_persons * UNITS.sum()))
        for t in range(block):
            intervals = {
                "accuracy": percentile_interval(shares[:, t, 0]),
                "kappa": percentile_interval(replicates[:, t, 0]),
                "difference": paired_difference(replicates[:, t, 1], replicates[:, t, 0], *points[t, ::-1])[1:3],
                "epochs": (observed[t] - half[t], observed[t] + half[t]),
            }
            for name, (low, high, *_) in intervals.items():
                hits[name] += low <= truth[name] <= high
    return {name: count / trials for name, count in hits.items()}


def test_coverage_of_persons_and_failure_of_epochs():
    """150 persons, 2,000 cohorts (standard error 0.5 points): 95 % intervals cover 93 to 97 %, those of epochs do not."""
    found = covered(150, 2000, seed=1)
    for name in ("accuracy", "kappa", "difference"):
        assert 0.93 <= found[name] <= 0.97
    assert found["epochs"] < 0.5


def test_few_persons_cover_less_than_they_claim():
    found = covered(8, 400, seed=2)
    assert 0.8 < max(found["accuracy"], found["kappa"], found["difference"]) < 0.93
