"""Recordings of the Dreem Open Datasets: signals and consensus in one HDF5 file, a scorer's stages as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hypnos_bench.cohorts.writers.synthetic import Kind, stage_signal
from hypnos_bench.signals.hdf5_files import HYPNOGRAM, UNITS_UV, import_h5py

CHANNELS: Mapping[str, Kind] = {
    "signals/eeg/C3_M2": "eeg",
    "signals/eeg/C4_M1": "eeg",
    "signals/emg/ECG": "ecg",  # the ECG lies beside the EMG in the real files
    "signals/emg/EMG": "emg",
    "signals/eog/EOG1": "eog",
    "signals/eog/EOG2": "eog",
}
"""Channels of DOD-O that encoders ask for."""

_WRITTEN_IN = {"ecg": 1e3}  # what `stage_signal` gives, in microvolts


def write_dreem_h5(
    path: Path,
    stages: Sequence[int],
    *,
    channels: Mapping[str, Kind] = CHANNELS,
    rate_hz: float = 250.0,
    unit: str = "uV",
    described: bool = True,
    attributes: bool = True,
    hypnogram: bool = True,
    seed: int = 0,
) -> None:
    """Write one recording.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch: the consensus, and what the signals look like.
    channels : mapping of str to kind
        Dataset paths to what `stage_signal` writes there.
    rate_hz : float
    unit : {"uV", "mV", "V"}
        Of the samples.
    described : bool
        Whether there is the root attribute ``description`` with the rates.
    attributes : bool
        Whether groups have the attributes ``fs`` and ``unit``.
    hypnogram : bool
        Whether the consensus is in the file.
    seed : int
    """
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with import_h5py().File(path, "w") as file:
        for label, kind in channels.items():
            microvolts = stage_signal(kind, stages, rate_hz, rng) * _WRITTEN_IN.get(kind, 1.0)
            samples = (microvolts / UNITS_UV[unit.casefold()]).astype(np.float32)
            dataset = file.create_dataset(label, data=samples, chunks=True, compression="gzip")
            if attributes:
                dataset.parent.attrs["fs"] = rate_hz
                dataset.parent.attrs["unit"] = unit
        if described:
            file.attrs["description"] = json.dumps([{"path": label, "fs": rate_hz} for label in channels])
        if hypnogram:
            file[HYPNOGRAM] = np.asarray(stages, dtype=np.int64)


def write_dreem_scorer(path: Path, stages: Sequence[int]) -> None:
    """Write one scorer's stages as the published evaluation has them: a JSON list, a number per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([int(code) for code in stages], indent=2), encoding="ascii")
