"""Cumulative/dynamic AUROC against torchsurv, a double loop, and the plain AUROC."""

import numpy as np
import pytest

from hypnos_bench.metrics.survival import dynamic_auc
from hypnos_bench.metrics.survival.dynamic_auc import DynamicAUC
from hypnos_bench.stats.bootstrap import person_weights

HORIZONS = [1.0, 3.0, 6.0]


def censoring_before(time, event, t):
    """G(t-) from its definition."""
    g = 1.0
    for c in np.unique(time[~event]):
        if c < t:
            g *= 1 - ((time == c) & ~event).sum() / ((time > c) | ((time == c) & ~event)).sum()
    return g


def by_double_loop(time, event, risk, stratum, horizon):
    top = bottom = 0.0
    for i in range(len(time)):
        if not event[i] or time[i] > horizon:
            continue
        weight = 1 / censoring_before(time, event, time[i])
        for j in range(len(time)):
            free = time[j] > horizon or (time[j] == horizon and not event[j])
            if free and stratum[i] == stratum[j]:
                bottom += weight
                top += weight * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    return top / bottom


@pytest.mark.slow  # torchsurv takes seconds to import
def test_torchsurv_agrees(simulate):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchsurv.metrics.auc", reason="torchsurv, the oracle, is not installed")
    from torchsurv.stats.ipcw import get_ipcw

    data = simulate(600)
    risk = np.round(data.risk, 1)
    time, event, at = torch.tensor(data.time), torch.tensor(data.event), torch.tensor(HORIZONS, dtype=torch.float64)
    theirs = metrics.Auc()(
        torch.tensor(risk),
        event,
        time,
        new_time=at,
        weight=get_ipcw(event, time),
        weight_new_time=get_ipcw(event, time, at),
    )
    # Its Kaplan-Meier curve is float32.
    np.testing.assert_allclose(DynamicAUC(data.time, data.event, risk).values(HORIZONS), theirs.numpy(), atol=3e-7)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_double_loop_agrees(simulate, seed):
    data = simulate(90, seed=seed, ties=True)
    stratum = data.rng.integers(0, 2, 90)
    ours = DynamicAUC(data.time, data.event, data.risk, stratum).values(HORIZONS)
    theirs = [by_double_loop(data.time, data.event, data.risk, stratum, h) for h in HORIZONS]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_without_censoring_it_is_the_plain_auroc(simulate):
    from sklearn.metrics import roc_auc_score

    data = simulate(300, ties=True)
    everyone = np.ones(300, dtype=bool)
    ours = DynamicAUC(data.time, everyone, data.risk).values(HORIZONS)
    np.testing.assert_allclose(ours, [roc_auc_score(data.time <= h, data.risk) for h in HORIZONS], rtol=1e-12)


def test_censoring_that_depends_on_nothing_leaves_the_value(simulate):
    data = simulate(4000, years=1e9)
    truth = DynamicAUC(data.time, data.event, data.risk).values([5.0])[0]
    end = data.rng.exponential(6.0, 4000)
    censored = DynamicAUC(np.minimum(data.time, end), data.time <= end, data.risk)
    assert censored.values([5.0])[0] == pytest.approx(truth, abs=0.015)
    assert censored.counts(5.0).censored > 1000


def test_weights_are_repeated_rows_and_censoring_is_estimated_anew(simulate, monkeypatch):
    data = simulate(150, ties=True)
    person, fold = data.rng.integers(0, 50, 150), data.rng.integers(0, 2, 150)
    weights = person_weights(50, 12, 0)
    scored = DynamicAUC(data.time, data.event, data.risk, fold, person)
    values = scored.at_horizons(weights, HORIZONS)
    for own, column in zip(weights, values.T):
        again = (np.repeat(a, own[person]) for a in (data.time, data.event, data.risk, fold))
        np.testing.assert_allclose(column, DynamicAUC(*again).values(HORIZONS), rtol=1e-12)
    np.testing.assert_array_equal(scored.replicates(weights, 3.0), values[1])
    monkeypatch.setattr(dynamic_auc, "_AT_ONCE", 400)
    np.testing.assert_allclose(scored.at_horizons(weights, HORIZONS), values, rtol=1e-13)


def test_reversed_scores_mirror_it(simulate):
    data = simulate(200, ties=True)
    there, back = (DynamicAUC(data.time, data.event, sign * data.risk).values(HORIZONS) for sign in (1, -1))
    np.testing.assert_allclose(there + back, 1, rtol=1e-12)
    assert (np.abs(there - 0.5) > 0.05).all()


def test_folds_are_never_compared(simulate):
    data = simulate(200)
    fold = data.rng.integers(0, 4, 200)
    plain = DynamicAUC(data.time, data.event, data.risk, fold).values(HORIZONS)
    np.testing.assert_allclose(DynamicAUC(data.time, data.event, data.risk + 50 * fold, fold).values(HORIZONS), plain)


def test_follow_up_that_was_cut_at_the_horizon_can_be_scored_there(simulate):
    data = simulate(300)
    cut = DynamicAUC(np.minimum(data.time, 4.0), data.event & (data.time <= 4.0), data.risk)
    whole = DynamicAUC(data.time, data.event, data.risk)
    assert cut.counts(4.0) == whole.counts(4.0)
    np.testing.assert_allclose(cut.values([4.0]), whole.values([4.0]), rtol=1e-12)


def test_counts_add_up():
    scored = DynamicAUC([1, 2, 3, 3, 5, 6], [1, 0, 1, 0, 1, 0], np.arange(6.0))
    assert scored.counts(3.0) == (2, 3, 1)
    assert scored.counts(7.0) == (3, 0, 3)


def test_without_cases_or_controls_there_is_none():
    scored = DynamicAUC([1, 2, 3], [1, 0, 0], [3.0, 2.0, 1.0])
    values = scored.at_horizons([[1, 1, 1], [0, 2, 1], [3, 0, 0]], [0.5, 1.0, 9.0])
    np.testing.assert_array_equal(values, [[np.nan] * 3, [1.0, np.nan, np.nan], [np.nan] * 3])
    assert np.isnan(DynamicAUC([], [], []).values([1.0])).all()
