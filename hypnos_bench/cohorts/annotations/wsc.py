"""Wisconsin Sleep Cohort: ``.stg.txt`` of the Gamma system and ``.allscore.txt`` of the Twin system.

The events of Gamma are in ``.sco.txt``, whose layout no source describes well enough to trust: it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hypnos_bench.cohorts.annotations.clock import DAY_S, Clock, clock_seconds
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import GRID_SLACK_S, MAX_SPAN_GAP_S, AnnotationError, merged
from hypnos_bench.cohorts.annotations.text import (
    MAX_SECONDS,
    decoded,
    events_or_none,
    filled_lines,
    point_notes,
    tells_of_scored_events,
    time_of_day,
)
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.spec import EPOCH_S

SNAP_S = 1.0
"""How far a change of stage may lie from the grid of epochs, and the log from the EDF, as these have whole seconds."""

_STG_STAGES = {"0": 0, "1": 1, "2": 2, "3": 3, "4": 3, "5": 4, "6": -1, "7": -1}
_STG_COLUMN = "user-defined stage"
_STARTED = "recording started"
_LOG_CLOCK = re.compile(r"\d{1,2}:\d{2}:\d{2}(?: ?[ap]m)?")
_HALF_DAY_S = DAY_S / 2
_HALVES = re.compile(r"(?:0?[1-9]|1[0-2]):[\d:]+")  # what a 12-hour clock shows, without AM and PM

_STAGES = {
    "stage - w": 0,
    "stage - n1": 1,
    "stage - n2": 2,
    "stage - n3": 3,
    "stage - r": 4,
    "stage - mvt": -1,
    "stage - no stage": -1,
}
_STAGE_PREFIX = "stage - "
_START, _PAUSED, _RESUMED, _FAILED = "start recording", "paused", "recording resumed", "power failure recovery"
_HEADS = {"arousal": "arousal", "desaturation": "desaturation"}
_BREATHING = "respiratory event"
_SCORED_HEADS = {"lm", "plm", "snore", "bruxism", "ekg events"}
_IGNORED_HEADS = {*_SCORED_HEADS, "position", "lights out", "lights on", "new montage"}
_DURATION = re.compile(r"dur: *(\d+(?:\.\d+)?) *sec\.?")


def read_wsc_stg(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages of a ``.stg.txt``: epochs counted from 1, from the start of the signals, in the codes 0 to 7.

    The scored stage is the column ``User-Defined Stage``; ``CAST-Defined Stage`` is the computer's. Epochs that the
    file leaves out are unscored.

    Parameters
    ----------
    files : mapping
        ``main``: the ``.stg.txt``; ``log``, where there is one: the ``.log.txt``, whose ``Recording Started``, of
        several the one nearest midnight, must be the start of the signals. Some logs have a 12-hour clock without
        AM and PM: one that is 12 hours off is accepted, and told.
    facts : Facts
        Start of the signals, to compare.
    words : mapping of str to str, optional
        A user's meanings of the codes, which win (see `Words`).

    Raises
    ------
    AnnotationError
        For a line that is no epoch, an unknown code, or a start more than an epoch from that of the signals.
    """
    vocabulary = Words(_STG_STAGES, {}, overrides=words)
    found: dict[int, StageRun] = {}
    column = 1
    for index, (number, line) in enumerate(filled_lines(decoded(files["main"]))):
        where = f"line {number}"
        cells = line.rstrip().split("\t")
        if index == 0 and plain(cells[0]) == "epoch":
            column = _stage_column([plain(cell) for cell in cells], where)
            continue
        if len(cells) <= column or not re.fullmatch(r"\d{1,6}", cells[0].strip()) or int(cells[0]) < 1:
            raise AnnotationError(f"{where}: {line[:80]!r}, expected an epoch counted from 1, and its stage")
        epoch = int(cells[0])
        run = StageRun(vocabulary.stage(cells[column], where), (epoch - 1) * EPOCH_S, EPOCH_S, where)
        if found.setdefault(epoch, run).code != run.code:
            raise AnnotationError(f"{where}: another stage for epoch {epoch} than in {found[epoch].where}")
    notes = ("scored stages are those of 'User-Defined Stage'; events (.sco.txt) are not read",)
    return Scoring(merged(found.values()), notes=(*notes, *_log_notes(files.get("log"), facts)))


