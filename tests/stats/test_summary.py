"""Mean and spread over seeds."""

import math
import statistics

from hypnos_bench.stats.summary import Summary, summarise


def test_sample_standard_deviation():
    values = [0.71, 0.74, 0.69, 0.8]
    summary = summarise(values)
    assert math.isclose(summary.mean, statistics.mean(values))
    assert math.isclose(summary.sd, statistics.stdev(values))
    assert (summary.n, summary.n_undefined) == (4, 0)


def test_one_seed_has_no_spread():
    assert summarise([0.5]) == Summary(0.5, None, 1, 0)


def test_undefined_values_are_counted():
    assert summarise([0.5, math.nan, None]) == Summary(0.5, None, 1, 2)
    assert summarise([math.nan]) == Summary(None, None, 0, 1)
    assert summarise([]) == Summary(None, None, 0, 0)
