"""Eyes and chin: blinks, saccades, slow rolling and rapid eye movements; muscle tone that fails in REM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hypnos_bench.cohorts.simulator.eeg import EEG_HZ
from hypnos_bench.cohorts.simulator.hypnogram import Hypnogram
from hypnos_bench.cohorts.simulator.person import Person
from hypnos_bench.cohorts.simulator.processes import (
    CONTROL_HZ,
    Array,
    add_bursts,
    band,
    boxes,
    coloured_noise,
    event_times,
    slow_fluctuation,
    stream,
    to_rate,
)


@dataclass(frozen=True)
class Eyes:
    """Eye potentials in microvolt at 128 Hz: `horizontal` is left minus right, `lids` is the blink at the forehead."""

    horizontal: Array
    lids: Array


def draw_eyes_open(rng: np.random.Generator, night: Hypnogram) -> Array:
    """Control series that is 1 while a person who is awake has the eyes open."""
    n = len(night.weights)
    wants = slow_fluctuation(rng, n, 60.0) > 0.1
    return (wants & (night.weights[:, 0] > 0.5)).astype(np.float32)


def eye_movements(seed: int, person: Person, night: Hypnogram, eyes_open: Array) -> Eyes:
    """Make both eye potentials of one night."""
    from scipy.signal import lfilter

    rng = stream(seed, person.number, person.visit, "eyes")
    n_control, n = len(night.weights), night.duration_s * EEG_HZ
    # REM alternates between phasic stretches, where nearly all movements fall, and tonic ones.
    phasic = np.where(slow_fluctuation(rng, n_control, 20.0) > 0.5, 2.8, 0.2)
    rapid = night.weights[:, 4] * phasic * person.rapid_eye_per_min / 60
    looking = eyes_open * 20 / 60 + night.weights[:, 0] * 2 / 60
    times = event_times(rng, rapid + looking)
    jumps = np.zeros(n, np.float32)
    sizes = rng.choice([-1.0, 1.0], len(times)) * np.clip(rng.gamma(3, 22, len(times)), 15, 180)
    np.add.at(jumps, np.minimum((times * EEG_HZ).astype(int), n - 1), sizes.astype(np.float32))
    # A jump of the eye through an AC amplifier: up within 40 ms, back with 0.6 s.
    slow, fast = np.exp(-1 / (0.6 * EEG_HZ)), np.exp(-1 / (0.02 * EEG_HZ))
    saccades = np.asarray(lfilter([0.0, slow - fast], [1.0, -(slow + fast), slow * fast], jumps), np.float32)
    saccades *= np.float32(1 / (slow - fast))
    # Drowsy people roll their eyes before they sleep, and not all of N1 has it.
    rolls = np.where(slow_fluctuation(rng, n_control, 25.0) > 0.3, 1.5, 0.25)
    rolling_uv = night.of_stage(12, 34, 6, 1, 5) * rolls * np.exp(0.3 * slow_fluctuation(rng, n_control, 15.0))
    rolling = coloured_noise(rng, n, EEG_HZ, band(0.28, 0.07)) * to_rate(rolling_uv, EEG_HZ)
    lids = np.zeros(n, np.float32)
    blinks = event_times(rng, (eyes_open + 0.03 * night.weights[:, 0]) * person.blinks_per_min / 60)
    shape = np.hanning(round(0.36 * EEG_HZ)) ** 2
    heights = 130 * np.exp(rng.normal(0, 0.25, len(blinks)))
    add_bursts(lids, EEG_HZ, blinks, [(height * shape).astype(np.float32) for height in heights])
    gain = np.float32(person.eog_gain)
    return Eyes(gain * (saccades + rolling), gain * lids)


def chin_muscle(seed: int, person: Person, night: Hypnogram, aroused: Array, restless: Array) -> Array:
    """Chin EMG in microvolt at 128 Hz: noise whose strength is the muscle's tone."""
    rng = stream(seed, person.number, person.visit, "chin")
    n_control = len(night.weights)
    tone = night.of_stage(1.0, 0.62, 0.46, 0.40, person.atonia * 0.9)
    tone = tone * np.exp(0.35 * slow_fluctuation(rng, n_control, 40.0) + 0.15 * slow_fluctuation(rng, n_control, 3.0))
    twitches = event_times(rng, night.of_stage(0.5, 0.5, 0.05, 0, 2.5) / 60)
    jerks = boxes([(t, t + 0.5) for t in twitches], n_control, ramp_s=2 / CONTROL_HZ)
    tone += 0.9 * aroused + 2.0 * restless + 0.8 * jerks
    strength_uv = np.hypot(person.emg_uv * tone, person.emg_floor_uv).astype(np.float32)
    shape = coloured_noise(rng, night.duration_s * EEG_HZ, EEG_HZ, lambda f: f**2 / (f**2 + 18.0**2))
    return shape * to_rate(strength_uv, EEG_HZ)
