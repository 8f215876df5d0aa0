"""Cells to frame to summary: nothing lost, nothing mixed."""

import random
import statistics

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import IntegrityError
from hypnos_bench.report.frame import cells_frame, summarise
from hypnos_bench.store.cells import Cell


def one(summary, **wanted):
    rows = summary
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def test_one_row_per_cell_and_metric(make):
    frame = cells_frame(make.few_shot())
    assert len(frame) == 2 * (3 + 3 + 1) * 2
    row = one(frame, encoder="hypnos", shots="10%", seed=2, metric="macro-f1")
    assert row["value"] == pytest.approx(0.4 + 0.1 - 0.15 + 0.04 - 0.1)
    assert (row["persons_train"], row["persons_available"], row["persons_test"]) == (3, 29, 12)


def test_failed_cells_stay_as_rows_with_their_message(make):
    frame = cells_frame([make(), make(seed=1, status="failed", message="one class\nonly")])
    failed = frame[frame["status"] == "failed"]
    assert list(failed["metric"]) == ["kappa", "macro-f1"]
    assert failed["value"].isna().all()
    assert set(failed["message"]) == {"one class only"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10))
def test_mean_and_sd_are_those_of_the_standard_library(make, values):
    summary = summarise(cells_frame(make(seed=i, kappa=v) for i, v in enumerate(values)))
    row = one(summary, metric="kappa")
    assert row["mean"] == pytest.approx(statistics.fmean(values), abs=1e-12)
    assert row["sd"] == pytest.approx(statistics.stdev(values), abs=1e-12)


def test_interval_is_the_mean_of_the_seeds_bounds(make):
    summary = summarise(cells_frame([make(seed=0, kappa=0.5, half=0.1), make(seed=1, kappa=0.7, half=0.2)]))
    row = one(summary, metric="kappa")
    assert (row["low"], row["high"]) == (pytest.approx((0.4 + 0.5) / 2), pytest.approx((0.6 + 0.9) / 2))


def test_one_seed_has_no_sd_and_its_own_interval(make):
    row = one(summarise(cells_frame([make(shots="100%")])), metric="kappa")
    assert pd.isna(row["sd"])
    assert (row["low"], row["high"]) == (pytest.approx(0.65), pytest.approx(0.75))


def test_an_interval_that_one_seed_lacks_is_not_averaged_from_the_rest(make):
    bare = {"kappa": {"value": 0.6, "low": None, "high": None, "higher_is_better": True}}
    row = one(summarise(cells_frame([make(), make(seed=1, scores=bare)])), metric="kappa")
    assert row["mean"] == pytest.approx(0.65)
    assert pd.isna(row["low"])
    assert pd.isna(row["high"])


def test_seeds_done_failed_undefined_and_planned_are_told_apart(make):
    cells = [make(seed=0), make(seed=1, kappa=None), make(seed=2, status="failed", message="one class")]
    cells += [make("hypnos", seed=s) for s in range(5)]
    row = one(summarise(cells_frame(cells)), encoder="features", metric="kappa")
    assert (row["n_ok"], row["undefined"], row["n_planned"]) == (1, 1, 5)
    assert row["seeds"] == (0,)
    assert row["failures"] == (("one class", 1),)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"weights": "b" * 64}, "variant"),
        ({"settings": {"modalities": "each"}}, "variant"),
        ({"version": "2"}, "variant"),
        ({"fingerprint": "b" * 64}, "context"),
        ({"task": {"alignment": "covered"}}, "context"),
        ({"bootstrap": 50}, "context"),
    ],
)
def test_cells_that_differ_in_a_setting_are_never_averaged(make, change, column):
    summary = summarise(cells_frame([make(kappa=0.9), make(kappa=0.1, **change)]))
    kappa = summary[summary["metric"] == "kappa"]
    assert sorted(kappa["mean"]) == [pytest.approx(0.1), pytest.approx(0.9)]
    assert kappa[column].nunique() == 2


def test_range_of_persons_over_folds(make):
    row = one(summarise(cells_frame([make(train=2, train_max=3)])), metric="kappa")
    assert row["persons_train"] == (2, 3)


def test_marks_are_kept_and_simulated_follows_from_the_cohort(make):
    cell = make(simulated=True, marks=("untrained",))
    silent = Cell(**{**vars(cell), "n": {**cell.n, "marks": []}})
    assert cells_frame([cell])["marks"].iloc[0] == ("simulated", "untrained")
    assert cells_frame([silent])["marks"].iloc[0] == ("simulated",)


def test_repeats_count_once_but_a_contradiction_is_an_error(make):
    cell = make()
    assert len(cells_frame([cell, make()])) == 2
    other = Cell(**{**vars(cell), "scores": make(kappa=0.1).scores})
    with pytest.raises(IntegrityError, match="twice with different results"):
        cells_frame([cell, other])


def test_disagreement_on_direction_is_an_error(make):
    with pytest.raises(IntegrityError, match="which way is better"):
        summarise(cells_frame([make(), make(seed=1, higher=False)]))


def test_order_of_cells_changes_nothing(make):
    cells = [*make.few_shot(), make(seed=9, status="failed"), make(fingerprint="b" * 64)]
    frame, expected = cells_frame(cells), summarise(cells_frame(cells))
    for seed in range(3):
        shuffled = random.Random(seed).sample(cells, len(cells))
        pd.testing.assert_frame_equal(cells_frame(shuffled), frame, check_exact=True)
        pd.testing.assert_frame_equal(summarise(cells_frame(shuffled)), expected, check_exact=True)


def test_no_cells_no_rows():
    assert summarise(cells_frame([])).empty
