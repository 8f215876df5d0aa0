"""Kaplan-Meier curves against lifelines, and under weights."""

import numpy as np
import pytest

from hypnos_bench.metrics.survival import kaplan_meier
from hypnos_bench.metrics.survival.kaplan_meier import ProductLimit, event_probability
from hypnos_bench.stats.bootstrap import person_weights


def lifelines_km(time, event, times):
    from lifelines import KaplanMeierFitter

    fitter = KaplanMeierFitter().fit(time, event)
    at = [fitter.confidence_interval_.asof(t).to_numpy() for t in times]
    return fitter.predict(list(times)).to_numpy(), np.array(at)


def test_curve_and_band_are_those_of_lifelines(simulate):
    data = simulate(400, ties=True)
    times = [1.0, 2.5, 6.0, 9.0]
    theirs, band = lifelines_km(data.time, data.event, times)
    np.testing.assert_allclose(ProductLimit(data.time, data.event).at(times), theirs, atol=1e-12)
    for t, value, (low, high) in zip(times, theirs, band):
        np.testing.assert_allclose(
            event_probability(data.time, data.event, t), (1 - value, 1 - high, 1 - low), atol=1e-9
        )


def test_those_with_the_event_are_not_at_risk_of_censoring_at_that_time():
    # At time 2 one event and one censoring: the event first, then 1 of 2 left is censored.
    time, event = [1, 2, 2, 3], [0, 1, 0, 1]
    np.testing.assert_allclose(ProductLimit(time, event, "censoring").at([1, 2, 3]), [3 / 4, 3 / 8, 3 / 8])
    np.testing.assert_allclose(ProductLimit(time, event, "censoring").at([1, 2, 3], before=True), [1, 3 / 4, 3 / 8])
    np.testing.assert_allclose(ProductLimit(time, event).at([1, 2, 3]), [1, 2 / 3, 0])


def test_censoring_curve_without_shared_times_is_the_curve_of_the_reversed_indicator(simulate):
    data = simulate(300)
    times = [1.0, 3.0, 8.0]
    theirs, _ = lifelines_km(data.time, ~data.event, times)
    np.testing.assert_allclose(ProductLimit(data.time, data.event, "censoring").at(times), theirs, atol=1e-12)


@pytest.mark.parametrize("of", ["event", "censoring"])
@pytest.mark.parametrize("before", [False, True])
def test_weights_are_repeated_rows(simulate, of, before, monkeypatch):
    data = simulate(120, ties=True)
    person, times = data.rng.integers(0, 40, 120), [0.0, 1.0, 2.5, 7.0, 11.9, 30.0]
    weights = person_weights(40, 15, 0)
    curve = ProductLimit(data.time, data.event, of, person)
    values = curve.at(times, weights, before=before)
    for own, row in zip(weights, values):
        again = ProductLimit(np.repeat(data.time, own[person]), np.repeat(data.event, own[person]), of)
        np.testing.assert_allclose(row, again.at(times, before=before), rtol=1e-12)
    monkeypatch.setattr(kaplan_meier, "_AT_ONCE", 250)
    np.testing.assert_array_equal(curve.at(times, weights, before=before), values)


def test_nobody_knows_how_a_curve_goes_on_after_the_last_censoring():
    assert np.isnan(ProductLimit([1, 2], [1, 0]).at([2.5])[0])
    assert ProductLimit([1, 2], [1, 0]).at([2.0])[0] == 0.5
    assert ProductLimit([1, 2], [1, 1]).at([2.5])[0] == 0.0
    assert np.isnan(ProductLimit([], []).at([0.0])[0])
    assert np.isnan(event_probability([1.0, 2.0], [1, 0], 5.0).value)


def test_certainty_has_no_band():
    for time, event, value in (([3, 4], [0, 0], 0.0), ([1, 2], [1, 1], 1.0)):
        found = event_probability(time, event, 3.0)
        assert found.value == value
        assert np.isnan([found.low, found.high]).all()
