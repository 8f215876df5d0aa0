"""The partial likelihood as scans: against its definition, one risk set at a time."""

import numpy as np
import pytest

from hypnos_bench.heads.cox.likelihood import RiskSets, baseline_hazard, compares, loss_at, residuals, scan

T1 = np.array([1.0, 1, 6, 6, 8, 9])
D1 = np.array([1, 0, 1, 1, 0, 1], dtype=bool)
X1 = np.array([1.0, 1, 1, 0, 0, 0])


def everybody(time, event, ties):
    return RiskSets.of(time, event, np.ones(len(time), dtype=bool), ties)


def by_definition(time, event, eta, ties):
    """Negative log partial likelihood, event time by event time."""
    loss, weight = 0.0, np.exp(eta)
    for t in np.unique(time[event]):
        now = event & (time == t)
        d = now.sum()
        for i in range(d):
            taken = i / d * weight[now].sum() if ties == "efron" else 0.0
            loss += np.log(weight[time >= t].sum() - taken)
        loss -= eta[now].sum()
    return loss


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("levels", [4, 30, 10**6])
def test_equals_the_definition(ties, levels):
    rng = np.random.default_rng(levels)
    time = rng.integers(1, levels + 1, 80).astype(float)
    event = rng.random(80) < 0.4
    eta = 2 * rng.standard_normal(80)
    assert loss_at(everybody(time, event, ties), eta) == pytest.approx(by_definition(time, event, eta, ties), rel=1e-12)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_residuals_are_the_slope_of_the_loss_and_sum_to_zero(ties):
    rng = np.random.default_rng(3)
    time, event = rng.integers(1, 12, 40).astype(float), rng.random(40) < 0.5
    eta, sets = rng.standard_normal(40), everybody(time, event, ties)
    left = np.empty(40)
    residuals(sets, scan(sets, eta), left)
    bumps = 1e-5 * np.eye(40)
    slope = [
        (by_definition(time, event, eta + b, ties) - by_definition(time, event, eta - b, ties)) / 2e-5 for b in bumps
    ]
    np.testing.assert_allclose(-left, slope, atol=1e-8)
    assert left.sum() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("ties", "beta", "loglik"), [("breslow", np.log((3 + np.sqrt(33)) / 2), -3.824750), ("efron", 1.676857, -3.358975)]
)
def test_therneaus_first_example(ties, beta, loglik):
    sets = everybody(T1, D1, ties)
    assert loss_at(sets, beta * X1) == pytest.approx(-loglik, abs=5e-7)
    left = np.empty(6)
    residuals(sets, scan(sets, beta * X1), left)
    assert left @ X1 == pytest.approx(0, abs=2e-6)  # beta is printed to six digits
    # At zero both rules are known in closed form.
    at_zero = np.log(6) + 2 * np.log(4) if ties == "breslow" else np.log(6) + np.log(4) + np.log(3)
    assert loss_at(sets, np.zeros(6)) == pytest.approx(at_zero, rel=1e-14)


def test_baseline_hazard_of_therneaus_example_at_zero():
    np.testing.assert_allclose(baseline_hazard(everybody(T1, D1, "breslow"), np.zeros(6)), np.cumsum([1 / 6, 2 / 4, 1]))
    np.testing.assert_allclose(
        baseline_hazard(everybody(T1, D1, "efron"), np.zeros(6)), np.cumsum([1 / 6, 1 / 4 + 1 / 3, 1])
    )


def test_baseline_hazard_does_not_depend_on_where_eta_is_centred():
    eta = np.linspace(-1, 1, 6)
    sets = everybody(T1, D1, "efron")
    np.testing.assert_allclose(baseline_hazard(sets, eta + 3), baseline_hazard(sets, eta) * np.exp(-3))


def test_rows_left_out_change_nothing():
    rng = np.random.default_rng(1)
    time, event, eta = rng.integers(1, 9, 60).astype(float), rng.random(60) < 0.4, rng.standard_normal(60)
    use = rng.random(60) < 0.7
    time[~use] = np.nan
    masked = RiskSets.of(time, event, use, "efron")
    dropped = everybody(time[use], event[use], "efron")
    assert loss_at(masked, eta) == loss_at(dropped, eta[use])
    left = np.full(60, 7.0)
    residuals(masked, scan(masked, eta), left)
    assert not left[~use].any()


def test_a_large_predictor_neither_overflows_nor_passes_for_a_good_fit():
    sets = everybody(T1, D1, "efron")
    shifted = loss_at(sets, X1 + 5000)
    assert shifted == pytest.approx(loss_at(sets, X1), rel=1e-9)
    assert loss_at(sets, 5000 * X1) == np.inf  # denominators of the last events underflow
    assert loss_at(sets, np.full(6, np.nan)) == np.inf
    assert loss_at(sets, np.array([np.inf, 0, 0, 0, 0, 0])) == np.inf


@pytest.mark.parametrize(
    ("time", "event", "expected"),
    [
        ([1, 2, 3], [1, 0, 0], True),
        ([1, 2, 3], [0, 0, 1], False),  # nobody left to compare with
        ([1, 2, 2], [0, 1, 1], False),
        ([2, 2, 2], [1, 1, 1], False),
        ([2, 2, 2], [1, 0, 1], True),
        ([1, 2, 2], [1, 1, 1], True),
    ],
)
def test_whether_there_is_anything_to_compare(time, event, expected):
    assert compares(np.array(time, dtype=float), np.array(event, dtype=bool)) is expected
