"""What simulated channels look like, judged by independent methods: Welch spectra, peak detection, correlations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, find_peaks, sosfiltfilt, welch

from hypnos_bench.cohorts.simulator.breathing import RespiratoryEvent, breathe
from hypnos_bench.cohorts.simulator.ecg import ECG_HZ, heart
from hypnos_bench.cohorts.simulator.eeg import EEG_HZ
from hypnos_bench.cohorts.simulator.hypnogram import N1, N2, N3, Hypnogram, R, W
from hypnos_bench.cohorts.simulator.night import CHANNEL_RATES_HZ, Plan, plan_night, simulate
from hypnos_bench.cohorts.simulator.person import Person, draw_person
from hypnos_bench.cohorts.simulator.processes import CONTROL_HZ

SEED = 21
Array = NDArray[np.floating]


class Night:
    """A simulated night with what the tests need of it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.person = plan.person
        self.values = {c.label: c.values for c in simulate(SEED, plan, {})}

    def difference(self, plus: str, minus: str) -> Array:
        return self.values[plus].astype(np.float64) - self.values[minus]

    def epochs(self, signal: Array, stage: int, rate_hz: int = EEG_HZ) -> Array:
        """Epochs of a stage whose neighbours are of the same stage, shape (n, samples)."""
        truth = self.plan.hypnogram.truth
        inner = np.flatnonzero((truth[1:-1] == stage) & (truth[:-2] == stage) & (truth[2:] == stage)) + 1
        return signal[: len(truth) * 30 * rate_hz].reshape(len(truth), -1)[inner]

    def power(self, signal: Array, stage: int) -> tuple[Array, Array]:
        """Frequencies, and median power per bin over the epochs of a stage."""
        f, power = welch(self.epochs(signal, stage), EEG_HZ, nperseg=512, axis=-1)
        return f, np.median(power, axis=0)


@pytest.fixture(scope="module")
def nights() -> list[Night]:
    """Four quite usual persons: no fibrillation, hardly any apnea, some alpha."""
    found: list[Night] = []
    number = 0
    while len(found) < 4:
        number += 1
        person = draw_person(SEED, number)
        if not person.af and person.ahi_per_h < 12 and person.band_gain[3, 0] > 0.6 and person.slow_wave_drive > 0.7:
            found.append(Night(plan_night(SEED, person, 2, 40.0)))
    return found


def average(f: Array, power: Array, low_hz: float, high_hz: float) -> float:
    return float(power[(f >= low_hz) & (f < high_hz)].mean())


def test_channels_are_whole_and_finite(nights: list[Night]) -> None:
    for night in nights:
        duration_s = night.plan.hypnogram.duration_s
        assert list(night.values) == list(CHANNEL_RATES_HZ)
        for label, rate_hz in CHANNEL_RATES_HZ.items():
            values = night.values[label]
            assert values.dtype == np.float32
            assert len(values) == duration_s * rate_hz
            assert np.all(np.isfinite(values))
            assert np.std(values) > 0


def test_same_seed_same_samples(nights: list[Night]) -> None:
    again = simulate(SEED, nights[0].plan, {})
    assert all(np.array_equal(c.values, nights[0].values[c.label]) for c in again)
    other = {c.label: c.values for c in simulate(SEED + 1, nights[0].plan, {})}
    assert abs(np.corrcoef(other["C3"], nights[0].values["C3"])[0, 1]) < 0.1


def test_alpha_peaks_at_the_persons_frequency_when_awake(nights: list[Night]) -> None:
    for night in nights:
        f, awake = night.power(night.difference("C4", "A1"), W)
        near = (f > 6.5) & (f < 13)
        peak = f[near][np.argmax((awake * f**1.5)[near])]
        assert peak == pytest.approx(night.person.alpha_hz, abs=0.75)
        f, asleep = night.power(night.difference("C4", "A1"), N2)
        hz = night.person.alpha_hz
        assert average(f, awake, hz - 0.7, hz + 0.7) > 2 * average(f, asleep, hz - 0.7, hz + 0.7)


