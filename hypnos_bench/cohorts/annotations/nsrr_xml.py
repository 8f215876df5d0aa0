"""NSRR annotation XML (``PSGAnnotation``): run-length stages and typed events.

Every ``ScoredEvent`` has ``EventType``, ``EventConcept``, ``Start`` and ``Duration``; the first two
read ``words|code``, and only the words are used. Stages are run-length coded: 450 s are 15 epochs.
Format: National Sleep Research Resource, sleepdata.org.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from typing import Literal

from hypnos_bench.cohorts.annotations.clock import DAY_S, clock_seconds, seconds_of_day
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import GRID_SLACK_S, AnnotationError
from hypnos_bench.cohorts.annotations.safe_xml import ScoredElement, parse_xml, scored_events
from hypnos_bench.cohorts.annotations.text import events_or_none
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.spec import EPOCH_S

Unsure = Literal["hypopnea", "mixed-apnea"]
"""What a cohort's scorers marked with the respiratory concept ``Unsure``."""

Desaturations = Literal["keep", "drop"]
"""Whether a cohort's desaturations were measured (``keep``) or are copies of respiratory events (``drop``)."""

STATED_LENGTH_SLACK_S = 1800.0
"""A stated length may differ from the signals by this much; a clock change or another file's is told."""

STATED_CLOCK_SLACK_S = 60.0

COURSE = frozenset(
    {
        *(f"body position change to {to}" for to in ("supine", "prone", "left", "right", "upright", "unknown")),
        *("beginning of time in bed", "end of time in bed"),
        *("beginning of analysis period", "end of analysis period"),
        *("lights off", "lights on", "technician notes"),
    }
)
"""Concepts of the course of the night. They stand in files in which nobody scored events too."""

IGNORED = COURSE | frozenset(
    {
        # signals that cannot be scored
        *("respiratory artifact", "spo2 artifact", "etco2 artifact", "tcco2 artifact", "tcc02 artifact"),
        *("proximal ph artifact", "distal ph artifact", "proximal ph", "distal ph", "signal artifact"),
        *("blood pressure artifact", "body temperature artifact", "reserved selection"),
        # breathing that is no event with a count of its own
        *("periodic breathing", "respiratory paradox", "snoring", "snore"),
        # legs, heart
        *("leg movement", "respiratory related leg movement", "periodic leg movement", "plm", "limb movement"),
        *("periodic leg movement - left", "periodic leg movement - right", "plm (left)", "plm (right)"),
        *("limb movement - left", "limb movement - right", "limb movement (left)", "limb movement (right)"),
        *("bradycardia", "tachycardia", "asystole", "sinus tachycardia", "wide complex tachycardia"),
        *("narrow complex tachycardia", "atrial fibrillation"),
        "activity",
    }
)
"""Concepts of the repository, and Profusion's names of them, that are known and are no events of interest."""

_POSITION_TYPE = "body position"
_IGNORED_TYPES = frozenset({"limb movement", _POSITION_TYPE, "electrocardiogram", "artifacts"})

_STAGE_CONCEPTS = {
    "wake": 0,
    "stage 1 sleep": 1,
    "stage 2 sleep": 2,
    "stage 3 sleep": 3,
    "stage 4 sleep": 3,  # Rechtschaffen and Kales: 3 and 4 together are N3
    "rem sleep": 4,
    "movement": -1,
    "unscored": -1,
    "artifact": -1,
}
_START_CONCEPT = "recording start time"


def read_nsrr_xml(
    files: Mapping[str, bytes],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    unsure: Unsure = "hypopnea",
    desaturations: Desaturations = "keep",
) -> Scoring:
    """Stages and events of one ``*-nsrr.xml``.

    Stages 3 and 4 are both N3; movement, unscored and artifact are -1. Any type that starts with ``Arousals`` is
    an arousal. What `IGNORED` lists, and all of the types limb movement, body position, electrocardiogram and
    artifacts, is left out unread.

    A file that holds stages and nothing else does not say that there were no events: they are ``None``. Any other
    ``ScoredEvent``, unknown ones and those left out included, shows that events were scored; ``Recording Start
    Time``, body positions and the course of the night (`COURSE`) do not.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the XML.
    facts : Facts
    words : mapping of str to str, optional
        A user's meanings of concepts; they win over the type.
    unsure : {"hypopnea", "mixed-apnea"}
        What the concept ``Unsure`` stands for: a hypopnea of more than half in adults, a mixed apnea in CHAT.
    desaturations : {"keep", "drop"}
        Leave them out where they are copies of respiratory events (SHHS).

    Raises
    ------
    AnnotationError
        With the element, when the file is malformed, a stage is unknown or off the 30-s grid of the signals, or
        the time of a stage or an event is missing or negative.
    """
    root = parse_xml(files["main"], "PSGAnnotation")
    vocabulary = Words(_STAGE_CONCEPTS, {**EVENT_WORDS, "unsure": unsure}, IGNORED, words)
    own = frozenset(plain(text) for text in words or ())
    runs: list[StageRun] = []
    events: list[Event] = []
    notes: list[str] = []
    shown = 0
    for scored in scored_events(root, "EventConcept"):
        event_type, word = plain(scored.text("EventType").partition("|")[0]), plain(scored.name)
        if event_type == "stages":
            if not vocabulary.is_ignored(word):
                runs.append(_stage_run(scored, vocabulary))
        elif word == _START_CONCEPT:
            notes += _start_notes(scored, facts)
        else:
            shown += event_type != _POSITION_TYPE and word not in COURSE
            if kind := _kind(word or event_type, event_type, vocabulary, own, scored):
                events.append(Event(kind, scored.seconds("Start"), scored.seconds("Duration")))
    notes += _gap_notes(runs, facts.duration_s)
    kept, told = kept_events(events, desaturations, shown, runs)
    return Scoring(tuple(runs), kept, unknown=dict(vocabulary.unknown), notes=(*notes, *told))


