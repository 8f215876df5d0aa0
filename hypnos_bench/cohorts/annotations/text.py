"""What the readers of plain text annotations share: decoding, lines, rows, seconds, and what to make of events."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from datetime import datetime, time, timedelta

from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Event

MAX_TEXT_BYTES = 16 * 1024 * 1024
"""A night of annotations is well under 1 MiB; anything above this is refused before it is parsed."""

MAX_SECONDS = 1e7
"""Four months. No time or duration in a recording is longer, and pages up to here still fit in memory."""

MAX_FIELD_CHARACTERS = 2_000
"""No note is this long; a longer field is a quotation mark that was never closed, and would swallow rows."""

ENCODINGS = ("utf-8-sig", "windows-1252", "latin-1")
"""What texts are read as, in this order; the last one has every byte."""


STAGES_ONLY = "holds stages only: events count as not scored"
"""Note of a file in which nothing shows that anybody looked for events."""

_OF_EVENTS = re.compile(r"\b(?:events?|respiratory|breathing|(?:hypo|a)pno?eas?|arousals?|desat\w*)\b")
_SCORING = re.compile(r"(?<![\w-])scor(?:ed|ing)\b")
_DENIAL = re.compile(r"\b(?:no|not|never|none|without|cannot|unable|will|needs?|to be)\b|n['\u2019]t\b")


def decoded(data: bytes, *encodings: str) -> str:
    """Text of a file, by the first of `encodings` that can read it; without any, of `ENCODINGS`.

    Raises
    ------
    AnnotationError
        When the file is larger than `MAX_TEXT_BYTES`, or no encoding can read it.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise AnnotationError(f"{len(data)} bytes of text, above the limit of {MAX_TEXT_BYTES}")
    tried = encodings or ENCODINGS
    for encoding in tried:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AnnotationError(f"not a text in {' or '.join(tried)}")


def text_lines(text: str) -> list[str]:
    """Lines of a text, none for an empty one; nothing but CR and LF ends a line.

    Blanks, empty lines and an end-of-file mark of DOS after the last line are left out; tabs stay, as they are cells.
    """
    text = text.rstrip("\x1a\r\n ")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if text else []


def filled_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    return ((number, line) for number, line in enumerate(text_lines(text), start=1) if line.strip())


def csv_rows(text: str, separator: str = ",") -> Iterator[tuple[str, list[str]]]:
    """Place and cells of every row but blank lines; a cell in quotation marks may hold line ends.

    Raises
    ------
    AnnotationError
        With the line, for what is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            if cells:
                yield f"line {reader.line_num}", cells
    except csv.Error as error:
        raise AnnotationError(f"line {reader.line_num}: {error}") from error


def seconds(text: str, where: str, what: str, least: float = 0.0) -> float:
    """Read seconds between `least` and `MAX_SECONDS`, or refuse with the place."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= MAX_SECONDS:
        raise AnnotationError(f"{where}: {what} is {text.strip()[:80]!r}, expected seconds of at least {least:g}")
    return value


def time_of_day(after_midnight_s: float) -> time:
    """Time of day of seconds after midnight."""
    return (datetime.min + timedelta(seconds=after_midnight_s)).time()


def in_time_order(events: Iterable[Event]) -> tuple[Event, ...]:
    """Sort events by start, then by duration and kind, so that the order of the lines does not show."""
    return tuple(sorted(events, key=lambda event: (event.start_s, event.duration_s, event.kind)))


def events_or_none(
    events: Iterable[Event], passed_over: int, stages: Sized
) -> tuple[tuple[Event, ...] | None, tuple[str, ...]]:
    """Events in time order, or ``None`` when nothing shows that any were scored; and what to tell about it.

    Parameters
    ----------
    events : iterable of Event
    passed_over : int
        Signs in the file that somebody scored events, although none is kept: limb movements, artifacts, remarks.
    stages : sized
        What the file holds of stages.
    """
    found = in_time_order(events)
    if found or passed_over:
        return found, ()
    return None, (STAGES_ONLY,) if len(stages) else ()


def tells_of_scored_events(remark: str) -> bool:
    """Whether a remark says that events were scored: it names them and their scoring, and denies nothing."""
    text = remark.casefold()
    return bool(_SCORING.search(text) and _OF_EVENTS.search(text) and not _DENIAL.search(text))


def point_notes(events: Iterable[Event]) -> tuple[str, ...]:
    """Tell how many events of each kind have no duration: they stay 0 s long."""
    counts = Counter(event.kind for event in events if event.duration_s == 0)
    each = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    return (f"events without a duration, taken as 0 s: {counts.total()} ({each})",) if counts else ()
