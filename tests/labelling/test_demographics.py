from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.errors import DataError
from hypnos_bench.labelling.demographics import fill_missing, read_demographics

Make = Callable[..., Recording]


def test_numbers_sex_and_what_is_missing(make_recording: Make) -> None:
    told = [
        {"age": 61.0, "sex": "male", "smoker": True},
        {"age": 70, "sex": "female", "smoker": False, "bmi": math.inf},
        {"sex": None, "age": math.nan},
    ]
    recordings = [make_recording(f"r{i}", covariates=covariates) for i, covariates in enumerate(told)]
    found = read_demographics(recordings, ("age", "sex", "smoker", "bmi"))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(
        found, [[61, 1, 1, math.nan], [70, 0, 0, math.nan], [math.nan, math.nan, math.nan, math.nan]]
    )
    assert read_demographics(recordings, ()).shape == (3, 0)


@pytest.mark.parametrize(("name", "value"), [("race", "white"), ("sex", "other"), ("age", "old")])
def test_words_are_refused(make_recording: Make, name: str, value: str) -> None:
    with pytest.raises(DataError, match=f"own: r1: {name} is '{value}': only numbers and sex"):
        read_demographics([make_recording(covariates={name: value})], (name,))


def test_missing_values_take_the_mean_of_training_rows_alone() -> None:
    values = np.array([[1.0, 5.0], [3.0, math.nan], [math.nan, math.nan], [100.0, 7.0]])
    filled, count = fill_missing(values, np.array([True, True, True, False]))
    np.testing.assert_array_equal(filled, [[1, 5], [3, 5], [2, 5], [100, 7]])
    assert count == 3
    assert math.isnan(values[2, 0])  # the input stays as it is


def test_a_column_that_no_training_row_has_is_zero_for_everybody() -> None:
    values = np.array([[1.0, math.nan], [2.0, math.nan], [3.0, 40.0]])
    filled, count = fill_missing(values, np.array([True, True, False]))
    assert filled[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert count == 3


@given(arrays(np.float64, (6, 3), elements=st.one_of(st.just(math.nan), st.floats(-1e3, 1e3))), st.integers(1, 62))
def test_filling_leaves_no_gap_keeps_training_means_and_looks_at_no_test_row(values: np.ndarray, mask: int) -> None:
    training = np.array([bool(mask >> i & 1) for i in range(6)])
    filled, count = fill_missing(values, training)
    assert np.isfinite(filled).all()
    known = ~np.isnan(values[training]).all(axis=0)
    np.testing.assert_allclose(
        filled[training][:, known].mean(axis=0), np.nanmean(values[training][:, known], axis=0), atol=1e-9
    )
    assert count >= int(np.isnan(values).sum())
    other = np.where(training[:, None], values, 0.5)
    np.testing.assert_array_equal(fill_missing(other, training)[0][training], filled[training])
