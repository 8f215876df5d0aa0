"""Noxturnal event tables: start, end, event, duration, named in the language of the recorder's software.

The columns are known by their place, as their names are translated: a first row of names, a second one of units
(``[],[],[],[s],``), then one row per epoch and event. Starts and ends are local dates with times; the file is in
UTF-16 or UTF-8, separated by commas, semicolons or tabs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypnos_bench.cohorts.annotations.clock import Clock, clock_seconds, seconds_of_day
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, merged, span_notes
from hypnos_bench.cohorts.annotations.text import MAX_FIELD_CHARACTERS, csv_rows, decoded, events_or_none, seconds
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, STAGE_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun

MAX_SPAN_DAYS = 2
"""A night and what is around it. Dates that span more are read with day and month exchanged."""

_STAGES = {
    **{word: code for word, code in STAGE_WORDS.items() if word != "movement"},
    "éveil": 0,
    "nrem": -1,
}
_EVENTS = {
    **EVENT_WORDS,
    "a. obstructive": "obstructive-apnea",
    "a. central": "central-apnea",
    "a. mixed": "mixed-apnea",
    "h. obstructive": "hypopnea",
    "h. central": "hypopnea",
    "h. mixed": "hypopnea",
    "desat": "desaturation",
    "spontaneous arousal": "arousal",
    "respiratory arousal": "arousal",
    "lm arousal": "arousal",
    "plm arousal": "arousal",
    "micro-éveil": "arousal",
    "apnée": "apnea",
    "apnée obstructive": "obstructive-apnea",
    "apnée centrale": "central-apnea",
    "apnée mixte": "mixed-apnea",
    "a. centrale": "central-apnea",
    "a. mixte": "mixed-apnea",
    "hypopnée": "hypopnea",
    "désaturation": "desaturation",
    "désat": "desaturation",
}
_SCORED = ("artifact", "artefact", "lm", "plm", "plms", "single snore", "snore train")
_IGNORED = (
    *(*_SCORED, "notification", "avertissement", "warning", "movement", "mouvement"),
    *("supine", "prone", "left", "right", "upright"),
)
_UNITS = re.compile(r"\[[^\[\]]*\]")
_DATE = re.compile(r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})[ T,]+(.+)")
_YEAR = 1000  # a first number of four digits

_Split = tuple[int, int, int, float]  # the three numbers of a date, and seconds after midnight


@dataclass(frozen=True)
class _Row:
    start: _Split
    end: _Split | None
    text: str
    duration: str
    where: str


def read_noxturnal(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and events of one file.

    The earliest row is placed by its time of day on the clock of the signals, all others by their distance from it:
    their dates carry the night over midnight, and the date in the signals' header is not used.

    A table that holds stages and nothing else does not say that there were no events: they are ``None``. Any event,
    unknown ones, limb movements, snores and artifacts included, shows that events were scored; positions, movement,
    notifications and warnings do not.

    Parameters
    ----------
    files : mapping
        ``main``: the exported table.
    facts : Facts
        Start and length of the signals.
    words : mapping of str to str, optional
        A user's words, which win (see `Words`): other languages can be given here.

    Raises
    ------
    AnnotationError
        For a file that is no such table, dates that are none or span more than two days, or a row out of form.
    """
    vocabulary = Words(_STAGES, _EVENTS, _IGNORED, {_composed(text): kind for text, kind in (words or {}).items()})
    rows = list(_rows(_text(files["main"])))
    clock = Clock(facts.start, facts.duration_s)
    if not rows:
        raise AnnotationError("a table without a row")
    swapped = _month_first(rows)
    dates = [_datetime(row.start, swapped, row.where) for row in rows]
    earliest = min(dates)
    first_s = clock.place(seconds_of_day(earliest.time()))
    runs: list[StageRun] = []
    events: list[Event] = []
    passed_over = 0
    for row, date in zip(rows, dates, strict=True):
        start_s = first_s + (date - earliest).total_seconds()
        duration_s = _duration(row, date, swapped)
        if vocabulary.is_stage(row.text):
            runs.append(StageRun(vocabulary.stage(row.text, row.where), start_s, duration_s, row.where))
        elif kind := vocabulary.event(row.text):
            events.append(Event(kind, start_s, duration_s))
        else:
            passed_over += plain(row.text) in _EVENTS or plain(row.text) in _SCORED
    stages = merged(runs)
    kept, told = events_or_none(events, passed_over, stages)
    notes = ("the dates are month/day",) if swapped else ()
    return Scoring(
        stages,
        kept,
        unknown=dict(vocabulary.unknown),
        notes=(*notes, *told, *span_notes(stages, facts.duration_s)),
    )


