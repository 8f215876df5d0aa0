"""Outcomes that cannot be fitted are told; rows that cannot be are refused by name."""

import dataclasses
import json
import math

import numpy as np
import pytest

from hypnos_bench.errors import FitError
from hypnos_bench.heads.cox import fit_cox
from hypnos_bench.heads.cox.degenerate import STATUSES

FIXED = {"penalties": [0.1]}
NONE = {"penalties": [0.0]}


def change(rows, **parts):
    return dataclasses.replace(rows, **parts)


def one(rows, settings):
    head = fit_cox(rows, settings)
    assert head.selected["outcomes"][0]["status"] in STATUSES
    return head, head.selected["outcomes"][0]


def refused(rows, settings, status):
    """An outcome that cannot be fitted: alone it fails the fit by name; beside one that can it is told, and NaN."""
    with pytest.raises(FitError, match=f"^outcome 'outcome-0' \\({status}: .+\\) cannot be fitted"):
        fit_cox(rows, settings)
    n = len(rows.x)
    rng = np.random.default_rng(9)
    good = {"time": rng.exponential(size=n) + 0.1, "event": rng.random(n) < 0.7, "at_risk": np.ones(n, dtype=bool)}
    both = {name: np.column_stack([getattr(rows, name), column]) for name, column in good.items()}
    head = fit_cox(change(rows, **both, names=(*rows.names, "good")), settings)
    np.testing.assert_array_equal(head.fitted, [False, True])
    assert np.isnan(head.risk(rows.x)[:, 0]).all()
    assert np.isnan(head.survival(rows.x, [1.0])[:, 0]).all()
    assert np.isnan(head.coefficients[0]).all()
    assert np.isfinite(head.coefficients[1]).all()
    assert head.baselines[0] is None
    outcome = head.selected["outcomes"][0]
    assert (outcome["status"], outcome["fitted"]) == (status, False)
    assert outcome["message"]
    assert status in head.certificates[0].criterion
    assert not head.certificates[0].converged
    # What the cell stores is of the outcomes that have a model, and strict JSON.
    assert head.certificate is head.certificates[1]
    assert head.certificate.converged
    json.dumps([dataclasses.asdict(head.certificate), head.selected], allow_nan=False)
    return outcome


@pytest.mark.parametrize("settings", [FIXED, NONE, {}], ids=["fixed", "none", "path"])
def test_no_events(make_survival, settings):
    rows = make_survival(n=50, d=3, m=1)
    outcome = refused(change(rows, event=np.zeros_like(rows.event)), settings, "no-events")
    assert (outcome["n"], outcome["events"], outcome["penalty"]) == (50, 0, None)


def test_events_among_the_excluded_do_not_count(make_survival):
    rows = make_survival(n=50, d=3, m=1)
    outcome = refused(change(rows, at_risk=~rows.event), FIXED, "no-events")
    assert outcome["excluded"] == rows.event.sum()


@pytest.mark.parametrize("settings", [FIXED, NONE, {}], ids=["fixed", "none", "path"])
def test_nobody_at_risk(make_survival, settings):
    rows = make_survival(n=50, d=3, m=1)
    nobody = change(rows, at_risk=np.zeros_like(rows.at_risk), time=np.full_like(rows.time, np.nan))
    outcome = refused(nobody, settings, "nobody-at-risk")
    assert (outcome["n"], outcome["excluded"]) == (0, 50)


def test_one_event(make_survival):
    rows = make_survival(n=50, d=3, m=1)
    event = np.zeros_like(rows.event)
    event[np.argsort(rows.time[:, 0])[10]] = True
    single = change(rows, event=event)
    head, outcome = one(single, {})
    assert (outcome["status"], outcome["rule"], outcome["fitted"]) == ("few-events", "prior", True)
    assert "1 event(s), fewer than 10" in outcome["message"]
    assert head.risk(rows.x).std() > 0
    assert head.certificate.converged
    refused(single, NONE, "too-few-events")
    refused(single, {"penalties": [0.0], "min_events": 1}, "separated")  # three features always single one row out


