"""Fake CPSC2021 records: two-lead ECG in WFDB format 16, beats and rhythm changes in an MIT annotation file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import RhythmSpan
from hypnos_bench.cohorts.writers.synthetic import Written

AfType = Literal["non", "paroxysmal", "persistent"]
AF_TYPES: tuple[AfType, ...] = ("non", "paroxysmal", "persistent")

RATE_HZ = 200.0
_GAIN = 5000.0  # per mV

# MIT annotation codes.
_BEAT, _RHYTHM, _SKIP, _AUX = 1, 28, 59, 63
_MAX_STEP = 1023

Annotation = tuple[int, str, str]
"""Sample, symbol (``N`` or ``+``), text."""


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
    beats = _beats(in_af, rng)
    annotations: list[Annotation] = [(beat, "N", "") for beat in beats]
    for start, stop in episodes:
        annotations += [(start, "+", f"({code}"), (min(stop, n - 1), "+", "(N")]
    stem = f"data_{person}_{record}"
    folder.mkdir(parents=True, exist_ok=True)
    ecg = _ecg(n, beats, in_af, rng)
    _write_signals(folder, stem, ecg, leads, f"{af_type} atrial fibrillation" if comment is None else comment)
    (folder / f"{stem}.atr").write_bytes(encode_annotations(annotations))
    return Written(stem, person, None, n / RATE_HZ, rhythm=_spans(episodes, n, code), covariates={"af_type": af_type})


def encode_annotations(annotations: Sequence[Annotation]) -> bytes:
    """MIT annotation format: 16-bit words of 6-bit code and 10-bit step, with skips and texts.

    Source: WFDB Applications Guide, annot(5).
    """
    words = bytearray()
    now = 0
    for sample, symbol, text in sorted(annotations, key=lambda a: a[0]):
        step, now = sample - now, sample
        if step > _MAX_STEP:
            # A long step: its high word, then its low word, each little-endian.
            words += struct.pack("<HHH", _SKIP << 10, step >> 16 & 0xFFFF, step & 0xFFFF)
            step = 0
        words += struct.pack("<H", (_RHYTHM if symbol == "+" else _BEAT) << 10 | step)
        if text:
            data = text.encode("ascii")
            words += struct.pack("<H", _AUX << 10 | len(data)) + data + b"\x00" * (len(data) % 2)
    return bytes(words) + b"\x00\x00"


def _spans(episodes: Sequence[tuple[int, int]], n: int, code: str) -> tuple[RhythmSpan, ...]:
    """Spans as they should be read: N outside the episodes, over the whole record."""
    edges: list[tuple[str, int]] = [("N", 0)]
    for start, stop in episodes:
        edges += [(code, start), ("N", min(stop, n - 1))]
    stops = [start for _, start in edges[1:]] + [n]
    return tuple(
        RhythmSpan(name, start / RATE_HZ, stop / RATE_HZ)
        for (name, start), stop in zip(edges, stops, strict=True)
        if stop > start
    )


def _beats(in_af: NDArray[np.bool_], rng: np.random.Generator) -> list[int]:
    """R peaks from sample 30 on: steady in N, irregular and faster in fibrillation."""
    beats, at = [], 30
    while at < len(in_af) - 30:
        beats.append(at)
        interval_s = rng.uniform(0.35, 0.95) if in_af[at] else 0.85 + 0.02 * rng.standard_normal()
        at += round(interval_s * RATE_HZ)
    return beats


def _ecg(n: int, beats: Sequence[int], in_af: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Millivolts: R waves, a P wave before each beat in N, fibrillatory waves otherwise."""
    t_s = np.arange(-40, 41) / RATE_HZ
    r_wave = np.exp(-((t_s / 0.015) ** 2))
    p_wave = 0.15 * np.exp(-(((t_s + 0.16) / 0.025) ** 2))
    padded = np.zeros(n + 80)
    for beat in beats:
        padded[beat : beat + 81] += r_wave if in_af[beat] else r_wave + p_wave
    ecg = padded[40 : n + 40] + 0.01 * rng.standard_normal(n)
    ecg += np.where(in_af, 0.08 * np.sin(2 * np.pi * 6.5 * np.arange(n) / RATE_HZ), 0.0)
    return ecg


def _write_signals(folder: Path, stem: str, ecg: NDArray[np.float64], leads: Sequence[str], comment: str) -> None:
    scale = {"I": 0.6, "II": 1.0}
    digital = np.stack([np.rint(ecg * scale.get(lead, 0.5) * _GAIN) for lead in leads], axis=1).astype("<i2")
    (folder / f"{stem}.dat").write_bytes(digital.tobytes())
    lines = [f"{stem} {len(leads)} {RATE_HZ:g} {len(ecg)}"]
    for lead, column in zip(leads, digital.T, strict=True):
        checksum = int(np.sum(column, dtype=np.int64)) & 0xFFFF
        checksum -= 0x10000 if checksum & 0x8000 else 0
        lines.append(f"{stem}.dat 16 {_GAIN:g}(0)/mV 16 0 {column[0]} {checksum} 0 {lead}")
    if comment:
        lines.append(f"# {comment}")
    (folder / f"{stem}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
