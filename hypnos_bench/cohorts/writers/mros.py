"""A fake MrOS tree: both visits with their own labels and rates, tables, and the cohort's known oddities."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
from hypnos_bench.cohorts.writers.synthetic import Kind, Written, random_events, random_stages, stage_signal
from hypnos_bench.signals.edf_writer import write_edf

# Label, kind, rate in Hz.
_VISIT_1: tuple[tuple[str, Kind, float], ...] = (
    ("C3", "eeg", 256),
    ("C4", "eeg", 256),
    ("A1", "reference", 256),
    ("A2", "reference", 256),
    ("LOC", "eog", 256),
    ("ROC", "eog", 256),
    ("ECG L", "ecg", 512),
    ("ECG R", "reference", 512),
    ("L Chin", "emg", 256),
    ("R Chin", "emg", 256),
    ("Thoracic", "effort", 16),
    ("Abdominal", "effort", 16),
    ("SaO2", "effort", 1),
)
_VISIT_2: tuple[tuple[str, Kind, float], ...] = (
    ("C3", "eeg", 256),
    ("C4", "eeg", 256),
    ("M1", "reference", 256),
    ("M2", "reference", 256),
    ("E1", "eog", 256),
    ("E2", "eog", 256),
    ("ECGL", "ecg", 1024),
    ("ECGR", "reference", 1024),
    ("LChin", "emg", 256),
    ("RChin", "emg", 256),
    ("Chest", "effort", 32),
    ("ABD", "effort", 32),
    ("SpO2", "effort", 1),
)
_PRE_REFERENCED: tuple[tuple[str, Kind, float], ...] = (
    ("C3-A2", "eeg", 256),
    ("C4-A1", "eeg", 256),
    ("LOC", "eog", 256),
    ("ROC", "eog", 256),
    ("ECG L-ECG R", "ecg", 512),
    ("L Chin-R Chin", "emg", 256),
    ("Thoracic", "effort", 16),
    ("Abdominal", "effort", 16),
)

ODDITIES = {
    "pre-referenced": "aa1715",
    "visit-1-labels-at-visit-2": "aa4113",
    "wrong-staging": "aa2033",
    "no-event-scoring": "aa0236",
    "no-xml": "aa9006",
    "sleep-wake-flag": "aa9001",
    "sleep-wake-harmonized-flag": "aa9002",
    "sleep-wake-unflagged": "aa9003",
    "xml-alone": "aa9004",
    "fixed-copy": "aa9005",
}
"""Oddity to the person that shows it; the first five are the cohort's own ids."""

_QUALITY_FLAGS = ["poprslp", "poprrem", "postg12u", "postg23u", "poarunr", "poremunr", "poaphyun", "porespun", "podlbw"]
"""Columns in which the scorers say what is not to be trusted; 1 is a problem."""

_UNITS = {"ecg": "mV", "effort": ""}


def write_mros_tree(
    root: Path,
    n_persons: int = 2,
    hours: float = 0.2,
    seed: int = 0,
    *,
    visits: Sequence[str] = ("1", "2"),
    oddities: Sequence[str] = (),
    tables: bool = True,
    folder: str = "mros",
) -> tuple[Written, ...]:
    """Write persons aa0001, aa0002 … at each visit, and one more person per oddity.

    Parameters
    ----------
    root : Path
    n_persons : int
        Ordinary persons.
    hours : float
        Length of every recording; half an epoch of signal follows the last scored epoch.
    seed : int
    visits : sequence of str
        Visits of the ordinary persons.
    oddities : sequence of str
        Keys of `ODDITIES`.
    tables : bool
        Whether the CSV files are written: two versions of the visit-1 table, ids in capitals.
    folder : str
        Top folder; empty for none.

    Returns
    -------
    tuple of Written
        Everything that has an EDF, in the order of writing; events as the XML words them.
    """
    rng = np.random.default_rng(seed)
    base = root / folder if folder else root
    n_epochs = max(1, round(hours * 120))
    jobs = [(f"aa{i:04d}", visit, "") for i in range(1, n_persons + 1) for visit in visits]
    jobs += [(ODDITIES[name], "2" if name == "visit-1-labels-at-visit-2" else "1", name) for name in oddities]
    written = [_write_recording(base, person, visit, oddity, n_epochs, rng) for person, visit, oddity in jobs]
    if tables:
        _write_tables(base / "datasets", written, {person: oddity for person, _, oddity in jobs})
    return tuple(w for w, (_, _, oddity) in zip(written, jobs, strict=True) if oddity != "xml-alone")


