"""The Cox MLP: the partial likelihood to the digit, risks and survival, and every outcome that cannot be trained."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import torch
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.cox import fit_cox
from hypnos_bench.heads.cox_mlp import COX_MLP_SETTINGS, PartialLikelihood, fit_cox_mlp
from hypnos_bench.heads.persons import hold_out
from hypnos_bench.heads.survival_rows import SurvivalRows

QUICK = {"hidden": [8], "min_steps": 10, "max_passes": 10, "fixed_steps": 10, "check_steps": 2}


def by_hand(eta, time, event, at_risk, ties):
    """Negative log partial likelihood of one outcome, from the definition."""
    total = 0.0
    for t in np.unique(time[event & at_risk]):
        events = np.flatnonzero((time == t) & event & at_risk)
        risk = np.exp(eta[at_risk & (time >= t)]).sum()
        tied = np.exp(eta[events]).sum()
        for k in range(len(events)):
            share = k / len(events) if ties == "efron" else 0.0
            total += np.log(risk - share * tied)
        total -= eta[events].sum()
    return total


def outcomes(n=40, m=3, seed=0, steps=8):
    rng = np.random.default_rng(seed)
    time = rng.integers(1, steps, (n, m)) / 4
    return time, rng.random((n, m)) < 0.5, rng.random((n, m)) < 0.8


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_loss_and_gradient_are_those_of_the_definition(ties):
    time, event, at_risk = outcomes()
    rng = np.random.default_rng(1)
    eta = rng.standard_normal((40, 3)) * 2
    expected = np.mean(
        [
            by_hand(eta[:, m], time[:, m], event[:, m], at_risk[:, m], ties) / (event & at_risk)[:, m].sum()
            for m in range(3)
        ]
    )
    loss = PartialLikelihood(time, event, at_risk, ties)
    order = rng.permutation(40)  # rows come in any order
    outputs = torch.tensor(eta[order], requires_grad=True)
    value = loss(outputs, torch.from_numpy(order))
    value.backward()
    assert float(value.detach()) == pytest.approx(expected, rel=1e-12)
    step = 1e-5
    for i, m in itertools.product(range(0, 40, 3), range(3)):
        moved = eta[order].copy()
        moved[i, m] += step
        up = float(loss(torch.from_numpy(moved), torch.from_numpy(order)))
        moved[i, m] -= 2 * step
        down = float(loss(torch.from_numpy(moved), torch.from_numpy(order)))
        assert float(outputs.grad[i, m]) == pytest.approx((up - down) / (2 * step), abs=1e-8)
    np.testing.assert_array_equal(outputs.grad.numpy()[~at_risk[order]], 0.0)


@pytest.mark.parametrize(
    ("ties", "beta", "loglik"), [("breslow", np.log((3 + np.sqrt(33)) / 2), -3.824750), ("efron", 1.676857, -3.358975)]
)
def test_published_values(ties, beta, loglik):
    """Therneau's first test data of R's survival package."""
    time = np.array([1.0, 1, 6, 6, 8, 9])[:, None]
    event = np.array([1, 0, 1, 1, 0, 1], dtype=bool)[:, None]
    x = torch.tensor([[1.0], [1], [1], [0], [0], [0]], dtype=torch.float64)
    loss = PartialLikelihood(time, event, np.ones((6, 1), dtype=bool), ties)
    coefficient = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    value = loss(x * coefficient, torch.arange(6))
    value.backward()
    assert -4 * float(value.detach()) == pytest.approx(loglik, abs=5e-7)
    assert float(coefficient.grad) == pytest.approx(0, abs=1e-6)


def test_log_likelihood_of_lifelines():
    import pandas as pd

    time, event, _ = outcomes(n=120, m=1, seed=4, steps=15)
    x = np.random.default_rng(5).standard_normal(120)
    frame = pd.DataFrame({"t": time[:, 0], "e": event[:, 0], "x": x})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = CoxPHFitter().fit(frame, "t", "e")
    loss = PartialLikelihood(time, event, np.ones_like(event), "efron")
    value = loss(torch.from_numpy(x[:, None] * fitted.params_["x"]), torch.arange(120))
    assert -float(value) * event.sum() == pytest.approx(fitted.log_likelihood_, rel=1e-9)


def test_batches_of_a_pass_add_up_to_their_own_risk_sets():
    """Each outcome counts by its events in the batch, over all its events; risk sets are those of the batch."""
    time, event, at_risk = outcomes(n=60, m=4, seed=2)
    event[:, 3] &= np.arange(60) == 7  # a single event: most batches have none
    at_risk[7, 3] = True
    eta = np.random.default_rng(3).standard_normal((60, 4))
    loss = PartialLikelihood(time, event, at_risk, "efron")
    batches = np.array_split(np.random.default_rng(4).permutation(60), 3)
    values = [float(loss(torch.from_numpy(eta[rows]), torch.from_numpy(rows))) for rows in batches]
    expected = sum(
        by_hand(eta[rows, m], time[rows, m], event[rows, m], at_risk[rows, m], "efron")
        / (event & at_risk)[:, m].sum()
        / 4
        for rows in batches
        for m in range(4)
    )
    assert np.mean(values) == pytest.approx(expected, rel=1e-12)


def test_outcomes_without_events_do_not_count():
    time, event, at_risk = outcomes(m=2)
    alone = PartialLikelihood(time[:, :1], event[:, :1], at_risk[:, :1], "efron")
    event[:, 1] = False
    both = PartialLikelihood(time, event, at_risk, "efron")
    eta = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(both(eta, torch.arange(40))) == float(alone(eta[:, :1], torch.arange(40)))


def simulate(n=400, m=3, d=6, seed=0, curved=False):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float32)
    eta = (2 * np.abs(x[:, :m]) - 1.6) if curved else x[:, :m]
    onset = np.ceil(rng.exponential(np.exp(-1.2 * eta)) * 20) / 4
    end = rng.uniform(1, 10, (n, m))
    at_risk = rng.random((n, m)) < 0.9
    names = tuple(f"outcome-{i}" for i in range(m))
    return SurvivalRows(x, np.minimum(onset, end), onset <= end, at_risk, names, np.arange(n))


def concordance(head, rows, m):
    kept = rows.at_risk[:, m]
    return concordance_index(rows.time[kept, m], -head.risk(rows.x[kept])[:, m], rows.event[kept, m])


def test_ranks_nearly_as_well_as_the_linear_model_where_that_is_right():
    rows, new = simulate(), simulate(seed=1)
    mlp, linear = fit_cox_mlp(rows, {"hidden": [64]}), fit_cox(rows, {})
    for m in range(3):
        assert concordance(linear, new, m) > 0.7
        assert concordance(mlp, new, m) > concordance(linear, new, m) - 0.03


def test_ranks_where_the_linear_model_cannot():
    rows, new = simulate(n=800, curved=True), simulate(seed=1, curved=True)
    mlp, linear = fit_cox_mlp(rows, {"hidden": [64]}), fit_cox(rows, {})
    for m in range(3):
        assert concordance(linear, new, m) < 0.6
        assert concordance(mlp, new, m) > 0.68


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_survival_is_calibrated_and_falls(ties):
    rows = simulate(n=600)
    head = fit_cox_mlp(rows, {"ties": ties, "hidden": [32], "min_steps": 100})
    years = np.array([0.0, 0.5, 1, 3, 6])
    survival = head.survival(rows.x, years)
    assert survival.shape == (600, 3, 5)
    np.testing.assert_array_equal(survival[:, :, 0], 1.0)
    assert (np.diff(survival, axis=2) <= 0).all()
    # Expected events over everybody's follow-up are the events seen.
    for m in range(3):
        kept = np.flatnonzero(rows.at_risk[:, m])
        hazard = head.baselines[m].at(rows.time[kept, m]) * np.exp(head.risk(rows.x[kept])[:, m])
        # Exactly so under Breslow's rule; Efron's shares the hazard of a tie otherwise among those who have it.
        assert hazard.sum() == pytest.approx(rows.event[kept, m].sum(), rel=1e-9 if ties == "breslow" else 0.1)
    assert np.isnan(head.survival(rows.x[:2], [rows.time.max() + 1])).all()
    with pytest.raises(DataError, match="not negative"):
        head.survival(rows.x, [-1.0])


def test_breslow_baseline_by_hand():
    rows = simulate(n=80, m=1)
    head = fit_cox_mlp(rows, {**QUICK, "ties": "breslow"})
    np.testing.assert_allclose(head.risk(rows.x).mean(axis=0), 0.0, atol=1e-12)
    time, event, use = rows.time[:, 0], (rows.event & rows.at_risk)[:, 0], rows.at_risk[:, 0]
    weight = np.exp(head.risk(rows.x)[:, 0])
    times = np.unique(time[event])
    steps = [(event & (time == t)).sum() / weight[use & (time >= t)].sum() for t in times]
    np.testing.assert_allclose(head.baselines[0].times, times)
    np.testing.assert_allclose(head.baselines[0].cumulative_hazard, np.cumsum(steps), rtol=1e-12)


def test_outcomes_that_cannot_be_trained_are_nan_and_told():
    rows = simulate(n=100, m=6)
    event, at_risk, time = rows.event.copy(), rows.at_risk.copy(), rows.time.copy()
    part = hold_out(rows.person, seed=0, share=0.2, min_persons=20)
    event[:, 1] = False
    at_risk[:, 2] = False
    event[:, 3] = time[:, 3] = np.arange(100) == 5  # one event, and nobody is followed longer
    time[:, 3] = np.where(event[:, 3] > 0, 99.0, 1.0)
    at_risk[5, 3] = True
    event[:, 4] = np.isin(np.arange(100), part.validation[:3])
    time[rows.person == part.validation[0], 4] = 0.1
    at_risk[:, 4] = True
    time[~at_risk] = np.nan
    rows = dataclasses.replace(rows, event=event, at_risk=at_risk, time=time)
    head = fit_cox_mlp(rows, QUICK)
    told = {outcome["name"]: outcome for outcome in head.selected["outcomes"]}
    assert [told[name]["status"] for name in rows.names] == [
        "fitted", "no-events", "nobody-at-risk", "no-comparison", "held-out", "fitted",
    ]  # fmt: skip
    assert told["outcome-4"]["events"] == 3
    assert told["outcome-2"] | {"message": ""} == {
        "name": "outcome-2", "n": 0, "events": 0, "excluded": 100, "status": "nobody-at-risk", "fitted": False, "message": "",
    }  # fmt: skip
    assert told["outcome-0"]["excluded"] == (~rows.at_risk[:, 0]).sum()
    fitted = np.array([True, False, False, False, False, True])
    np.testing.assert_array_equal(head.fitted, fitted)
    np.testing.assert_array_equal(np.isnan(head.risk(rows.x)).all(axis=0), ~fitted)
    np.testing.assert_array_equal(np.isnan(head.survival(rows.x, [0.5])).all(axis=(0, 2)), ~fitted)
    assert not np.isnan(head.risk(rows.x)[:, fitted]).any()
    with pytest.raises(
        FitError, match="none of 2 outcomes can be fitted: 1 no-events, 1 nobody-at-risk; the first is 'a'"
    ):
        fit_cox_mlp(
            dataclasses.replace(
                rows, event=event[:, 1:3], at_risk=at_risk[:, 1:3], time=time[:, 1:3], names=("a", "b")
            ),
            QUICK,
        )


def test_who_had_it_before_takes_no_part():
    """Times and events of rows that are not at risk change nothing, NaN included."""
    rows = simulate(n=150, m=2)
    time, event = rows.time.copy(), rows.event.copy()
    time[~rows.at_risk], event[~rows.at_risk] = np.nan, True
    one, other = fit_cox_mlp(rows, QUICK), fit_cox_mlp(dataclasses.replace(rows, time=time, event=event), QUICK)
    np.testing.assert_array_equal(one.risk(rows.x), other.risk(rows.x))


def test_same_seed_same_bits_also_in_batches():
    rows = simulate(n=120)
    for extra in ({}, {"batch_rows": 40}):
        found = [fit_cox_mlp(rows, {**QUICK, **extra, "seed": seed}).risk(rows.x) for seed in (1, 1, 2)]
        np.testing.assert_array_equal(found[0], found[1])
        assert (found[0] != found[2]).all()


def test_batches_learn_too():
    rows, new = simulate(n=600, m=2), simulate(m=2, seed=1)
    head = fit_cox_mlp(rows, {"batch_rows": 100, "hidden": [64], "min_steps": 200})
    assert concordance(head, new, 0) > 0.7


def test_held_out_persons_only_tell_when_to_stop():
    rows = simulate(n=60)
    part = hold_out(rows.person, seed=0, share=0.2, min_persons=20)
    head = fit_cox_mlp(rows, QUICK)
    assert head.selected["n_rows_held_out"] == part.validation.size == 12
    np.testing.assert_allclose(head.network.moments.mean, rows.x[part.training].mean(axis=0, dtype=float), atol=1e-12)
    # The first look is at risks of zero: the loss is a matter of counting.
    kept = np.zeros((12, 3))
    cells = (rows.time[part.validation], rows.event[part.validation], rows.at_risk[part.validation])
    expected = float(PartialLikelihood(*cells, "efron")(torch.from_numpy(kept), torch.arange(12)))
    assert head.selected["validation"][0]["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [2, 19])
def test_few_persons_train_for_a_fixed_time(n):
    rows = simulate(n=n, m=1, seed=3)
    time = np.arange(1.0, n + 1)[:, None]
    rows = dataclasses.replace(rows, time=time, event=np.ones((n, 1), dtype=bool), at_risk=np.ones((n, 1), dtype=bool))
    head = fit_cox_mlp(rows, QUICK)
    assert head.selected["rule"] == "fixed-passes"
    assert f"{n} person(s)" in head.selected["rule_reason"]
    assert np.isfinite(head.risk(rows.x)).all()


def test_one_person_cannot_be_told_from_anybody():
    rows = simulate(n=1, m=1)
    yes = np.ones((1, 1), dtype=bool)
    with pytest.raises(FitError, match=r"'outcome-0' \(no-comparison: nobody at risk outlives"):
        fit_cox_mlp(dataclasses.replace(rows, event=yes, at_risk=yes), QUICK)


def test_nobody_is_held_out_without_an_event_to_look_at():
    rows = simulate(n=40, m=1)
    part = hold_out(rows.person, seed=0, share=0.2, min_persons=20)
    event = rows.event.copy()
    event[part.validation] = False
    head = fit_cox_mlp(dataclasses.replace(rows, event=event), QUICK)
    assert head.selected["rule"] == "fixed-passes"
    assert "no outcome has an event" in head.selected["rule_reason"]


def test_what_cannot_be_fitted_is_refused():
    rows = simulate(n=60)
    with pytest.raises(UsageError, match="ties is one of efron, breslow, not 'exact'"):
        fit_cox_mlp(rows, {"ties": "exact"})
    with pytest.raises(UsageError, match="Did you mean 'dropout'"):
        fit_cox_mlp(rows, {"drop": 0.1})
    time = rows.time.copy()
    time[rows.at_risk[:, 1].argmax(), 1] = 0.0
    with pytest.raises(FitError, match="outcome-1"):
        fit_cox_mlp(dataclasses.replace(rows, time=time), {})
    x = rows.x.copy()
    x[3, 3] = np.nan
    with pytest.raises(FitError, match="1 of 60 training rows"):
        fit_cox_mlp(dataclasses.replace(rows, x=x), {})
    with pytest.raises(DataError, match="Cox MLP was fitted on 6 features"):
        fit_cox_mlp(rows, QUICK).risk(rows.x[:, :5])
    assert "seed" in COX_MLP_SETTINGS
