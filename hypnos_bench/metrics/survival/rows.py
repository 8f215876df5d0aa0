"""Checked rows of a follow-up: time, event, stratum and the person that each belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]
Index = NDArray[np.intp]
Weights = NDArray[np.floating[Any]]

_EXACT = 2**22
"""Twice a sum of integers below this, and every partial sum on the way, is exact in float32."""


@dataclass(frozen=True)
class Rows:
    """One row per recording.

    Parameters
    ----------
    time : ndarray of float64, shape (n,)
        From the recording to the event or the end of follow-up, in any one unit; finite and not negative.
    event : ndarray of bool, shape (n,)
    stratum : ndarray of int, shape (n,)
        Rows of different strata are not compared.
    group : ndarray of int, shape (n,)
        Person code, the column of a weight matrix.
    """

    time: F64
    event: NDArray[np.bool_]
    stratum: NDArray[np.int64]
    group: Index

    @classmethod
    def checked(
        cls, time: ArrayLike, event: ArrayLike, stratum: ArrayLike | None = None, group: ArrayLike | None = None
    ) -> Rows:
        """Rows from array-likes; without `stratum` all are compared, without `group` each row weighs alone.

        Raises
        ------
        ValueError
            When shapes differ or a time is negative or not finite.
        """
        times, events = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=bool)
        strata = np.zeros(times.shape, dtype=np.int64) if stratum is None else np.asarray(stratum, dtype=np.int64)
        groups = np.arange(times.size) if group is None else np.asarray(group, dtype=np.intp)
        if times.ndim != 1 or not times.shape == events.shape == strata.shape == groups.shape:
            raise ValueError(
                f"time {times.shape}, event {events.shape}, stratum {strata.shape} and group {groups.shape} must match"
            )
        wrong = ~(np.isfinite(times) & (times >= 0))
        if wrong.any():
            raise ValueError(f"{int(wrong.sum())} of {times.size} times are negative or not finite")
        return cls(times, events, strata, groups)

    def strata(self) -> Iterator[Index]:
        """Positions of each stratum's rows."""
        for code in np.unique(self.stratum):
            yield np.flatnonzero(self.stratum == code)


def finite_scores(score: ArrayLike, n: int) -> F64:
    """Scores as float64; ``ValueError`` when there are not `n`, or one is not finite."""
    values = np.asarray(score, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(f"scores of shape {values.shape} do not fit {n} rows")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {n} scores are not finite")
    return values


def person_matrix(weights: ArrayLike) -> Weights:
    """Weights of persons, shape (B, P), in the cheapest type that counts exactly.

    Integers become float32 as long as all sums of them are exact there; float32 is taken to be such a matrix already
    (convert once, score many outcomes); anything else is float64.

    Raises
    ------
    ValueError
        When they are not a matrix.
    """
    given = np.asarray(weights)
    if given.ndim != 2:
        raise ValueError(f"weights must be (replicates, persons), got {given.shape}")
    if given.dtype == np.float32:
        return given
    if given.dtype.kind in "iub" and (not given.size or int(given.sum(axis=1).max()) < _EXACT):
        return given.astype(np.float32)
    return given.astype(np.float64)


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover ``range(n)``."""
    for low in range(0, n, max(1, size)):
        yield slice(low, min(n, low + max(1, size)))
