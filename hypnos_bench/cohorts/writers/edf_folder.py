"""A fake folder of EDF files, scored in each of the ways that the folder opener reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hypnos_bench.cohorts.base import STAGES
from hypnos_bench.cohorts.writers.edf_plus import edf_plus_rows
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
from hypnos_bench.cohorts.writers.synthetic import Kind, Written, random_events, random_stages, stage_signal
from hypnos_bench.signals.edf_writer import write_edf

SCORINGS = ("nsrr-xml", "xml", "hypnogram", "csv", "embedded", "none")
"""Where the stages are; ``hypnogram`` is a file of EDF+ annotations, ``embedded`` the signal file itself."""

_CHANNELS: tuple[tuple[str, Kind, float], ...] = (
    ("C3-M2", "eeg", 128),
    ("C4-M1", "eeg", 128),
    ("E1-M2", "eog", 128),
    ("E2-M1", "eog", 128),
    ("Chin", "emg", 128),
    ("ECG", "ecg", 128),
    ("Abdomen", "effort", 16),
    ("Thorax", "effort", 16),
)


def write_edf_folder(
    root: Path, scorings: Sequence[str] = SCORINGS, n_epochs: int = 12, seed: int = 0, *, sleep_edf: bool = False
) -> tuple[Written, ...]:
    """Write one recording per entry of `scorings`.

    Parameters
    ----------
    root : Path
    scorings : sequence of str
        Members of `SCORINGS`.
    n_epochs : int
    seed : int
    sleep_edf : bool
        Name files as Sleep-EDF does: ``SC4001E0-PSG.edf`` with ``SC4001EC-Hypnogram.edf``; only with ``hypnogram``.

    Returns
    -------
    tuple of Written
        In the order of `scorings`.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    return tuple(_write(root, i, scoring, n_epochs, rng, sleep_edf) for i, scoring in enumerate(scorings))


def _write(root: Path, index: int, scoring: str, n_epochs: int, rng: np.random.Generator, sleep_edf: bool) -> Written:
    if scoring not in SCORINGS:
        raise ValueError(f"unknown scoring {scoring!r}; one of {', '.join(SCORINGS)}")
    subject = f"SC4{index // 2:02d}{index % 2 + 1}"
    stem = f"{subject}E0-PSG" if sleep_edf else f"night{index + 1}"
    hypnogram = root / (f"{subject}EC-Hypnogram.edf" if sleep_edf else f"{stem}-Hypnogram.edf")
    stages = random_stages(n_epochs, rng)
    events = random_events(stages, rng)
    duration_s = n_epochs * 30.0
    texts = edf_plus_rows(stages)
    write_edf(
        root / f"{stem}.edf",
        [(label, rate_hz, "uV", stage_signal(kind, stages, rate_hz, rng)) for label, kind, rate_hz in _CHANNELS],
        annotations=texts if scoring == "embedded" else (),
    )
    if scoring == "nsrr-xml":
        write_nsrr_xml(root / f"{stem}-nsrr.xml", stages, events, duration_s)
    elif scoring == "xml":
        write_nsrr_xml(root / f"{stem}.xml", stages, events, duration_s)
    elif scoring == "hypnogram":
        write_edf(hypnogram, [], annotations=[*texts, (duration_s, 3600.0, "Sleep stage ?")])
    elif scoring == "csv":
        write_csv_hypnogram(root / f"{stem}.csv", stages)
    kept = events if scoring in ("nsrr-xml", "xml") else ()
    return Written(stem, stem, None, duration_s, () if scoring == "none" else stages, kept)


def write_csv_hypnogram(path: Path, stages: Sequence[int]) -> None:
    """One row per epoch: its number from 0 and its stage."""
    rows = [f"{epoch},{STAGES[code] if code >= 0 else '?'}" for epoch, code in enumerate(stages)]
    path.write_text("\n".join(["epoch,stage", *rows]) + "\n", encoding="utf-8")