@pytest.mark.parametrize(("n_events", "status"), [(9, "few-events"), (10, "fitted")])
def test_few_events_are_marked(make_survival, n_events, status):
    rows = make_survival(n=80, d=3, m=1)
    event = np.zeros_like(rows.event)
    event[np.argsort(rows.time[:, 0])[:n_events]] = True
    _, outcome = one(change(rows, event=event), FIXED)
    assert (outcome["status"], outcome["rule"], outcome["events"]) == (status, "fixed", n_events)


@pytest.mark.parametrize("settings", [FIXED, NONE, {}], ids=["fixed", "none", "path"])
def test_an_event_after_everybody_else_left_tells_nothing(make_survival, settings):
    rows = make_survival(n=50, d=3, m=1)
    event = np.zeros_like(rows.event)
    event[rows.time[:, 0].argmax()] = True
    refused(change(rows, event=event), {**settings, "min_events": 1}, "no-comparison")


def test_all_times_tied(make_survival):
    rows = make_survival(n=120, d=3, m=1, signal=2.0)
    tied = change(rows, time=np.full_like(rows.time, 2.5))
    for ties in ("efron", "breslow"):
        head, outcome = one(tied, {**FIXED, "ties": ties})
        assert (outcome["status"], outcome["message"]) == ("fitted", "all times are tied")
        risk = head.risk(rows.x)[:, 0]
        assert risk[rows.event[:, 0]].mean() > risk[~rows.event[:, 0]].mean() + 0.2
    refused(change(tied, event=np.ones_like(rows.event)), FIXED, "no-comparison")


@pytest.mark.parametrize("settings", [FIXED, NONE, {}], ids=["fixed", "none", "path"])
def test_constant_features_get_no_weight_and_are_listed(make_survival, settings):
    rows = make_survival(n=200, d=3, m=2)
    x = np.column_stack([rows.x, np.full(200, 7.7), np.zeros(200)]).astype(np.float32)
    head, plain = fit_cox(change(rows, x=x), settings), fit_cox(rows, settings)
    assert head.selected["constant_features"] == [3, 4]
    np.testing.assert_array_equal(head.coefficients[:, 3:], 0.0)
    np.testing.assert_allclose(head.coefficients[:, :3], plain.coefficients, atol=2e-4)
    moved = x + np.array([0, 0, 0, 5, 5], dtype=np.float32)
    np.testing.assert_array_equal(head.risk(moved), head.risk(x))


def test_nothing_varies(make_survival):
    rows = make_survival(n=50, d=2, m=1)
    with pytest.raises(FitError, match="none of 2 features varies"):
        fit_cox(change(rows, x=np.ones_like(rows.x)), FIXED)


def test_duplicate_features(make_survival):
    rows = make_survival(n=200, d=3, m=1)
    double = change(rows, x=np.column_stack([rows.x, rows.x[:, 0]]))
    head, _ = one(double, FIXED)
    assert head.coefficients[0, 0] == pytest.approx(head.coefficients[0, 3], abs=1e-5)
    with pytest.raises(FitError, match=r"'outcome-0' \(collinear: .*only 3 independent"):
        fit_cox(double, NONE)


def test_more_features_than_rows(make_survival):
    rows = make_survival(n=40, d=100, m=1)
    head, outcome = one(rows, FIXED)
    assert outcome["fitted"]
    assert head.certificate.converged
    with pytest.raises(FitError, match=r"'outcome-0' \(collinear: "):
        fit_cox(rows, NONE)


def test_perfect_separation(make_survival):
    rows = make_survival(n=100, d=3, m=1)
    x = np.column_stack([rows.x, -np.argsort(np.argsort(rows.time[:, 0]))]).astype(np.float32)
    perfect = change(rows, x=x)
    refused(perfect, NONE, "separated")
    head, outcome = one(perfect, {"penalties": [1e-3]})
    assert outcome["status"] == "fitted"
    assert head.certificate.converged
    assert np.isfinite(head.survival(x, [rows.time.min(), np.median(rows.time)])).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_times_that_cannot_be(make_survival, bad):
    rows = make_survival(n=50, d=2, m=3, excluded=0.3)
    time = rows.time.copy()
    time[~rows.at_risk] = bad  # not read there
    assert fit_cox(change(rows, time=time), FIXED).selected["statuses"] == {"fitted": 3}
    at = int(np.flatnonzero(rows.at_risk[:, 1])[0])
    time[at, 1] = bad
    with pytest.raises(FitError, match=r"'outcome-1': 1 row\(s\) at risk"):
        fit_cox(change(rows, time=time), FIXED)
    time[rows.at_risk[:, 2], 2] = bad
    with pytest.raises(FitError, match=r"'outcome-1' \(and 1 more"):
        fit_cox(change(rows, time=time), FIXED)


