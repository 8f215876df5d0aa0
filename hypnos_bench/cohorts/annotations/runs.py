"""Epochs of 30 s from runs of one sleep stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Hypnogram, StageRun
from hypnos_bench.errors import DataError
from hypnos_bench.spec import EPOCH_S

GRID_SLACK_S = 1e-3
"""Rounding of decimal seconds that is forgiven when a length must be a whole number of pages."""

MAX_EARLY_S = 7 * 86_400.0
"""A week. What is scored earlier than this before the signals does not belong to them."""

MAX_SPAN_GAP_S = 1_800.0
"""How far the stages of a file with times of day may fall short of the signals before a note says so."""


class AnnotationError(DataError):
    """An annotation file that cannot be trusted; the message names the line or element."""


def hypnogram(runs: Sequence[StageRun], duration_s: float, *, page_s: float = EPOCH_S, pad_s: float = 0.0) -> Hypnogram:
    """Scored epochs, placed where the scorer put them.

    Pages start at the start of their run: the scorer's grid is kept, it need not begin with the signals. When
    all pages lie on one grid, epochs cover the signals from its first point to their end, and gaps and the time
    after the last run are -1. When they do not (pages that drift, a recording that was paused), only what is
    scored has epochs.

    Pages before the signals are dropped, and so are unscored runs past their end, which say nothing. A last page
    that the signals end within is trimmed.

    Parameters
    ----------
    runs : sequence of StageRun
    duration_s : float
        Length of the signals in seconds.
    page_s, pad_s : float
        Length of a scored page, and what each side of it is given to make 30 s: epochs of 20-s pages overlap.

    Returns
    -------
    Hypnogram

    Raises
    ------
    AnnotationError
        When there is no run or none within the signals, a run is no whole number of pages, two runs overlap, or
        the scoring begins a week before the signals or outlasts them by a whole page or more.
    """
    if not runs:
        raise AnnotationError("no sleep stage is scored")
    if abs(page_s + 2 * pad_s - EPOCH_S) > GRID_SLACK_S:
        raise AnnotationError(f"pages of {page_s:g} s with {pad_s:g} s on both sides are no epochs of 30 s")
    _refuse_outside(runs, duration_s, page_s)
    ordered = sorted((r for run in runs if (r := _clipped(run, duration_s, page_s)) is not None), key=_start_s)
    if not ordered:
        raise AnnotationError("no sleep stage is scored within the signals")
    pages = [_whole_pages(run, page_s) for run in ordered]
    for i in range(1, len(ordered)):
        if ordered[i].start_s < ordered[i - 1].start_s + pages[i - 1] * page_s - GRID_SLACK_S:
            raise AnnotationError(f"{ordered[i].where}: overlaps {ordered[i - 1].where}")
    starts = np.concatenate([run.start_s + page_s * np.arange(n) for run, n in zip(ordered, pages, strict=True)])
    codes: NDArray[np.int8] = np.repeat(np.array([run.code for run in ordered], dtype=np.int8), pages)
    within = (starts >= -GRID_SLACK_S) & (starts + page_s <= duration_s + GRID_SLACK_S)
    if not within.any():
        raise AnnotationError("no sleep stage is scored within the signals")
    starts, codes = _filled(starts[within], codes[within], duration_s, page_s)
    return Hypnogram(starts - pad_s, codes)


def _refuse_outside(runs: Sequence[StageRun], duration_s: float, page_s: float) -> None:
    """Refuse runs that cannot belong to the signals, before anything of their length is made."""
    for run in runs:
        if not run.start_s >= -MAX_EARLY_S:
            raise AnnotationError(f"{run.where}: starts at {run.start_s:g} s, which is no time of these signals")
    end_s = max((run.start_s + run.duration_s for run in runs if run.code >= 0), default=0.0)
    if not end_s - duration_s < page_s:
        raise AnnotationError(
            f"sleep is scored up to {end_s:g} s, but the signals last {duration_s:g} s: "
            "the annotation belongs to another file, or the signals are cut"
        )


def _clipped(run: StageRun, duration_s: float, page_s: float) -> StageRun | None:
    """An unscored run without what lies past the signals; a scored one as it is."""
    if run.code >= 0 or not run.start_s + run.duration_s > duration_s:
        return run
    pages = int((duration_s - run.start_s) // page_s) if run.start_s < duration_s else 0
    return replace(run, duration_s=pages * page_s) if pages > 0 else None


def _start_s(run: StageRun) -> float:
    return run.start_s


def runs_of(
    codes: Iterable[int],
    *,
    page_s: float = EPOCH_S,
    first_s: float = 0.0,
    where: str | Callable[[int], str] = "page",
) -> tuple[StageRun, ...]:
    """Runs of equal stages from one code per page.

    A run is named after its first page: `where` is what pages are called, which counts them from 1, or gives the
    place of a page from its index.
    """
    place = where if callable(where) else lambda index: f"{where} {index + 1}"
    runs, page = [], 0
    for code, group in groupby(int(code) for code in codes):
        count = sum(1 for _ in group)
        runs.append(StageRun(code, first_s + page * page_s, count * page_s, place(page)))
        page += count
    return tuple(runs)


def merged(runs: Iterable[StageRun]) -> tuple[StageRun, ...]:
    """Runs in time order, those of one stage that follow each other without a gap made one.

    A run stands where its first part did.
    """
    joined: list[StageRun] = []
    for run in sorted(runs, key=_start_s):
        last = joined[-1] if joined else None
        if last and last.code == run.code and abs(last.start_s + last.duration_s - run.start_s) <= GRID_SLACK_S:
            joined[-1] = replace(last, duration_s=run.start_s + run.duration_s - last.start_s)
        else:
            joined.append(run)
    return tuple(joined)


def span_notes(runs: Iterable[StageRun], duration_s: float) -> tuple[str, ...]:
    """Tell when stages placed by the clock fall far short of the signals: it may have been put back or forward."""
    spans = [(run.start_s, run.start_s + run.duration_s) for run in runs]
    if not spans:
        return ()
    span_s = max(stop for _, stop in spans) - min(start for start, _ in spans)
    if abs(span_s - duration_s) <= MAX_SPAN_GAP_S:
        return ()
    return (f"stages span {span_s:g} s of {duration_s:g} s of signals: check that the clock was not changed",)


def _filled(
    starts: NDArray[np.float64], codes: NDArray[np.int8], duration_s: float, page_s: float
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """The same pages with -1 in all places of their grid that have none; unchanged when they share no grid."""
    first_s = float(starts[0] % page_s)
    first_s = 0.0 if page_s - first_s <= GRID_SLACK_S else first_s  # 29.9999 s is a rounded 0
    places = np.round((starts - first_s) / page_s).astype(np.int64)
    if np.any(np.abs(starts - first_s - places * page_s) > GRID_SLACK_S):
        return starts, codes
    n = int((duration_s - first_s + GRID_SLACK_S) // page_s)
    n = max(n, int(places[-1]) + 1)  # a last page that was rounded to the left ends within the signals
    whole: NDArray[np.int8] = np.full(n, -1, dtype=np.int8)
    whole[places] = codes
    return (first_s + page_s * np.arange(len(whole))).astype(np.float64), whole


def _whole_pages(run: StageRun, page_s: float) -> int:
    """Pages in a run, or refuse."""
    pages = round(run.duration_s / page_s) if math.isfinite(run.duration_s) else 0
    if pages < 1 or abs(run.duration_s - pages * page_s) > GRID_SLACK_S:
        raise AnnotationError(f"{run.where}: duration {run.duration_s:g} s is not a positive multiple of {page_s:g} s")
    return pages
