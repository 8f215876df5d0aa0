"""Standardised rows for training by gradient steps: shuffled batches, also of rows that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.moments import Moments
from hypnos_bench.heads.rows import F32, RowSource

if TYPE_CHECKING:
    import torch


class Feed:
    """Some rows of a source, standardised in float32.

    Rows are read in blocks of neighbours. Up to `pool_rows` of them are kept; more are read anew in every pass:
    blocks in random order fill a pool, and batches are drawn from the shuffled pool. Batches then mix the blocks
    of one pool only, which is as good as a full shuffle as long as a pool holds many recordings.

    Parameters
    ----------
    source : RowSource
    moments : Moments
    rows : ndarray of intp
        Row numbers, ascending. Batches name rows by their position in this list.
    block_rows, pool_rows : int
    device : str
    """

    def __init__(
        self,
        source: RowSource,
        moments: Moments,
        rows: NDArray[np.intp],
        *,
        block_rows: int,
        pool_rows: int,
        device: str,
    ) -> None:
        self._source, self._rows, self._device = source, rows, device
        self._block_rows, self._pool_rows = block_rows, max(pool_rows, block_rows)
        self._high = moments.mean.astype(np.float32)
        self._low = (moments.mean - self._high).astype(np.float32)
        self._inverse = moments.inverse.astype(np.float32)
        # Block b holds positions bounds[b]:bounds[b + 1]; blocks without any of the rows are never read.
        block = rows // block_rows
        self._starts = np.unique(block) * block_rows
        self._bounds = np.append(np.searchsorted(block, np.unique(block)), rows.size)
        self._kept = self._pool(np.arange(self._starts.size)) if rows.size <= self._pool_rows else None

    def __len__(self) -> int:
        return int(self._rows.size)

    def shuffled(self, batch_rows: int, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One pass: every row once, in batches of equal size (up to one row) of at most `batch_rows`."""
        import torch

        order = np.arange(self._starts.size) if self._kept is not None else rng.permutation(self._starts.size)
        for blocks in self._pools(order):
            z, positions = self._kept or self._pool(blocks)
            for batch in np.array_split(rng.permutation(len(z)), -(-len(z) // batch_rows)):
                picked = torch.from_numpy(batch).to(self._device)
                yield z[picked], positions[picked]

    def ordered(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every row once, in order."""
        for b in range(self._starts.size):
            if self._kept is not None:
                span = slice(self._bounds[b], self._bounds[b + 1])
                yield self._kept[0][span], self._kept[1][span]
            else:
                yield self._pool(np.array([b]))

    def _pools(self, order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Consecutive blocks of `order` that hold at most `pool_rows` rows together."""
        sizes = np.diff(self._bounds)[order]
        first, held = 0, 0
        for i, size in enumerate(sizes):
            if held + size > self._pool_rows:
                yield order[first:i]
                first, held = i, 0
            held += size
        yield order[first:]

    def _pool(self, blocks: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
        """Read and standardise blocks: rows and their positions."""
        import torch

        n, d = self._source.shape
        positions = np.concatenate([np.arange(self._bounds[b], self._bounds[b + 1]) for b in blocks])
        pool: F32 = np.empty((positions.size, d), dtype=np.float32)
        buffer = np.empty((min(self._block_rows, n), d), dtype=np.float32)
        filled = 0
        for b in blocks:
            start = int(self._starts[b])
            wanted = self._rows[self._bounds[b] : self._bounds[b + 1]] - start
            mine = pool[filled : filled + wanted.size]
            if wanted[-1] - wanted[0] == wanted.size - 1:
                self._source.read_into(start + int(wanted[0]), mine)
            else:
                block = buffer[: min(self._block_rows, n - start)]
                self._source.read_into(start, block)
                np.take(block, wanted, axis=0, out=mine, mode="clip")  # the default mode would copy twice
            # The mean in two float32 parts: as exact as float64 for features whose mean dwarfs their spread.
            mine -= self._high
            mine -= self._low
            mine *= self._inverse
            filled += len(mine)
        return torch.from_numpy(pool).to(self._device), torch.from_numpy(positions).to(self._device)
