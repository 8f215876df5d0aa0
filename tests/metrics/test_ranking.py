"""AUROC and average precision against scikit-learn, exact and binned, pooled and by recording."""

import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.metrics import ranking as r


def ranked_case(seed, levels, n=400):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.3
    score = y * 0.6 + rng.standard_normal(n)
    return y, np.round(score * levels) / levels if levels else score, rng.integers(0, 12, n), rng


@pytest.mark.parametrize("levels", [0, 1, 4])
def test_ranking_equals_sklearn_with_ties(levels):
    y, score, _, _ = ranked_case(levels, levels)
    assert r.auroc(y, score) == pytest.approx(sk.roc_auc_score(y, score), abs=1e-13)
    assert r.average_precision(y, score) == pytest.approx(sk.average_precision_score(y, score), abs=1e-13)


@pytest.mark.parametrize("levels", [0, 2])
def test_person_weights_equal_sklearn_sample_weights_and_repeated_rows(levels):
    y, score, person, rng = ranked_case(7, levels)
    weights = rng.integers(0, 4, (5, 12))
    ranking = r.Ranking(y, score, person)
    area, precision = ranking.score(weights)
    binned = ranking.replicates(weights, exact_up_to=0)  # a bin per score: as exact
    np.testing.assert_allclose(binned, (area, precision), rtol=1e-12)
    for k, w in enumerate(weights[:, person]):
        assert area[k] == pytest.approx(sk.roc_auc_score(y, score, sample_weight=w), abs=1e-12)
        assert precision[k] == pytest.approx(sk.average_precision_score(y, score, sample_weight=w), abs=1e-12)
        repeated = np.repeat(np.arange(len(y)), w)
        assert area[k] == pytest.approx(r.auroc(y[repeated], score[repeated]), abs=1e-12)


