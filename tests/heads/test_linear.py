"""The linear probe: optimum, penalty choice inside the budget, invariances, and clear refusals."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.base import FittedHead, TrainingRows
from hypnos_bench.heads.linear import LINEAR_SETTINGS, fit_linear
from hypnos_bench.heads.persons import fold_of_rows
from hypnos_bench.heads.registry import HEADS, default_settings
from hypnos_bench.heads.rows import ArrayRows, Spans
from hypnos_bench.heads.table import Labels, Table

FIXED = {"lambdas": [1e-3]}


def change(rows, **parts):
    return dataclasses.replace(rows, **parts)


def objective(head, x, y, lam):
    proba = head.predict_proba(x)
    return -np.log(proba[np.arange(len(y)), y]).mean() + lam / 2 * (head.weights**2).sum()


def sklearn_objective(x, y, lam):
    """scikit-learn's newton-cholesky on standardised rows, by its own probabilities."""
    z = StandardScaler().fit_transform(x.astype(np.float64))
    two = len(np.unique(y)) == 2
    model = LogisticRegression(C=(2 if two else 1) / (len(x) * lam), solver="newton-cholesky", tol=1e-12, max_iter=500)
    model.fit(z, y)
    proba = model.predict_proba(z)
    coefficients = np.concatenate([-model.coef_ / 2, model.coef_ / 2]) if two else model.coef_
    weights = coefficients - coefficients.mean(axis=0)
    code = np.searchsorted(model.classes_, y)
    return -np.log(proba[np.arange(len(y)), code]).mean() + lam / 2 * (weights**2).sum(), proba


CASES = {
    "five-classes": {"n_classes": 5, "d": 16},
    "two-classes": {"n_classes": 2, "d": 10},
    "more-features-than-rows": {"n_persons": 4, "per_person": 12, "d": 80},
    "unscaled": {"unscaled": True, "d": 20},
    "separable": {"gap": 8.0, "flip": 0.0},
}


@pytest.mark.parametrize("lam", [1e-1, 1e-4, 1e-6])
@pytest.mark.parametrize("case", CASES)
def test_reaches_sklearns_optimum(make_rows, case, lam):
    rows = make_rows(**CASES[case])
    head = fit_linear(rows, {"lambdas": [lam]})
    ours = objective(head, rows.x, rows.y, lam)
    theirs, proba = sklearn_objective(rows.x, rows.y, lam)
    assert ours == pytest.approx(theirs, rel=1e-6)
    np.testing.assert_allclose(head.predict_proba(rows.x), proba, atol=2e-3 if lam == 1e-6 else 2e-4)
    assert head.certificate.converged
    assert head.selected["objective"] == pytest.approx(ours, rel=1e-6)


def test_collinear_and_constant_features(make_rows):
    rows = make_rows(d=8)
    x = np.column_stack([rows.x, rows.x[:, :3], np.full(len(rows.y), 7.7), np.zeros(len(rows.y))]).astype(np.float32)
    head = fit_linear(change(rows, x=x), FIXED)
    assert head.selected["constant_features"] == [11, 12]
    np.testing.assert_array_equal(head.weights[:, [11, 12]], 0.0)
    assert head.scale[11] == head.scale[12] == 1.0
    assert objective(head, x, rows.y, 1e-3) == pytest.approx(sklearn_objective(x, rows.y, 1e-3)[0], rel=1e-6)
    np.testing.assert_allclose(head.weights[:, :3], head.weights[:, 8:11], atol=1e-3)  # the penalty shares alike


def test_float32_jitter_is_no_feature(make_rows):
    rows = make_rows(d=4)
    jitter = np.nextafter(np.float32(1000), np.float32(2000))
    column = np.where(np.arange(len(rows.y)) % 2, np.float32(1000), jitter)
    head = fit_linear(change(rows, x=np.column_stack([rows.x, column]).astype(np.float32)), FIXED)
    assert head.selected["constant_features"] == [4]


