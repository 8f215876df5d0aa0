"""The choice of a penalty: the held-out loss by its definition, the rule, and who is kept together."""

import dataclasses

import numpy as np
import pytest

from hypnos_bench.heads.cox import fit_cox
from hypnos_bench.heads.cox.choose import Folds, _Race, choose
from hypnos_bench.heads.cox.exact import newton
from hypnos_bench.heads.cox.features import fold_scales, standardise
from hypnos_bench.heads.cox.fit import _settings
from hypnos_bench.heads.cox.likelihood import RiskSets, loss_at
from hypnos_bench.heads.cox.solver import Features
from hypnos_bench.heads.persons import fold_of_rows

PATH = [3.0, 0.3, 0.03]


def folds_of(rows, z, n_folds=5):
    of_row = fold_of_rows(rows.person, n_folds)
    return Folds(of_row, n_folds, fold_scales(z, of_row, n_folds))


def test_held_out_loss_is_verweij_and_van_houwelingens(make_survival):
    rows = make_survival(n=200, d=4, m=2, days=True, excluded=0.1)
    z = standardise(rows.x).z
    folds = folds_of(rows, z)
    found = choose(Features.of(z), rows, [0, 1], folds, _settings({"penalties": PATH, "cv_tolerance": 1e-10}))
    everybody = [RiskSets.of(rows.time[:, m], rows.event[:, m], rows.at_risk[:, m], "efron") for m in (0, 1)]
    for m, choice in enumerate(found):
        for lam, entry in zip(PATH, choice["sweep"]):
            total, events = 0.0, 0
            for k in range(5):
                kept = (folds.of_row != k) & rows.at_risk[:, m]
                x = rows.x.astype(float)
                seen = x[folds.of_row != k]
                x = (x - seen.mean(axis=0)) / seen.std(axis=0)
                training = RiskSets.of(rows.time[:, m], rows.event[:, m], kept, "efron")
                beta, *_ = newton(x, training, lam, np.zeros(4))
                total += loss_at(everybody[m], x @ beta) - loss_at(training, x @ beta)
                events += int((rows.event[:, m] & rows.at_risk[:, m] & ~kept).sum())
            assert entry["penalty"] == lam
            assert entry["held_out_loss"] == pytest.approx(total / events, abs=2e-5)


class Race(_Race):
    """A race whose losses are given, not fitted."""

    def __init__(self, losses, events):
        self.losses, self.events = [np.array(row) for row in losses], np.array(events)
        self.unconverged, self._null = 0, np.zeros(len(events))


def test_the_largest_penalty_within_one_standard_error_of_the_best_wins():
    noisy = [[5.0, 5.3, 4.9, 5.2], [4.9, 5.0, 5.0, 4.9], [4.8, 4.9, 4.95, 4.95], [5.5, 5.5, 5.5, 5.5]]
    path = [10.0, 3.0, 1.0, 0.3]
    choice = Race(noisy, [5, 5, 5, 5]).choice(path, "one-se")
    # Excess of the second: .1 .1 .05 -.05, mean .05, sd/sqrt(4) = .0354.
    assert choice["sweep"][1]["excess_se"] == pytest.approx(np.std([0.1, 0.1, 0.05, -0.05], ddof=1) / 2)
    assert (choice["best_penalty"], choice["penalty"]) == (1.0, 1.0)
    close = [*noisy[:1], [4.9, 4.8, 5.0, 4.95], *noisy[2:]]
    chosen = Race(close, [5, 5, 5, 5]).choice(path, "one-se")
    assert (chosen["rule"], chosen["best_penalty"], chosen["penalty"]) == ("cv-1se", 1.0, 3.0)
    chosen = Race(close, [5, 5, 5, 5]).choice(path, "min")
    assert (chosen["rule"], chosen["best_penalty"], chosen["penalty"]) == ("cv-min", 1.0, 1.0)
    assert not choice["at_edge"]
    assert Race(noisy[:3], [5, 5, 5, 5]).choice([10.0, 3.0, 1.0], "one-se")["at_edge"]


def test_the_rule_is_a_setting(make_survival):
    rows = make_survival(n=300, d=10, m=4, signal=0.7)
    best, careful = (fit_cox(rows, given).selected["outcomes"] for given in ({}, {"rule": "one-se"}))
    assert {o["rule"] for o in best} == {"cv-min"}
    assert {o["rule"] for o in careful} == {"cv-1se"}
    for one, other in zip(best, careful):
        assert one["sweep"] == other["sweep"]
        losses = {step["penalty"]: step["held_out_loss"] for step in one["sweep"]}
        assert one["penalty"] == one["best_penalty"] == other["best_penalty"] == min(losses, key=losses.get)
        assert other["penalty"] >= one["penalty"]
    assert any(other["penalty"] > one["penalty"] for one, other in zip(best, careful))


