"""Brain potentials: a 1/f background, rhythms of the stages, spindles, K-complexes, vertex and sawtooth waves.

Potentials are against a point far away. A file holds differences to the frontal pole (Fpz), so that
only a subtraction of the mastoid gives the derivation that scorers look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hypnos_bench.cohorts.simulator.hypnogram import Hypnogram
from hypnos_bench.cohorts.simulator.person import EEG_BANDS, Person
from hypnos_bench.cohorts.simulator.processes import (
    Array,
    add_bursts,
    band,
    coloured_noise,
    event_times,
    power_law,
    slow_fluctuation,
    smooth,
    stream,
    to_rate,
)

EEG_HZ = 128

# Amplitude in microvolt (root mean square) at the vertex for W N1 N2 N3 R, rows as in EEG_BANDS.
_AMPLITUDE_UV = np.array(
    [
        [7.0, 7.0, 8.0, 8.5, 6.5],
        [2.5, 4.0, 11.0, 25.0, 4.5],
        [2.2, 4.8, 4.5, 4.0, 4.6],
        [8.5, 2.2, 1.3, 0.9, 1.5],
        [3.0, 2.1, 1.4, 0.9, 1.7],
    ],
    np.float32,
)
# How much of a rhythm at the vertex is seen at the frontal pole and at the ears.
_AT_FRONT = dict(zip(EEG_BANDS, (0.7, 1.05, 0.6, 0.45, 0.9), strict=True))
_AT_EARS = dict(zip(EEG_BANDS, (0.25, 0.20, 0.25, 0.30, 0.25), strict=True))
# Coherence length: stages mix within minutes, so that light N2 looks like N1 and deep N2 like N3.
_MEMORY_S, _MEMORY_SHARE = 180.0, 0.30


@dataclass(frozen=True)
class Brain:
    """Potentials in microvolt at 128 Hz at the two central places, the frontal pole and (alike) both ears."""

    c3: Array
    c4: Array
    front: Array
    ears: Array


def brain_waves(seed: int, person: Person, night: Hypnogram, aroused: Array, eyes_open: Array) -> Brain:
    """Make the potentials of one night.

    Parameters
    ----------
    seed : int
    person : Person
    night : Hypnogram
    aroused, eyes_open : ndarray
        Control series, 0..1.
    """
    rng = stream(seed, person.number, person.visit, "eeg")
    n_control, n = len(night.weights), night.duration_s * EEG_HZ
    mixed = (1 - _MEMORY_SHARE) * night.weights + _MEMORY_SHARE * smooth(night.weights, _MEMORY_S)
    levels = dict(zip(EEG_BANDS, (mixed @ (_AMPLITUDE_UV * person.band_gain).T).T, strict=True))
    quiet = 1 - aroused
    # Slow waves come and go every half minute (the cyclic alternating pattern).
    levels["delta"] = levels["delta"] * quiet * np.exp(0.30 * slow_fluctuation(rng, n_control, 12.0) - 0.05)
    levels["alpha"] = levels["alpha"] * np.where(eyes_open > 0.5, 0.35, 1.2) + 5.0 * aroused
    levels["beta"] = levels["beta"] + 3.5 * aroused
    shapes = {
        "background": power_law(person.slope, 0.7, 45.0),
        "delta": band(1.1, 0.5),
        "theta": band(5.6, 0.9),
        "alpha": band(person.alpha_hz, 0.45),
        "beta": band(21.0, 4.0),
    }
    centre: Array = np.zeros(n, np.float32)
    front: Array = np.zeros(n, np.float32)
    ears: Array = np.zeros(n, np.float32)
    for name, shape in shapes.items():
        drift = np.exp(0.18 * slow_fluctuation(rng, n_control, 90.0))
        wave = coloured_noise(rng, n, EEG_HZ, shape) * to_rate(levels[name] * drift, EEG_HZ)
        centre += wave
        front += np.float32(_AT_FRONT[name]) * wave
        ears += np.float32(_AT_EARS[name]) * wave
    grapho = np.zeros(n, np.float32)
    _add_spindles(rng, person, night, grapho)
    _add_k_complexes(rng, person, night, grapho)
    _add_vertex_waves(rng, night, grapho)
    _add_sawtooth_waves(rng, night, grapho)
    front += np.float32(0.45) * grapho
    local_uv = to_rate(0.55 * levels["background"] + 0.30 * levels["delta"], EEG_HZ)
    nearby: list[Array] = [local_uv * coloured_noise(rng, n, EEG_HZ, shapes["background"]) for _ in range(3)]
    tilt = float(rng.normal(0, 0.08))  # spindles are rarely equal on both sides
    c3: Array = centre + np.float32(1 + tilt) * grapho + nearby[0]
    c4: Array = centre + np.float32(1 - tilt) * grapho + nearby[1]
    front += np.float32(0.8) * nearby[2]
    return Brain(c3, c4, front, ears)


def _seconds(length_s: float) -> Array:
    return np.arange(max(2, round(length_s * EEG_HZ)), dtype=np.float32) / np.float32(EEG_HZ)


def _add_spindles(rng: np.random.Generator, person: Person, night: Hypnogram, out: Array) -> None:
    times = event_times(rng, night.of_stage(0, 0.05, 1.0, 0.35, 0) * person.spindles_per_min / 60)
    bursts = []
    for _ in times:
        t = _seconds(rng.uniform(0.5, 1.6))
        frequency = person.spindle_hz + rng.normal(0, 0.35)
        amplitude = person.spindle_uv * np.exp(rng.normal(0, 0.35))
        bursts.append((amplitude * np.hanning(len(t)) * np.sin(2 * np.pi * frequency * t)).astype(np.float32))
    add_bursts(out, EEG_HZ, times, bursts)


def _add_k_complexes(rng: np.random.Generator, person: Person, night: Hypnogram, out: Array) -> None:
    times = event_times(rng, night.of_stage(0, 0.03, 1.0, 0.3, 0) * person.k_per_min / 60)
    t = _seconds(1.2)
    shape = -np.exp(-0.5 * ((t - 0.30) / 0.07) ** 2) + 0.75 * np.exp(-0.5 * ((t - 0.62) / 0.16) ** 2)
    sizes = person.band_gain[1, 2] * 70 * np.exp(rng.normal(0, 0.3, len(times)))
    add_bursts(out, EEG_HZ, times, [(size * shape).astype(np.float32) for size in sizes])


def _add_vertex_waves(rng: np.random.Generator, night: Hypnogram, out: Array) -> None:
    times = event_times(rng, night.of_stage(0, 1.5, 0.1, 0, 0) / 60)
    t = _seconds(0.4)
    shape = -np.exp(-0.5 * ((t - 0.15) / 0.04) ** 2) + 0.3 * np.exp(-0.5 * ((t - 0.28) / 0.05) ** 2)
    sizes = 55 * np.exp(rng.normal(0, 0.3, len(times)))
    add_bursts(out, EEG_HZ, times, [(size * shape).astype(np.float32) for size in sizes])


def _add_sawtooth_waves(rng: np.random.Generator, night: Hypnogram, out: Array) -> None:
    times = event_times(rng, night.of_stage(0, 0, 0, 0, 0.7) / 60)
    bursts = []
    for _ in times:
        t = _seconds(rng.uniform(2.0, 5.0))
        teeth = 1 - 2 * ((rng.uniform(2.2, 4.0) * t) % 1)
        bursts.append((rng.uniform(10, 20) * np.hanning(len(t)) * teeth).astype(np.float32))
    add_bursts(out, EEG_HZ, times, bursts)
