"""RemLogic event exports (CAP Sleep Database): a table below a free header, one row per stage page or event.

Columns are found by name: ``Time [hh:mm:ss]``, ``Event``, ``Duration[s]``; ``Position`` and ``Location`` may be
missing. Stages are those of the column ``Event``: the column ``Sleep Stage`` repeats them beside every event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hypnos_bench.cohorts.annotations.clock import Clock
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, span_notes
from hypnos_bench.cohorts.annotations.text import decoded, events_or_none, seconds, text_lines
from hypnos_bench.cohorts.annotations.words import Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun

_STAGE_PREFIX = "sleep-"
_STAGES: Mapping[str, int] = {
    "sleep-s0": 0,
    "sleep-s1": 1,
    "sleep-s2": 2,
    "sleep-s3": 3,
    "sleep-s4": 3,  # Rechtschaffen and Kales: 3 and 4 are N3
    "sleep-rem": 4,
    "sleep-mt": -1,
    "sleep-unscored": -1,
}
_EVENTS: Mapping[str, str] = {
    "mcap-a1": "cap-a1",
    "mcap-a2": "cap-a2",
    "mcap-a3": "cap-a3",
    "apnea": "apnea",
    "apnea-obstructive": "obstructive-apnea",
    "apnea-central": "central-apnea",
    "apnea-mixed": "mixed-apnea",
    "hypopnea": "hypopnea",
    "desat": "desaturation",
    "arousal": "arousal",
}
_COLUMNS = {"time[hh:mm:ss]": "Time [hh:mm:ss]", "event": "Event", "duration[s]": "Duration[s]"}


def read_remlogic(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and events of one export. The order of its rows does not matter.

    The scorer's pages keep their onsets: their grid need not begin with the signals. An export that holds stages and
    nothing else does not say that there were no events: they are ``None``.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the export, with times of day.
    facts : Facts
        Of the signals; their time of day places the rows.
    words : mapping of str to str, optional
        Meanings of events that the format's table does not have.

    Returns
    -------
    Scoring
        Phases A of the cyclic alternating pattern are events ``cap-a1``, ``cap-a2`` and ``cap-a3``.

    Raises
    ------
    AnnotationError
        Without a header line or one of the columns, or with the line of a time, duration or stage that is none.
    """
    lines = text_lines(decoded(files["main"]))
    header, columns = _header(lines)
    clock = Clock(facts.start, facts.duration_s)
    vocabulary = Words(_STAGES, _EVENTS, overrides=words)
    stages: dict[tuple[int, float, float], StageRun] = {}
    events: list[Event] = []
    repeated = passed_over = 0
    for number, line in enumerate(lines[header + 1 :], start=header + 2):
        if not line.strip():
            continue
        where = f"line {number}"
        time, text, duration = _cells(line, columns, where)
        start_s = clock.seconds(time, where)
        duration_s = seconds(duration.replace(",", "."), where, "Duration[s]")
        if vocabulary.is_stage(text) or (_is_stage_like(text) and not vocabulary.is_ignored(text)):
            key = (vocabulary.stage(text, where), start_s, duration_s)
            repeated += key in stages
            stages.setdefault(key, StageRun(*key, where))
        elif (kind := vocabulary.event(text)) is not None:
            events.append(Event(kind, start_s, duration_s))
        else:
            passed_over += plain(text) in _EVENTS
    kept, told = events_or_none(events, passed_over, stages)
    notes = (f"{repeated} rows repeat a stage row and are left out",) if repeated else ()
    return Scoring(
        stages=tuple(stages.values()),
        events=kept,
        unknown=dict(vocabulary.unknown),
        notes=(*notes, *told, *span_notes(stages.values(), facts.duration_s)),
    )


def _is_stage_like(text: str) -> bool:
    return plain(text).startswith(_STAGE_PREFIX)


def _header(lines: Sequence[str]) -> tuple[int, tuple[int, ...]]:
    """Index of the header line, and the places of time, event and duration among its columns."""
    index = next((i for i, line in enumerate(lines) if plain(line).startswith("sleep stage")), None)
    if index is None:
        raise AnnotationError("no header line that begins with 'Sleep Stage': not an event export of RemLogic")
    names = [re.sub(r"\s+", "", cell).casefold() for cell in lines[index].split("\t")]
    missing = [name for key, name in _COLUMNS.items() if key not in names]
    if missing:
        raise AnnotationError(f"line {index + 1}: no column {', '.join(missing)} in the header line")
    return index, tuple(names.index(key) for key in _COLUMNS)


def _cells(line: str, columns: Sequence[int], where: str) -> tuple[str, str, str]:
    """Time, event and duration of a row."""
    cells = line.split("\t")
    if len(cells) <= max(columns):
        raise AnnotationError(f"{where}: {len(cells)} cells, too few for the columns of the header line")
    time, text, duration = (cells[place].strip() for place in columns)
    if not text:
        raise AnnotationError(f"{where}: the column Event is empty")
    return time, text, duration