def test_all_features_constant_gives_class_shares(make_rows):
    rows = make_rows()
    head = fit_linear(change(rows, x=np.ones_like(rows.x)), FIXED)
    shares = np.bincount(rows.y) / len(rows.y)
    np.testing.assert_allclose(head.predict_proba(np.ones_like(rows.x[:2])), [shares, shares], rtol=1e-9)


def test_missing_class_keeps_its_place_with_probability_zero(make_rows):
    rows = make_rows(n_classes=5)
    kept = ~np.isin(rows.y, [1, 4])
    fewer = TrainingRows(rows.x[kept], rows.y[kept], rows.person[kept], rows.recording[kept], 5)
    head = fit_linear(fewer, FIXED)
    assert head.selected["classes_missing"] == [1, 4]
    proba = head.predict_proba(rows.x)
    assert proba.shape == (len(rows.y), 5)
    np.testing.assert_array_equal(proba[:, [1, 4]], 0.0)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    expected = sklearn_objective(fewer.x, fewer.y, 1e-3)
    assert objective(head, fewer.x, fewer.y, 1e-3) == pytest.approx(expected[0], rel=1e-6)


def test_repeating_rows_leaves_the_optimum(make_rows):
    """lambda is per sample: all rows twice, or some rows twice against weight 2, are the same question."""
    rows = make_rows()
    twice = np.repeat(np.arange(len(rows.y)), 2)
    again = TrainingRows(rows.x[twice], rows.y[twice], rows.person[twice], rows.recording[twice], 3)
    once, double = fit_linear(rows, FIXED), fit_linear(again, FIXED)
    np.testing.assert_allclose(double.weights, once.weights, atol=1e-5)
    np.testing.assert_allclose(double.scale, once.scale, rtol=1e-12)

    heavy = np.repeat(np.arange(len(rows.y)), 1 + (rows.person % 2))
    weighted = fit_linear(
        TrainingRows(rows.x[heavy], rows.y[heavy], rows.person[heavy], rows.recording[heavy], 3), FIXED
    )
    weight = 1.0 + rows.person % 2
    z = (rows.x - weighted.mean) / weighted.scale
    oracle = LogisticRegression(C=1 / (weight.sum() * 1e-3), solver="newton-cholesky", tol=1e-12)
    oracle.fit(z, rows.y, sample_weight=weight)
    np.testing.assert_allclose(weighted.predict_proba(rows.x), oracle.predict_proba(z), atol=1e-4)


def test_order_of_rows_and_names_of_classes_do_not_matter(make_rows):
    rows = make_rows()
    order = np.random.default_rng(0).permutation(len(rows.y))
    shuffled = TrainingRows(rows.x[order], rows.y[order], rows.person[order], rows.recording[order], 3)
    head, other = fit_linear(rows, {}), fit_linear(shuffled, {})
    assert head.selected["lambda"] == other.selected["lambda"]
    np.testing.assert_allclose(other.predict_proba(rows.x), head.predict_proba(rows.x), atol=1e-5)
    renamed = fit_linear(change(rows, y=(rows.y + 1) % 3), {})
    np.testing.assert_allclose(renamed.predict_proba(rows.x)[:, [1, 2, 0]], head.predict_proba(rows.x), atol=1e-5)


def test_shift_and_scale_of_features_do_not_matter(make_rows):
    rows = make_rows()
    rng = np.random.default_rng(3)
    scale, shift = 2.0 ** rng.integers(-20, 20, 12), rng.integers(-3, 4, 12).astype(float)
    moved = ((rows.x + shift) * scale).astype(np.float32)
    head, other = fit_linear(rows, {}), fit_linear(change(rows, x=moved), {})
    assert head.selected["lambda"] == other.selected["lambda"]
    np.testing.assert_allclose(other.predict_proba(moved), head.predict_proba(rows.x), atol=1e-5)


