"""NCHSDB event table: ``onset duration description``, tab separated, a row per epoch and event."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.text import write_lines
from hypnos_bench.spec import EPOCH_S

_STAGES = {-1: "?", 0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R"}
_EVENTS = {
    "obstructive-apnea": "Obstructive Apnea",
    "central-apnea": "Central Apnea",
    "mixed-apnea": "Mixed Apnea",
    "hypopnea": "Obstructive Hypopnea",
    "rera": "RERA",
    "desaturation": "Oxygen Desaturation",
    "arousal": "EEG Arousal",
}


def write_nchsdb_tsv(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event],
    *,
    first_s: float = 0.0,
    start_recording_s: float | None = None,
    remarks: Sequence[tuple[float, str]] = (),
) -> None:
    """Write one table.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch.
    events : sequence of Event
        Kinds the format has no word for are written as they are.
    first_s : float
        Onset of the first epoch: scoring begins off the grid of the signals.
    start_recording_s : float, optional
        Onset of a row ``Start Recording``.
    remarks : sequence of (onset_s, text)
        Technicians' notes, of no length.
    """
    rows = [(first_s + i * EPOCH_S, EPOCH_S, f"Sleep stage {_STAGES[int(code)]}") for i, code in enumerate(stages)]
    rows += [(event.start_s, event.duration_s, _EVENTS.get(event.kind, event.kind)) for event in events]
    rows += [(onset_s, 0.0, text) for onset_s, text in remarks]
    rows += [] if start_recording_s is None else [(start_recording_s, 0.0, "Start Recording")]
    rows.sort(key=lambda row: row[0])
    lines = ["onset\tduration\tdescription"]
    write_lines(path, lines + [f"{float(onset_s)!r}\t{float(length_s)!r}\t{text}" for onset_s, length_s, text in rows])
