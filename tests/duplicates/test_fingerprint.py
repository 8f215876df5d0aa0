"""Fingerprints: from beats or EEG, blind to gain and polarity, one channel per recording."""

import numpy as np
import pytest
from scipy.signal import resample_poly

from hypnos_bench.duplicates import envelope_fingerprint, find_duplicates, fingerprint, rr_fingerprint
from hypnos_bench.duplicates.fingerprint import GAP
from hypnos_bench.errors import RecordingError, UsageError


def test_beats_are_sorted_whole_milliseconds():
    made = rr_fingerprint(np.array([2.0004, 1.0, 1.0, 3.25]))
    assert (made.kind, made.channel, made.values.dtype) == ("rr", "ECG", np.int32)
    assert made.values.tolist() == [1000, 2000, 3250]


@pytest.mark.parametrize("times", [np.array([1.0, np.nan]), np.ones((2, 2)), np.array([1.0, 3e6])])
def test_what_are_no_beat_times(times):
    with pytest.raises(UsageError, match="beat times"):
        rr_fingerprint(times)


def test_envelope_ignores_gain_polarity_and_offset(eeg):
    x = eeg(0, hours=0.3)
    one = envelope_fingerprint(x, 64.0)
    other = envelope_fingerprint(-371.0 * x + 5.0, 64.0)
    assert np.abs(one.values.astype(int) - other.values).max() <= 1  # a step of rounding
    assert len(one.values) == int(0.3 * 3600 * 4)


def test_envelope_follows_the_strength_in_decibels():
    rng = np.random.default_rng(0)
    x = rng.normal(size=1200 * 64)
    x[600 * 64 :] *= 10.0
    codes = envelope_fingerprint(x, 64.0).values.astype(float) * 0.25
    assert codes[2500:4700].mean() - codes[100:2300].mean() == pytest.approx(20.0, abs=0.3)


def test_gaps_and_flat_lines_are_marked(eeg):
    x = eeg(0, hours=0.3)
    x[64 * 300 : 64 * 400] = np.nan
    codes = envelope_fingerprint(x, 64.0).values
    assert (codes[4 * 300 : 4 * 400] == GAP).all()
    assert (codes[: 4 * 290] != GAP).all()
    assert (codes[4 * 410 :] != GAP).all()
    assert (envelope_fingerprint(np.zeros(64 * 700), 64.0).values == GAP).all()
    assert (envelope_fingerprint(np.full(64 * 700, np.nan), 64.0).values == GAP).all()


def test_a_slow_channel_has_no_envelope():
    with pytest.raises(UsageError, match="40 Hz or more, got 1 Hz"):
        envelope_fingerprint(np.zeros(1000), 1.0)


def test_ecg_is_asked_first_and_alone(beats, ecg, eeg, memory_recording):
    times = beats(0, hours=0.5)
    recording = memory_recording({"ECG": (128.0, ecg(times, 1800)), "C3": (64.0, eeg(0, 0.5))}, 1800)
    made = fingerprint(recording)
    assert recording.signals.read_labels == ["ECG"]
    assert made.kind == "rr"
    found = made.values / 1e3
    inside = times[times < 1799]
    nearest = np.abs(found[:, None] - inside[None, :]).min(axis=0)
    assert (nearest < 0.005).mean() > 0.98


def test_without_ecg_the_eeg_is_asked(eeg, memory_recording):
    made = fingerprint(memory_recording({"C4": (64.0, eeg(0, 0.5)), "E1": (64.0, eeg(1, 0.5))}, 1800))
    assert (made.kind, made.channel) == ("envelope", "C4")
    assert made.comparable == "envelope:C4"


def test_a_useless_ecg_gives_way_to_eeg(eeg, ecg, memory_recording, bad_channel):
    paced = (128.0, ecg(np.arange(1, 1800) * 1.0, 1800, noise=0.0))
    for useless in (bad_channel, (1.0, np.zeros(1800)), (128.0, np.zeros(128 * 1800)), paced):
        recording = memory_recording({"ECG": useless, "C3": (64.0, eeg(0, 0.5))}, 1800)
        assert fingerprint(recording).channel == "C3"


def test_short_recordings_are_not_read(memory_recording, unreadable):
    recording = memory_recording({"ECG": unreadable}, 599.0)
    assert fingerprint(recording) is None
    assert recording.signals.read_labels == []


def test_nothing_to_go_by(memory_recording):
    assert fingerprint(memory_recording({"ECG": (128.0, np.zeros(128 * 700))}, 700.0)) is None
    assert fingerprint(memory_recording({}, 700.0)) is None


def test_an_unreadable_file_is_told(memory_recording, unreadable):
    with pytest.raises(RecordingError, match="cut off at byte 17"):
        fingerprint(memory_recording({"ECG": unreadable}))


def test_another_export_of_an_ecg_is_the_same_night(beats, ecg, memory_recording):
    x = ecg(beats(3, hours=1), 3600, rate_hz=256.0)
    copy = np.rint(resample_poly(x[256 * 400 :], 100, 256) * -80)  # other rate, gain, polarity, start; whole numbers
    one = fingerprint(memory_recording({"ECG": (256.0, x)}, 3600))
    other = fingerprint(memory_recording({"ECG": (100.0, copy)}, 3200))
    (pair,) = find_duplicates({"a": one, "b": other})
    assert pair.share > 0.95
    assert pair.offset_s == pytest.approx(-400.0, abs=0.02)


def test_real_ecg_as_another_export(shared_data):
    """MIT-BIH 100 and 102, 30 min at 360 Hz: another rate, gain, polarity and start are found, the other person is not."""
    wfdb = pytest.importorskip("wfdb")
    from hypnos_bench.encoders.features.cardiac import r_peaks

    fingerprints = {}
    for name in ("100", "102"):
        raw = wfdb.rdrecord(str(shared_data / "ecg-non-af" / "mitdb" / name), channels=[0]).p_signal[:, 0]
        fingerprints[name] = rr_fingerprint(r_peaks(raw, 360.0))
        export = resample_poly(raw[360 * 200 :], 5, 18)  # 100 Hz
        fingerprints[f"{name} copy"] = rr_fingerprint(r_peaks(np.rint(export * -200), 100.0))
    found = find_duplicates(fingerprints)
    assert [(pair.a, pair.b) for pair in found] == [("100", "100 copy"), ("102", "102 copy")]
    for pair in found:
        assert pair.share > 0.9
        assert pair.offset_s == pytest.approx(-200.0, abs=0.02)
