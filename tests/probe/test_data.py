"""Rows of a block: collecting them, in memory or in a file, and picking those of recordings."""

from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.probe.data import ProbeData, RowCollector, Targets, stretches


def block(n, width=3, start=0.0):
    return (np.arange(n * width, dtype=np.float32).reshape(n, width) + np.float32(start)).copy()


def collected(tmp_path, blocks, limit):
    collector = RowCollector(tmp_path, limit)
    for number, x in enumerate(blocks):
        collector.add(number, x)
    rows = collector.finish()
    found = np.empty(rows.shape, np.float32)
    rows.read_into(0, found)
    if hasattr(rows, "close"):
        rows.close()
    return collector, found


@pytest.mark.parametrize("limit", [10**9, 100, 1])
def test_rows_in_a_file_are_those_in_memory_and_nothing_is_left_in_the_folder(tmp_path, limit):
    blocks = [block(n, start=10 * n) for n in (4, 7, 2, 9)]
    collector, found = collected(tmp_path, blocks, limit)
    np.testing.assert_array_equal(found, np.concatenate(blocks))
    assert collector.odd == []
    assert collector.width == 3
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize("limit", [10**9, 120])
def test_the_usual_width_wins_and_others_are_left_out(tmp_path, limit):
    blocks = [block(2, 5), block(3), block(4), block(2, 4), block(5)]
    collector, found = collected(tmp_path, blocks, limit)
    assert collector.odd == [(0, 5), (3, 4)]
    np.testing.assert_array_equal(found, np.concatenate([blocks[1], blocks[2], blocks[4]]))


def test_stretches_join_neighbours():
    assert stretches(np.array([], dtype=np.intp)) == []
    assert stretches(np.array([3])) == [(3, 4)]
    assert stretches(np.array([0, 1, 2, 5, 6, 9])) == [(0, 3), (5, 7), (9, 10)]


def test_rows_of_recordings_and_their_features(tmp_path):
    rows = RowCollector(tmp_path, 1)
    for number, x in enumerate([block(2), block(3, start=100), block(1, start=200)]):
        rows.add(number, x)
    data = ProbeData(
        everyone={"a": "a", "b": "b"},
        recordings=["r0", "r1", "r2"],
        persons=["a", "b", "a"],
        first_row=np.array([0, 2, 5, 6]),
        targets=Targets(np.zeros(6, np.int64)),
        rows=rows.finish(),
    )
    assert data.of(["a"]) == [0, 2]
    index = data.rows_of([2, 0])
    np.testing.assert_array_equal(index, [0, 1, 5])
    picked = data.features(index)
    found = np.empty(picked.shape, np.float32)
    picked.read_into(0, found)
    np.testing.assert_array_equal(found[:, 0], [0, 3, 200])
    np.testing.assert_array_equal(data.recording_of_row, [0, 0, 1, 1, 1, 2])
    data.rows.close()
    with pytest.raises(ValueError, match="closed"):
        data.features(index).read_into(0, found)
