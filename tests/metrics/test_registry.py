"""Metric ids resolve, refuse what does not fit, and score what they say."""

import numpy as np
import pytest
import sklearn.metrics as sk

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics.classification import confusion_matrix
from hypnos_bench.metrics.ranking import Ranking
from hypnos_bench.metrics.registry import (
    METRICS,
    check_metrics,
    classes_to_rank,
    find_metric,
    horizon_of,
    metrics_for,
    score_confusion,
    score_rankings,
)
from hypnos_bench.metrics.regression import score_regression
from hypnos_bench.spec import TaskSpec

STAGES = ("W", "N1", "N2", "N3", "R")


def task(metrics, classes=STAGES, positive=None, kind="classification"):
    return TaskSpec(
        id="t", title="T", label="stage", unit="epoch", classes=classes, class_map={}, metrics=metrics,
        cohorts=("c",), heads=("linear",), positive=positive, kind=kind,
    )  # fmt: skip


def rank_all(y, proba):
    return {k: Ranking(y == k, proba[:, k]).score(np.ones(1)) for k in range(proba.shape[1])}


def test_every_listed_metric_is_scored_and_every_score_is_listed():
    y, p = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.9, 0.3, 0.2, 0.8])
    scored = score_confusion(confusion_matrix(y, [0, 1, 0, 0, 1], 2), ("NSR", "AF"), "AF")
    scored |= score_rankings(rank_all(y, np.stack([1 - p, p], axis=1)), ("NSR", "AF"), "AF")
    assert set(scored) == set(metrics_for(("NSR", "AF"), "AF"))
    assert float(scored["f1"]) == float(scored["f1-af"]) == 0.8
    assert float(scored["sensitivity"]) == float(scored["recall-af"]) == pytest.approx(2 / 3)
    assert float(scored["specificity"]) == float(scored["precision-af"]) == 1.0
    assert scored["auroc"] == scored["auroc-af"] == scored["auroc-nsr"] == 1.0
    assert scored["auprc"] == 1.0
    stages = score_confusion(np.eye(5, dtype=int), STAGES)
    stages |= score_rankings(rank_all(np.arange(5), np.eye(5)), STAGES)
    assert set(stages) == set(metrics_for(STAGES))
    assert {"f1-w", "recall-n1", "precision-n2", "auroc-n3", "auprc-r"} < set(stages)
    assert set(score_regression([1, 2], [1, 2])) == set(metrics_for((), kind="regression"))


def test_rankings_of_stages_are_scikit_learns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 400)
    proba = rng.dirichlet(np.ones(5), 400) + 0.3 * np.eye(5)[y]
    proba /= proba.sum(axis=1, keepdims=True)
    scores = score_rankings(rank_all(y, proba), STAGES)
    assert scores["auroc-macro"] == pytest.approx(sk.roc_auc_score(y, proba, multi_class="ovr"), abs=1e-12)
    for k, name in enumerate(STAGES):
        assert scores[f"auroc-{name.lower()}"] == pytest.approx(sk.roc_auc_score(y == k, proba[:, k]), abs=1e-12)
        assert scores[f"auprc-{name.lower()}"] == pytest.approx(
            sk.average_precision_score(y == k, proba[:, k]), abs=1e-12
        )
    assert scores["auprc-macro"] == pytest.approx(sk.average_precision_score(np.eye(5)[y], proba, average="macro"))


def test_renaming_classes_moves_their_metrics_and_keeps_the_means():
    rng = np.random.default_rng(3)
    y, proba = rng.integers(0, 5, 200), rng.dirichlet(np.ones(5), 200)
    order = [3, 0, 4, 1, 2]  # new class i is old class order[i]
    names = [STAGES[k] for k in order]
    moved = np.argsort(order)[y]
    before = score_rankings(rank_all(y, proba), STAGES)
    after = score_rankings(rank_all(moved, proba[:, order]), names)
    assert {m: float(v) for m, v in after.items()} == pytest.approx({m: float(v) for m, v in before.items()})
    old = score_confusion(confusion_matrix(y, proba.argmax(1), 5), STAGES)
    new = score_confusion(confusion_matrix(moved, proba[:, order].argmax(1), 5), names)
    for name in set(old) - {"kappa-quadratic", "osf-kappa"}:  # these two mind the order
        assert new[name] == pytest.approx(float(old[name])), name
    assert new["kappa-quadratic"] != pytest.approx(float(old["kappa-quadratic"]))


def test_only_what_is_asked_for_is_ranked():
    assert classes_to_rank(("kappa", "f1-n1"), STAGES) == []
    assert classes_to_rank(("auroc-n1", "auprc-r"), STAGES) == [1, 4]
    assert classes_to_rank(("kappa", "auroc-macro"), STAGES) == [0, 1, 2, 3, 4]
    assert classes_to_rank(("auprc", "f1"), ("NSR", "AF"), "AF") == [1]
    assert classes_to_rank(("osf-auprc",), ("NSR", "AF"), "AF") == [0, 1]
    some = score_rankings({1: (np.array(0.7), np.array(0.2))}, ("NSR", "AF"), "AF")
    assert set(some) == {"auroc", "auprc", "auroc-af", "auprc-af"}


