"""NCHSDB annotations: a table ``onset duration description``, tab separated, in seconds from the start of the EDF.

Technicians wrote notes into the same column. A text that no table knows is a note when it has no duration, and is
counted as unknown when it has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import GRID_SLACK_S, AnnotationError, merged
from hypnos_bench.cohorts.annotations.text import (
    MAX_SECONDS,
    decoded,
    events_or_none,
    filled_lines,
    seconds,
    tells_of_scored_events,
)
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun

StartOffset = Literal["ignore", "subtract"]
"""What a ``Start Recording`` row with an onset other than 0 does to the onsets of the file."""

_STAGES = {
    "sleep stage w": 0,
    "sleep stage n1": 1,
    "sleep stage 1": 1,
    "sleep stage n2": 2,
    "sleep stage 2": 2,
    "sleep stage n3": 3,
    "sleep stage 3": 3,
    "sleep stage r": 4,
    "sleep stage ?": -1,
}
_START = "start recording"
_COLUMNS = ("onset", "duration", "description")


@dataclass(frozen=True)
class _Row:
    onset_s: float
    duration_s: float
    text: str
    where: str


def read_nchsdb_tsv(
    files: Mapping[str, bytes],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    start_offset: StartOffset = "ignore",
) -> Scoring:
    """Stages and events of one file.

    Onsets count from the start of the EDF: the table was exported from the EDF's own annotations, and
    ``Start Recording`` is one of them. A row of that name with an onset other than 0 is therefore told in the notes
    and shifts nothing, unless ``start_offset="subtract"`` says that onsets count from elsewhere. Stages keep the
    scorer's own onsets, which need not be whole seconds.

    A file that holds stages and nothing else does not say that there were no events: they are ``None``. Any event,
    unknown ones included, and a remark that says that events were scored shows that they were; other remarks and
    ``Start Recording`` do not.

    Parameters
    ----------
    files : mapping
        ``main``: the ``.tsv``.
    facts : Facts
        Nothing of it is needed: the times are relative.
    words : mapping of str to str, optional
        A user's words, which win (see `Words`).
    start_offset : {"ignore", "subtract"}
        Whether the onset of ``Start Recording`` is subtracted from all others.

    Raises
    ------
    AnnotationError
        For a table without its columns, a time that is none, or an unknown stage, with the line.
    """
    vocabulary = Words(_STAGES, overrides=words)
    overridden = {plain(text) for text in words or {}}
    rows = list(_rows(decoded(files["main"])))
    zero_s, notes = _zero(rows, start_offset)
    runs: list[StageRun] = []
    events: list[Event] = []
    remarks = passed_over = 0
    for row in rows:
        start_s = row.onset_s - zero_s
        word = plain(row.text)
        if vocabulary.is_ignored(word) or (word == _START and word not in overridden):
            passed_over += _event_word(word, set()) in EVENT_WORDS
            continue
        if vocabulary.is_stage(word) or (word.startswith("sleep stage") and word not in overridden):
            runs.append(StageRun(vocabulary.stage(row.text, row.where), start_s, row.duration_s, row.where))
        elif row.duration_s > 0 or word in EVENT_WORDS or word in overridden:
            kind = vocabulary.event(_event_word(word, overridden))
            events += [Event(kind, start_s, row.duration_s)] if kind else []
            passed_over += 1
        else:
            remarks += 1
            passed_over += tells_of_scored_events(word)
    if remarks:
        notes.append(f"remarks without a duration, passed over: {remarks}")
    kept, told = events_or_none(events, passed_over, runs)
    return Scoring(merged(runs), kept, unknown=dict(vocabulary.unknown), notes=(*notes, *told))


def _zero(rows: Iterable[_Row], start_offset: StartOffset) -> tuple[float, list[str]]:
    """Seconds to subtract from every onset, and what to tell about it."""
    starts = [row for row in rows if plain(row.text) == _START]
    first = min(starts, key=lambda row: row.onset_s, default=None)
    if first is None or abs(first.onset_s) <= GRID_SLACK_S:
        return 0.0, []
    said = f"{first.where}: 'Start Recording' at {first.onset_s:g} s"
    if start_offset == "subtract":
        return first.onset_s, [f"{said}, subtracted from all onsets"]
    return 0.0, [f"{said}; onsets are taken from the start of the EDF all the same (start_offset)"]


def _event_word(word: str, overridden: set[str]) -> str:
    """Word of the tables: breathing events are known by how they end, whatever type stands before it."""
    if word in EVENT_WORDS or word in overridden:
        return word
    return next((suffix for suffix in ("hypopnea", "apnea") if word.endswith(suffix)), word)


def _rows(text: str) -> Iterator[_Row]:
    lines = filled_lines(text)
    _, header = next(lines, (1, ""))
    columns = [cell.strip().casefold() for cell in header.split("\t")]
    if sorted(columns[:3]) != sorted(_COLUMNS):
        raise AnnotationError(
            f"line 1: expected the columns {', '.join(_COLUMNS)}, tab separated; found {header!r:.80}"
        )
    onset, duration, description = (columns.index(name) for name in _COLUMNS)
    for number, line in lines:
        where = f"line {number}"
        cells = line.split("\t", max(onset, duration, description))
        if len(cells) <= max(onset, duration, description):
            raise AnnotationError(f"{where}: {len(cells)} columns, expected {len(_COLUMNS)}")
        onset_s = seconds(cells[onset], where, "onset", least=-MAX_SECONDS)
        yield _Row(onset_s, seconds(cells[duration], where, "duration"), cells[description].strip(' "'), where)
