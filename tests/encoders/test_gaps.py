"""Recordings with gaps: what is cut, what is left out, and what the encoders make of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import EncoderOptions, mean_over_modalities
from hypnos_bench.encoders.features import FEATURE_NAMES, FeaturesEncoder
from hypnos_bench.encoders.gaps import cut, has_gaps, join, lopsided
from hypnos_bench.encoders.hypnos import HypnosEncoder, HypnosUntrained
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import Derivation
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf

HOPS = {"eeg": 4, "belt": 2}


def arrays_of(missing, n_rows):
    """Signals of so many rows, of which each modality lacks some."""
    arrays = {name: np.arange(n_rows * hop, dtype=np.float32) for name, hop in HOPS.items()}
    for name, rows in missing.items():
        for row in rows:
            arrays[name][row * HOPS[name]] = np.nan  # one sample is enough
    return arrays


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.data())
def test_cutting_and_joining_loses_no_row_and_invents_none(n_rows, min_rows, data):
    rows = st.sets(st.integers(0, n_rows - 1), max_size=4)
    missing = {name: data.draw(rows) for name in HOPS}
    arrays = arrays_of(missing, n_rows)
    pieces = cut(arrays, HOPS, n_rows, min_rows)
    assert all(np.isfinite(a).all() for signals in pieces.signals for a in signals.values())
    if not any(missing.values()):
        assert not has_gaps(arrays)
        assert pieces.signals[0] is arrays
        return
    # An embedding that says which sample its row begins with.
    embedded = [{k: a.reshape(-1, HOPS[k])[:, :1].astype(np.float16) for k, a in s.items()} for s in pieces.signals]
    if not embedded:
        return
    whole = join(pieces, embedded, list(HOPS))
    for name, hop in HOPS.items():
        got = whole[name][:, 0]
        known = np.isfinite(got)
        np.testing.assert_array_equal(got[known], np.arange(n_rows)[known] * hop)
        assert not known[sorted(missing[name])].any()
    present = {row: frozenset(k for k in HOPS if row not in missing[k]) for row in range(n_rows)}
    for stretch in pieces.stretches:
        assert stretch.stop - stretch.first >= min_rows
        assert {present[row] for row in range(stretch.first, stretch.stop)} == {frozenset(stretch.names)}
        assert stretch.first == 0 or present[stretch.first - 1] != present[stretch.first]


def test_a_modality_with_many_gaps_of_its_own_is_lopsided():
    assert lopsided(arrays_of({"eeg": range(10, 15)}, 100), HOPS) == {}  # 5 % are allowed
    assert lopsided(arrays_of({"eeg": range(10, 16)}, 100), HOPS) == {"eeg": 6}
    shared = {"eeg": range(10, 80), "belt": range(10, 76)}
    assert lopsided(arrays_of(shared, 100), HOPS) == {}  # a pause of the recording is nobody's own
    assert lopsided(arrays_of({"eeg": range(100), "belt": range(100)}, 100), HOPS) == {"eeg": 100, "belt": 100}


def test_the_mean_takes_the_modalities_that_are_there():
    a = np.array([[1, 2], [np.nan, np.nan], [np.nan, np.nan]], np.float16)
    b = np.array([[3, 4], [5, 6], [np.nan, np.nan]], np.float16)
    np.testing.assert_array_equal(mean_over_modalities({"a": a, "b": b}), [[2, 3], [5, 6], [np.nan, np.nan]])


@pytest.fixture(scope="module")
def bundle(untrained_cache):
    _ = HypnosUntrained(EncoderOptions(cache=untrained_cache, device="cpu")).card
    return next((untrained_cache / "weights").glob("hypnos-untrained*.safetensors"))


def encoder(bundle, modalities="each"):
    return HypnosEncoder(
        EncoderOptions(weights={"hypnos": str(bundle)}, device="cpu", per_modality=modalities == "each")
    )


def with_gap(signals, first_s, stop_s, channels=None):
    out = dict(signals)
    for name in channels or signals:
        rate, unit, x = signals[name]
        x = x.copy()
        x[round(first_s * rate) : round(stop_s * rate)] = np.nan
        out[name] = (rate, unit, x)
    return out


def test_a_pause_costs_its_own_rows_only(bundle, psg, memory_recording):
    """Every channel pauses from 40.5 s to 60.95 s; second 60 has a twentieth left and is lost, 40 likewise in half."""
    signals = psg(4)
    clean = encoder(bundle).encode(memory_recording(signals, 120)).arrays
    out = encoder(bundle).encode(memory_recording(with_gap(signals, 40.5, 60.95), 120))
    assert out.skipped == {}
    for name, rows in out.arrays.items():
        assert rows.shape == clean[name].shape
        assert np.flatnonzero(np.isnan(rows).any(axis=1)).tolist() == list(range(40, 61))
        assert np.isnan(rows[40:61]).all()


def test_rows_before_a_pause_stay_and_rows_after_it_come_back(bundle, psg, memory_recording):
    signals = psg(8)
    clean = encoder(bundle).encode(memory_recording(signals, 240)).arrays
    out = encoder(bundle).encode(memory_recording(with_gap(signals, 100, 120), 240)).arrays
    for name, rows in out.items():
        np.testing.assert_allclose(rows[:100], clean[name][:100], rtol=2**-9, atol=1e-3)  # rounding of other shapes
        a, b = (x[200:].astype(np.float64) for x in (rows, clean[name]))
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert np.median(cosine) > 0.9  # another past, but the same signal


def test_a_channel_without_signal_is_absent_there(bundle, psg, memory_recording):
    """Only the ECG has a gap: its rows are missing, the others' are what they are in a recording without an ECG."""
    signals = psg(10)
    gappy = memory_recording(with_gap(signals, 100, 110, ["ECG"]), 300)
    out = encoder(bundle).encode(gappy)
    assert np.flatnonzero(np.isnan(out.arrays["ecg"]).any(axis=1)).tolist() == list(range(100, 110))
    assert all(np.isfinite(rows).all() for name, rows in out.arrays.items() if name != "ecg")
    mean = encoder(bundle, "mean").encode(gappy).arrays["mean"]
    assert np.isfinite(mean).all()
    expected = mean_over_modalities({k: a.astype(np.float32) for k, a in out.arrays.items()})
    np.testing.assert_allclose(mean.astype(np.float32), expected, rtol=2e-3, atol=2e-3)


