"""Runs of one sleep stage, and the epoch-by-epoch hypnogram made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import n_epochs
from hypnos_bench.errors import DataError
from hypnos_bench.spec import EPOCH_S

GRID_SLACK_S = 1e-3
"""Rounding of decimal seconds that is forgiven when a time must be a multiple of 30 s."""


class AnnotationError(DataError):
    """An annotation file that cannot be trusted; the message names the line or element."""


@dataclass(frozen=True)
class StageRun:
    """A stretch of one stage: code 0..4 or -1, seconds from the start of the signals, and where the file says so."""

    code: int
    start_s: float
    duration_s: float
    where: str


def hypnogram(runs: Sequence[StageRun], duration_s: float) -> NDArray[np.int8]:
    """Stage codes per 30-s epoch over the whole epochs of the signals.

    Gaps between runs and the time after the last one are -1. Unscored runs past the end of the
    signals say nothing and are dropped. A last epoch that the signals end within is trimmed.

    Parameters
    ----------
    runs : sequence of StageRun
    duration_s : float
        Length of the signals in seconds.

    Returns
    -------
    ndarray of int8, shape (n_epochs,)

    Raises
    ------
    AnnotationError
        When there is no run, a run does not lie on the 30-s grid, two runs overlap, or the scoring
        is longer than the signals by a whole epoch or more.
    """
    if not runs:
        raise AnnotationError("no sleep stage is scored")
    ordered = sorted(runs, key=lambda run: run.start_s)
    spans = [(_on_grid(run, "start", run.start_s), _on_grid(run, "duration", run.duration_s)) for run in ordered]
    for i in range(1, len(ordered)):
        if spans[i][0] < sum(spans[i - 1]):
            raise AnnotationError(f"{ordered[i].where}: overlaps {ordered[i - 1].where}")
    scored = [sum(span) for run, span in zip(ordered, spans, strict=True) if run.code >= 0]
    end_s = max(scored, default=0) * EPOCH_S
    if end_s - duration_s >= EPOCH_S:
        raise AnnotationError(
            f"sleep is scored up to {end_s:g} s, but the signals last {duration_s:g} s: "
            "the annotation belongs to another file, or the signals are cut"
        )
    codes = np.full(n_epochs(duration_s), -1, dtype=np.int8)
    for run, (first, count) in zip(ordered, spans, strict=True):
        codes[first : first + count] = run.code
    return codes


def _on_grid(run: StageRun, what: str, seconds: float) -> int:
    """Return whole epochs in `seconds`, or refuse."""
    epochs = round(seconds / EPOCH_S)
    at_least = 1 if what == "duration" else 0
    if abs(seconds - epochs * EPOCH_S) > GRID_SLACK_S or epochs < at_least:
        positive = "positive " if at_least else ""
        raise AnnotationError(f"{run.where}: {what} {seconds:g} s is not a {positive}multiple of 30 s")
    return epochs
