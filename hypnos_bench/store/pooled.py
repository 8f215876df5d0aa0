"""Rows of many recordings in one temporary file, so that a fit may be larger than memory.

The file has no name from the start: whatever kills the process, the space comes back. It is read by
position into the caller's buffer and never mapped, because mapped pages count as resident memory.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hypnos_bench.errors import DataError, UsageError

_TYPES = (np.dtype(np.float16), np.dtype(np.float32))


class PooledWriter:
    """Collects rows, recording by recording; `finish` gives the file to read from.

    Parameters
    ----------
    folder : Path
        Where there is room; made when missing.
    width : int
        Columns of every row.
    dtype : float32 or float16
        What is stored. Rows must fit: nothing is rounded in silence.

    Raises
    ------
    DataError
        When the disk refuses.
    """

    def __init__(self, folder: Path, width: int, dtype: DTypeLike = np.float32) -> None:
        self._dtype = np.dtype(dtype)
        if self._dtype not in _TYPES or width < 1:
            raise UsageError(f"pooled rows are float32 or float16 and at least one wide, got {dtype} x {width}")
        self._folder, self._width, self._rows = folder, width, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle: IO[bytes] | None = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _refused(folder, error) from error

    def append(self, rows: NDArray[np.floating[Any]]) -> tuple[int, int]:
        """Add the rows of one recording; returns the stretch ``(start, stop)`` that they occupy."""
        if self._handle is None:
            raise UsageError("these pooled rows are finished; nothing can be added")
        if rows.ndim != 2 or rows.shape[1] != self._width:
            raise DataError(f"rows of shape {rows.shape} do not fit into a pool of {self._width} columns")
        if not np.can_cast(rows.dtype, self._dtype, casting="safe"):
            raise UsageError(f"{rows.dtype} rows would lose digits in a pool of {self._dtype}")
        start = self._rows
        if rows.shape[0]:
            data = np.ascontiguousarray(rows, dtype=self._dtype).data.cast("B")
            try:
                while data:  # an unbuffered file may take less than it is given
                    data = data[self._handle.write(data) :]
            except OSError as error:
                self.close()
                raise _refused(self._folder, error) from error
        self._rows += rows.shape[0]
        return start, self._rows

    def finish(self) -> PooledFile:
        """Hand the file over for reading; the writer takes no more rows."""
        if self._handle is None:
            raise UsageError("these pooled rows are finished already")
        handle, self._handle = self._handle, None
        return PooledFile(handle, (self._rows, self._width), self._dtype)

    def close(self) -> None:
        """Give the space back, unless `finish` has handed the file over."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PooledFile:
    """Rows on disk: a ``heads.rows.RowSource``. Forked processes may read it side by side."""

    def __init__(self, handle: IO[bytes], shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._handle, self._shape, self.dtype = handle, shape, dtype
        self._scratch = np.empty((0, shape[1]), dtype=dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self._shape

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self._shape[0] * self._shape[1] * self.dtype.itemsize

    def read_into(self, start: int, out: NDArray[np.float32]) -> None:
        """Fill `out`, shape (k, columns), with rows ``start .. start + k``.

        Raises
        ------
        DataError
            When the disk fails or the file is shorter than it was.
        """
        n, width = self._shape
        if start < 0 or start + len(out) > n or out.shape[1] != width:
            raise UsageError(f"rows {start}..{start + len(out)} of width {out.shape[1]} asked from {n} x {width} rows")
        if len(out) == 0:
            return
        direct = self.dtype == out.dtype and out.flags.c_contiguous
        if not direct and len(self._scratch) < len(out):
            self._scratch = np.empty((len(out), width), dtype=self.dtype)
        target = out if direct else self._scratch[: len(out)]
        self._fill(target, start * width * self.dtype.itemsize)
        if direct:
            return
        import torch  # ten times faster than numpy at widening float16

        torch.from_numpy(out).copy_(torch.from_numpy(target))

    def _fill(self, target: NDArray[Any], offset: int) -> None:
        data = target.data.cast("B")
        try:
            while data:
                read = _read_at(self._handle.fileno(), data, offset)
                if read == 0:
                    raise DataError("a temporary file of pooled embeddings ended early; run again")
                data, offset = data[read:], offset + read
        except OSError as error:
            why = error.strerror or str(error)
            raise DataError(f"a temporary file of pooled embeddings cannot be read ({why}); run again") from error

    def close(self) -> None:
        """Give the space back."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_at(descriptor: int, data: memoryview, offset: int) -> int:
    """Read by position, which leaves the file's own position to other processes alone."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [data], offset)
    found = os.pread(descriptor, len(data), offset)
    data[: len(found)] = found
    return len(found)


def _refused(folder: Path, error: OSError) -> DataError:
    why = error.strerror or str(error)
    return DataError(f"{folder}: pooled embeddings cannot be written ({why}); make room there or name another folder")