def test_spindles_are_in_n2_and_not_in_rem(nights: list[Night]) -> None:
    ratios = []
    for night in nights:
        c3 = night.difference("C3", "A2")
        hz = night.person.spindle_hz
        narrow = butter(4, [hz - 0.8, hz + 0.8], "bandpass", fs=EEG_HZ, output="sos")
        envelope = np.abs(sosfiltfilt(narrow, c3))
        # Spindles are rare and strong: the loudest moments of an epoch, not its mean, give them away.
        loud = [np.median(np.percentile(night.epochs(envelope, stage), 98, axis=1)) for stage in (N2, R)]
        ratios.append(loud[0] / loud[1])
    assert min(ratios) > 1.2
    assert np.median(ratios) > 1.6


def test_slow_waves_grow_with_depth(nights: list[Night]) -> None:
    ratios = []
    for night in nights:
        c3 = night.difference("C3", "A2")
        slow = {stage: average(*night.power(c3, stage), 0.5, 2.5) for stage in (W, N2, N3, R)}
        ratios.append((slow[N3] / slow[N2], slow[N2] / slow[R], slow[N3] / slow[W]))
    assert np.all(np.min(ratios, axis=0) > 1.3)
    assert np.all(np.median(ratios, axis=0) > (2, 1.5, 5))


def test_both_sides_of_the_head_agree_but_are_not_copies(nights: list[Night]) -> None:
    for night in nights:
        r = np.corrcoef(night.difference("C3", "A2"), night.difference("C4", "A1"))[0, 1]
        assert 0.5 < r < 0.97


def test_referencing_takes_the_forehead_out(nights: list[Night]) -> None:
    for night in nights:
        # Against Fpz every electrode shows blinks and frontal waves, so even an ear looks like the vertex.
        bare = [night.epochs(night.values[name].astype(np.float64), W).ravel() for name in ("C3", "A1")]
        referenced = night.epochs(night.difference("C3", "A2"), W).ravel()
        assert np.corrcoef(*bare)[0, 1] > 0.4
        assert np.percentile(np.abs(bare[0]), 99) > 1.5 * np.percentile(np.abs(referenced), 99)


def test_the_heart_shows_in_the_ears_with_opposite_signs(nights: list[Night]) -> None:
    night = nights[0]
    ecg = night.difference("ECG L", "ECG R")
    beats = beats_of(ecg)
    ears = night.difference("A1", "A2")
    before = np.mean([ears[b - 40 : b - 20].mean() for b in beats[1:-1]])
    at = np.mean([ears[b] for b in beats[1:-1]])
    assert at - before == pytest.approx(2 * night.person.ecg_in_ears_uv, rel=0.35)


def test_eyes_move_together(nights: list[Night]) -> None:
    """Electrodes beside both eyes see a movement with opposite signs, and brain waves with the same one."""
    for night in nights:
        low = butter(2, [0.3, 5.0], "bandpass", fs=EEG_HZ, output="sos")
        left, right = (sosfiltfilt(low, night.difference(*pair)) for pair in (("LOC", "A2"), ("ROC", "A1")))
        deep = np.corrcoef(night.epochs(left, N3).ravel(), night.epochs(right, N3).ravel())[0, 1]
        rem_left, rem_right = night.epochs(left, R), night.epochs(right, R)
        busy = (rem_left - rem_right).std(axis=1) > 15
        rem = np.corrcoef(rem_left[busy].ravel(), rem_right[busy].ravel())[0, 1]
        assert deep > 0.4
        assert rem < -0.3


def test_eyes_move_in_rem_and_rest_in_deep_sleep(nights: list[Night]) -> None:
    for night in nights:
        eyes = night.difference("LOC", "ROC")
        spread = {stage: night.epochs(eyes, stage).std(axis=1).mean() for stage in (W, N2, N3, R)}
        assert spread[R] > 1.5 * spread[N3]
        assert spread[W] > 1.5 * spread[N3]


def test_n1_rolls_the_eyes_slowly() -> None:
    drowsy = plan_of(np.full(80, N1))
    night = Night(drowsy)
    f, power = welch(night.difference("LOC", "ROC"), EEG_HZ, nperseg=4096)
    assert 0.15 < f[np.argmax(power)] < 0.45


def test_the_chin_goes_slack_in_rem(nights: list[Night]) -> None:
    for night in nights:
        chin = night.difference("L Chin", "R Chin")
        tone = {stage: np.median(night.epochs(chin, stage).std(axis=1)) for stage in (W, N2, R)}
        assert tone[W] > 1.2 * tone[N2]
        assert tone[N2] > 1.15 * tone[R]


