from datetime import datetime

import numpy as np
import pyedflib
import pytest

from hypnos_bench.errors import DataError
from hypnos_bench.signals.edf_writer import write_edf


def read_with_edflib(path):
    with pyedflib.EdfReader(str(path)) as f:
        signals = {label: f.readSignal(i) for i, label in enumerate(f.getSignalLabels())}
        rates = dict(zip(f.getSignalLabels(), f.getSampleFrequencies(), strict=True))
        return signals, rates, f.readAnnotations(), f.getStartdatetime(), f.getPhysicalDimension(0)


def test_edflib_reads_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    eeg, belt = rng.standard_normal(3 * 128) * 70, rng.standard_normal(3 * 10).astype(np.float32)
    start = datetime(2024, 2, 29, 23, 59, 58)
    write_edf(tmp_path / "a.edf", [("C3", 128, "uV", eeg), ("ABD", 10, "", belt)], start=start)
    signals, rates, annotations, started, unit = read_with_edflib(tmp_path / "a.edf")
    assert rates == {"C3": 128, "ABD": 10}
    assert (started, unit, len(annotations[0])) == (start, "uV", 0)
    step = np.abs(eeg).max() / 32767
    np.testing.assert_allclose(signals["C3"], eeg, rtol=0, atol=0.51 * step)
    np.testing.assert_allclose(signals["ABD"], belt, rtol=0, atol=0.51 * np.abs(belt).max() / 32767 + 1e-9)


def test_rates_need_not_be_whole(tmp_path):
    write_edf(tmp_path / "a.edf", [("a", 97.3, "uV", np.arange(973.0)), ("b", 256 / 3, "uV", np.arange(800.0))])
    signals, rates, *_ = read_with_edflib(tmp_path / "a.edf")
    assert rates == pytest.approx({"a": 97.3, "b": 256 / 3}, abs=1e-9)
    # One record of 30 s; what is missing repeats the last value.
    assert {k: len(v) for k, v in signals.items()} == {"a": 2919, "b": 2560}
    np.testing.assert_allclose(signals["a"][972:], 972, atol=0.02)


@pytest.mark.parametrize("value", [0.0, 93.0, -2.5e-5])
def test_a_flat_line_stays_flat(tmp_path, value):
    write_edf(tmp_path / "a.edf", [("SpO2", 1, "%", np.full(10, value))])
    signals, *_ = read_with_edflib(tmp_path / "a.edf")
    assert np.ptp(signals["SpO2"]) == 0
    assert signals["SpO2"][0] == pytest.approx(value, rel=1e-4, abs=1e-9)


def test_annotations_come_back_through_edflib(tmp_path):
    annotations = [(30.0, 30.0, "Sleep stage N2"), (0.0, 30.0, "Sleep stage W"), (41.25, 0, "Lichter gelöscht")]
    write_edf(tmp_path / "a.edf", [("C3", 64, "uV", np.ones(60 * 64))], annotations=annotations)
    starts, durations, texts = read_with_edflib(tmp_path / "a.edf")[2]
    assert starts.tolist() == [0.0, 30.0, 41.25]
    assert durations.tolist() == [30.0, 30.0, -1.0]  # EDFlib's word for "not stated"
    assert texts.tolist() == ["Sleep stage W", "Sleep stage N2", "Lichter gelöscht"]


def test_the_header_says_what_kind_of_recording_it_is(tmp_path):
    path = tmp_path / "a.edf"
    write_edf(path, [("C3", 1.0, "uV", [1.0, 2.0])], annotations=[(0, 0, "x")], recording="synthetic X maker")
    with pyedflib.EdfReader(str(path)) as file:
        assert (file.getAdmincode(), file.getTechnician(), file.getEquipment()) == ("synthetic", "", "maker")
    for recording in ("two words", "one two three four", "ä X X", "x" * 60 + " X X"):
        with pytest.raises(DataError, match="must be three short ASCII words"):
            write_edf(path, [("C3", 1.0, "uV", [1.0])], recording=recording)


def test_annotations_without_any_signal(tmp_path):
    write_edf(tmp_path / "hypnogram.edf", [], annotations=[(0, 30630, "Sleep stage W"), (30630, 120, "Sleep stage 1")])
    with pyedflib.EdfReader(str(tmp_path / "hypnogram.edf")) as f:
        assert f.signals_in_file == 0
        assert f.readAnnotations()[1].tolist() == [30630, 120]


def test_equal_input_gives_equal_bytes(tmp_path):
    channels = [("C3", 128, "uV", np.sin(np.arange(1280)))]
    for name in ("a", "b"):
        write_edf(tmp_path / name, channels, annotations=[(1, 2, "x")])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # nothing half-written is left


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        ([("C3", 128, "uV", [1.0, np.nan])], {}, "'C3' holds NaN or infinite"),
        ([("C3", 128, "uV", [])], {}, "'C3' has shape"),
        ([("C3", 0, "uV", [1.0])], {}, "sampling rate 0 Hz"),
        ([("a label of seventeen", 128, "uV", [1.0])], {}, "header field 'a label"),
        ([("C3", 128, "µV", [1.0])], {}, "printable ASCII"),
        ([("C3", 1, "uV", [1e9])], {}, "too large"),
        ([("C3", 1, "uV", [1.0] * 9), ("C4", 1, "uV", [1.0] * 5)], {}, "'C4' has 5 data records"),
        ([("C3", 1, "uV", [1.0])], {"start": datetime(1970, 1, 1)}, "cannot start at 1970"),
        ([("C3", 1, "uV", [1.0])], {"annotations": [(0, 1, "a\x14b")]}, "control character"),
        ([], {}, "nothing to write"),
    ],
)
def test_what_edf_cannot_hold_is_refused(tmp_path, channels, options, message):
    with pytest.raises(DataError, match=message):
        write_edf(tmp_path / "a.edf", channels, **options)
    assert not (tmp_path / "a.edf").exists()
