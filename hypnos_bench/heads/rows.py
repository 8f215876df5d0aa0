"""Rows of features that need not be in memory: an array, a file, or stretches of either, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import UsageError

F32 = NDArray[np.float32]


class RowSource(Protocol):
    """Rows of equal width that are read in blocks."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        ...

    def read_into(self, start: int, out: F32) -> None:
        """Fill `out`, shape (k, columns), with rows ``start .. start + k``."""
        ...


class ArrayRows:
    """Rows of an array in memory.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64, shape (n, d)
    """

    def __init__(self, x: NDArray[np.floating[Any]]) -> None:
        if x.ndim != 2 or x.dtype.kind != "f":
            raise UsageError(f"rows must be a two-dimensional array of floats, got {x.dtype} of shape {x.shape}")
        self._x = x

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self._x.shape[0], self._x.shape[1]

    def read_into(self, start: int, out: F32) -> None:
        """Fill `out`, shape (k, columns), with rows ``start .. start + k``."""
        _check_range(self.shape, start, out)
        block = self._x[start : start + len(out)]
        if block.dtype != np.float16:
            np.copyto(out, block, casting="same_kind")
            return
        import torch  # ten times faster than numpy at widening float16

        torch.from_numpy(out).copy_(torch.from_numpy(block if block.flags.writeable else block.copy()))


class Spans:
    """Stretches of another source, one after the other: the recordings that a split has chosen.

    Parameters
    ----------
    source : RowSource
    spans : sequence of (start, stop)
        In the order wanted; they may touch, repeat or be empty.
    """

    def __init__(self, source: RowSource, spans: Sequence[tuple[int, int]]) -> None:
        n = source.shape[0]
        for start, stop in spans:
            if not 0 <= start <= stop <= n:
                raise UsageError(f"stretch {start}..{stop} does not lie within {n} rows")
        kept = [(start, stop) for start, stop in spans if stop > start]
        self._source = source
        self._starts = np.array([start for start, _ in kept], dtype=np.int64)
        self._ends = np.cumsum([stop - start for start, stop in kept], dtype=np.int64)  # in rows of this view
        self._sizes = np.array([stop - start for start, stop in kept], dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return (int(self._ends[-1]) if self._ends.size else 0), self._source.shape[1]

    def read_into(self, start: int, out: F32) -> None:
        """Fill `out`, shape (k, columns), with rows ``start .. start + k``."""
        _check_range(self.shape, start, out)
        filled, i = 0, int(np.searchsorted(self._ends, start, side="right"))
        while filled < len(out):
            inside = start + filled - int(self._ends[i] - self._sizes[i])
            k = min(int(self._sizes[i]) - inside, len(out) - filled)
            self._source.read_into(int(self._starts[i]) + inside, out[filled : filled + k])
            filled, i = filled + k, i + 1


def as_rows(x: NDArray[np.floating[Any]] | RowSource) -> RowSource:
    """Wrap an array; anything else is a source already."""
    return ArrayRows(x) if isinstance(x, np.ndarray) else x


def blocks(source: RowSource, size: int) -> Iterator[tuple[int, F32]]:
    """First row and contents of consecutive blocks of at most `size` rows; one buffer serves them all."""
    n, d = source.shape
    buffer = np.empty((min(size, n), d), dtype=np.float32)
    for start in range(0, n, size):
        block = buffer[: min(size, n - start)]
        source.read_into(start, block)
        yield start, block


def _check_range(shape: tuple[int, int], start: int, out: F32) -> None:
    if start < 0 or start + len(out) > shape[0] or out.shape[1] != shape[1]:
        raise UsageError(
            f"rows {start}..{start + len(out)} of width {out.shape[1]} asked from a source of shape {shape}"
        )
