"""Recordings made in memory, and one small bundle with random weights for the whole session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.signals.base import Channel, Derivation, Signal


@dataclass(frozen=True)
class MemoryFile:
    """Signals that were never on disk: label -> (rate_hz, unit, values)."""

    signals: Mapping[str, tuple[float, str, np.ndarray]] = field(default_factory=dict)
    seconds: float = 0.0
    path: Path = Path("memory.edf")
    files: tuple[Path, ...] = ()

    def channels(self):
        return tuple(Channel(label, rate, unit, len(x)) for label, (rate, unit, x) in self.signals.items())

    def duration_s(self):
        return self.seconds

    def start_clock(self):
        return None

    def repairs(self):
        return ()

    def unreadable(self):
        return {}

    def read(self, label):
        rate, unit, values = self.signals[label]
        return Signal(np.asarray(values, np.float64), rate, unit, label)


@dataclass(frozen=True)
class NoLabels:
    files: tuple[Path, ...] = ()


@pytest.fixture(scope="session")
def memory_recording():
    def make(signals, seconds, name="r1", path=Path("memory.edf")):
        montage = {label: Derivation(label) for label in signals}
        return Recording("toy", name, "p1", MemoryFile(signals, seconds, path), NoLabels(), montage)

    return make


def psg_signals(seconds, rates, seed=0):
    """Eight plausible channels: coloured EEG and EOG, noise EMG, a spiky ECG, breathing belts."""
    rng = np.random.default_rng(seed)
    signals = {}
    for channel, rate in rates.items():
        t = np.arange(int(seconds * rate)) / rate
        noise = rng.normal(size=len(t))
        if channel == "ECG":
            x = 1000 * np.maximum(0, np.cos(2 * np.pi * 1.1 * t)) ** 60 + 20 * noise
        elif channel in ("ABD", "THX"):
            x = np.sin(2 * np.pi * 0.25 * t + 0.2) + 0.05 * noise
        elif channel == "Chin":
            x = 10 * noise
        else:
            x = 20 * noise + 30 * np.sin(2 * np.pi * (2 + 0.01 * t) * t)
        signals[channel] = (float(rate), "uV", x)
    return signals


RATES = {"C3": 256, "C4": 256, "E1": 256, "E2": 256, "Chin": 256, "ECG": 256, "ABD": 32, "THX": 32}


@pytest.fixture(scope="session")
def psg():
    """Make (signals, seconds) for a recording of so many epochs."""
    return lambda epochs, rates=RATES, seed=0: psg_signals(30 * epochs, rates, seed)


@pytest.fixture(scope="session")
def untrained_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")
