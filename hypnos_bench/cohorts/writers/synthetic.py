"""Signals whose content depends on the stage, so that a probe on a fake cohort has something to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Event, Span
from hypnos_bench.spec import EPOCH_S

Kind = Literal["eeg", "eog", "emg", "ecg", "effort", "reference"]

# Amplitude in uV per stage W, N1, N2, N3, R (rows) and rhythm (columns).
_EEG_HZ = (1.5, 6.0, 10.0, 13.0)
_EEG_UV = np.array([[4, 4, 30, 2], [6, 18, 6, 3], [15, 10, 3, 14], [60, 8, 2, 6], [6, 15, 4, 2]], dtype=np.float64)
_EOG_HZ = (0.3, 1.0)
_EOG_UV = np.array([[20, 60], [60, 10], [10, 5], [10, 5], [15, 80]], dtype=np.float64)
_EMG_UV = np.array([25, 15, 10, 8, 2], dtype=np.float64)
_BEATS_HZ = np.array([1.15, 1.05, 1.0, 0.95, 1.1])
_BREATHS_HZ = 0.25


@dataclass(frozen=True)
class Written:
    """What one fake recording holds, for comparison with what is read back.

    `channels` says how each canonical channel is made of the file's labels (``"C3 - A2"``), where the writer says it.
    """

    id: str
    person: str
    visit: str | None = None
    duration_s: float = 0.0
    stages: tuple[int, ...] = ()
    events: tuple[Event, ...] = ()
    rhythm: tuple[Span, ...] = ()
    minutes: tuple[Span, ...] = ()
    record: tuple[str, ...] = ()
    covariates: Mapping[str, Any] = field(default_factory=dict)
    family: str | None = None
    channels: Mapping[str, str] = field(default_factory=dict)


def random_stages(n_epochs: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Stage codes in the order of a night, in runs of 2 to 5 epochs; 12 epochs are enough to hold every stage."""
    longest = max(2, min(5, n_epochs // 6))
    order = (0, 1, 2, 3, 2, 4)
    codes: list[int] = []
    step = 0
    while len(codes) < n_epochs:
        codes += [order[step % len(order)]] * int(rng.integers(2, longest + 1))
        step += 1
    return tuple(codes[:n_epochs])


def random_events(stages: Sequence[int], rng: np.random.Generator) -> tuple[Event, ...]:
    """About one event per four epochs of sleep, of every kind in turn, in time order."""
    kinds = ("hypopnea", "obstructive-apnea", "desaturation", "arousal", "central-apnea", "unsure")
    asleep = [epoch for epoch, code in enumerate(stages) if code > 0][::4]
    return tuple(
        Event(kinds[i % len(kinds)], epoch * EPOCH_S + round(float(rng.uniform(0, 10)), 1), 12.5)
        for i, epoch in enumerate(asleep)
    )


def stage_signal(
    kind: Kind, stages: Sequence[int], rate_hz: float, rng: np.random.Generator, *, extra_s: float = 0.0
) -> NDArray[np.float64]:
    """One channel over all epochs (and `extra_s` more, like the last one), shape (n_samples,).

    Microvolts for ``eeg``, ``eog``, ``emg`` and ``reference``, millivolts for ``ecg``, arbitrary for ``effort``.
    """
    n = round((len(stages) * EPOCH_S + extra_s) * rate_hz)
    t_s = np.arange(n) / rate_hz
    codes = np.maximum(np.asarray(stages, dtype=np.int64), 0)
    code = codes[np.minimum((t_s // EPOCH_S).astype(np.int64), len(codes) - 1)]
    noise = rng.standard_normal(n)
    if kind == "eeg":
        return _rhythms(_EEG_HZ, _EEG_UV, code, t_s, rng) + 5.0 * noise
    if kind == "eog":
        return _rhythms(_EOG_HZ, _EOG_UV, code, t_s, rng) + 5.0 * noise
    if kind == "emg":
        return _EMG_UV[code] * noise
    if kind == "ecg":
        phase = np.cumsum(_BEATS_HZ[code]) / rate_hz % 1.0
        return np.exp(-(((phase - 0.5) / 0.02) ** 2)) + 0.02 * noise
    if kind == "effort":
        deeper = np.where(code == 3, 1.5, 1.0)
        return deeper * np.sin(2 * np.pi * _BREATHS_HZ * t_s) + 0.05 * noise
    return 2.0 * noise


def _rhythms(
    rates_hz: Sequence[float],
    amplitudes: NDArray[np.float64],
    code: NDArray[np.int64],
    t_s: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    total = np.zeros(len(t_s))
    for column, rate_hz in enumerate(rates_hz):
        total += amplitudes[code, column] * np.sin(2 * np.pi * (rate_hz * t_s + rng.uniform()))
    return total