def test_a_fit_is_repeatable_and_chunks_do_not_matter(make_rows, monkeypatch):
    rows = make_rows()
    head = fit_linear(rows, {})
    np.testing.assert_array_equal(fit_linear(rows, {}).weights, head.weights)
    monkeypatch.setattr("hypnos_bench.heads.table._BLOCK_ROWS", 37)
    monkeypatch.setattr("hypnos_bench.heads.batch._WIDE_ROWS", 11)
    monkeypatch.setattr("hypnos_bench.heads.batch._NARROW_ROWS", 11)
    np.testing.assert_allclose(fit_linear(rows, {}).weights, head.weights, atol=1e-5)


def test_rows_from_elsewhere_give_the_same_fit(make_rows):
    rows = make_rows()
    head = fit_linear(rows, {})
    for source in (ArrayRows(rows.x), Spans(ArrayRows(rows.x), [(0, 100), (100, 480)])):
        other = fit_linear(change(rows, x=source), {})
        np.testing.assert_array_equal(other.weights, head.weights)
        np.testing.assert_array_equal(other.predict_proba(source), head.predict_proba(rows.x))


def test_a_sample_chooses_and_all_rows_are_fitted(make_rows):
    """With fewer rows in memory than there are: same optimum, penalty from an even sample of every recording."""
    rows = make_rows(n_persons=8, per_person=400, d=6)
    whole = fit_linear(rows, {"tolerance": 1e-9})
    part = fit_linear(rows, {"tolerance": 1e-9, "sample_rows": 800})
    assert whole.selected["cv_rows"] == 3200
    assert 800 <= part.selected["cv_rows"] <= 900
    lam = part.selected["lambda"]
    same = fit_linear(rows, {"tolerance": 1e-9, "lambdas": [lam]})
    assert objective(part, rows.x, rows.y, lam) == pytest.approx(objective(same, rows.x, rows.y, lam), rel=1e-7)
    np.testing.assert_allclose(part.predict_proba(rows.x), same.predict_proba(rows.x), atol=1e-3)
    assert f"of {len(rows.y)} rows" in part.certificate.criterion
    assert part.selected["objective"] == pytest.approx(objective(part, rows.x, rows.y, lam), rel=1e-6)


def test_penalty_is_chosen_by_cross_validation_over_persons(make_rows):
    """The sweep equals one made with scikit-learn, refitted and standardised in each fold."""
    rows = make_rows(n_persons=7, per_person=50)
    settings = {"lambdas": [1e-3, 1e-2, 1e-1, 1.0], "cv_tolerance": 1e-9}
    selected = fit_linear(rows, settings).selected
    fold = fold_of_rows(rows.person, 5)
    losses = np.zeros((4, 7))
    for k in range(5):
        scaler = StandardScaler().fit(rows.x[fold != k].astype(float))
        train, held = (scaler.transform(rows.x[m].astype(float)) for m in (fold != k, fold == k))
        for i, lam in enumerate(settings["lambdas"]):
            model = LogisticRegression(C=1 / (len(train) * lam), solver="newton-cholesky", tol=1e-10)
            proba = model.fit(train, rows.y[fold != k]).predict_proba(held)
            loss = -np.log(proba[np.arange(len(held)), rows.y[fold == k]])
            for p in np.unique(rows.person[fold == k]):
                losses[i, p] = loss[rows.person[fold == k] == p].mean()
    swept = {r["lambda"]: r for r in selected["sweep"]}
    best = losses.mean(axis=1).argmin()
    for i, lam in enumerate(settings["lambdas"]):
        if lam in swept:
            assert swept[lam]["cross_entropy"] == pytest.approx(losses[i].mean(), rel=1e-4)
            error = (losses[i] - losses[best]).std(ddof=1) / np.sqrt(7)
            assert swept[lam]["excess_se"] == pytest.approx(error, rel=1e-2, abs=1e-6)
    assert selected["rule"] == "cv-1se"
    assert selected["best_lambda"] == settings["lambdas"][best]
    excess = losses.mean(axis=1) - losses.mean(axis=1)[best]
    error = (losses - losses[best]).std(axis=1, ddof=1) / np.sqrt(7)
    assert selected["lambda"] == max(np.array(settings["lambdas"])[excess <= error])


