"""Metric ids resolve, refuse what does not fit, and score what they say."""

import numpy as np
import pytest

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics.classification import confusion_matrix
from hypnos_bench.metrics.registry import METRICS, check_metrics, metrics_for, score_confusion, score_ranking
from hypnos_bench.spec import TaskSpec

STAGES = ("W", "N1", "N2", "N3", "R")


def task(metrics, classes=STAGES, positive=None):
    return TaskSpec("t", "T", "stage", "epoch", classes, {}, metrics, ("c",), positive=positive)


def test_every_listed_metric_is_scored_and_every_score_is_listed():
    y = np.array([0, 1, 1, 0, 1])
    scored = score_confusion(confusion_matrix(y, [0, 1, 0, 0, 1], 2), ("NSR", "AF"), "AF")
    scored |= score_ranking(y == 1, [0.1, 0.9, 0.3, 0.2, 0.8])
    assert set(scored) == set(metrics_for(("NSR", "AF"), "AF"))
    assert float(scored["f1"]) == float(scored["f1-af"]) == 0.8
    assert float(scored["sensitivity"]) == pytest.approx(2 / 3)
    assert float(scored["specificity"]) == 1.0
    assert scored["auroc"] == 1.0
    stages = score_confusion(np.eye(5, dtype=int), STAGES)
    assert set(stages) == set(metrics_for(STAGES))
    assert {"f1-w", "f1-n1", "f1-r"} < set(stages)


def test_scores_keep_leading_axes():
    conf = np.random.default_rng(0).integers(0, 9, (4, 3, 5, 5))
    for name, values in score_confusion(conf, STAGES).items():
        assert values.shape == (4, 3), name
    with pytest.raises(ValueError, match="does not fit 2 classes"):
        score_confusion(conf, ("a", "b"))


def test_definitions_are_stated():
    for metric in METRICS.values():
        assert metric.definition.endswith(".")
        assert metric.higher_is_better
        assert metric.needs == ("score" if metric.id in {"auroc", "auprc"} else "confusion")


def test_check_metrics():
    check_metrics(task(("macro-f1", "kappa", "f1-n1")))
    check_metrics(task(("auroc", "f1"), ("NSR", "AF"), "AF"))
    with pytest.raises(UsageError, match="unknown metric 'kapa'. Did you mean 'kappa'"):
        check_metrics(task(("kapa",)))
    with pytest.raises(UsageError, match="'auroc' needs a positive class"):
        check_metrics(task(("auroc",)))
    with pytest.raises(UsageError, match="positive class 'AFIB' is not one of NSR, AF"):
        check_metrics(task(("auroc",), ("NSR", "AF"), "AFIB"))
    with pytest.raises(UsageError, match="share the metric id f1-n"):
        check_metrics(task(("kappa",), ("N", "n")))