def _duration(row: _Row, start: datetime, swapped: bool) -> float:
    """Seconds by the duration column, which has more digits than the end; by the end where it is empty."""
    if row.duration:
        return seconds(row.duration.replace(",", "."), row.where, "duration")
    if row.end is None:
        raise AnnotationError(f"{row.where}: neither an end nor a duration")
    duration_s = (_datetime(row.end, swapped, row.where) - start).total_seconds()
    if duration_s < 0:
        raise AnnotationError(f"{row.where}: ends {-duration_s:g} s before it starts")
    return duration_s


def _month_first(rows: Sequence[_Row]) -> bool:
    """Whether the dates are month/day: only when day/month cannot be, or spans more than a night can."""
    for swapped in (False, True):
        try:
            dates = [_datetime(row.start, swapped, row.where) for row in rows]
        except AnnotationError:
            continue
        if max(dates) - min(dates) <= timedelta(days=MAX_SPAN_DAYS):
            return swapped
    raise AnnotationError(
        f"its dates are no dates of one recording: neither day/month nor month/day spans at most {MAX_SPAN_DAYS} days"
    )


def _datetime(split: _Split, swapped: bool, where: str) -> datetime:
    first, second, third, day_s = split
    if first >= _YEAR:
        year, month, day = first, second, third
    else:
        year, month, day = (third, first, second) if swapped else (third, second, first)
    try:
        return datetime(year if year >= 100 else 2000 + year, month, day) + timedelta(seconds=day_s)
    except (ValueError, OverflowError):
        raise AnnotationError(f"{where}: {first}/{second}/{third} is no date") from None


def _split_date(text: str, where: str) -> _Split:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        raise AnnotationError(f"{where}: {text.strip()[:40]!r} is no date with a time (dd/mm/yyyy hh:mm:ss)")
    return int(match[1]), int(match[2]), int(match[3]), clock_seconds(match[4], where)


def _rows(text: str) -> Iterator[_Row]:
    header = text.lstrip("\r\n").partition("\n")[0]
    names = False
    for where, cells in csv_rows(text, max("\t;,", key=header.count)):
        if not any(cell.strip() for cell in cells) or (names and _is_units(cells)):
            continue
        if len(cells) < 4 or max(map(len, cells)) > MAX_FIELD_CHARACTERS:
            raise AnnotationError(f"{where}: {len(cells)} columns, expected start, end, event and duration")
        if not names:
            if _DATE.fullmatch(cells[0].strip()):
                raise AnnotationError(f"{where}: a row of data, expected the names of the columns")
            names = True
            continue
        end = _split_date(cells[1], where) if cells[1].strip() else None
        yield _Row(_split_date(cells[0], where), end, _composed(cells[2]), cells[3].strip(), where)


def _is_units(cells: Sequence[str]) -> bool:
    return all(_UNITS.fullmatch(cell.strip()) for cell in cells if cell.strip())


def _composed(text: str) -> str:
    """Letters with their accents in one character: both forms occur."""
    return unicodedata.normalize("NFC", text).strip()


def _text(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return decoded(data, "utf-16")
    if b"\x00" in data[:64]:  # UTF-16 without a mark; no text in UTF-8 has such bytes
        return decoded(data, "utf-16-le" if data[1:2] == b"\x00" else "utf-16-be")
    return decoded(data)
