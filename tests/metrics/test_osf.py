"""OSF's metrics: what its torchmetrics calls gave where that was tried, built here from scikit-learn's parts."""

import math

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import norm

from hypnos_bench.metrics import osf
from hypnos_bench.metrics.classification import confusion_matrix
from hypnos_bench.metrics.ranking import auroc, average_precision
from hypnos_bench.metrics.registry import METRICS, score_confusion, score_rankings

STAGES = ("Wake", "Light", "Deep", "REM")


def staged(n=3000, absent=None):
    rng = np.random.default_rng(1)
    y = rng.choice([c for c in range(4) if c != absent], n)
    logits = 1.2 * rng.standard_normal((n, 4)) + 2 * np.eye(4)[y]
    return y, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def ranked(y, proba):
    return {
        k: (np.asarray(auroc(y == k, proba[:, k])), np.asarray(average_precision(y == k, proba[:, k])))
        for k in range(proba.shape[1])
    }


def test_all_classes_present_is_the_plain_mean():
    y, proba = staged()
    scores = score_rankings(ranked(y, proba), STAGES) | score_confusion(confusion_matrix(y, proba.argmax(1), 4), STAGES)
    assert scores["osf-auroc"] == pytest.approx(sk.roc_auc_score(y, proba, multi_class="ovr"))
    assert scores["osf-auroc"] == scores["auroc-macro"]
    each = [sk.average_precision_score(y == k, proba[:, k]) for k in range(4)]
    assert scores["osf-auprc"] == pytest.approx(np.mean(each))
    assert scores["osf-kappa"] == pytest.approx(sk.cohen_kappa_score(y, proba.argmax(1), weights="quadratic"))
    assert scores["osf-f1"] == pytest.approx(sk.f1_score(y, proba.argmax(1), average="macro"))
    assert scores["osf-acc"] == pytest.approx(sk.accuracy_score(y, proba.argmax(1)))


def test_an_absent_class_counts_as_zero_in_auroc_alone():
    # Measured with torchmetrics 1.9.0: 0.963 over three present classes became 0.723 over four (0.7225 before rounding).
    areas = np.array([0.963, 0.963, 0.963, np.nan])
    assert float(osf.osf_auroc(areas, areas)) == pytest.approx(0.723, abs=1e-3)
    y, proba = staged(absent=2)
    scores = score_rankings(ranked(y, proba), STAGES) | score_confusion(confusion_matrix(y, proba.argmax(1), 4), STAGES)
    there = [0, 1, 3]
    assert scores["auroc-macro"] == pytest.approx(np.mean([sk.roc_auc_score(y == k, proba[:, k]) for k in there]))
    assert scores["osf-auroc"] == pytest.approx(scores["auroc-macro"] * 3 / 4)
    assert scores["osf-auprc"] == pytest.approx(
        np.mean([sk.average_precision_score(y == k, proba[:, k]) for k in there])
    )
    # F1 leaves a class out only when it is not called either.
    called = np.where(proba.argmax(1) == 2, 1, proba.argmax(1))
    assert scores["osf-f1"] == pytest.approx(
        sk.f1_score(y, proba.argmax(1), average="macro", labels=range(4), zero_division=0)
    )
    uncalled = score_confusion(confusion_matrix(y, called, 4), STAGES)
    assert uncalled["osf-f1"] == pytest.approx(sk.f1_score(y, called, average="macro"))
    assert uncalled["macro-f1"] == pytest.approx(uncalled["osf-f1"] * 3 / 4)


