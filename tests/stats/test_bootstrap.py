"""Person bootstrap: exact replicates, paired draws, honest coverage."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from hypnos_bench.metrics.classification import accuracy, auroc, confusion_matrices
from hypnos_bench.metrics.registry import score_confusion
from hypnos_bench.stats.bootstrap import (
    Interval,
    percentile_interval,
    person_bootstrap_confusion,
    person_bootstrap_ranking,
    person_weights,
)


def score_two(conf):
    return score_confusion(conf, ("a", "b"))


def cohort(rng, n_persons, n_units, spread=1.0):
    """Persons who differ in how hard they are: epochs within a person are correlated."""
    person = np.repeat(np.arange(n_persons), n_units)
    skill = 1 / (1 + np.exp(-(1.0 + spread * rng.standard_normal(n_persons))))
    truth = rng.integers(0, 2, person.size)
    pred = np.where(rng.random(person.size) < skill[person], truth, 1 - truth)
    return truth, pred, person


def test_weights_are_draws_with_replacement():
    weights = person_weights(30, 400, seed=3)
    assert weights.shape == (400, 30)
    assert (weights.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(weights, person_weights(30, 400, seed=3))
    assert (weights != person_weights(30, 400, seed=4)).any()
    # Binomial(30, 1/30): mean 1, variance 29/30.
    assert abs(weights.var() - 29 / 30) < 0.05
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.25


def test_replicates_are_what_redrawing_persons_gives():
    truth, pred, person = cohort(np.random.default_rng(0), 7, 40)
    conf = confusion_matrices(truth, pred, person, 7, 2)
    kept = {}

    def watch(replicates):
        kept["kappa"] = score_two(replicates)["kappa"]
        return score_two(replicates)

    interval = person_bootstrap_confusion(conf, watch, n_boot=50, seed=1)["kappa"]
    by_hand = []
    for weights in person_weights(7, 50, seed=1):
        rows = np.concatenate([np.flatnonzero(person == p) for p in np.repeat(np.arange(7), weights)])
        by_hand.append(cohen_kappa_score(truth[rows], pred[rows]))
    np.testing.assert_allclose(kept["kappa"], by_hand, rtol=1e-12)
    assert interval == Interval(*np.quantile(by_hand, [0.025, 0.975]).tolist(), 50)


def test_ranking_replicates_use_the_same_draws():
    rng = np.random.default_rng(2)
    truth, _, person = cohort(rng, 6, 30)
    score = truth + rng.standard_normal(truth.size)
    areas = []
    for weights in person_weights(6, 40, seed=5):
        rows = np.concatenate([np.flatnonzero(person == p) for p in np.repeat(np.arange(6), weights)])
        areas.append(auroc(truth[rows] == 1, score[rows]))
    interval = person_bootstrap_ranking(truth == 1, score, person, 6, n_boot=40, seed=5)["auroc"]
    assert interval is not None
    assert interval[:2] == pytest.approx(np.quantile(areas, [0.025, 0.975]))


def test_coverage_of_persons_and_failure_of_epochs():
    """Over 200 cohorts of 30 persons the interval holds the truth about as often as it says; an epoch interval fails."""
    rng = np.random.default_rng(11)
    skills = 1 / (1 + np.exp(-(1.0 + rng.standard_normal(200_000))))
    true_accuracy = skills.mean()
    by_person, by_epoch = 0, 0
    for trial in range(200):
        conf = confusion_matrices(*cohort(rng, 30, 100), 30, 2)
        interval = person_bootstrap_confusion(conf, lambda m: {"accuracy": accuracy(m)}, n_boot=300, seed=trial)
        low, high, _ = interval["accuracy"]
        by_person += low <= true_accuracy <= high
        share = float(accuracy(conf.sum(axis=0)))
        half = 1.96 * np.sqrt(share * (1 - share) / 3000)
        by_epoch += share - half <= true_accuracy <= share + half
    assert 178 <= by_person <= 198  # 95% nominal, a little less with 30 persons
    assert by_epoch < 130


def test_few_persons_have_no_interval():
    conf = np.array([[[5, 1], [2, 7]]])
    assert set(person_bootstrap_confusion(conf, score_two).values()) == {None}
    assert person_bootstrap_ranking([True, False], [0.2, 0.1], [0, 0], 1) == {"auroc": None, "auprc": None}


def test_undefined_replicates_are_counted():
    # One of three persons holds all positives: a draw without that person, (2/3)**3 of them, has no AUROC.
    y = np.array([True, False, False, False])
    interval = person_bootstrap_ranking(y, [0.9, 0.1, 0.2, 0.3], [0, 0, 1, 2], 3, n_boot=2000, seed=0)["auroc"]
    assert interval is not None
    assert interval.n_valid == pytest.approx(2000 * (1 - (2 / 3) ** 3), abs=90)
    assert percentile_interval([np.nan, np.nan, np.nan, 0.5, 0.6]) is None
    assert percentile_interval([np.nan, 0.5, 0.6]) == Interval(0.5025, pytest.approx(0.5975), 2)
