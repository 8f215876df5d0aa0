"""Ridge regression: scikit-learn's solutions, penalty choice inside the budget, invariances, and clear refusals."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.persons import fold_of_rows
from hypnos_bench.heads.regression_rows import RegressionRows
from hypnos_bench.heads.ridge import RIDGE_SETTINGS, fit_ridge


def simulate(n_persons=20, per_person=4, d=12, seed=0, noise=1.0, unscaled=False):
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_persons), per_person)
    x = 0.5 * rng.standard_normal((n_persons, d))[person] + rng.standard_normal((person.size, d))
    y = x @ rng.standard_normal(d) / np.sqrt(d) + noise * rng.standard_normal(person.size)
    if unscaled:
        x = x * 10.0 ** rng.uniform(-3, 3, d) + 100 * rng.standard_normal(d)
    return RegressionRows(x.astype(np.float32), 50 + 12 * y, person, np.arange(person.size))


def standardised(x, by=None):
    by = (x if by is None else by).astype(np.float64)
    return (x.astype(np.float64) - by.mean(axis=0)) / by.std(axis=0)


CASES = {
    "tall": {},
    "wide": {"n_persons": 10, "per_person": 3, "d": 90},
    "square": {"n_persons": 6, "per_person": 4, "d": 24},
    "unscaled": {"unscaled": True},
}


@pytest.mark.parametrize("lam", [1e-4, 1e-1, 30.0])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_sklearn(case, lam):
    """alpha = n * lambda on standardised features, whatever the unit of the target."""
    rows = simulate(**CASES[case])
    head = fit_ridge(rows, {"lambdas": [lam]})
    z = standardised(rows.x)
    oracle = Ridge(alpha=len(rows.y) * lam, solver="svd").fit(z, rows.y)
    new = simulate(**{**CASES[case], "seed": 1}).x
    np.testing.assert_allclose(head.weights, oracle.coef_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(head.predict(new), oracle.predict(standardised(new, rows.x)), rtol=1e-8)
    assert head.intercept == pytest.approx(rows.y.mean(), rel=1e-14)
    residual = (rows.y - oracle.predict(z)) / rows.y.std()
    objective = (residual**2).mean() + lam * ((oracle.coef_ / rows.y.std()) ** 2).sum()
    assert head.selected["objective"] == pytest.approx(objective, rel=1e-9)
    assert head.selected["training_r2"] == pytest.approx(1 - (residual**2).mean(), rel=1e-9)
    assert head.certificate.converged
    assert head.certificate.gradient_norm < 1e-10


@pytest.mark.parametrize("case", ["tall", "wide"])
def test_cross_validation_is_that_of_a_plain_loop(case):
    """Every fold standardised by its own training rows, persons counted equally; both rules."""
    rows = simulate(**CASES[case])
    keep = np.arange(len(rows.y)) % 7 != 3  # persons with unlike numbers of rows
    rows = RegressionRows(*(getattr(rows, f.name)[keep] for f in dataclasses.fields(rows)))
    lambdas = sorted(RIDGE_SETTINGS["lambdas"], reverse=True)
    fold = fold_of_rows(rows.person, 5)
    assert len(np.unique(fold)) == 5
    losses = np.empty((len(np.unique(rows.person)), len(lambdas)))
    for j, lam in enumerate(lambdas):
        squared = np.empty(len(rows.y))
        for k in range(5):
            train, test = fold != k, fold == k
            model = Ridge(alpha=train.sum() * lam, solver="svd")
            model.fit(standardised(rows.x[train]), rows.y[train])
            error = model.predict(standardised(rows.x[test], rows.x[train])) - rows.y[test]
            squared[test] = (error / rows.y.std()) ** 2
        losses[:, j] = [squared[rows.person == person].mean() for person in np.unique(rows.person)]
    mean = losses.mean(axis=0)
    best = int(mean.argmin())
    excess = (losses - losses[:, [best]]).std(axis=0, ddof=1) / np.sqrt(len(losses))
    pick = min(j for j in range(len(lambdas)) if mean[j] - mean[best] <= excess[j])

    careful = fit_ridge(rows, {"rule": "one-se"}).selected
    assert (careful["rule"], careful["lambda"]) == ("cv-1se", lambdas[pick])
    selected = fit_ridge(rows, {}).selected
    assert careful["sweep"] == selected["sweep"]
    assert (selected["rule"], selected["lambda"]) == ("cv-min", lambdas[best])
    np.testing.assert_allclose([s["lambda"] for s in selected["sweep"]], lambdas)
    np.testing.assert_allclose([s["squared_error"] for s in selected["sweep"]], mean, rtol=1e-7)
    np.testing.assert_allclose([s["excess_se"] for s in selected["sweep"]], excess, rtol=1e-5, atol=1e-12)
    assert selected["best_lambda"] == careful["best_lambda"] == lambdas[best]
    json.dumps(selected, allow_nan=False)


def test_a_useless_embedding_gives_the_largest_penalty_and_says_so():
    rows = simulate(n_persons=40, noise=1.0)
    rows = dataclasses.replace(rows, y=np.random.default_rng(3).standard_normal(len(rows.y)))
    head = fit_ridge(rows, {"rule": "one-se"})
    assert head.selected["lambda"] == max(RIDGE_SETTINGS["lambdas"])
    assert head.selected["at_edge"] is True
    assert head.predict(rows.x).std() < 0.01


@pytest.mark.parametrize("case", ["tall", "wide"])
def test_units_and_origins_do_not_matter(case):
    rows = simulate(**CASES[case])
    rng = np.random.default_rng(5)
    scale = (2.0 ** rng.integers(-6, 6, rows.x.shape[1])).astype(np.float32)
    other = dataclasses.replace(rows, x=rows.x * scale, y=-7 * rows.y + 1000)
    here, there = fit_ridge(rows, {}), fit_ridge(other, {})
    assert here.selected["lambda"] == there.selected["lambda"]
    np.testing.assert_allclose(there.predict(other.x), -7 * here.predict(rows.x) + 1000, rtol=1e-10)


def test_repeating_rows_leaves_the_optimum():
    for case in CASES.values():
        rows = simulate(**case)
        twice = RegressionRows(*(np.repeat(getattr(rows, f.name), 2, axis=0) for f in dataclasses.fields(rows)))
        for settings in ({"lambdas": [0.03]}, {}):
            once, double = fit_ridge(rows, settings), fit_ridge(twice, settings)
            assert once.selected["lambda"] == double.selected["lambda"]
            np.testing.assert_allclose(once.predict(rows.x), double.predict(rows.x), rtol=1e-9)


def test_order_of_rows_does_not_matter():
    rows = simulate()
    order = np.random.default_rng(1).permutation(len(rows.y))
    mixed = RegressionRows(*(getattr(rows, f.name)[order] for f in dataclasses.fields(rows)))
    a, b = fit_ridge(rows, {}), fit_ridge(mixed, {})
    assert a.selected["lambda"] == b.selected["lambda"]
    np.testing.assert_allclose(a.predict(rows.x), b.predict(rows.x), rtol=1e-11)


def test_few_persons_take_the_prior():
    rows = simulate(n_persons=4, per_person=6, d=30)
    rows = dataclasses.replace(rows, recording=rows.person * 2 + np.arange(len(rows.y)) % 2)
    selected = fit_ridge(rows, {"prior": 0.5}).selected
    assert (selected["rule"], selected["n_persons"], selected["n_recordings"]) == ("prior", 4, 8)
    assert selected["lambda"] == 0.5 * 30 / 8
    assert fit_ridge(rows, {"lambdas": [0.7]}).selected["rule"] == "fixed"


def test_two_recordings_of_one_person_can_be_learnt():
    rows = simulate(n_persons=1, per_person=2, d=300)
    head = fit_ridge(rows, {})
    assert head.selected["rule"] == "prior"
    found = head.predict(rows.x)
    assert (found[0] < found[1]) == (rows.y[0] < rows.y[1])
    assert abs(found[0] - found[1]) < abs(rows.y[0] - rows.y[1])


def test_constant_features_are_told_and_do_nothing():
    rows = simulate(d=6)
    n = len(rows.y)
    jitter = np.where(np.arange(n) % 2, np.float32(1000), np.nextafter(np.float32(1000), np.float32(2000)))
    x = np.column_stack([rows.x, np.full(n, 7.7), jitter]).astype(np.float32)
    head, plain = fit_ridge(dataclasses.replace(rows, x=x), {}), fit_ridge(rows, {})
    assert head.selected["constant_features"] == [6, 7]
    np.testing.assert_array_equal(head.weights[6:], 0.0)
    moved = x.copy()
    moved[:, 6:] = -1e6
    np.testing.assert_allclose(head.predict(moved), plain.predict(rows.x), rtol=1e-12)


def test_a_feature_that_varies_in_one_fold_only():
    for d in (6, 200):
        rows = simulate(d=d)
        x = rows.x.copy()
        x[:, 0] = fold_of_rows(rows.person, 5) == 2
        x[:, 0] *= np.arange(len(x)) % 3
        head = fit_ridge(dataclasses.replace(rows, x=x), {})
        assert head.certificate.converged
        assert np.isfinite([s["squared_error"] for s in head.selected["sweep"]]).all()


class Stored:
    """A row source that gives what it holds, and counts how much was asked for at once."""

    def __init__(self, x):
        self._x, self.shape, self.most = x, x.shape, 0

    def read_into(self, start, out):
        self.most = max(self.most, len(out))
        out[:] = self._x[start : start + len(out)]


def test_rows_from_a_source_give_the_same_bits():
    rows = simulate(n_persons=50, per_person=200, d=5)
    source = Stored(rows.x)
    there = fit_ridge(dataclasses.replace(rows, x=source), {})
    here = fit_ridge(rows, {})
    np.testing.assert_array_equal(here.weights, there.weights)
    np.testing.assert_array_equal(here.predict(rows.x), there.predict(source))
    assert source.most <= 4096


def test_same_input_same_bits():
    rows = simulate(d=40)
    np.testing.assert_array_equal(fit_ridge(rows, {}).weights, fit_ridge(rows, {}).weights)


def test_what_cannot_be_fitted_is_refused():
    rows = simulate()
    y = rows.y.copy()
    y[[3, 5]] = np.nan
    with pytest.raises(FitError, match="2 of 80 training targets"):
        fit_ridge(dataclasses.replace(rows, y=y), {})
    x = rows.x.copy()
    x[1, 2], x[9, 2], x[9, 3] = np.nan, np.inf, np.nan
    with pytest.raises(FitError, match="2 of 80 training rows hold NaN or infinity, in 2 of 12 features"):
        fit_ridge(dataclasses.replace(rows, x=x), {})
    with pytest.raises(FitError, match=r"all 80 training targets of 20 person\(s\) are 0.1"):
        fit_ridge(dataclasses.replace(rows, y=np.full(80, 0.1)), {})
    with pytest.raises(FitError, match="got x"):
        fit_ridge(RegressionRows(rows.x[:0], rows.y[:0], rows.person[:0], rows.recording[:0]), {})
    with pytest.raises(FitError, match="normal equations"):
        fit_ridge(rows, {"tolerance": 1e-30})


def test_settings_are_checked():
    rows = simulate()
    with pytest.raises(UsageError, match="Did you mean 'lambdas'"):
        fit_ridge(rows, {"lambda": [1.0]})
    for wrong in ({"lambdas": []}, {"lambdas": [0.0]}, {"prior": -1}, {"cv_folds": 1}, {"rule": "1se"}):
        with pytest.raises(UsageError, match="ridge head"):
            fit_ridge(rows, wrong)


def test_rows_to_predict_are_checked():
    head = fit_ridge(simulate(), {})
    with pytest.raises(DataError, match="fitted on 12 features"):
        head.predict(np.zeros((3, 11), dtype=np.float32))
    with pytest.raises(DataError, match="non-finite"):
        head.predict(np.full((3, 12), np.nan, dtype=np.float32))
    assert head.predict(np.zeros((0, 12), dtype=np.float32)).shape == (0,)
