"""The Cox head: agreement with lifelines, what must not matter, predicted survival, settings."""

import dataclasses
import json

import numpy as np
import pytest

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.heads.cox import COX_SETTINGS, exact_cox, fit, fit_cox
from hypnos_bench.heads.cox.likelihood import RiskSets, residuals, scan

FIXED = {"penalties": [0.1]}


def change(rows, **parts):
    return dataclasses.replace(rows, **parts)


def outcome_of(rows, index):
    use = rows.at_risk[:, index]
    return rows.x[use].astype(float), rows.time[use, index], rows.event[use, index]


def lifelines_fit(rows, penalizer):
    lifelines = pytest.importorskip("lifelines", reason="lifelines is not installed")
    pandas = pytest.importorskip("pandas")
    x, time, event = outcome_of(rows, 0)
    data = pandas.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])]).assign(time=time, event=event)
    model = lifelines.CoxPHFitter(penalizer=penalizer, l1_ratio=0.0)
    model.fit(data, "time", "event", fit_options={"precision": 1e-12})
    return model, data


@pytest.mark.parametrize("lam", [1.0, 0.1, 0.003])
@pytest.mark.parametrize("days", [False, True], ids=["continuous", "ties"])
def test_lifelines_at_the_documented_penalty(make_survival, days, lam):
    rows = make_survival(n=400, d=6, m=1, days=days)
    head = fit_cox(rows, {"penalties": [lam]})
    events, n = rows.event.sum(), 400
    model, _ = lifelines_fit(rows, lam * events / n * (n - 1) / n)
    np.testing.assert_allclose(
        head.raw_coefficients[0] * head.moments.scale, model.params_.to_numpy() * head.moments.scale, atol=1e-4
    )
    exact = exact_cox(*outcome_of(rows, 0), penalty=lam)
    np.testing.assert_allclose(exact.coefficients, model.params_.to_numpy(), rtol=1e-5, atol=1e-9)


def test_predicted_survival_is_lifelines_without_ties(make_survival):
    rows = make_survival(n=300, d=4, m=1)
    head = fit_cox(rows, {"penalties": [0.01], "tolerance": 1e-7})
    model, data = lifelines_fit(rows, 0.01 * rows.event.sum() / 300 * 299 / 300)
    years = np.sort(rows.time[rows.event])[[10, 40, 90]]  # between event times lifelines interpolates
    theirs = model.predict_survival_function(data.iloc[:40], times=years).to_numpy().T
    np.testing.assert_allclose(head.survival(rows.x[:40], years)[:, 0], theirs, atol=1e-5)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_expected_events_add_up(make_survival, ties):
    """Breslow's and Efron's baselines spread exactly the observed events over those at risk."""
    rows = make_survival(n=300, d=4, m=2, days=True, excluded=0.2)
    head = fit_cox(rows, {"penalties": [0.05], "ties": ties})
    for m, name in enumerate(rows.names):
        x, time, event = outcome_of(rows, m)
        risk = head.risk(x.astype(np.float32))[:, m]
        sets = RiskSets.of(time, event, np.ones(len(time), dtype=bool), ties)
        left = np.empty(len(time))
        residuals(sets, scan(sets, risk), left)
        assert left.sum() == pytest.approx(0, abs=1e-8)
        base = head.baseline(name)
        expected = base.at(time) * np.exp(risk)
        if ties == "breslow":
            assert expected.sum() == pytest.approx(event.sum(), rel=1e-5)
            np.testing.assert_allclose(event - expected, left, atol=1e-4)
        else:  # tied persons share a hazard that is theirs only in part
            np.testing.assert_allclose((event - expected)[~event], left[~event], atol=1e-4)
            assert expected.sum() > event.sum()


def test_predicted_survival_is_calibrated(make_survival):
    rows = make_survival(n=4000, d=4, m=1, censored=0.5)
    head = fit_cox(rows, {})
    year = float(np.quantile(rows.time, 0.3))
    predicted = head.survival(rows.x, [year])[:, 0, 0]
    for part in np.array_split(np.argsort(predicted), 4):
        time, event = rows.time[part, 0], rows.event[part, 0]
        free = 1.0  # Kaplan-Meier, by hand
        for t in np.unique(time[event & (time <= year)]):
            free *= 1 - (event & (time == t)).sum() / (time >= t).sum()
        assert predicted[part].mean() == pytest.approx(free, abs=0.04)


