"""Training rows made ready for many fits at once: moments of all rows, and a sample of them in memory.

One pass over the source gives exact means, variances and class sums by *part* (a part is a set of rows
that every fit uses whole or not at all, such as a fold), and fills a preallocated buffer with an
evenly spaced sample of every recording. Rows are kept *centred*: minus one float32 vector near
their mean, which loses nothing and keeps float32 products exact enough. What remains of the
standardisation differs between fits and is folded into their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.heads.rows import RowSource, blocks

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]

SAMPLE_ROWS = 131_072
"""Rows kept in memory: all of a small table, an evenly spaced sample of a large one (400 MB at 768 columns)."""

_CLASS_ROWS = 32  # rows of a rare class that a sample keeps at least
_BLOCK_ROWS = 512
_SHIFT_ROWS = 1024
_DOUBLE_VALUES = 2_000_000  # fewer values than this are worked on in float64: it costs nothing there
_FLOAT32_ULP = 2.0**-23


@dataclass(frozen=True)
class Labels:
    """What one family of fits predicts: codes 0..n_classes-1, and -1 where a row has no label.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
    n_classes : int
    """

    y: Codes
    n_classes: int


@dataclass
class Sums:
    """Sums over centred rows, by part; what a fit needs of its labels is in here.

    Parameters
    ----------
    rows : ndarray of int64, shape (parts,)
    total, squares : ndarray, shape (parts, d)
    counts : list of ndarray of int64, shape (parts, classes), one per label family
    classes : list of ndarray, shape (parts, classes, d), one per label family
    """

    rows: Codes
    total: F64
    squares: F64
    counts: list[Codes]
    classes: list[F64]

    @classmethod
    def zeros(cls, n_parts: int, n_classes: Sequence[int], d: int) -> Sums:
        """Nothing summed yet."""
        return cls(
            np.zeros(n_parts, dtype=np.int64),
            np.zeros((n_parts, d)),
            np.zeros((n_parts, d)),
            [np.zeros((n_parts, k), dtype=np.int64) for k in n_classes],
            [np.zeros((n_parts, k, d)) for k in n_classes],
        )

    def add(self, part: int, z: Floats, y: Sequence[Codes]) -> None:
        """Add rows of one part with their codes in each label family."""
        c = len(z)
        widths = [counts.shape[1] for counts in self.counts]
        marks = np.zeros((1 + sum(widths), c), dtype=z.dtype)
        marks[0] = 1.0
        low = 1
        for codes, width, counts in zip(y, widths, self.counts, strict=True):
            if codes[0] >= 0:  # a part has labels throughout, or none
                marks[low + codes, np.arange(c)] = 1.0
                counts[part] += np.bincount(codes, minlength=width)
            low += width
        found = marks @ z
        self.rows[part] += c
        self.total[part] += found[0]
        self.squares[part] += (marks[:1] @ np.square(z))[0]
        low = 1
        for classes, width in zip(self.classes, widths, strict=True):
            classes[part] += found[low : low + width]
            low += width


class Passes(Protocol):
    """Centred rows that can be gone over again and again, and their sums."""

    @property
    def sums(self) -> Sums:
        """Sums by part over the same rows."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the rows."""
        ...

    def pieces(self, size: int) -> Iterator[tuple[Floats, int]]:
        """Blocks of at most `size` rows of one part each, with that part; valid until the next one."""
        ...


@dataclass(frozen=True)
class Resident:
    """Centred rows in memory, sorted by part.

    Parameters
    ----------
    z : ndarray, shape (k, d)
    y : list of ndarray of int64, shape (k,)
    bounds : ndarray of int64, shape (parts + 1,)
        Part p is rows ``bounds[p] .. bounds[p + 1]``.
    index : ndarray of int64, shape (k,)
        Where each row stands in the source.
    sums : Sums
    """

    z: Floats
    y: list[Codes]
    bounds: Codes
    index: Codes
    sums: Sums

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the rows."""
        return self.z.dtype

    def pieces(self, size: int) -> Iterator[tuple[Floats, int]]:
        """Blocks of at most `size` rows of one part each, with that part."""
        for low, high, part in self.stretches(size):
            yield self.z[low:high], part

    def stretches(self, size: int) -> Iterator[tuple[int, int, int]]:
        """First row, last row (exclusive) and part of each block."""
        for part, (start, stop) in enumerate(zip(self.bounds[:-1].tolist(), self.bounds[1:].tolist(), strict=True)):
            for low in range(start, stop, size):
                yield low, min(low + size, stop), part

    def every(self, step: int) -> Thinned:
        """Every `step`-th row of each part."""
        return Thinned(self, step)


@dataclass(frozen=True)
class Thinned:
    """Every `step`-th row of each part of resident rows; views, no copies."""

    of: Resident
    step: int

    def pieces(self, size: int) -> Iterator[tuple[Floats, int]]:
        """Blocks of at most `size` rows of one part each, with that part."""
        for low, high, part in self.of.stretches(size * self.step):
            yield self.of.z[low : high : self.step], part

    def rows(self) -> Codes:
        """Number of rows by part."""
        found = np.zeros(len(self.of.bounds) - 1, dtype=np.int64)
        for low, high, part in self.of.stretches(_BLOCK_ROWS * self.step):
            found[part] += len(range(low, high, self.step))
        return found


@dataclass(frozen=True)
class Streamed:
    """All rows of a source, read and centred anew in every pass."""

    source: RowSource
    shift: F32
    part: NDArray[np.int16]
    sums: Sums

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the rows."""
        return self.shift.dtype

    def pieces(self, size: int) -> Iterator[tuple[Floats, int]]:
        """Blocks of at most `size` rows of one part each, with that part; valid until the next one."""
        for start, block in blocks(self.source, size):
            block -= self.shift
            for part, chosen in _parts_of(self.part[start : start + len(block)]):
                yield block[chosen], part


