"""Synthetic recordings in memory, and copies of them with something wrong: nobody was ever recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording, Scoring
from hypnos_bench.cohorts.writers.synthetic import Kind, random_stages, stage_signal
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import Channel, Derivation, Signal
from hypnos_bench.spec import EPOCH_S

Floats = NDArray[np.float64]

CANONICAL: Mapping[str, str] = {
    "C3": "C3-M2", "C4": "C4-M1", "E1": "E1-M2", "E2": "E2-M1", "Chin": "Chin EMG", "ECG": "ECG", "ABD": "Abdomen",
    "THX": "Thorax",
}  # fmt: skip
"""Canonical channel to the label that a synthetic recording has it under."""

_KINDS: Mapping[str, tuple[Kind, str]] = {
    "C3-M2": ("eeg", "uV"), "C4-M1": ("eeg", "uV"), "F3-M2": ("eeg", "uV"), "O1-M2": ("eeg", "uV"),
    "E1-M2": ("eog", "uV"), "E2-M1": ("eog", "uV"), "Chin EMG": ("emg", "uV"), "Leg EMG": ("emg", "uV"),
    "ECG": ("ecg", "mV"), "Airflow": ("effort", ""), "Abdomen": ("effort", ""), "Thorax": ("effort", ""),
}  # fmt: skip

USUAL_HZ: Mapping[Kind, float] = {"eeg": 256.0, "eog": 256.0, "emg": 256.0, "ecg": 256.0, "effort": 32.0}
ODD_HZ: Mapping[Kind, float] = {"eeg": 199.5, "eog": 150.0, "emg": 333.0, "ecg": 241.0, "effort": 12.8}


@dataclass(frozen=True)
class MemoryFile:
    """A signal file that was never on disk: label to (rate in Hz, unit, samples)."""

    signals: Mapping[str, tuple[float, str, Floats]]
    seconds: float
    path: Path = Path("synthetic")
    files: tuple[Path, ...] = ()

    def channels(self) -> tuple[Channel, ...]:
        """Header entries."""
        return tuple(Channel(label, rate, unit, len(x)) for label, (rate, unit, x) in self.signals.items())

    def duration_s(self) -> float:
        """Length in seconds."""
        return self.seconds

    def start_clock(self) -> time | None:
        """Nobody was there to look at a clock."""
        return None

    def repairs(self) -> tuple[str, ...]:
        """None: nothing was read."""
        return ()

    def unreadable(self) -> Mapping[str, str]:
        """None."""
        return {}

    def read(self, label: str) -> Signal:
        """A channel's samples; a copy, so that an encoder that writes into it harms itself only."""
        rate_hz, unit, values = self.signals[label]
        return Signal(values.copy(), rate_hz, unit, label)


@dataclass(frozen=True)
class NoLabels:
    """Annotations of a recording that has none."""

    files: tuple[Path, ...] = ()
    rules: str = ""
    id: str = field(default="synthetic")

    def read(self) -> Scoring:
        """Refuse."""
        raise RecordingError(self.id, "a synthetic recording has no labels")


def synthetic(name: str, seconds: float, seed: int, rates_hz: Mapping[Kind, float] = USUAL_HZ) -> Recording:
    """A polysomnography of twelve channels, eight of them canonical, whose content follows random sleep stages."""
    rng = np.random.default_rng(seed)
    stages = random_stages(int(-(-seconds // EPOCH_S)), rng)
    signals = {}
    for label, (kind, unit) in _KINDS.items():
        rate_hz = rates_hz[kind]
        values = stage_signal(kind, stages, rate_hz, rng)[: round(seconds * rate_hz)]
        signals[label] = (rate_hz, unit, values)
    montage = {channel: Derivation(label) for channel, label in CANONICAL.items()}
    return Recording("synthetic", name, name, MemoryFile(signals, seconds), NoLabels(), montage)


def changed(
    recording: Recording, change: Callable[[Floats, float], Floats], channels: Collection[str] | None = None
) -> Recording:
    """The recording with ``change(samples, rate_hz)`` for the samples of some canonical channels, or of all there are.

    The new samples may be fewer; the recording keeps its length.
    """
    file = _file(recording)
    labels = file.signals if channels is None else [CANONICAL[channel] for channel in channels]
    told = {label: (rate, unit, change(x.copy(), rate)) for label, (rate, unit, x) in file.signals.items()}
    signals = {label: told[label] if label in labels else entry for label, entry in file.signals.items()}
    return replace(recording, signals=replace(file, signals=signals))


def without(recording: Recording, channel: str) -> Recording:
    """The recording without a canonical channel: neither in its montage nor in its file."""
    file = _file(recording)
    signals = {label: entry for label, entry in file.signals.items() if label != CANONICAL[channel]}
    montage = {name: made for name, made in recording.montage.items() if name != channel}
    return replace(recording, signals=replace(file, signals=signals), montage=montage)


def empty(recording: Recording) -> Recording:
    """The recording without any channel."""
    return replace(recording, signals=replace(_file(recording), signals={}), montage={})


def beginning(recording: Recording, seconds: float) -> Recording:
    """The recording as it would be had it been stopped earlier."""
    cut = changed(recording, lambda x, rate_hz: x[: round(seconds * rate_hz)])
    return replace(cut, signals=replace(_file(cut), seconds=seconds))


def _file(recording: Recording) -> MemoryFile:
    if not isinstance(recording.signals, MemoryFile):
        raise TypeError("only synthetic recordings can be changed")
    return recording.signals
