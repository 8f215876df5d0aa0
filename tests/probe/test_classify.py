"""Folds of a classification cell: AUROC is within them, and the side file knows them."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from hypnos_bench.probe import classify
from hypnos_bench.probe.data import ProbeData, Targets
from hypnos_bench.probe.kind import Job
from hypnos_bench.scoring.classification import Predictions, point_scores, recording_scores
from hypnos_bench.spec import HeadSpec
from hypnos_bench.taskfiles import load_task

AF = replace(load_task("af"), metrics=("auroc", "auprc", "f1"))
JOB = Job(AF, HeadSpec("linear", {}), 0, 50)
N, EACH = 12, 20


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    names = [f"r{i:02}" for i in range(N)]
    persons = [f"p{i:02}" for i in range(N)]
    y = rng.integers(0, 2, N * EACH)
    return ProbeData({p: p for p in persons}, names, persons, np.arange(N + 1) * EACH, Targets(y), None)


def scored(data, fold):
    """Fits of these folds, each putting everybody at a level of its own."""
    rng = np.random.default_rng(1)
    log_odds = rng.standard_normal(N * EACH) + data.targets.y - 2.0 * fold
    p = 1 / (1 + np.exp(-log_odds))
    tested = [np.flatnonzero(fold == k) for k in range(fold.max() + 1)]
    pieces = [np.stack([1 - p[rows], p[rows]], axis=1) for rows in tested]
    return classify.score(JOB, data, tested, pieces), log_odds


@pytest.mark.parametrize("epochs", [False, True])
def test_auroc_is_within_folds_and_the_side_file_repeats_it(data, epochs):
    rows = np.arange(N * EACH)
    fold = rows % 3 if epochs else rows // EACH % 3  # a leaky split tears recordings apart
    found, log_odds = scored(data, fold)
    truth = data.targets.y
    areas = [sk.roc_auc_score(truth[fold == k], log_odds[fold == k]) for k in range(3)]
    pairs = [np.bincount(truth[fold == k]).prod() for k in range(3)]
    value = found.scores["auroc"]["value"]
    assert value == pytest.approx(np.average(areas, weights=pairs), abs=1e-6)
    assert value > sk.roc_auc_score(truth, log_odds) + 0.05
    assert found.scores["auprc"]["value"] == pytest.approx(sk.average_precision_score(truth, log_odds), abs=1e-6)
    assert found.side.problem() is None
    assert found.side.fold.dtype == np.int8
    np.testing.assert_array_equal(found.side.fold, fold)
    back = Predictions.of_side(found.side, AF.classes.index(AF.positive))
    assert point_scores(AF, back) == {metric: score["value"] for metric, score in found.scores.items()}
    assert np.nanmean(recording_scores(AF, back)["auroc"]) == found.scores["auroc"]["per_recording"]["mean"]


def test_one_fit_leaves_no_folds(data):
    found, log_odds = scored(data, np.zeros(N * EACH, dtype=int))
    assert found.side.fold is None
    assert found.scores["auroc"]["value"] == pytest.approx(sk.roc_auc_score(data.targets.y, log_odds), abs=1e-6)


def test_more_folds_than_a_byte_counts(data):
    found, _ = scored(data, np.arange(N * EACH))
    assert found.side.fold.dtype == np.int32
    np.testing.assert_array_equal(found.side.fold, np.arange(N * EACH))
    assert found.scores["auroc"]["value"] is None  # a fold of one unit has no pairs
    assert found.scores["auprc"]["value"] is not None
