"""Luna's ``.annot`` and ``.eannot`` as APPLES and MNC come with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from pathlib import Path
from typing import Literal

from hypnos_bench.cohorts.base import STAGES, Event
from hypnos_bench.cohorts.writers.text import clock_text, write_lines
from hypnos_bench.spec import EPOCH_S

_CLASSES = {
    "arousal": "arousal_standard",
    "obstructive-apnea": "apnea_obstructive",
    "central-apnea": "apnea_central",
    "mixed-apnea": "apnea_mixed",
    "hypopnea": "hypopnea",
    "rera": "rera",
    "desaturation": "desat",
}
_LABELS = {
    "words": {-1: "?", 0: "wake", 1: "N1", 2: "N2", 3: "N3", 4: "REM"},
    "mnc": {-1: "7", 0: "0", 1: "1", 2: "2", 3: "3", 4: "5"},
    "mnc-dhc": {0: "1", 1: "-1", 2: "-2", 3: "-3", 4: "0"},
}


def write_luna_annot(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event],
    *,
    start: time | None = None,
    changes_only: bool = False,
) -> None:
    """Write one ``.annot``.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch, a row each.
    events : sequence of Event
        Written after the stages, in the order given. Kinds without a class are written as they are.
    start : time, optional
        Time of day of the first sample, whole seconds: times are written as times of day, to the millisecond.
        Without it, they are seconds from the start.
    changes_only : bool
        Write a row only where the stage changes, which lasts to the next row (``...``); without events.
    """
    lines = ["# N2 | NREM stage 2", "class\tinstance\tchannel\tstart\tstop\tmeta"]
    for i, code in enumerate(int(stage) for stage in stages):
        if changes_only and i and code == stages[i - 1]:
            continue
        stop = "..." if changes_only else _time((i + 1) * EPOCH_S, start)
        lines.append(_row(STAGES[code] if code >= 0 else "?", _time(i * EPOCH_S, start), stop))
    for event in events if not changes_only else ():
        name = _CLASSES.get(event.kind, event.kind)
        lines.append(_row(name, _time(event.start_s, start), _time(event.start_s + event.duration_s, start)))
    write_lines(path, lines, end="\n")


def write_luna_eannot(path: Path, stages: Sequence[int], coding: Literal["words", "mnc", "mnc-dhc"] = "words") -> None:
    """Write one ``.eannot``: a label per line. MNC's DHC has none for -1."""
    write_lines(path, (_LABELS[coding][int(stage)] for stage in stages), end="\n")


def _row(name: str, start: str, stop: str) -> str:
    return f"{name}\t.\t.\t{start}\t{stop}\t."


def _time(seconds: float, start: time | None) -> str:
    return f"{seconds:.3f}" if start is None else clock_text(start, seconds, 3)
