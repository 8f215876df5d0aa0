"""Channels and nights of the cohorts that `open_trees` writes: native labels and rates, signals in their units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.writers.synthetic import Kind, random_stages, stage_signal
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.spec import EPOCH_S

Montage = Sequence[tuple[str, Kind, float]]
"""Label, kind and rate in Hz of every channel of a file."""

_UNITS = {"ecg": "mV", "effort": ""}
_FADE = 0.85  # a second channel of a kind is the first, weaker: their difference is no flat line


def _of(kind: Kind, rate_hz: float, *labels: str) -> Montage:
    return tuple((label, kind, rate_hz) for label in labels)


SLEEP_CASSETTE: Montage = (
    *_of("eeg", 100, "EEG Fpz-Cz", "EEG Pz-Oz"),
    *_of("eog", 100, "EOG horizontal"),
    *_of("effort", 1, "Resp oro-nasal"),
    *_of("emg", 1, "EMG submental"),
    *_of("effort", 1, "Temp rectal", "Event marker"),
)
SLEEP_TELEMETRY: Montage = (
    *_of("eeg", 100, "EEG Fpz-Cz", "EEG Pz-Oz"),
    *_of("eog", 100, "EOG horizontal"),
    *_of("emg", 100, "EMG submental"),
    *_of("effort", 1, "Marker"),
)

DOD_O: Mapping[str, Kind] = {
    "signals/eeg/C3_M2": "eeg",
    "signals/eeg/C4_M1": "eeg",
    "signals/emg/ECG": "ecg",
    "signals/emg/EMG": "emg",
    "signals/eog/EOG1": "eog",
    "signals/eog/EOG2": "eog",
}
DOD_H: Mapping[str, Kind] = {
    **{f"signals/eeg/{pair}": "eeg" for pair in ("C3_M2", "F3_M2", "F4_M1", "F3_F4", "F3_O1", "F4_O2")},
    **{label: kind for label, kind in DOD_O.items() if kind != "eeg"},
}

_ISRUC_X: Montage = (
    *_of("emg", 200, "X1"),  # chin
    *_of("ecg", 200, "X2"),
    *_of("emg", 200, "X3"),  # leg
    *_of("effort", 200, "X4", "X5", "X6", "X7", "X8"),
)
ISRUC_A: Montage = (
    *_of("eog", 200, "LOC-A2", "ROC-A1"),
    *_of("eeg", 200, "F3-A2", "C3-A2", "O1-A2", "F4-A1", "C4-A1", "O2-A1"),
    *_ISRUC_X,
)
ISRUC_M: Montage = (
    *_of("eog", 200, "E1-M2", "E2-M1"),
    *_of("eeg", 200, "F3-M2", "C3-M2", "O1-M2", "F4-M1", "C4-M1", "O2-M1"),
    *_ISRUC_X,
)
ISRUC_8: Montage = tuple(channel for channel in ISRUC_A if not channel[0].startswith("F"))
ISRUC_40: Montage = (
    *_of("eog", 200, "LOC", "ROC"),
    *_of("eeg", 200, "F3", "C3", "O1", "F4", "C4", "O2"),
    *_of("reference", 200, "A1", "A2"),
    *_ISRUC_X,
)

HMC: Montage = (
    *_of("eeg", 256, "EEG F4-M1", "EEG C4-M1", "EEG O2-M1", "EEG C3-M2"),
    *_of("emg", 256, "EMG chin"),
    *_of("eog", 256, "EOG E1-M2", "EOG E2-M2"),
    *_of("ecg", 256, "ECG"),
)

CAP: Sequence[Montage] = (
    (
        *_of("eog", 128, "ROC-LOC"),
        *_of("eeg", 512, "F4-C4", "C4-P4", "C4-A1"),
        *_of("emg", 256, "EMG1-EMG2"),
        *_of("ecg", 512, "ECG1-ECG2"),
        *_of("effort", 128, "TORACE", "ADDOME"),
    ),
    (
        *_of("eeg", 100, "C3-A2", "C4-A1"),
        *_of("eog", 100, "LOC-A2", "ROC-A1"),
        *_of("emg", 100, "CHIN1-CHIN2"),
        *_of("ecg", 100, "ECG"),
    ),
    (
        *_of("eeg", 128, "C3A2", "C4A1"),
        *_of("eog", 128, "EOG-L", "EOG-R"),
        *_of("emg", 128, "EMG"),
        *_of("ecg", 200, "ECG"),
        *_of("effort", 100, "THORAX", "ADDOMINO"),
    ),
)
"""Labels and rates differ from file to file; these three take turns."""

_MASS_FACE: Montage = (
    *_of("eog", 256, "EOG Left Horiz", "EOG Right Horiz"),
    *_of("emg", 256, "EMG Chin1", "EMG Chin2", "EMG Chin3"),
)
_CLE: Montage = _of("eeg", 256, "EEG C3-CLE", "EEG C4-CLE")
_CLE_A2: Montage = _of("reference", 256, "EEG A2-CLE")
MASS: Mapping[int, Montage] = {
    1: (
        *_CLE,
        *_CLE_A2,
        *_MASS_FACE,
        *_of("ecg", 256, "ECG I"),
        *_of("effort", 256, "Resp Belt Thor", "Resp Belt Abdo"),
    ),
    2: (*_of("eeg", 256, "EEG C3-LER", "EEG C4-LER"), *_MASS_FACE, *_of("ecg", 256, "ECG I")),
    3: (*_CLE, *_CLE_A2, *_MASS_FACE, *_of("ecg", 256, "ECG I")),
    4: (*_CLE, *_MASS_FACE, *_of("ecg", 256, "ECG II")),
    5: (*_CLE, *_MASS_FACE, *_of("ecg", 256, "ECG I")),
}
"""Subset to its channels; against computed linked ears (CLE) or linked ears (LER)."""

UCDDB: Montage = (
    *_of("eog", 64, "Lefteye", "RightEye"),
    *_of("emg", 64, "EMG"),
    *_of("eeg", 128, "C3A2", "C4A1"),
    *_of("ecg", 128, "ECG"),
    *_of("effort", 8, "SpO2", "Sound", "Flow", "Sum", "ribcage", "abdo", "BodyPos", "Pulse"),
)
UCDDB_LIFECARD: Montage = _of("ecg", 128, "chan 1", "chan 2", "chan 3")


def nights(n_epochs: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Stages of one night after another: each begins elsewhere, so that a scoring of another night would show.

    Runs of N3 stay whole, for those who write their second half as stage 4. Raises ``ValueError`` below one epoch.
    """
    if n_epochs < 1:
        raise ValueError(f"{n_epochs} epochs, expected at least 1")
    while True:
        for shift in rng.permutation(n_epochs).tolist():
            stages = random_stages(n_epochs, rng)
            if n_epochs == 1 or not stages[shift - 1] == stages[shift] == 3:
                yield stages[shift:] + stages[:shift]


