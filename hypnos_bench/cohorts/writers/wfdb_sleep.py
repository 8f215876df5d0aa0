"""Fake trees of sleep sets in WFDB format: SLPDB, PhysioNet/CinC 2018 and Apnea-ECG."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from hypnos_bench.cohorts.base import STAGES, Event, Span
from hypnos_bench.cohorts.writers.synthetic import Kind, Written, random_events, random_stages, stage_signal
from hypnos_bench.cohorts.writers.wfdb_records import Channel, fake_beats, fake_ecg, write_wfdb_record
from hypnos_bench.signals.wfdb_annotations import WfdbAnnotation, encode_annotations
from hypnos_bench.spec import EPOCH_S

_ST_STAGES = {0: "W", 1: "1", 2: "2", 3: "4", 4: "R", -1: "MT"}
_ST_WORDS = {"hypopnea": "H", "obstructive-apnea": "OA", "central-apnea": "CA", "leg-movement": "L"}
_ST_WITH_AROUSAL = {"H": "HA", "OA": "X", "CA": "CAA", "L": "LA"}

_SLPDB: tuple[tuple[str, str], ...] = (
    ("slp01", "slp01a"),
    ("slp01", "slp01b"),
    ("slp03", "slp03"),
    ("slp41", "slp41"),
    ("slp59", "slp59"),
    ("slp67x", "slp67x"),
)
_SLPDB_CHANNELS: tuple[tuple[str, Kind, str], ...] = (
    ("ECG", "ecg", "mV"),
    ("BP", "effort", "mmHg"),
    ("EEG (C4-A1)", "eeg", "mV"),
    ("Resp (sum)", "effort", "l"),
)
_CINC2018_CHANNELS: tuple[tuple[str, Kind, str], ...] = (
    ("F3-M2", "eeg", "uV"),
    ("F4-M1", "eeg", "uV"),
    ("C3-M2", "eeg", "uV"),
    ("C4-M1", "eeg", "uV"),
    ("O1-M2", "eeg", "uV"),
    ("O2-M1", "eeg", "uV"),
    ("E1-M2", "eog", "uV"),
    ("Chin1-Chin2", "emg", "uV"),
    ("ABD", "effort", "uV"),
    ("CHEST", "effort", "uV"),
    ("AIRFLOW", "effort", "uV"),
    ("SaO2", "effort", "%"),
    ("ECG", "ecg", "mV"),
)
_AROUSAL_WORDS = {
    "hypopnea": "resp_hypopnea",
    "obstructive-apnea": "resp_obstructiveapnea",
    "central-apnea": "resp_centralapnea",
    "mixed-apnea": "resp_mixedapnea",
    "hypoventilation": "resp_hypoventilation",
    "cheyne-stokes-breathing": "resp_cheynestokesbreath",
    "partial-obstruction": "resp_partialobstructive",
    "rera": "arousal_rera",
    "arousal": "arousal_spontaneous",
}
# Record to what the table says of the person: a01 and x01 are of one man.
_APNEA_ECG: tuple[tuple[str, str], ...] = (
    ("a01", "51\tM\t175\t102"),
    ("x01", "51\tM\t175\t102"),
    ("b01", "44\tF\t170\t63"),
    ("c01", "31\tM\t184\t74"),
    ("a02", "38\tM\t180\t120"),
    ("c02", "37\tM\t180\t83"),
)


def write_st(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event] = (),
    *,
    rate_hz: float = 250.0,
    missing: Collection[int] = (),
) -> None:
    """Write an SLPDB annotation: one per epoch that is not `missing`, the first at sample 1 when at the start.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        -1 as movement time; stage 3 as stage 4.
    events : sequence of Event
        Apneas, hypopneas, leg movements and arousals; each marks the epoch that it starts in.
    rate_hz : float
    missing : collection of int
        Epochs without an annotation.
    """
    annotations: list[WfdbAnnotation] = []
    for epoch, code in enumerate(stages):
        if epoch in missing:
            continue
        kinds = {event.kind for event in events if event.start_s // EPOCH_S == epoch}
        marks = [_ST_WORDS[kind] for kind in sorted(kinds - {"arousal"})]
        if "arousal" in kinds:
            marks = [_ST_WITH_AROUSAL[marks[0]], *marks[1:]] if marks else ["A"]
        sample = max(1, round(epoch * EPOCH_S * rate_hz))
        annotations.append((sample, '"', " ".join([_ST_STAGES[code], *marks])))
    path.write_bytes(encode_annotations(annotations))


def write_arousal(
    path: Path, stages: Sequence[int], events: Sequence[Event] = (), *, rate_hz: float = 200.0, start_s: float = 0.0
) -> None:
    """Write a CinC 2018 annotation: a mark where the stage changes, and both ends of every event.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        None of them -1: a stage holds until the next one.
    events : sequence of Event
    rate_hz : float
    start_s : float
        Where the first epoch starts.
    """
    annotations: list[WfdbAnnotation] = []
    epoch = 0
    for code, group in groupby(stages):
        annotations.append((round((start_s + epoch * EPOCH_S) * rate_hz), '"', STAGES[code]))
        epoch += len(list(group))
    for event in events:
        word = _AROUSAL_WORDS[event.kind]
        annotations.append((round(event.start_s * rate_hz), '"', f"({word}"))
        annotations.append((round((event.start_s + event.duration_s) * rate_hz), '"', f"{word})"))
    path.write_bytes(encode_annotations(annotations))


def write_apn(path: Path, minutes: Sequence[str], *, rate_hz: float = 100.0) -> None:
    """Write an Apnea-ECG annotation: one symbol per minute, ``A`` or ``N``; an empty one leaves the minute out."""
    samples = (round(60 * rate_hz * minute) for minute in range(len(minutes)))
    path.write_bytes(encode_annotations([(s, code, "") for s, code in zip(samples, minutes, strict=True) if code]))


def write_slpdb_tree(root: Path, n_persons: int = 2, seconds: float = 360.0, seed: int = 0) -> tuple[Written, ...]:
    """SLPDB: 12-bit samples at 250 Hz, stages and apneas in ``.st``, beats in ``.ecg``; epoch 4 is not scored.

    The first person has two records.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n_epochs = 250.0, int(seconds // EPOCH_S)
    persons = list(dict.fromkeys(person for person, _ in _SLPDB))[:n_persons]
    written = []
    for person, name in ((p, r) for p, r in _SLPDB if p in persons):
        stages = random_stages(n_epochs, rng)
        kinds = {*_ST_WORDS, "arousal"}
        events = tuple(
            Event(event.kind, event.start_s // EPOCH_S * EPOCH_S, EPOCH_S)
            for event in random_events(stages, rng)
            if event.kind in kinds and event.start_s // EPOCH_S != 4
        )
        channels = [(label, unit, stage_signal(kind, stages, rate_hz, rng)) for label, kind, unit in _SLPDB_CHANNELS]
        write_wfdb_record(root, name, rate_hz, channels, ("44 M 89 32-01-89",), "212", start="23:07:00 28/01/1989")
        write_st(root / f"{name}.st", stages, events, missing=(4,))
        beats = range(40, round(seconds * rate_hz), 230)
        (root / f"{name}.ecg").write_bytes(encode_annotations([(beat, "N", "") for beat in beats]))
        scored = tuple(-1 if epoch == 4 else code for epoch, code in enumerate(stages))
        duration_s = n_epochs * EPOCH_S
        written.append(Written(name, person, None, duration_s, scored, events, covariates={"age": 44.0}))
    return tuple(written)


def write_cinc2018_tree(root: Path, n_persons: int = 2, seconds: float = 360.0, seed: int = 0) -> tuple[Written, ...]:
    """CinC 2018: thirteen channels at 200 Hz in MATLAB files; the first epoch is not scored, ``test`` not at all.

    Returns
    -------
    tuple of Written
        The training records, then one test record without stages.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n_epochs = 200.0, int(seconds // EPOCH_S)
    written = []
    for i in range(n_persons + 1):
        test = i == n_persons
        name = f"te03-{i + 2:04d}" if test else f"tr03-{i + 5:04d}"
        folder = root / ("test" if test else "training") / name
        stages = random_stages(n_epochs, rng)
        events = tuple(e for e in random_events(stages, rng) if e.kind in _AROUSAL_WORDS)
        channels = [(label, unit, stage_signal(kind, stages, rate_hz, rng)) for label, kind, unit in _CINC2018_CHANNELS]
        write_wfdb_record(folder, name, rate_hz, channels, fmt="16+24")
        if not test:
            write_arousal(folder / f"{name}.arousal", stages[1:], events, start_s=EPOCH_S)
        scored = () if test else (-1, *stages[1:])
        facts = {"age": float(rng.integers(20, 90)), "sex": "M" if i % 2 else "F"}
        kept = () if test else events
        written.append(Written(name, name, None, n_epochs * EPOCH_S, scored, kept, covariates=facts))
    rows = [f"{w.id},{w.covariates['age']:.0f},{w.covariates['sex']}" for w in written]
    (root / "age-sex.csv").write_text("\n".join(["Record,Age,Sex", *rows]) + "\n", encoding="ascii")
    (root / "training/RECORDS").write_text("".join(f"{w.id}/\n" for w in written if w.stages), encoding="ascii")
    return tuple(written)


def write_apnea_ecg_tree(root: Path, n_persons: int = 3, seconds: float = 330.0, seed: int = 0) -> tuple[Written, ...]:
    """Apnea-ECG: one lead at 100 Hz, ``.apn`` and ``.qrs``; the first person is in both the learning and the test set.

    ``a01r`` and ``a01er`` hold the respiration of a01; the last minute is cut short by the end of the signals. Ages
    and the like are in ``additional-information.txt``, which is all that says who is who.
    """
    rng = np.random.default_rng(seed)
    rate_hz, n = 100.0, round(seconds * 100)
    persons = list(dict.fromkeys(person for _, person in _APNEA_ECG))[:n_persons]
    written, rows = [], []
    for name, person in ((r, p) for r, p in _APNEA_ECG if p in persons):
        n_minutes = -(-n // 6000)
        codes = ["A" if name[0] in "ax" and minute % 3 else "N" for minute in range(n_minutes)]
        quiet = np.zeros(n, dtype=bool)
        beats = fake_beats(quiet, rate_hz, rng)
        ecg: Channel = ("ECG", "mV", fake_ecg(beats, quiet, rate_hz, rng))
        write_wfdb_record(root, name, rate_hz, [ecg], gain=200)
        for suffix in ("r", "er") if name == "a01" else ():
            breath = np.sin(2 * np.pi * 0.25 * np.arange(n) / rate_hz)
            belts: list[Channel] = [(label, "mV", breath) for label in ("Resp C", "Resp A", "Resp N", "SpO2")]
            write_wfdb_record(root, f"{name}{suffix}", rate_hz, [ecg, *belts] if suffix == "er" else belts, gain=1000)
        write_apn(root / f"{name}.apn", codes)
        (root / f"{name}.qrs").write_bytes(encode_annotations([(beat, "N", "") for beat in beats]))
        minutes = tuple(Span(code, 60.0 * i, min(60.0 * (i + 1), n / rate_hz)) for i, code in enumerate(codes))
        apnea = codes.count("A")
        rows.append(f"{name}\t{n_minutes}\t{n_minutes - apnea}\t{apnea}\t1\t12.5\t57.1\t69.6\t{person}")
        age = float(person.split("\t")[0])
        written.append(Written(name, person, None, n / rate_hz, minutes=minutes, covariates={"age": age, "ahi": 69.6}))
    prose = (
        "Additional information about the recordings\n\nRecord\tMinutes\tNon-apn\tApnea\tHours\tAI\tHI\tAHI\tAge\tSex"
    )
    (root / "additional-information.txt").write_text("\n".join([prose, *rows]) + "\n", encoding="ascii")
    (root / "RECORDS").write_text("".join(f"{w.id}\n" for w in written) + "a01r\na01er\n", encoding="ascii")
    return tuple(written)
