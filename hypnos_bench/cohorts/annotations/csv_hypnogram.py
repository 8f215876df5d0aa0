"""A hypnogram as CSV: one row per 30-s epoch with a column ``stage``, or rows with a start, a stop and a stage name.

The second layout is SleepFM's: ``Start,Stop,StageName,StageNumber``, with rows of 5 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import GRID_SLACK_S, AnnotationError, merged
from hypnos_bench.cohorts.annotations.text import csv_rows, decoded
from hypnos_bench.cohorts.annotations.words import STAGE_WORDS, Words, plain
from hypnos_bench.cohorts.base import Scoring, StageRun, n_epochs
from hypnos_bench.spec import EPOCH_S

# Bare numbers are not among them: exports disagree on whether 4 is N3 or REM and whether 5 is REM or wake.
_STAGES = {
    **STAGE_WORDS,
    **{f"sleep stage {word}": code for word, code in STAGE_WORDS.items()},
    **{f"stage {n}": min(n, 3) for n in (1, 2, 3, 4)},
}

_Row = Mapping[str, str]


def read_csv_hypnogram(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages from CSV with a header line; the separator is a comma, a semicolon or a tab.

    With a column ``stage``, rows are epochs in order from the start of the signals, unless ``start_s`` (seconds)
    or else ``epoch`` (counted from 0) places them. With ``Start``, ``Stop`` and ``StageName``, rows are stretches
    of any length: an epoch has a stage when the rows within it all agree and leave no gap, and is -1 otherwise;
    the number of a stage is not read.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the CSV.
    facts : Facts
    words : mapping of str to str, optional
        A user's meanings of stages.

    Raises
    ------
    AnnotationError
        With the line, for an unknown stage or a row out of place.
    """
    text = decoded(files["main"])
    header = text.lstrip("\r\n").partition("\n")[0]
    separator = next((mark for mark in ",;\t" if mark in header), ",")
    lines = csv_rows(text, separator)
    vocabulary = Words(_STAGES, events={}, overrides=words)
    columns = [plain(name) for name in next(lines, ("", []))[1]]
    rows = [(where, dict(zip(columns, cells, strict=False))) for where, cells in lines]
    if "stage" in columns:
        place = next((name for name in ("start_s", "epoch") if name in columns), None)
        return Scoring(merged(_epochs(rows, place, vocabulary)))
    if {"start", "stop", "stagename"} <= set(columns):
        return _from_stretches(list(_stretches(rows, vocabulary)), facts.duration_s)
    found = ", ".join(columns)[:200] or "nothing"
    raise AnnotationError(f"no column 'stage', nor 'Start', 'Stop' and 'StageName', in the header line; found: {found}")


def _epochs(rows: Sequence[tuple[str, _Row]], place: str | None, vocabulary: Words) -> list[StageRun]:
    """One run per row, put where the column `place` says, or in order."""
    runs = []
    for i, (where, row) in enumerate(rows):
        start_s = float(i) * EPOCH_S
        if place is not None:
            start_s = _number(row, place, where) * (EPOCH_S if place == "epoch" else 1.0)
        runs.append(StageRun(vocabulary.stage(row.get("stage", ""), where), start_s, EPOCH_S, where))
    if place == "epoch" and runs and min(run.start_s for run in runs) > 0:
        raise AnnotationError("column 'epoch' does not begin at 0: count epochs from 0, or give 'start_s' in seconds")
    return runs


def _stretches(rows: Sequence[tuple[str, _Row]], vocabulary: Words) -> Iterator[StageRun]:
    for where, row in rows:
        start_s, stop_s = _number(row, "start", where), _number(row, "stop", where)
        if stop_s <= start_s:
            raise AnnotationError(f"{where}: stops at {stop_s:g} s, but starts at {start_s:g} s")
        yield StageRun(vocabulary.stage(row.get("stagename", ""), where), start_s, stop_s - start_s, where)


def _from_stretches(stretches: list[StageRun], duration_s: float) -> Scoring:
    """Epochs of 30 s from the start of the signals, where stretches agree."""
    stretches.sort(key=lambda run: run.start_s)
    covered_s: dict[int, float] = {}
    codes: dict[int, set[int]] = {}
    end_s = 0.0
    for i, run in enumerate(stretches):
        if i and run.start_s < end_s - GRID_SLACK_S:
            raise AnnotationError(f"{run.where}: overlaps {stretches[i - 1].where}")
        end_s = run.start_s + run.duration_s
        if run.code >= 0 and end_s - duration_s >= EPOCH_S:
            raise AnnotationError(
                f"{run.where}: sleep is scored up to {end_s:g} s, but the signals last {duration_s:g} s"
            )
        last = min(n_epochs(duration_s), math.ceil((end_s - GRID_SLACK_S) / EPOCH_S))
        for epoch in range(int((run.start_s + GRID_SLACK_S) // EPOCH_S), last):
            within_s = min(end_s, (epoch + 1) * EPOCH_S) - max(run.start_s, epoch * EPOCH_S)
            covered_s[epoch] = covered_s.get(epoch, 0.0) + within_s
            codes.setdefault(epoch, set()).add(run.code)
    mixed = sum(len(found) > 1 for found in codes.values())
    partial = sum(len(codes[epoch]) == 1 and EPOCH_S - s > GRID_SLACK_S for epoch, s in covered_s.items())
    runs = []
    for epoch, found in codes.items():
        whole = len(found) == 1 and EPOCH_S - covered_s[epoch] <= GRID_SLACK_S
        runs.append(StageRun(next(iter(found)) if whole else -1, epoch * EPOCH_S, EPOCH_S, f"epoch {epoch}"))
    notes = [f"{mixed} of {len(codes)} epochs have rows of different stages and count as unscored"] if mixed else []
    notes += [f"{partial} epochs are scored in part and count as unscored"] if partial else []
    return Scoring(merged(runs), notes=tuple(notes))


def _number(row: _Row, column: str, where: str) -> float:
    cell = row.get(column, "")
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise AnnotationError(f"{where}: {column} is {cell[:60]!r}, expected a number of at least 0")
    return value
