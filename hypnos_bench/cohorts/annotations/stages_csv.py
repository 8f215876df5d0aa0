"""STAGES: ``Start Time,Duration (seconds),Event``, with commas inside events that nothing quotes.

Thirteen sites wrote it three ways: stages of no length that run to the next one (BOGN), one row per epoch, and one
row per stretch. Technicians wrote notes into the same column, some of which contain the names of stages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hypnos_bench.cohorts.annotations.clock import DAY_S, Clock, clock_seconds
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import GRID_SLACK_S, AnnotationError, merged, span_notes
from hypnos_bench.cohorts.annotations.text import (
    decoded,
    events_or_none,
    filled_lines,
    point_notes,
    seconds,
    tells_of_scored_events,
    time_of_day,
)
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.spec import EPOCH_S

MAX_CLOCK_GAP_S = 1_800.0
"""``Beginning of Recording`` further than this from the start of the signals is of another recording or clock."""

Align = Literal["beginning", "signals"]
"""What is second 0: the row ``Beginning of Recording`` where there is one, or always the EDF header's start."""

_STAGES = {
    "Wake": 0,
    "Stage1": 1,
    "Stage2": 2,
    "Stage3": 3,
    "Stage4": 3,  # Rechtschaffen and Kales: 3 and 4 together are N3
    "REM": 4,
    "UnknownStage": -1,
    "No Stage": -1,
    "MT": -1,
}
_EVENTS = {
    **EVENT_WORDS,
    "obstructiveapnea": "obstructive-apnea",
    "centralapnea": "central-apnea",
    "mixedapnea": "mixed-apnea",
    "desaturation w/ respiratory": "desaturation",
    "arousal w/ respiratory": "arousal",
    "arousal w/ plm": "arousal",
    "spontaneous arousal": "arousal",
}
_BEGINNING = "beginning of recording"
_SCORED = ("left leg", "right leg", "both leg", "plm", "snore")
_IGNORED = (*_SCORED, _BEGINNING, "supine", "prone", "left", "right")
_NAP = re.compile(r"nap\s*\d+")
_LIKE_A_STAGE = re.compile(r"stage\s*\w+|n[1-4]|s[1-4]|w")
_PLAIN_STAGES = {plain(text) for text in _STAGES}


@dataclass(frozen=True)
class _Row:
    clock: str
    duration_s: float
    text: str
    where: str


def read_stages_csv(
    files: Mapping[str, bytes],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    align: Align = "beginning",
) -> Scoring:
    """Stages and events of one file.

    A stage is a row whose event is exactly one of the cohort's names, capitals included: ``Awake`` and notes about
    REM are none. A row of no length runs to the next stage, the last one for one epoch; one of 24 hours or more
    (three files of STNF have 2,592,000 s) ends with the next stage or the signals. Of two rows that begin at the
    same time, one that says no stage gives way. Onsets stay on the scorer's own grid.

    Events without a length are 0 s long and counted in the notes. A file that holds stages and nothing else does not
    say that there were no events: they are ``None``. Any event, unknown ones, leg movements and snores included, and
    a remark that says that events were scored shows that they were; positions, other remarks and ``Beginning of
    Recording`` do not.

    Parameters
    ----------
    files : mapping
        ``main``: the ``.csv``.
    facts : Facts
        Start and length of the signals. The start may be missing when the file has ``Beginning of Recording``.
    words : mapping of str to str, optional
        A user's words, which win (see `Words`).
    align : {"beginning", "signals"}
        ``Beginning of Recording`` is the first sample, whatever the EDF header says, as the file's own clock cannot
        disagree with itself; ``signals`` trusts the header. More than an epoch between the two is told in the notes.

    Raises
    ------
    AnnotationError
        For a row that is none, a time that is none, a stage of another spelling, or a beginning that is more than
        1,800 s from the start of the signals.
    """
    overridden = {plain(text) for text in words or {}}
    vocabulary = Words({}, _EVENTS, _IGNORED, words)
    exact = {text: code for text, code in _STAGES.items() if plain(text) not in overridden}
    rows = list(_rows(decoded(files["main"])))
    clock, zero_s, notes = _clock(rows, facts, align)
    marks: list[StageRun] = []
    events: list[Event] = []
    remarks = passed_over = 0
    for row in rows:
        start_s = clock.seconds(row.clock, row.where) - zero_s
        if row.text in exact or vocabulary.is_stage(row.text):
            code = exact[row.text] if row.text in exact else vocabulary.stage(row.text, row.where)
            marks.append(StageRun(code, start_s, row.duration_s, row.where))
            continue
        _refuse_other_spellings(row, overridden)
        if _is_remark(row, overridden):
            remarks += 1
            passed_over += tells_of_scored_events(row.text)
        elif kind := vocabulary.event(row.text):
            events.append(Event(kind, start_s, row.duration_s))
        else:
            passed_over += plain(row.text) in _EVENTS or plain(row.text) in _SCORED
    notes += point_notes(events)
    notes += [f"remarks without a duration, passed over: {remarks}"] if remarks else []
    naps = sum(_NAP.match(plain(row.text)) is not None for row in rows)
    notes += [f"naps are marked: {naps}; this is a multiple sleep latency test, not a night"] if naps else []
    runs = merged(_runs(marks, facts.duration_s, notes))
    kept, told = events_or_none(events, passed_over, marks)
    notes += [*told, *span_notes(runs, facts.duration_s)]
    return Scoring(runs, kept, unknown=dict(vocabulary.unknown), notes=tuple(notes))


