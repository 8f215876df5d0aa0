"""A fake tree of Sleep-EDF Expanded: recordings at home (SC) and in hospital (ST), hypnograms, tables of persons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.edf_plus import edf_plus_rows, write_edf_plus
from hypnos_bench.cohorts.writers.open_montages import SLEEP_CASSETTE, SLEEP_TELEMETRY, nights, write_montage
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.text import write_lines
from hypnos_bench.spec import EPOCH_S

SCORERS = "CHPR"
"""Letters of the scorers, who take turns; the recorders' are E (SC) and J (ST)."""

CLOSING_S = 6900.0
"""``Sleep stage ?`` at the end of an SC hypnogram, past the end of the signals."""

TELEMETRY_CLOSING_S = 90.0
"""The same in ST, where the signals go on for as long."""

# The real workbook has two header lines of merged cells, and codes sex the other way round than that of SC.
_TELEMETRY_HEADER = (
    "Subject - age - sex,,,Placebo night,,Temazepam night,",
    "Nr,Age,M1/F2,night nr,lights off,night nr,lights off",
)


def write_sleep_edf_tree(
    root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0, *, wake_epochs: int = 20
) -> tuple[Written, ...]:
    """Write persons in each of SC and ST, two nights each; the first epoch of REM is movement time.

    Tables are the CSV twins of the workbooks ``SC-subjects.xls`` and ``ST-subjects.xls``.

    Parameters
    ----------
    root : Path
    n_persons : int
        Of each study.
    n_epochs : int
        Around the night.
    seed : int
    wake_epochs : int
        Before it in SC; hours in the real files.

    Returns
    -------
    tuple of Written
    """
    rng = np.random.default_rng(seed)
    coming, written = nights(n_epochs, rng), []
    home, hospital = [], list(_TELEMETRY_HEADER)
    for i in range(n_persons):
        age, sex = int(rng.integers(25, 102)), 1 + i % 2
        facts = {"age": float(age), "sex": ("female", "male")[i % 2]}
        for night in (1, 2):
            stages = (0,) * wake_epochs + _moved(next(coming))
            written.append(_write_recording(root, f"SC4{i:02d}", night, SCORERS[i % 4], stages, facts, rng))
            home.append({"subject": i, "night": night, "age": age, "sex (F=1)": sex, "LightsOff": "23:15:00"})
    for i in range(1, n_persons + 1):
        age, placebo = int(rng.integers(18, 80)), 1 + i % 2
        facts = {"age": float(age)}
        for night in (1, 2):
            stages = _moved(next(coming))
            written.append(_write_recording(root, f"ST7{i:02d}", night, SCORERS[(i + 1) % 4], stages, facts, rng))
        hospital.append(f"{i},{age},{1 + i % 2},{placebo},23:01:00,{3 - placebo},23:48:00")
    write_csv(root / "SC-subjects.csv", home)
    write_lines(root / "ST-subjects.csv", hospital)
    return tuple(written)


def _moved(stages: tuple[int, ...]) -> tuple[int, ...]:
    """The same with movement time for the first epoch of REM."""
    first = stages.index(4) if 4 in stages else len(stages)
    return (*stages[:first], *(-1 for _ in stages[first : first + 1]), *stages[first + 1 :])


def _write_recording(
    root: Path,
    person: str,
    night: int,
    scorer: str,
    stages: tuple[int, ...],
    facts: Mapping[str, Any],
    rng: np.random.Generator,
) -> Written:
    at_home, code = person.startswith("SC"), f"{person}{night}"
    folder = root / ("sleep-cassette" if at_home else "sleep-telemetry")
    letter, montage = ("E", SLEEP_CASSETTE) if at_home else ("J", SLEEP_TELEMETRY)
    extra_s = 0.0 if at_home else TELEMETRY_CLOSING_S
    duration_s = write_montage(folder / f"{code}{letter}0-PSG.edf", montage, stages, rng, extra_s=extra_s)
    rows = [
        (start_s, length_s, "Movement time" if text == "Sleep stage ?" else text)
        for start_s, length_s, text in edf_plus_rows(stages, rk=True)
    ]
    rows.append((len(stages) * EPOCH_S, CLOSING_S if at_home else extra_s, "Sleep stage ?"))
    write_edf_plus(folder / f"{code}{letter}{scorer}-Hypnogram.edf", rows)
    scored = (*stages, *(-1,) * round(extra_s / EPOCH_S))
    return Written(code, person, str(night), duration_s, scored, covariates=facts)
