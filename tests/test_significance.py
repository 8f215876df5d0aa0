"""Paired tests read from side files: the right pairs, the right persons, the right family, and no claim too many."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, wilcoxon

from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.metrics.classification import cohens_kappa, confusion_matrices
from hypnos_bench.scoring.survival import SurvivalPredictions, survival_point, survival_replicates
from hypnos_bench.significance import MANY_OUTCOMES, MIN_BOOTSTRAP_PERSONS, SideFiles, compare_rows
from hypnos_bench.spec import TaskSpec
from hypnos_bench.stats.bootstrap import person_weights
from hypnos_bench.store.cells import Cell
from hypnos_bench.store.side import ClassificationSide, RegressionSide, SurvivalSide

STAGING = TaskSpec("staging", "", "stage", "epoch", ("kappa",), (), (), classes=("a", "b", "c"))
AGE = TaskSpec("age", "", "covariate", "person", ("mae",), (), (), kind="regression", columns=("age",))
DEATH = TaskSpec("mortality", "", "outcome", "person", ("c-index",), (), (), kind="survival", columns=("death",))
BOOTSTRAP = 200


class Shelf:
    """Stands for a cell store: side files by key, and how often each was read."""

    def __init__(self):
        self.sides, self.read = {}, []

    def path(self, spec, key):
        return key

    def load_side(self, key):
        self.read.append(key)
        found = self.sides[key]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def shelf():
    return Shelf()


def cell(shelf, task, name, side, seed=0, split="holdout", outcomes=()):
    key = f"{name}-{seed}"
    shelf.sides[key] = side
    spec = {"task": task.definition(), "seed": seed, "split": {"kind": split}, "bootstrap": BOOTSTRAP}
    return Cell(spec=spec, key=key, outcomes=outcomes)


def compared(shelf, task, columns):
    return compare_rows(task, columns, SideFiles(shelf))


def nights(skill, seed=0, n=24, per_person=1, units=60):
    """A classification side file; truth is the same for all, answers are right with probability `skill`."""
    truth = np.random.default_rng(0).integers(0, 3, n * units).astype(np.int8)
    rng = np.random.default_rng(seed)
    answer = np.where(rng.random(truth.size) < skill, truth, rng.integers(0, 3, truth.size)).astype(np.int8)
    recording = np.repeat(np.arange(n), units).astype(np.int32)
    return ClassificationSide(
        [f"r{i:03d}" for i in range(n)], [f"p{i // per_person:03d}" for i in range(n)],
        confusion_matrices(truth, answer, recording, n, 3), recording, truth, answer,
        proba=np.eye(3, dtype=np.float16)[answer],
    )  # fmt: skip


def ages(noise, seed=0, n=40, bias=0.0, names=None):
    names = range(n) if names is None else names
    everyone = max(names) + 1
    truth = np.random.default_rng(0).uniform(40, 80, everyone)
    answer = truth + np.random.default_rng(seed).normal(bias, noise, everyone)
    index = np.asarray(list(names))
    return RegressionSide(
        [f"r{i:03d}" for i in index], [f"p{i:03d}" for i in index], np.zeros(len(index), np.int32), truth[index],
        answer[index],
    )  # fmt: skip


def followed(noise, seed=0, n=60, m=1, stored=None):
    rng = np.random.default_rng(0)
    hazard = rng.normal(size=(n, m))
    time = rng.exponential(8 / np.exp(hazard))
    end = rng.uniform(4, 10, (n, m))
    at_risk = rng.random((n, m)) > 0.1
    risk = hazard + np.random.default_rng(seed).normal(0, noise, (n, m))
    return SurvivalSide(
        [f"r{i:03d}" for i in range(n)], [f"p{i:03d}" for i in range(n)], [f"o{k:03d}" for k in range(m)],
        np.zeros(n, np.int32), risk.astype(np.float32), np.where(at_risk, np.minimum(time, end), np.nan).astype(np.float32),
        ((time <= end) & at_risk).astype(np.int8), at_risk.astype(np.int8), stored,
    )  # fmt: skip


def only_one(found):
    assert len(found) == 1
    return found[0]


def test_nights_are_averaged_over_seeds_and_persons_before_the_signed_rank_test(shelf):
    sides = {
        (row, seed): nights(skill, 10 * seed + k, per_person=2)
        for k, (row, skill) in enumerate((("a", 0.6), ("b", 0.7)))
        for seed in (0, 1)
    }
    rows = {row: [cell(shelf, STAGING, row, sides[row, seed], seed) for seed in (0, 1)] for row in "ab"}
    t = only_one(compared(shelf, STAGING, {"100%": rows}))
    kappa = {key: cohens_kappa(side.confusion) for key, side in sides.items()}
    difference = np.mean([kappa["a", seed] - kappa["b", seed] for seed in (0, 1)], axis=0).reshape(12, 2).mean(axis=1)
    assert t.p == pytest.approx(wilcoxon(difference, method="exact").pvalue, rel=1e-9)
    walsh = [(x + y) / 2 for i, x in enumerate(difference) for y in difference[i:]]
    assert t.difference == pytest.approx(np.median(walsh), abs=1e-9)
    assert (t.test, t.n_persons, t.better, t.min_p) == ("signed-rank", 12, "b", 2 / 2**12)


def test_family_is_all_pairs_at_all_budgets(shelf):
    columns = {
        shots: {
            row: [cell(shelf, STAGING, f"{row}{shots}", nights(skill, ord(row)))] for row, skill in zip("abc", skills)
        }
        for shots, skills in (("1%", (0.5, 0.51, 0.52)), ("100%", (0.6, 0.62, 0.9)))
    }
    found = compared(shelf, STAGING, columns)
    assert [(t.shots, t.a, t.b) for t in found] == [(s, *pair) for s in columns for pair in ("ab", "ac", "bc")]
    p = np.array([t.p for t in found])
    np.testing.assert_allclose([t.p_bh for t in found], false_discovery_control(p), rtol=1e-12)
    np.testing.assert_allclose([t.p_bonferroni for t in found], np.minimum(1, 6 * p), rtol=1e-12)
    assert [t.better for t in found] == [(t.a if t.difference > 0 else t.b) if t.p_bh <= 0.05 else None for t in found]
    assert {t.better for t in found} >= {None, "c"}


def test_a_small_p_among_many_tests_is_no_claim(shelf):
    rows = {f"{k:02d}": [cell(shelf, AGE, f"{k:02d}", ages(4.0, k, n=30))] for k in range(12)}
    found = compared(shelf, AGE, {"100%": rows})
    assert len(found) == 66
    assert any(t.p <= 0.05 < t.p_bh for t in found)
    assert [t.better for t in found if t.p_bh > 0.05] == [None] * sum(t.p_bh > 0.05 for t in found)


def test_five_persons_can_never_differ(shelf):
    rows = {row: [cell(shelf, STAGING, row, nights(skill, n=5))] for row, skill in (("a", 0.2), ("b", 0.99))}
    t = only_one(compared(shelf, STAGING, {"1%": rows}))
    assert (t.min_p, t.p, t.better) == (0.0625, 0.0625, None)
    assert t.low == -np.inf


def test_lower_error_is_better(shelf):
    rows = {"worse": [cell(shelf, AGE, "worse", ages(9.0, 1))], "finer": [cell(shelf, AGE, "finer", ages(2.0, 2))]}
    t = only_one(compared(shelf, AGE, {"100%": rows}))
    assert (t.test, t.n_persons, t.better) == ("signed-rank", 40, "finer")
    assert t.difference > 0


def test_a_metric_without_values_per_person_is_compared_on_shared_draws(shelf):
    task = replace(AGE, metrics=("r2",))
    sides = {row: ages(noise, seed) for seed, (row, noise) in enumerate((("a", 6.0), ("b", 4.0)))}
    t = only_one(compared(shelf, task, {"100%": {row: [cell(shelf, task, row, side)] for row, side in sides.items()}}))
    weights = person_weights(40, BOOTSTRAP, 0).astype(float)

    def r2(side):
        y, e = side.y_true, side.y_true - side.y_pred
        mean = (weights @ y) / 40
        return 1 - (weights @ e**2) / (weights @ y**2 - 40 * mean**2)

    drawn = r2(sides["a"]) - r2(sides["b"])
    np.testing.assert_allclose([t.low, t.high], np.quantile(drawn, [0.025, 0.975]), rtol=1e-6)
    below, above = (int((side * drawn <= 0).sum()) for side in (1, -1))
    assert t.p == pytest.approx(min(1, 2 * (min(below, above) + 1) / (BOOTSTRAP + 1)))
    assert (t.test, t.min_p, t.n_persons) == ("bootstrap", pytest.approx(2 / (BOOTSTRAP + 1)), 40)


def test_what_is_nearer_to_the_target_is_better(shelf):
    task = replace(AGE, metrics=("bias",))
    rows = {
        "low": [cell(shelf, task, "low", ages(1.0, 1, bias=-3.0))],
        "fair": [cell(shelf, task, "fair", ages(1.0, 2, bias=0.5))],
    }
    t = only_one(compared(shelf, task, {"100%": rows}))
    assert t.better == "fair"
    assert t.difference == pytest.approx(2.5, abs=0.6)  # of the distances to 0


def test_rows_tested_on_other_people_are_compared_on_those_they_share(shelf):
    task = replace(AGE, metrics=("r2",))
    a, b = ages(6.0, 1, n=40), ages(4.0, 2, names=range(10, 40))
    shared = RegressionSide(a.recordings[10:], a.persons[10:], a.fold[10:], a.y_true[10:], a.y_pred[10:])
    mixed = only_one(
        compared(shelf, task, {"1%": {"a": [cell(shelf, task, "a", a)], "b": [cell(shelf, task, "b", b)]}})
    )
    same = only_one(
        compared(shelf, task, {"1%": {"a": [cell(shelf, task, "c", shared)], "b": [cell(shelf, task, "d", b)]}})
    )
    assert (mixed.n_persons, mixed.n_undefined, same.n_undefined) == (30, 10, 0)
    assert (mixed.p, mixed.difference, mixed.low) == (same.p, same.difference, same.low)


def late(side, first=5):
    """A side file without its first recordings."""
    mask = side.unit_recording >= first
    return ClassificationSide(
        side.recordings[first:], side.persons[first:], side.confusion[first:], side.unit_recording[mask] - first,
        side.y_true[mask], side.y_pred[mask], side.proba[mask],
    )  # fmt: skip


def test_units_of_left_out_recordings_do_not_count(shelf):
    """OSF's metrics have no values per recording, so units are drawn by person."""
    task = replace(STAGING, metrics=("osf-auroc",))
    a, b = nights(0.6, 1, n=30), nights(0.7, 2, n=30)
    few, shared = late(b), late(a)
    assert shared.problem() is None
    mixed = only_one(
        compared(shelf, task, {"1%": {"a": [cell(shelf, task, "a", a)], "b": [cell(shelf, task, "b", few)]}})
    )
    same = only_one(
        compared(shelf, task, {"1%": {"a": [cell(shelf, task, "c", shared)], "b": [cell(shelf, task, "d", few)]}})
    )
    assert mixed.test == "bootstrap"
    assert (mixed.p, mixed.difference, mixed.low) == (same.p, same.difference, same.low)


