from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import stats

from hypnos_bench.scoring.entries import draws, person_codes
from hypnos_bench.scoring.regression import (
    RegressionPredictions,
    regression_point,
    regression_replicates,
    score_regression,
)
from hypnos_bench.spec import TaskSpec

METRICS = ("mae", "rmse", "r2", "pearson", "spearman", "bias")
AGE = TaskSpec(
    id="age", title="Age", label="covariate", unit="recording", metrics=METRICS, cohorts=(), heads=("ridge",),
    kind="regression", columns=("age",),
)  # fmt: skip


def predictions(n=60, seed=0, noise=6.0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(20, 90, n)
    persons = [f"p{i // 2}" for i in range(n)]  # two nights each
    predicted = truth + noise * rng.standard_normal(n) + 2
    return RegressionPredictions([f"r{i}" for i in range(n)], persons, np.zeros(n, dtype=np.int32), truth, predicted)


def test_values_and_intervals():
    p = predictions()
    scores = score_regression(AGE, p, 400)
    assert list(scores) == list(METRICS)
    assert scores["mae"]["value"] == pytest.approx(sk.mean_absolute_error(p.y_true, p.y_pred))
    assert scores["r2"]["value"] == pytest.approx(sk.r2_score(p.y_true, p.y_pred))
    assert scores["spearman"]["value"] == pytest.approx(stats.spearmanr(p.y_true, p.y_pred).statistic)
    assert regression_point(AGE, p) == {m: scores[m]["value"] for m in METRICS}
    for metric, score in scores.items():
        assert score["low"] < score["value"] < score["high"], metric
        assert score["n_boot"] == 400
        assert score["higher_is_better"] == (metric in {"r2", "pearson", "spearman"})
    assert scores["bias"]["target"] == 0.0
    assert scores["mae"]["per_recording"]["mean"] == pytest.approx(scores["mae"]["value"])
    assert scores["bias"]["per_recording"]["sd"] == pytest.approx(np.std(p.y_pred - p.y_true, ddof=1))
    assert "per_recording" not in scores["spearman"]


def test_replicates_are_what_redrawing_persons_gives():
    p = predictions()
    names = person_codes(p.persons)[1]
    weights = draws(len(names), 5)
    found = regression_replicates(AGE, p, weights)
    for b in range(5):
        rows = [
            i for k, name in enumerate(names) for _ in range(weights[b, k]) for i in range(60) if p.persons[i] == name
        ]
        assert found["spearman"][b] == pytest.approx(stats.spearmanr(p.y_true[rows], p.y_pred[rows]).statistic)
        assert found["rmse"][b] == pytest.approx(sk.root_mean_squared_error(p.y_true[rows], p.y_pred[rows]))
    with pytest.raises(ValueError, match=r"\(5, 29\) do not fit 30 persons"):
        regression_replicates(AGE, p, weights[:, :29])


def test_encoders_share_their_draws():
    p = predictions()
    order = np.random.default_rng(1).permutation(60)
    shuffled = RegressionPredictions(
        [p.recordings[i] for i in order], [p.persons[i] for i in order], p.fold, p.y_true[order], p.y_pred[order]
    )
    weights = draws(30, 100)
    one, other = (regression_replicates(AGE, q, weights) for q in (p, shuffled))
    for metric in METRICS:
        np.testing.assert_allclose(one[metric], other[metric], rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(one[metric] - regression_replicates(AGE, p, weights)[metric], 0)
    better = predictions(noise=3.0)
    paired = regression_replicates(AGE, better, weights)["mae"] - one["mae"]
    assert paired.std() < regression_replicates(AGE, better, weights)["mae"].std() + one["mae"].std()
    assert np.quantile(paired, 0.975) < 0


def test_correlations_are_within_folds():
    p = predictions()
    fold = np.repeat([0, 1, 2], 20).astype(np.int32)
    p = replace(p, fold=fold, y_pred=p.y_pred - 30 * fold)
    scores, point = score_regression(AGE, p, 200), regression_point(AGE, p)
    each = [stats.pearsonr(p.y_true[fold == k], p.y_pred[fold == k]).statistic for k in range(3)]
    assert scores["pearson"]["value"] == point["pearson"] == pytest.approx(np.mean(each))
    assert scores["pearson"]["low"] < point["pearson"] < scores["pearson"]["high"]
    pooled = regression_point(AGE, replace(p, fold=np.zeros(60, dtype=np.int32)))
    assert pooled["pearson"] < point["pearson"] - 0.1
    assert pooled["mae"] == point["mae"]


def test_one_person_has_no_interval():
    p = predictions(n=2)
    score = score_regression(AGE, p, 100)["mae"]
    assert (score["low"], score["high"], score["n_boot"]) == (None, None, 0)
    assert score["value"] is not None
