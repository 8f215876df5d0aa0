"""What is measured: a bundle with random weights and synthetic polysomnographies in EDF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.hypnos.random_bundle import ASSUMED_RELEASED_CONFIG, SMALL_CONFIG
from hypnos_bench.signals.edf_writer import write_edf

CONFIGS = {"assumed": ASSUMED_RELEASED_CONFIG, "small": SMALL_CONFIG}

# Label, native rate, unit, amplitude, slowest and fastest rhythm in Hz.
_CHANNELS = (
    ("C3-M2", 256, "uV", 30.0, 0.7, 16.0),
    ("C4-M1", 256, "uV", 30.0, 0.7, 16.0),
    ("E1-M2", 256, "uV", 50.0, 0.3, 10.0),
    ("E2-M1", 256, "uV", 50.0, 0.3, 10.0),
    ("Chin1-Chin2", 256, "uV", 10.0, 12.0, 40.0),
    ("ECG", 256, "uV", 500.0, 0.8, 8.0),
    ("ABD", 32, "uV", 200.0, 0.15, 0.5),
    ("THX", 32, "uV", 200.0, 0.15, 0.5),
)
_STATE_S = 7  # rhythm, strength and noise change this often


def write_synthetic_psg(path: Path, seconds: int, *, seed: int = 0) -> Path:
    """Write a made-up polysomnography of eight channels at native rates; an annotation says that it is synthetic.

    Parameters
    ----------
    path : Path
    seconds : int
    seed : int
        Equal seeds give equal bytes; the first channel of a longer recording is not that of a shorter one.
    """
    random = np.random.default_rng([seed, seconds])
    channels = [
        (label, float(rate_hz), unit, amplitude * _rhythms(random, seconds, rate_hz, slow_hz, fast_hz))
        for label, rate_hz, unit, amplitude, slow_hz, fast_hz in _CHANNELS
    ]
    write_edf(path, channels, annotations=[(0.0, 0.0, "synthetic signals, no person")])
    return path


def _rhythms(
    random: np.random.Generator, seconds: int, rate_hz: int, slow_hz: float, fast_hz: float
) -> NDArray[np.float32]:
    """A rhythm in noise; both change from state to state."""
    n_states = -(-seconds // _STATE_S)

    def hold(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.repeat(values, _STATE_S * rate_hz)[: seconds * rate_hz].astype(np.float32)

    frequency_hz = slow_hz * (fast_hz / slow_hz) ** random.random(n_states)
    cycles = np.cumsum(np.repeat(frequency_hz / rate_hz, _STATE_S * rate_hz))[: seconds * rate_hz] % 1.0
    noise = random.standard_normal(seconds * rate_hz, dtype=np.float32)
    rhythm = np.sin(2 * np.pi * cycles).astype(np.float32)
    return hold(0.3 + random.random(n_states)) * rhythm + hold(0.1 + 0.6 * random.random(n_states)) * noise
