"""A hypnogram as CSV: one row per 30-s epoch, a column ``stage``, and optionally ``epoch`` or ``start_s``."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.annotations.runs import AnnotationError, StageRun, hypnogram
from hypnos_bench.cohorts.annotations.words import STAGE_WORDS
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import EPOCH_S

MAX_CSV_CHARACTERS = 16 * 1024 * 1024
"""A week of epochs is well under 1 MiB."""

ACCEPTED = "W, Wake, N1, N2, N3, N4, S1, S2, S3, S4, R, REM in any case, and ?, unscored, unknown, MT, movement for -1"


def read_csv_stages(text: str, duration_s: float) -> NDArray[np.int8]:
    """Hypnogram from CSV text with a header line; the separator is a comma, a semicolon or a tab.

    Rows are epochs in order from the start of the signals, unless ``start_s`` (seconds) or else
    ``epoch`` (counted from 0) places them. Bare numbers are refused as stages: exports disagree on
    whether 4 is N3 or REM and whether 5 is REM or wake.

    Parameters
    ----------
    text : str
    duration_s : float
        Length of the signals in seconds.

    Returns
    -------
    ndarray of int8, shape (n_epochs,)

    Raises
    ------
    AnnotationError
        With the line number, for an unknown stage or a row out of place.
    """
    if len(text) > MAX_CSV_CHARACTERS:
        raise AnnotationError(f"{len(text)} characters of CSV, above the limit of {MAX_CSV_CHARACTERS}")
    header, _, _ = text.lstrip("\ufeff").partition("\n")
    separator = next((mark for mark in ",;\t" if mark in header), ",")
    rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=separator)
    columns = {(name or "").strip().casefold(): name for name in rows.fieldnames or ()}
    if "stage" not in columns:
        raise AnnotationError(f"no column 'stage' in the header line; found: {', '.join(columns) or 'nothing'}")
    runs: list[StageRun] = []
    try:
        for row in rows:
            where = f"line {rows.line_num}"
            code = _code(row[columns["stage"]], where)
            runs.append(StageRun(code, _start_s(row, columns, len(runs), where), EPOCH_S, where))
    except csv.Error as error:
        raise AnnotationError(f"line {rows.reader.line_num}: {error}") from error
    if "epoch" in columns and "start_s" not in columns and runs and min(run.start_s for run in runs) > 0:
        raise AnnotationError("column 'epoch' does not begin at 0: count epochs from 0, or give 'start_s' in seconds")
    return hypnogram(runs, duration_s)


def _code(cell: str | None, where: str) -> int:
    word = " ".join((cell or "").split()).casefold().removeprefix("sleep stage ")
    if word not in STAGE_WORDS:
        raise AnnotationError(f"{where}: unknown stage {cell!r}.{did_you_mean(word, STAGE_WORDS)} Accepted: {ACCEPTED}")
    return STAGE_WORDS[word]


def _start_s(row: dict[str | None, str | None], columns: dict[str, str], index: int, where: str) -> float:
    """Start of a row's epoch: by ``start_s``, by ``epoch``, or by its place in the file."""
    for column, scale in (("start_s", 1.0), ("epoch", EPOCH_S)):
        if column in columns:
            cell = row[columns[column]]
            try:
                start_s = float(cell or "") * scale
            except ValueError:
                start_s = math.nan
            if not math.isfinite(start_s) or start_s < 0:
                raise AnnotationError(f"{where}: {column} is {cell!r}, expected a number of at least 0")
            return start_s
    return index * EPOCH_S
