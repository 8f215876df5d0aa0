"""Stages and events as EDF+ annotations, in the words of Sleep-EDF, of today's standard, or of MASS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnos_bench.cohorts.annotations.edf_plus import EdfAnnotation
from hypnos_bench.cohorts.base import STAGES, Event
from hypnos_bench.cohorts.writers.text import stretches
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.spec import EPOCH_S

_RK = {-1: "?", 0: "W", 1: "1", 2: "2", 3: "3", 4: "R"}
_EVENTS = {
    "arousal": "EEG arousal",
    "obstructive-apnea": "Obstructive apnea",
    "central-apnea": "Central apnea",
    "mixed-apnea": "Mixed apnea",
    "hypopnea": "Hypopnea",
    "rera": "RERA",
    "desaturation": "Oxygen desaturation",
}


def edf_plus_rows(
    stages: Sequence[int],
    events: Sequence[Event] = (),
    *,
    rk: bool = False,
    run_length: bool = True,
    page_s: float = EPOCH_S,
    first_s: float = 0.0,
    closing_s: float = 0.0,
) -> list[EdfAnnotation]:
    """Annotations as (start_s, duration_s, text).

    Parameters
    ----------
    stages : sequence of int
        Codes 0..4 and -1 per page.
    events : sequence of Event
        Kinds the standard has no text for are written as they are.
    rk : bool
        Words of Rechtschaffen and Kales, as in Sleep-EDF: the second half of every N3 run is stage 4.
    run_length : bool
        One annotation per run of a stage, as in Sleep-EDF; otherwise one per page, as in HMC and MASS.
    page_s, first_s : float
        Length of a page, and where the first begins.
    closing_s : float
        Length of a last ``Sleep stage ?`` that fills the file, as in Sleep-EDF.
    """
    rows: list[EdfAnnotation] = []
    for code, first, count in stretches(stages):
        page = first
        as_4 = count // 2 if rk and code == 3 else 0
        name = _RK[code] if rk else (STAGES[code] if code >= 0 else "?")
        for word, n in ((name, count - as_4), ("4", as_4)):
            lengths = [n] if run_length else [1] * n
            for length in lengths if n else []:
                rows.append((first_s + page * page_s, length * page_s, f"Sleep stage {word}"))
                page += length
    if closing_s:
        rows.append((first_s + len(stages) * page_s, closing_s, "Sleep stage ?"))
    return rows + [(event.start_s, event.duration_s, _EVENTS.get(event.kind, event.kind)) for event in events]


def write_edf_plus(path: Path, rows: Sequence[EdfAnnotation]) -> None:
    """Write annotations as an EDF+ file without signals, like ``SC4001EC-Hypnogram.edf``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, [], annotations=rows)
