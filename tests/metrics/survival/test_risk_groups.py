"""Curves and hazard ratios by group of risk."""

import numpy as np
import pytest

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics.survival.kaplan_meier import ProductLimit
from hypnos_bench.metrics.survival.risk_groups import risk_groups


def test_thirds_of_a_true_risk_separate(simulate):
    data = simulate(1500)
    found = risk_groups(data.time, data.event, data.true, times=(0.0, 5.0))
    assert [c.name for c in found.curves] == ["low", "middle", "high"]
    assert [c.n for c in found.curves] == [500, 500, 500]
    ends = [c.survival[-1] for c in found.curves]
    assert ends == sorted(ends, reverse=True)
    assert found.log_rank_p < 1e-20
    assert found.per_sd.low < np.exp(data.true.std()) < found.per_sd.high
    assert [r.of for r in found.against_lowest] == ["middle vs low", "high vs low"]
    assert 1 < found.against_lowest[0].value < found.against_lowest[1].value
    for curve, own in zip(found.curves, np.argsort(data.true).reshape(3, 500)):
        assert curve.at_risk == (500, int((data.time[own] >= 5).sum()))
        assert curve.events == data.event[own].sum()
        expected = ProductLimit(data.time[own], data.event[own]).at(curve.time)
        np.testing.assert_allclose(curve.survival, expected, atol=1e-12)
        assert (curve.time[0], curve.survival[0], curve.last) == (0.0, 1.0, data.time[own].max())
        assert all(low <= s <= high for low, s, high in zip(curve.low, curve.survival, curve.high))


def test_two_groups_give_the_two_sample_log_rank(simulate):
    from lifelines.statistics import logrank_test

    data = simulate(200)
    high = data.risk > np.median(data.risk)
    theirs = logrank_test(data.time[high], data.time[~high], data.event[high], data.event[~high])
    assert risk_groups(data.time, data.event, data.risk, n_groups=2).log_rank_p == pytest.approx(theirs.p_value)


def test_groups_are_formed_within_folds(simulate):
    data = simulate(900)
    fold = np.arange(900) % 3
    plain = risk_groups(data.time, data.event, data.risk, fold)
    shifted = risk_groups(data.time, data.event, data.risk + 10.0 * fold, fold)
    assert [(c.n, c.events) for c in shifted.curves] == [(c.n, c.events) for c in plain.curves]
    assert shifted.per_sd.value == pytest.approx(plain.per_sd.value, rel=1e-6)
    apart = risk_groups(data.time, data.event, data.risk + 10.0 * fold)
    assert apart.per_sd.value < 1.5 < plain.per_sd.value


def test_repeated_recordings_do_not_narrow_the_interval(simulate):
    data = simulate(300)
    once = risk_groups(data.time, data.event, data.risk).per_sd
    twice = [np.tile(a, 2) for a in (data.time, data.event, data.risk)]
    naive, robust = (risk_groups(*twice, None, group).per_sd for group in (None, np.tile(np.arange(300), 2)))
    width = [np.log(r.high / r.low) for r in (once, naive, robust)]
    assert width[1] < 0.8 * width[0]
    assert width[2] == pytest.approx(width[0], rel=0.15)


def test_no_events():
    found = risk_groups(np.arange(1.0, 31), np.zeros(30), np.arange(30.0))
    assert (found.log_rank_p, found.log_rank_reason) == (None, "no events")
    assert (found.per_sd.value, found.per_sd.reason) == (None, "no events")
    assert {r.reason for r in found.against_lowest} == {"no events in group low"}
    assert found.curves[0].survival == found.curves[0].low == (1.0,)


def test_a_group_without_events_has_no_ratio_and_leaves_the_others_theirs(simulate):
    data = simulate(300)
    order = np.argsort(data.risk)
    event = data.event.copy()
    event[order[200:]] = False
    found = risk_groups(data.time, event, data.risk).against_lowest
    assert (found[1].value, found[1].reason) == (None, "no events in group high")
    alone = risk_groups(data.time[order[:200]], event[order[:200]], data.risk[order[:200]], n_groups=2)
    assert found[0].value == pytest.approx(alone.against_lowest[0].value, rel=1e-9)


def test_one_risk_for_all_is_one_group(simulate):
    data = simulate(100)
    found = risk_groups(data.time, data.event, np.full(100, 0.3))
    assert [c.n for c in found.curves] == [100]
    assert (found.log_rank_p, found.log_rank_reason) == (None, "all risks are the same")
    assert found.per_sd.reason == "all risks are the same"
    assert found.against_lowest == ()


def test_perfect_separation_is_said_and_not_estimated():
    time = np.arange(1.0, 31)
    found = risk_groups(time, np.ones(30), -time)
    assert found.per_sd.value is None
    assert found.per_sd.reason.startswith("Cox regression: ")
    assert all(r.value is None and "converge" in r.reason for r in found.against_lowest)


def test_a_group_in_which_everybody_has_the_event_has_a_ratio():
    rng = np.random.default_rng(0)
    time, event = rng.exponential(10, 90), (np.arange(90) % 4 == 0) | (np.arange(90) >= 60)
    ratio = risk_groups(time, event, np.arange(90.0)).against_lowest[1]
    assert ratio.reason is None
    assert 1 < ratio.low < ratio.value < ratio.high < 100


def test_groups_must_have_names():
    with pytest.raises(UsageError, match="2, 3, 4 groups by risk, not 5"):
        risk_groups([1.0], [1], [1.0], n_groups=5)
