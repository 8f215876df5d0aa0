"""The MLP probe: beats lines where lines fail, loses little where they hold, and keeps the class list and the persons."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.base import FittedHead, TrainingRows
from hypnos_bench.heads.linear import fit_linear
from hypnos_bench.heads.mlp import MLP_SETTINGS, fit_mlp
from hypnos_bench.heads.persons import hold_out

QUICK = {"hidden": [32], "max_passes": 8, "min_steps": 0}


class Stored:
    def __init__(self, x):
        self._x, self.shape = x, x.shape

    def read_into(self, start, out):
        out[:] = self._x[start : start + len(out)]


def xor(n_persons=10, per_person=100, seed=0):
    """Class 1 where the signs of two features differ: a line can do no better than guess."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_persons), per_person)
    x = rng.standard_normal((person.size, 4))
    y = (x[:, 0] > 0) ^ (x[:, 1] > 0)
    return TrainingRows((x * 3 + 10).astype(np.float32), y.astype(np.int64), person, person, 2)


def cross_entropy(head, rows):
    proba = head.predict_proba(rows.x)
    return -np.log(proba[np.arange(len(rows.y)), rows.y]).mean()


def subset(rows, kept):
    parts = [getattr(rows, name)[kept] for name in ("x", "y", "person", "recording")]
    return TrainingRows(*parts, rows.n_classes)


def same_bits(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.network.weights, b.network.weights, strict=True))


def test_solves_xor_where_the_linear_optimum_guesses():
    rows, new = xor(), xor(seed=1)
    mlp, linear = fit_mlp(rows, {"hidden": [64]}), fit_linear(rows, {})
    assert (linear.predict_proba(new.x).argmax(axis=1) == new.y).mean() < 0.6
    assert cross_entropy(linear, new) > 0.68
    assert (mlp.predict_proba(new.x).argmax(axis=1) == new.y).mean() > 0.93
    assert cross_entropy(mlp, new) < 0.25


@pytest.mark.parametrize("seed", [0, 1])
def test_loses_little_where_lines_are_right(make_rows, seed):
    """Classes that differ in mean alone: within 0.05 nats of the converged linear probe on new persons."""
    everybody = make_rows(n_persons=200, per_person=20, seed=seed, flip=0.05)
    rows, new = (subset(everybody, everybody.person % 2 == k) for k in (0, 1))
    linear, mlp = cross_entropy(fit_linear(rows, {}), new), cross_entropy(fit_mlp(rows, {"hidden": [64]}), new)
    guess = -np.log(np.bincount(rows.y)[new.y] / len(rows.y)).mean()
    assert linear < guess - 0.3
    assert mlp < linear + 0.05


def test_implements_the_protocol_and_travels(make_rows):
    rows = make_rows()
    head: FittedHead = fit_mlp(rows, QUICK)
    proba = head.predict_proba(rows.x)
    assert (proba.shape, proba.dtype) == ((len(rows.y), 3), np.float64)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    again = pickle.loads(pickle.dumps(head))
    np.testing.assert_array_equal(again.predict_proba(rows.x), proba)
    # Rows are predicted one by one: what else is asked for does not matter.
    np.testing.assert_allclose(head.predict_proba(rows.x[5:7]), proba[5:7], rtol=1e-12)
    assert head.selected["n_persons"] == 8
    assert head.selected["n_recordings"] == 16
    assert head.selected["n_rows"] == 480
    assert head.selected["n_rows_trained"] + head.selected["n_rows_held_out"] == 480
    assert head.certificate.converged