def test_folds_never_cut_a_person(make_rows):
    rows = make_rows(n_persons=13)
    fold = fold_of_rows(rows.person, 5)
    assert all(len(set(fold[rows.person == p])) == 1 for p in range(13))
    assert sorted(len(set(rows.person[fold == k])) for k in range(5)) == [2, 2, 3, 3, 3]


def test_edge_of_the_grid_is_reported(make_rows):
    rows = make_rows(gap=0.0, flip=1.0)  # nothing to learn: the strongest penalty wins
    selected = fit_linear(rows, {"lambdas": [1e-4, 1e-3, 1e-2]}).selected
    assert selected["lambda"] == 1e-2
    assert selected["at_edge"]
    assert not fit_linear(make_rows(per_person=100), {}).selected["at_edge"]


def test_few_persons_use_the_prior(make_rows):
    rows = make_rows(n_persons=4)  # two recordings each
    selected = fit_linear(rows, {}).selected
    assert selected["rule"] == "prior"
    assert selected["lambda"] == 0.02 / 8
    assert selected["sweep"] == []
    assert (selected["n_persons"], selected["n_recordings"], selected["n_rows"]) == (4, 8, 240)


def test_classes_that_a_fold_lacks_are_left_out_and_counted(make_rows):
    rows = make_rows(n_persons=6, n_classes=3)
    only_one = (rows.y == 2) & (rows.person != 3)
    kept = ~only_one  # class 2 occurs in person 3 alone, so its own fold cannot score it
    fewer = TrainingRows(rows.x[kept], rows.y[kept], rows.person[kept], rows.recording[kept], 3)
    selected = fit_linear(fewer, {}).selected
    assert selected["cv_rows_unscored"] == int((fewer.y == 2).sum()) > 0
    assert selected["folds_skipped"] == 0
    assert all(np.isfinite(r["cross_entropy"]) for r in selected["sweep"])


def test_a_fold_without_two_classes_is_skipped(make_rows):
    rows = make_rows(n_persons=5, n_classes=2)
    y = np.where(rows.person == 2, rows.y, 0)  # without person 2 there is one class only
    selected = fit_linear(change(rows, y=y), {}).selected
    assert selected["folds_skipped"] == 1
    assert selected["rule"] == "cv-1se"


@pytest.mark.parametrize("double", [0, 2_000_000])
def test_features_that_vary_in_one_person_only(make_rows, monkeypatch, double):
    """Constant in one fold's training rows: no division by rounding noise, in float32 or float64."""
    monkeypatch.setattr("hypnos_bench.heads.table._DOUBLE_VALUES", double)
    rows = make_rows(n_persons=6, per_person=301, d=5)
    rng = np.random.default_rng(0)
    spikes = np.where((rows.person == 2)[:, None], rng.standard_normal((len(rows.y), 20)), rng.uniform(-1, 1, 20))
    rows = change(rows, x=np.column_stack([rows.x, spikes]).astype(np.float32))
    fold = fold_of_rows(rows.person, 5)
    table = Table.of(ArrayRows(rows.x), [Labels(rows.y, 3)], part=fold)
    alone = int(fold[rows.person == 2][0])
    for k in range(5):
        rowset = table.row_set(table.sample.sums, 0, [j for j in range(5) if j != k])
        assert rowset.constant[5:].all() == (k == alone)
        assert (rowset.scale[5:] == 1.0).all() == (k == alone)
    selected = fit_linear(rows, {}).selected
    assert selected["constant_features"] == []
    assert max(r["cross_entropy"] for r in selected["sweep"]) < 3


