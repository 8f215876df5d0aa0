from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from hypnos_bench.metrics import ranking
from hypnos_bench.metrics.classification import confusion_matrices
from hypnos_bench.metrics.registry import metrics_for
from hypnos_bench.scoring.classification import (
    Predictions,
    point_scores,
    pooled_scores,
    recording_scores,
    replicates,
)
from hypnos_bench.scoring.entries import draws, person_codes
from hypnos_bench.store.side import ClassificationSide
from hypnos_bench.taskfiles import load_task

STAGING, AF = load_task("staging"), load_task("af")
# Everything there is, whatever the task files happen to ask for.
ALL_STAGING = replace(STAGING, metrics=tuple(metrics_for(STAGING.classes)))
ALL_AF = replace(AF, metrics=tuple(metrics_for(AF.classes, AF.positive)))


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
    single = [sk.roc_auc_score(p.y_true[rows], log_odds[rows]) for rows in (p.unit_recording == r for r in range(8))]
    assert scores["auroc"]["per_recording"]["mean"] == pytest.approx(np.mean(single))


def test_log_odds_keep_apart_what_float32_probabilities_tie():
    p = predictions(2)
    p.proba[:2] = [[1e-9, 1 - 1e-9], [1e-10, 1 - 1e-10]]
    assert p.proba[0, 1].astype(np.float32) == p.proba[1, 1].astype(np.float32)
    assert p.score(1)[0] < p.score(1)[1]
    p.proba[0] = [1.0, 0.0]
    assert np.isfinite(p.score(1)).all()


def test_every_metric_of_stages_is_scored_and_scikit_learns():
    p = predictions(5)
    scores = pooled_scores(ALL_STAGING, p, 100)
    assert list(scores) == list(ALL_STAGING.metrics)
    assert scores["auroc-macro"]["value"] == pytest.approx(sk.roc_auc_score(p.y_true, p.proba, multi_class="ovr"))
    assert scores["kappa-quadratic"]["value"] == pytest.approx(
        sk.cohen_kappa_score(p.y_true, p.y_pred, weights="quadratic")
    )
    assert scores["osf-kappa"]["value"] == scores["kappa-quadratic"]["value"]
    for k, name in enumerate(("w", "n1", "n2", "n3", "r")):
        truth, called = p.y_true == k, p.y_pred == k
        assert scores[f"auroc-{name}"]["value"] == pytest.approx(sk.roc_auc_score(truth, p.proba[:, k]))
        assert scores[f"auprc-{name}"]["value"] == pytest.approx(sk.average_precision_score(truth, p.proba[:, k]))
        assert scores[f"recall-{name}"]["value"] == pytest.approx(sk.recall_score(truth, called))
        assert scores[f"precision-{name}"]["value"] == pytest.approx(sk.precision_score(truth, called))
    for metric, score in scores.items():
        assert score["low"] < score["value"] < score["high"], metric
        assert ("per_recording" in score) == (not metric.startswith("osf-"))
    assert point_scores(ALL_STAGING, p) == {m: score["value"] for m, score in scores.items()}


def test_an_absent_class_is_left_out_and_named():
    p = predictions(5)
    y = np.where(p.y_true == 3, 2, p.y_true).astype(np.int8)
    gone = replace(p, y_true=y, confusion=confusion_matrices(y, p.y_pred, p.unit_recording, 8, 5))
    scores = pooled_scores(ALL_STAGING, gone, 100)
    present = [sk.roc_auc_score(y == k, p.proba[:, k]) for k in (0, 1, 2, 4)]
    assert scores["auroc-macro"]["value"] == pytest.approx(np.mean(present))
    assert scores["osf-auroc"]["value"] == pytest.approx(np.sum(present) / 5)
    assert scores["auroc-macro"]["classes_absent"] == scores["balanced-accuracy"]["classes_absent"] == ["N3"]
    assert "classes_absent" not in scores["kappa"]
    for metric in ("auroc-n3", "auprc-n3", "recall-n3"):
        assert (scores[metric]["value"], scores[metric]["low"], scores[metric]["n_boot"]) == (None, None, 0)
        assert scores[metric]["per_recording"]["n_undefined"] == 8