def test_few_persons_get_no_bootstrap_test(shelf):
    n = MIN_BOOTSTRAP_PERSONS - 1
    rows = {
        row: [cell(shelf, DEATH, row, followed(noise, k, n=n))]
        for k, (row, noise) in enumerate((("a", 0.1), ("b", 9.0)))
    }
    t = only_one(compared(shelf, DEATH, {"100%": rows}))
    assert "19 persons are too few for a bootstrap test, 20 are needed" in t.reason
    assert np.isnan(t.p)
    assert t.better is None


def test_survival_is_compared_on_what_its_own_room_draws(shelf):
    sides = {row: followed(noise, k, n=150) for k, (row, noise) in enumerate((("a", 0.2), ("b", 4.0)))}
    t = only_one(compared(shelf, DEATH, {"100%": {row: [cell(shelf, DEATH, row, s)] for row, s in sides.items()}}))
    told = {row: SurvivalPredictions.of_side(side) for row, side in sides.items()}
    point = {row: survival_point(["c-index"], p)["c-index"][0] for row, p in told.items()}
    weights = person_weights(150, BOOTSTRAP, 0)
    drawn = {row: survival_replicates(["c-index"], p, weights)["c-index"][0] for row, p in told.items()}
    assert t.difference == pytest.approx(point["a"] - point["b"])
    np.testing.assert_allclose([t.low, t.high], np.quantile(drawn["a"] - drawn["b"], [0.025, 0.975]))
    assert (t.outcome, t.better, t.n_persons) == ("o000", "a", int(sides["a"].at_risk.sum()))


