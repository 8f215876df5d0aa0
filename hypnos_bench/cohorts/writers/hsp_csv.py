"""Human Sleep Project event table: ``epoch,time,duration,event`` in the words of one of its sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.text import clock_text
from hypnos_bench.spec import EPOCH_S

Site = Literal["S0001-natus", "S0001-grass", "I0004"]

_NATUS = {-1: "?", 0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R"}
_STAGES: Mapping[Site, Mapping[int, str]] = {
    "S0001-natus": {code: f"Sleep_stage_{name}" for code, name in _NATUS.items()},
    "S0001-grass": {code: f"Sleep_stage_{name}" for code, name in {**_NATUS, 4: "REM"}.items()},
    "I0004": {-1: "unknownstage", 0: "wake", 1: "stage1", 2: "stage2", 3: "stage3", 4: "rem"},
}
_KINDS = ("obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea", "rera", "desaturation", "arousal")
_EVENTS: Mapping[Site, Sequence[str]] = {
    "S0001-natus": (
        *("RespEvent - ObstructiveApnea - 1", "RespEvent - CentralApnea - 2", "RespEvent - MixedApnea - 3"),
        *("RespEvent - Hypopnea - 4", "RespEvent - RERA - 6", "Oxygen_Desaturation", "Arousal - RespEvent - 1"),
    ),
    "S0001-grass": (
        *(f"* Respiratory Event - {kind} Apnea - Desat 91.0 %" for kind in ("Obstructive", "Central", "Mixed")),
        *(f"Respiratory Event - {kind} - Desat 95.0 %" for kind in ("Hypopnea", "RERA")),
        *("* Desaturation - Min 92.0 % - Drop  4.2 %", "* Arousal - Spontaneous"),
    ),
    "I0004": (
        *("obstructiveapnea", "centralapnea", "mixedapnea", "hypopnea", "rera"),
        *("desaturation w/ respiratory", "arousal w/ respiratory"),
    ),
}


def write_hsp_csv(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event],
    start: str = "22:00:00",
    *,
    site: Site = "S0001-natus",
    durations: bool = True,
    remarks: Sequence[tuple[float, str]] = (),
) -> None:
    """Write one table; a path that ends in ``.tsv`` is separated by tabs.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch from `start`.
    events : sequence of Event
        Kinds the site has no word for are written as they are. Times are whole seconds.
    start : str
        Time of day of the first sample.
    site : {"S0001-natus", "S0001-grass", "I0004"}
        Whose words are written.
    durations : bool
        Whether the column of durations is filled.
    remarks : sequence of (start_s, text)
        Technicians' notes, without a duration.
    """
    words = dict(zip(_KINDS, _EVENTS[site], strict=True))
    rows: list[tuple[float, float | None, str]] = [
        (epoch * EPOCH_S, EPOCH_S, _STAGES[site][int(code)]) for epoch, code in enumerate(stages)
    ]
    rows += [(event.start_s, event.duration_s, words.get(event.kind, event.kind)) for event in events]
    rows += [(start_s, None, text) for start_s, text in remarks]
    rows.sort(key=lambda row: row[0])
    cells = [
        {
            "epoch": int(start_s // EPOCH_S) + 1,
            "time": clock_text(start, start_s),
            "duration": f"{duration_s:g}" if duration_s is not None and durations else None,
            "event": event,
        }
        for start_s, duration_s, event in rows
    ]
    columns = ("epoch", "time", "duration", "event")
    write_csv(path, cells, columns=columns, delimiter="\t" if path.suffix == ".tsv" else ",")
