"""From embedding rows to one row of features per unit, or per recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, mean_over_modalities
from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.labelling.units import UnitLabels
from hypnos_bench.spec import TaskSpec

_BLOCK = 4096


@dataclass(frozen=True)
class Units:
    """Units of one recording, with features: `x` (n, dim) float32, `y` (n,) int64, what was dropped, and shares.

    `kept` (n,) says which labelled units they are: indices into the labels, ascending.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    dropped: Mapping[str, int]
    kept: NDArray[np.intp]
    share: NDArray[np.float32] | None = None


def pool(embedding: Embedding, start_s: NDArray[np.float64], unit_s: float, shift_rows: int) -> NDArray[np.float32]:
    """Mean over modalities, then over the rows of each unit, shape (n, dim) float32.

    A unit that starts at `a` takes the rows whose middle lies in [a, a + unit_s), moved on by
    `shift_rows`. Units for which a row is missing get NaN in every column.

    Raises
    ------
    UsageError
        When rows are longer than units, or do not divide them.
    """
    rows_per_unit = unit_s / embedding.step_s
    count = round(rows_per_unit)
    if count < 1 or abs(rows_per_unit - count) > 1e-6:
        raise UsageError(f"embedding rows of {embedding.step_s:g} s do not divide units of {unit_s:g} s")
    frames = mean_over_modalities(embedding.arrays)
    first = np.ceil((start_s - embedding.start_s) / embedding.step_s - 0.5 - 1e-6).astype(np.int64) + shift_rows
    whole = (first >= 0) & (first + count <= len(frames))
    x = np.full((len(start_s), frames.shape[1]), np.nan, dtype=np.float32)
    rows = first[whole][:, None] + np.arange(count)
    x[whole] = frames[rows].mean(axis=1, dtype=np.float32)
    return x


def make_units(task: TaskSpec, recording: Recording, labels: UnitLabels, embedding: Embedding, lag_rows: int) -> Units:
    """Pool an embedding onto labelled units; units without rows or with non-finite rows are dropped and counted.

    Raises
    ------
    RecordingError
        When no unit is left.
    """
    x = pool(embedding, labels.start_s, task.unit_s, lag_rows if task.alignment == "covered" else 0)
    keep: NDArray[np.bool_] = np.asarray(np.isfinite(x).all(axis=1))
    dropped = {**labels.dropped, "without embedding rows": int((~keep).sum())}
    if not keep.any():
        raise RecordingError(recording.id, f"the embedding covers none of the {len(keep)} labelled {task.unit}s")
    share = None if labels.share is None else labels.share[keep]
    return Units(x[keep], labels.y[keep], dropped, np.flatnonzero(keep), share)


def pool_recording(
    embedding: Embedding, pooling: Literal["mean", "mean-sd"] = "mean", recording: str = "embedding"
) -> NDArray[np.float32]:
    """Mean over modalities, then over all finite rows of a recording; with ``mean-sd`` their standard deviation too.

    Every row counts alike, labelled or not, wake and sleep. Rows with any value that is not finite (nothing was
    recorded there) take no part.

    Parameters
    ----------
    embedding : Embedding
    pooling : {"mean", "mean-sd"}
        The standard deviation is that of the rows at hand (dividing by their number).
    recording : str
        Id for the message.

    Returns
    -------
    ndarray of float32, shape (dim,) or (2 dim,)

    Raises
    ------
    RecordingError
        When no row is finite.
    """
    frames = mean_over_modalities(embedding.arrays)
    finite = np.isfinite(frames).all(axis=1)
    if not finite.any():
        raise RecordingError(recording, f"none of its {len(frames)} embedding rows is finite")
    rows = frames if finite.all() else frames[finite]
    mean: NDArray[np.float64] = rows.mean(axis=0, dtype=np.float64)
    if pooling == "mean":
        return mean.astype(np.float32)
    # Block by block: a night of 1-s rows in double precision would take a quarter of a gigabyte.
    squares = sum(((rows[low : low + _BLOCK] - mean) ** 2).sum(axis=0) for low in range(0, len(rows), _BLOCK))
    return np.concatenate([mean, np.sqrt(squares / len(rows))]).astype(np.float32)