def write_montage(
    path: Path,
    montage: Montage,
    stages: Sequence[int],
    rng: np.random.Generator,
    *,
    first_s: float = 0.0,
    extra_s: float = 0.0,
    start: datetime = datetime(1985, 1, 1, 22, 0, 0),
) -> float:
    """Write a signal file, in EDF whatever it is called: uV, mV for the ECG.

    Parameters
    ----------
    path : Path
        Its folder is made.
    montage : Montage
    stages : sequence of int
        Codes per 30-s epoch, from `first_s` on.
    rng : numpy.random.Generator
    first_s, extra_s : float
        Seconds of signal before the first epoch and after the last one, which are like these two.
    start : datetime

    Returns
    -------
    float
        Length of the signals in seconds.
    """
    made: dict[tuple[Kind, float], NDArray[np.float64]] = {}
    channels = []
    for label, kind, rate_hz in montage:
        if (kind, rate_hz) in made:
            made[kind, rate_hz] = made[kind, rate_hz] * _FADE
        else:
            scored = stage_signal(kind, stages, rate_hz, rng, extra_s=extra_s)
            made[kind, rate_hz] = np.concatenate([scored[: round(first_s * rate_hz)], scored])
        channels.append((label, rate_hz, _UNITS.get(kind, "uV"), made[kind, rate_hz]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, channels, start=start)
    return first_s + len(stages) * EPOCH_S + extra_s
