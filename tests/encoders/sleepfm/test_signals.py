"""Preprocessing against a second way to compute it, and who belongs to which modality."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, filtfilt, sosfiltfilt
from scipy.signal import resample as fourier_resample

from hypnos_bench.encoders.sleepfm import signals
from hypnos_bench.encoders.sleepfm.signals import Source, common_rate_hz, find_sources, prepare, read_groups
from hypnos_bench.errors import DataError
from hypnos_bench.signals.base import Signal


def noise(seconds, rate_hz, seed=0):
    """Band-limited to a quarter of the rate, so that no way to resample has an excuse."""
    n = int(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=n))
    spectrum[len(spectrum) // 2 :] = 0
    return 3 + 50 * np.fft.irfft(spectrum, n)


def signal(values, rate_hz):
    return Signal(np.asarray(values, np.float64), float(rate_hz), "uV", "EEG")


def published(values, rate_hz, seconds, file_hz):
    """The steps as the fact sheet lists them, with other functions: Fourier resampling to the file's rate first."""
    if file_hz != rate_hz:
        values, rate_hz = fourier_resample(values, int(seconds * file_hz)), file_hz
    if rate_hz > 128:
        values = filtfilt(*butter(4, 64 / (rate_hz / 2)), values)
    at = np.arange(int(seconds * 128)) / 128
    values = np.interp(at, np.arange(len(values)) / rate_hz, values)
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize(
    ("rate_hz", "file_hz", "tolerance"),
    [
        *((256, 256, 1e-4), (200, 200, 1e-4), (512, 512, 1e-4), (128, 128, 1e-6), (100, 100, 1e-6)),
        # A polyphase filter instead of Fourier's: below a quarter of the rate both are as good as exact.
        *((100, 256, 0.03), (16, 256, 0.03), (200, 512, 0.03)),
    ],
)
def test_it_computes_the_published_steps(rate_hz, file_hz, tolerance):
    seconds = 60.0
    values = noise(seconds, rate_hz)
    track = prepare(signal(values, rate_hz), seconds, file_hz)
    wanted = published(values, rate_hz, seconds, file_hz)
    assert track.values.dtype == np.float32
    assert track.values.shape == (60 * 128,)
    inner = slice(5 * 128, -5 * 128)  # the ways differ in what they assume before the start and after the end
    assert np.abs(track.values - wanted)[inner].max() < tolerance
    assert not track.missing.any()


@pytest.mark.parametrize("rate_hz", [129.0, 256.0, 512.0])
def test_the_filter_is_scipys_to_the_last_bit(rate_hz, monkeypatch):
    monkeypatch.setattr(signals, "_BLOCK", 1000)
    values = 5 + np.random.default_rng(0).normal(size=4321)
    wanted = sosfiltfilt(butter(4, 64, fs=rate_hz, output="sos"), values)
    assert np.array_equal(signals._low_pass(values, rate_hz), wanted)


def test_what_resampling_first_is_worth():
    """A sine of 30 Hz at 100 Hz: linear interpolation alone would take a sixth of it away."""
    t = np.arange(100 * 60) / 100
    wave = signal(np.sin(2 * np.pi * 3 * t) + np.sin(2 * np.pi * 30 * t), 100)

    def ratio(common_hz):
        spectrum = np.abs(np.fft.rfft(prepare(wave, 60.0, common_hz).values))
        return spectrum[30 * 60] / spectrum[3 * 60]

    assert ratio(256.0) == pytest.approx(1, abs=0.01)
    assert ratio(100.0) == pytest.approx(np.sinc(0.3) ** 2 / np.sinc(0.03) ** 2, abs=0.01)  # 0.74


@pytest.mark.parametrize("rate_hz", [128, 256, 99.7, 1])
def test_mean_is_zero_and_deviation_one_whatever_the_unit(rate_hz):
    values = noise(61.3, rate_hz, seed=3)
    one = prepare(signal(values, rate_hz), 61.3, 256.0)
    other = prepare(signal(1e-6 * values - 5, rate_hz), 61.3, 256.0)
    assert one.values.shape == (int(61.3 * 128),)
    assert abs(one.values.mean()) < 1e-4
    assert one.values.std() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(one.values, other.values, atol=1e-4)


def test_an_offset_leaves_no_step_at_the_ends():
    t = np.arange(100)
    saturation = prepare(signal(95 + 0.01 * t + np.sin(t), 1), 100.0, 256.0)
    assert np.abs(saturation.values).max() < 2.5