def test_a_channel_that_lacks_much_more_than_the_others_is_left_out(bundle, psg, memory_recording):
    signals = psg(4)
    out = encoder(bundle).encode(memory_recording(with_gap(signals, 50, 57, ["ECG"]), 120))
    assert out.skipped == {"ECG": "ECG: 7 s are missing in it"}
    assert not {"ecg"} & (set(out.arrays) | set(out.channels))
    without = {name: signal for name, signal in signals.items() if name != "ECG"}
    clean = encoder(bundle).encode(memory_recording(without, 120)).arrays
    for name, rows in out.arrays.items():
        np.testing.assert_array_equal(rows, clean[name])


def test_single_samples_are_bridged(bundle, psg, memory_recording):
    signals = psg(2)
    out = encoder(bundle).encode(memory_recording(with_gap(signals, 30.0, 30.05), 60))
    assert all(np.isfinite(rows).all() for rows in out.arrays.values())


def test_gaps_that_leave_too_little(bundle, psg, memory_recording):
    rate, unit, x = psg(1)["ECG"]
    x = x.copy()
    for second in range(0, 30, 3):
        x[int(second * rate) : int((second + 1) * rate)] = np.nan
    with pytest.raises(RecordingError, match="r1: its gaps leave no stretch that is long enough"):
        encoder(bundle).encode(memory_recording({"ECG": (rate, unit, x)}, 30))
    x[:: int(rate / 4)] = np.nan
    x[1 :: int(rate / 4)] = np.nan
    x[::5] = np.nan
    with pytest.raises(RecordingError, match=r"r1: no usable channel \(.*ECG: ECG: 30 s are missing in it"):
        encoder(bundle).encode(memory_recording({"ECG": (rate, unit, x)}, 30))


def test_recordings_with_and_without_gaps_go_together(bundle, psg, memory_recording):
    one = memory_recording(with_gap(psg(2), 20, 30), 60, "gap")
    two = memory_recording(psg(2, seed=1), 60, "whole")
    model = encoder(bundle, "mean")
    found = model.encode_prepared([model.prepare(one), model.prepare(two)])
    for outcome, recording in zip(found, (one, two)):
        alone = model.encode(recording).arrays["mean"]
        np.testing.assert_allclose(outcome.arrays["mean"], alone, rtol=2**-10, atol=1e-6)


