"""One sleep stage per line, in the codes of five sources, and what readers of such lists share.

Codes and steps: ISRUC (30 s, trailing epochs beyond the signals), DREAMS (5 s), Elan (step in its header), and plain
lists of words or of AASM numbers as YASA writes them (``#`` lines may state code and step).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import GRID_SLACK_S, AnnotationError, runs_of
from hypnos_bench.cohorts.annotations.text import decoded, text_lines
from hypnos_bench.cohorts.annotations.words import STAGE_WORDS, Words, plain
from hypnos_bench.cohorts.base import STAGES, Scoring, n_epochs
from hypnos_bench.spec import EPOCH_S

MAX_EXTRA_EPOCHS = 60
"""ISRUC lists run on for about 30 epochs after the signals; twice that is another recording's list."""

Coding = Literal["isruc", "dreams", "yasa-words", "elan", "aasm"]

_YASA_WORDS: Mapping[str, int] = {**STAGE_WORDS, "art": -1, "uns": -1}
_CODES: Mapping[Coding, Mapping[str, int]] = {
    "isruc": {"0": 0, "1": 1, "2": 2, "3": 3, "5": 4},
    "dreams": {"5": 0, "4": 4, "3": 1, "2": 2, "1": 3, "0": 3, "-1": -1, "-2": -1, "-3": -1},
    "yasa-words": _YASA_WORDS,
    "elan": {"0": 0, "1": 1, "2": 2, "3": 3, "4": 3, "5": 4, "-1": -1},  # Rechtschaffen and Kales: 3 and 4 are N3
    "aasm": {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "-1": -1, "-2": -1},
}
_DREAMS_STEP_S = 5.0
_MAX_HEADER_LINES = 50
_STATED_CODE = re.compile(r"(-?\d+)\s*[:=]\s*([A-Za-z]\w*)")
_STATED_STEP = re.compile(r"per\s+(?:(\d+(?:\.\d+)?)\s*)?s(?:ec(?:ond)?s?)?\b")

_Labels = list[tuple[int, str]]  # line number counted from 1, text


def read_stage_list(
    files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None, *, coding: Coding
) -> Scoring:
    """Stages of a list with one label per line, from the start of the signals.

    Labels that are closer than 30 s are made into epochs: one whose labels differ is unscored, and told.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the list.
    facts : Facts
        Of the signals; their length cuts an ISRUC list.
    words : mapping of str to str, optional
        Meanings of labels, which win over the coding's own.
    coding : {"isruc", "dreams", "yasa-words", "elan", "aasm"}
        What the labels are. ``aasm`` is 0 W, 1 N1, 2 N2, 3 N3, 4 R, and -1 or -2 unscored: numbers do not say this
        by themselves.

    Returns
    -------
    Scoring

    Raises
    ------
    AnnotationError
        For a label that the coding does not have, a blank line among labels, or a header that contradicts the list.
    """
    labels, step_s = _LAYOUTS[coding](text_lines(decoded(files["main"])), coding)
    vocabulary = Words(_CODES[coding], {}, overrides=words)
    coded = [(number, vocabulary.stage(text, f"line {number}")) for number, text in labels]
    coded, notes = _epochs(coded, step_s)
    if coding == "isruc":
        coded = _within_signals(coded, facts.duration_s, notes)
    return Scoring(
        stages=runs_of((code for _, code in coded), where=lambda i: f"line {coded[i][0]}"),
        notes=tuple(notes),
    )


def list_body(lines: Sequence[str], first: int = 0) -> list[tuple[int, str]]:
    """Labels from the line with index `first` on, with their line numbers; blank lines may only follow the last.

    Raises
    ------
    AnnotationError
        For a blank line among labels: which epoch it stands for cannot be known.
    """
    body = [(number, line.strip()) for number, line in enumerate(lines, start=1) if number > first]
    while body and not body[-1][1]:
        body.pop()
    for number, text in body:
        if not text:
            raise AnnotationError(f"line {number}: blank line among stages")
    return body


def _plain_layout(lines: Sequence[str], coding: Coding) -> tuple[_Labels, float]:
    return list_body(lines), EPOCH_S


def _dreams_layout(lines: Sequence[str], coding: Coding) -> tuple[_Labels, float]:
    header = lines[0] if lines else ""
    if not re.fullmatch(r"\[hypnogram.*\]", plain(header)):
        raise AnnotationError(f"line 1: {header.strip()[:40]!r}, expected '[Hypnogram]' as DREAMS files have it")
    return list_body(lines, 1), _DREAMS_STEP_S


