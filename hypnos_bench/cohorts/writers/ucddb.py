"""UCDDB scorings: a list of stages, and a table of breathing events lined up by blanks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from pathlib import Path

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.text import clock_text, write_lines

_STAGES = {-1: "8", 0: "0", 1: "2", 2: "3", 3: "4", 4: "1"}
_STAGE_4 = "5"
_EVENTS = {"obstructive-apnea": "APNEA-O", "central-apnea": "APNEA-C", "mixed-apnea": "APNEA-M", "hypopnea": "HYP-O"}


def write_ucddb(
    stage_path: Path,
    stages: Sequence[int],
    events: Sequence[Event] | None = None,
    start: time = time(0, 11, 4),
    *,
    respevt_path: Path | None = None,
    rk: bool = False,
) -> None:
    """Write ``*_stage.txt`` and, with `respevt_path`, ``*_respevt.txt``.

    Parameters
    ----------
    stage_path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch.
    events : sequence of Event
        Kinds that the format has no word for are written in capitals (``pb``, ``possible``). Times are whole seconds.
    start : time
        Time of day of the first sample.
    respevt_path : Path, optional
    rk : bool
        Write every second N3 epoch as stage 4.
    """
    labels = [_STAGE_4 if rk and code == 3 and epoch % 2 else _STAGES[code] for epoch, code in enumerate(stages)]
    write_lines(stage_path, labels, "ascii")
    if respevt_path is None:
        return
    lines = [
        "  Time      Type      PB/CS  Duration     Desaturation     Snore  Arousal  B/T  Rate   Change",
        "                                (s)       Low     %Drop",
        "",
    ]
    for event in sorted(events or (), key=lambda event: event.start_s):
        text = _EVENTS.get(event.kind, event.kind.upper())
        clock = clock_text(start, event.start_s)
        lines.append(f"{clock}  {text:<12}         {event.duration_s:>6g}     88.2      5.1      -       +      ")
    write_lines(respevt_path, lines, "ascii", closing="\x1a")
