import numpy as np
import pytest
from sklearn import metrics as sk

from hypnos_bench.metrics.classification import confusion_matrices
from hypnos_bench.scores import Predictions, pooled_scores
from hypnos_bench.taskfiles import load_task

STAGING, AF = load_task("staging"), load_task("af")


def predictions(n_classes, n_recordings=8, n=50, seed=0, sharp=1.0):
    rng = np.random.default_rng(seed)
    unit_recording = np.repeat(np.arange(n_recordings), n).astype(np.int32)
    y = rng.integers(0, n_classes, n_recordings * n)
    logits = sharp * (rng.normal(size=(len(y), n_classes)) + 1.5 * np.eye(n_classes)[y])
    proba = np.exp(logits - logits.max(1, keepdims=True))
    proba /= proba.sum(1, keepdims=True)
    y_pred = proba.argmax(1)
    persons = [f"p{i // 2}" for i in range(n_recordings)]
    confusion = confusion_matrices(y, y_pred, unit_recording, n_recordings, n_classes)
    recordings = [f"r{i}" for i in range(n_recordings)]
    return Predictions(recordings, persons, confusion, unit_recording, y.astype(np.int8), y_pred.astype(np.int8), proba)


def test_pooled_scores_are_scikit_learns():
    p = predictions(5)
    scores = pooled_scores(STAGING, p, 200)
    assert list(scores) == list(STAGING.metrics)
    assert scores["kappa"]["value"] == pytest.approx(sk.cohen_kappa_score(p.y_true, p.y_pred))
    assert scores["macro-f1"]["value"] == pytest.approx(sk.f1_score(p.y_true, p.y_pred, average="macro"))
    assert scores["f1-n1"]["value"] == pytest.approx(sk.f1_score(p.y_true, p.y_pred, average=None)[1])
    single = [sk.cohen_kappa_score(p.y_true[p.unit_recording == r], p.y_pred[p.unit_recording == r]) for r in range(8)]
    assert scores["kappa"]["per_recording"]["mean"] == pytest.approx(np.mean(single))
    assert scores["kappa"]["low"] < scores["kappa"]["value"] < scores["kappa"]["high"]


@pytest.mark.parametrize("sharp", [1.0, 40.0])
def test_ranking_scores_are_scikit_learns_even_where_probabilities_saturate(sharp):
    p = predictions(2, sharp=sharp)
    scores = pooled_scores(AF, p, 200)
    log_odds = p.score(1)
    assert scores["auroc"]["value"] == pytest.approx(sk.roc_auc_score(p.y_true, log_odds))
    assert scores["auprc"]["value"] == pytest.approx(sk.average_precision_score(p.y_true, log_odds))
    assert scores["sensitivity"]["value"] == pytest.approx(sk.recall_score(p.y_true, p.y_pred))
    assert "per_recording" not in scores["auroc"]


def test_log_odds_keep_apart_what_float32_probabilities_tie():
    p = predictions(2)
    p.proba[:2] = [[1e-9, 1 - 1e-9], [1e-10, 1 - 1e-10]]
    assert p.proba[0, 1].astype(np.float32) == p.proba[1, 1].astype(np.float32)
    assert p.score(1)[0] < p.score(1)[1]
    p.proba[0] = [1.0, 0.0]
    assert np.isfinite(p.score(1)).all()


def test_persons_are_drawn_not_recordings():
    p = predictions(5)
    one = pooled_scores(STAGING, p, 300)["kappa"]
    alone = Predictions(
        p.recordings, [f"q{i}" for i in range(8)], p.confusion, p.unit_recording, p.y_true, p.y_pred, p.proba
    )
    other = pooled_scores(STAGING, alone, 300)["kappa"]
    assert one["value"] == other["value"]
    assert (one["low"], one["high"]) != (other["low"], other["high"])


def test_one_person_has_no_interval():
    p = predictions(5, n_recordings=2)
    score = pooled_scores(STAGING, p, 100)["kappa"]
    assert (score["low"], score["high"], score["n_boot"]) == (None, None, 0)
