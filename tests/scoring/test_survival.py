"""Scores of survival cells: per outcome, their mean, intervals, and what is not defined."""

import json

import numpy as np
import pytest

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics.registry import find_metric
from hypnos_bench.metrics.survival.concordance import Concordance
from hypnos_bench.metrics.survival.dynamic_auc import DynamicAUC
from hypnos_bench.scoring.entries import draws
from hypnos_bench.scoring.survival import (
    SurvivalPredictions,
    outcome_risk_groups,
    score_survival,
    survival_point,
    survival_replicates,
)
from hypnos_bench.store.side import SurvivalSide

METRICS = ("c-index", "c-index-3y", "auroc-3y", "calibration-3y")


def predictions(n=300, outcomes=2, seed=0, persons=None, noise=0.5, horizons=(3.0,)):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, outcomes))
    rates = 0.15 / 2 ** np.arange(outcomes)
    onset = rng.exponential(1 / (rates * np.exp(true)))
    end = rng.uniform(0, 12, (n, 1))
    survival = np.exp(-np.exp(true)[..., None] * rates[:, None] * np.array(horizons))
    return SurvivalPredictions(
        recordings=[f"r{i:04d}" for i in range(n)],
        persons=[f"p{i:04d}" for i in range(n)] if persons is None else persons,
        outcomes=tuple(f"outcome-{k}" for k in range(outcomes)),
        fold=rng.integers(0, 3, n).astype(np.int32),
        risk=true + noise * rng.normal(size=(n, outcomes)),
        time=np.minimum(onset, end),
        event=onset <= end,
        at_risk=rng.random((n, outcomes)) > 0.1,
        survival=survival.astype(np.float32),
        horizons=horizons,
    )


def changed(given, **parts):
    names = SurvivalPredictions.__dataclass_fields__
    return SurvivalPredictions(**{name: parts.get(name, getattr(given, name)) for name in names})


def test_scores_are_those_of_the_metrics_on_the_rows_at_risk():
    given = predictions()
    scores, outcomes = score_survival(METRICS, given, 200)
    for k, outcome in enumerate(outcomes):
        own = given.at_risk[:, k]
        rows = (given.time[own, k], given.event[own, k], given.risk[own, k], given.fold[own])
        assert outcome["scores"]["c-index"]["value"] == pytest.approx(Concordance(*rows).value(), abs=1e-12)
        assert outcome["scores"]["c-index-3y"]["value"] == pytest.approx(Concordance(*rows).value(3.0), abs=1e-12)
        assert outcome["scores"]["auroc-3y"]["value"] == pytest.approx(DynamicAUC(*rows).values([3.0])[0], abs=1e-9)
        assert outcome["scores"]["calibration-3y"]["value"] == pytest.approx(1, abs=0.3)
        assert (outcome["name"], outcome["status"], outcome["message"]) == (f"outcome-{k}", "ok", "")
        assert (outcome["n"], outcome["excluded"], outcome["not_fitted"]) == (own.sum(), 300 - own.sum(), 0)
        assert outcome["events"] == given.event[own, k].sum()
        counts = outcome["horizons"]
        assert [c["years"] for c in counts] == [3.0]
        assert counts[0]["cases"] + counts[0]["controls"] + counts[0]["censored"] == outcome["n"]
        for metric, score in outcome["scores"].items():
            assert score["low"] < score["value"] < score["high"], metric
            assert score["n_boot"] == 200
            assert score["higher_is_better"] == find_metric(metric, kind="survival").higher_is_better
    for metric, score in scores.items():
        values = [outcome["scores"][metric]["value"] for outcome in outcomes]
        assert score["value"] == pytest.approx(np.mean(values), rel=1e-12)
        assert (score["n_outcomes"], score["n_outcomes_undefined"]) == (2, 0)
        widths = [o["scores"][metric]["high"] - o["scores"][metric]["low"] for o in outcomes]
        assert 0 < score["high"] - score["low"] < max(widths)


def test_everything_can_be_written_as_json():
    given = predictions(80, 3)
    given.event[:, 2] = False
    written = json.dumps(score_survival(METRICS, given, 20), allow_nan=False)
    assert "outcome-2" in written


