"""Figures of predicted risk hold what they should; how they look was judged by eye."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.metrics.survival.risk_groups import HazardRatio, risk_groups
from hypnos_bench.report.comparison import comparisons
from hypnos_bench.report.risk import CalibrationPanel, RiskPanel, calibration_figure, drawn, risk_figure, ticks


def words(files):
    return [w.strip() for w in re.findall(r"<!--(.*?)-->", files["svg"].decode(), re.S)]


@pytest.fixture
def comparison(people):
    return comparisons([people.survival(simulated=True, test=9)])[0]


def panel(comparison, effect=1.0, n=60, times=(0.0, 2.0)):
    rng = np.random.default_rng(0)
    risk = rng.normal(size=n)
    time = rng.exponential(5 / np.exp(effect * risk))
    return RiskPanel(comparison.rows[0], risk_groups(time, time < 6, risk, times=times))


def test_curves_have_numbers_at_risk_ratio_and_log_rank(comparison):
    shown = panel(comparison)
    found = words(risk_figure(comparison, "death", "at 100%", [shown], (0.0, 2.0)))
    for curve in shown.groups.curves:
        assert {curve.name, *map(str, curve.at_risk)} <= set(found)
    ratio = shown.groups.per_sd
    assert f"HR per sd {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" in found
    assert any(w.startswith("log-rank p") for w in found)
    assert {"simulated", "free of the event", "years", "hypnos", "at risk"} <= set(found)
    assert any("9 test persons: far too few for a result" in w for w in found)


def test_what_has_no_estimate_says_why(comparison):
    nothing = RiskPanel(
        comparison.rows[0], risk_groups(np.arange(1, 10.0), np.zeros(9, bool), np.arange(9.0), times=(0.0,))
    )
    found = words(risk_figure(comparison, "death", "at 100%", [nothing], (0.0,)))
    assert "no hazard ratio: no events" in found
    assert "no log-rank test: no events" in found


def test_a_long_reason_does_not_squeeze_a_panel(comparison):
    groups = panel(comparison).groups
    why = (
        "Cox regression: convergence halted as the matrix is singular, which is often due to features that say the same"
    )
    shown = RiskPanel(comparison.rows[0], replace(groups, per_sd=HazardRatio("per sd", None, None, None, None, why)))
    found = words(
        risk_figure(comparison, "death", "at 100%", [shown] * 3, (0.0, 2.0))
    )  # matplotlib's warning is an error
    assert sum("matrix is singular" in " ".join(found[i : i + 4]) for i in range(len(found))) >= 3


def test_an_axis_that_does_not_start_at_zero_says_so(comparison):
    rare = RiskPanel(
        comparison.rows[0],
        risk_groups(np.linspace(1, 9, 900), np.arange(900) % 90 == 0, np.arange(900.0) % 7, times=(0.0,)),
    )
    assert any("the axis starts at 0." in w for w in words(risk_figure(comparison, "x", "y", [rare], (0.0,))))
    assert not any(
        "the axis starts" in w for w in words(risk_figure(comparison, "x", "y", [panel(comparison, 3.0)], (0.0, 2.0)))
    )


def test_calibration_has_a_series_per_horizon_and_skips_groups_without_numbers(comparison):
    group = {"n": 9, "events": 1, "predicted": 0.1, "observed": 0.2, "low": 0.1, "high": 0.4}
    horizons = [{"years": 5.0, "groups": [group, {**group, "observed": None}]}, {"years": 10.0, "groups": []}]
    assert len(drawn(horizons[0])) == 1
    found = words(calibration_figure(comparison, "death", "at 100%", [CalibrationPanel(comparison.rows[0], horizons)]))
    assert {"5 years", "10 years: none", "predicted risk", "observed risk", "simulated"} <= set(found)


@given(st.floats(0.01, 200))
def test_ticks_are_round_few_and_within_follow_up(longest):
    found = ticks(longest)
    assert found[0] == 0
    assert 1 <= len(found) <= 7
    assert found[-1] <= longest * (1 + 1e-6)
    assert len(found) > 2 or longest < 0.02
    assert all(float(f"{t:.3g}") == pytest.approx(t) for t in found)


def test_nobody_followed_has_one_tick():
    assert ticks(0.0) == (0.0,)


def test_same_groups_same_bytes(comparison):
    shown = panel(comparison)
    assert risk_figure(comparison, "x", "y", [shown], (0.0, 2.0)) == risk_figure(
        comparison, "x", "y", [shown], (0.0, 2.0)
    )
