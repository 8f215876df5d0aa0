"""The heart: beat times with respiratory sinus arrhythmia or atrial fibrillation, and the waves of each beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.simulator.hypnogram import Hypnogram
from hypnos_bench.cohorts.simulator.person import Person
from hypnos_bench.cohorts.simulator.processes import CONTROL_HZ, Array, slow_fluctuation, smooth, stream, to_rate

ECG_HZ = 128

# Centre (s after the R peak), width (s) and height (share of R) of the waves of one beat at rest.
_WAVES = {
    "P": (-0.17, 0.022, 0.11),
    "Q": (-0.032, 0.009, -0.11),
    "R": (0.0, 0.011, 1.0),
    "S": (0.034, 0.011, -0.22),
    "T": (0.27, 0.045, 0.0),  # the height is the person's
}
_BEFORE_S, _AFTER_S = 0.26, 0.46


@dataclass(frozen=True)
class Heart:
    """ECG in millivolt at 128 Hz, times of R peaks in seconds, which of them are ectopic, and heart rate at 1 Hz."""

    ecg: Array
    beats_s: NDArray[np.float64]
    ectopic: NDArray[np.bool_]
    rate_per_min: Array


def heart(seed: int, person: Person, night: Hypnogram, aroused: Array, breath_phase: Array) -> Heart:
    """Make the ECG of one night.

    Parameters
    ----------
    seed : int
    person : Person
    night : Hypnogram
    aroused : ndarray
        Control series of arousal, 0..1: the heart quickens some seconds later.
    breath_phase : ndarray
        Control series of the breath's phase in radians, for sinus arrhythmia.
    """
    rng = stream(seed, person.number, person.visit, "heart")
    n_control = len(night.weights)
    rate = person.heart_per_min * night.of_stage(1.10, 1.03, 1.0, 0.98, 1.06)
    rate = rate * np.exp(0.035 * slow_fluctuation(rng, n_control, 120.0))
    rate = rate + 9.0 * smooth(np.roll(aroused, 3 * CONTROL_HZ), 8.0)
    if person.af:
        beats_s = _fibrillating_beats(rng, rate * 1.15, night.duration_s)
    else:
        interval_s = 60 / rate
        # Sinus arrhythmia is strongest in deep sleep; slower waves (0.1 Hz) in REM and awake.
        interval_s += person.rsa_s * night.of_stage(0.6, 0.9, 1.0, 1.2, 0.6) * np.sin(breath_phase)
        interval_s += night.of_stage(0.022, 0.016, 0.012, 0.006, 0.022) * slow_fluctuation(rng, n_control, 4.0)
        beats_s = _beats(1 / np.clip(interval_s, 0.35, 2.0), night.duration_s)
    beats_s, ectopic = _make_ectopic(rng, beats_s, person.ectopic_per_h)
    n = night.duration_s * ECG_HZ
    ecg = person.qrs_mv * _draw_waves(beats_s, ectopic, person, n)
    if person.af:
        ecg += _fibrillation_waves(rng, n_control)
    heart_rate = np.interp(np.arange(night.duration_s), beats_s[1:], 60 / np.diff(beats_s))
    return Heart(ecg, beats_s, ectopic, np.round(smooth(heart_rate, 5.0, 1.0)))


def _beats(rate_hz: NDArray[np.floating], duration_s: int) -> NDArray[np.float64]:
    """Times at which the integral of the rate passes whole numbers."""
    grid = np.arange(len(rate_hz)) / CONTROL_HZ
    passed = np.cumsum(rate_hz, dtype=np.float64) / CONTROL_HZ
    beats = np.interp(np.arange(1, int(passed[-1])), passed, grid)
    return np.asarray(beats[beats < duration_s - 1])


def _fibrillating_beats(rng: np.random.Generator, rate_per_min: Array, duration_s: int) -> NDArray[np.float64]:
    """Beats whose intervals are independent of one another: the irregular irregularity of the fibrillating heart."""
    mean_s = float(60 / rate_per_min.mean())
    beats = np.cumsum(0.32 + rng.gamma(5.0, (mean_s - 0.32) / 5.0, int(1.5 * duration_s / mean_s)))
    # Bend time so that the mean rate follows the stages.
    grid = np.arange(len(rate_per_min)) / CONTROL_HZ
    bent = np.cumsum(rate_per_min / rate_per_min.mean(), dtype=np.float64) / CONTROL_HZ
    beats = np.interp(beats[beats < bent[-1]], bent, grid)
    return np.asarray(beats[beats < duration_s - 1])


def _make_ectopic(
    rng: np.random.Generator, beats_s: NDArray[np.float64], per_h: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Bring some beats forward by a third of their interval; the next one stays, which is the compensatory pause."""
    interval_s = np.diff(beats_s, prepend=0.0)
    ectopic = rng.random(len(beats_s)) < per_h / 3600 * interval_s
    ectopic[1:] &= ~ectopic[:-1]
    ectopic[0] = False
    return beats_s - np.where(ectopic, 0.35 * interval_s, 0.0), ectopic


def _draw_waves(beats_s: NDArray[np.float64], ectopic: NDArray[np.bool_], person: Person, n: int) -> Array:
    """Sum of Gaussian waves around each beat; R is 1 high."""
    first = np.ceil((beats_s - _BEFORE_S) * ECG_HZ).astype(np.int64)
    index = first[:, None] + np.arange(round((_BEFORE_S + _AFTER_S) * ECG_HZ))
    t = (index / ECG_HZ - beats_s[:, None]).astype(np.float32)
    # QT grows with the square root of the interval (Bazett).
    stretch = np.sqrt(np.clip(np.diff(beats_s, prepend=beats_s[0] - 1.0), 0.4, 1.5)).astype(np.float32)[:, None]
    value = np.zeros_like(t)
    for name, (centre_s, width_s, height) in _WAVES.items():
        if name == "P" and person.af:
            continue
        wide = np.where(ectopic, 2.8, 1.0).astype(np.float32)[:, None]
        size = np.full((len(ectopic), 1), person.t_ratio if name == "T" else height)
        if name == "T":
            size[ectopic] *= -1.5
        elif name == "P":
            size[ectopic] = 0.0
        middle = centre_s * stretch if name == "T" else centre_s * wide
        width = width_s * (1.0 if name in "PT" else wide)
        value += np.asarray(size * np.exp(-0.5 * ((t - middle) / width) ** 2), np.float32)
    ecg = np.zeros(n, np.float32)
    inside = (index >= 0) & (index < n)
    np.add.at(ecg, index[inside], value[inside])
    return ecg


def _fibrillation_waves(rng: np.random.Generator, n_control: int) -> Array:
    """Waves of 4 to 9 Hz in place of P, wandering in frequency and size."""
    frequency = np.clip(rng.uniform(5.0, 7.5) + 0.6 * slow_fluctuation(rng, n_control, 3.0), 4, 9)
    size_mv = rng.uniform(0.04, 0.10) * np.exp(0.4 * slow_fluctuation(rng, n_control, 4.0))
    phase = 2 * np.pi * np.cumsum(to_rate(frequency, ECG_HZ), dtype=np.float64) / ECG_HZ
    return to_rate(size_mv, ECG_HZ) * np.cos(phase).astype(np.float32)
