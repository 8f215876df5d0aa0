"""Classification metrics against scikit-learn, published tables and their own invariances."""

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.metrics import classification as c


@pytest.fixture(scope="module")
def nights():
    """Six recordings of five stages: one without N3, one of a single stage called right, one called wrong."""
    rng = np.random.default_rng(5)
    n, groups = 600, 6
    group = np.repeat(np.arange(groups), n // groups)
    truth = rng.integers(0, 5, n)
    pred = np.where(rng.random(n) < 0.7, truth, rng.integers(0, 5, n))
    truth[(group == 2) & (truth == 3)] = 2
    pred[(group == 2) & (pred == 3)] = 2
    truth[group == 4] = pred[group == 4] = 0
    truth[group == 5] = 0
    return truth, pred, group


def sklearn_by_group(metric, truth, pred, group):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about the single-stage nights
        return [metric(truth[group == g], pred[group == g]) for g in range(group.max() + 1)]


def test_matrices_equal_sklearn(nights):
    truth, pred, group = nights
    conf = c.confusion_matrices(truth, pred, group, 7, 5)
    assert conf.shape == (7, 5, 5)
    assert conf[6].sum() == 0
    for g in range(6):
        expected = sk.confusion_matrix(truth[group == g], pred[group == g], labels=range(5))
        np.testing.assert_array_equal(conf[g], expected)
        np.testing.assert_array_equal(c.confusion_matrix(truth[group == g], pred[group == g], 5), expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (c.accuracy, sk.accuracy_score),
        (c.balanced_accuracy, sk.balanced_accuracy_score),
        (c.cohens_kappa, sk.cohen_kappa_score),
        (c.quadratic_kappa, lambda t, p: sk.cohen_kappa_score(t, p, labels=range(5), weights="quadratic")),
        (c.recalls, lambda t, p: sk.recall_score(t, p, average=None, labels=range(5), zero_division=np.nan)),
        (c.precisions, lambda t, p: sk.precision_score(t, p, average=None, labels=range(5), zero_division=np.nan)),
        # "present in truth or prediction" is scikit-learn's rule when it infers the labels
        (lambda m: c.macro_f1(m, per_recording=True), lambda t, p: sk.f1_score(t, p, average="macro")),
        (
            c.macro_f1,
            lambda t, p: sk.f1_score(t, p, average="macro", labels=range(5), zero_division=0),
        ),
        (
            c.class_f1,
            lambda t, p: sk.f1_score(t, p, average=None, labels=range(5), zero_division=np.nan),
        ),
    ],
    ids=["accuracy", "balanced", "kappa", "quadratic", "recall", "precision", "f1-recording", "f1-pooled", "f1-class"],
)
def test_every_night_equals_sklearn(nights, ours, theirs):
    truth, pred, group = nights
    expected = np.array(sklearn_by_group(theirs, truth, pred, group))
    actual = ours(c.confusion_matrices(truth, pred, group, 6, 5))
    np.testing.assert_allclose(actual, expected, rtol=1e-13)


def test_single_stage_night_called_right_has_no_kappa(nights):
    kappa = c.cohens_kappa(c.confusion_matrices(*nights, 6, 5))
    assert np.isnan(kappa[4])
    assert kappa[5] == 0.0  # one stage in truth, several called: no agreement beyond chance
    assert np.isfinite(kappa[:4]).all()


def test_published_kappa_table():
    # Two raters, 50 grants: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no.
    grants = np.array([[20, 5], [10, 15]])
    assert float(c.cohens_kappa(grants)) == pytest.approx(0.4, abs=1e-15)
    assert float(c.quadratic_kappa(grants)) == pytest.approx(0.4, abs=1e-15)  # two classes have no other distance
    # scikit-learn's documented example: negative, neutral, positive.
    assert float(c.cohens_kappa(c.confusion_matrix([0, 2, 0, 1, 2], [0, 2, 0, 1, 0], 3))) == pytest.approx(0.6875)