@pytest.mark.parametrize(
    ("prevalence", "positive_ap", "osf_ap"), [(0.05, 0.19, 0.587), (0.1, 0.32, 0.642), (0.2, 0.49, 0.708)]
)
def test_binormal_scores_at_three_prevalences(prevalence, positive_ap, osf_ap):
    n = 200_000
    # Quantiles in place of draws: binormal scores of AUROC 0.775 without noise.
    n_pos = round(prevalence * n)
    shift = np.sqrt(2) * norm.ppf(0.775)
    score = np.concatenate([norm.ppf((np.arange(m) + 0.5) / m) for m in (n_pos, n - n_pos)])
    y = np.arange(n) < n_pos
    score += shift * y
    p = 1 / (1 + np.exp(-score))
    scores = score_rankings(ranked(y.astype(int), np.stack([1 - p, p], axis=1)), ("no", "yes"), "yes")
    assert scores["auroc"] == pytest.approx(0.775, abs=1e-3)
    assert scores["osf-auroc"] == pytest.approx(float(scores["auroc"]), abs=1e-9)
    assert scores["auprc"] == pytest.approx(positive_ap, abs=0.01)
    assert scores["osf-auprc"] == pytest.approx(osf_ap, abs=0.005)


def test_chance_is_a_half_whatever_the_prevalence():
    rng = np.random.default_rng(0)
    y, p = (rng.random(100_000) < 0.03).astype(int), rng.random(100_000)
    scores = score_rankings(ranked(y, np.stack([1 - p, p], axis=1)), ("no", "yes"), "yes")
    assert scores["osf-auprc"] == pytest.approx(0.5, abs=0.01)
    assert scores["auprc"] == pytest.approx(0.03, abs=0.005)


def test_one_class_alone_and_nothing():
    alone = score_rankings(ranked(np.zeros(5, dtype=int), np.tile([0.7, 0.3], (5, 1))), ("no", "yes"), "yes")
    assert alone["osf-auroc"] == 0.0
    assert alone["osf-auprc"] == 0.5  # the absent class counts as 0 here
    assert math.isnan(alone["auroc"])
    nothing = np.full((2, 3), np.nan)
    assert np.isnan(osf.osf_auroc(nothing, nothing)).all()
    assert np.isnan(osf.osf_auprc(nothing)).all()


def test_a_class_without_pairs_in_any_fold_is_undefined():
    # Both classes are there, but never in one fold: OSF has no folds, and 0 would be a claim.
    assert math.isnan(osf.osf_auroc(np.array([np.nan, np.nan]), np.array([0.6, 0.4])))
    assert osf.osf_auroc(np.array([0.9, 0.8, np.nan]), np.array([0.7, 0.6, np.nan])) == pytest.approx(1.7 / 3)


@pytest.mark.slow  # torchmetrics takes seconds to import
@pytest.mark.filterwarnings("ignore")
def test_values_are_those_of_torchmetrics_whichever_classes_are_absent():
    """The calls of OSF's code: softmax outputs, ``task="multiclass"``, ``average="macro"``, also for two classes."""
    torch, torchmetrics = pytest.importorskip("torch"), pytest.importorskip("torchmetrics")
    rng = np.random.default_rng(4)
    for n_classes, present in (
        (2, [0]), (2, [1]), (2, [0, 1]), (3, [0]), (3, [1]), (3, [0, 2]), (4, [0]), (4, [2]), (4, [0, 1, 3]), (4, [1, 2]),
        (4, [0, 1, 2, 3]),
    ):  # fmt: skip
        y = rng.choice(present, 200)
        logits = rng.standard_normal((200, n_classes)) + np.eye(n_classes)[y]
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        ours = score_rankings(ranked(y, proba), [str(k) for k in range(n_classes)])
        for name, metric in (("osf-auroc", torchmetrics.AUROC), ("osf-auprc", torchmetrics.AveragePrecision)):
            theirs = metric(task="multiclass", num_classes=n_classes, average="macro")
            value = float(theirs(torch.tensor(proba), torch.tensor(y)))
            assert float(ours[name]) == pytest.approx(value, abs=1e-6), (name, n_classes, present)


def test_every_id_says_whose_definition_it_is():
    for metric in METRICS.values():
        assert (metric.mode == "osf") == metric.id.startswith("osf-")
        assert ("for comparison with its tables only" in metric.definition) == (metric.mode == "osf")
    by_recording = score_confusion(np.ones((3, 4, 4), dtype=int), STAGES, per_recording=True)
    assert not [name for name in by_recording if name.startswith("osf-")]
