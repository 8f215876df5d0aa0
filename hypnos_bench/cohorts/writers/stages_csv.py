"""STAGES event table: ``Start Time,Duration (seconds),Event``, times of day, nothing quoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.text import clock_text, stretches, write_lines
from hypnos_bench.spec import EPOCH_S

Layout = Literal["points", "epochs", "stretches"]
"""Stages of no length that run to the next one (BOGN), a row per epoch, or a row per stretch."""

_STAGES = {-1: "UnknownStage", 0: "Wake", 1: "Stage1", 2: "Stage2", 3: "Stage3", 4: "REM"}
_EVENTS = {
    "obstructive-apnea": "ObstructiveApnea",
    "central-apnea": "CentralApnea",
    "mixed-apnea": "MixedApnea",
    "hypopnea": "Hypopnea",
    "rera": "RERA",
    "desaturation": "Desaturation w/ Respiratory",
    "arousal": "Spontaneous Arousal",
}


def write_stages_csv(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event],
    start: str = "22:00:00",
    *,
    layout: Layout = "stretches",
    beginning: bool = False,
    remarks: Sequence[tuple[float, str]] = (),
) -> None:
    """Write one table; times are whole seconds, as the cohort has them.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch from `start`.
    events : sequence of Event
        Kinds the format has no word for are written as they are.
    start : str
        Time of day of the first sample.
    layout : {"points", "epochs", "stretches"}
    beginning : bool
        Whether a row ``Beginning of Recording`` is written.
    remarks : sequence of (start_s, text)
        Technicians' notes, of no length.
    """
    rows: list[tuple[float, float, str]] = [(0.0, 0.0, "Beginning of Recording")] if beginning else []
    rows += _stage_rows(stages, layout)
    rows += [(event.start_s, event.duration_s, _EVENTS.get(event.kind, event.kind)) for event in events]
    rows += [(start_s, 0.0, text) for start_s, text in remarks]
    rows.sort(key=lambda row: row[0])
    lines = ["Start Time,Duration (seconds),Event"]
    lines += [f"{clock_text(start, start_s)},{duration_s:.3f},{text}" for start_s, duration_s, text in rows]
    write_lines(path, lines)


def _stage_rows(stages: Sequence[int], layout: Layout) -> Iterator[tuple[float, float, str]]:
    if layout == "stretches":
        for code, epoch, count in stretches(stages):
            yield epoch * EPOCH_S, count * EPOCH_S, _STAGES[code]
        return
    for epoch, code in enumerate(stages):
        yield epoch * EPOCH_S, EPOCH_S if layout == "epochs" else 0.0, _STAGES[int(code)]
