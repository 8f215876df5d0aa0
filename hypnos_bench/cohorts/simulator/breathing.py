"""Breathing: belts and airflow, apneas and hypopneas, and the oxygen saturation that follows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hypnos_bench.cohorts.simulator.hypnogram import Hypnogram
from hypnos_bench.cohorts.simulator.person import Person
from hypnos_bench.cohorts.simulator.processes import (
    CONTROL_HZ,
    Array,
    boxes,
    slow_fluctuation,
    smooth,
    stream,
    to_rate,
)

BELT_HZ = 16
_STAGE_RISK = (0.0, 1.2, 1.0, 0.35, 1.6)  # W N1 N2 N3 R; airways collapse most in REM
_SHORTEST_GAP_S = 14.0


@dataclass(frozen=True)
class RespiratoryEvent:
    """One apnea or hypopnea, its terminal arousal (``None`` when it ended without) and its desaturation."""

    kind: str
    start_s: float
    duration_s: float
    arousal_s: float | None  # duration of the arousal
    desaturation_percent: float

    @property
    def stop_s(self) -> float:
        """When breathing resumes, in seconds from the start of the recording."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Breathing:
    """Channels of one night: belts and flow at 16 Hz in arbitrary units around 1, saturation at 1 Hz in percent."""

    thorax: Array
    abdomen: Array
    flow: Array
    saturation: Array
    phase: Array  # of the breath, radians, at the control rate


def draw_respiratory_events(rng: np.random.Generator, person: Person, night: Hypnogram) -> list[RespiratoryEvent]:
    """Walk through the night and draw events so that their number per hour of sleep is about the person's AHI."""
    sleep = 1 - night.weights[:, 0]
    risk = night.of_stage(*_STAGE_RISK)
    # One mean risk over sleep: the person's AHI is an average over all stages.
    hazard_per_s = person.ahi_per_h / 3600 * risk / max(float((risk * sleep).sum() / sleep.sum()), 1e-6)
    central_share = 0.35 if person.number % 9 == 4 else 0.06  # some people breathe unevenly for reasons of the heart
    events: list[RespiratoryEvent] = []
    # Time is stretched by the hazard: between events the stretched gaps are exponential.
    passed_s, due = 20.0, rng.exponential()
    cumulative = np.cumsum(hazard_per_s) / CONTROL_HZ
    while True:
        start_index = round(passed_s * CONTROL_HZ)
        if start_index >= len(cumulative):
            return events
        hit = int(np.searchsorted(cumulative, cumulative[start_index] + due))
        if hit >= len(cumulative):
            return events
        event = _draw_event(rng, person, hit / CONTROL_HZ, central_share)
        if event.stop_s + 45 > night.duration_s:
            return events
        if sleep[min(hit + round(event.duration_s * CONTROL_HZ), len(sleep) - 1)] > 0.5 and sleep[hit] > 0.5:
            events.append(event)
        passed_s = event.stop_s + _SHORTEST_GAP_S
        # The time an event takes is lost to further ones; the gap makes up for it.
        lost = event.duration_s + _SHORTEST_GAP_S
        due = max(0.0, rng.exponential() - lost * float(hazard_per_s[hit]))


def _draw_event(rng: np.random.Generator, person: Person, start_s: float, central_share: float) -> RespiratoryEvent:
    apnea = rng.random() < min(0.15 + 0.012 * person.ahi_per_h, 0.7)
    kind = "hypopnea"
    if apnea:
        kind = str(rng.choice(["central-apnea", "mixed-apnea", "obstructive-apnea"], p=_kinds(central_share)))
    duration_s = float(np.clip(10 + rng.gamma(2.2, 5.5), 10, 60))
    depth = (3.2 if apnea else 2.2) * (duration_s / 20) * person.desaturation_gain * np.exp(rng.normal(0, 0.35))
    arousal = float(np.clip(rng.gamma(3, 2.5), 3, 14)) if rng.random() < (0.75 if apnea else 0.55) else None
    return RespiratoryEvent(kind, round(start_s, 1), round(duration_s, 1), arousal, float(min(depth, 25)))


def _kinds(central_share: float) -> tuple[float, float, float]:
    return central_share, 0.06, 0.94 - central_share


def breathe(seed: int, person: Person, night: Hypnogram, events: list[RespiratoryEvent], restless: Array) -> Breathing:
    """Make the respiratory channels.

    Parameters
    ----------
    seed : int
    person : Person
    night : Hypnogram
    events : list of RespiratoryEvent
    restless : ndarray
        Control series of movement, 0..1: belts shift and shake with it.
    """
    rng = stream(seed, person.number, person.visit, "breathing")
    n = len(night.weights)
    wander = night.of_stage(0.16, 0.10, 0.06, 0.03, 0.17) * slow_fluctuation(rng, n, 6.0)
    rate_hz = person.breaths_per_min / 60 * night.of_stage(1.06, 1.02, 1.0, 0.98, 1.08) * np.exp(wander)
    phase = 2 * np.pi * np.cumsum(rate_hz, dtype=np.float64) / CONTROL_HZ
    depth = night.of_stage(1.0, 0.85, 0.9, 1.0, 0.72)
    depth = depth * np.exp(night.of_stage(0.30, 0.22, 0.10, 0.05, 0.38) * slow_fluctuation(rng, n, 9.0))
    flow, effort, paradox = _obstruct(rng, n, events)
    angle = to_rate(phase, BELT_HZ)
    lag = to_rate(0.25 + paradox * 2.4, BELT_HZ)
    thorax = _breath(angle) * to_rate(depth * effort, BELT_HZ)
    abdomen = _breath(angle - lag) * to_rate(depth * effort, BELT_HZ)
    airflow = np.cos(angle) * to_rate(depth * flow, BELT_HZ)
    shaking = to_rate(restless, BELT_HZ)
    belts = [
        _worn(rng, gain * values, shaking, restless)
        for values, gain in ((thorax, person.belt_gain[0]), (abdomen, person.belt_gain[1]), (airflow, 1.0))
    ]
    saturation = _saturate(rng, person, night, events)
    return Breathing(belts[0], belts[1], belts[2], saturation, phase.astype(np.float32))