def test_survival_by_hand():
    """Two persons, one feature, no effect worth speaking of: the baseline is Nelson-Aalen's."""
    from hypnos_bench.heads.survival_rows import SurvivalRows

    time = np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    event = np.array([True, False, True, False])[:, None]
    x = np.array([[1.0], [-1], [-1], [1]], dtype=np.float32)
    rows = SurvivalRows(x, time, event, np.ones((4, 1), dtype=bool), ("death",), np.arange(4))
    head = fit_cox(rows, {"penalties": [1e9]})
    base = head.baseline("death")
    np.testing.assert_array_equal(base.times, [1, 3])
    np.testing.assert_allclose(base.cumulative_hazard, [1 / 4, 1 / 4 + 1 / 2], rtol=1e-6)
    found = head.survival(x[:1], [0.0, 0.99, 1.0, 2.9, 3.0, 4.0, 4.01])[0, 0]
    np.testing.assert_allclose(found[:6], np.exp(-np.array([0, 0, 0.25, 0.25, 0.75, 0.75])), rtol=1e-6)
    assert np.isnan(found[6])  # nobody was followed that far


def test_survival_is_consistent_with_risk(make_survival):
    rows = make_survival(n=200, d=4, m=3)
    head = fit_cox(rows, FIXED)
    years = np.quantile(
        rows.time.min(axis=0).max() + rows.time.max(axis=0).min() * np.array([0.1, 0.5, 0.9]), [0, 0.5, 1]
    )
    found = head.survival(rows.x, years)
    assert found.shape == (200, 3, 3)
    with np.errstate(invalid="ignore"):
        assert (np.diff(found, axis=2) <= 0).all()
    for m in range(3):
        order = np.argsort(head.risk(rows.x)[:, m])
        assert (np.diff(found[order, m, 1]) <= 1e-12).all()
    mean_person = head.moments.mean[None].astype(np.float32)
    assert np.abs(head.risk(mean_person)).max() < 1e-3


def test_gradient_at_the_optimum_is_zero(make_survival):
    rows = make_survival(n=300, d=6, m=3, days=True, excluded=0.1)
    head = fit_cox(rows, {})
    z = (rows.x.astype(float) - head.moments.mean) / head.moments.scale
    for m, outcome in enumerate(head.selected["outcomes"]):
        sets = RiskSets.of(rows.time[:, m], rows.event[:, m], rows.at_risk[:, m], "efron")
        left = np.empty(300)
        residuals(sets, scan(sets, z @ head.coefficients[m]), left)
        gradient = -left @ z / sets.n_events + outcome["penalty"] * head.coefficients[m]
        assert np.linalg.norm(gradient) / outcome["penalty"] <= 1.05e-4
        assert np.abs(gradient).max() == pytest.approx(head.certificates[m].gradient_norm, rel=0.05, abs=1e-7)


@pytest.mark.parametrize("lam", [1.0, 30.0, 1000.0, 1e6])
def test_strong_penalties_shrink_and_do_not_erase(make_survival, lam):
    """Coefficients far below the absolute tolerance still point where Newton's do."""
    rows = make_survival(n=1600, d=3, m=4, signal=0.2, censored=0.96)
    assert 40 <= rows.event.sum(axis=0).min() <= rows.event.sum(axis=0).max() <= 90
    head = fit_cox(rows, {"penalties": [lam]})
    for m in range(4):
        exact = exact_cox(*outcome_of(rows, m), penalty=lam)
        away = head.coefficients[m] - exact.standardised
        assert np.abs(away).max() <= 1e-4
        assert 0 < np.linalg.norm(away) <= 1.1e-3 * np.linalg.norm(exact.standardised)
        assert np.corrcoef(head.risk(rows.x)[:, m], rows.x @ exact.coefficients)[0, 1] > 0.9999
        proof = head.certificates[m]
        bound = 0.5 * lam * (1e-3 * np.linalg.norm(head.coefficients[m])) ** 2
        assert 0 < proof.newton_decrement <= proof.tolerance <= 1.001 * bound
        assert "0.001 of their norm" in proof.criterion
        assert head.selected["outcomes"][m]["solver"] == "batched"


