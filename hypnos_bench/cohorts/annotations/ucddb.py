"""UCDDB (St. Vincent's University Hospital sleep apnea database): a list of stages and a table of breathing events.

``*_stage.txt`` has one number per 30 s, ``*_respevt.txt`` a row per event with time of day, type and duration. Its
columns are lined up by blanks and some are empty, so rows are read by what their words look like.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from hypnos_bench.cohorts.annotations.clock import Clock
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, runs_of
from hypnos_bench.cohorts.annotations.stage_list import list_body
from hypnos_bench.cohorts.annotations.text import decoded, in_time_order, text_lines
from hypnos_bench.cohorts.annotations.words import Words
from hypnos_bench.cohorts.base import Event, Scoring

HEADER_LINES = 3
"""Lines of a table of events before its first row."""

_STAGES: Mapping[str, int] = {
    "0": 0,
    "1": 4,
    "2": 1,
    "3": 2,
    "4": 3,
    "5": 3,  # Rechtschaffen and Kales: 3 and 4 are N3
    "6": -1,  # artifact
    "7": -1,  # indeterminate
    "8": -1,  # not documented
}
_EVENTS: Mapping[str, str] = {
    "apnea-o": "obstructive-apnea",
    "apnea-c": "central-apnea",
    "apnea-m": "mixed-apnea",
    "hyp-o": "hypopnea",
    "hyp-c": "hypopnea",
    "hyp-m": "hypopnea",
}
_IGNORED = ("pb", "possible")  # periodic breathing, and events that the scorer was not sure of
_TYPE = re.compile(r"(?:APNEA|HYP)-[OCM]", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_TIME = re.compile(r"\d{1,2}[:.]\d{2}[:.]\d{2}.*")


def read_ucddb(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and breathing events of one recording. Desaturations and arousals are not made into events.

    Stages count from the start of the signals; only events have times of day. They are too few for their span to be
    compared with the signals, but any that lie outside are told: the clock may have been changed.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the list of stages. ``respevt``, which may be missing: the table of events.
    facts : Facts
        Of the signals; their time of day places the events.
    words : mapping of str to str, optional
        Meanings of stages or event types that the format's tables do not have.

    Returns
    -------
    Scoring

    Raises
    ------
    AnnotationError
        With the line, for a stage that is none, or a row without time, type or duration.
    """
    vocabulary = Words(_STAGES, _EVENTS, _IGNORED, words)
    body = list_body(text_lines(decoded(files["main"])))
    codes = [vocabulary.stage(text, f"line {number}") for number, text in body]
    respevt = files.get("respevt")
    events = None if respevt is None else _events(respevt, facts, vocabulary)
    return Scoring(
        stages=runs_of(codes, where=lambda i: f"line {body[i][0]}"),
        events=events,
        unknown=dict(vocabulary.unknown),
        notes=_outside_notes(events or (), facts.duration_s),
    )


def _outside_notes(events: Sequence[Event], duration_s: float) -> tuple[str, ...]:
    outside = [event for event in events if not 0 <= event.start_s <= duration_s]
    if not outside:
        return ()
    far_s = max(outside, key=lambda event: max(-event.start_s, event.start_s - duration_s)).start_s
    return (
        f"events outside the {duration_s:g} s of signals: {len(outside)}, the farthest at {far_s:g} s: "
        "check that the clock was not changed",
    )


def _events(data: bytes, facts: Facts, vocabulary: Words) -> tuple[Event, ...]:
    lines = text_lines(decoded(data))
    if not any(line.strip() for line in lines):
        raise AnnotationError(f"respevt: empty, expected {HEADER_LINES} header lines and then events")
    for number, line in enumerate(lines[:HEADER_LINES], start=1):
        if _TIME.match(line.strip()):
            raise AnnotationError(f"respevt line {number}: an event where {HEADER_LINES} header lines are expected")
    clock = Clock(facts.start, facts.duration_s)
    events = []
    for number, line in enumerate(lines[HEADER_LINES:], start=HEADER_LINES + 1):
        tokens = line.split()
        if not tokens:
            continue
        event = _event(tokens, clock, vocabulary, f"respevt line {number}")
        if event is not None:
            events.append(event)
    return in_time_order(events)


def _event(tokens: list[str], clock: Clock, vocabulary: Words, where: str) -> Event | None:
    """One row: its time, then its type, then the first number, which is the duration; ``None`` to ignore it."""
    start_s = clock.seconds(tokens[0], where)
    if len(tokens) > 1 and vocabulary.is_ignored(tokens[1]):
        return None
    place = next((i for i, token in enumerate(tokens) if i and _TYPE.fullmatch(token)), 1)
    if len(tokens) < 2 or _number(tokens[place]) is not None:
        raise AnnotationError(f"{where}: no type of event after {tokens[0][:60]!r}")
    duration_s = next((seconds for token in tokens[place + 1 :] if (seconds := _number(token)) is not None), None)
    if duration_s is None:
        raise AnnotationError(f"{where}: no duration in seconds after {tokens[place][:60]!r}")
    kind = vocabulary.event(tokens[place])
    return None if kind is None else Event(kind, start_s, duration_s)


def _number(token: str) -> float | None:
    value = float(token) if _NUMBER.fullmatch(token) else math.nan
    return value if math.isfinite(value) else None