def _worn(rng: np.random.Generator, values: Array, shaking: Array, restless: Array) -> Array:
    """A sensor on a body that moves: noise, shaking, and a new resting level after each turn."""
    noise = rng.standard_normal(len(values), np.float32) * (np.float32(0.03) + np.float32(1.2) * shaking)
    level = np.cumsum(restless * rng.standard_normal(len(restless))) * 0.03
    return np.asarray(values + noise + to_rate(level, BELT_HZ), np.float32)


def _obstruct(rng: np.random.Generator, n: int, events: list[RespiratoryEvent]) -> tuple[Array, Array, Array]:
    """Control series of flow and effort as factors, and of paradox (0 belts together, 1 opposed)."""
    flow, effort, paradox = np.ones(n, np.float32), np.ones(n, np.float32), np.zeros(n, np.float32)
    for event in events:
        span = slice(round(event.start_s * CONTROL_HZ), round(event.stop_s * CONTROL_HZ))
        length = len(flow[span])
        rise = np.linspace(0, 1, length, dtype=np.float32)
        left = float(rng.uniform(0.25, 0.6))
        if event.kind == "hypopnea":
            flow[span], effort[span], paradox[span] = left, 0.45 + 0.4 * left, 0.25
        elif event.kind == "central-apnea":
            flow[span], effort[span] = 0.03, 0.05
        else:
            central_part = rise < 0.4 if event.kind == "mixed-apnea" else np.zeros(length, bool)
            flow[span] = 0.04
            effort[span] = np.where(central_part, 0.06, 0.45 + 0.5 * rise)
            paradox[span] = np.where(central_part, 0.0, 1.0)
        after = slice(span.stop, span.stop + 10 * CONTROL_HZ)  # three or four deep breaths
        flow[after] *= 1.6
        effort[after] *= 1.5
    return smooth(flow, 1.5), smooth(effort, 1.5), smooth(paradox, 1.5)


def _breath(angle: Array) -> Array:
    """Volume over one breath: inspiration is quicker than expiration."""
    return np.asarray(np.sin(angle) + np.float32(0.22) * np.sin(2 * angle + np.float32(0.6)), np.float32)


def _saturate(rng: np.random.Generator, person: Person, night: Hypnogram, events: list[RespiratoryEvent]) -> Array:
    """Saturation at 1 Hz, whole percent as oximeters give it; each dip trails its event by the circulation time."""
    seconds = np.arange(night.duration_s, dtype=np.float32)
    level = person.oxygen_percent + 0.4 * slow_fluctuation(rng, night.duration_s, 300.0, 1.0)
    level -= 0.8 * smooth(1 - night.weights[::CONTROL_HZ, 0], 120.0, 1.0)
    for event in events:
        start_s, nadir_s, stop_s = desaturation_times(event, person.circulation_s)
        fall = np.clip((seconds - start_s) / (nadir_s - start_s), 0, 1)
        recovery = np.clip((seconds - nadir_s) / (stop_s - nadir_s), 0, 1)
        level -= event.desaturation_percent * fall * (0.5 + 0.5 * np.cos(np.pi * recovery))
    level += 0.15 * rng.standard_normal(len(level))
    return np.clip(np.round(level), 50, 100).astype(np.float32)


def desaturation_times(event: RespiratoryEvent, circulation_s: float) -> tuple[float, float, float]:
    """Start, nadir and end of the dip after an event, in seconds: blood reaches the finger a circulation time later."""
    start_s = event.start_s + 0.4 * event.duration_s + 0.5 * circulation_s
    nadir_s = event.stop_s + 0.6 * circulation_s
    return start_s, nadir_s, nadir_s + 14.0 + 0.4 * event.desaturation_percent


def movement(night: Hypnogram, rng: np.random.Generator, arousals: list[tuple[float, float]]) -> Array:
    """Control series of body movement, 0..1: some of wakefulness, a few turns in sleep, the long arousals."""
    n = len(night.weights)
    turns = np.flatnonzero(rng.random(n) < night.of_stage(1 / 90, 1 / 400, 1 / 900, 1 / 1500, 1 / 700) / CONTROL_HZ)
    spans = [(float(t), float(t) + float(rng.uniform(2, 9))) for t in turns / CONTROL_HZ]
    spans += [(start + 1, start + 1 + float(rng.uniform(1.5, 4))) for start, stop in arousals if stop - start > 9]
    return boxes(spans, n)
