"""Row sources: blocks equal slices, whatever lies behind them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.errors import UsageError
from hypnos_bench.heads.rows import ArrayRows, Spans, as_rows, blocks


def read(source, start, k):
    out = np.full((k, source.shape[1]), -1, dtype=np.float32)
    source.read_into(start, out)
    return out


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_any_width_are_read_as_float32(dtype):
    x = np.arange(20, dtype=dtype).reshape(10, 2)
    x.flags.writeable = False
    np.testing.assert_array_equal(read(as_rows(x), 3, 4), x[3:7].astype(np.float32))
    assert as_rows(x).shape == (10, 2)


def test_a_source_is_left_alone():
    source = ArrayRows(np.zeros((2, 2), dtype=np.float32))
    assert as_rows(source) is source


@given(
    spans=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), min_size=1, max_size=6),
    size=st.integers(1, 50),
)
def test_stretches_follow_each_other(spans, size):
    x = np.arange(90, dtype=np.float32).reshape(30, 3)
    expected = np.concatenate([x[a:b] for a, b in spans])
    source = Spans(ArrayRows(x), [tuple(s) for s in spans])
    assert source.shape == expected.shape
    found = [block.copy() for _, block in blocks(source, size)]
    np.testing.assert_array_equal(np.concatenate([*found, np.zeros((0, 3))]), expected)
    for start in range(0, len(expected), 7):
        k = min(5, len(expected) - start)
        np.testing.assert_array_equal(read(source, start, k), expected[start : start + k])


def test_what_is_not_there_is_refused():
    source = ArrayRows(np.zeros((4, 2), dtype=np.float32))
    for start, shape in ((3, (2, 2)), (-1, (1, 2)), (0, (2, 3))):
        with pytest.raises(UsageError, match="asked from a source of shape"):
            source.read_into(start, np.zeros(shape, dtype=np.float32))
    with pytest.raises(UsageError, match=r"stretch 2\.\.5 does not lie within 4 rows"):
        Spans(source, [(2, 5)])
    with pytest.raises(UsageError, match="two-dimensional array of floats"):
        ArrayRows(np.zeros(3, dtype=np.float32))