@dataclass(frozen=True)
class RowSet:
    """The rows of one fit: which label family and parts, and how they are standardised.

    Parameters
    ----------
    family : int
    parts : tuple of int
        Refined parts of the table.
    classes : ndarray of int64
        Codes that occur.
    mean, scale : ndarray, shape (d,)
        In centred units; `scale` is 1 for a constant column.
    constant : ndarray of bool, shape (d,)
        Columns that do not vary; their weights are zero.
    """

    family: int
    parts: tuple[int, ...]
    classes: Codes
    mean: F64
    scale: F64
    constant: NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """Everything that fits to the same rows share.

    Attributes
    ----------
    everything : Passes
        All rows.
    sample : Resident
        The rows in memory; the same as `everything` when all of them are.
    shift : ndarray of float32, shape (d,)
        What was taken off every row.
    part_of : ndarray of int64
        The caller's part of each refined part. Parts are refined so that each has labels of a family throughout or
        not at all.
    """

    everything: Passes
    sample: Resident
    shift: F32
    part_of: Codes
    n: int

    @classmethod
    def of(
        cls,
        source: RowSource,
        labels: Sequence[Labels],
        *,
        part: Codes | None = None,
        recording: Codes | None = None,
        sample_rows: int = SAMPLE_ROWS,
    ) -> Table:
        """Read all rows once.

        Parameters
        ----------
        source : RowSource
        labels : sequence of Labels
            Families of labels on the same rows.
        part : ndarray of int64, shape (n,), optional
            Codes; a fit uses the rows of a part all together or not at all.
        recording : ndarray of int64, shape (n,), optional
            Group codes; each keeps a row in the sample.
        sample_rows : int

        Raises
        ------
        FitError
            For rows that are not finite, or too large to be squared.
        """
        n, d = source.shape
        refined, part_of = _refine(np.zeros(n, dtype=np.int64) if part is None else part, labels)
        index = _sample(n, sample_rows, labels, recording)
        index = index[np.argsort(refined[index], kind="stable")]
        whole = len(index) == n
        dtype = np.dtype(np.float64 if whole and n * d <= _DOUBLE_VALUES else np.float32)
        z = np.empty((len(index), d), dtype=dtype)
        place = np.full(n, -1, dtype=np.int64)
        place[index] = np.arange(len(index))

        shift = _centre(source)
        sums = Sums.zeros(len(part_of), [family.n_classes for family in labels], d)
        # A value that is not finite, or whose square is not, shows in the sums: no row is looked at twice.
        with np.errstate(over="ignore", invalid="ignore"):
            for start, block in blocks(source, _BLOCK_ROWS):
                centred = np.subtract(block, shift, dtype=dtype, out=block if dtype == block.dtype else None)
                stop = start + len(block)
                kept = place[start:stop]
                inside = kept >= 0
                z[kept[inside]] = centred[inside]
                for p, chosen in _parts_of(refined[start:stop]):
                    sums.add(p, centred[chosen], [family.y[start:stop][chosen] for family in labels])
        if not np.isfinite(sums.squares).all():
            raise FitError(_not_finite(source))
        bounds = np.searchsorted(refined[index], np.arange(len(part_of) + 1)).astype(np.int64)
        y = [family.y[index] for family in labels]
        sample = Resident(z, y, bounds, index, sums if whole else _sums_of(z, y, bounds, labels))
        everything: Passes = sample if whole else Streamed(source, shift, refined, sums)
        return cls(everything, sample, shift, part_of, n)

    @property
    def whole(self) -> bool:
        """Whether all rows are in memory."""
        return self.everything is self.sample

    def row_set(self, sums: Sums, family: int = 0, parts: Sequence[int] | None = None) -> RowSet:
        """Rows with a label of `family` in some of the caller's parts (default: all), standardised by themselves."""
        wanted = np.ones(len(self.part_of), dtype=bool) if parts is None else np.isin(self.part_of, list(parts))
        chosen = np.flatnonzero(wanted & (sums.counts[family].sum(axis=1) > 0))
        counts = sums.counts[family][chosen].sum(axis=0)
        n = max(int(counts.sum()), 1)
        mean = sums.total[chosen].sum(axis=0) / n
        variance = np.maximum(sums.squares[chosen].sum(axis=0) / n - mean**2, 0.0)
        # Columns that vary less than float32 can tell apart.
        constant = np.sqrt(variance) <= _FLOAT32_ULP * np.abs(self.shift + mean)
        # Columns that vary in other parts alone: what remains is the rounding of sums over a block far from the centre.
        constant |= variance <= 1.5 * _BLOCK_ROWS * float(np.finfo(self.sample.dtype).eps) * mean**2
        scale = np.where(constant, 1.0, np.sqrt(variance))
        return RowSet(family, tuple(chosen.tolist()), np.flatnonzero(counts), mean, scale, constant)