def test_same_seed_same_bits(make_rows):
    rows = make_rows()
    state = torch.get_rng_state()
    np.random.seed(3)  # noqa: NPY002
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [fit_mlp(rows, {**QUICK, "seed": seed}) for seed in (1, 1, 2)]
    assert same_bits(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0].predict_proba(rows.x), runs[1].predict_proba(rows.x))
    assert runs[0].selected == runs[1].selected
    assert not same_bits(runs[0], runs[2])
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("pool_rows", [100, 65536])
def test_rows_from_a_source_give_the_same_bits(make_rows, pool_rows):
    rows = make_rows(unscaled=True)
    settings = {**QUICK, "pool_rows": pool_rows, "block_rows": 50}
    source = Stored(rows.x)
    here, there = fit_mlp(rows, settings), fit_mlp(dataclasses.replace(rows, x=source), settings)
    assert same_bits(here, there)
    assert here.selected == there.selected
    np.testing.assert_array_equal(here.predict_proba(rows.x), there.predict_proba(source))


def test_learns_from_shuffled_blocks_too():
    """Rows sorted by class in the worst way, more than fit into a pool."""
    rows = xor(n_persons=20)
    order = np.lexsort([rows.y, rows.person])
    head = fit_mlp(subset(rows, order), {"block_rows": 50, "pool_rows": 400, "hidden": [64]})
    assert cross_entropy(head, xor(seed=1)) < 0.25


def test_nobody_is_on_both_sides(make_rows):
    """What the network was standardised by are the rows of the persons not held out, of whole persons."""
    rows = make_rows(n_persons=12)
    for seed in range(3):
        head = fit_mlp(rows, {**QUICK, "max_passes": 1, "seed": seed})
        part = hold_out(rows.person, seed=seed, share=0.2, min_persons=5, classes=rows.y)
        held = np.unique(rows.person[part.validation])
        assert held.size == 2
        outside = ~np.isin(rows.person, held)
        assert head.selected["n_rows_trained"] == outside.sum()
        np.testing.assert_allclose(head.network.moments.mean, rows.x[outside].mean(axis=0, dtype=float), rtol=1e-12)


def test_held_out_persons_count_equally():
    """One held-out person has a hundred rows, the other two: the loss told is the mean of theirs."""
    rows = xor(n_persons=10, per_person=100)
    part = hold_out(rows.person, seed=0, share=0.2, min_persons=5, classes=rows.y)
    few = np.unique(rows.person[part.validation])[0]
    rows = subset(rows, (rows.person != few) | (np.arange(1000) % 100 < 2))
    head = fit_mlp(rows, {"max_passes": 2, "min_steps": 0})
    proba = head.predict_proba(rows.x)[np.arange(len(rows.y)), rows.y]
    held = np.unique(rows.person[hold_out(rows.person, seed=0, share=0.2, min_persons=5, classes=rows.y).validation])
    assert few in held
    expected = np.mean([-np.log(proba[rows.person == person]).mean() for person in held])
    looks = {look["pass"]: look["loss"] for look in head.selected["validation"]}
    assert looks[head.selected["best_pass"]] == pytest.approx(expected, rel=1e-5)


def test_missing_class_keeps_its_place_with_probability_zero(make_rows):
    rows = make_rows(n_classes=5)
    fewer = subset(rows, ~np.isin(rows.y, [1, 4]))
    head = fit_mlp(fewer, QUICK)
    assert head.selected["classes_missing"] == [1, 4]
    proba = head.predict_proba(rows.x)
    np.testing.assert_array_equal(proba[:, [1, 4]], 0.0)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    assert (proba[:, [0, 2, 3]] > 0).all()


def test_a_class_of_one_person_is_trained_on(make_rows):
    rows = make_rows(n_persons=10)
    y = rows.y.copy()
    for rare in range(0, 10, 3):
        mine = np.where((y == 2) & (rows.person != rare), 0, y)
        head = fit_mlp(dataclasses.replace(rows, y=mine), {**QUICK, "max_passes": 1})
        assert head.selected["classes_missing"] == []
        assert head.selected["rule"] == "early-stopping"


def test_training_starts_from_the_class_shares(make_rows):
    rows = make_rows(n_persons=3)
    for class_weights, expected in (("none", np.bincount(rows.y) / len(rows.y)), ("balanced", np.full(3, 1 / 3))):
        head = fit_mlp(
            rows, {**QUICK, "fixed_passes": 1, "fixed_steps": 0, "learning_rate": 1e-12, "class_weights": class_weights}
        )
        np.testing.assert_allclose(head.predict_proba(rows.x), np.tile(expected, (len(rows.y), 1)), atol=1e-6)