def test_the_mean_is_over_defined_outcomes():
    given = predictions(200, 3)
    given.event[:, 2] = False
    scores, outcomes = score_survival(METRICS, given, 100)
    two, _ = score_survival(METRICS, predictions(200, 3), 100)
    assert outcomes[2]["status"] == "undefined"
    assert outcomes[2]["scores"]["c-index"] == {
        "value": None, "low": None, "high": None, "n_boot": 0, "higher_is_better": True,
        "reason": "0 test events, fewer than 5",
    }  # fmt: skip
    assert "auroc-3y: 0 test events by 3 years, fewer than 5" in outcomes[2]["message"]
    assert outcomes[2]["calibration_slope"]["reason"] == "0 test events, fewer than 5"
    assert (scores["c-index"]["n_outcomes"], scores["c-index"]["n_outcomes_undefined"]) == (2, 1)
    mean = np.mean([o["scores"]["c-index"]["value"] for o in outcomes[:2]])
    assert scores["c-index"]["value"] == pytest.approx(mean)
    assert two["c-index"]["n_outcomes"] == 3
    replicated = survival_replicates(METRICS, given, draws(200, 100))["c-index"]
    assert np.isnan(replicated[2]).all()
    low, high = np.quantile(replicated[:2].mean(axis=0), [0.025, 0.975])
    assert (scores["c-index"]["low"], scores["c-index"]["high"]) == pytest.approx((low, high), rel=1e-12)


def test_replicates_of_encoders_are_paired():
    good, bad = predictions(noise=0.3), predictions(noise=0.6)
    weights = draws(300, 300)
    ours, theirs = (survival_replicates(("c-index",), p, weights, [0])["c-index"][0] for p in (good, bad))
    assert (ours - theirs).std() < 0.75 * np.hypot(ours.std(), theirs.std())
    interval = score_survival(("c-index",), good, 300)[1][0]["scores"]["c-index"]
    assert [interval["low"], interval["high"]] == pytest.approx(np.quantile(ours, [0.025, 0.975]), rel=1e-12)
    point = survival_point(("c-index",), good)["c-index"]
    assert point[0] == interval["value"]
    with pytest.raises(ValueError, match="do not fit 300 persons"):
        survival_replicates(("c-index",), good, weights[:, 1:])


def test_recordings_of_a_person_are_drawn_together():
    persons = [f"p{i // 10:02d}" for i in range(300)]
    alone, together = (score_survival(("c-index",), predictions(persons=p), 300)[1][0] for p in (None, persons))
    assert alone["scores"]["c-index"]["value"] == together["scores"]["c-index"]["value"]
    assert (alone["persons"], together["persons"]) == (alone["n"], 30)
    assert alone["scores"]["c-index"]["low"] != together["scores"]["c-index"]["low"]


def test_the_order_of_rows_does_not_matter():
    given = predictions(150, 1)
    order = np.random.default_rng(1).permutation(150)
    moved = changed(
        given,
        recordings=[given.recordings[i] for i in order],
        persons=[given.persons[i] for i in order],
        fold=given.fold[order], risk=given.risk[order], time=given.time[order], event=given.event[order],
        at_risk=given.at_risk[order], survival=given.survival[order],
    )  # fmt: skip
    there, here = (
        score_survival(("c-index", "auroc-3y"), given, 50)[0],
        score_survival(("c-index", "auroc-3y"), moved, 50)[0],
    )
    for metric, score in there.items():
        for key in ("value", "low", "high"):
            assert score[key] == pytest.approx(here[metric][key], rel=1e-12)


def test_a_side_file_repeats_the_numbers():
    given = predictions(120, 2)
    told = given.at_risk
    side = SurvivalSide(
        given.recordings, given.persons, list(given.outcomes), given.fold, given.risk.astype(np.float32),
        np.where(told, given.time, np.nan).astype(np.float32), (given.event & told).astype(np.int8), told.astype(np.int8),
    )  # fmt: skip
    metrics = ("c-index", "c-index-3y", "auroc-3y")
    assert score_survival(metrics, SurvivalPredictions.of_side(side), 50)[0] == score_survival(metrics, given, 50)[0]
    _, outcomes = score_survival(("calibration-3y",), SurvivalPredictions.of_side(side), 50)
    assert outcomes[0]["scores"]["calibration-3y"]["reason"] == "no predicted survival at 3 years"


