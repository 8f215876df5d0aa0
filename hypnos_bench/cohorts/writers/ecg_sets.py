"""Fake trees of public ECG sets: AFDB, LTAFDB, SHDB-AF, MITDB, CinC 2017 and PTB-XL, with their known oddities."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.wfdb_records import (
    Channel,
    fake_beats,
    fake_ecg,
    in_codes,
    spans_of,
    write_wfdb_record,
)
from hypnos_bench.signals.wfdb_annotations import WfdbAnnotation, encode_annotations

AF = ("AFIB", "AFL")

AFDB_WITHOUT_SIGNAL = ("00735", "03665")
_AFDB = ["04015", "04043", "04048", "04126", "04746", "04908", "04936", "05091", "05121", "05261", "06426", "06453"]
_LTAFDB = ["00", "30", "64", "01", "03", "05", "06", "07", "08", "10", "11", "12"]
# Person to records and leads: 201 and 202 are one man, 114 has its leads in reverse, 102 has no MLII.
_MITDB: tuple[tuple[str, tuple[str, ...], tuple[str, str]], ...] = (
    ("1085", ("100",), ("MLII", "V5")),
    ("1960", ("201", "202"), ("MLII", "V1")),
    ("1500", ("114",), ("V5", "MLII")),
    ("1110", ("102",), ("V5", "V2")),
    ("1211", ("101",), ("MLII", "V1")),
    ("1900", ("203",), ("MLII", "V1")),
)
_PTBXL_LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
_PTBXL_CODES: tuple[Mapping[str, float], ...] = (
    {"NORM": 100.0, "LVOLT": 0.0, "SR": 0.0},
    {"AFIB": 0.0, "NST_": 100.0},
    {"IMI": 35.0, "ABQRS": 0.0, "SR": 0.0},
    {"AFLT": 100.0, "ISC_": 50.0},
)
_CINC2017_LABELS = ("N", "A", "O", "~")


def write_afdb_tree(root: Path, n_persons: int = 3, seconds: float = 60.0, seed: int = 0) -> tuple[Written, ...]:
    """AFDB: changes in ``.atr``, beats in ``.qrs`` that stop before the signals do, a gain of 0, two empty records.

    The folder ``old`` holds an earlier ``.atr`` of the first record. Every third record begins in fibrillation.

    Returns
    -------
    tuple of Written
        The records with signals.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n = 250.0, round(seconds * 250)
    written = []
    for i, name in enumerate((*_AFDB[:n_persons], *AFDB_WITHOUT_SIGNAL)):
        shares = ((0.0, "AFIB" if i % 3 == 2 else "N"), (0.2, "AFIB"), (0.5, "N"), (0.6, "AFL"), (0.7, "J"), (0.8, "N"))
        changes = _changes(shares, n, first=8)
        channels, beats = _two_leads(changes, n, rate_hz, ("ECG1", "ECG2"), rng, annotated=0.9)
        has_signal = name not in AFDB_WITHOUT_SIGNAL
        write_wfdb_record(root, name, rate_hz, channels if has_signal else (), fmt="212", stated_gain=False)
        _write(root / f"{name}.atr", [(sample, "+", f"({code}") for sample, code in changes])
        _write(root / f"{name}.qrs", [(beat, "N", "") for beat in beats])
        if has_signal:
            written.append(Written(name, name, None, n / rate_hz, rhythm=spans_of(changes, beats[-1], rate_hz)))
    (root / "old").mkdir(exist_ok=True)
    _write(root / f"old/{_AFDB[0]}.atr", [(0, "+", "(AFIB")])
    _write_lines(root / "RECORDS", [*AFDB_WITHOUT_SIGNAL, *(w.id for w in written)])
    return tuple(written)


