"""The small Cox regression against published fits and lifelines."""

import numpy as np
import pytest

from hypnos_bench.errors import FitError
from hypnos_bench.metrics.survival.recalibration import baseline_hazard, fit_recalibration


def lifelines_fit(x, time, event, stratum=None):
    import pandas as pd
    from lifelines import CoxPHFitter

    precise = {"fit_options": {"precision": 1e-12}}
    frame = pd.DataFrame(x).rename(columns=str).assign(time=time, event=event)
    if stratum is None:
        return CoxPHFitter().fit(frame, "time", "event", **precise)
    return CoxPHFitter().fit(frame.assign(stratum=stratum), "time", "event", strata=["stratum"], **precise)


def test_therneau_by_algebra():
    time, event, x = [1, 1, 6, 6, 8, 9], [1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]
    fit = fit_recalibration(time, event, np.array(x, dtype=float)[:, None])
    assert fit.coefficients[0] == pytest.approx(np.log((3 + np.sqrt(33)) / 2), abs=1e-8)
    assert fit.log_likelihood == pytest.approx(-3.824750, abs=5e-7)


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("veteran", [0, 3, 6], [-0.032622, 0.289936, -1.188299]),
        ("rossi", range(7), [-0.379022, -0.057246, 0.314130, -0.151115, -0.432783, -0.084983, 0.091112]),
    ],
)
def test_published_breslow_fits(published, name, columns, expected):
    data = published(name)
    fit = fit_recalibration(data.time, data.event, data.x)
    np.testing.assert_allclose(fit.coefficients[list(columns)], expected, atol=6e-7)


def test_lifelines_agrees_with_strata(simulate):
    data = simulate(500)
    x, stratum = np.column_stack([data.risk, data.risk**2]), data.rng.integers(0, 3, 500)
    fit, theirs = fit_recalibration(data.time, data.event, x, stratum), lifelines_fit(x, data.time, data.event, stratum)
    np.testing.assert_allclose(fit.coefficients, theirs.params_, atol=1e-6)
    np.testing.assert_allclose(fit.covariance, theirs.variance_matrix_, rtol=1e-4)
    assert fit.log_likelihood == pytest.approx(theirs.log_likelihood_, abs=1e-6)
    plain = fit_recalibration(data.time, data.event, x)
    assert np.abs(plain.coefficients - fit.coefficients).max() > 1e-3


def test_baseline_is_breslows(simulate):
    data = simulate(300)
    theirs = lifelines_fit(data.risk[:, None], data.time, data.event)
    log_hazard = np.log(theirs.predict_partial_hazard(data.risk[:, None]).to_numpy())
    for t in (1.0, 4.0):
        expected = theirs.baseline_cumulative_hazard_.asof(t).iloc[0]
        assert baseline_hazard(data.time, data.event, log_hazard, t) == pytest.approx(expected, rel=1e-9)


def test_shift_and_scale_move_with_the_column(simulate):
    data = simulate(200, ties=True)
    fit = fit_recalibration(data.time, data.event, data.risk[:, None])
    moved = fit_recalibration(data.time, data.event, 1e4 + 10 * data.risk[:, None])
    assert moved.coefficients[0] * 10 == pytest.approx(fit.coefficients[0], rel=1e-8)
    assert moved.covariance[0, 0] * 100 == pytest.approx(fit.covariance[0, 0], rel=1e-8)
    assert moved.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-8)


@pytest.mark.parametrize(
    ("event", "x", "said"),
    [
        ([0, 0, 0, 0], [[1.0], [2.0], [3.0], [4.0]], "no events"),
        ([1, 1, 1, 1], [[0.1], [0.1], [0.1], [0.1]], "does not vary"),
        ([1, 1, 1, 1], [[1.0, 2.0], [2.0, 4.0], [0.0, 0.0], [5.0, 10.0]], "independently"),
        ([1, 1, 1, 1], [[4.0], [3.0], [2.0], [1.0]], "separated"),
        ([0, 0, 0, 1], [[4.0], [3.0], [2.0], [1.0]], "independently"),
    ],
)
def test_no_estimate_is_made_up(event, x, said):
    with pytest.raises(FitError, match=said):
        fit_recalibration([1, 2, 3, 4], event, x)


def test_columns_must_fit():
    with pytest.raises(ValueError, match="do not fit 2 rows"):
        fit_recalibration([1, 2], [1, 1], [1.0, 2.0])


@pytest.mark.filterwarnings("ignore:Column 0 has high sample correlation")  # lifelines sees how near it is
def test_steep_but_finite_estimates_are_found():
    """Risk orders most pairs: log hazards span more than 20 at the estimate, which lifelines finds too."""
    rng = np.random.default_rng(0)
    time = rng.uniform(0, 10, 60)
    x = (-time + 0.4 * rng.normal(size=60))[:, None]
    fit, theirs = fit_recalibration(time, np.ones(60), x), lifelines_fit(x, time, np.ones(60))
    assert np.ptp(x @ fit.coefficients) > 20
    assert fit.coefficients[0] == pytest.approx(theirs.params_.iloc[0], rel=1e-6)


def test_a_leap_does_not_underflow():
    """Full Newton steps from here used to end where exponentials vanish."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        time, event, stratum = rng.uniform(0, 10, 20), rng.random(20) < 0.6, rng.integers(0, 3, 20)
        with pytest.raises(FitError, match="separated"):
            fit_recalibration(time, event, -time[:, None], stratum)