def many(seed, m, shift):
    drawn = (0.7 + shift + np.random.default_rng(seed).normal(0, 0.01, (m, BOOTSTRAP))).astype(np.float32)
    told = [
        {"name": f"o{k:03d}", "persons": 50, "scores": {"c-index": {"value": None if k == 2 else 0.7 + shift}}}
        for k in range(m)
    ]
    return drawn, told


def test_many_outcomes_are_tested_on_stored_replicates_without_drawing_again(shelf):
    m = MANY_OUTCOMES + 1
    task = replace(DEATH, columns=("*",))
    rows = {}
    for seed, (row, shift) in enumerate((("a", 0.1), ("b", 0.0))):
        drawn, told = many(seed, m, shift)
        rows[row] = [cell(shelf, task, row, followed(1.0, m=m, stored=drawn), outcomes=told)]
    found = compared(shelf, task, {"100%": rows})
    assert [t.outcome for t in found] == [f"o{k:03d}" for k in range(m)]
    assert found[2].reason == "not defined on the test data"
    assert all(t.better == "a" and t.difference == pytest.approx(0.1) for k, t in enumerate(found) if k != 2)
    assert all(t.n_persons == 50 for t in found)
    p = [t.p for t in found if t.outcome != "o002"]
    assert found[0].p_bonferroni == pytest.approx(min(1, p[0] * (m - 1)))