def _stage_column(header: Sequence[str], where: str) -> int:
    if _STG_COLUMN not in header:
        raise AnnotationError(f"{where}: no column 'User-Defined Stage'; found: {', '.join(header)[:80]}")
    return header.index(_STG_COLUMN)


def _log_notes(log: bytes | None, facts: Facts) -> tuple[str, ...]:
    """Compare the log's start with that of the signals, or tell that it could not be compared."""
    from_start = "epochs are counted from the start of the signals"
    if log is None:
        return (f"without a log, {from_start}",)
    starts = list(_log_starts(decoded(log)))
    if not starts or facts.start is None:
        silent = "the signals do" if starts else "the log does"
        return (f"{silent} not say when the recording began: {from_start}",)
    axis = Clock(facts.start, facts.duration_s)
    clock, where = _nearest_midnight(starts)
    gap_s = axis.seconds(clock, where)
    said = _log_said(clock, where, facts)
    notes = [f"{said}; {from_start}"] if abs(gap_s) > SNAP_S else []
    if abs(gap_s) > EPOCH_S:
        if not all(_HALVES.fullmatch(shown) for shown, _ in starts):
            raise AnnotationError(f"{said}: the stages are those of another start")
        clock, where = _nearest_midnight(starts, _HALF_DAY_S)
        gap_s = axis.place(clock_seconds(clock, where) + _HALF_DAY_S)
        if abs(gap_s) > EPOCH_S:
            raise AnnotationError(f"{said}: the stages are those of another start")
        said = _log_said(clock, where, facts)
        notes = [f"{said}: 12 hours off, taken as a 12-hour clock without AM and PM; {from_start}"]
    return (*notes, *([f"starts in the log: {len(starts)}; the one at {clock} is compared"] if len(starts) > 1 else []))


def _log_said(clock: str, where: str, facts: Facts) -> str:
    return f"log, {where}: 'Recording Started' at {clock}, but the signals begin at {facts.start}"


def _nearest_midnight(starts: Sequence[tuple[str, str]], later_s: float = 0.0) -> tuple[str, str]:
    """Of several starts the one nearest midnight, the last of equals; all of them `later_s` later than they say."""
    # min keeps the first of equals: hence from the end.
    return min(reversed(starts), key=lambda start: _from_midnight((clock_seconds(*start) + later_s) % DAY_S))


def _log_starts(text: str) -> Iterator[tuple[str, str]]:
    """Time and place of every start; a first column ``--/--/--`` and epoch numbers after the time occur."""
    for number, line in filled_lines(text):
        cells = [plain(cell) for cell in line.split("\t")]
        clock = _LOG_CLOCK.search(" ".join(cells[: cells.index(_STARTED)])) if _STARTED in cells else None
        if clock:
            yield clock[0], f"line {number}"


def _from_midnight(after_midnight_s: float) -> float:
    return min(after_midnight_s, DAY_S - after_midnight_s)


@dataclass(frozen=True)
class _Line:
    start_s: float
    text: str
    where: str