def test_arousals_show_in_brain_and_chin(nights: list[Night]) -> None:
    beta = butter(4, [16.0, 30.0], "bandpass", fs=EEG_HZ, output="sos")
    for night in nights:
        c3 = sosfiltfilt(beta, night.difference("C3", "A2"))
        chin = night.difference("L Chin", "R Chin")
        rise = []
        for start_s, stop_s in night.plan.arousals:
            during = slice(round(start_s * EEG_HZ), round(stop_s * EEG_HZ))
            before = slice(round((start_s - 8) * EEG_HZ), round((start_s - 2) * EEG_HZ))
            rise.append([x[during].std() / x[before].std() for x in (c3, chin)])
        assert np.all(np.median(rise, axis=0) > 1.25)


def beats_of(ecg: Array) -> NDArray[np.intp]:
    """R peaks by a detector that knows nothing of the simulator."""
    filtered = sosfiltfilt(butter(2, [5.0, 25.0], "bandpass", fs=ECG_HZ, output="sos"), ecg)
    energy = filtered**2
    peaks, _ = find_peaks(energy, height=0.3 * np.percentile(energy, 99.5), distance=int(0.28 * ECG_HZ))
    return np.asarray(peaks)


def plan_of(truth: Array, person: Person | None = None) -> Plan:
    """A plan with given stages and no events."""
    truth = truth.astype(np.int8)
    weights = np.zeros((len(truth) * 30 * CONTROL_HZ, 5), np.float32)
    weights[np.arange(len(weights)), np.repeat(truth, 30 * CONTROL_HZ)] = 1
    person = replace(person or draw_person(SEED, 1), ectopic_per_h=0.0)
    return Plan(person, Hypnogram(truth, truth, len(truth) * 30, weights), (), ())


def intervals(af: bool) -> tuple[Array, Array, Array]:
    """Beat-to-beat intervals found in half an hour of N2, the ECG, and where the beats are."""
    person = replace(draw_person(SEED, 1), af=af, qrs_mv=1.0)
    plan = plan_of(np.full(60, N2), person)
    n = len(plan.hypnogram.weights)
    phase = (2 * np.pi * 0.25 * np.arange(n) / CONTROL_HZ).astype(np.float32)
    ecg = heart(SEED, plan.person, plan.hypnogram, np.zeros(n, np.float32), phase).ecg
    beats = beats_of(ecg)
    return np.diff(beats) / ECG_HZ, ecg, beats


def test_fibrillation_is_irregularly_irregular_and_has_no_p_wave() -> None:
    sinus, sinus_ecg, sinus_beats = intervals(af=False)
    af, af_ecg, af_beats = intervals(af=True)
    assert np.std(sinus) / np.mean(sinus) < 0.08
    assert np.std(af) / np.mean(af) > 0.15
    # No memory from one interval to the next, whereas breathing ties sinus intervals together.
    assert abs(np.corrcoef(af[:-1], af[1:])[0, 1]) < 0.12
    assert np.sqrt(np.mean(np.diff(af) ** 2)) > 5 * np.sqrt(np.mean(np.diff(sinus) ** 2))

    def p_wave(ecg: Array, beats: Array) -> float:
        beat = np.mean([ecg[b - 40 : b] for b in beats[1:]], axis=0)
        around = round((-0.17 + 40 / ECG_HZ) * ECG_HZ)
        return float(beat[around - 1 : around + 2].mean() - beat[around - 11 : around - 7].mean())

    assert p_wave(sinus_ecg, sinus_beats) > 0.06
    assert abs(p_wave(af_ecg, af_beats)) < 0.03


def test_heart_rate_and_sinus_arrhythmia_are_the_persons() -> None:
    rr, _, beats = intervals(af=False)
    person = draw_person(SEED, 1)
    assert 60 / np.mean(rr) == pytest.approx(person.heart_per_min, rel=0.05)
    even = np.interp(np.arange(10, 1780, 0.25), beats[1:] / ECG_HZ, rr)
    f, power = welch(even, 4, nperseg=512)
    breath = (f > 0.15) & (f < 0.4)
    assert f[breath][np.argmax(power[breath])] == pytest.approx(0.25, abs=0.02)


