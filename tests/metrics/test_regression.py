"""Regression metrics against scikit-learn and scipy, under weights against repeated rows."""

import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hypnos_bench.metrics.regression import Agreement, score_regression

X = np.array([10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5])
ANSCOMBE = {
    "I": (X, [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68], 0.81642),
    "II": (X, [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74], 0.81624),
    "III": (X, [7.46, 6.77, 12.74, 7.11, 7.81, 8.84, 6.08, 5.39, 8.15, 6.42, 5.73], 0.81629),
    "IV": (np.r_[[8] * 7, 19, 8, 8, 8], [6.58, 5.76, 7.71, 8.84, 8.47, 7.04, 5.25, 12.50, 5.56, 7.91, 6.89], 0.81652),
}


def ages(n=300, ties=False):
    rng = np.random.default_rng(2)
    truth = rng.uniform(20, 90, n)
    predicted = 0.7 * truth + 15 + 8 * rng.standard_normal(n)
    return (np.round(truth / 5), np.round(predicted / 5), rng) if ties else (truth, predicted, rng)


def oracle(truth, predicted):
    return {
        "mae": sk.mean_absolute_error(truth, predicted),
        "rmse": sk.root_mean_squared_error(truth, predicted),
        "r2": sk.r2_score(truth, predicted),
        "pearson": stats.pearsonr(truth, predicted).statistic,
        "spearman": stats.spearmanr(truth, predicted).statistic,
        "bias": np.mean(predicted - truth),
    }


@pytest.mark.parametrize("ties", [False, True])
def test_values_are_scikit_learns_and_scipys(ties):
    truth, predicted, _ = ages(ties=ties)
    found = score_regression(truth, predicted)
    assert found == pytest.approx(oracle(truth, predicted), rel=1e-12)
    assert list(found) == ["mae", "rmse", "r2", "pearson", "spearman", "bias"]


@pytest.mark.parametrize("name", ANSCOMBE)
def test_published_correlations(name):
    x, y, published = ANSCOMBE[name]
    assert score_regression(x, y)["pearson"] == pytest.approx(published, abs=6e-6)


def test_textbook_rank_correlation():
    # IQ and hours of television of ten persons: 1 - 6 * 194 / (10 * 99) = -29/165.
    iq, hours = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110], [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert score_regression(iq, hours)["spearman"] == pytest.approx(-29 / 165, abs=1e-14)


@pytest.mark.parametrize("ties", [False, True])
def test_person_weights_are_repeated_rows(ties):
    truth, predicted, rng = ages(ties=ties)
    person = rng.integers(0, 40, len(truth))
    weights = rng.integers(0, 4, (3, 5, 40))
    found = Agreement(truth, predicted, person).score(weights)
    for i, j in np.ndindex(3, 5):
        rows = np.repeat(np.arange(len(truth)), weights[i, j][person])
        assert {m: v[i, j] for m, v in found.items()} == pytest.approx(oracle(truth[rows], predicted[rows]), rel=1e-11)


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_of_several_folds_are_means_of_those_within(ties):
    truth, predicted, rng = ages(ties=ties)
    person = rng.integers(0, 40, len(truth))
    fold = np.repeat([0, 1, 2, 3], [4, 8, 12, 16])[person]
    predicted = predicted - 6 * fold  # each fold's fit has a level of its own
    weights = rng.integers(0, 4, (5, 40))
    found = Agreement(truth, predicted, person, fold).score(weights)
    pooled = Agreement(truth, predicted, person).score(weights)
    for name in ("mae", "rmse", "r2", "bias"):
        np.testing.assert_array_equal(found[name], pooled[name])
    for i, w in enumerate(weights):
        rows = np.repeat(np.arange(len(truth)), w[person])
        each = [rows[fold[rows] == k] for k in range(4)]
        for name in ("pearson", "spearman"):
            values = [oracle(truth[m], predicted[m])[name] for m in each]
            assert found[name][i] == pytest.approx(np.average(values, weights=[len(m) for m in each]), rel=1e-11)
            assert abs(found[name][i] - pooled[name][i]) > 0.01


def test_one_fold_changes_no_bit():
    truth, predicted, rng = ages(ties=True)
    person, weights = rng.integers(0, 40, len(truth)), rng.integers(0, 4, (7, 40))
    one = Agreement(truth, predicted, person, np.full(len(truth), 3)).score(weights)
    for name, values in Agreement(truth, predicted, person).score(weights).items():
        np.testing.assert_array_equal(one[name], values)


def test_folds_in_which_something_is_constant():
    truth, predicted = [1.0, 2, 3, 5, 5, 5, 1, 2, 3], [1.0, 2, 3, 7, 8, 9, 4, 4, 4]
    fold = np.repeat([0, 1, 2], 3)
    found = Agreement(truth, predicted, None, fold).score(np.ones(1))
    # 1 where both vary, nothing to find where the truth does not, nothing found where the prediction does not.
    assert (found["pearson"], found["spearman"]) == (pytest.approx(0.5), pytest.approx(0.5))
    rest = Agreement(truth[3:], predicted[3:], None, fold[3:]).score(np.ones(1))
    assert math.isnan(rest["pearson"])
    assert math.isnan(rest["spearman"])
    assert not math.isnan(rest["r2"])
    alone = Agreement([1.0, 2.0], [1.0, 2.0], None, [0, 1]).score(np.ones(1))
    assert math.isnan(alone["pearson"])
    assert alone["r2"] == 1.0
    with pytest.raises(ValueError, match="not one whole number for each of 2 rows"):
        Agreement([1.0, 2.0], [1.0, 2.0], None, [0])


def test_predictions_that_know_nothing_correlate_with_nothing_within_folds():
    """Pooled they do not: the fold that tests higher values has lower ones left to learn from."""
    found = []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        x, truth, fold = np.c_[np.ones(100), rng.standard_normal((100, 3))], rng.normal(60, 9, 100), np.arange(100) % 5
        predicted = np.empty(100)
        for k in range(5):
            predicted[fold == k] = x[fold == k] @ np.linalg.lstsq(x[fold != k], truth[fold != k], rcond=None)[0]
        scores = [Agreement(truth, predicted, None, f).score(np.ones(1)) for f in (fold, None)]
        found.append([[float(score[m]) for m in ("pearson", "spearman")] for score in scores])
    within, pooled = np.mean(found, axis=0)
    se = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(within) < 3 * se[0]).all()
    assert (pooled < -3 * se[1]).all()