def _write_recording(
    base: Path, person: str, visit: str, oddity: str, n_epochs: int, rng: np.random.Generator
) -> Written:
    stem = f"mros-visit{visit}-{person}"
    edf = base / f"polysomnography/edfs/visit{visit}/{stem}.edf"
    xml = base / f"polysomnography/annotations-events-nsrr/visit{visit}/{stem}-nsrr.xml"
    stages = random_stages(n_epochs, rng)
    if oddity.startswith("sleep-wake"):
        stages = tuple(0 if code == 0 else 2 for code in stages)
    events = () if oddity == "no-event-scoring" else random_events(stages, rng)
    extra_s = 15.0
    duration_s = n_epochs * 30.0 + extra_s
    channels = _channels(visit, oddity)
    edf.parent.mkdir(parents=True, exist_ok=True)
    if oddity != "xml-alone":
        data = [
            (label, rate_hz, _UNITS.get(kind, "uV"), stage_signal(kind, stages, rate_hz, rng, extra_s=extra_s))
            for label, kind, rate_hz in channels
        ]
        write_edf(edf, data)
        if oddity == "fixed-copy":
            write_edf(edf.with_name(f"{stem}_fixed.edf"), data)
    if oddity != "no-xml":
        write_nsrr_xml(xml, stages, events, duration_s, rk=True)
    covariates = {
        "age": float(rng.integers(67, 91)),
        "bmi": round(float(rng.normal(27, 3)), 1),
        "ahi_a0h3": round(float(rng.uniform(0, 40)), 2),
        "ahi_a0h4": round(float(rng.uniform(0, 30)), 2),
    }
    return Written(stem, person, visit, duration_s, stages, events, covariates=covariates)


def _channels(visit: str, oddity: str) -> tuple[tuple[str, Kind, float], ...]:
    if oddity == "pre-referenced":
        return _PRE_REFERENCED
    if oddity == "visit-1-labels-at-visit-2":
        renamed = {"A1": "M1", "A2": "M2"}
        return tuple((renamed.get(label, label), kind, rate_hz) for label, kind, rate_hz in _VISIT_1)
    return _VISIT_1 if visit == "1" else _VISIT_2


def _write_tables(folder: Path, written: Sequence[Written], oddity_of: dict[str, str]) -> None:
    """Write the tables of both visits. The oldest version holds nonsense: reading it would show."""
    folder.mkdir(parents=True, exist_ok=True)
    first = [w for w in written if w.visit == "1"]
    second = [w for w in written if w.visit == "2"]

    def flagged(w: Written, oddity: str) -> bool:
        return oddity_of[w.person] == oddity

    def cells(w: Written, age: str) -> dict[str, Any]:
        c = w.covariates
        return {
            "nsrrid": w.person.upper(),
            "visit": w.visit,
            "gender": 2,
            age: f"{c['age']:g}",
            "hwbmi": c["bmi"],
            "poahi3": c["ahi_a0h3"],
            "poahi4": c["ahi_a0h4"],
            "poahi3a": c["ahi_a0h3"],
            "poahi4a": c["ahi_a0h4"],
            "poslprdp": 361,
            "poai_all": 21.5,
            "pooveral": 5,
            "poprstag": int(flagged(w, "sleep-wake-flag")),
            "mhafib": "A",
            **dict.fromkeys(("mhmi", "mhchf", "mhstrk", "mhbp", "mhdiab", "cvchd", "cvcer", "cvpvd", "cvpace"), 0),
            "pounhro": 1,
            **dict.fromkeys(_QUALITY_FLAGS, 0),
        }

    if first:
        _write_csv(folder / "mros-visit1-dataset-0.6.0.csv", [cells(w, "vsage1") for w in first])
        old = [{**cells(w, "vsage1"), "vsage1": 1} for w in first]
        _write_csv(folder / "mros-visit1-dataset-0.5.0.csv", old)
        harmonized = [
            {
                "nsrrid": w.person.upper(),
                "visit": 1,
                "nsrr_age": w.covariates["age"],
                "nsrr_sex": "male",
                "nsrr_race": "white",
                "nsrr_flag_spsw": "sleep/wake only" if flagged(w, "sleep-wake-harmonized-flag") else "full scoring",
            }
            for w in first
        ]
        _write_csv(folder / "mros-visit1-harmonized-0.6.0.csv", harmonized)
    if second:
        _write_csv(folder / "mros-visit2-dataset-0.6.0.csv", [cells(w, "vs2age1") for w in second])


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
