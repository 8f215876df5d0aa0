"""Hypnograms of the Dreem Open Datasets: one whole number per 30-s epoch, from the start of the signals.

The consensus is the dataset ``hypnogram`` of a recording's HDF5 file; a single scorer's stages are a JSON list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, runs_of
from hypnos_bench.cohorts.annotations.text import MAX_TEXT_BYTES
from hypnos_bench.cohorts.annotations.words import Words
from hypnos_bench.cohorts.base import Scoring, n_epochs
from hypnos_bench.errors import UsageError

MAX_EPOCHS = 100_000
"""More than a month of epochs: such a list is something else."""

_CODES: Mapping[str, int] = {"-1": -1, "0": 0, "1": 1, "2": 2, "3": 3, "4": 4}


def read_dreem_hypnogram(
    files: Mapping[str, bytes | Sequence[int]],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    unscored_before: int = 0,
    unscored_after: int | None = None,
) -> Scoring:
    """Stages of one recording.

    Parameters
    ----------
    files : mapping of str to bytes or sequence of int
        ``main``: the numbers of the dataset ``hypnogram``, or the bytes of a scorer's JSON file.
    facts : Facts
        Of the signals.
    words : mapping of str to str, optional
        Meanings of numbers that the format does not have: ``{"5": "unscored"}``.
    unscored_before, unscored_after : int
        Epochs before the first and from the second on, counted from 0, count as unscored: lights were on.

    Returns
    -------
    Scoring
        Notes tell how many scored epochs the two settings took, and how many epochs of the signals the list lacks.

    Raises
    ------
    AnnotationError
        When the list holds anything but whole numbers from -1 to 4.
    UsageError
        When the two settings leave no epoch.
    """
    if unscored_before < 0 or (unscored_after is not None and unscored_after <= unscored_before):
        raise UsageError(f"unscored_before {unscored_before} and unscored_after {unscored_after} leave no epoch")
    main = files["main"]
    numbers = _json_list(main) if isinstance(main, bytes) else list(main)
    if len(numbers) > MAX_EPOCHS:
        raise AnnotationError(f"{len(numbers)} epochs, above the limit of {MAX_EPOCHS}")
    vocabulary = Words(_CODES, {}, overrides=words)
    codes = [vocabulary.stage(str(number), _epoch(i)) for i, number in enumerate(numbers)]
    stop = len(codes) if unscored_after is None else unscored_after
    kept = [code if unscored_before <= i < stop else -1 for i, code in enumerate(codes)]
    notes = []
    if taken := sum(before != after for before, after in zip(codes, kept, strict=True)):
        notes.append(f"{taken} scored epochs outside [{unscored_before}, {stop}) count as unscored: lights were on")
    if (missing := n_epochs(facts.duration_s) - len(codes)) > 0:
        notes.append(f"the hypnogram ends {missing} epochs before the signals; it is taken to begin with them")
    return Scoring(stages=runs_of(kept, where=_epoch), notes=tuple(notes))


def _epoch(index: int) -> str:
    return f"epoch {index} (counted from 0)"


def _json_list(data: bytes) -> list[int]:
    if len(data) > MAX_TEXT_BYTES:
        raise AnnotationError(f"{len(data)} bytes of JSON, above the limit of {MAX_TEXT_BYTES}")
    try:
        numbers = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"malformed JSON: {str(error)[:80]}") from error
    if not isinstance(numbers, list):
        raise AnnotationError(f"a JSON {type(numbers).__name__}, expected a list with one whole number per epoch")
    for i, number in enumerate(numbers):
        if type(number) is not int:  # bool is a kind of int
            raise AnnotationError(f"{_epoch(i)}: {str(number)[:40]!r} is no whole number")
    return numbers