def test_features_without_any_effect_give_a_model_of_zeros():
    """Every risk set is balanced, so the gradient at zero is zero: there is nothing to be relative to."""
    from hypnos_bench.heads.survival_rows import SurvivalRows

    x = np.tile([[1.0], [-1.0]], (20, 1)).astype(np.float32)
    time = np.repeat(np.arange(1.0, 21.0), 2)[:, None]
    yes = np.ones((40, 1), dtype=bool)
    rows = SurvivalRows(x, time, yes, yes, ("death",), np.arange(40))
    for lam in (0.0, 1e-3, 1e3):
        head = fit_cox(rows, {"penalties": [lam]})
        assert np.abs(head.coefficients).max() < 1e-12
        assert head.certificate.converged


def test_prevalent_rows_are_as_good_as_dropped(make_survival):
    rows = make_survival(n=300, d=5, m=2, excluded=0.3)
    head = fit_cox(rows, {**FIXED, "tolerance": 1e-6})
    z = (rows.x.astype(float) - head.moments.mean) / head.moments.scale
    for m in range(2):
        use = rows.at_risk[:, m]
        from hypnos_bench.heads.cox.exact import newton

        sets = RiskSets.of(rows.time[use, m], rows.event[use, m], np.ones(use.sum(), dtype=bool), "efron")
        best, *_ = newton(z[use], sets, 0.1, np.zeros(5))
        np.testing.assert_allclose(head.coefficients[m], best, atol=2e-6)
    scrambled = change(rows, time=np.where(rows.at_risk, rows.time, -3.0), event=rows.event | ~rows.at_risk)
    np.testing.assert_array_equal(fit_cox(scrambled, FIXED).coefficients, fit_cox(rows, FIXED).coefficients)


@pytest.mark.parametrize("settings", [{}, {"penalties": [0.0]}], ids=["path", "none"])
def test_a_monotone_change_of_time_leaves_the_coefficients(make_survival, settings):
    rows = make_survival(n=200, d=4, m=2, days=True)
    other = change(rows, time=np.exp(rows.time) ** 2)
    np.testing.assert_array_equal(fit_cox(other, settings).coefficients, fit_cox(rows, settings).coefficients)


def test_the_order_of_rows_does_not_matter(make_survival):
    rows = make_survival(n=200, d=4, m=2, days=True, excluded=0.1)
    order = np.random.default_rng(0).permutation(200)
    parts = {name: getattr(rows, name)[order] for name in ("x", "time", "event", "at_risk", "person")}
    one, other = fit_cox(rows, {}), fit_cox(change(rows, **parts), {})
    assert [o["penalty"] for o in one.selected["outcomes"]] == [o["penalty"] for o in other.selected["outcomes"]]
    np.testing.assert_allclose(other.coefficients, one.coefficients, atol=2e-4)


def test_shift_and_scale_of_features_do_not_matter(make_survival):
    rows = make_survival(n=200, d=4, m=2)
    x = rows.x / rows.x.std(axis=0)
    moved = change(rows, x=(x * np.array([1e-3, 1, 100, -5]) + np.array([0, 3, -50, 1])).astype(np.float32))
    one, other = fit_cox(change(rows, x=x), {}), fit_cox(moved, {})
    assert [o["penalty"] for o in one.selected["outcomes"]] == [o["penalty"] for o in other.selected["outcomes"]]
    np.testing.assert_allclose(other.risk(moved.x), one.risk(x), atol=2e-3)


@pytest.mark.parametrize("lam", [0.1, 1e-3])
def test_repeating_every_row_changes_nothing_under_breslow(make_survival, lam):
    rows = make_survival(n=150, d=4, m=2)
    double = change(
        rows, **{k: np.repeat(getattr(rows, k), 2, axis=0) for k in ("x", "time", "event", "at_risk", "person")}
    )
    settings = {"penalties": [lam], "ties": "breslow", "tolerance": 1e-6}
    one, two = fit_cox(rows, settings), fit_cox(double, settings)
    np.testing.assert_allclose(two.coefficients, one.coefficients, atol=3e-6)
    year = float(np.median(rows.time))
    np.testing.assert_allclose(two.survival(rows.x, [year]), one.survival(rows.x, [year]), atol=1e-5)