def cohort(seed, n_persons, n_units, prevalence, levels=None, n_folds=1, spread=0.5):
    """Persons differ in how often they are positive and in the level of their scores; rare positives are spread."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_persons), n_units)
    often = np.minimum(0.95, prevalence * np.exp(spread * rng.standard_normal(n_persons)))
    y = rng.random(person.size) < often[person]
    score = rng.standard_normal(person.size) + 1.1 * y + spread * rng.standard_normal(n_persons)[person]
    score = score.astype(np.float32) if levels is None else np.round(score * levels) / levels
    weights = rng.multinomial(n_persons, np.full(n_persons, 1 / n_persons), size=12)
    return r.Ranking(y, score, person, person % n_folds), weights


@pytest.mark.parametrize(("prevalence", "levels"), [(0.2, None), (0.05, None), (0.03, None), (0.05, 5000)], ids=str)
def test_binned_replicates_are_within_one_in_a_hundred_thousand(prevalence, levels):
    ranking, weights = cohort(3, 100, 1000, prevalence, levels)
    exact, binned = ranking.score(weights), ranking.replicates(weights, exact_up_to=0)
    assert not np.array_equal(exact[0], binned[0])  # bins were used
    assert exact[0].std() > 1e-3  # and there was something to follow
    np.testing.assert_allclose(binned, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("prevalence", "n_folds"), [(0.1, 1), (0.05, 5)])
def test_binned_replicates_of_many_units_keep_their_bound(prevalence, n_folds):
    """Persons of unlike prevalence and level, where average precision was farthest off (1.7e-5)."""
    ranking, weights = cohort(1, 120, 2500, prevalence, n_folds=n_folds, spread=1.0)
    for exact, binned in zip(ranking.score(weights[:5]), ranking.replicates(weights[:5], exact_up_to=0), strict=True):
        error = np.abs(exact - binned).max()
        assert 0 < error < r.BINNED_ERROR
        assert error < exact.std() / 500


def test_binned_replicates_survive_saturated_scores():
    """Most probabilities are 0 or 1 to the last bit: two ties hold nearly everybody, and must stay ties."""
    rng = np.random.default_rng(0)
    y = rng.random(60_000) < 0.1
    latent = rng.standard_normal(y.size) + 1.5 * y
    ranking = r.Ranking(y, np.clip(latent, 0.5, 1.5), np.repeat(np.arange(60), 1000))
    weights = rng.integers(0, 3, (8, 60))
    for exact, binned in zip(ranking.score(weights), ranking.replicates(weights, exact_up_to=0), strict=True):
        np.testing.assert_allclose(binned, exact, rtol=0, atol=1e-5)


def test_few_different_scores_or_few_positives_make_exact_replicates():
    for prevalence, levels in ((0.1, 100), (0.02, None)):  # or few positives: each has a bin of its own
        ranking, weights = cohort(4, 50, 1000, prevalence, levels)
        np.testing.assert_allclose(ranking.replicates(weights, exact_up_to=0), ranking.score(weights), rtol=1e-12)


def test_unweighted_replicate_is_the_value_itself():
    ranking, weights = cohort(5, 40, 1000, 0.2)
    ones = np.ones((1, 40), dtype=int)
    np.testing.assert_allclose(ranking.replicates(ones, exact_up_to=0), ranking.score(ones), rtol=1e-14)
    doubled = ranking.replicates(2 * weights, exact_up_to=0)
    np.testing.assert_allclose(doubled, ranking.score(weights), atol=1e-5)


def test_order_of_units_changes_no_bit_of_a_replicate():
    rng = np.random.default_rng(1)
    y, score, person = rng.random(30_000) < 0.1, np.round(rng.standard_normal(30_000), 4), rng.integers(0, 30, 30_000)
    other, weights = rng.permutation(30_000), rng.integers(0, 3, (20, 30))
    one = r.Ranking(y, score, person).replicates(weights, exact_up_to=0)
    two = r.Ranking(y[other], score[other], person[other]).replicates(weights, exact_up_to=0)
    np.testing.assert_array_equal(one, two)


def folded_case(seed, levels, by_person, n=400):
    y, score, person, rng = ranked_case(seed, levels, n)
    fold = (rng.integers(0, 5, 12)[person] if by_person else rng.integers(0, 5, n)).astype(np.int8)
    return y, score - 2.0 * fold, person, fold, rng  # each fold's fit has a level of its own


def pairs_within_folds(y, score, fold, weight):
    """Share of weighted pairs in order, one by one."""
    won = total = 0.0
    for i in np.flatnonzero(y):
        for j in np.flatnonzero(~y & (fold == fold[i])):
            won += weight[i] * weight[j] * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
            total += weight[i] * weight[j]
    return won / total


@pytest.mark.parametrize("by_person", [True, False])
@pytest.mark.parametrize("levels", [0, 2])
def test_auroc_counts_pairs_within_folds_and_average_precision_all_units(levels, by_person):
    y, score, person, fold, rng = folded_case(3, levels, by_person)
    weights = rng.integers(0, 4, (4, 12))
    ranking, pooled = r.Ranking(y, score, person, fold), r.Ranking(y, score, person)
    area, precision = ranking.score(weights)
    np.testing.assert_array_equal(precision, pooled.score(weights)[1])
    assert np.abs(area - pooled.score(weights)[0]).max() > 0.01
    np.testing.assert_allclose(ranking.replicates(weights, exact_up_to=0), (area, precision), rtol=1e-12)
    for k, w in enumerate(weights[:, person]):
        assert area[k] == pytest.approx(pairs_within_folds(y, score, fold, w), abs=1e-12)
        repeated = np.repeat(np.arange(len(y)), w)
        again = r.Ranking(y[repeated], score[repeated], None, fold[repeated]).score(np.ones(1))
        assert area[k] == pytest.approx(float(again[0]), abs=1e-12)


def test_one_fold_changes_no_bit():
    y, score, person, rng = ranked_case(5, 3)
    weights, recording = rng.integers(0, 4, (6, 12)), rng.integers(0, 9, len(y))
    fold = np.full(len(y), 4)
    for exact_up_to in (0, r.EXACT_UP_TO):
        one, none = (r.Ranking(y, score, person, f).replicates(weights, exact_up_to) for f in (fold, None))
        np.testing.assert_array_equal(one, none)
    one, none = (r.grouped_ranking(y, score, recording, 9, f) for f in (fold, None))
    np.testing.assert_array_equal(one, none)


def test_binned_replicates_within_folds_follow_the_exact_ones(monkeypatch):
    ranking, weights = cohort(3, 100, 1000, 0.1, n_folds=5)
    exact, binned = ranking.score(weights), ranking.replicates(weights, exact_up_to=0)
    assert not np.array_equal(exact[0], binned[0])
    np.testing.assert_allclose(binned, exact, rtol=0, atol=r.BINNED_ERROR)
    monkeypatch.setattr(r, "_CHUNK", 20_000)
    np.testing.assert_array_equal(ranking.replicates(weights, exact_up_to=0), binned)


def test_folds_without_pairs_take_no_part():
    # Nobody in the first fold is positive, nobody in the last negative: a single pair is left.
    y, score, fold = np.array([0, 0, 1, 0, 1], bool), np.array([9.0, 8, 2, 1, 0]), np.array([0, 0, 1, 1, 2])
    assert r.Ranking(y, score, None, fold).score(np.ones(1))[0] == 1.0
    alone = r.Ranking(y, score, None, np.arange(5)).score(np.ones(1))
    assert math.isnan(alone[0])
    assert alone[1] == r.average_precision(y, score)
    for wrong in (fold[:3], fold / 2):
        with pytest.raises(ValueError, match="not one whole number for each of 5 rows"):
            r.Ranking(y, score, None, wrong)


def test_scores_that_know_nothing_come_out_at_a_half_within_folds():
    """Pooled they do not: the fold with more positives has fewer to learn from, and its fit puts everybody lower."""
    found = []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        x, y, fold = np.c_[np.ones(100), rng.standard_normal((100, 3))], rng.random(100) < 0.3, np.arange(100) % 5
        score = np.empty(100)
        for k in range(5):
            score[fold == k] = x[fold == k] @ np.linalg.lstsq(x[fold != k], y[fold != k] * 1.0, rcond=None)[0]
        found.append([float(r.Ranking(y, score, None, f).score(np.ones(1))[0]) for f in (fold, None)])
    within, pooled = np.mean(found, axis=0)
    se = np.std(found, axis=0) / np.sqrt(len(found))
    assert abs(within - 0.5) < 3 * se[0]
    assert pooled < 0.5 - 3 * se[1]


def test_a_recording_that_folds_share_is_compared_within_them():
    y, score, recording, fold, _ = folded_case(8, 2, by_person=False)
    area, precision = r.grouped_ranking(y, score, recording, 12, fold)
    np.testing.assert_array_equal(precision, r.grouped_ranking(y, score, recording, 12)[1])
    for k in range(12):
        there = recording == k
        expected = pairs_within_folds(y[there], score[there], fold[there], np.ones(there.sum()))
        assert area[k] == pytest.approx(expected, abs=1e-12)
    own = recording % 5  # every recording in a fold of its own: nothing to part
    np.testing.assert_array_equal(
        r.grouped_ranking(y, score, recording, 12, own), r.grouped_ranking(y, score, recording, 12)
    )


def test_which_way_is_taken_depends_on_the_work(monkeypatch):
    ranking, weights = cohort(6, 20, 50, 0.3)
    monkeypatch.setattr(r, "_Bins", None)  # calling it fails
    for exact, taken in zip(ranking.score(weights), ranking.replicates(weights), strict=True):
        np.testing.assert_array_equal(exact, taken)
    with pytest.raises(TypeError):
        ranking.replicates(weights, exact_up_to=len(weights) * 1000 - 1)


def test_blocks_and_precision_do_not_change_replicates(monkeypatch):
    ranking, weights = cohort(8, 30, 700, 0.1)
    whole = ranking.replicates(weights, exact_up_to=0)
    in_double = ranking.replicates(weights.astype(float), exact_up_to=0)
    monkeypatch.setattr(r, "_CHUNK", 20_000)
    for part, double, all_at_once in zip(ranking.replicates(weights, exact_up_to=0), in_double, whole, strict=True):
        np.testing.assert_array_equal(part, all_at_once)
        np.testing.assert_array_equal(double, all_at_once)


def test_replicates_without_one_side_are_undefined():
    y = np.array([True, True, False, False])
    ranking = r.Ranking(y, [0.9, 0.1, 0.2, 0.3], [0, 0, 1, 2])
    area, precision = ranking.replicates([[1, 0, 0], [0, 2, 1], [1, 1, 1]], exact_up_to=0)
    np.testing.assert_array_equal(np.isnan(area), [True, True, False])
    np.testing.assert_array_equal(np.isnan(precision), [False, True, False])
    only = r.Ranking([True, True], [0.1, 0.2], [0, 1]).replicates([[1, 1]], exact_up_to=0)
    assert np.isnan(only[0]).all()
    assert only[1].tolist() == [1.0]


def test_blocks_do_not_change_weighted_scores(monkeypatch):
    y, score, person, rng = ranked_case(9, 3)
    weights = rng.integers(0, 4, (2, 17, 12))
    whole = r.Ranking(y, score, person).score(weights)
    monkeypatch.setattr(r, "_CHUNK", 900)
    for a, b in zip(whole, r.Ranking(y, score, person).score(weights), strict=True):
        assert a.shape == (2, 17)
        np.testing.assert_array_equal(a, b)


def test_ranking_edges():
    assert r.auroc([False, True], [0.5, 0.5]) == 0.5
    assert r.average_precision([False, True], [0.5, 0.5]) == 0.5
    assert math.isnan(r.auroc([True, True], [0.1, 0.2]))
    assert r.average_precision([True, True], [0.1, 0.2]) == 1.0
    assert math.isnan(r.average_precision([False, False], [0.1, 0.2]))
    assert math.isnan(r.auroc([], []))
    # One score throughout two recordings is a tie within each, not between them.
    area, precision = r.grouped_ranking([True, False, False, True, False], np.zeros(5), [0, 0, 1, 1, 1], 2)
    assert area.tolist() == [0.5, 0.5]
    assert precision.tolist() == [1 / 2, 1 / 3]
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        r.auroc([True, False], [0.1, math.nan])
    with pytest.raises(ValueError, match="must match"):
        r.grouped_ranking([True, False], [0.1, 0.2], [0], 1)
    with pytest.raises(ValueError, match=r"group codes run from 0 to 3, outside 0\.\.2"):
        r.grouped_ranking([True, False], [0.1, 0.2], [0, 3], 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=50))
def test_auroc_is_the_share_of_pairs_in_order(pairs):
    y, score = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    if y.all() or not y.any():
        return
    difference = score[y][:, None] - score[~y][None, :]
    assert r.auroc(y, score) == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean(), abs=1e-12)
    assert r.auroc(y, score) + r.auroc(y, -score) == pytest.approx(1)
    assert r.auroc(y, np.exp(score / 3)) == r.auroc(y, score)  # only the order counts


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 4)), max_size=60), st.randoms())
def test_recordings_by_one_sort_equal_sklearn_one_by_one(rows, random):
    random.shuffle(rows)  # units need not be sorted by recording
    y, score, group = (np.array([row[i] for row in rows], dtype=t) for i, t in enumerate((bool, float, int)))
    area, precision = r.grouped_ranking(y, score, group, 6)
    assert math.isnan(area[5])  # nobody there
    for g in range(5):
        there = group == g
        if there.any() and y[there].any() and not y[there].all():
            assert area[g] == pytest.approx(sk.roc_auc_score(y[there], score[there]), abs=1e-12)
            assert precision[g] == pytest.approx(sk.average_precision_score(y[there], score[there]), abs=1e-12)
        else:
            assert math.isnan(area[g])
            assert math.isnan(precision[g])