def test_features_that_hardly_vary_outside_one_person(make_rows):
    rows = make_rows(n_persons=6, d=5)
    rng = np.random.default_rng(0)
    size = np.where(rows.person == 2, 1e3, 1e-3)[:, None]
    x = np.column_stack([rows.x, size * rng.standard_normal((len(rows.y), 10))]).astype(np.float32)
    assert all(np.isfinite(r["cross_entropy"]) for r in fit_linear(change(rows, x=x), {}).selected["sweep"])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"y": np.full(480, 2)}, r"all 480 training rows of 8 person\(s\) have the same class \(code 2\)"),
        ({"y": np.full(480, 3)}, r"labels run from 3 to 3, outside 0\.\.2"),
        ({"y": np.zeros(0, dtype=np.int64)}, "needs rows with features and labels"),
        ({"x": np.zeros((480, 0), dtype=np.float32)}, "needs rows with features"),
    ],
)
def test_refusals(make_rows, parts, message):
    with pytest.raises(FitError, match=message) as caught:
        fit_linear(change(make_rows(), **parts), {})
    assert "\n" not in str(caught.value)


def test_non_finite_rows_are_counted(make_rows):
    rows = make_rows()
    x = rows.x.copy()
    x[3, 1] = x[5, 1] = np.nan
    x[5, 2] = np.inf
    with pytest.raises(FitError, match="2 of 480 training rows hold NaN or infinity, in 2 of 12 features"):
        fit_linear(change(rows, x=x), {})
    head = fit_linear(rows, FIXED)
    with pytest.raises(DataError, match="non-finite features"):
        head.predict_proba(x)
    with pytest.raises(DataError, match="fitted on 12 features"):
        head.predict_proba(x[:, :5])


def test_no_convergence_is_an_error(make_rows):
    with pytest.raises(FitError, match="did not converge"):
        fit_linear(make_rows(), {"lambdas": [1e-5], "max_passes": 1})


def test_only_the_returned_fit_has_to_converge(make_rows):
    """A penalty that the folds cannot be fitted at costs that penalty, not the cell."""
    rows = make_rows(n_persons=10, d=4, flip=0.0, gap=6.0)
    selected = fit_linear(rows, {"cv_passes": 10, "cv_tolerance": 1e-9}).selected
    tried = [step["lambda"] for step in selected["sweep"] if step["converged"]]
    assert len(selected["sweep"]) == 7
    assert 0 < len(tried) < 7
    assert selected["cv_unconverged"] == 7 - len(tried)
    assert selected["lambda"] in tried
    assert selected["at_edge"] == (min(tried) in (selected["lambda"], selected["best_lambda"]))
    with pytest.raises(FitError, match="did not converge at lambda=1e-06"):
        fit_linear(rows, {"lambdas": [1e-6], "max_passes": 3})


def test_settings_are_checked(make_rows):
    rows = make_rows()
    with pytest.raises(UsageError, match="no setting 'lambda'. Did you mean 'lambdas'"):
        fit_linear(rows, {"lambda": 1})
    for bad in (
        {"lambdas": []},
        {"lambdas": [0.0, 1.0]},
        {"cv_folds": 1},
        {"prior": -1},
        {"sample_rows": 0},
        {"cv_passes": 0},
    ):
        with pytest.raises(UsageError, match="linear head"):
            fit_linear(rows, bad)


def test_registry_and_key_settings(make_rows):
    assert HEADS.load("linear") is fit_linear
    assert default_settings("linear") == LINEAR_SETTINGS
    assert default_settings("linear") is not LINEAR_SETTINGS
    with pytest.raises(UsageError, match="unknown head 'linar'. Did you mean 'linear'"):
        default_settings("linar")
    head: FittedHead = fit_linear(make_rows(), default_settings("linear"))
    json.dumps(dict(head.selected), allow_nan=False)