def test_blocks_do_not_matter(make_survival, monkeypatch):
    rows = make_survival(n=150, d=5, m=5)
    whole = fit_cox(rows, {})
    monkeypatch.setattr(fit, "_BLOCK_PROBLEMS", 2)
    parts = fit_cox(rows, {})
    assert [o["penalty"] for o in parts.selected["outcomes"]] == [o["penalty"] for o in whole.selected["outcomes"]]
    np.testing.assert_allclose(parts.coefficients, whole.coefficients, atol=2e-4)


def test_the_same_input_gives_the_same_bits(make_survival):
    rows = make_survival(n=150, d=5, m=3)
    one, other = fit_cox(rows, {}), fit_cox(rows, {})
    np.testing.assert_array_equal(one.coefficients, other.coefficients)
    assert one.selected == other.selected
    assert one.certificates == other.certificates


def test_without_a_penalty_it_is_rs_model(make_survival):
    rows = make_survival(n=300, d=4, m=2, days=True, excluded=0.1)
    head = fit_cox(rows, {"penalties": [0]})
    for m in range(2):
        exact = exact_cox(*outcome_of(rows, m))
        np.testing.assert_allclose(head.raw_coefficients[m], exact.coefficients, rtol=1e-5)
        assert head.certificates[m].converged
        assert head.selected["outcomes"][m]["solver"] == "newton"


def test_what_is_selected_can_be_stored_and_says_everything(make_survival):
    rows = make_survival(n=300, d=4, m=2, excluded=0.1, per_person=2)
    head = fit_cox(rows, {})
    selected = json.loads(json.dumps(head.selected, allow_nan=False))
    assert (selected["n_rows"], selected["n_persons"], selected["n_features"]) == (300, 150, 4)
    assert selected["statuses"] == {"fitted": 2}
    for m, outcome in enumerate(selected["outcomes"]):
        assert outcome["name"] == rows.names[m]
        assert outcome["n"] + outcome["excluded"] == 300
        assert outcome["events"] == int((rows.event & rows.at_risk)[:, m].sum())
        assert outcome["penalty"] in COX_SETTINGS["penalties"]
        assert outcome["penalty"] in [step["penalty"] for step in outcome["sweep"]]
        assert head.certificates[m].newton_decrement <= head.certificates[m].tolerance
    assert head.certificate in head.certificates


def test_other_features_are_refused(make_survival):
    rows = make_survival(n=100, d=4, m=1)
    head = fit_cox(rows, FIXED)
    with pytest.raises(DataError, match="fitted on 4 features"):
        head.risk(rows.x[:, :3])
    bad = rows.x[:5].copy()
    bad[2, 1] = np.nan
    with pytest.raises(DataError, match="non-finite"):
        head.risk(bad)
    for years in ([-1.0], [np.nan], [[1.0]]):
        with pytest.raises(DataError, match="finite times"):
            head.survival(rows.x, years)
    with pytest.raises(UsageError, match=r"outcome-1'.*Did you mean 'outcome-0'"):
        head.baseline("outcome-1")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"penalty": [1]}, "Did you mean 'penalties'"),
        ({"penalties": []}, "list of finite numbers"),
        ({"penalties": [-1]}, "not negative"),
        ({"penalties": [0, 1]}, r"penalties = \[0\] alone"),
        ({"ties": "exact"}, "efron, breslow"),
        ({"prior": 0}, "positive"),
        ({"tolerance": float("nan")}, "positive"),
        ({"relative_tolerance": 0}, "positive"),
        ({"rule": "cv-1se"}, "min, one-se, not 'cv-1se'"),
        ({"cv_folds": 1}, "at least 2"),
        ({"min_events": 0}, "at least 1"),
        ({"max_iterations": 0}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(make_survival, settings, words):
    with pytest.raises(UsageError, match=words):
        fit_cox(make_survival(n=30, d=2, m=1), settings)


def test_both_rules_for_ties_are_used(make_survival):
    rows = make_survival(n=200, d=3, m=1, days=True)
    efron, breslow = (fit_cox(rows, {**FIXED, "ties": ties, "tolerance": 1e-7}) for ties in ("efron", "breslow"))
    assert np.abs(efron.coefficients - breslow.coefficients).max() > 1e-3
    for head, ties in ((efron, "efron"), (breslow, "breslow")):
        exact = exact_cox(*outcome_of(rows, 0), penalty=0.1, ties=ties)
        np.testing.assert_allclose(head.coefficients[0], exact.standardised, atol=1e-5)
