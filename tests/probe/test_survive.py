"""Survival cells from fit to score: folds that were not followed to a horizon, and outcomes without a model."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from hypnos_bench.errors import FitError
from hypnos_bench.heads.rows import ArrayRows
from hypnos_bench.probe import survive
from hypnos_bench.probe.data import ProbeData, Targets

METRICS = ("c-index", "calibration-3y")
SETTINGS = {
    "cox": {"penalties": [0.1]},
    "cox-mlp": {"hidden": [4], "min_steps": 5, "max_passes": 5, "fixed_steps": 5, "seed": 0},
}


def simulate(n=240, m=2, longest=6.0, short=None):
    """Rows in two folds, odd and even; those of fold 1 are followed to 6 years, of fold 0 to `short`, if given."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3)).astype(np.float32)
    onset = rng.exponential(6 * np.exp(-x[:, [0]]), (n, m))
    end = np.where(np.arange(n) % 2 == 0, short or longest, longest)[:, None] * rng.uniform(0.5, 1, (n, 1))
    names = [f"p{i:03d}" for i in range(n)]
    targets = Targets(
        time=np.minimum(onset, end), event=onset <= end, at_risk=np.ones((n, m), dtype=bool),
        outcomes=tuple(f"outcome-{k}" for k in range(m)),
    )  # fmt: skip
    return ProbeData(
        dict(zip(names, names)), [f"r{i}" for i in range(n)], names, np.arange(n + 1), targets, ArrayRows(x)
    )


def job(head):
    task = SimpleNamespace(horizons=(3.0,), metrics=METRICS)
    return SimpleNamespace(head=SimpleNamespace(id=head), settings=SETTINGS[head], task=task, bootstrap=20)


def run(head, data):
    """Both folds, fitted and scored."""
    n = len(data.persons)
    heads, tested, pieces = [], [], []
    for k in range(2):
        train, test = np.flatnonzero(np.arange(n) % 2 != k), np.flatnonzero(np.arange(n) % 2 == k)
        fitted = survive.fit(job(head), data, data.features(train), train, train.astype(np.int64))
        heads.append(fitted)
        tested.append(test)
        pieces.append(survive.predict(job(head), fitted, data.features(test)))
    return heads, survive.score(job(head), data, tested, pieces)


@pytest.mark.parametrize("head", SETTINGS)
def test_training_rows_that_were_not_followed_to_the_horizon(head):
    _, usual = run(head, simulate())
    assert usual.scores["calibration-3y"]["value"] > 0
    _, found = run(head, simulate(short=2.0))  # whoever is in fold 1 is scored by people followed for 2 years
    assert found.scores["c-index"]["value"] > 0.6
    for outcome in found.outcomes:
        reason = outcome["scores"]["calibration-3y"]["reason"]
        assert reason == "predicted survival ends before 3 years in some fold"
        assert outcome["calibration"][0]["observed"] > 0
    json.dumps([found.scores, found.outcomes], allow_nan=False)


@pytest.mark.parametrize("head", SETTINGS)
def test_an_outcome_without_a_model_in_one_fold(head):
    data = simulate()
    data.targets.event[1::2, 0] = False  # what fold 0 would learn from
    heads, found = run(head, data)
    first, second = found.outcomes
    assert (first["not_fitted"], first["n"], second["not_fitted"], second["n"]) == (120, 120, 0, 240)
    assert heads[0].selected["statuses"] == {"fitted": 1, "no-events": 1}
    assert second["scores"]["calibration-3y"]["value"] > 0
    for fitted in heads:  # the cell's proof is of models, not of their absence
        assert fitted.certificate.converged
        assert asdict(fitted.certificate)["tolerance"] >= 0


@pytest.mark.parametrize("head", SETTINGS)
def test_where_no_outcome_has_a_model_the_fit_fails_with_the_reason(head):
    data = simulate(m=1)
    data.targets.event[1::2] = False
    with pytest.raises(FitError, match=r"outcome 'outcome-0' \(no-events: none of 120 rows at risk has the event\)"):
        run(head, data)