def _is_remark(row: _Row, overridden: set[str]) -> bool:
    word = plain(row.text)
    known = word in _EVENTS or word in _IGNORED or word in overridden
    return not known and (row.duration_s == 0 or not word or _NAP.match(word) is not None)


def _refuse_other_spellings(row: _Row, overridden: set[str]) -> None:
    """A row as long as an epoch that looks like a stage but is none of the names must not be lost as an event."""
    word = plain(row.text)
    if row.duration_s < EPOCH_S or word in overridden:
        return
    if word in _PLAIN_STAGES or _LIKE_A_STAGE.fullmatch(word):
        raise AnnotationError(
            f"{row.where}: {row.text[:60]!r} lasts {row.duration_s:g} s and looks like a sleep stage, but is not "
            f"spelled as one: {', '.join(_STAGES)}. If it is one, say so in the cohort settings: "
            f'words = {{ "{word[:60]}" = "N2" }}'
        )


def _clock(rows: Sequence[_Row], facts: Facts, align: Align) -> tuple[Clock, float, list[str]]:
    """The clock, what it shows at the first sample, and what to tell about it."""
    begins = [row for row in rows if plain(row.text) == _BEGINNING]
    if not begins:
        return Clock(facts.start, facts.duration_s), 0.0, []
    if facts.start is None:
        if len({row.clock for row in begins}) > 1:
            raise AnnotationError(
                f"{begins[1].where}: 'Beginning of Recording' again, and the signals do not say at what time they began"
            )
        start = time_of_day(clock_seconds(begins[0].clock, begins[0].where))
        note = f"the signals do not say when they began: {begins[0].clock} is taken, as 'Beginning of Recording'"
        return Clock(start, facts.duration_s), 0.0, [note]
    clock = Clock(facts.start, facts.duration_s)
    gap_s, begin = min(((clock.seconds(row.clock, row.where), row) for row in begins), key=lambda found: abs(found[0]))
    said = f"'Beginning of Recording' at {begin.clock}, but the signals begin at {facts.start}"
    if abs(gap_s) > MAX_CLOCK_GAP_S:
        raise AnnotationError(
            f"{begin.where}: {said}: more than {MAX_CLOCK_GAP_S:g} s apart, another recording or clock"
        )
    zero_s = gap_s if align == "beginning" else 0.0
    far = f"{begin.where}: {said}; times count from the {'former' if align == 'beginning' else 'latter'} (align)"
    return clock, zero_s, [far] if abs(gap_s) > EPOCH_S else []


def _runs(marks: Sequence[StageRun], duration_s: float, notes: list[str]) -> Iterator[StageRun]:
    """Stages with the lengths that they have; adds to `notes` what had to be decided."""
    by_start: dict[float, list[StageRun]] = {}
    for mark in marks:
        by_start.setdefault(round(mark.start_s, 3), []).append(mark)
    starts = sorted(by_start)
    yielding = short = 0
    for start_s, next_s in zip(starts, [*starts[1:], None], strict=False):  # no start: nothing to pair
        together = by_start[start_s]
        scored = [mark for mark in together if mark.code >= 0] or together[:1]
        yielding += len(together) - len(scored)
        for mark in scored:
            if GRID_SLACK_S < mark.duration_s < DAY_S:
                yield mark
                continue
            stop_s = next_s if next_s is not None else start_s + EPOCH_S
            if mark.duration_s >= DAY_S:
                stop_s = duration_s if next_s is None else min(next_s, duration_s)
                notes.append(f"{mark.where}: {mark.duration_s:g} s of one stage, cut at {stop_s:g} s")
            pages = max(0, int((stop_s - start_s + GRID_SLACK_S) // EPOCH_S))
            short += stop_s - start_s - pages * EPOCH_S > GRID_SLACK_S
            if pages:
                yield replace(mark, duration_s=pages * EPOCH_S)
    if yielding:
        notes.append(f"rows without a stage that begin together with a stage, passed over: {yielding}")
    if short:
        notes.append(f"stages cut within an epoch, which is left unscored there: {short}")


def _rows(text: str) -> Iterator[_Row]:
    lines = filled_lines(text)
    _, header = next(lines, (1, ""))
    if not plain(header).startswith("start time,"):
        raise AnnotationError(f"line 1: expected 'Start Time,Duration (seconds),Event', found {header[:80]!r}")
    for number, line in lines:
        where = f"line {number}"
        cells = line.split(",", 2)
        if len(cells) < 3:
            raise AnnotationError(f"{where}: {len(cells)} columns, expected 3")
        yield _Row(cells[0].strip(), seconds(cells[1].strip() or "0", where, "duration"), cells[2].strip(), where)
