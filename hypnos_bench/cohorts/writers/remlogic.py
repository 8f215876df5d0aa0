"""RemLogic event exports as in the CAP Sleep Database: a header in several lines, then a table with tabs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from pathlib import Path

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.text import clock_text, write_lines
from hypnos_bench.spec import EPOCH_S

_STAGES = {-1: "SLEEP-UNSCORED", 0: "SLEEP-S0", 1: "SLEEP-S1", 2: "SLEEP-S2", 3: "SLEEP-S3", 4: "SLEEP-REM"}
_SHORT = {-1: "", 0: "W", 1: "S1", 2: "S2", 3: "S3", 4: "R"}
_EVENTS = {
    "cap-a1": "MCAP-A1",
    "cap-a2": "MCAP-A2",
    "cap-a3": "MCAP-A3",
    "obstructive-apnea": "APNEA-OBSTRUCTIVE",
    "central-apnea": "APNEA-CENTRAL",
    "mixed-apnea": "APNEA-MIXED",
    "hypopnea": "HYPOPNEA",
}


def write_remlogic(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event] = (),
    start: time = time(22, 15, 42),
    *,
    first_s: float = 0.0,
    position: bool = True,
    separator: str = ":",
    rk: bool = False,
) -> None:
    """Write one export, rows in time order.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch.
    events : sequence of Event
        Kinds that the format has no word for are written as they are. Times are whole seconds, as in real files.
    start : time
        Time of day of the first sample.
    first_s : float
        Start of the first epoch, from the first sample.
    position : bool
        Whether there is a column ``Position``: some recordings lack it.
    separator : str
        Between hours, minutes and seconds: ``:``, in some files ``.``.
    rk : bool
        Write every second N3 epoch as stage 4.
    """
    rows = []
    for epoch, code in enumerate(stages):
        as_4 = rk and code == 3 and epoch % 2
        text, short = ("SLEEP-S4", "S4") if as_4 else (_STAGES[code], _SHORT[code])
        rows.append((first_s + epoch * EPOCH_S, short, text, EPOCH_S, "ROC-LOC"))
    for event in events:
        text = _EVENTS.get(event.kind, event.kind)
        rows.append((event.start_s, "S2", text, event.duration_s, "EEG-C4-A1"))
    included = sorted({row[2] for row in rows})
    places = ["Unknown Position"] if position else []
    lines = [
        *("RemLogic Event Export", "Patient:\tfake", "Patient ID:\tfake", "Recording Date:\t01/01/2009", ""),
        *("Events Included:", *included, "", "Scoring Session:", "Scorer Name:\t", ""),
        "\t".join(["Sleep Stage", *["Position"][: len(places)], "Time [hh:mm:ss]", "Event", "Duration[s]", "Location"]),
    ]
    for start_s, short, text, duration_s, location in sorted(rows):
        clock = clock_text(start, start_s, separator=separator)
        lines.append("\t".join([short, *places, clock, text, f"{duration_s:g}", location]))
    write_lines(path, lines, "windows-1252")