def _yasa_layout(lines: Sequence[str], coding: Coding) -> tuple[_Labels, float]:
    first = next((i for i, line in enumerate(lines) if not line.lstrip().startswith("#")), len(lines))
    step_s = EPOCH_S
    for number, line in enumerate(lines[:first], start=1):
        if stated := _STATED_STEP.search(line):
            step_s = float(stated[1] or 1)
        for label, word in _STATED_CODE.findall(line):
            _check_stated(label, word, coding, f"line {number}")
    return list_body(lines, first), step_s


def _check_stated(label: str, word: str, coding: Coding, where: str) -> None:
    """A header that says what a number means must agree with the coding that was asked for."""
    code = _CODES[coding].get(label)
    stated = _YASA_WORDS.get(plain(word))
    if code is not None and stated is not None and code != stated:
        ours = STAGES[code] if code >= 0 else "unscored"
        raise AnnotationError(f"{where}: the file says that {label} is {word}, but coding {coding!r} has it as {ours}")


def _elan_layout(lines: Sequence[str], coding: Coding) -> tuple[_Labels, float]:
    keys = [line.strip().partition(" ") for line in lines[:_MAX_HEADER_LINES]]
    first = next((i for i, (key, _, _) in enumerate(keys, start=1) if key == "epoch_list"), None)
    if first is None:
        raise AnnotationError("no line 'epoch_list': not a hypnogram of Elan (.hyp)")
    header = {key: value.strip() for key, _, value in keys[:first]}
    try:
        step_s, stated = float(header.get("time_base", "")), int(header.get("epoch_nb", ""))
    except ValueError:
        raise AnnotationError(
            f"its header has time_base {header.get('time_base')!r} and epoch_nb {header.get('epoch_nb')!r}, "
            "expected seconds per value and the number of values"
        ) from None
    labels = list_body(lines, first)
    if len(labels) != stated:
        raise AnnotationError(f"{len(labels)} stages, but epoch_nb is {stated}: their step cannot be trusted")
    return labels, step_s


_LAYOUTS: Mapping[Coding, Callable[[Sequence[str], Coding], tuple[_Labels, float]]] = {
    "isruc": _plain_layout,
    "dreams": _dreams_layout,
    "yasa-words": _yasa_layout,
    "elan": _elan_layout,
    "aasm": _yasa_layout,
}


def _epochs(coded: list[tuple[int, int]], step_s: float) -> tuple[list[tuple[int, int]], list[str]]:
    """(line, code) per epoch of 30 s from (line, code) per label, and what there is to tell about it."""
    per_epoch = round(EPOCH_S / step_s) if math.isfinite(step_s) and step_s > 0 and EPOCH_S / step_s < 1e6 else 0
    if per_epoch < 1 or abs(per_epoch * step_s - EPOCH_S) > GRID_SLACK_S:
        raise AnnotationError(f"one stage per {step_s:g} s: epochs of 30 s are no whole number of these")
    epochs, notes, mixed = [], [], 0
    for start in range(0, len(coded) - per_epoch + 1, per_epoch):
        group = coded[start : start + per_epoch]
        agree = all(code == group[0][1] for _, code in group)
        mixed += not agree
        epochs.append((group[0][0], group[0][1] if agree else -1))
    if mixed:
        notes.append(f"{mixed} of {len(epochs)} epochs hold more than one stage and count as unscored")
    if rest := len(coded) % per_epoch:
        notes.append(f"the last {rest * step_s:g} s of the list are no whole epoch and are left out")
    return epochs, notes


def _within_signals(coded: list[tuple[int, int]], duration_s: float, notes: list[str]) -> list[tuple[int, int]]:
    """The epochs that the signals have; how many more there were goes to `notes`."""
    n = n_epochs(duration_s)
    extra = len(coded) - n
    if extra > MAX_EXTRA_EPOCHS:
        raise AnnotationError(
            f"{len(coded)} stages for signals of {n} epochs: {extra} more, where ISRUC has about 30; "
            "the list belongs to another recording, or the signals are cut"
        )
    if extra > 0:
        notes.append(f"{extra} epochs beyond the end of the signals are left out")
    return coded[:n]