def test_features_that_are_not_finite(make_survival):
    rows = make_survival(n=50, d=2, m=1)
    x = rows.x.copy()
    x[[3, 7], 1] = np.nan, np.inf
    with pytest.raises(FitError, match="2 of 50 training rows"):
        fit_cox(change(rows, x=x), FIXED)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"x": np.zeros((0, 2), dtype=np.float32)}, "needs rows"),
        ({"x": np.zeros((50, 0), dtype=np.float32)}, "needs rows"),
        ({"names": ()}, "0 outcome"),
        ({"names": ("a", "a")}, "a occur"),
        ({"time": np.ones((50, 3))}, r"\(50, 3\)"),
        ({"person": np.zeros(49, dtype=np.int64)}, r"\(49,\)"),
    ],
)
def test_rows_that_do_not_fit_together(make_survival, parts, words):
    with pytest.raises(FitError, match=words):
        fit_cox(change(make_survival(n=50, d=2, m=2), **parts), FIXED)


def test_one_bad_outcome_does_not_touch_the_others(make_survival):
    rows = make_survival(n=200, d=4, m=4)
    event, at_risk = rows.event.copy(), rows.at_risk.copy()
    event[:, 0] = False
    at_risk[:, 2] = False
    head = fit_cox(change(rows, event=event, at_risk=at_risk), {})
    assert head.selected["statuses"] == {"fitted": 2, "no-events": 1, "nobody-at-risk": 1}
    np.testing.assert_array_equal(head.fitted, [False, True, False, True])
    np.testing.assert_array_equal(np.isnan(head.risk(rows.x)).all(axis=0), ~head.fitted)
    assert head.certificate.converged
    assert not head.certificates[0].converged
    whole = fit_cox(rows, {})
    np.testing.assert_allclose(head.coefficients[1], whole.coefficients[1], atol=2e-4)


def test_where_nothing_can_be_fitted_every_reason_is_told(make_survival):
    rows = make_survival(n=60, d=3, m=3)
    event, at_risk = rows.event.copy(), rows.at_risk.copy()
    event[:, :2] = False
    at_risk[:, 2] = False
    lost = change(rows, event=event, at_risk=at_risk)
    with pytest.raises(FitError) as told:
        fit_cox(lost, {})
    assert str(told.value) == (
        "none of 3 outcomes can be fitted: 2 no-events, 1 nobody-at-risk; the first is 'outcome-0' (no-events: none of "
        "60 rows at risk has the event); use more shots or other outcomes"
    )


def test_what_does_not_converge_is_no_model(make_survival):
    rows = make_survival(n=200, d=30, m=1, signal=3.0)
    with pytest.raises(FitError, match=r"'outcome-0' \(unconverged: .*in 1 Newton steps"):
        fit_cox(rows, {"penalties": [1e-3], "max_iterations": 1})
    head, outcome = one(rows, {"penalties": [1e-3], "max_iterations": 12})
    assert (outcome["status"], outcome["solver"]) == ("fitted", "newton")  # what the batch did not finish
    reference = fit_cox(rows, {"penalties": [1e-3]})
    assert reference.selected["outcomes"][0]["solver"] == "batched"
    np.testing.assert_allclose(head.coefficients, reference.coefficients, atol=1e-4)


def test_statuses_go_into_json(make_survival):
    rows = make_survival(n=100, d=3, m=2)
    event = rows.event.copy()
    event[:, 0] = False
    selected = fit_cox(change(rows, event=event), {}).selected
    again = json.loads(json.dumps(selected, allow_nan=False))
    assert again["outcomes"][1]["fitted"] is True
    assert math.isfinite(again["outcomes"][1]["null_loss"] or 0.0)