def test_recordings_of_one_class_have_no_ranking_and_are_counted():
    p = predictions(2)
    y = p.y_true.copy()
    y[p.unit_recording == 0] = 0
    y[p.unit_recording == 1] = 1
    p = replace(p, y_true=y, confusion=confusion_matrices(y, p.y_pred, p.unit_recording, 8, 2))
    single = recording_scores(ALL_AF, p)
    for metric in ("auroc", "auprc", "auroc-macro"):
        assert np.isnan(single[metric]).tolist() == [True, True] + [False] * 6
        assert pooled_scores(ALL_AF, p, 10)[metric]["per_recording"]["n_undefined"] == 2
    assert single["auroc"][5] == pytest.approx(
        sk.roc_auc_score(y[p.unit_recording == 5], p.score(1)[p.unit_recording == 5])
    )


@pytest.mark.parametrize("binned", [False, True])
def test_replicates_are_what_redrawing_persons_gives(monkeypatch, binned):
    if binned:
        monkeypatch.setattr(ranking.Ranking.replicates, "__defaults__", (0,))
    p = predictions(5)
    weights = draws(4, 6)
    found = replicates(ALL_STAGING, p, weights)
    names = person_codes(p.persons)[1]
    for b in range(6):
        drawn = [
            i for k, name in enumerate(names) for _ in range(weights[b, k]) for i in range(8) if p.persons[i] == name
        ]
        rows = np.concatenate([np.flatnonzero(p.unit_recording == i) for i in drawn])
        assert found["kappa"][b] == pytest.approx(sk.cohen_kappa_score(p.y_true[rows], p.y_pred[rows]))
        assert found["auprc-r"][b] == pytest.approx(sk.average_precision_score(p.y_true[rows] == 4, p.proba[rows, 4]))
        assert found["auroc-macro"][b] == pytest.approx(
            sk.roc_auc_score(p.y_true[rows], p.proba[rows], multi_class="ovr")
        )
    with pytest.raises(ValueError, match=r"\(6, 3\) do not fit 4 persons"):
        replicates(ALL_STAGING, p, weights[:, :3])


def test_intervals_are_those_of_the_replicates():
    p = predictions(5)
    scores, found = pooled_scores(ALL_STAGING, p, 300), replicates(ALL_STAGING, p, draws(4, 300))
    for metric, score in scores.items():
        bounds = np.nanquantile(found[metric], [0.025, 0.975])
        assert (score["low"], score["high"]) == pytest.approx(tuple(bounds)), metric


def test_encoders_share_their_draws():
    """Same predictions, recordings in another order: every difference is exactly 0, in every replicate."""
    p = predictions(5)
    order = [5, 2, 7, 0, 1, 6, 4, 3]
    rows = np.concatenate([np.flatnonzero(p.unit_recording == i) for i in order])
    other = Predictions(
        [p.recordings[i] for i in order], [p.persons[i] for i in order], p.confusion[order],
        np.repeat(np.arange(8), 50).astype(np.int32), p.y_true[rows], p.y_pred[rows], p.proba[rows],
    )  # fmt: skip
    weights = draws(4, 200)
    one, two = replicates(ALL_STAGING, p, weights), replicates(ALL_STAGING, other, weights)
    for metric in ALL_STAGING.metrics:
        np.testing.assert_array_equal(one[metric] - two[metric], 0, err_msg=metric)
    better = replicates(ALL_STAGING, predictions(5, sharp=0.5, seed=3), weights)
    assert (better["kappa"] - one["kappa"]).std() > 0