def test_quadratic_kappa_minds_the_order_of_classes_and_no_other():
    far, near = np.diag([10, 10, 10, 10]), np.diag([10, 10, 10, 10])
    far[0, 3] = near[0, 1] = 5
    assert c.quadratic_kappa(near) > c.quadratic_kappa(far)
    assert float(c.quadratic_kappa(far)) == pytest.approx(float(c.quadratic_kappa(far[::-1, ::-1])))
    swapped = [1, 0, 2, 3]
    assert c.quadratic_kappa(near) != pytest.approx(float(c.quadratic_kappa(far[np.ix_(swapped, swapped)])))
    assert np.isnan(c.quadratic_kappa(np.diag([7, 0, 0])))
    assert float(c.quadratic_kappa(np.array([[5, 2, 0], [0, 0, 0], [0, 0, 0]]))) == 0.0


def test_f1_label_rules_differ_as_stated():
    conf = c.confusion_matrix([0, 0, 1, 1], [0, 0, 0, 1], 5)
    by_hand = (2 * 2 / 5 + 2 * 1 / 3) / 2
    assert float(c.macro_f1(conf, per_recording=True)) == pytest.approx(by_hand)
    assert float(c.macro_f1(conf)) == pytest.approx(by_hand * 2 / 5)
    thirds = c.confusion_matrix([0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 1, 1], 5)
    assert float(c.macro_f1(thirds, per_recording=True)) == pytest.approx(0.667, abs=5e-4)
    assert float(c.macro_f1(thirds)) == pytest.approx(0.267, abs=5e-4)


def test_binary_counts_by_hand():
    conf = np.array([[50, 10], [5, 35]])  # 5 misses, 10 false alarms
    assert float(c.sensitivity(conf, 1)) == 35 / 40
    assert float(c.specificity(conf, 1)) == 50 / 60
    assert float(c.class_f1(conf)[1]) == 70 / 85
    assert float(c.sensitivity(conf, 0)) == float(c.specificity(conf, 1))


def test_nothing_is_undefined_not_zero():
    empty = np.zeros((3, 3), dtype=int)
    for metric in (c.accuracy, c.balanced_accuracy, c.macro_f1, c.cohens_kappa, c.quadratic_kappa):
        assert math.isnan(metric(empty))
    assert math.isnan(c.sensitivity(np.array([[3, 1], [0, 0]]), 1))
    assert math.isnan(c.specificity(np.array([[0, 0], [1, 2]]), 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60), st.permutations(range(4)))
def test_renaming_classes_and_repeating_rows_changes_nothing(pairs, names):
    truth, pred = np.array(pairs).T
    conf = c.confusion_matrix(truth, pred, 4)
    renamed = c.confusion_matrix(np.array(names)[truth], np.array(names)[pred], 4)
    for metric in (c.accuracy, c.balanced_accuracy, c.macro_f1, c.cohens_kappa):
        np.testing.assert_allclose(metric(renamed), metric(conf), rtol=1e-12)
        np.testing.assert_allclose(metric(7 * conf), metric(conf), rtol=1e-12)
    assert -1 <= np.nan_to_num(c.cohens_kappa(conf)) <= 1


def test_leading_axes_are_independent(nights):
    conf = c.confusion_matrices(*nights, 6, 5).reshape(2, 3, 5, 5)
    for metric in (c.accuracy, c.balanced_accuracy, c.macro_f1, c.cohens_kappa, c.quadratic_kappa, c.class_f1):
        together = metric(conf)
        for i, j in np.ndindex(2, 3):
            np.testing.assert_array_equal(together[i, j], metric(conf[i, j]))


def test_codes_outside_the_label_space_are_refused():
    with pytest.raises(ValueError, match=r"prediction codes run from 0 to 5, outside 0\.\.4"):
        c.confusion_matrix([0, 1], [0, 5], 5)
    with pytest.raises(ValueError, match="truth codes run from -1"):
        c.confusion_matrix([-1, 1], [0, 1], 5)
    with pytest.raises(ValueError, match="must match"):
        c.confusion_matrix([0, 1], [0], 5)
