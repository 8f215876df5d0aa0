"""What the cells of a block learn from and are tested on: rows of features with their labels, by recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Exclusion
from hypnos_bench.heads.rows import ArrayRows, RowSource, Spans
from hypnos_bench.store.pooled import PooledWriter

Indices = NDArray[np.intp]

IN_MEMORY_BYTES = 2**30
"""Features beyond this are spilled to an unlinked file in the results folder."""


@dataclass(frozen=True)
class Targets:
    """Labels of rows, by the kind of task; one of the three.

    Parameters
    ----------
    y : ndarray of int64 (classes) or float64 (numbers), shape (n,), optional
    time : ndarray of float64, shape (n, M), optional
        Years of follow-up per outcome, NaN where not at risk.
    event, at_risk : ndarray of bool, shape (n, M), optional
    outcomes : tuple of str, length M
    """

    y: NDArray[np.int64] | NDArray[np.float64] | None = None
    time: NDArray[np.float64] | None = None
    event: NDArray[np.bool_] | None = None
    at_risk: NDArray[np.bool_] | None = None
    outcomes: tuple[str, ...] = ()

    def __len__(self) -> int:
        told = self.y if self.y is not None else self.time
        return 0 if told is None else len(told)

    @classmethod
    def joined(cls, several: Sequence[Targets]) -> Targets:
        """Rows of several recordings below each other."""
        first = several[0]
        arrays = {
            name: np.concatenate([getattr(targets, name) for targets in several])
            for name in ("y", "time", "event", "at_risk")
            if getattr(first, name) is not None
        }
        return cls(outcomes=first.outcomes, **arrays)


@dataclass(frozen=True)
class ProbeData:
    """Rows of all usable recordings of one cohort under one encoder, in recording order.

    Parameters
    ----------
    everyone : mapping of str to str
        Persons with labels, embedded or not, to their families: folds are made of them.
    recordings, persons : sequence of str, length R
    first_row : ndarray of intp, shape (R + 1,)
        Rows of recording i are first_row[i]:first_row[i + 1].
    targets : Targets
        Of all rows.
    rows : RowSource or None
        Features; ``None`` for the demographics-only baseline.
    picked : ndarray of intp, shape (n,), optional
        Which of `rows` stand for the units, ascending; without it all do, in order.
    tested : RowSource, optional
        Features of test rows where they are another encoder's (modalities that are masked at test only); a training
        row always comes from `rows`.
    tested_picked : ndarray of intp, shape (n,), optional
        As `picked`, of `tested`.
    share : ndarray of float32, shape (n,), optional
        Of windows: the share that the positive class covers.
    demographics : ndarray of float64, shape (R, k), optional
        Of tasks with one row per recording; NaN where missing.
    excluded : sequence of Exclusion
    dropped : mapping of str to int
        Units left out, by reason.
    column : str
        Column of the cohort's tables that the labels come from.
    embed_s : float
    duplicates : mapping, optional
        What the search for duplicate recordings came to; ``None`` where nobody searched.
    facts : mapping
        What else the cells' counts must tell: what the encoders of the run have in common, what this one lost.
    """

    everyone: Mapping[str, str]
    recordings: Sequence[str]
    persons: Sequence[str]
    first_row: Indices
    targets: Targets
    rows: RowSource | None
    picked: Indices | None = None
    tested: RowSource | None = None
    tested_picked: Indices | None = None
    share: NDArray[np.float32] | None = None
    demographics: NDArray[np.float64] | None = None
    excluded: Sequence[Exclusion] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    column: str = ""
    embed_s: float = 0.0
    duplicates: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recording_of_row(self) -> Indices:
        """Index of the recording that each row belongs to, shape (n,)."""
        return np.repeat(np.arange(len(self.recordings)), np.diff(self.first_row))

    def of(self, persons: Sequence[str]) -> list[int]:
        """Indices of the recordings of these persons."""
        chosen = set(persons)
        return [i for i, person in enumerate(self.persons) if person in chosen]

    def rows_of(self, recordings: Sequence[int]) -> Indices:
        """Ascending indices of the rows of recordings."""
        parts = [np.arange(self.first_row[i], self.first_row[i + 1]) for i in sorted(recordings)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.intp)

    def features(self, index: Indices) -> RowSource:
        """Features of rows with ascending indices, as heads learn from them; read when asked for."""
        if self.rows is None:
            raise ValueError("the demographics-only baseline has no embedding")
        return _chosen(self.rows, self.picked, index)

    def tested_features(self, index: Indices) -> RowSource:
        """Features of rows with ascending indices, as heads are tested on them."""
        if self.tested is None:
            return self.features(index)
        return _chosen(self.tested, self.tested_picked, index)


def _chosen(rows: RowSource, picked: Indices | None, index: Indices) -> RowSource:
    return Spans(rows, stretches(index if picked is None else picked[index]))


def stretches(index: Indices) -> list[tuple[int, int]]:
    """Ascending indices as half-open stretches."""
    if index.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    starts = index[np.concatenate([[0], breaks])]
    stops = index[np.concatenate([breaks - 1, [index.size - 1]])] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


class RowCollector:
    """Takes features recording by recording; keeps them in memory, or in a file once they are large.

    All recordings must be of one width, since no head can take two: among the first gigabyte the most frequent width
    decides, and recordings of another one are left out.

    Parameters
    ----------
    scratch : Path
        Folder of the spill file, which has no name there and is gone with the process.
    limit_bytes : int
    """

    def __init__(self, scratch: Path, limit_bytes: int = IN_MEMORY_BYTES) -> None:
        self._scratch, self._limit = scratch, limit_bytes
        self._held: list[tuple[int, NDArray[np.float32]]] = []
        self._bytes = 0
        self._writer: PooledWriter | None = None
        self._width = 0
        self.odd: list[tuple[int, int]] = []  # recordings (as numbered by `add`) of another width, and that width

    def add(self, number: int, x: NDArray[np.float32]) -> None:
        """Append the rows (n, d) of recording `number`."""
        if self._writer is None:
            self._held.append((number, x))
            self._bytes += x.nbytes
            if self._bytes > self._limit:
                self._spill()
        elif x.shape[1] != self._width:
            self.odd.append((number, x.shape[1]))
        else:
            self._writer.append(x)

    def finish(self) -> RowSource:
        """All rows of the recordings that are not `odd`, in the order of `add`."""
        if self._writer is not None:
            return self._writer.finish()
        return ArrayRows(np.concatenate(self._usual()))

    @property
    def width(self) -> int:
        """Columns of the rows that are kept; known after `finish`."""
        return self._width

    def _usual(self) -> list[NDArray[np.float32]]:
        self._width = Counter(x.shape[1] for _, x in self._held).most_common(1)[0][0]
        self.odd = [(number, x.shape[1]) for number, x in self._held if x.shape[1] != self._width]
        kept = [x for _, x in self._held if x.shape[1] == self._width]
        self._held = []
        return kept

    def _spill(self) -> None:
        kept = self._usual()
        self._writer = PooledWriter(self._scratch, self._width)
        for x in kept:
            self._writer.append(x)