def test_many_outcomes_without_replicates_are_refused_with_the_reason(shelf):
    m = MANY_OUTCOMES + 1
    rows = {row: [cell(shelf, DEATH, row, followed(1.0, m=m))] for row in "ab"}
    assert "lack the replicates of so many outcomes" in only_one(compared(shelf, DEATH, {"1%": rows})).reason
    drawn, told = many(0, m, 0.0)
    rows = {"a": [cell(shelf, DEATH, "c", followed(1.0, m=m, n=60, stored=drawn), outcomes=told)],
            "b": [cell(shelf, DEATH, "d", followed(1.0, m=m, n=55, stored=drawn), outcomes=told)]}  # fmt: skip
    assert "not of the same recordings" in only_one(compared(shelf, DEATH, {"1%": rows})).reason


def test_only_seeds_that_both_rows_have_are_averaged(shelf):
    a = [cell(shelf, STAGING, "a", nights(0.6, seed), seed) for seed in (0, 1)]
    b = [cell(shelf, STAGING, "b", nights(0.7, 5 + seed), seed) for seed in (1, 2)]
    shared = only_one(compared(shelf, STAGING, {"1%": {"a": a, "b": b}}))
    alone = only_one(compared(shelf, STAGING, {"1%": {"a": a[1:], "b": b[:1]}}))
    assert shared == alone
    assert only_one(compared(shelf, STAGING, {"1%": {"a": a[:1], "b": b}})).reason == "a and b have no seed in common"


