"""The course of one night: a semi-Markov sequence of stages in NREM/REM cycles, and how a scorer saw it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.simulator.person import N_STAGES, Person
from hypnos_bench.cohorts.simulator.processes import CONTROL_HZ, Array, smooth
from hypnos_bench.spec import EPOCH_S

W, N1, N2, N3, R = range(5)

_EPOCHS_PER_MIN = 2
# What a tired eye takes each stage for, when it errs.
_MISTAKES = np.array(
    [
        [0.0, 0.8, 0.2, 0.0, 0.0],
        [0.3, 0.0, 0.6, 0.0, 0.1],
        [0.0, 0.4, 0.0, 0.4, 0.2],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.1, 0.4, 0.5, 0.0, 0.0],
    ]
)
# Per minute of a stage: chance to wake up, and chance to slip into N1 for a moment.
_AWAKENINGS = {N1: 0.0, N2: 1 / 16, N3: 1 / 60, R: 1 / 20}
_SLIPS = {N1: 0.0, N2: 1 / 22, N3: 0.0, R: 1 / 30}


@dataclass(frozen=True)
class Hypnogram:
    """Stages of one night.

    Parameters
    ----------
    truth, scored : ndarray of int8, shape (n_epochs,)
        Stage codes 0..4 that make the signals, and those that the scorer wrote down.
    duration_s : int
        Length of the recording; up to 29 s longer than the epochs.
    weights : ndarray, shape (duration_s * 4, 5)
        How much of each stage there is at each moment of the control grid; rows sum to 1.
        Sleep does not change on the half minute: changes lie up to 10 s off, and take some seconds.
    """

    truth: NDArray[np.int8]
    scored: NDArray[np.int8]
    duration_s: int
    weights: Array

    def of_stage(self, *per_stage: float) -> Array:
        """Control series of a quantity that has one value per stage, in the order W N1 N2 N3 R."""
        return self.weights @ np.asarray(per_stage, np.float32)


def draw_hypnogram(rng: np.random.Generator, person: Person, n_cycles: int, cycle_min: float) -> Hypnogram:
    """Draw one night of `n_cycles` cycles of about `cycle_min` minutes, between falling asleep and getting up."""
    minutes: list[tuple[int, float]] = [(W, float(np.clip(rng.gamma(4, 2.2) * person.wakefulness, 3, 25)))]
    for cycle in range(n_cycles):
        lateness = cycle / max(1, n_cycles - 1)
        minutes += _draw_cycle(rng, person, lateness, cycle_min)
    epochs = [(stage, max(1, round(length * _EPOCHS_PER_MIN))) for stage, length in minutes]
    epochs = [*_disturb(rng, person, epochs), (W, 4 + int(rng.integers(0, 10)))]
    truth = np.concatenate([np.full(count, stage, np.int8) for stage, count in epochs])
    duration_s = len(truth) * int(EPOCH_S) + int(rng.integers(0, int(EPOCH_S)))
    weights = _soften(rng, truth, duration_s)
    return Hypnogram(truth, _score(rng, truth, person.scorer_noise), duration_s, weights)


def _draw_cycle(rng: np.random.Generator, person: Person, lateness: float, cycle_min: float) -> list[tuple[int, float]]:
    """One cycle in minutes per bout: down to N3, up again, REM. Early cycles are deep, late ones have the REM."""
    total = float(np.clip(rng.normal(cycle_min, 0.10 * cycle_min), 0.75 * cycle_min, 1.3 * cycle_min))
    rem = float(np.clip((8 + 16 * lateness) * np.exp(rng.normal(0, 0.3)), 3, 0.4 * total))
    deep = float(np.clip((22 - 14 * lateness) * person.slow_wave_drive * np.exp(rng.normal(0, 0.3)), 0, 0.5 * total))
    light = float(np.clip(rng.gamma(3, 0.9) * (1 + person.ahi_per_h / 40), 1, 8))
    spindle = max(total - rem - deep - light, 6.0)  # N2
    bouts = [(N1, light)]
    if deep < 2:  # old men often have a first cycle without N3
        return [*bouts, (N2, spindle + deep), (R, rem)]
    pieces = 1 + int(rng.integers(0, 3)) if deep > 8 else 1
    down, up = 0.35 * spindle, 0.40 * spindle
    between = (spindle - down - up) / pieces
    bouts.append((N2, down))
    for share in rng.dirichlet(np.full(pieces, 4.0)):
        bouts += [(N3, share * deep), (N2, between)]
    stage, length = bouts.pop()
    return [*bouts, (stage, length + up), (R, rem)]


def _disturb(rng: np.random.Generator, person: Person, epochs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Break bouts by awakenings (with N1 on the way back) and by slips into N1; apnea makes both likelier."""
    fragile = 1 + person.ahi_per_h / 50
    out: list[tuple[int, int]] = []
    for stage, count in epochs:
        wake = _AWAKENINGS.get(stage, 0.0) * person.wakefulness * fragile / _EPOCHS_PER_MIN
        slip = _SLIPS.get(stage, 0.0) * fragile / _EPOCHS_PER_MIN
        run = 0
        for _ in range(count):
            chance = rng.random()
            if run and chance < wake:
                out += [(stage, run), (W, int(rng.geometric(0.3))), (N1, int(rng.integers(1, 4)))]
                run = 0
            elif run and chance < wake + slip:
                out += [(stage, run), (N1, int(rng.integers(1, 3)))]
                run = 0
            run += 1
        out.append((stage, run))
    return out


def _soften(rng: np.random.Generator, truth: NDArray[np.int8], duration_s: int) -> Array:
    n = duration_s * CONTROL_HZ
    changes = np.flatnonzero(np.diff(truth)) + 1
    edges = [0, *(round((c * EPOCH_S + rng.uniform(-10, 10)) * CONTROL_HZ) for c in changes), n]
    weights = np.zeros((n, N_STAGES), np.float32)
    stages = truth[[0, *changes]]
    for stage, (start, stop) in zip(stages, pairwise(edges), strict=True):
        weights[start:stop, stage] = 1.0
    return smooth(weights, 4.0)


def _score(rng: np.random.Generator, truth: NDArray[np.int8], noise: float) -> NDArray[np.int8]:
    """Give some epochs to a stage they resemble, more often beside a change of stage."""
    scored = truth.copy()
    before, after = np.r_[truth[0], truth[:-1]], np.r_[truth[1:], truth[-1]]
    border = (before != truth) | (after != truth)
    chance = noise * np.where(border, 2.5, 1.0) * np.array([0.6, 2.0, 0.9, 0.9, 0.8])[truth]
    for i in np.flatnonzero(rng.random(len(truth)) < chance):
        neighbours = [s for s in (before[i], after[i]) if s != truth[i]]
        scored[i] = neighbours[0] if neighbours and rng.random() < 0.7 else rng.choice(5, p=_MISTAKES[truth[i]])
    return scored