def test_beats_of_the_file_are_those_of_the_heart(nights: list[Night]) -> None:
    for night in nights:
        found = beats_of(night.difference("ECG L", "ECG R"))
        rate = 60 * len(found) / night.plan.hypnogram.duration_s
        assert rate == pytest.approx(float(np.mean(night.values["HR"])), rel=0.03)


def breathing_with(event: RespiratoryEvent | None, stage: int = N2) -> tuple[Person, dict[str, Array]]:
    person = replace(draw_person(SEED, 1), desaturation_gain=1.0, belt_gain=(1.0, 1.0))
    plan = plan_of(np.full(20, stage), person)
    restless = np.zeros(len(plan.hypnogram.weights), np.float32)
    made = breathe(SEED, person, plan.hypnogram, [event] if event else [], restless)
    return person, {"THX": made.thorax, "ABD": made.abdomen, "flow": made.flow, "SaO2": made.saturation}


def test_breathing_has_the_persons_rate_and_is_irregular_in_rem() -> None:
    person, quiet = breathing_with(None, N3)
    f, power = welch(quiet["THX"], 16, nperseg=1024)
    assert f[np.argmax(power)] * 60 == pytest.approx(person.breaths_per_min, rel=0.1)
    assert np.corrcoef(quiet["THX"], quiet["ABD"])[0, 1] > 0.9

    def unevenness(flow: Array) -> float:
        peaks, _ = find_peaks(flow, height=0.1, distance=24)
        return float(np.std(np.diff(peaks)) / np.mean(np.diff(peaks)))

    assert unevenness(breathing_with(None, R)[1]["flow"]) > 2 * unevenness(quiet["flow"])


@pytest.mark.parametrize(
    ("kind", "flow", "effort", "belts"),
    [
        ("obstructive-apnea", (0.0, 0.12), (0.3, 1.1), (-1.0, -0.3)),
        ("central-apnea", (0.0, 0.12), (0.0, 0.15), None),
        ("hypopnea", (0.2, 0.75), (0.3, 0.85), (0.2, 1.0)),
    ],
)
def test_events_look_like_what_they_are_called(
    kind: str, flow: tuple[float, float], effort: tuple[float, float], belts: tuple[float, float] | None
) -> None:
    event = RespiratoryEvent(kind, 300.0, 40.0, None, 6.0)
    _, channels = breathing_with(event)
    inside, before = slice(305 * 16, 338 * 16), slice(200 * 16, 290 * 16)
    for name, (low, high) in (("flow", flow), ("THX", effort)):
        assert low <= channels[name][inside].std() / channels[name][before].std() <= high
    if belts is not None:
        r = np.corrcoef(channels["THX"][inside], channels["ABD"][inside])[0, 1]
        assert belts[0] <= r <= belts[1]


def test_saturation_falls_after_the_apnea_by_the_circulation_time() -> None:
    event = RespiratoryEvent("obstructive-apnea", 300.0, 30.0, None, 8.0)
    person, channels = breathing_with(event)
    saturation = channels["SaO2"]
    assert np.array_equal(saturation, np.round(saturation))
    before = saturation[250:300].mean()
    assert saturation[300:312].min() > before - 2  # the finger does not know yet
    lowest_s = 290 + np.flatnonzero(saturation[290:400] == saturation[290:400].min()).mean()
    assert event.stop_s + 4 < lowest_s < event.stop_s + person.circulation_s
    assert before - saturation[290:400].min() == pytest.approx(8, abs=1.5)
    assert saturation[380:420].mean() == pytest.approx(before, abs=1)


def test_scored_desaturations_hold_the_dip() -> None:
    sick = replace(draw_person(SEED, 2), ahi_per_h=25.0, desaturation_gain=1.5)
    night = Night(plan_night(SEED, sick, 1, 45.0))
    dips = [e for e in night.plan.events() if e.kind == "desaturation"]
    assert len(dips) > 5
    saturation = night.values["SaO2"]
    for dip in dips:
        inside = saturation[round(dip.start_s) : round(dip.start_s + dip.duration_s) + 1]
        assert inside.min() <= inside[:3].max() - 2
