import numpy as np
import pytest

from hypnos_bench.signals.gaps import fill_gaps, missing_steps


def test_gaps_are_bridged_by_a_line():
    filled, gaps = fill_gaps(np.array([1.0, np.nan, 3.0, np.inf]))
    np.testing.assert_array_equal(filled, [1, 2, 3, 3])
    np.testing.assert_array_equal(gaps, [False, True, False, True])
    np.testing.assert_array_equal(fill_gaps(np.full(3, np.nan))[0], np.zeros(3))
    whole = np.arange(4.0)
    assert fill_gaps(whole)[0] is whole


@pytest.mark.parametrize(
    ("first", "stop", "rate_hz", "missing"),
    [
        (100, 110, 100, []),  # a tenth of second 1 may be bridged
        (100, 111, 100, [1]),
        (95, 215, 100, [1, 2]),  # 5 % of second 0 are bridged, 15 % of second 2 are too much
        (90, 210, 100, [1]),
        (299, 300, 100, []),
        (0, 300, 100, [0, 1, 2]),
        (13, 14, 12.8, []),  # second 1 has 13 samples, one of them is less than a tenth
        (13, 15, 12.8, [1]),
    ],
)
def test_a_second_lacks_more_than_a_tenth_of_its_samples(first, stop, rate_hz, missing):
    gaps = np.zeros(round(3 * rate_hz), np.bool_)
    gaps[first:stop] = True
    found = missing_steps(gaps, rate_hz)
    assert len(found) == 3
    assert np.flatnonzero(found).tolist() == missing


def test_a_last_second_that_is_cut_off_counts_by_the_samples_it_has():
    gaps = np.zeros(250, np.bool_)
    gaps[244:] = True
    assert missing_steps(gaps, 100).tolist() == [False, False, True]
    assert missing_steps(np.zeros(0, np.bool_), 100).tolist() == []
