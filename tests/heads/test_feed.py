"""Shuffled batches: every row once a pass, well mixed, from memory or from blocks."""

import numpy as np
import pytest

from hypnos_bench.heads.feed import Feed
from hypnos_bench.heads.moments import column_moments
from hypnos_bench.heads.rows import as_rows


class Watched:
    """A row source that keeps count of its reads."""

    def __init__(self, x):
        self._x, self.shape, self.reads = x, x.shape, []

    def read_into(self, start, out):
        self.reads.append((start, len(out)))
        out[:] = self._x[start : start + len(out)]


def make(n=1000, block_rows=64, pool_rows=200, share=0.7, seed=0, source=as_rows):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, 3)) * [1e-3, 1.0, 50.0] + [1000.0, 0.0, 7.0]).astype(np.float32)
    rows = np.flatnonzero(rng.random(n) < share)
    kept = np.zeros(n, dtype=bool)
    kept[rows] = True
    moments = column_moments(as_rows(x), kept)
    watched = source(x)
    return Feed(watched, moments, rows, block_rows=block_rows, pool_rows=pool_rows, device="cpu"), x, rows, watched


@pytest.mark.parametrize("pool_rows", [1, 200, 10**6])
def test_a_pass_shows_every_row_once_standardised(pool_rows):
    feed, x, rows, _ = make(pool_rows=pool_rows)
    exact = (x[rows].astype(np.float64) - x[rows].mean(axis=0, dtype=np.float64)) / x[rows].std(axis=0, dtype=float)
    rng = np.random.default_rng(0)
    orders = []
    for _ in range(2):
        batches = [(z.numpy(), positions.numpy()) for z, positions in feed.shuffled(32, rng)]
        seen = np.concatenate([positions for _, positions in batches])
        np.testing.assert_array_equal(np.sort(seen), np.arange(len(rows)))
        np.testing.assert_allclose(np.concatenate([z for z, _ in batches]), exact[seen], atol=2e-6)
        assert max(len(z) for z, _ in batches) <= 32
        orders.append(seen)
    assert (orders[0] != orders[1]).mean() > 0.9
    ordered = [(z.numpy(), positions.numpy()) for z, positions in feed.ordered()]
    np.testing.assert_array_equal(np.concatenate([positions for _, positions in ordered]), np.arange(len(rows)))
    np.testing.assert_allclose(np.concatenate([z for z, _ in ordered]), exact, atol=2e-6)
    assert len(feed) == len(rows)


def test_a_large_mean_costs_no_digits():
    """A plain float32 difference would be off by 3e-2 standard deviations in the first column."""
    feed, x, rows, _ = make()
    z = np.concatenate([z.numpy() for z, _ in feed.ordered()])
    exact = (x[rows, 0].astype(np.float64) - x[rows, 0].mean(dtype=np.float64)) / x[rows, 0].std(dtype=np.float64)
    np.testing.assert_allclose(z[:, 0], exact, atol=1e-6)


def test_what_fits_is_read_once_and_what_does_not_is_read_in_every_pass():
    feed, _, _, source = make(pool_rows=10**6, source=Watched)
    for _ in range(3):
        list(feed.shuffled(50, np.random.default_rng(0)))
    assert sorted(source.reads) == [(low, min(64, 1000 - low)) for low in range(0, 1000, 64)]
    feed, _, _, source = make(pool_rows=200, source=Watched)
    assert source.reads == []
    for _ in range(3):
        list(feed.shuffled(50, np.random.default_rng(0)))
    assert len(source.reads) == 3 * 16


def test_blocks_without_rows_are_not_read():
    x = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    source = Watched(x)
    rows = np.r_[130:140, 900:1000]
    feed = Feed(source, column_moments(as_rows(x)), rows, block_rows=64, pool_rows=70, device="cpu")
    list(feed.shuffled(16, np.random.default_rng(0)))
    assert sorted(source.reads) == [(130, 10), (900, 60), (960, 40)]  # neighbours, and nothing beside them


def test_batches_mix_the_blocks_of_a_pool():
    feed, _, _rows, _ = make(n=2000, block_rows=50, pool_rows=500, share=1.0)
    batches = [positions.numpy() for _, positions in feed.shuffled(50, np.random.default_rng(0))]
    assert len(batches) == 40
    assert np.mean([len(np.unique(positions // 50)) for positions in batches]) > 8


def test_memory_and_source_give_the_same_batches():
    for pool_rows in (200, 10**6):
        feeds = [make(pool_rows=pool_rows, source=source)[0] for source in (as_rows, Watched)]
        passes = [list(feed.shuffled(32, np.random.default_rng(4))) for feed in feeds]
        for (z, positions), (other, where) in zip(*passes, strict=True):
            np.testing.assert_array_equal(z.numpy(), other.numpy())
            np.testing.assert_array_equal(positions.numpy(), where.numpy())
