"""The course of simulated nights: sleep cycles, ages, breathing events, and the building blocks of signals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch
from scipy.stats import kstest, spearmanr

from hypnos_bench.cohorts.simulator.build import Settings, plans
from hypnos_bench.cohorts.simulator.hypnogram import N1, N2, N3, R, W
from hypnos_bench.cohorts.simulator.night import Plan, plan_night
from hypnos_bench.cohorts.simulator.person import draw_person, later_visit
from hypnos_bench.cohorts.simulator.processes import (
    CONTROL_HZ,
    add_bursts,
    band,
    boxes,
    coloured_noise,
    event_times,
    power_law,
    slow_fluctuation,
    stream,
    to_rate,
)


@pytest.fixture(scope="module")
def many() -> list[Plan]:
    return plans(Settings(n_persons=120, n_second_visits=0, seed=11))


def minutes(plan: Plan, stage: int, part: slice = slice(None)) -> float:
    return float((plan.hypnogram.truth[part] == stage).sum()) / 2


def rem_periods(plan: Plan) -> list[tuple[int, int]]:
    """(first, last) epoch of REM periods: REM no more than 15 min apart is one period."""
    rem = np.flatnonzero(plan.hypnogram.truth == R)
    cuts = np.flatnonzero(np.diff(rem) > 30)
    return list(zip(rem[np.r_[0, cuts + 1]], rem[np.r_[cuts, len(rem) - 1]], strict=True))


def test_a_night_has_its_cycles_and_ends_awake(many: list[Plan]) -> None:
    for plan in many:
        truth = plan.hypnogram.truth
        assert len(rem_periods(plan)) == 2
        assert truth[0] == W
        assert truth[-1] == W
        onset = np.flatnonzero(truth != W)[0]
        assert 3 <= onset / 2 <= 25
        assert truth[onset] == N1  # sleep begins lightly, never in REM
        assert len(truth) * 30 <= plan.hypnogram.duration_s < len(truth) * 30 + 30
        assert 1.8 < plan.hypnogram.duration_s / 3600 < 4.5
        assert not np.any((truth[:-1] == W) & (truth[1:] == N3))
        assert not np.any((truth[:-1] == N3) & (truth[1:] == R))


def test_cycles_have_the_length_of_human_cycles(many: list[Plan]) -> None:
    lengths = []
    for plan in many:
        first, second = rem_periods(plan)
        lengths.append((second[1] - first[1]) / 2)
    assert 65 < np.mean(lengths) < 100
    assert np.percentile(lengths, 5) > 45
    assert np.percentile(lengths, 95) < 130


def test_deep_sleep_comes_early_and_rem_late(many: list[Plan]) -> None:
    thirds = [(slice(0, len(p.hypnogram.truth) // 2), slice(len(p.hypnogram.truth) // 2, None)) for p in many]
    early_deep, late_deep, early_rem, late_rem = (
        np.mean([minutes(p, stage, t[half]) for p, t in zip(many, thirds, strict=True)])
        for stage, half in ((N3, 0), (N3, 1), (R, 0), (R, 1))
    )
    assert early_deep > 1.5 * late_deep
    assert late_rem > 1.5 * early_rem


def test_stage_shares_are_those_of_older_men(many: list[Plan]) -> None:
    share = np.bincount(np.concatenate([p.hypnogram.scored for p in many]), minlength=5)
    share = share / share.sum()
    low, high = np.array([0.10, 0.06, 0.30, 0.06, 0.10]), np.array([0.28, 0.18, 0.55, 0.20, 0.24])
    assert np.all((low < share) & (share < high)), share


def test_deep_sleep_fades_with_age_and_apnea_goes_with_weight(many: list[Plan]) -> None:
    persons = [p.person for p in many]
    deep = spearmanr([p.age_years for p in persons], [minutes(p, N3) for p in many])
    assert deep.statistic < -0.2
    assert deep.pvalue < 0.01
    assert spearmanr([p.bmi_kg_m2 for p in persons], [p.ahi(3.0) for p in many]).statistic > 0.2
    assert min(p.age_years for p in persons) >= 50
    assert 0.08 < np.mean([p.af for p in persons]) < 0.25


def test_the_scorer_errs_like_a_good_human(many: list[Plan]) -> None:
    from sklearn.metrics import cohen_kappa_score

    truth = np.concatenate([p.hypnogram.truth for p in many])
    scored = np.concatenate([p.hypnogram.scored for p in many])
    assert 0.82 < cohen_kappa_score(truth, scored) < 0.95
    right = [np.mean(scored[truth == stage] == stage) for stage in range(5)]
    assert np.argmin(right) == N1


def test_events_are_as_frequent_as_the_person_is_ill(many: list[Plan]) -> None:
    aimed = np.array([p.person.ahi_per_h for p in many])
    got = np.array([p.ahi(0.0) for p in many])
    assert np.sum(got) == pytest.approx(np.sum(aimed), rel=0.15)
    assert spearmanr(aimed, got).statistic > 0.9
    for plan in many:
        assert plan.ahi(4.0) <= plan.ahi(3.0) <= plan.ahi(3.0, or_arousal=True) <= plan.ahi(0.0)


def test_breathing_fails_in_sleep_and_most_in_rem(many: list[Plan]) -> None:
    count, time_h = np.zeros(5), np.zeros(5)
    for plan in many:
        stages = plan.hypnogram.truth
        time_h += np.bincount(stages, minlength=5) / 120
        for event in plan.respiratory:
            assert 10 <= event.duration_s <= 60
            count[stages[min(int(event.start_s // 30), len(stages) - 1)]] += 1
        starts = [e.start_s for e in plan.respiratory]
        stops = [e.stop_s for e in plan.respiratory]
        assert all(stop < start for stop, start in zip(stops, starts[1:], strict=False))
    rate = count / time_h
    assert rate[R] > rate[N2] > rate[N3]
    assert rate[W] < 0.25 * rate[N2]


def test_events_are_scored_in_time_order_and_inside_the_night(many: list[Plan]) -> None:
    for plan in many:
        events = plan.events()
        assert [e.start_s for e in events] == sorted(e.start_s for e in events)
        assert all(e.start_s >= 0 and e.start_s + e.duration_s <= plan.hypnogram.duration_s for e in events)
        dips = sum(e.kind == "desaturation" for e in events)
        assert dips == sum(e.desaturation_percent >= 3 for e in plan.respiratory)
        assert sum(e.kind == "arousal" for e in events) >= sum(e.arousal_s is not None for e in plan.respiratory)


def test_the_same_person_comes_back_older() -> None:
    first = draw_person(5, 7)
    second = later_visit(first, 5, 2)
    assert second.number == first.number
    assert 5 < second.age_years - first.age_years < 8
    assert second.alpha_hz == first.alpha_hz
    assert np.corrcoef(first.band_gain.ravel(), second.band_gain.ravel())[0, 1] > 0.9
    assert second.emg_uv != first.emg_uv


def test_one_seed_one_night() -> None:
    one, two, other = (plan_night(seed, draw_person(seed, 3), 2, 62.0) for seed in (4, 4, 5))
    assert np.array_equal(one.hypnogram.scored, two.hypnogram.scored)
    assert one.events() == two.events()
    assert not np.array_equal(one.hypnogram.scored, other.hypnogram.scored)


def test_streams_of_different_purposes_are_unrelated() -> None:
    a, b = (stream(1, 2, 1, purpose).standard_normal(20_000) for purpose in ("eeg", "eyes"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert np.array_equal(stream(1, 2, 1, "eeg").standard_normal(5), stream(1, 2, 1, "eeg").standard_normal(5))


def test_coloured_noise_has_unit_variance_and_the_spectrum_asked_for() -> None:
    rng = np.random.default_rng(0)
    narrow = coloured_noise(rng, 128 * 600 + 7, 128, band(10.0, 1.0))
    assert narrow.dtype == np.float32
    assert narrow.shape == (128 * 600 + 7,)
    assert np.std(narrow) == pytest.approx(1, rel=0.05)
    f, power = welch(narrow, 128, nperseg=1024)
    assert f[np.argmax(power)] == pytest.approx(10, abs=0.5)
    assert power[(f > 5.5) & (f < 14.5)].sum() > 0.999 * power.sum()
    falling = coloured_noise(rng, 128 * 600, 128, power_law(1.6, 0.7, 45.0))
    f, power = welch(falling, 128, nperseg=1024)
    inside = (f >= 3) & (f <= 25)
    assert np.polyfit(np.log(f[inside]), np.log(power[inside]), 1)[0] == pytest.approx(-1.6, abs=0.1)


def test_slow_fluctuation_is_an_autoregression_of_the_stated_memory() -> None:
    x = slow_fluctuation(np.random.default_rng(1), 400_000, tau_s=10.0)
    assert np.std(x) == pytest.approx(1, rel=0.05)
    lag = 10 * CONTROL_HZ
    assert np.corrcoef(x[:-lag], x[lag:])[0, 1] == pytest.approx(np.exp(-1), abs=0.05)


def test_to_rate_is_linear_interpolation() -> None:
    control = np.random.default_rng(2).standard_normal(50).astype(np.float32)
    fine = to_rate(control, 128)
    grid = np.arange(50 * 32) / 32
    assert np.allclose(fine, np.interp(grid, np.arange(50), control), atol=1e-5)
    with pytest.raises(ValueError, match="multiple of 4"):
        to_rate(control, 50)


def test_event_times_are_a_poisson_process() -> None:
    rate_hz = 0.05
    times = event_times(np.random.default_rng(3), np.full(400_000, rate_hz))
    assert len(times) == pytest.approx(100_000 * rate_hz, rel=0.05)
    assert kstest(np.diff(times), "expon", args=(0, 1 / rate_hz)).pvalue > 0.01


def test_bursts_add_up_and_are_cut_at_the_end() -> None:
    signal = np.zeros(10, np.float32)
    burst = np.ones(4, np.float32)
    add_bursts(signal, 1, np.array([1.0, 3.0, 8.0, 30.0]), [burst] * 4)
    assert signal.tolist() == [0, 1, 1, 2, 2, 1, 1, 0, 1, 1]


def test_boxes_are_soft_and_in_place() -> None:
    level = boxes([(10.0, 20.0)], 40 * CONTROL_HZ)
    assert level[15 * CONTROL_HZ] == 1
    assert level[30 * CONTROL_HZ] == 0
    assert np.sum(level) / CONTROL_HZ == pytest.approx(10, rel=1e-3)