def test_blocks_do_not_change_anything(monkeypatch):
    from hypnos_bench.metrics import regression

    truth, predicted, rng = ages(ties=True)
    weights = rng.integers(0, 3, (50, 300))
    whole = Agreement(truth, predicted, np.arange(300)).score(weights)
    monkeypatch.setattr(regression, "_CHUNK", 900)
    for name, values in Agreement(truth, predicted, np.arange(300)).score(weights).items():
        np.testing.assert_array_equal(values, whole[name])
    fold = np.arange(300) % 3
    parts = Agreement(truth, predicted, np.arange(300), fold).score(weights)
    monkeypatch.undo()
    for name, values in Agreement(truth, predicted, np.arange(300), fold).score(weights).items():
        np.testing.assert_array_equal(values, parts[name])


def test_far_from_zero_no_digits_are_lost():
    truth, predicted, _ = ages()
    near, far = score_regression(truth, predicted), score_regression(truth + 1e7, predicted + 1e7)
    for name in ("r2", "pearson", "spearman"):
        assert far[name] == pytest.approx(near[name], rel=1e-8)


def test_what_does_not_vary_has_no_correlation():
    flat_truth = score_regression([0.1] * 7, np.arange(7))
    assert [math.isnan(flat_truth[m]) for m in ("r2", "pearson", "spearman")] == [True] * 3
    assert flat_truth["bias"] == pytest.approx(2.9)
    flat_prediction = score_regression(np.arange(7), [0.1] * 7)
    assert [math.isnan(flat_prediction[m]) for m in ("r2", "pearson", "spearman")] == [False, True, True]
    # A replicate may draw one person alone although the cohort varies.
    found = Agreement([0.1, 0.2, 0.3], [0.3, 0.1, 0.2], [0, 1, 2]).score([[0, 3, 0], [0, 0, 0], [1, 2, 0]])
    assert np.isnan(found["pearson"]).tolist() == [True, True, False]
    assert np.isnan(found["r2"]).tolist() == [True, True, False]
    assert found["mae"][0] == pytest.approx(0.1)
    assert math.isnan(found["mae"][1])
    assert found["spearman"][2] == -1.0
    assert all(math.isnan(v) for v in score_regression([], []).values())


def test_broken_input_is_refused():
    with pytest.raises(ValueError, match="1 of 2 predicted values are not finite"):
        Agreement([1.0, 2.0], [1.0, math.inf])
    with pytest.raises(ValueError, match="must match"):
        Agreement([1.0, 2.0], [1.0])


_NUMBERS = st.integers(-20, 20).map(lambda v: v / 4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS), min_size=2, max_size=30), st.integers(1, 5))
def test_order_scale_and_repetition(rows, times):
    truth, predicted = np.array(rows).T
    base = score_regression(truth, predicted)
    again = np.tile(np.arange(len(truth))[::-1], times)
    assert score_regression(truth[again], predicted[again]) == pytest.approx(base, rel=1e-9, abs=1e-12, nan_ok=True)
    scaled = score_regression(3 * truth + 1, 3 * predicted + 1)
    for name, factor in (("mae", 3), ("rmse", 3), ("bias", 3), ("r2", 1), ("pearson", 1), ("spearman", 1)):
        assert scaled[name] == pytest.approx(factor * base[name], rel=1e-9, abs=1e-12, nan_ok=True)
    assert score_regression(np.exp(truth), predicted)["spearman"] == pytest.approx(base["spearman"], nan_ok=True)
    swapped = score_regression(predicted, truth)
    assert swapped["bias"] == pytest.approx(-base["bias"])
    assert swapped["spearman"] == pytest.approx(base["spearman"], nan_ok=True)
