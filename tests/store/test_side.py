"""Side files of the three kinds of task: round trip, and contradictions that are not saved."""

from dataclasses import replace

import numpy as np
import pytest

from hypnos_bench.errors import IntegrityError
from hypnos_bench.store.cells import CellStore
from hypnos_bench.store.side import SIDES, ClassificationSide, RegressionSide, SurvivalSide


def regression() -> RegressionSide:
    return RegressionSide(
        ["r1", "r2", "r3"], ["p1", "p2", "p2"], np.array([0, 1, 1], np.int32), np.array([61.0, 40.5, 70]), np.ones(3)
    )


def survival() -> SurvivalSide:
    nan = float("nan")
    return SurvivalSide(
        ["r1", "r2"],
        ["p1", "p2"],
        ["death", "stroke"],
        np.array([0, 1], np.int32),
        np.array([[0.5, nan], [-1.0, 2.0]], np.float32),
        np.array([[3.25, nan], [10.0, 2.0]], np.float32),
        np.array([[1, 0], [0, 1]], np.int8),
        np.array([[1, 0], [1, 1]], np.int8),
    )


@pytest.mark.parametrize("make", [regression, survival])
def test_round_trip(tmp_path, cell, make):
    store, side = CellStore(tmp_path), make()
    found = store.load_side(store.save(cell, side))
    assert type(found) is SIDES[side.KIND]
    assert found.words() == side.words()
    for name, array in side.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, None])
def test_classification_keeps_folds_where_there_are_several(tmp_path, cell, side, dtype):
    fold = None if dtype is None else (np.arange(10) % 3).astype(dtype)
    store = CellStore(tmp_path)
    found = store.load_side(store.save(cell, replace(side, fold=fold)))
    assert isinstance(found, ClassificationSide)
    assert ("fold" in found.arrays()) == (fold is not None)
    if fold is not None:
        assert found.fold.dtype == dtype
        np.testing.assert_array_equal(found.fold, fold)


@pytest.mark.parametrize("fold", [np.zeros(3, np.int8), np.zeros(10, np.int64), np.zeros(10)])
def test_folds_of_another_shape_or_type_are_not_saved(tmp_path, cell, side, fold):
    with pytest.raises(ValueError, match="fold is "):
        CellStore(tmp_path).save(cell, replace(side, fold=fold))


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (replace(regression(), recordings=["r1", "r1", "r2"]), "not unique"),
        (replace(regression(), persons=["p1"]), "not unique or lack a person"),
        (replace(regression(), y_pred=np.array([1.0, np.nan, 2.0])), "NaN or infinity"),
        (replace(regression(), y_pred=np.ones(2)), r"y_pred is float64 \(2,\)"),
        (replace(survival(), outcomes=["death"]), "risk is float32"),
        (replace(survival(), time=np.full((2, 2), np.nan, np.float32)), "at risk has no time"),
        (replace(survival(), event=np.ones((2, 2), np.int8)), "an event without being at risk"),
    ],
)
def test_contradictory_side_files_are_not_saved(tmp_path, cell, side, words):
    with pytest.raises(ValueError, match=words):
        CellStore(tmp_path).save(cell, side)


def test_a_side_file_of_an_unknown_kind_is_damaged(tmp_path, cell, monkeypatch):
    store = CellStore(tmp_path)
    path = store.save(cell, regression())
    monkeypatch.delitem(SIDES, "regression")
    with pytest.raises(IntegrityError, match="not a side file"):
        store.load_side(path)