def _refine(part: Codes, labels: Sequence[Labels]) -> tuple[NDArray[np.int16], Codes]:
    """Parts in which a family labels all rows or none, and the caller's part of each."""
    code = part.astype(np.int64)
    for family in labels:
        code = 2 * code + (family.y >= 0)
    found, inverse = np.unique(code, return_inverse=True)
    return inverse.astype(np.int16), found >> len(labels)


def _sample(n: int, limit: int, labels: Sequence[Labels], recording: Codes | None) -> Codes:
    """Evenly spaced rows: about `limit`, and some of every recording and class."""
    if n <= limit:
        return np.arange(n)
    before = np.arange(n + 1) * limit // n
    picked = before[1:] > before[:-1]
    if recording is not None:
        codes, first = np.unique(recording, return_index=True)
        picked[first[~np.isin(codes, recording[picked])]] = True
    for family in labels:
        for code in range(family.n_classes):
            own = np.flatnonzero(family.y == code)
            if own.size and picked[own].sum() < _CLASS_ROWS:
                picked[own[:: max(1, own.size // _CLASS_ROWS)]] = True
    return np.flatnonzero(picked)


def _centre(source: RowSource) -> F32:
    """A float32 vector near the mean of all rows; exactly the value of a column that is constant."""
    n, d = source.shape
    picked = np.unique(np.linspace(0, n - 1, min(n, _SHIFT_ROWS)).astype(np.int64))
    total, row = np.zeros(d), np.empty((1, d), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in picked.tolist():
            source.read_into(i, row)
            total += row[0]
        return (total / len(picked)).astype(np.float32)


def _parts_of(part: NDArray[np.int16]) -> Iterator[tuple[int, Any]]:
    """Parts in a block, each with what selects its rows."""
    if (part == part[0]).all():
        yield int(part[0]), slice(None)
        return
    for p in np.unique(part).tolist():
        yield p, np.flatnonzero(part == p)


def _sums_of(z: Floats, y: list[Codes], bounds: Codes, labels: Sequence[Labels]) -> Sums:
    """Sums over resident rows alone."""
    sums = Sums.zeros(len(bounds) - 1, [family.n_classes for family in labels], z.shape[1])
    rows = Resident(z, y, bounds, np.zeros(0, dtype=np.int64), sums)
    for low, high, part in rows.stretches(_BLOCK_ROWS):
        sums.add(part, z[low:high], [codes[low:high] for codes in y])
    return sums


def _not_finite(source: RowSource) -> str:
    """Count what cannot be learned from."""
    n, d = source.shape
    bad_rows, bad_columns, largest = 0, np.zeros(d, dtype=bool), 0.0
    for _, block in blocks(source, _BLOCK_ROWS):
        bad = ~np.isfinite(block)
        bad_rows += int(bad.any(axis=1).sum())
        bad_columns |= bad.any(axis=0)
        largest = max(largest, float(np.abs(np.where(bad, 0.0, block)).max()))
    if bad_rows:
        return (
            f"{bad_rows} of {n} training rows hold NaN or infinity, in {int(bad_columns.sum())} of "
            f"{d} features; embed those recordings again or exclude them"
        )
    return f"training rows hold values up to {largest:.3g}, too large to be standardised; check how they were embedded"