def write_ltafdb_tree(root: Path, n_persons: int = 3, seconds: float = 60.0, seed: int = 0) -> tuple[Written, ...]:
    r"""LTAFDB: both leads named ``ECG``, a lead-in without rhythm and a tail without beats, comments of missed beats.

    Every ``.atr`` ends with a comment ``\x01 Aux``, of record 30 far beyond the signals; record 64 lacks an opening
    rhythm.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n = 128.0, round(seconds * 128)
    written = []
    for name in _LTAFDB[:n_persons]:
        first = 0.4 if name == "64" else 0.05
        changes = _changes(((first, "N"), (0.45, "AFIB"), (0.6, "SVTA"), (0.65, "N")), n)
        channels, beats = _two_leads(changes, n, rate_hz, ("ECG", "ECG"), rng, annotated=0.75)
        write_wfdb_record(root, name, rate_hz, channels, gain=(166.945, 173.01), start="9:30:00 31/01/2003")
        end = 3 * n if name == "30" else n
        marks: list[WfdbAnnotation] = [(beat, "N", "") for beat in beats]
        marks += [(sample, "+", f"({code}") for sample, code in changes]
        _write(root / f"{name}.atr", [*marks, (beats[3], '"', "MISSB"), (end, '"', "\x01 Aux")])
        _write(root / f"{name}.qrs", [(beat, "N", "") for beat in beats])
        written.append(Written(name, name, None, n / rate_hz, rhythm=spans_of(changes, beats[-1], rate_hz)))
    _write_lines(root / "RECORDS", sorted(w.id for w in written))
    return tuple(written)


def write_shdb_af_tree(root: Path, n_persons: int = 3, seconds: float = 60.0, seed: int = 0) -> tuple[Written, ...]:
    """SHDB-AF: every annotation a comment, the code on the first beat of its stretch, ``(N`` not annotated.

    The first person has two recordings; the last recording has no ``.atr``.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n = 200.0, round(seconds * 200)
    persons = [0, *range(n_persons)]
    written, rows = [], []
    for i, person in enumerate(persons):
        name, annotated = f"{i + 1:03d}", i + 1 < len(persons)
        changes = _changes(((0.0, "N"), (0.3, "AFIB"), (0.55, "N"), (0.7, "AFL"), (0.8, "AT"), (0.9, "N")), n)
        channels, beats = _two_leads(changes, n, rate_hz, ("ECG1", "ECG2"), rng)
        # The code sits on a beat: the first of its stretch.
        changes = [(min(beat for beat in beats if beat >= sample), code) for sample, code in changes]
        write_wfdb_record(root, name, rate_hz, channels, gain=5000.5, baseline=-1201)
        codes = {sample: f"({code}" for sample, code in changes}
        if annotated:
            _write(root / f"{name}.atr", [(beat, '"', codes.get(beat, "")) for beat in beats])
        _write(root / f"{name}.qrs", [(beat, "N", "") for beat in beats])
        spans = spans_of(changes, beats[-1], rate_hz, unlabelled=("N",)) if annotated else ()
        age = int(rng.integers(40, 90))
        subject = str(4_899_921 + 17 * person)
        rows.append(
            {
                "Subject_ID": subject,
                "Data_ID": name,
                "Annotated": annotated,
                "Age_at_Holter": age,
                "Sex": "female" if person % 2 else "male",
                "AF_Type": "PAF",
                "Holter_start_time": "9:05 AM",
            }
        )
        written.append(Written(name, subject, None, n / rate_hz, rhythm=spans, covariates={"age": float(age)}))
    _write_csv(root / "AdditionalData.csv", rows)
    _write_lines(root / "RECORDS.txt", [w.id for w in written])
    return tuple(written)


def write_mitdb_tree(root: Path, n_persons: int = 4, seconds: float = 60.0, seed: int = 0) -> tuple[Written, ...]:
    """MITDB: 12-bit samples around 1024, beats and changes in ``.atr``; the second number of a comment is the tape.

    The folder ``x_mitdb`` holds an excerpt, and ``102-0.atr`` belongs to no record.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n = 360.0, round(seconds * 360)
    written = []
    for tape, names, leads in _MITDB[:n_persons]:
        for name in names:
            changes = _changes(((0.0, "N"), (0.3, "AFIB"), (0.5, "B"), (0.6, "N")), n, first=18)
            channels, beats = _two_leads(changes, n, rate_hz, leads, rng)
            comments = (f"69 M {tape} 1629 x1", "Aldomet, Inderal")
            write_wfdb_record(root, name, rate_hz, channels, comments, "212", gain=200, baseline=1024)
            marks: list[WfdbAnnotation] = [(beat, "N", "") for beat in beats]
            # The real files end each text with a NUL.
            _write(root / f"{name}.atr", marks + [(sample, "+", f"({code}\0") for sample, code in changes])
            spans = spans_of(changes, beats[-1], rate_hz)
            written.append(Written(name, tape, None, n / rate_hz, rhythm=spans, covariates={"age": 69.0}))
    short = [(label, unit, values[: n // 2]) for label, unit, values in channels]
    write_wfdb_record(root / "x_mitdb", "x_100", rate_hz, short, fmt="212", gain=200, baseline=1024)
    _write(root / "102-0.atr", [(18, "+", "(P")])
    _write_lines(root / "RECORDS", [w.id for w in written])
    return tuple(written)


def write_cinc2017_tree(root: Path, n_persons: int = 4, seconds: float = 12.0, seed: int = 0) -> tuple[Written, ...]:
    """CinC 2017: one lead per record in ``training/A00``, the references of all versions, ``validation`` a part of it.

    Records take turns in the four labels; nobody knows who they are of, so each is its own person.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n = 300.0, round(seconds * 300)
    written = []
    for i in range(n_persons):
        name, label = f"A{i + 1:05d}", _CINC2017_LABELS[i % 4]
        ((_, _, ecg), *_), _ = _two_leads([(0, "AFIB" if label == "A" else "N")], n, rate_hz, ("ECG", "-"), rng)
        if label == "~":
            ecg = ecg + rng.standard_normal(n)
        folders = [root / "training/A00"] + [root / "validation"] * (i % 2 == 0)
        for folder in folders:
            channels = [("ECG", "mV", ecg)]
            write_wfdb_record(folder, name, rate_hz, channels, fmt="16+24", gain=1000, start="05:05:15 1/05/2000")
        written.append(Written(name, name, None, n / rate_hz, record=(label,)))
    labels = {w.id: w.record[0] for w in written}
    write_reference(root / "training/REFERENCE.csv", labels, folder="A00")
    for version, wrong in (("v0", "N"), ("v1", "O"), ("v2", "O"), ("v3", "~")):
        old = {name: wrong if label == "~" else label for name, label in labels.items()}
        write_reference(root / f"training/REFERENCE-{version}.csv", old, folder="A00")
    _write_lines(root / "training/RECORDS", [f"A00/{name}" for name in labels])
    part = {name: label for i, (name, label) in enumerate(labels.items()) if i % 2 == 0}
    write_reference(root / "validation/REFERENCE.csv", part)
    _write_lines(root / "validation/RECORDS", list(part))
    return tuple(written)


def write_reference(path: Path, labels: Mapping[str, str], folder: str = "") -> None:
    """Write a CinC 2017 reference: record, with its folder if it has one, and label; no header line."""
    _write_lines(path, [f"{folder}/{name},{label}" if folder else f"{name},{label}" for name, label in labels.items()])


def write_ptbxl_tree(root: Path, n_persons: int = 4, seconds: float = 10.0, seed: int = 0) -> tuple[Written, ...]:
    """PTB-XL: twelve leads in ``records500`` and again in ``records100``, statements in ``ptbxl_database.csv``.

    The first person has two recordings and the last is 300 years old, which means above 89; folds are of persons.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n = 500.0, round(seconds * 500)
    written, rows = [], []
    for i, person in enumerate([0, *range(n_persons)]):
        codes = _PTBXL_CODES[i % len(_PTBXL_CODES)]
        place = f"{i // 1000 * 1000:05d}/{i + 1:05d}"
        in_af = np.full(n, "AFIB" in codes or "AFLT" in codes)
        ecg = fake_ecg(fake_beats(in_af, rate_hz, rng), in_af, rate_hz, rng)
        channels = [(lead, "mV", ecg * (0.3 + 0.1 * k)) for k, lead in enumerate(_PTBXL_LEADS)]
        high, low = root / "records500" / f"{place}_hr", root / "records100" / f"{place}_lr"
        write_wfdb_record(high.parent, high.name, rate_hz, channels, gain=1000)
        write_wfdb_record(low.parent, low.name, 100.0, [(x, unit, v[::5]) for x, unit, v in channels], gain=1000)
        age = 300 if person + 1 == n_persons else 50 + person
        rows.append(
            {
                "ecg_id": i + 1,
                "patient_id": f"{15_709 + person}.0",
                "age": f"{age}.0",
                "sex": person % 2,
                "report": "sinusrhythmus, sonst normal",
                "scp_codes": repr(dict(codes)),
                "strat_fold": person % 10 + 1,
                "filename_lr": f"records100/{place}_lr",
                "filename_hr": f"records500/{place}_hr",
            }
        )
        facts = {"age": float(age), "fold": person % 10 + 1}
        written.append(
            Written(f"{i + 1:05d}", str(15_709 + person), None, n / rate_hz, record=tuple(codes), covariates=facts)
        )
    _write_csv(root / "ptbxl_database.csv", rows)
    statements = [
        {"": code, "description": code.lower(), "diagnostic": "", "rhythm": 1.0 if code in ("AFIB", "AFLT") else ""}
        for code in sorted({code for codes in _PTBXL_CODES for code in codes})
    ]
    _write_csv(root / "scp_statements.csv", statements)
    return tuple(written)


def _changes(shares: Sequence[tuple[float, str]], n: int, first: int = 0) -> list[tuple[int, str]]:
    """Rhythm changes at shares of a record, none before sample `first`; repeats of a code are left out."""
    changes: list[tuple[int, str]] = []
    for share, code in shares:
        if not changes or changes[-1][1] != code:
            changes.append((max(first, round(share * n)), code))
    return changes


def _two_leads(
    changes: Sequence[tuple[int, str]],
    n: int,
    rate_hz: float,
    leads: tuple[str, str],
    rng: np.random.Generator,
    annotated: float = 1.0,
) -> tuple[list[Channel], list[int]]:
    """Two leads of one heart, and its beats in the annotated share of the record."""
    in_af: NDArray[np.bool_] = in_codes(changes, n, AF)
    beats = fake_beats(in_af, rate_hz, rng)
    ecg = fake_ecg(beats, in_af, rate_hz, rng)
    return [(leads[0], "mV", ecg), (leads[1], "mV", 0.6 * ecg)], [beat for beat in beats if beat < annotated * n]


def _write(path: Path, annotations: Sequence[WfdbAnnotation]) -> None:
    path.write_bytes(encode_annotations(annotations))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
