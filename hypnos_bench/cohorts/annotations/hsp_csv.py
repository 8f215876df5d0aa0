"""Human Sleep Project: ``epoch,time,duration,event`` with times of day, in the words of five sites.

Site S0001 wrote ``Sleep_stage_N2`` and events of three recorders: ``RespEvent - Hypopnea - 4``,
``* Respiratory Event - Dur: 18.3 sec. - Hypopnea - Desat 91.0 %``, ``Obstructive_Apnea``. Site I0004 wrote ``stage2``
and ``obstructiveapnea``. Technicians' notes stand between them, and name apneas too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypnos_bench.cohorts.annotations.clock import Clock
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, merged, span_notes
from hypnos_bench.cohorts.annotations.text import (
    MAX_FIELD_CHARACTERS,
    csv_rows,
    decoded,
    events_or_none,
    seconds,
    tells_of_scored_events,
)
from hypnos_bench.cohorts.annotations.words import Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.spec import EPOCH_S

MISSING_EVENT_S = 10.0
"""Length of an event that the file gives none; a stage without one lasts an epoch."""

POINT_S = 0.05
"""Durations up to here are one sample of the recorder, which is how some files write a missing one."""

_STAGES = {
    "sleep stage w": 0,
    "sleep stage n1": 1,
    "sleep stage 1": 1,
    "sleep stage n2": 2,
    "sleep stage 2": 2,
    "sleep stage n3": 3,
    "sleep stage 3": 3,
    "sleep stage r": 4,
    "sleep stage rem": 4,
    "sleep stage ?": -1,
}
_BARE_STAGES = {"wake": 0, "stage1": 1, "stage2": 2, "stage3": 3, "rem": 4, "unknownstage": -1}
_LIKE_A_STAGE = re.compile(r"sleep stage.*|stage - .*|stage ?\d|nostage|no stage")
_STAGE_PREFIX = "sleep stage"

_BREATHING = ("respiratory event", "respevent")
_EVENT_HEADS = (
    *_BREATHING,
    *("arousal", "spontaneous arousal", "arousal w/ respiratory", "arousal w/ plm", "rera", "hypopnea"),
    *("obstructive apnea", "central apnea", "mixed apnea", "obstructiveapnea", "centralapnea", "mixedapnea"),
    *("obstructive hypopnea", "central hypopnea", "mixed hypopnea", "apnea"),
    *("desaturation", "oxygen desaturation", "desaturation w/ respiratory"),
)
"""What a scored event begins with. Other texts that name an event are notes, unless they have a duration."""

_SCORED_HEADS = {
    *("plm", "lm", "limb movement", "leg movement", "left leg", "right leg", "both leg"),
    *("snore", "bruxism", "ekg events", "ekgevent"),
}
_IGNORED_HEADS = {
    *_SCORED_HEADS,
    *("movement", "position", "body position", "treatment", "bilevel", "cpap"),
    *("lights on", "lights off", "lights out", "impedance check", "new montage", "montage", "redacted"),
    *("pulse rate event", "pulse rate threshold event", "spo2 event", "spo2 threshold event"),
    *("start recording", "recording resumed", "paused", "recording paused"),
}
_DETAIL = re.compile(r"dur:.*|desat\b.*|min\b.*|drop\b.*|\d+")
_DURATION = re.compile(r"\bdur: *(\d+(?:\.\d+)?) *sec")
_RESUMED = "recording resumed"
_MISSING = ("", "nan", "n/a")
_DATE = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}[ T]")


@dataclass(frozen=True)
class _Row:
    epoch: str
    clock: str
    duration: str
    text: str  # as `_spoken` writes it
    where: str


def read_hsp_csv(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and events of one file; the separator is a comma, or a tab as in older releases.

    Bare names of stages (``wake``, ``stage2``, ``rem``) are stages in files that have no ``Sleep_stage_`` at all,
    and notes in those that have. Breathing events are known by what they contain: obstructive, central or mixed with
    apnea, hypopnea, RERA; arousals by ``arousal``, unless ``post`` is in the text too. A text that only names an
    event, has no duration and is not of the recorder's form (``cpap increased for apneas``) is a note.

    Rows are placed by their time of day. The column ``epoch`` (1 is the first) is only compared.

    A file that holds stages and nothing else does not say that there were no events: they are ``None``. Any event
    with a time, unknown ones, limb movements and snores included, and a remark that says that events were scored
    shows that they were; other remarks, positions, lights and what the recorder wrote by itself do not.

    Parameters
    ----------
    files : mapping
        ``main``: the ``.csv`` or ``.tsv``.
    facts : Facts
        Start and length of the signals.
    words : mapping of str to str, optional
        A user's words, which win (see `Words`): texts with blanks for ``_`` and without a leading ``*``.

    Raises
    ------
    AnnotationError
        For a table without its columns, a time that is none, or an unknown stage, with the line.
    """
    rows = list(_rows(decoded(files["main"])))
    named = any(row.text.startswith(_STAGE_PREFIX) for row in rows)
    vocabulary = Words(_STAGES if named else {**_STAGES, **_BARE_STAGES}, overrides=_spoken_keys(words))
    overridden = set(_spoken_keys(words))
    clock = Clock(facts.start, facts.duration_s)
    told = _Told()
    runs: list[StageRun] = []
    events: list[Event] = []
    for row in rows:
        told.resumed += row.text == _RESUMED
        if not row.clock:
            told.timeless += 1
            continue
        start_s = clock.seconds(_DATE.sub("", row.clock), row.where)
        duration_s = told.seconds(row)
        if _is_stage(row, vocabulary, named, overridden):
            told.stage(row, start_s, duration_s)
            length_s = EPOCH_S if duration_s is None else duration_s
            runs.append(StageRun(vocabulary.stage(row.text, row.where), start_s, length_s, row.where))
        elif word := told.event_word(row, duration_s, overridden):
            kind = vocabulary.event(word)
            told.missing_events += duration_s is None and kind is not None
            events += [Event(kind, start_s, MISSING_EVENT_S if duration_s is None else duration_s)] if kind else []
    stages = merged(runs)
    kept, none = events_or_none(events, told.scored, stages)
    notes = (*told.notes(), *none, *span_notes(stages, facts.duration_s))
    return Scoring(stages, kept, unknown=dict(vocabulary.unknown), notes=notes)