def test_scores_keep_leading_axes():
    conf = np.random.default_rng(0).integers(0, 9, (4, 3, 5, 5))
    for name, values in score_confusion(conf, STAGES).items():
        assert values.shape == (4, 3), name
    with pytest.raises(ValueError, match="does not fit 2 classes"):
        score_confusion(conf, ("a", "b"))
    areas = {k: (np.full((4, 3), 0.5), np.full((4, 3), 0.1)) for k in range(5)}
    assert {values.shape for values in score_rankings(areas, STAGES).values()} == {(4, 3)}


def test_definitions_are_stated():
    kinds = {metric.kind for metric in METRICS.values()}
    assert kinds == {"classification", "regression", "survival"}
    for metric in METRICS.values():
        assert metric.definition.endswith(".")
        assert metric.higher_is_better == (metric.id not in {"mae", "rmse", "bias"})
    needs = {m.id: m.needs for m in METRICS.values()}
    assert (needs["auroc"], needs["auroc-macro"], needs["kappa"]) == ("score", "proba", "confusion")
    assert (needs["mae"], needs["c-index"]) == ("values", "risk")


def test_merit_orders_values_whichever_way_a_metric_runs():
    assert METRICS["kappa"].merit(0.8) > METRICS["kappa"].merit(0.7)
    assert METRICS["mae"].merit(4.0) > METRICS["mae"].merit(5.0)
    assert METRICS["bias"].merit(0.5) > METRICS["bias"].merit(-2.0)
    assert find_metric("calibration-5y", kind="survival").merit(0.9) > find_metric(
        "calibration-5y", kind="survival"
    ).merit(1.3)


def test_horizons_have_one_spelling():
    assert horizon_of("auroc-5y") == ("auroc", 5.0)
    assert horizon_of("c-index-2.5y") == ("c-index", 2.5)
    assert horizon_of("calibration-10y") == ("calibration", 10.0)
    for other in ("auroc-0y", "auroc-05y", "auroc-5.0y", "auroc-y", "auroc-5", "f1-5y", "auroc--5y", "auroc-5y "):
        assert horizon_of(other) is None, other
    found = find_metric("auroc-5y", kind="survival")
    assert (found.id, found.title, found.kind, found.higher_is_better) == ("auroc-5y", "AUROC, 5 y", "survival", True)
    assert "5 years" in found.definition
    assert find_metric("calibration-5y", kind="survival").target == 1.0
    assert find_metric("auroc-5y", STAGES) is None
    assert find_metric("c-index", kind="survival") == METRICS["c-index"]
    assert find_metric("auroc-n1", STAGES).title == "AUROC of N1"


def test_check_metrics():
    check_metrics(task(("macro-f1", "kappa", "f1-n1", "auroc-macro", "recall-w", "osf-kappa", "kappa-quadratic")))
    check_metrics(task(("auroc", "f1", "osf-auprc", "auprc-af"), ("NSR", "AF"), "AF"))
    check_metrics(task(("mae", "spearman", "bias"), (), kind="regression"))
    check_metrics(task(("c-index", "auroc-5y", "c-index-2.5y", "calibration-10y"), (), kind="survival"))
    with pytest.raises(UsageError, match="unknown metric 'kapa'. Did you mean 'kappa'"):
        check_metrics(task(("kapa",)))
    with pytest.raises(UsageError, match="'auroc' needs a positive class"):
        check_metrics(task(("auroc",)))
    with pytest.raises(UsageError, match="positive class 'AFIB' is not one of NSR, AF"):
        check_metrics(task(("auroc",), ("NSR", "AF"), "AFIB"))
    with pytest.raises(UsageError, match="share the id f1-n"):
        check_metrics(task(("kappa",), ("N", "n")))
    with pytest.raises(UsageError, match="share the id auroc-macro: rename class 'macro'"):
        check_metrics(task(("kappa",), ("a", "macro")))


@pytest.mark.parametrize(
    ("metric", "kind", "message"),
    [
        ("mae", "classification", "'mae' is for regression tasks, this is one of classification"),
        ("kappa", "regression", "'kappa' is for classification tasks"),
        ("auroc-5y", "classification", "'auroc-5y' is for survival tasks"),
        ("auroc", "survival", "'auroc' is for classification tasks.*auroc-<years>y"),
        ("auroc-05y", "survival", "unknown metric 'auroc-05y'. Did you mean 'auroc-<years>y'"),
    ],
)
def test_a_metric_of_another_kind_is_told_so(metric, kind, message):
    with pytest.raises(UsageError, match=message):
        check_metrics(task((metric,), STAGES if kind == "classification" else (), kind=kind))