def test_an_event_at_the_very_horizon_is_a_case():
    given = predictions(60, 1, horizons=(0.1,))  # above 0.1 in float32
    given.time[:, 0], given.event[:, 0], given.at_risk[:, 0] = np.where(np.arange(60) < 20, 0.1, 2.0), True, True
    _, outcomes = score_survival(("auroc-0.1y",), given, 10)
    assert outcomes[0]["horizons"] == [{"years": 0.1, "cases": 20, "controls": 40, "censored": 0}]


def test_reasons():
    given = predictions(200, 1)
    _, outcomes = score_survival(("auroc-40y", "c-index-40y", "calibration-3y", "auroc-11.5y"), given, 10)
    reasons = {metric: score.get("reason") for metric, score in outcomes[0]["scores"].items()}
    assert reasons["auroc-40y"] == reasons["c-index-40y"] == "nobody is followed to 40 years without the event"
    assert reasons["calibration-3y"] is None
    assert "people known to be event-free at 11.5 years, fewer than 5" in reasons["auroc-11.5y"]
    assert outcomes[0]["status"] == "undefined"
    strict = score_survival(("c-index",), given, 10, min_events=1000)[1][0]["scores"]["c-index"]
    assert strict["reason"].endswith("test events, fewer than 1000")
    nobody = changed(given, at_risk=np.zeros((200, 1), dtype=bool))
    scores, outcomes = score_survival(METRICS, nobody, 10)
    assert outcomes[0]["scores"]["c-index"]["reason"] == scores["c-index"]["reason"] == "nobody is at risk"
    assert (outcomes[0]["n"], outcomes[0]["persons"], outcomes[0]["excluded"]) == (0, 0, 200)


def test_folds_without_a_fit_are_left_out_and_counted():
    given = predictions(200, 1)
    risk = given.risk.copy()
    risk[given.fold == 1] = np.nan
    _, outcomes = score_survival(METRICS, changed(given, risk=risk), 20)
    assert outcomes[0]["not_fitted"] == (given.at_risk[:, 0] & (given.fold == 1)).sum() > 0
    assert outcomes[0]["status"] == "ok"
    none = changed(given, risk=np.full_like(risk, np.nan))
    _, outcomes = score_survival(METRICS, none, 20)
    assert (outcomes[0]["status"], outcomes[0]["scores"]["c-index"]["reason"]) == (
        "not-fitted",
        "the outcome was not fitted",
    )
    wrong = risk.copy()
    wrong[0] = np.inf
    told = np.ones((200, 1), dtype=bool)
    with pytest.raises(ValueError, match="not finite"):
        score_survival(METRICS, changed(given, risk=wrong, at_risk=told), 20)


def test_a_fold_whose_predictions_end_before_the_horizon_leaves_calibration_undefined():
    given = predictions(300, 2)
    survival = given.survival.copy()
    survival[given.fold == 2, 0] = np.nan
    metrics = ("calibration-3y", "c-index", "auroc-3y")
    out = np.empty((2, 30), np.float32)
    scores, outcomes = score_survival(metrics, changed(given, survival=survival), 30, out=out)
    usual, whole = score_survival(metrics, given, 30)
    short, full = outcomes
    assert short["status"] == "undefined"
    reason = "predicted survival ends before 3 years in some fold"
    score = short["scores"]["calibration-3y"]
    assert (score["value"], score["low"], score["high"], score["n_boot"], score["reason"]) == (
        None,
        None,
        None,
        0,
        reason,
    )
    assert np.isnan(out[0]).all()
    assert short["message"] == f"calibration-3y: {reason}"
    at, before = short["calibration"][0], whole[0]["calibration"][0]
    assert (at["predicted"], at["ici"], at["ici_reason"], at["groups"]) == (None, None, reason, [])
    observed = ("years", "observed", "observed_low", "observed_high")  # needs no prediction
    assert {name: at[name] for name in observed} == {name: before[name] for name in observed}
    for metric in metrics[1:]:
        assert short["scores"][metric] == whole[0]["scores"][metric]
    assert full == whole[1]
    assert scores["c-index"] == usual["c-index"]
    assert scores["calibration-3y"]["value"] == full["scores"]["calibration-3y"]["value"]
    assert (scores["calibration-3y"]["n_outcomes"], scores["calibration-3y"]["n_outcomes_undefined"]) == (1, 1)
    json.dumps([scores, outcomes], allow_nan=False)
    point = survival_point(metrics, changed(given, survival=survival))
    assert np.isnan(point["calibration-3y"]).tolist() == [True, False]
    nobody = changed(given, survival=np.full_like(survival, np.nan))
    scores, _ = score_survival(metrics, nobody, 10)
    assert scores["calibration-3y"]["reason"] == reason


