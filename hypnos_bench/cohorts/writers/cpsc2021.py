"""Fake CPSC2021 records: two-lead ECG in WFDB format 16, beats and rhythm changes in an MIT annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from hypnos_bench.cohorts.base import Span
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.wfdb_records import fake_beats, fake_ecg, write_wfdb_record
from hypnos_bench.signals.wfdb_annotations import WfdbAnnotation
from hypnos_bench.signals.wfdb_annotations import encode_annotations as encode_annotations

AfType = Literal["non", "paroxysmal", "persistent"]
AF_TYPES: tuple[AfType, ...] = ("non", "paroxysmal", "persistent")

RATE_HZ = 200.0
_GAIN = 5000.0  # per mV
_SCALE = {"I": 0.6, "II": 1.0}


def write_cpsc2021_tree(
    root: Path, n_persons: int = 3, records: int = 2, minutes: float = 2.0, seed: int = 0
) -> tuple[Written, ...]:
    """Write ``Training_set_I|II/data_<person>_<record>``; persons take turns in the three classes.

    Persons above 53 are in set II, as in the real set; half of the persons get such numbers.
    """
    rng = np.random.default_rng(seed)
    written = []
    for i in range(n_persons):
        person = i + 1 if i % 2 == 0 else 53 + i
        folder = root / ("Training_set_I" if person <= 53 else "Training_set_II")
        for record in range(1, records + 1):
            written.append(
                write_cpsc2021_record(folder, str(person), record, AF_TYPES[i % len(AF_TYPES)], minutes, rng)
            )
    return tuple(written)


def write_cpsc2021_record(
    folder: Path,
    person: str,
    record: int,
    af_type: AfType,
    minutes: float,
    rng: np.random.Generator,
    *,
    leads: Sequence[str] = ("I", "II"),
    comment: str | None = None,
    code: str = "AFIB",
) -> Written:
    """Write one record and return what it holds.

    Parameters
    ----------
    folder : Path
    person : str
    record : int
    af_type : {"non", "paroxysmal", "persistent"}
        What the annotations hold: no episode, two episodes, or one over the whole record.
    minutes : float
    rng : numpy Generator
    leads : sequence of str
    comment : str, optional
        Header comment, when it is to differ from `af_type`; empty for none.
    code : str
        Rhythm of the episodes.
    """
    n = round(minutes * 60 * RATE_HZ)
    episodes = {"non": [], "paroxysmal": [(n // 5, 2 * n // 5), (3 * n // 5, 4 * n // 5)], "persistent": [(0, n)]}[
        af_type
    ]
    in_af = np.zeros(n, dtype=bool)
    for start, stop in episodes:
        in_af[start:stop] = True
    beats = fake_beats(in_af, RATE_HZ, rng)
    annotations: list[WfdbAnnotation] = [(beat, "N", "") for beat in beats]
    for start, stop in episodes:
        annotations += [(start, "+", f"({code}"), (min(stop, n - 1), "+", "(N")]
    stem = f"data_{person}_{record}"
    ecg = fake_ecg(beats, in_af, RATE_HZ, rng)
    comment = f"{af_type} atrial fibrillation" if comment is None else comment
    channels = [(lead, "mV", ecg * _SCALE.get(lead, 0.5)) for lead in leads]
    write_wfdb_record(folder, stem, RATE_HZ, channels, (comment,) if comment else (), gain=_GAIN)
    (folder / f"{stem}.atr").write_bytes(encode_annotations(annotations))
    return Written(
        stem,
        person,
        None,
        n / RATE_HZ,
        rhythm=_spans(episodes, n, code),
        record=(af_type,),
        covariates={"af_type": af_type},
    )


def _spans(episodes: Sequence[tuple[int, int]], n: int, code: str) -> tuple[Span, ...]:
    """Spans as they should be read: N outside the episodes, over the whole record."""
    edges: list[tuple[str, int]] = [("N", 0)]
    for start, stop in episodes:
        edges += [(code, start), ("N", min(stop, n - 1))]
    stops = [start for _, start in edges[1:]] + [n]
    return tuple(
        Span(name, start / RATE_HZ, stop / RATE_HZ)
        for (name, start), stop in zip(edges, stops, strict=True)
        if stop > start
    )
