"""Calibration where the truth is known, and against lifelines."""

import warnings

import numpy as np
import pytest

from hypnos_bench.errors import FitError
from hypnos_bench.metrics.survival.calibration import calibration_at, calibration_slope, expected_over_observed
from hypnos_bench.stats.bootstrap import person_weights

AT = 5.0


def survival(data, factor=1.0, power=1.0):
    """True probability of no event by `AT`, for a hazard that many times too high, or spread too far."""
    return np.exp(-data.rate * AT * factor * np.exp(power * data.true))


def test_a_perfect_prediction_is_calibrated(simulate):
    data = simulate(6000)
    found = calibration_at(data.time, data.event, survival(data), AT)
    assert found.expected_over_observed == pytest.approx(1, abs=0.03)
    assert found.ici < 0.012
    assert len(found.groups) == 10
    inside = [g.observed.low <= g.predicted <= g.observed.high for g in found.groups]
    assert sum(inside) >= 9
    assert sum(g.n for g in found.groups) == found.n == 6000
    assert sum(g.n * g.predicted for g in found.groups) / 6000 == pytest.approx(found.predicted)


def test_too_much_predicted_risk_is_measured(simulate):
    data = simulate(6000)
    wrong, right = survival(data, factor=2.0), survival(data)
    found = calibration_at(data.time, data.event, wrong, AT)
    assert found.ici == pytest.approx(np.abs(wrong - right).mean(), abs=0.012)
    assert found.expected_over_observed == pytest.approx((1 - wrong).mean() / (1 - right).mean(), abs=0.05)


def test_the_smooth_curve_is_a_cox_regression_on_a_spline(simulate):
    """The same regression by lifelines, with another base of the same splines."""
    import pandas as pd
    from lifelines import CoxPHFitter

    data = simulate(500)
    s = survival(data, factor=1.5, power=0.7)
    p, x = 1 - s, np.log(-np.log(s))
    assert p.max() < 1 - 1e-6
    a, b, c = np.quantile(x, [0.1, 0.5, 0.9])
    bent = ((x - a).clip(0) ** 3 * (c - b) - (x - b).clip(0) ** 3 * (c - a) + (x - c).clip(0) ** 3 * (b - a)) / 10
    frame = pd.DataFrame({"x": x, "bent": bent, "t": np.minimum(data.time, AT), "e": data.event & (data.time <= AT)})
    fitted = CoxPHFitter().fit(frame, "t", "e", fit_options={"precision": 1e-10})
    smooth = 1 - fitted.predict_survival_function(frame[["x", "bent"]], times=[AT]).to_numpy()[0]
    found = calibration_at(data.time, data.event, s, AT)
    assert found.ici == pytest.approx(np.abs(p - smooth).mean(), abs=1e-7)


def test_expected_over_observed_under_weights_is_that_of_repeated_rows(simulate):
    data = simulate(200, ties=True)
    person, weights = data.rng.integers(0, 80, 200), person_weights(80, 10, 0)
    values = expected_over_observed(data.time, data.event, survival(data), AT, weights, person)
    for own, value in zip(weights, values):
        time, event, s = (np.repeat(a, own[person]) for a in (data.time, data.event, survival(data)))
        assert value == pytest.approx(calibration_at(time, event, s, AT).expected_over_observed, rel=1e-12)


def test_the_slope_shrinks_what_is_too_extreme(simulate):
    data = simulate(3000)
    right, extreme = (calibration_slope(data.time, data.event, k * data.true) for k in (1, 2))
    assert right.low < 1 < right.high
    assert right.high - right.low < 0.2
    np.testing.assert_allclose(np.array(extreme) * 2, right, rtol=1e-7)
    fold = data.rng.integers(0, 3, 3000)
    shifted = calibration_slope(data.time, data.event, data.true + 7.0 * fold, fold)
    assert shifted.value == pytest.approx(calibration_slope(data.time, data.event, data.true, fold).value, abs=1e-7)


def test_equal_predictions_stay_together(simulate):
    data = simulate(400)
    levels = np.round(survival(data), 1)
    found = calibration_at(data.time, data.event, levels, AT)
    assert 1 < len(found.groups) < 10
    assert [g.predicted for g in found.groups] == sorted(g.predicted for g in found.groups)
    assert sum(g.n for g in found.groups) == 400


def test_few_events_make_few_groups(simulate):
    data = simulate(300)
    rare = data.event & (np.cumsum(data.event & (data.time <= AT)) <= 12)
    assert len(calibration_at(data.time, rare, survival(data), AT).groups) == 2


def test_what_is_not_defined_says_why(simulate):
    data = simulate(300)
    beyond = calibration_at(data.time, data.event, survival(data), 40.0)
    assert np.isnan([beyond.ici, beyond.observed.value, beyond.expected_over_observed]).all()
    assert beyond.ici_undefined == "calibration: follow-up ends before the horizon of 40"
    quiet = calibration_at(data.time, np.zeros(300), survival(data), AT)
    assert (quiet.observed.value, quiet.ici_undefined) == (
        0.0,
        "calibration: 0 events by the horizon of 5, fewer than 5",
    )
    assert np.isnan(quiet.expected_over_observed)
    level = calibration_at(data.time, data.event, np.full(300, 0.7), AT)
    assert level.ici_undefined == "recalibration: a column does not vary"
    assert level.expected_over_observed == pytest.approx(0.3 / level.observed.value)
    with pytest.raises(FitError, match="0 events, fewer than 5"):
        calibration_slope(data.time, np.zeros(300), data.true)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        calibration_at(data.time, data.event, 1 + survival(data), AT)


def test_certain_predictions_are_scored(simulate):
    data = simulate(500)
    s = survival(data)
    s[:20], s[-20:] = 0.0, 1.0
    assert 0 < calibration_at(data.time, data.event, s, AT).ici < 0.2


def test_few_events_are_not_regressed_on(simulate):
    data = simulate(300)
    for kept, told in ((4, "calibration: 4 events by the horizon of 5, fewer than 5"), (5, None)):
        rare = data.event & (np.cumsum(data.event & (data.time <= AT)) <= kept) & (data.time <= AT)
        assert calibration_at(data.time, rare, survival(data), AT).ici_undefined == told
        if told:
            with pytest.raises(FitError, match="calibration: 4 events, fewer than 5"):
                calibration_slope(data.time, rare, data.true)
        else:
            assert np.isfinite(calibration_slope(data.time, rare, data.true)).all()


@pytest.mark.parametrize("steep", [0.5, 5.0, 50.0])
def test_separated_risks_are_told_without_a_warning(steep):
    """Twenty people whose risk orders their times (almost) perfectly: an estimate or a reason, never a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(40):
            rng = np.random.default_rng(seed)
            time, event = np.round(rng.uniform(0, 10, 20), seed % 3), rng.random(20) < 0.5
            risk = -steep * time + rng.normal(size=20) * (0.0, 0.1, 1.0, 10.0)[seed % 4]
            s = np.exp(-np.exp(np.clip(risk - risk.mean(), -600, 600)))
            found = calibration_at(time, event, s, AT)
            assert (found.ici_undefined is None) == np.isfinite(found.ici)
            if seed % 4 == 0 and seed % 3 and event.sum() >= 5:  # the risk is the time itself, and no times are tied
                with pytest.raises(FitError, match="separated"):
                    calibration_slope(time, event, risk)
            elif event.sum() >= 5 and seed % 4 == 3 and steep < 1:
                assert np.isfinite(calibration_slope(time, event, risk)).all()
