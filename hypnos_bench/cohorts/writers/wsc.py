"""Wisconsin Sleep Cohort: ``.stg.txt`` with ``.log.txt`` (Gamma), or ``.allscore.txt`` (Twin)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.text import clock_text, stretches, write_lines
from hypnos_bench.spec import EPOCH_S

_STG_CODES = {-1: 7, 0: 0, 1: 1, 2: 2, 3: 3, 4: 5}
_STAGES = {-1: "NO STAGE", 0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R"}
_BREATHING = {
    "obstructive-apnea": "OBSTRUCTIVE APNEA",
    "central-apnea": "CENTRAL APNEA",
    "mixed-apnea": "MIXED APNEA",
    "hypopnea": "HYPOPNEA",
    "rera": "RERA",
}
_OTHERS = {
    "arousal": "AROUSAL - DUR: {:.1f} SEC. - SPONTANEOUS",
    "desaturation": "DESATURATION - DUR: {:.1f} SEC. - MIN 91.6 % - DROP 3.1 %",
}


def write_wsc_stg(
    path: Path, stages: Sequence[int], *, header: bool = True, gaps: bool = False, rk: bool = False
) -> None:
    """Write one ``.stg.txt``.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch from the start of the signals.
    header : bool
        Some files have none.
    gaps : bool
        Leave unscored epochs out instead of writing 7.
    rk : bool
        Write the second half of every run of N3 as stage 4.
    """
    lines = ["Epoch\tUser-Defined Stage\tCAST-Defined Stage"] if header else []
    for code, first, count in stretches(stages):
        for i in range(0 if gaps and code < 0 else count):
            scored = 4 if rk and code == 3 and 2 * i >= count else _STG_CODES[code]
            lines.append(f"{first + i + 1}\t{scored}\t0")
    write_lines(path, lines)


def write_wsc_log(path: Path, starts: Sequence[str]) -> None:
    """Write one ``.log.txt`` with a ``Recording Started`` at each of these times of day."""
    lines = [f"{start} 1\tRecording Started\t" for start in starts]
    write_lines(path, [*lines[:-1], "--/--/--\t1\tGain : 7\t", *lines[-1:]])


def write_wsc_allscore(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event],
    start: str = "22:04:29",
    *,
    pauses: Sequence[tuple[float, float]] = (),
    remarks: Sequence[tuple[float, str]] = (),
) -> None:
    """Write one ``.allscore.txt``: a line per change of stage and per event.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch from `start`.
    events : sequence of Event
        Starts in hundredths of a second, durations in tenths. Kinds the format has no word for are written as they
        are, with their duration.
    start : str
        Time of day of ``START RECORDING``, which may have a fraction.
    pauses : sequence of (from_s, to_s)
    remarks : sequence of (start_s, text)
        Technicians' notes.
    """
    rows = [(0.0, "START RECORDING"), (0.0, "POSITION - SUPINE")]
    rows += [(first * EPOCH_S, f"STAGE - {_STAGES[code]}") for code, first, _ in stretches(stages)]
    rows += [(event.start_s, _event_text(event)) for event in events]
    for from_s, to_s in pauses:
        rows += [(from_s, "PAUSED"), (to_s, "RECORDING RESUMED")]
    rows += list(remarks)
    rows.sort(key=lambda row: row[0])
    write_lines(path, [f"{clock_text(start, start_s, 2)}\t{text}" for start_s, text in rows], "latin-1")


def _event_text(event: Event) -> str:
    if event.kind in _BREATHING:
        return f"RESPIRATORY EVENT - DUR: {event.duration_s:.1f} SEC. - {_BREATHING[event.kind]} - DESAT 91.6 %"
    return _OTHERS.get(event.kind, f"{event.kind.upper()} - DUR: {{:.1f}} SEC.").format(event.duration_s)