def test_class_weights():
    """Without: probabilities average to the shares. Balanced: as if all classes were equally frequent."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 100)
    y = (rng.random(person.size) < 0.1).astype(np.int64)
    x = (rng.standard_normal((person.size, 3)) + 1.0 * y[:, None] * [1, 0, 0]).astype(np.float32)
    rows = TrainingRows(x, y, person, person, 2)
    plain, balanced = (
        fit_mlp(rows, {"hidden": [16], "class_weights": w}).predict_proba(x)[:, 1] for w in ("none", "balanced")
    )
    assert plain.mean() == pytest.approx(0.1, abs=0.02)
    rare, common = balanced[y == 1].mean(), balanced[y == 0].mean()
    assert (rare + common) / 2 == pytest.approx(0.5, abs=0.05)
    # Bayes' rule moves the one to the other: odds times 9.
    odds = plain / (1 - plain) * (1 - y.mean()) / y.mean()
    assert np.corrcoef(np.log(odds), np.log(balanced / (1 - balanced)))[0, 1] > 0.97
    told = fit_mlp(rows, {**QUICK, "max_passes": 1, "class_weights": "balanced"}).selected["class_weights"]
    part = hold_out(person, seed=0, share=0.2, min_persons=5, classes=y)
    counts = np.bincount(y[part.training])
    assert told == pytest.approx({"0": counts.sum() / 2 / counts[0], "1": counts.sum() / 2 / counts[1]})
    with pytest.raises(UsageError, match="class_weights is none or balanced, not 'equal'"):
        fit_mlp(rows, {"class_weights": "equal"})


@pytest.mark.parametrize("n_persons", [1, 2, 4])
def test_few_persons_train_for_a_fixed_time(make_rows, n_persons):
    rows = make_rows(n_persons=n_persons, per_person=80)
    head = fit_mlp(rows, {})
    assert head.selected["rule"] == "fixed-passes"
    assert f"{n_persons} person(s)" in head.selected["rule_reason"]
    assert head.selected["n_rows_held_out"] == 0
    assert cross_entropy(head, rows) < 1.0


def test_constant_features_do_nothing(make_rows):
    rows = make_rows(n_persons=3)
    x = np.column_stack([rows.x, np.full(len(rows.y), 3.3)]).astype(np.float32)
    head = fit_mlp(dataclasses.replace(rows, x=x), QUICK)
    assert head.selected["constant_features"] == [12]
    other = x.copy()
    other[:, 12] = -50
    np.testing.assert_array_equal(head.predict_proba(other), head.predict_proba(x))


def test_what_cannot_be_fitted_is_refused(make_rows):
    rows = make_rows()
    with pytest.raises(FitError, match=r"of 8 person\(s\) have the same class \(code 1\)"):
        fit_mlp(dataclasses.replace(rows, y=np.ones_like(rows.y)), {})
    with pytest.raises(FitError, match="outside 0..1"):
        fit_mlp(dataclasses.replace(rows, n_classes=2), {})
    with pytest.raises(FitError, match="needs rows"):
        fit_mlp(subset(rows, slice(0, 0)), {})
    x = rows.x.copy()
    x[7, 3] = np.inf
    with pytest.raises(FitError, match="1 of 480 training rows hold NaN or infinity, in 1 of 12 features"):
        fit_mlp(dataclasses.replace(rows, x=x), {})
    with pytest.raises(UsageError, match="Did you mean 'learning_rate'"):
        fit_mlp(rows, {"learningrate": 1})
    with pytest.raises(DataError, match="non-finite"):
        fit_mlp(rows, QUICK).predict_proba(x)


def test_every_default_is_plain_data():
    assert set(MLP_SETTINGS) >= {"seed", "class_weights", "hidden", "dropout", "patience"}
    assert all(isinstance(value, int | float | str | list) for value in MLP_SETTINGS.values())