def test_folds_count_by_their_events():
    losses = [[1.0, 2.0], [2.0, 1.0]]
    assert Race(losses, [9, 1]).choice([1.0, 0.1], "min")["best_penalty"] == 1.0
    assert Race(losses, [1, 9]).choice([1.0, 0.1], "min")["best_penalty"] == 0.1


def test_a_persons_rows_are_not_split(make_survival):
    """Five copies of a person under one code must not tell the truth about each other."""
    rows = make_survival(n=120, d=30, m=1, signal=0.5)
    five = {name: np.repeat(getattr(rows, name), 5, axis=0) for name in ("x", "time", "event", "at_risk", "person")}
    grouped = dataclasses.replace(rows, **five)
    leaking = dataclasses.replace(grouped, person=np.arange(600))
    honest, fooled = (fit_cox(r, {"ties": "breslow"}).selected["outcomes"][0] for r in (grouped, leaking))
    assert honest["rule"] == fooled["rule"] == "cv-min"
    assert fooled["penalty"] < honest["penalty"]


def test_noise_gets_a_strong_penalty_and_signal_a_weak_one(make_survival):
    rows = make_survival(n=600, d=20, m=2, signal=1.5)
    rng = np.random.default_rng(7)
    time = rows.time.copy()
    event = rows.event.copy()
    shuffle = rng.permutation(600)
    time[:, 1], event[:, 1] = time[shuffle, 1], event[shuffle, 1]
    mixed = dataclasses.replace(rows, time=time, event=event)
    signal, noise = fit_cox(mixed, {}).selected["outcomes"]
    assert noise["penalty"] >= 10
    assert fit_cox(mixed, {"rule": "one-se"}).selected["outcomes"][1]["at_edge"]
    assert signal["penalty"] < 1
    best = min(step["held_out_loss"] for step in signal["sweep"])
    assert best < signal["null_loss"] - 0.05
    assert min(step["held_out_loss"] for step in noise["sweep"]) > noise["null_loss"] - 0.02


def test_the_path_ends_early_where_weaker_penalties_only_hurt(make_survival):
    (outcome,) = fit_cox(make_survival(n=200, d=60, m=1), {}).selected["outcomes"]
    assert len(outcome["sweep"]) < 13
    losses = [step["held_out_loss"] for step in outcome["sweep"]]
    assert losses[-1] > losses[-2] > min(losses)


def test_an_outcome_does_not_feel_its_neighbours(make_survival):
    rows = make_survival(n=300, d=10, m=3)
    alone = dataclasses.replace(
        rows, time=rows.time[:, 1:2], event=rows.event[:, 1:2], at_risk=rows.at_risk[:, 1:2], names=rows.names[1:2]
    )
    together, single = fit_cox(rows, {}), fit_cox(alone, {})
    one, other = together.selected["outcomes"][1], single.selected["outcomes"][0]
    assert one["penalty"] == other["penalty"]
    assert [s["held_out_loss"] for s in one["sweep"]] == pytest.approx(
        [s["held_out_loss"] for s in other["sweep"]], abs=1e-4
    )
    np.testing.assert_allclose(together.coefficients[1], single.coefficients[0], atol=2e-4)


@pytest.mark.parametrize(
    ("case", "settings", "why"),
    [
        ({"n": 60, "m": 1, "censored": 0.8}, {}, "a fold has fewer than five events"),
        ({"n": 400, "m": 1, "per_person": 100}, {}, "four persons are fewer than five folds"),
    ],
)
def test_with_too_little_to_choose_from_the_prior_decides(make_survival, case, settings, why):
    rows = make_survival(d=8, **case)
    (outcome,) = fit_cox(rows, {"prior": 2.0, **settings}).selected["outcomes"]
    assert (outcome["rule"], outcome["sweep"]) == ("prior", []), why
    assert outcome["penalty"] == pytest.approx(2.0 * 8 / outcome["events"])
    (outcome,) = fit_cox(rows, {"penalties": [0.7], **settings}).selected["outcomes"]
    assert (outcome["rule"], outcome["penalty"]) == ("fixed", 0.7)


def test_min_fold_events_decides_who_is_cross_validated(make_survival):
    rows = make_survival(n=60, d=3, m=1, censored=0.6)
    rules = {least: fit_cox(rows, {"min_fold_events": least}).selected["outcomes"][0]["rule"] for least in (1, 50)}
    assert rules == {1: "cv-min", 50: "prior"}


def test_an_outcome_of_few_events_is_not_cross_validated(make_survival):
    rows = make_survival(n=100, d=3, m=1)
    (outcome,) = fit_cox(rows, {"min_events": 1 + int(rows.event.sum()), "min_fold_events": 1}).selected["outcomes"]
    assert (outcome["status"], outcome["rule"]) == ("few-events", "prior")
