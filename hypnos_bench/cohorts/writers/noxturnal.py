"""Noxturnal event table: names in the language of the software, a row of units, local dates with times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.text import write_lines
from hypnos_bench.spec import EPOCH_S

Language = Literal["fr", "en"]

_NAMES: Mapping[Language, str] = {
    "fr": "Heure de début,Heure de fin,Événement,Durée,",
    "en": "Start Time,End Time,Event,Duration,",
}
_STAGES: Mapping[Language, Mapping[int, str]] = {
    "fr": {0: "Éveil", 1: "N1", 2: "N2", 3: "N3", 4: "REM"},
    "en": {0: "Wake", 1: "N1", 2: "N2", 3: "N3", 4: "REM"},
}
_EVENTS: Mapping[Language, Mapping[str, str]] = {
    "fr": {
        "arousal": "Micro-éveil",
        "obstructive-apnea": "A. Obstructive",
        "central-apnea": "A. Centrale",
        "mixed-apnea": "A. Mixte",
        "hypopnea": "Hypopnée",
        "desaturation": "Désaturation",
        "rera": "RERA",
    },
    "en": {
        "arousal": "Arousal",
        "obstructive-apnea": "A. Obstructive",
        "central-apnea": "A. Central",
        "mixed-apnea": "A. Mixed",
        "hypopnea": "Hypopnea",
        "desaturation": "Desat",
        "rera": "Rera",
    },
}


def write_noxturnal(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event],
    start: datetime = datetime(2016, 1, 15, 22, 30),
    *,
    language: Language = "fr",
    encoding: str = "utf-16",
    date: str = "%d/%m/%Y %H:%M:%S",
) -> None:
    """Write one table; starts and ends in whole seconds, durations in milliseconds, as the software does.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch from `start`; unscored ones have no row.
    events : sequence of Event
        Kinds the language has no word for are written as they are.
    start : datetime
        Date and time of the first sample.
    language : {"fr", "en"}
    encoding : str
    date : str
        How dates are written, as `datetime.strftime` has it.
    """
    rows = [(i * EPOCH_S, EPOCH_S, _STAGES[language][int(code)]) for i, code in enumerate(stages) if code >= 0]
    rows += [(event.start_s, event.duration_s, _EVENTS[language].get(event.kind, event.kind)) for event in events]
    rows.sort(key=lambda row: row[0])
    lines = [_NAMES[language], "[],[],[],[s],"]
    for start_s, duration_s, text in rows:
        begin = start + timedelta(seconds=round(start_s))
        end = start + timedelta(seconds=round(start_s + duration_s))
        lines.append(f"{begin.strftime(date)},{end.strftime(date)},{text},{round(duration_s, 3):g},")
    write_lines(path, lines, encoding)
