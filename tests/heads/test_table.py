"""Prepared rows: exact moments, samples that leave nobody out, and refusals."""

import subprocess
import sys

import numpy as np
import pytest

from hypnos_bench.errors import FitError
from hypnos_bench.heads.rows import ArrayRows
from hypnos_bench.heads.table import Labels, Table


def simulated(n=1000, d=4, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * 10.0 ** rng.integers(-4, 4, d) + 50 * rng.standard_normal(d)).astype(np.float32)
    return x, rng.integers(0, 3, n)


@pytest.mark.parametrize("sample_rows", [10**6, 100])
def test_moments_are_those_of_all_rows(sample_rows):
    x, y = simulated()
    x[::500] *= 1e3  # rows that no sample may decide about
    table = Table.of(ArrayRows(x), [Labels(y, 3)], sample_rows=sample_rows)
    rowset = table.row_set(table.everything.sums)
    np.testing.assert_allclose(table.shift + rowset.mean, x.astype(float).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(rowset.scale, x.astype(float).std(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(table.everything.sums.counts[0][0], np.bincount(y))
    sums = table.everything.sums.classes[0][0] + np.bincount(y)[:, None] * table.shift.astype(float)
    np.testing.assert_allclose(sums, [x[y == k].astype(float).sum(axis=0) for k in range(3)], rtol=1e-4)


def test_a_sample_holds_every_recording_and_every_class():
    x, _ = simulated(3000)
    y = np.zeros(3000, dtype=np.int64)
    y[1234] = 1
    y[1500:1600] = 2
    recording = np.repeat([0, 1, 2, 3], [1495, 3, 2, 1500])
    table = Table.of(ArrayRows(x), [Labels(y, 3)], recording=recording, sample_rows=300)
    assert 300 <= len(table.sample.z) <= 340
    assert set(recording[table.sample.index]) == {0, 1, 2, 3}
    counts = np.bincount(y[table.sample.index])
    assert counts[1] == 1
    assert counts[2] >= 32
    gaps = np.diff(np.sort(table.sample.index))
    assert gaps.max() <= 10
    shift = table.shift.astype(np.float64)
    np.testing.assert_allclose(table.sample.z + shift, x[table.sample.index], rtol=1e-5, atol=1e-4)


def test_parts_and_missing_labels():
    x, y = simulated(600)
    part = np.arange(600) // 7 % 3
    other = np.where(np.arange(600) % 5 == 0, -1, y)
    for sample_rows in (10**6, 100):
        table = Table.of(ArrayRows(x), [Labels(y, 3), Labels(other, 3)], part=part, sample_rows=sample_rows)
        for family, codes in enumerate((y, other)):
            for parts in (None, [0], [0, 2]):
                own = (codes >= 0) & (np.isin(part, parts) if parts else True)
                rowset = table.row_set(table.everything.sums, family, parts)
                centre, scale = x[own].astype(float).mean(axis=0), x[own].astype(float).std(axis=0)
                np.testing.assert_allclose(table.shift + rowset.mean, centre, rtol=1e-5)
                np.testing.assert_allclose(rowset.scale, scale, rtol=1e-4)
        assert sum(len(z) for z, _ in table.everything.pieces(64)) == 600


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_counted(bad):
    x, y = simulated()
    x[3, 1] = x[5, 1] = bad
    x[5, 2] = -np.inf
    with pytest.raises(FitError, match="2 of 1000 training rows hold NaN or infinity, in 2 of 4 features"):
        Table.of(ArrayRows(x), [Labels(y, 3)])


def test_values_that_cannot_be_squared_are_refused():
    x, y = simulated()
    x[7, 0] = 3e30
    with pytest.raises(FitError, match="values up to 3e.30, too large to be standardised"):
        Table.of(ArrayRows(x), [Labels(y, 3)], sample_rows=100)


def test_memory_does_not_grow_with_the_rows():
    """A fit to 150 MB of generated rows, of which a thirtieth may be held, in a process of its own."""
    script = """
import resource, numpy as np
from hypnos_bench.heads.base import TrainingRows
from hypnos_bench.heads.linear import fit_linear

class Generated:
    shape = (300_000, 128)
    block = np.random.default_rng(0).standard_normal((997, 128), dtype=np.float32)
    def read_into(self, start, out):
        np.take(self.block, np.arange(start, start + len(out)), axis=0, mode="wrap", out=out)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

n = Generated.shape[0]
y = (Generated.block[:, 0] + np.random.default_rng(1).standard_normal(997) > 0).astype(np.int64)[np.arange(n) % 997]
person = np.arange(n) // 10_000
small = TrainingRows(np.ones((5, 128), np.float32), y[:5], person[:5], person[:5], 2)
before = peak()
head = fit_linear(TrainingRows(Generated(), y, person, person, 2), {"lambdas": [1e-2], "sample_rows": 10_000})
assert "of 300000 rows" in head.certificate.criterion
print((peak() - before) / 1e6)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 75  # 5 MB of sample, 20 MB of codes; all rows would be 154 MB