def test_side_files_give_back_what_the_cell_had():
    p = predictions(2, sharp=8.0)
    k = AF.classes.index(AF.positive)
    side = ClassificationSide(
        p.recordings, p.persons, p.confusion, p.unit_recording, p.y_true, p.y_pred, score=p.score(k)
    )
    back = Predictions.of_side(side, k)
    weights = draws(4, 50)
    before, after = replicates(ALL_AF, p, weights), replicates(ALL_AF, back, weights)
    for metric in AF.metrics:
        np.testing.assert_array_equal(before[metric], after[metric], err_msg=metric)
    np.testing.assert_allclose(after["osf-auprc"], before["osf-auprc"], rtol=1e-6)
    np.testing.assert_allclose(back.proba.sum(axis=1), 1)
    with pytest.raises(ValueError, match="one of them positive"):
        Predictions.of_side(side, None)

    p = predictions(5)
    rounded = replace(
        side, confusion=p.confusion, y_true=p.y_true, y_pred=p.y_pred, score=None, proba=p.proba.astype(np.float16)
    )
    before, after = (replicates(ALL_STAGING, q, weights) for q in (p, Predictions.of_side(rounded, None)))
    np.testing.assert_array_equal(after["kappa"], before["kappa"])
    np.testing.assert_allclose(after["auroc-macro"], before["auroc-macro"], atol=1e-3)


def folded(p, fold):
    """The same predictions made by several fits, each at a level of its own."""
    odds = np.log(p.proba[:, 1] / p.proba[:, 0]) - 1.5 * fold
    proba = np.stack([1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds))], axis=1)
    return replace(p, proba=proba, fold=fold)


@pytest.mark.parametrize("epochs", [False, True])
def test_scores_rank_within_folds(epochs):
    plain = predictions(2)
    fold = (np.arange(400) % 4 if epochs else np.repeat([0, 1, 2, 2], 100)).astype(np.int8)
    p = folded(plain, fold)
    scores, pooled = pooled_scores(ALL_AF, p, 50), pooled_scores(ALL_AF, replace(p, fold=None), 50)
    log_odds = p.score(1)
    won = total = 0
    for k in np.unique(fold):
        truth = p.y_true[fold == k]
        pairs = truth.sum() * (len(truth) - truth.sum())
        won, total = won + pairs * sk.roc_auc_score(truth, log_odds[fold == k]), total + pairs
    assert scores["auroc"]["value"] == pytest.approx(won / total)
    assert scores["auroc"]["low"] < won / total < scores["auroc"]["high"]
    assert scores["auroc"]["value"] > pooled["auroc"]["value"] + 0.02
    assert {m for m in ALL_AF.metrics if scores[m] != pooled[m]} >= {"auroc", "auroc-af", "auroc-macro", "osf-auroc"}
    assert all(scores[m] == pooled[m] for m in ("auprc", "osf-auprc", "kappa", "f1") if not epochs)
    assert scores["auprc"]["value"] == pooled["auprc"]["value"]
    single = recording_scores(ALL_AF, p)["auroc"]
    whole = recording_scores(ALL_AF, replace(p, fold=None))["auroc"]
    assert np.array_equal(single, whole) == (not epochs)  # only the epochs of one recording are torn apart


def test_side_files_give_back_folds():
    fold = np.repeat([0, 1, 2, 2], 100).astype(np.int8)
    p = folded(predictions(2), fold)
    side = ClassificationSide(
        p.recordings, p.persons, p.confusion, p.unit_recording, p.y_true, p.y_pred, score=p.score(1), fold=fold
    )
    assert side.problem() is None
    back, weights = Predictions.of_side(side, 1), draws(4, 50)
    before, after = replicates(ALL_AF, p, weights), replicates(ALL_AF, back, weights)
    for metric in AF.metrics:
        np.testing.assert_array_equal(before[metric], after[metric], err_msg=metric)
    assert point_scores(AF, back) == point_scores(AF, p)
    np.testing.assert_array_equal(recording_scores(AF, back)["auroc"], recording_scores(AF, p)["auroc"])
    assert point_scores(AF, replace(back, fold=None))["auroc"] != point_scores(AF, p)["auroc"]


def test_one_unit_per_recording_has_no_scores_by_recording():
    by_person = replace(ALL_AF, unit="person")
    assert all("per_recording" not in score for score in pooled_scores(by_person, predictions(2), 20).values())


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
