"""Lists of one stage per line, as ISRUC, DREAMS, Elan and YASA write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnos_bench.cohorts.annotations.stage_list import Coding
from hypnos_bench.cohorts.writers.text import write_lines

_LABELS: dict[Coding, dict[int, str]] = {
    "isruc": {0: "0", 1: "1", 2: "2", 3: "3", 4: "5"},
    "dreams": {-1: "-1", 0: "5", 1: "3", 2: "2", 3: "1", 4: "4"},
    "yasa-words": {-1: "UNS", 0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R"},
    "elan": {-1: "-1", 0: "0", 1: "1", 2: "2", 3: "3", 4: "5"},
    "aasm": {-1: "-1", 0: "0", 1: "1", 2: "2", 3: "3", 4: "4"},
}
_PER_EPOCH = {"dreams": 6, "elan": 30}


def write_stage_list(path: Path, stages: Sequence[int], coding: Coding, *, rk: bool = False, extra: int = 0) -> None:
    """Write one list.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch. ISRUC has no word for -1.
    coding : {"isruc", "dreams", "yasa-words", "elan", "aasm"}
        DREAMS repeats a label every 5 s and Elan every second.
    rk : bool
        Write every second N3 epoch as stage 4, where the coding has one.
    extra : int
        Epochs of the last stage that are added after the end, and blank lines after them, as in ISRUC.

    Raises
    ------
    ValueError
        For a stage that the coding has no word for.
    """
    stage_4 = {"dreams": "0", "elan": "4"}.get(coding) if rk else None
    labels: list[str] = []
    for epoch, code in enumerate([*stages, *[stages[-1]] * extra]):
        if code not in _LABELS[coding]:
            raise ValueError(f"stage code {code} at epoch {epoch}: {coding} has no word for it")
        label = stage_4 if stage_4 and code == 3 and epoch % 2 else _LABELS[coding][code]
        labels += [label] * _PER_EPOCH.get(coding, 1)
    lines = [*_header(coding, len(labels)), *labels, *[""] * (2 if extra else 0)]
    write_lines(path, lines, "ascii", end="\n")


def _header(coding: Coding, n: int) -> list[str]:
    if coding == "dreams":
        return ["[Hypnogram]"]
    if coding == "elan":
        return ["time_base 1.000000", "sampling_period 0.001000", f"epoch_nb {n}", "epoch_list"]
    if coding == "aasm":
        return ["# 1 value per 30 seconds of data (1 / 30 Hz)", "# 0: Wake, 1: N1, 2: N2, 3: N3, 4: REM"]
    return []