def test_gaps_are_bridged_counted_and_kept_out_of_the_z_score():
    values = noise(100, 256)
    clean = prepare(signal(values, 256), 100.0, 256.0)
    values[256 * 20 : 256 * 30] = np.nan
    values[256 * 50 : 256 * 50 + 100] = np.nan  # 0.4 s: less than a tenth of its 5 s
    holed = prepare(signal(values, 256), 100.0, 256.0)
    assert np.isfinite(holed.values).all()
    assert np.flatnonzero(holed.missing).tolist() == [4, 5]
    outside = np.r_[0 : 128 * 19, 128 * 31 : 128 * 49]
    assert np.abs(holed.values - clean.values)[outside].max() < 0.1
    recorded = np.r_[0 : 128 * 20, 128 * 30 : 128 * 100]
    assert holed.values[recorded].std() == pytest.approx(1, abs=1e-3)


def test_a_channel_that_ends_early_has_a_gap():
    track = prepare(signal(noise(40, 128), 128), 60.0, 128.0)
    assert track.values.shape == (60 * 128,)
    assert np.flatnonzero(track.missing).tolist() == [8, 9, 10, 11]
    assert np.flatnonzero(prepare(signal(noise(40, 100), 100), 60.0, 100.0).missing).tolist() == [8, 9, 10, 11]


def test_nothing_is_left_of_a_tone_above_the_cutoff_or_of_holes_everywhere():
    values = noise(60, 128)
    values[np.arange(len(values)) % 640 < 100] = np.nan
    assert prepare(signal(values, 128), 60.0, 128.0) == "EEG: gaps in every stretch of 5 s"


def test_a_pause_of_all_is_nobodys_own_gap():
    pause = np.zeros(100, bool)
    pause[20:60] = True
    four, five = pause.copy(), pause.copy()
    four[:6] = True  # of the 60 tokens that somebody has
    five[:7] = True
    lacking = {Source("BAS", "a"): pause, Source("BAS", "b"): four, Source("EMG", "c"): five}
    found = signals.lopsided(lacking)
    assert found == {Source("EMG", "c"): "35 s are missing in it that other channels have"}
    assert signals.lopsided({}) == {}


LABELS = ("EEG", "EEG(sec)", "F3/A2", "EOG(L)", "THOR RES", "SaO2", "ECG", "EMG", "LEG/L", "POSITION", "eeg")


def test_modality_by_label_and_by_table(memory_recording, shared_data):
    recording = memory_recording({label: (128.0, "uV", np.zeros(8)) for label in LABELS}, 1.0)
    found, skipped = find_sources(recording, None)
    by = {name: [s.name for s in found if s.modality == name] for name in signals.MODALITIES}
    assert by == {
        "BAS": ["EEG", "EEG(sec)", "F3/A2", "EOG(L)", "eeg"],
        "RESP": ["THOR RES", "SaO2"],
        "EKG": ["ECG"],
        "EMG": ["EMG", "LEG/L"],
    }
    assert skipped == {"POSITION": "its label tells no modality"}

    groups = read_groups(shared_data / "splits" / "sleepfm" / "channel_groups.json")
    assert {name: len(labels) for name, labels in groups.items()} == {"BAS": 345, "RESP": 119, "EKG": 32, "EMG": 187}
    found, skipped = find_sources(recording, groups)
    assert Source("BAS", "F3/A2") in found
    assert skipped == {"POSITION": "in none of the groups", "eeg": "in none of the groups"}  # case counts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "wanted an object with lists of labels under BAS, RESP, EKG, EMG"),
        ("{}", "wanted an object"),
        (json.dumps({"BAS": ["C3"], "ECG": ["ECG"]}), "wanted an object"),
        (json.dumps({"BAS": "C3"}), "BAS is not a list of labels"),
        (json.dumps({"BAS": [3]}), "BAS is not a list of labels"),
        (json.dumps({"BAS": ["C3"], "EMG": ["C3"]}), "'C3' is both in BAS and in EMG"),
        ("[" * 100_000, "no JSON"),
        (" " * 2**20 + "{}", "larger than"),
        (None, "cannot be opened"),
    ],
)
def test_other_tables_are_refused(tmp_path, content, message):
    path = tmp_path / "groups.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_groups(path)


def test_masking_does_not_change_the_rate_of_what_is_kept(memory_recording):
    recording = memory_recording({"EEG": (100.0, "uV", np.zeros(8)), "ECG": (250.0, "uV", np.zeros(8))}, 1.0)
    assert common_rate_hz(recording.signals) == 250
    assert common_rate_hz(replace(recording, montage={}).only(["eeg"]).signals) == 250
    fast = memory_recording({"EEG": (100.0, "uV", np.zeros(8)), "MIC": (2000.0, "uV", np.zeros(8))}, 1.0)
    assert common_rate_hz(fast.signals) == 512
    assert common_rate_hz(memory_recording({}, 1.0).signals) == 0
