"""MLP regression: curves, units, the persons held out, and clear refusals."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.mlp_regression import fit_mlp_regression
from hypnos_bench.heads.persons import hold_out
from hypnos_bench.heads.regression_rows import RegressionRows
from hypnos_bench.heads.ridge import fit_ridge

QUICK = {"hidden": [16], "max_passes": 4, "min_steps": 0}


def simulate(n_persons=100, per_person=8, seed=0, curved=False, noise=0.3):
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_persons), per_person)
    x = rng.standard_normal((person.size, 5))
    y = np.abs(x[:, 0]) * 1.5 - np.abs(x[:, 1]) if curved else x @ [1.0, -0.5, 0.3, 0.0, 0.2]
    y = 50 + 10 * (y + noise * rng.standard_normal(person.size))
    return RegressionRows((x * 4 + 9).astype(np.float32), y, person, np.arange(person.size))


def r2(head, rows):
    return 1 - ((head.predict(rows.x) - rows.y) ** 2).mean() / rows.y.var()


def test_follows_a_curve_that_ridge_cannot():
    rows, new = simulate(curved=True), simulate(curved=True, seed=1)
    assert r2(fit_ridge(rows, {}), new) < 0.1
    assert r2(fit_mlp_regression(rows, {"hidden": [64]}), new) > 0.7


def test_loses_little_on_a_line():
    """Within 0.03 of least squares in explained variance of new persons."""
    rows, new = simulate(), simulate(seed=1)
    oracle = LinearRegression().fit(rows.x, rows.y).score(new.x, new.y)
    assert oracle > 0.9
    assert r2(fit_mlp_regression(rows, {"hidden": [64]}), new) > oracle - 0.03


def test_the_unit_of_the_target_does_not_matter():
    rows = simulate()
    here = fit_mlp_regression(rows, QUICK)
    there = fit_mlp_regression(dataclasses.replace(rows, y=1024 * rows.y), QUICK)
    np.testing.assert_allclose(there.predict(rows.x), 1024 * here.predict(rows.x), rtol=1e-6)
    moved = fit_mlp_regression(dataclasses.replace(rows, y=rows.y - 3000), QUICK)
    np.testing.assert_allclose(moved.predict(rows.x) + 3000, here.predict(rows.x), rtol=1e-3)
    assert here.selected["training_mean"] == pytest.approx(rows.y.mean())
    assert here.selected["training_sd"] == pytest.approx(rows.y.std())


def test_held_out_persons_are_not_in_the_standardisation():
    rows = simulate(n_persons=10)
    head = fit_mlp_regression(rows, {**QUICK, "seed": 3})
    part = hold_out(rows.person, seed=3, share=0.2, min_persons=5)
    assert head.centre == pytest.approx(rows.y[part.training].mean(), rel=1e-12)
    assert head.spread == pytest.approx(rows.y[part.training].std(), rel=1e-12)
    loss = head.selected["validation"][0]["loss"]  # of the mean of the targets trained on
    assert loss == pytest.approx((((rows.y[part.validation] - head.centre) / head.spread) ** 2).mean(), rel=1e-5)


def test_same_seed_same_bits():
    rows = simulate(n_persons=20)
    found = [fit_mlp_regression(rows, {**QUICK, "seed": seed}).predict(rows.x) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).all()


class Stored:
    def __init__(self, x):
        self._x, self.shape = x, x.shape

    def read_into(self, start, out):
        out[:] = self._x[start : start + len(out)]


def test_rows_from_a_source_give_the_same_bits():
    rows = simulate(n_persons=20)
    settings = {**QUICK, "block_rows": 16, "pool_rows": 64}
    source = Stored(rows.x)
    there = fit_mlp_regression(dataclasses.replace(rows, x=source), settings).predict(source)
    np.testing.assert_array_equal(there, fit_mlp_regression(rows, settings).predict(rows.x))


@pytest.mark.parametrize("n_persons", [1, 2])
def test_few_persons(n_persons):
    rows = simulate(n_persons=n_persons, per_person=4)
    head = fit_mlp_regression(rows, {})
    assert head.selected["rule"] == "fixed-passes"
    assert head.selected["n_persons"] == n_persons
    assert np.isfinite(head.predict(rows.x)).all()


def test_the_only_person_who_differs_is_not_held_out():
    rows = simulate(n_persons=6, per_person=2)
    part = hold_out(rows.person, seed=0, share=0.2, min_persons=5)
    y = np.full(12, 40.0)
    y[part.validation[0]] = 60.0
    head = fit_mlp_regression(dataclasses.replace(rows, y=y), QUICK)
    assert head.selected["rule"] == "fixed-passes"
    assert "all be equal" in head.selected["rule_reason"]


def test_what_cannot_be_fitted_is_refused():
    rows = simulate(n_persons=6)
    y = rows.y.copy()
    y[[1, 2, 40]] = np.nan, np.inf, np.nan
    with pytest.raises(FitError, match="3 of 48 training targets"):
        fit_mlp_regression(dataclasses.replace(rows, y=y), {})
    with pytest.raises(FitError, match="nothing to learn"):
        fit_mlp_regression(dataclasses.replace(rows, y=np.full(48, 7.0)), {})
    with pytest.raises(UsageError, match="mlp-regression head"):
        fit_mlp_regression(rows, {"class_weights": "none"})
    with pytest.raises(DataError, match="MLP regression was fitted on 5 features"):
        fit_mlp_regression(rows, QUICK).predict(rows.x[:, 1:])
