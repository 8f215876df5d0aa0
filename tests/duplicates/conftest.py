"""Nights of heartbeats and of EEG envelopes, made for the purpose, and recordings that live in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.base import Channel, Derivation, Signal


def make_beats(seed: int, hours: float = 6.0, variability: float = 0.03) -> np.ndarray:
    """Beat times in seconds: a rate of its own, breathing, slow waves, ectopic beats."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.75, 1.1)
    n = int(hours * 3600 / base)
    breath = np.cumsum(2 * np.pi * base * (0.25 + 0.05 * np.sin(np.cumsum(rng.normal(0, 0.05, n)))))
    slow = np.convolve(rng.normal(0, 1, n), np.hanning(101) / 7, "same")
    rr = base * (1 + variability * (0.8 * np.sin(breath) + slow + 0.4 * rng.normal(size=n)))
    early = np.flatnonzero(rng.random(n - 1) < 0.002)
    rr[early] *= 0.65
    rr[early + 1] *= 1.3
    return 1.0 + np.cumsum(np.clip(rr, 0.35, 2.4))


def make_eeg(seed: int, hours: float = 1.0, rate_hz: float = 64.0) -> np.ndarray:
    """Noise whose strength wanders over seconds and minutes."""
    rng = np.random.default_rng(seed)
    seconds = int(hours * 3600)
    strength = np.convolve(rng.normal(size=seconds), np.hanning(7), "same") * 0.35
    strength += np.convolve(rng.normal(size=seconds), np.hanning(121), "same") * 0.08
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    return 20.0 * np.exp(np.interp(at, np.arange(seconds), strength)) * rng.normal(size=len(at))


@pytest.fixture(scope="session")
def beats():
    return make_beats


@pytest.fixture(scope="session")
def eeg():
    return make_eeg


@dataclass
class MemoryFile:
    """Signals by label: (rate_hz, values), or an error to raise; keeps a list of what was read."""

    signals: Mapping[str, object]
    seconds: float
    read_labels: list[str] = field(default_factory=list)
    path: Path = Path("memory.edf")
    files: tuple[Path, ...] = ()

    def channels(self) -> tuple[Channel, ...]:
        return ()

    def duration_s(self) -> float:
        return self.seconds

    def read(self, label: str) -> Signal:
        self.read_labels.append(label)
        found = self.signals[label]
        if isinstance(found, Exception):
            raise found
        rate, values = found
        return Signal(np.asarray(values, np.float64), rate, "uV", label)


@dataclass(frozen=True)
class NoLabels:
    files: tuple[Path, ...] = ()


@pytest.fixture
def memory_recording():
    def make(signals, seconds=3600.0, name="r1", person="p1"):
        montage = {label: Derivation(label) for label in signals}
        return Recording("toy", name, person, MemoryFile(signals, seconds), NoLabels(), montage)

    return make


@pytest.fixture
def unreadable():
    return RecordingError("r1", "cut off at byte 17")


@pytest.fixture
def bad_channel():
    return DataError("ECG: stored without a scale")


def ecg_of(beat_times_s: np.ndarray, seconds: float, rate_hz: float = 128.0, noise: float = 0.02) -> np.ndarray:
    """A spike of 60 ms at each beat, with noise."""
    rng = np.random.default_rng(0)
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    x = noise * rng.normal(size=len(at))
    near = beat_times_s[np.clip(np.searchsorted(beat_times_s, at), 1, len(beat_times_s) - 1)]
    before = beat_times_s[np.clip(np.searchsorted(beat_times_s, at) - 1, 0, len(beat_times_s) - 1)]
    apart = np.minimum(np.abs(at - near), np.abs(at - before))
    return x + np.exp(-0.5 * (apart / 0.012) ** 2)


@pytest.fixture(scope="session")
def ecg():
    return ecg_of