def kept_events(
    events: Sequence[Event], desaturations: Desaturations, shown: int, stages: Sized
) -> tuple[tuple[Event, ...] | None, tuple[str, ...]]:
    """Events in time order without desaturations if they are to be dropped, and what to tell: see `events_or_none`.

    `shown` counts the elements that show that events were scored, whether they are kept or not.
    """
    kept = [event for event in events if desaturations == "keep" or event.kind != "desaturation"]
    n = len(events) - len(kept)
    note = f"{n} desaturations left out: in this cohort they are copies of respiratory events, not measured times"
    found, told = events_or_none(kept, shown, stages)
    return found, ((note,) if n else ()) + told


def _stage_run(scored: ScoredElement, vocabulary: Words) -> StageRun:
    code = vocabulary.stage(scored.name, scored.where)
    start_s = scored.seconds("Start")
    if abs(start_s - round(start_s / EPOCH_S) * EPOCH_S) > GRID_SLACK_S:
        raise AnnotationError(f"{scored.where}: start {start_s:g} s is not a multiple of {EPOCH_S:g} s")
    return StageRun(code, start_s, scored.seconds("Duration"), scored.where)


def _kind(word: str, event_type: str, vocabulary: Words, own: frozenset[str], scored: ScoredElement) -> str | None:
    if not word:
        raise AnnotationError(f"{scored.where}: neither <EventType> nor <EventConcept> says what it is")
    if word not in own:
        if event_type.startswith("arousals"):
            return "arousal"
        if event_type in _IGNORED_TYPES:
            return None
    return vocabulary.event(word)


def _start_notes(scored: ScoredElement, facts: Facts) -> list[str]:
    """What the first entry states of the recording, where it does not fit the signals."""
    notes = []
    stated_s = scored.seconds("Duration") if scored.text("Duration") else math.nan
    if abs(stated_s - facts.duration_s) > STATED_LENGTH_SLACK_S:
        notes.append(
            f"the annotation states a recording of {stated_s:g} s, but the signals last {facts.duration_s:g} s: "
            "a clock change, or another file"
        )
    clock = scored.text("ClockTime").split(" ")[-1]  # a placeholder date comes first
    if clock and facts.start is not None:
        try:
            apart_s = abs(clock_seconds(clock, "ClockTime") - seconds_of_day(facts.start))
        except AnnotationError as error:  # nothing is placed by it
            return [*notes, str(error)]
        if min(apart_s, DAY_S - apart_s) > STATED_CLOCK_SLACK_S:
            notes.append(
                f"the annotation states that the recording began at {clock}, but the signals began at "
                f"{facts.start:%H:%M:%S}"
            )
    return notes


def _gap_notes(runs: Sequence[StageRun], duration_s: float) -> list[str]:
    """Whole epochs of the signals that no stage covers."""
    if not runs:
        return []
    gaps: list[tuple[float, float]] = []
    covered_s = 0.0
    for run in sorted(runs, key=lambda run: run.start_s):
        gaps.append((covered_s, run.start_s))
        covered_s = max(covered_s, run.start_s + run.duration_s)
    gaps.append((covered_s, duration_s))
    found = [(at, int((to - at + GRID_SLACK_S) // EPOCH_S)) for at, to in gaps if to - at >= EPOCH_S - GRID_SLACK_S]
    n = sum(epochs for _, epochs in found)
    return [f"{n} epochs without a stage, in {len(found)} gaps, the first at {found[0][0]:g} s"] if found else []