@dataclass
class _Told:
    """What there is to tell about the reading of one file."""

    missing_stages: int = 0
    missing_events: int = 0
    remarks: int = 0
    post: int = 0
    timeless: int = 0
    resumed: int = 0
    elsewhere: int = 0
    scored: int = 0  # rows that show that events were scored, whether they are kept or not

    def seconds(self, row: _Row) -> float | None:
        """Duration of a row by its column, else by its text (``dur: 18.3 sec.``); ``None`` where it is missing."""
        text = row.duration
        if not text and (in_text := _DURATION.search(row.text)):
            text = in_text[1]
        if not text:
            return None
        duration_s = seconds(text, row.where, "duration")
        return duration_s if duration_s > POINT_S else None

    def stage(self, row: _Row, start_s: float, duration_s: float | None) -> None:
        """Compare a stage with its number."""
        self.missing_stages += duration_s is None
        if re.fullmatch(r"\d{1,6}(\.0)?", row.epoch):
            self.elsewhere += abs(start_s - (float(row.epoch) - 1) * EPOCH_S) > EPOCH_S

    def event_word(self, row: _Row, duration_s: float | None, overridden: set[str]) -> str | None:
        """Word of the tables for a row that is no stage; ``None`` for what is passed over."""
        parts = [part.strip() for part in row.text.split(" - ")]
        parts = [part for part in parts if part and not _DETAIL.fullmatch(part)] or [row.text]
        phrase, head = " - ".join(parts), parts[0].split(":")[0]
        kind = _kind(phrase, parts[0] in _BREATHING)
        is_event = parts[0] in _EVENT_HEADS or (duration_s is not None and kind is not None)
        self.scored += is_event or head in _SCORED_HEADS or tells_of_scored_events(row.text)
        if row.text in overridden or phrase in overridden:
            return row.text if row.text in overridden else phrase
        if head in _IGNORED_HEADS:
            return None
        if kind == "post":
            self.post += 1
            return None
        if parts[0] in _EVENT_HEADS or (duration_s is not None and row.text):
            return kind or phrase
        self.remarks += 1
        return None

    def notes(self) -> tuple[str, ...]:
        """Lines for `Scoring.notes`."""
        lines = {
            f"stages without a duration, taken as {EPOCH_S:g} s": self.missing_stages,
            f"events without a duration, taken as {MISSING_EVENT_S:g} s": self.missing_events,
            "remarks without a duration, passed over": self.remarks,
            "texts with 'arousal' and 'post', passed over": self.post,
            "rows without a time, passed over": self.timeless,
            "'Recording Resumed', after which the times may be shifted against the signals": self.resumed,
            "stages more than an epoch from where their epoch number puts them": self.elsewhere,
        }
        return tuple(f"{text}: {count}" for text, count in lines.items() if count)


def _is_stage(row: _Row, vocabulary: Words, named: bool, overridden: set[str]) -> bool:
    if vocabulary.is_stage(row.text):
        return True
    if row.text in overridden or not _LIKE_A_STAGE.fullmatch(row.text):
        return False
    # In a file with Sleep_stage_, other spellings repeat what these say.
    return row.text.startswith(_STAGE_PREFIX) or not named


def _kind(phrase: str, breathing: bool) -> str | None:
    """Word of the tables for a text by what it contains; ``"post"`` for arousals after something."""
    if "arousal" in phrase and not breathing and "effort" not in phrase:
        return "post" if "post" in phrase else "arousal"
    if re.search(r"\brera", phrase) or ("arousal" in phrase and "effort" in phrase):
        return "rera"
    if "hypopnea" in phrase:
        return "hypopnea"
    if "apnea" in phrase:
        return next((f"{kind} apnea" for kind in ("obstructive", "central", "mixed") if kind in phrase), "apnea")
    return "desaturation" if "desaturation" in phrase else None


def _spoken(text: str) -> str:
    """A text in one spelling: blanks for ``_``, lower case, without the ``*`` of automatic scoring."""
    return plain(text.replace("_", " ").strip().removeprefix("*"))


def _spoken_keys(words: Mapping[str, str] | None) -> dict[str, str]:
    return {_spoken(text): meaning for text, meaning in (words or {}).items()}


def _rows(text: str) -> Iterator[_Row]:
    header = text.lstrip("\r\n").partition("\n")[0]
    columns: Sequence[str] = ()
    for where, cells in csv_rows(text, "\t" if "\t" in header else ","):
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = [cell.strip().casefold() for cell in cells]
            if missing := {"time", "event"} - set(columns):
                found = plain(", ".join(columns))[:80]
                raise AnnotationError(f"{where}: no column {' or '.join(sorted(missing))}; found: {found}")
            continue
        if len(cells) != len(columns) or max(map(len, cells)) > MAX_FIELD_CHARACTERS:
            raise AnnotationError(f"{where}: {len(cells)} columns, expected {len(columns)} of ordinary length")
        present = ("" if cell.strip().casefold() in _MISSING else cell.strip() for cell in cells)
        row = dict(zip(columns, present, strict=True))
        yield _Row(row.get("epoch", ""), row["time"], row.get("duration", ""), _spoken(row["event"]), where)
