"""Standardisation: numpy's moments, chunk by chunk, and columns that do not vary."""

import numpy as np
import pytest

from hypnos_bench.errors import DataError, FitError
from hypnos_bench.heads.moments import column_moments
from hypnos_bench.heads.rows import as_rows


def table(n=10000, d=7, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-4, 4, d) + 1e3 * rng.standard_normal(d)).astype("f4")


def test_moments_are_those_of_the_kept_rows():
    x = table()
    kept = np.random.default_rng(1).random(len(x)) < 0.3
    for mask in (None, kept):
        mine = (x if mask is None else x[mask]).astype(np.float64)
        found = column_moments(as_rows(x), mask)
        np.testing.assert_allclose(found.mean, mine.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(found.scale, mine.std(axis=0), rtol=1e-10)
        assert not found.constant.any()
        np.testing.assert_allclose(found.standardise(mine), (mine - mine.mean(axis=0)) / mine.std(axis=0), atol=1e-8)


def test_constant_columns_become_zeros_even_where_they_vary_later():
    x = table(50, 3)
    x[:, 1] = 0.1
    found = column_moments(as_rows(x))
    assert found.constant.tolist() == [False, True, False]
    assert found.scale[1] == 1.0
    assert found.mean[1] == np.float64(np.float32(0.1))
    x[:, 1] = 77
    np.testing.assert_array_equal(found.standardise(x)[:, 1], 0.0)


def test_rows_that_are_not_finite_are_counted_kept_or_not():
    x = table(9000, 3)
    x[1, 0], x[8999, 2], x[8999, 0] = np.nan, np.inf, -np.inf
    kept = np.ones(len(x), dtype=bool)
    kept[8999] = False
    with pytest.raises(FitError, match="2 of 9000 training rows hold NaN or infinity, in 2 of 3 features"):
        column_moments(as_rows(x), kept)
    with pytest.raises(FitError, match="no training rows"):
        column_moments(as_rows(table(5)), np.zeros(5, dtype=bool))


def test_rows_to_predict_come_in_checked_chunks():
    x = table(9000, 3)
    found = column_moments(as_rows(x))
    for source in (x, as_rows(x), x.astype(np.float64)):
        pieces = [(low, z.copy()) for low, z in found.standardise_checked(source, "head")]
        assert [low for low, _ in pieces] == [0, 4096, 8192]
        np.testing.assert_array_equal(np.concatenate([z for _, z in pieces]), found.standardise(x))
    x[5000, 1] = np.nan
    with pytest.raises(DataError, match="rows 4096 and on"):
        list(found.standardise_checked(x, "head"))
    with pytest.raises(DataError, match="head was fitted on 3 features"):
        list(found.standardise_checked(x[:, :2], "head"))
