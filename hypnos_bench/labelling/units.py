"""Labels of the stretches of one recording: epochs of sleep scoring, windows of an ECG, scored minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import EVENT_SCOPES, STAGES, Labels, Recording, Scoring, Span, n_epochs
from hypnos_bench.cohorts.grid import OverlapRule, event_labels
from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.labelling.classes import ClassMap
from hypnos_bench.spec import EPOCH_S, TaskSpec

_COVER_SLACK_S = 0.01  # annotations sit on samples: 10 ms is more than one sample at any ECG rate in use


@dataclass(frozen=True)
class UnitLabels:
    """Labelled units of one recording.

    Parameters
    ----------
    start_s : ndarray of float64, shape (n,)
        Start of each unit, seconds from the start of the signals; ascending.
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


def read_unit_labels(task: TaskSpec, recording: Recording) -> UnitLabels:
    """Labels of `recording` for `task`.

    Raises
    ------
    RecordingError
        When the annotations are missing, malformed or not to be used, or when no unit carries a label.
    UsageError
        When the task asks about whole recordings.
    """
    if task.label not in _READERS:
        raise UsageError(f"task {task.id} has labels of whole recordings ({task.label}), not of stretches of them")
    labels = _READERS[task.label](task, recording)
    if labels.y.size == 0:
        seen = ", ".join(f"{count} {reason}" for reason, count in labels.dropped.items() if count) or "none at all"
        raise RecordingError(recording.id, f"no labelled {task.unit} for task {task.id} ({seen})")
    return labels


def _stage_units(task: TaskSpec, recording: Recording) -> UnitLabels:
    scored = recording.hypnogram()
    classes = ClassMap.of(task)
    table = np.full(len(STAGES) + 1, -1, dtype=np.int64)  # the last entry stands for code -1
    for code, stage in enumerate(STAGES):
        found = classes.code(stage)
        table[code] = -1 if found is None else found
    y = table[scored.codes]
    keep = y >= 0
    return UnitLabels(scored.start_s[keep], y[keep], {"unscored": int((~keep).sum())})


def _event_units(task: TaskSpec, recording: Recording) -> UnitLabels:
    """Scored epochs, wake and sleep alike; a night whose stages nobody scored is cut into epochs from its start.

    Stages only say here which epochs were looked at. So nights in which the stages themselves are not to be used,
    or that were scored as sleep or wake, keep their epochs as long as the events may be used.
    """
    kinds = set(task.events)
    scopes = [scope for scope, of_scope in EVENT_SCOPES.items() if kinds & set(of_scope)]
    once = replace(recording, labels=_ReadOnce(recording.labels))
    events = once.events(*scopes)
    scoring = once.labels.read()
    start_s = np.arange(n_epochs(recording.duration_s()), dtype=np.float64) * EPOCH_S
    unscored = 0
    if scoring.stages:
        scored = replace(once, full_staging=False).scored(scoring)
        start_s, unscored = scored.start_s[scored.codes >= 0], int((scored.codes < 0).sum())
    rule = OverlapRule(task.overlap_s, task.overlap_share)
    positive = task.classes.index(task.positive or "")
    y = np.where(event_labels(events, start_s, EPOCH_S, kinds, rule), positive, 1 - positive).astype(np.int64)
    return UnitLabels(start_s, y, {"unscored": unscored})


class _ReadOnce:
    """Labels that are read from disk once, for a reader that needs events and stages."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._scoring: Scoring | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return self._labels.files

    @property
    def rules(self) -> str:
        return self._labels.rules

    def read(self) -> Scoring:
        if self._scoring is None:
            self._scoring = self._labels.read()
        return self._scoring


def _rhythm_units(task: TaskSpec, recording: Recording) -> UnitLabels:
    n_units = int(recording.duration_s() // task.unit_s)
    cover = rhythm_cover(recording.rhythm(), ClassMap.of(task), len(task.classes), n_units, task.unit_s)
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
    spans: tuple[Span, ...], classes: ClassMap, n_classes: int, n_units: int, unit_s: float
) -> NDArray[np.float64]:
    """Seconds of each window that each class covers, shape (n_units, n_classes)."""
    cover = np.zeros((n_units, n_classes))
    for span in spans:
        code = classes.code(span.code)
        if code is None:
            continue
        first = max(0, int(span.start_s // unit_s))
        last = min(n_units, int(np.ceil(span.stop_s / unit_s)))
        edges = np.arange(first, last) * unit_s
        seconds = np.minimum(edges + unit_s, span.stop_s) - np.maximum(edges, span.start_s)
        cover[first:last, code] += np.clip(seconds, 0.0, None)
    return cover


def _minute_units(task: TaskSpec, recording: Recording) -> UnitLabels:
    """Every scored minute is a unit, wherever the scorer let it begin; one that the signals cut short is not."""
    classes = ClassMap.of(task)
    minutes = recording.minutes()
    codes = [classes.code(minute.code) for minute in minutes]
    whole = [minute.stop_s - minute.start_s >= task.unit_s - _COVER_SLACK_S for minute in minutes]
    kept = [(minute.start_s, code) for minute, code, is_whole in zip(minutes, codes, whole, strict=True)
            if is_whole and code is not None]  # fmt: skip
    start_s, y = np.array([s for s, _ in kept], dtype=np.float64), np.array([c for _, c in kept], dtype=np.int64)
    cut = whole.count(False)
    return UnitLabels(start_s, y, {"cut short": cut, "unlabelled": len(minutes) - cut - len(kept)})


_READERS: Mapping[str, Callable[[TaskSpec, Recording], UnitLabels]] = {
    "stage": _stage_units,
    "events": _event_units,
    "rhythm": _rhythm_units,
    "minutes": _minute_units,
}
