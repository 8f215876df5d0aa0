"""One whole night: the parts put together, and written as channels against Fpz with the events that were scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.simulator.breathing import (
    BELT_HZ,
    Breathing,
    RespiratoryEvent,
    breathe,
    desaturation_times,
    draw_respiratory_events,
    movement,
)
from hypnos_bench.cohorts.simulator.ecg import ECG_HZ, Heart, heart
from hypnos_bench.cohorts.simulator.eeg import EEG_HZ, Brain, brain_waves
from hypnos_bench.cohorts.simulator.eog_emg import Eyes, chin_muscle, draw_eyes_open, eye_movements
from hypnos_bench.cohorts.simulator.hypnogram import Hypnogram, draw_hypnogram
from hypnos_bench.cohorts.simulator.person import Person
from hypnos_bench.cohorts.simulator.processes import (
    Array,
    add_bursts,
    boxes,
    event_times,
    slow_fluctuation,
    stream,
    to_rate,
)

MAINS_HZ = 60.0
SCORED_DESATURATION_PERCENT = 3.0

CHANNEL_RATES_HZ = {
    **dict.fromkeys(("C3", "C4", "A1", "A2", "LOC", "ROC", "L Chin", "R Chin"), EEG_HZ),
    **dict.fromkeys(("ECG L", "ECG R"), ECG_HZ),
    **dict.fromkeys(("Airflow", "Thoracic", "Abdominal"), BELT_HZ),
    **dict.fromkeys(("SaO2", "HR"), 1),
}
"""Channels by their MrOS visit 1 labels, in file order."""


@dataclass(frozen=True)
class Plan:
    """What happens in a night, without its signals: cheap, so tables can be made from it."""

    person: Person
    hypnogram: Hypnogram
    respiratory: tuple[RespiratoryEvent, ...]
    arousals: tuple[tuple[float, float], ...]  # (start_s, stop_s)

    def events(self) -> list[Event]:
        """Scored events in time order: breathing, desaturations of at least 3 %, arousals."""
        found = [Event(e.kind, e.start_s, e.duration_s) for e in self.respiratory]
        for e in self.respiratory:
            if e.desaturation_percent >= SCORED_DESATURATION_PERCENT:
                start_s, _, stop_s = desaturation_times(e, self.person.circulation_s)
                found.append(Event("desaturation", round(start_s, 1), round(stop_s - start_s, 1)))
        found += [Event("arousal", round(a, 1), round(b - a, 1)) for a, b in self.arousals]
        return sorted(found, key=lambda e: (e.start_s, e.kind))

    def sleep_h(self) -> float:
        """Hours of sleep as scored."""
        return float((self.hypnogram.scored > 0).sum()) / 120

    def ahi(self, percent: float, or_arousal: bool = False) -> float:
        """All apneas, and hypopneas with a desaturation of `percent` (or an arousal), per hour of sleep."""
        counted = [
            e
            for e in self.respiratory
            if e.kind != "hypopnea" or e.desaturation_percent >= percent or (or_arousal and e.arousal_s is not None)
        ]
        return len(counted) / max(self.sleep_h(), 0.1)


@dataclass(frozen=True)
class Channel:
    """One channel as it goes to the file."""

    label: str
    rate_hz: int
    unit: str
    values: Array


def plan_night(seed: int, person: Person, n_cycles: int, cycle_min: float) -> Plan:
    """Draw the course of a night."""
    night = draw_hypnogram(stream(seed, person.number, person.visit, "hypnogram"), person, n_cycles, cycle_min)
    respiratory = draw_respiratory_events(stream(seed, person.number, person.visit, "events"), person, night)
    rng = stream(seed, person.number, person.visit, "arousals")
    arousals = [(e.stop_s - 1.0, e.stop_s - 1.0 + e.arousal_s) for e in respiratory if e.arousal_s is not None]
    for start_s in event_times(rng, night.of_stage(0, 1.5, 1.0, 0.4, 1.0) * person.arousals_per_h / 3600):
        stop_s = start_s + float(np.clip(rng.gamma(3, 2.5), 3, 14))
        clear = all(stop_s + 10 < a or start_s > b + 10 for a, b in arousals)
        if clear and stop_s < night.duration_s:
            arousals.append((float(start_s), stop_s))
    return Plan(person, night, tuple(respiratory), tuple(sorted(arousals)))


def simulate(seed: int, plan: Plan, labels: Mapping[str, str]) -> list[Channel]:
    """Make all channels of a planned night.

    Parameters
    ----------
    seed : int
    plan : Plan
    labels : mapping of str to str
        Channel names as in MrOS visit 1 (``"ECG L"``) to the labels the file uses.
    """
    person, night = plan.person, plan.hypnogram
    rng = stream(seed, person.number, person.visit, "night")
    aroused = boxes(plan.arousals, len(night.weights))
    restless = movement(night, rng, list(plan.arousals))
    eyes_open = draw_eyes_open(rng, night)
    brain = brain_waves(seed, person, night, aroused, eyes_open)
    eyes = eye_movements(seed, person, night, eyes_open)
    muscle = chin_muscle(seed, person, night, aroused, restless)
    breathing = breathe(seed, person, night, list(plan.respiratory), restless)
    beats = heart(seed, person, night, aroused, breathing.phase)
    head = _head_channels(rng, person, brain, eyes, beats, restless)
    bipolar = _bipolar_channels(rng, person, muscle, beats, restless)
    signals = {**head, **bipolar, **_slow_channels(breathing, beats)}
    return [Channel(labels.get(name, name), rate_hz, *signals[name]) for name, rate_hz in CHANNEL_RATES_HZ.items()]


def _head_channels(
    rng: np.random.Generator, person: Person, brain: Brain, eyes: Eyes, beats: Heart, restless: Array
) -> dict[str, tuple[str, Array]]:
    """Electrodes of the head against Fpz. What Fpz sees is in all of them, and leaves by subtraction."""
    n, n_control = len(brain.c3), len(restless)
    heart_uv = beats.ecg * np.float32(person.ecg_in_ears_uv / person.qrs_mv)
    fpz = brain.front + eyes.lids
    eye_eeg = np.float32(0.65) * brain.front
    potentials = {
        "C3": brain.c3,
        "C4": brain.c4,
        "A1": brain.ears + heart_uv,
        "A2": brain.ears - heart_uv,
        # The left electrode sits below its eye and the right one above: blinks go opposite ways too.
        "LOC": eye_eeg + np.float32(0.5) * eyes.horizontal - np.float32(0.4) * eyes.lids,
        "ROC": eye_eeg - np.float32(0.5) * eyes.horizontal + np.float32(0.7) * eyes.lids,
    }
    hum = _mains(rng, n, n_control)
    sway = to_rate(restless * 40 * slow_fluctuation(rng, n_control, 0.6), EEG_HZ)
    sweat = to_rate(person.sweat_uv * slow_fluctuation(rng, n_control, 1.2) * _bouts(rng, n_control), EEG_HZ)
    channels = {}
    for name, potential in potentials.items():
        touch = np.float32(np.exp(rng.normal(0, 0.35)))  # of this electrode with the skin
        values = potential - fpz + np.float32(person.mains_uv) * touch * hum
        values += np.float32(person.electrode_noise_uv) * touch * rng.standard_normal(n, np.float32)
        values += touch * (sway + np.float32(rng.normal(0, 0.5)) * sweat)
        pops = event_times(rng, np.full(n_control, 1.5 / 3600))
        t = np.arange(2 * EEG_HZ) / EEG_HZ
        sizes = rng.choice([-1, 1], len(pops)) * rng.uniform(80, 300, len(pops))
        add_bursts(values, EEG_HZ, pops, [(size * np.exp(-t / 0.3)).astype(np.float32) for size in sizes])
        channels[name] = ("uV", values)
    return channels


def _bipolar_channels(
    rng: np.random.Generator, person: Person, muscle: Array, beats: Heart, restless: Array
) -> dict[str, tuple[str, Array]]:
    """Chin and chest electrodes: the pair differs by the signal and shares hum, heart and sway."""
    n, n_control = len(muscle), len(restless)
    hum = np.float32(person.mains_uv) * _mains(rng, n, n_control)
    in_chin = hum + np.float32(2.0 / person.qrs_mv) * beats.ecg
    sway_mv = to_rate(0.06 * slow_fluctuation(rng, n_control, 2.5) * (1 + 5 * restless), ECG_HZ)
    in_chest = sway_mv + np.float32(2e-3) * hum
    noise = np.float32(0.012) * rng.standard_normal(n, np.float32)
    muscle_mv = to_rate(restless, ECG_HZ) * np.float32(0.10) * rng.standard_normal(n, np.float32)
    ecg = beats.ecg + noise + muscle_mv + np.float32(0.4) * sway_mv
    return {
        "ECG L": ("mV", np.float32(0.6) * ecg + in_chest),
        "ECG R": ("mV", np.float32(-0.4) * ecg + in_chest),
        "L Chin": ("uV", np.float32(0.5) * muscle + in_chin),
        "R Chin": ("uV", np.float32(-0.5) * muscle + np.float32(0.9) * in_chin),
    }


def _slow_channels(breathing: Breathing, beats: Heart) -> dict[str, tuple[str, Array]]:
    return {
        "Airflow": ("", breathing.flow),
        "Thoracic": ("", breathing.thorax),
        "Abdominal": ("", breathing.abdomen),
        "SaO2": ("%", breathing.saturation),
        "HR": ("BPM", beats.rate_per_min),
    }


def _mains(rng: np.random.Generator, n: int, n_control: int) -> Array:
    """Mains hum of unit amplitude that waxes and wanes over minutes, as people move in the field."""
    size = to_rate(np.exp(0.4 * slow_fluctuation(rng, n_control, 120.0)), EEG_HZ)
    period = np.cos(2 * np.pi * MAINS_HZ / EEG_HZ * np.arange(32) + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    return size * np.resize(period, n)  # 15 periods of 60 Hz are 32 samples at 128 Hz


def _bouts(rng: np.random.Generator, n_control: int) -> Array:
    return (slow_fluctuation(rng, n_control, 400.0) > 0.4).astype(np.float32)
