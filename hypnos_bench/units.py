"""From a task, a recording and its embedding to units: rows of X with their labels.

A *unit* is what one row asks about: an epoch of sleep scoring or a window of an ECG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import STAGES, Recording, Span
from hypnos_bench.encoders.base import Embedding, mean_over_modalities
from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.spec import TaskSpec

CATCH_ALL = "*"
"""Key of ``class_map`` for every label that is not listed."""

_COVER_SLACK_S = 0.01  # annotations sit on samples: 10 ms is more than one sample at any ECG rate in use


@dataclass(frozen=True)
class UnitLabels:
    """Labelled units of one recording.

    Parameters
    ----------
    start_s : ndarray of float64, shape (n,)
        Start of each unit, seconds from the start of the signals.
    y : ndarray of int64, shape (n,)
        Class codes.
    dropped : mapping of str to int
        Units that exist but carry no usable label, by reason.
    share : ndarray of float32, shape (n,), optional
        Of windows: the share that the task's positive class covers (the AF fraction), so that another rule for
        mixed windows can be applied to stored results.
    """

    start_s: NDArray[np.float64]
    y: NDArray[np.int64]
    dropped: Mapping[str, int]
    share: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Units:
    """Units of one recording, with features: `x` (n, dim) float32, `y` (n,) int64, what was dropped, and shares."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    dropped: Mapping[str, int]
    share: NDArray[np.float32] | None = None


def read_unit_labels(task: TaskSpec, recording: Recording) -> UnitLabels:
    """Labels of `recording` for `task`.

    Raises
    ------
    RecordingError
        When the annotations are missing, malformed or not to be used, or when no unit carries a label.
    """
    labels = _stage_units(task, recording) if task.label == "stage" else _rhythm_units(task, recording)
    if labels.y.size == 0:
        seen = ", ".join(f"{count} {reason}" for reason, count in labels.dropped.items() if count) or "none at all"
        raise RecordingError(recording.id, f"no labelled {task.unit} for task {task.id} ({seen})")
    return labels


def _class_of(task: TaskSpec) -> dict[str, int]:
    return {label: task.classes.index(name) for label, name in task.class_map.items()}


def _stage_units(task: TaskSpec, recording: Recording) -> UnitLabels:
    scored = recording.hypnogram()
    class_of = _class_of(task)
    table = np.full(len(STAGES) + 1, -1, dtype=np.int64)  # the last entry stands for code -1
    for code, stage in enumerate(STAGES):
        table[code] = class_of.get(stage, class_of.get(CATCH_ALL, -1))
    y = table[scored.codes]
    keep = y >= 0
    return UnitLabels(scored.start_s[keep], y[keep], {"unscored": int((~keep).sum())})


def _rhythm_units(task: TaskSpec, recording: Recording) -> UnitLabels:
    n_units = int(recording.duration_s() // task.unit_s)
    cover = rhythm_cover(recording.rhythm(), _class_of(task), len(task.classes), n_units, task.unit_s)
    labelled = cover.sum(axis=1) >= task.unit_s - _COVER_SLACK_S
    pure = labelled & (cover.max(axis=1, initial=0.0) >= task.unit_s - _COVER_SLACK_S)
    keep = pure if task.mixed == "drop" else labelled
    dropped = {"unlabelled": int((~labelled).sum()), "mixed": int((labelled & ~keep).sum())}
    start_s = np.arange(n_units, dtype=np.float64) * task.unit_s
    share = None
    if task.positive is not None:
        share = (cover[keep, task.classes.index(task.positive)] / task.unit_s).astype(np.float32)
    return UnitLabels(start_s[keep], cover[keep].argmax(axis=1).astype(np.int64), dropped, share)


def rhythm_cover(
    spans: tuple[Span, ...], class_of: Mapping[str, int], n_classes: int, n_units: int, unit_s: float
) -> NDArray[np.float64]:
    """Seconds of each window that each class covers, shape (n_units, n_classes)."""
    cover = np.zeros((n_units, n_classes))
    for span in spans:
        code = class_of.get(span.code, class_of.get(CATCH_ALL))
        if code is None:
            continue
        first = max(0, int(span.start_s // unit_s))
        last = min(n_units, int(np.ceil(span.stop_s / unit_s)))
        edges = np.arange(first, last) * unit_s
        seconds = np.minimum(edges + unit_s, span.stop_s) - np.maximum(edges, span.start_s)
        cover[first:last, code] += np.clip(seconds, 0.0, None)
    return cover


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
    dropped: dict[str, Any] = {**labels.dropped, "without embedding rows": int((~keep).sum())}
    if not keep.any():
        raise RecordingError(recording.id, f"the embedding covers none of the {len(keep)} labelled {task.unit}s")
    return Units(x[keep], labels.y[keep], dropped, None if labels.share is None else labels.share[keep])