def test_a_fold_without_a_fit_does_not_count_as_one_whose_predictions_end():
    """Rows without a risk are left out of every score, so their missing survival is not needed."""
    given = predictions(400, 1)
    risk, survival = given.risk.copy(), given.survival.copy()
    lost = given.fold == 1
    risk[lost], survival[lost] = np.nan, np.nan
    scores, outcomes = score_survival(METRICS, changed(given, risk=risk, survival=survival), 20)
    assert outcomes[0]["status"] == "ok"
    assert outcomes[0]["not_fitted"] == (lost & given.at_risk[:, 0]).sum()
    kept = changed(given, at_risk=given.at_risk & ~lost[:, None])
    assert scores == score_survival(METRICS, kept, 20)[0]
    survival[given.fold == 2] = np.nan  # and this one was fitted on people who were not followed so long
    _, outcomes = score_survival(METRICS, changed(given, risk=risk, survival=survival), 20)
    assert outcomes[0]["scores"]["calibration-3y"]["reason"].startswith("predicted survival ends before 3 years")
    assert outcomes[0]["scores"]["auroc-3y"]["value"] == scores["auroc-3y"]["value"]


def test_one_person_has_no_interval():
    given = predictions(50, 1, persons=["p"] * 50)
    score = score_survival(("c-index",), given, 20)[0]["c-index"]
    assert score["value"] > 0.5
    assert (score["low"], score["high"], score["n_boot"]) == (None, None, 0)


def test_calibration_is_told_by_outcome():
    given = predictions(800, 1)
    _, outcomes = score_survival(("c-index",), given, 5)
    at = outcomes[0]["calibration"][0]
    assert at["years"] == 3.0
    assert at["observed_low"] < at["predicted"] < at["observed_high"]
    assert 0 < at["ici"] < 0.06
    assert sum(group["n"] for group in at["groups"]) == outcomes[0]["n"]
    slope = outcomes[0]["calibration_slope"]
    assert slope["low"] < slope["value"] < slope["high"] < 1  # the risk is noisier than the truth
    without = changed(given, survival=None, horizons=())
    assert "calibration" not in score_survival(("c-index",), without, 5)[1][0]


def test_many_outcomes_come_without_tables(monkeypatch):
    monkeypatch.setattr("hypnos_bench.scoring.survival.CALIBRATION_TABLES", 1)
    _, outcomes = score_survival(("c-index",), predictions(100, 2), 5)
    assert all("groups" not in at and "ici" in at for outcome in outcomes for at in outcome["calibration"])


def test_risk_groups_of_an_outcome():
    given = predictions(400, 2)
    groups = outcome_risk_groups(given, 1, n_groups=2, times=(0.0,))
    assert sum(curve.n for curve in groups.curves) == given.at_risk[:, 1].sum()
    assert groups.per_sd.low > 1


def test_shapes_and_metrics_are_checked():
    given = predictions(20, 1)
    with pytest.raises(ValueError, match=r"time \(19, 1\)"):
        changed(given, time=given.time[1:])
    with pytest.raises(ValueError, match="at 2 horizons"):
        changed(given, horizons=(1.0, 3.0))
    with pytest.raises(UsageError, match="unknown survival metric 'c-indx'"):
        score_survival(("c-indx",), given, 5)


def test_replicates_of_the_main_metric_can_be_kept():
    given, out = predictions(200, 3), np.empty((3, 50), np.float32)
    score_survival(("c-index", "auroc-3y"), given, 50, out=out)
    weights = draws(len(set(given.persons)), 50)
    np.testing.assert_array_equal(out, survival_replicates(("c-index",), given, weights)["c-index"].astype(np.float32))