def test_a_discontinuous_edf_from_the_file_to_its_rows(bundle, tmp_path):
    """EDF+D with a pause of 20.3 s after 40 s: rows keep their time on the clock."""
    rng = np.random.default_rng(0)
    starts_s = [*range(40), *(t + 20.3 for t in range(40, 90))]
    write_edf(
        tmp_path / "d.edf",
        [("C3", 128, "uV", rng.normal(size=90 * 128)), ("THX", 10, "", rng.normal(size=900))],
        record_starts_s=starts_s,
    )
    file = EdfFile(tmp_path / "d.edf")
    recording = Recording("toy", "d", "p", file, None, {c: Derivation(c) for c in ("C3", "THX")})
    out = encoder(bundle).encode(recording)
    assert set(out.arrays) == {"eeg_c3", "resp_thx"}
    for rows in out.arrays.values():
        assert len(rows) == 111  # 110.3 s, the last begun second counts
        assert np.flatnonzero(np.isnan(rows[:, 0])).tolist() == list(range(40, 61))
    features = FeaturesEncoder(EncoderOptions()).encode(recording).arrays["features"]
    assert np.isnan(features[1]).all()  # two thirds of it are missing
    assert np.isfinite(features[[0, 2]]).all()


def test_epochs_that_no_channel_has_are_no_rows(psg, memory_recording):
    signals = psg(20)
    features = FeaturesEncoder(EncoderOptions())
    clean = features.encode(memory_recording(signals, 600)).arrays["features"]
    rows = features.encode(memory_recording(with_gap(signals, 300, 400), 600)).arrays["features"]
    lost = np.flatnonzero(np.isnan(rows).any(axis=1))
    assert lost.tolist() == [10, 11, 12]
    assert rows[13, FEATURE_NAMES.index("C3.present")] == 0  # ten seconds are missing, but the heart still beats in 20
    assert rows[13, FEATURE_NAMES.index("ECG.present")] == 1
    assert np.isnan(rows[lost]).all()
    far = [i for i in range(20) if i not in range(8, 16)]
    raw = [i for i, name in enumerate(FEATURE_NAMES) if name.startswith("C3.") and ":" not in name]
    np.testing.assert_array_equal(rows[np.ix_(far, raw)], clean[np.ix_(far, raw)])


def test_a_channel_without_calibration_has_no_amplitude(psg, memory_recording):
    """Stored integers are no microvolts: shape features stay, amplitudes are absent, a chin is left out."""
    signals = psg(20)
    features = FeaturesEncoder(EncoderOptions())
    known = features.encode(memory_recording(signals, 600)).arrays["features"]
    raw = {
        c: (r, "uncalibrated" if c in ("C3", "Chin", "ECG", "ABD") else u, 77 * x) for c, (r, u, x) in signals.items()
    }
    for other in ("C4", "E1", "E2", "THX"):
        raw[other] = signals[other]
    rows = features.encode(memory_recording(raw, 600)).arrays["features"]
    column = FEATURE_NAMES.index
    for name in (
        "C3.log_total",
        "C3.log_total:z",
        "C3.log_total:context",
        "C3.present",
        "Chin.present",
        "Chin.log_rms",
    ):
        assert (rows[:, column(name)] == 0).all(), name
    for i, name in enumerate(FEATURE_NAMES):
        if name.split(":")[0] not in ("C3.log_total", "C3.present") and not name.startswith("Chin."):
            np.testing.assert_allclose(rows[:, i], known[:, i], atol=2e-3, err_msg=name)


def test_a_lone_channel_without_calibration_is_usable(psg, memory_recording):
    rate, _, x = psg(4)["C3"]
    out = FeaturesEncoder(EncoderOptions()).encode(memory_recording({"C3": (rate, "uncalibrated", x)}, 120))
    rows = out.arrays["features"]
    assert (rows[:, FEATURE_NAMES.index("C3.entropy")] > 0).all()
    with pytest.raises(RecordingError, match="no usable channel"):
        chin = memory_recording({"Chin": (rate, "uncalibrated", x)}, 120)
        FeaturesEncoder(EncoderOptions()).encode(chin)


def test_channels_without_calibration_are_not_subtracted(bundle, psg, memory_recording):
    signals = {**psg(2), "M2": (256.0, "uncalibrated", np.random.default_rng(0).normal(size=60 * 256))}
    recording = memory_recording(signals, 60)
    montage = {**recording.montage, "C3": Derivation("C3", "M2")}
    recording = Recording("toy", "r1", "p1", recording.signals, None, montage)
    for model in (encoder(bundle), FeaturesEncoder(EncoderOptions())):
        out = model.encode(recording)
        assert out.skipped == {"C3": "C3 - M2: no difference can be taken, 'M2' without calibration"}
