"""What is accepted as follow-up, and how weights are kept."""

import numpy as np
import pytest

from hypnos_bench.metrics.survival.rows import Rows, blocks, finite_scores, person_matrix


@pytest.mark.parametrize("time", [[1.0, np.nan], [1.0, np.inf], [1.0, -0.5]])
def test_impossible_times_are_refused(time):
    with pytest.raises(ValueError, match="1 of 2 times are negative or not finite"):
        Rows.checked(time, [1, 0])


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"event \(3,\)"):
        Rows.checked([1.0, 2.0], [1, 0, 1])
    with pytest.raises(ValueError, match="do not fit 3 rows"):
        finite_scores([1.0], 3)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="2 of 3 scores"):
        finite_scores([1.0, np.nan, np.inf], 3)


def test_integer_weights_become_float32_only_while_sums_are_exact():
    assert person_matrix(np.ones((2, 3), dtype=np.int64)).dtype == np.float32
    assert person_matrix(np.full((1, 2), 2**21, dtype=np.int64)).dtype == np.float64
    assert person_matrix(np.ones((2, 3)) / 2).dtype == np.float64
    once = person_matrix(np.ones((2, 3), dtype=np.int64))
    assert person_matrix(once) is once
    with pytest.raises(ValueError, match="replicates, persons"):
        person_matrix(np.ones(3))


def test_blocks_cover_everything_once():
    assert [(b.start, b.stop) for b in blocks(7, 3)] == [(0, 3), (3, 6), (6, 7)]
    assert len(list(blocks(3, 0))) == 3
    assert not list(blocks(0, 5))
