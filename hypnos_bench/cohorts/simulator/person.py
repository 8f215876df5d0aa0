"""Who is simulated: age, build, apnea, rhythm, and the traits that make one person's signals unlike another's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.simulator.processes import stream

EEG_BANDS = ("background", "delta", "theta", "alpha", "beta")
"""Rows of ``Person.band_gain``."""

N_STAGES = 5

_YEARS_BETWEEN_VISITS = (5.5, 7.5)


@dataclass(frozen=True)
class Person:
    """One simulated man; MrOS recorded men only, and its layout is used.

    Gains are factors around 1. Amplitudes are in microvolt at the electrode unless a name says otherwise.

    Parameters
    ----------
    number, visit : int
    age_years, bmi_kg_m2 : float
    ahi_per_h : float
        Respiratory events per hour of sleep that the simulator aims at.
    af : bool
        Whether the heart is in atrial fibrillation all night.
    band_gain : ndarray, shape (5 bands, 5 stages)
        Amplitude of each EEG band in each stage relative to the average person.
    scorer_noise : float
        Share of epochs that the scorer of this night gives to a neighbouring stage.
    """

    number: int
    visit: int
    age_years: float
    bmi_kg_m2: float
    ahi_per_h: float
    af: bool
    slow_wave_drive: float
    wakefulness: float
    band_gain: NDArray[np.float32]
    slope: float
    alpha_hz: float
    spindle_hz: float
    spindles_per_min: float
    spindle_uv: float
    k_per_min: float
    eog_gain: float
    blinks_per_min: float
    rapid_eye_per_min: float
    emg_uv: float
    emg_floor_uv: float
    atonia: float
    electrode_noise_uv: float
    mains_uv: float
    ecg_in_ears_uv: float
    sweat_uv: float
    heart_per_min: float
    rsa_s: float
    qrs_mv: float
    t_ratio: float
    ectopic_per_h: float
    breaths_per_min: float
    belt_gain: tuple[float, float]
    oxygen_percent: float
    circulation_s: float
    desaturation_gain: float
    arousals_per_h: float
    scorer_noise: float


def draw_person(seed: int, number: int) -> Person:
    """Person `number` of a cohort, at visit 1. Same seed and number, same person."""
    rng = stream(seed, number, 0, "person")
    age = float(np.clip(rng.normal(71, 8), 52, 90))
    bmi = float(np.clip(rng.normal(27.5, 3.8), 19, 42))
    ahi = float(np.clip(np.exp(rng.normal(np.log(9) + 0.08 * (bmi - 27.5), 0.9)), 0.5, 65))
    old = (age - 65) / 10
    # A gain of the whole head (skull, electrodes), one per band, and one per band and stage.
    band_gain = np.exp(rng.normal(0, 0.30) + rng.normal(0, 0.28, (5, 1)) + rng.normal(0, 0.20, (5, N_STAGES)))
    band_gain[1, 2:4] *= np.exp(-0.12 * old)  # slow waves flatten with age
    if rng.random() < 0.12:
        band_gain[3] *= 0.35  # about one person in ten has hardly any alpha
    return Person(
        number=number,
        visit=1,
        age_years=age,
        bmi_kg_m2=bmi,
        ahi_per_h=ahi,
        af=bool(rng.random() < 0.15),
        slow_wave_drive=float(np.exp(rng.normal(-0.30 * old, 0.25))),
        wakefulness=float(np.exp(rng.normal(0.15 * old, 0.35))),
        band_gain=band_gain.astype(np.float32),
        slope=float(np.clip(rng.normal(1.5, 0.25), 0.9, 2.1)),
        alpha_hz=float(np.clip(rng.normal(9.6 - 0.25 * old, 0.8), 7.8, 11.8)),
        spindle_hz=float(rng.uniform(12.2, 14.6)),
        spindles_per_min=float(np.exp(rng.normal(np.log(3.5) - 0.12 * old, 0.45))),
        spindle_uv=float(np.exp(rng.normal(np.log(14), 0.30))),
        k_per_min=float(np.exp(rng.normal(np.log(1.3), 0.5))),
        eog_gain=float(np.exp(rng.normal(0, 0.35))),
        blinks_per_min=float(np.exp(rng.normal(np.log(14), 0.5))),
        rapid_eye_per_min=float(np.exp(rng.normal(np.log(9), 0.5))),
        emg_uv=float(np.exp(rng.normal(np.log(14), 0.5))),
        emg_floor_uv=float(np.exp(rng.normal(np.log(0.8), 0.4))),
        atonia=float(np.clip(np.exp(rng.normal(np.log(0.20), 0.5)), 0.08, 0.7)),
        electrode_noise_uv=float(np.exp(rng.normal(np.log(1.2), 0.4))),
        mains_uv=float(np.exp(rng.normal(np.log(0.8), 0.8))),
        ecg_in_ears_uv=float(np.exp(rng.normal(np.log(4), 0.7))),
        sweat_uv=float(rng.uniform(15, 45)) if rng.random() < 0.2 else 0.0,
        heart_per_min=float(np.clip(rng.normal(61, 8), 45, 85)),
        rsa_s=float(0.030 * np.exp(rng.normal(-0.25 * old, 0.4))),
        qrs_mv=float(np.exp(rng.normal(np.log(1.0), 0.3))),
        t_ratio=float(rng.uniform(0.12, 0.35)),
        ectopic_per_h=float(np.exp(rng.normal(np.log(4), 1.3))),
        breaths_per_min=float(np.clip(rng.normal(14.5, 2.0), 10, 20)),
        belt_gain=(float(np.exp(rng.normal(0, 0.4))), float(np.exp(rng.normal(0, 0.4)))),
        oxygen_percent=float(np.clip(rng.normal(95.5 - 0.06 * (bmi - 27), 1.0), 92, 98)),
        circulation_s=float(rng.uniform(14, 24)),
        desaturation_gain=float(1.2 * np.exp(rng.normal(0.04 * (bmi - 27.5), 0.3))),
        arousals_per_h=float(np.exp(rng.normal(np.log(9) + 0.1 * old, 0.4))),
        scorer_noise=float(rng.uniform(0.03, 0.08)),
    )


def years_since_first_visit(seed: int, number: int, visit: int) -> float:
    """Years between the first visit of person `number` and another one, as `later_visit` ages them."""
    if visit == 1:
        return 0.0
    return float(stream(seed, number, visit, "visit").uniform(*_YEARS_BETWEEN_VISITS)) * (visit - 1)


def later_visit(person: Person, seed: int, visit: int) -> Person:
    """Return the same person some years later: what the body is stays close, what the electrodes do is drawn anew."""
    rng = stream(seed, person.number, visit, "visit")
    years = float(rng.uniform(*_YEARS_BETWEEN_VISITS)) * (visit - 1)
    return replace(
        person,
        visit=visit,
        age_years=min(person.age_years + years, 90.0),
        bmi_kg_m2=person.bmi_kg_m2 + float(rng.normal(0, 1)),
        ahi_per_h=float(np.clip(person.ahi_per_h * np.exp(rng.normal(0.1, 0.25)), 0.5, 65)),
        slow_wave_drive=person.slow_wave_drive * float(np.exp(rng.normal(-0.15, 0.1))),
        band_gain=(person.band_gain * np.exp(rng.normal(0, 0.08, (5, 1)))).astype(np.float32),
        emg_uv=person.emg_uv * float(np.exp(rng.normal(0, 0.35))),
        mains_uv=person.mains_uv * float(np.exp(rng.normal(0, 0.6))),
        ecg_in_ears_uv=person.ecg_in_ears_uv * float(np.exp(rng.normal(0, 0.4))),
        qrs_mv=person.qrs_mv * float(np.exp(rng.normal(0, 0.15))),
        belt_gain=(float(np.exp(rng.normal(0, 0.4))), float(np.exp(rng.normal(0, 0.4)))),
        scorer_noise=float(rng.uniform(0.03, 0.08)),
    )