def test_a_row_without_files_or_cells_costs_its_own_pairs_only(shelf):
    rows = {
        row: [cell(shelf, STAGING, row, nights(skill, k))]
        for k, (row, skill) in enumerate((("a", 0.5), ("b", 0.8), ("c", 0.9)))
    }
    shelf.sides["c-0"] = DataError("gone")
    found = compared(shelf, STAGING, {"1%": {**rows, "d": []}})
    assert {(t.a + t.b): t.reason for t in found if t.reason} == {
        "ac": "side files of c are not there", "bc": "side files of c are not there", "cd": "side files of c are not there",
        "ad": "d has no finished cell", "bd": "d has no finished cell",
    }  # fmt: skip
    only = [t for t in found if not t.reason]
    assert len(only) == 1
    assert only[0].p_bh == only[0].p_bonferroni == only[0].p  # the only test of its family


def test_a_damaged_file_costs_its_own_pairs_is_read_once_and_told(shelf):
    rows = {row: [cell(shelf, STAGING, row, nights(skill, k))] for k, (row, skill) in enumerate(zip("ab", (0.5, 0.8)))}
    rows["c"] = [cell(shelf, STAGING, "c", IntegrityError("altered"))]
    sides = SideFiles(shelf)
    found = [t for _ in range(2) for t in compare_rows(STAGING, {"1%": rows}, sides)]
    assert {t.a + t.b: t.reason for t in found} == {
        "ab": "", "ac": "side file of cell c-0 (c) is damaged", "bc": "side file of cell c-0 (c) is damaged"
    }  # fmt: skip
    assert sides.problems == ["altered"]
    assert shelf.read.count("c-0") == 1
    with pytest.raises(IntegrityError, match="altered"):
        sides.of(rows["c"][0])


def test_a_leaky_split_is_not_tested(shelf):
    rows = {
        row: [cell(shelf, STAGING, row, nights(skill, k), split="epoch")]
        for k, (row, skill) in enumerate((("a", 0.1), ("b", 0.9)))
    }
    assert "both sides of this split" in only_one(compared(shelf, STAGING, {"100%": rows})).reason


def test_a_metric_of_another_version_is_not_tested(shelf):
    task = replace(STAGING, metrics=("gone",))
    rows = {row: [cell(shelf, task, row, nights(0.5))] for row in "ab"}
    assert only_one(compared(shelf, task, {"1%": rows})).reason == "this version does not know the metric gone"
    assert shelf.read == []


def test_every_file_is_read_once_for_all_tests(shelf):
    columns = {
        shots: {row: [cell(shelf, STAGING, row + shots, nights(0.5, seed), seed) for seed in range(3)] for row in "abc"}
        for shots in ("1%", "10%")
    }
    sides = SideFiles(shelf)
    first = compare_rows(STAGING, columns, sides)
    assert compare_rows(STAGING, columns, sides) == first
    assert len(shelf.read) == len(set(shelf.read)) == 18
    assert sides.of(columns["1%"]["a"][0]).side is None  # a cohort's epochs are not kept


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.5, 9), st.floats(0.5, 9), st.integers(0, 99), st.sampled_from(["mae", "r2", "bias"]))
def test_order_of_rows_turns_signs_and_nothing_else(noise_a, noise_b, seed, metric):
    shelf, task = Shelf(), replace(AGE, metrics=(metric,))
    a, b = (
        [cell(shelf, task, row, ages(noise, seed + k, n=25))]
        for k, (row, noise) in enumerate((("a", noise_a), ("b", noise_b)))
    )
    one = only_one(compared(shelf, task, {"1%": {"a": a, "b": b}}))
    two = only_one(compared(shelf, task, {"1%": {"b": b, "a": a}}))
    assert one.p == pytest.approx(two.p)
    assert (one.difference, one.low, one.high) == pytest.approx((-two.difference, -two.high, -two.low), abs=1e-9)
    assert one.better == two.better