def read_wsc_allscore(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and events of an ``.allscore.txt``.

    A stage holds from its line to the next. Changes within 1 s of the grid of epochs from ``START RECORDING`` are
    moved onto it; an epoch within which a stage changes, or the recording paused, is unscored. The time of an event
    is taken as its start, as public converters of these files do: the format's documentation does not say. What
    stands before ``START RECORDING`` is passed over.

    Events without a length are 0 s long and counted in the notes. A file that holds stages and nothing else does not
    say that there were no events: they are ``None``. Any event, unknown ones, limb movements and snores included, and
    a remark that says that events were scored shows that they were; positions, lights, pauses and other remarks do
    not.

    Parameters
    ----------
    files : mapping
        ``main``: the ``.allscore.txt``.
    facts : Facts
        Start and length of the signals. When they have no start, ``START RECORDING`` is it.
    words : mapping of str to str, optional
        A user's words, which win (see `Words`): texts without their ``DUR``, or their first part (``arousal``).

    Raises
    ------
    AnnotationError
        For no or several ``START RECORDING``, one more than an epoch from the start of the signals, a power failure,
        an unknown stage, two stages at one time, or a line without a time of day.
    """
    text = decoded(files["main"], "utf-8-sig", "latin-1")
    lines, notes = _placed([_split(line, number) for number, line in filled_lines(text)], facts)
    begin_s = next(line.start_s for line in lines if line.text == _START)
    before = sum(line.start_s < begin_s - GRID_SLACK_S for line in lines)
    notes += [f"lines before 'START RECORDING', passed over: {before}"] if before else []
    lines = sorted((line for line in lines if line.start_s >= begin_s - GRID_SLACK_S), key=lambda line: line.start_s)
    vocabulary = Words(_STAGES, EVENT_WORDS, overrides=words)
    overridden = {plain(text) for text in words or {}}
    changes = [line for line in lines if _is_change(line, vocabulary, overridden)]
    stages = _filled(changes, lines, begin_s, facts.duration_s, vocabulary, notes)
    events: list[Event] = []
    remarks = passed_over = 0
    for line in lines:
        if line.text in ("", _START, _PAUSED, _RESUMED) or _is_change(line, vocabulary, overridden):
            continue
        word, duration_s = _event_word(line.text, overridden)
        kind = vocabulary.event(word) if word else None
        remarks += word == ""
        passed_over += _is_scored(line.text)
        events += [Event(kind, line.start_s, duration_s)] if kind else []
    notes += ["the time of an event is taken as its start"] if events else []
    notes += point_notes(events)
    notes += [f"remarks without a duration, passed over: {remarks}"] if remarks else []
    kept, told = events_or_none(events, passed_over, stages)
    notes += [*told, *_span_notes(lines, facts.duration_s)]
    return Scoring(stages, kept, unknown=dict(vocabulary.unknown), notes=tuple(notes))


def _span_notes(lines: Sequence[_Line], duration_s: float) -> tuple[str, ...]:
    """Tell when the lines, in time order, end far from the end of the signals: the clock may have been changed.

    Stages do not show it here: the last one holds to the end of the signals.
    """
    span_s = lines[-1].start_s - lines[0].start_s
    if abs(span_s - duration_s) <= MAX_SPAN_GAP_S:
        return ()
    return (f"lines span {span_s:g} s of {duration_s:g} s of signals: check that the clock was not changed",)


def _split(line: str, number: int) -> tuple[str, str, str]:
    """Time, text in the spelling of the tables, and place of a line."""
    clock, _, text = line.partition("\t")
    where = f"line {number}"
    clock_seconds(clock, where)
    return clock, plain(text.strip().removeprefix("*")), where


def _is_change(line: _Line, vocabulary: Words, overridden: set[str]) -> bool:
    return vocabulary.is_stage(line.text) or (line.text.startswith(_STAGE_PREFIX) and line.text not in overridden)


def _placed(raw: Sequence[tuple[str, str, str]], facts: Facts) -> tuple[list[_Line], list[str]]:
    """Lines with their seconds, and what to tell. Refuses what cannot be placed."""
    if failed := next((where for _, text, where in raw if _FAILED in text), None):
        raise AnnotationError(f"{failed}: 'POWER FAILURE RECOVERY': later times do not fit the signals")
    starts = [(clock, where) for clock, text, where in raw if text == _START]
    if len(starts) != 1:
        places = f" ({', '.join(where for _, where in starts[:3])})" if starts else ""
        raise AnnotationError(f"'START RECORDING' occurs {len(starts)} times{places}, expected once")
    clock_text, where = starts[0]
    clock = Clock(
        time_of_day(clock_seconds(clock_text, where)) if facts.start is None else facts.start, facts.duration_s
    )
    notes = [] if facts.start is not None else ["the signals do not say when they began: 'START RECORDING' is taken"]
    gap_s = clock.seconds(clock_text, where)
    said = f"{where}: 'START RECORDING' at {clock_text.strip()}, but the signals begin at {facts.start}"
    if abs(gap_s) > EPOCH_S:
        raise AnnotationError(f"{said}: the file belongs to another start")
    # Headers of EDF have whole seconds: within one, both are the first sample.
    zero_s = gap_s if abs(gap_s) <= SNAP_S else 0.0
    notes += [] if abs(gap_s) <= SNAP_S else [f"{said}; times count from the latter"]
    return [_Line(clock.seconds(at, place) - zero_s, text, place) for at, text, place in raw], notes


def _filled(
    changes: Sequence[_Line],
    lines: Sequence[_Line],
    begin_s: float,
    duration_s: float,
    vocabulary: Words,
    notes: list[str],
) -> tuple[StageRun, ...]:
    """Stages from one change to the next, in whole epochs; adds to `notes` what is left unscored."""
    n = max(0, int((duration_s - begin_s + GRID_SLACK_S) // EPOCH_S))
    holds = np.full(n, -1)  # index of the change that each epoch comes after, -1 for none
    cut = 0
    ends = [*((line.start_s - begin_s) for line in changes[1:]), n * EPOCH_S][: len(changes)]
    for index, (line, end_s) in enumerate(zip(changes, ends, strict=True)):
        start_s = line.start_s - begin_s
        if index and start_s == changes[index - 1].start_s - begin_s and line.text != changes[index - 1].text:
            raise AnnotationError(f"{line.where}: another stage at the same time as in {changes[index - 1].where}")
        first, last = -_epochs_up_to(-start_s), _epochs_up_to(end_s)
        cut += first * EPOCH_S - start_s > SNAP_S
        holds[max(first, 0) : max(last, 0)] = index
    if cut:
        notes.append(f"changes of stage within an epoch, which is unscored: {cut} of {len(changes)}")
    pauses = list(_pauses(lines, duration_s))
    for start_s, stop_s in pauses:
        first, last = _epochs_up_to(start_s - begin_s), -_epochs_up_to(begin_s - stop_s)
        holds[max(first, 0) : max(last, 0)] = -1
    if pauses:
        notes.append(f"pauses of the recording, unscored: {len(pauses)}, {sum(b - a for a, b in pauses):g} s")
    codes = [vocabulary.stage(line.text, line.where) for line in changes]
    return merged(
        StageRun(codes[index], begin_s + epoch * EPOCH_S, EPOCH_S, changes[index].where)
        for epoch, index in enumerate(holds.tolist())
        if index >= 0
    )


def _epochs_up_to(after_s: float) -> int:
    """Whole epochs before a time; one that is less than `SNAP_S` short counts as whole."""
    return int((after_s + SNAP_S + GRID_SLACK_S) // EPOCH_S)


def _pauses(lines: Sequence[_Line], duration_s: float) -> Iterator[tuple[float, float]]:
    """From and to of every pause; one that is never ended lasts to the end of the signals."""
    since: float | None = None
    for line in lines:
        if line.text == _PAUSED and since is None:
            since = line.start_s
        elif line.text == _RESUMED and since is not None:
            yield since, line.start_s
            since = None
    if since is not None and since < duration_s:
        yield since, duration_s


def _is_scored(text: str) -> bool:
    """Whether a line shows that events were scored, whatever the user's words make of it."""
    word, _ = _event_word(text, set())
    head = text.split(" - ")[0].strip()
    return (
        head in _SCORED_HEADS
        or head == _BREATHING
        or word in EVENT_WORDS
        or (word == "" and tells_of_scored_events(text))
    )


def _event_word(text: str, overridden: set[str]) -> tuple[str | None, float]:
    """Word of the tables and duration of a line; ``None`` for what is ignored, an empty word for a remark."""
    length = _DURATION.search(text)
    duration_s = min(float(length[1]), MAX_SECONDS) if length else 0.0
    parts = [part for part in (p.strip() for p in text.split(" - ")) if part and not _DURATION.fullmatch(part)]
    whole, head = " - ".join(parts), parts[0] if parts else ""
    if whole in overridden or head in overridden:
        return (whole if whole in overridden else head), duration_s
    if head in _IGNORED_HEADS:
        return None, 0.0
    if head == _BREATHING and len(parts) > 1:
        return parts[1], duration_s
    if kind := next((kind for name, kind in _HEADS.items() if re.match(rf"{name}( from | to |$)", head)), None):
        return kind, duration_s
    return (whole if length else ""), duration_s
