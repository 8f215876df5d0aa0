import pickle
import shutil
import sys
from datetime import time

import numpy as np
import pytest

from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.signals.wfdb_files import WfdbFile

wfdb = pytest.importorskip("wfdb", reason="the optional wfdb package is not installed")

REAL = ["cpsc2021-af/data_101_6", "cpsc2021-af/data_84_3", "ecg-non-af/mitdb/100", "cinc2017-6/A00004"]


@pytest.mark.parametrize("name", REAL)
def test_real_records_equal_wfdb(shared_data, name):
    file = WfdbFile(shared_data / f"{name}.hea")
    record = wfdb.rdrecord(str(shared_data / name))
    assert [c.label for c in file.channels()] == record.sig_name
    assert file.duration_s() == record.sig_len / record.fs
    for i, channel in enumerate(file.channels()):
        signal = file.read(channel.label)
        assert (signal.rate_hz, signal.unit) == (record.fs, record.units[i])
        np.testing.assert_array_equal(signal.values, record.p_signal[:, i])
    assert file.comments == tuple(record.comments)
    assert all(path.is_file() for path in file.files)


@pytest.fixture
def mitdb(shared_data, tmp_path):
    for path in (shared_data / "ecg-non-af/mitdb").glob("100.*"):
        shutil.copyfile(path, tmp_path / path.name)
    shutil.copyfile(shared_data / "ecg-non-af/misc/100-no-len.hea", tmp_path / "100-no-len.hea")
    return tmp_path


def test_a_header_without_length(mitdb):
    file = WfdbFile(mitdb / "100-no-len.hea")
    assert file.channels()[1].n_samples == 650000
    np.testing.assert_array_equal(file.read("V5").values, WfdbFile(mitdb / "100.hea").read("V5").values)


def test_repeated_names(mitdb):
    header = mitdb / "100.hea"
    second = WfdbFile(header).read("V5").values
    header.write_text(header.read_text().replace("MLII", "ECG").replace("V5", "ECG"))
    file = WfdbFile(header)
    assert [c.label for c in file.channels()] == ["ECG", "ECG#2"]
    np.testing.assert_array_equal(file.read("ECG#2").values, second)


def test_a_nameless_signal(mitdb):
    header = mitdb / "100.hea"
    header.write_text(header.read_text().replace(" V5", ""))
    assert [c.label for c in WfdbFile(header).channels()] == ["MLII", "#2"]


def test_truncation_is_refused_and_measured(mitdb):
    dat = mitdb / "100.dat"
    dat.write_bytes(dat.read_bytes()[: 3 * 640000])
    with pytest.raises(RecordingError, match=r"100.hea: 100.dat is truncated: 640000 of 650000 .* 27.7778 s missing"):
        WfdbFile(mitdb / "100.hea").read("V5")


def test_one_missing_byte_is_noticed(mitdb):
    dat = mitdb / "100.dat"
    dat.write_bytes(dat.read_bytes()[:-1])
    with pytest.raises(RecordingError, match="649999 of 650000"):
        WfdbFile(mitdb / "100.hea").read("MLII")


def test_missing_files(mitdb):
    (mitdb / "100.dat").unlink()
    file = WfdbFile(mitdb / "100.hea")
    assert [c.n_samples for c in file.channels()] == [650000, 650000]  # the header is enough
    assert [path.name for path in file.files] == ["100.hea", "100.dat"]
    with pytest.raises(RecordingError, match="its signal file 100.dat is missing"):
        file.read("V5")
    with pytest.raises(RecordingError, match="its signal file 100.dat is missing"):
        WfdbFile(mitdb / "100-no-len.hea").channels()
    with pytest.raises(RecordingError, match="no such header"):
        WfdbFile(mitdb / "101.hea").channels()


def test_annotations_count_in_frames(mitdb):
    file = WfdbFile(mitdb / "100.hea")
    assert file.frames == (360.0, 650000)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "malformed WFDB header"), ("100/2 2 360 10\na 5\nb 5\n", "multi-segment"), ("100 x y\n", "malformed")],
)
def test_bad_headers(tmp_path, text, message):
    (tmp_path / "100.hea").write_text(text)
    with pytest.raises(RecordingError, match=message) as caught:
        WfdbFile(tmp_path / "100.hea").channels()
    assert "\n" not in str(caught.value)


def test_channels_at_their_own_rates(tmp_path):
    """Two samples of the first channel per frame: 200 Hz beside 100 Hz."""
    samples = np.arange(30, dtype="<i2")
    samples.tofile(tmp_path / "r.dat")
    header = "r 2 100 10\nr.dat 16x2 10/mV 16 0 0 0 0 ECG\nr.dat 16 10/uV 16 0 0 0 0 RESP\n"
    (tmp_path / "r.hea").write_text(header)
    file = WfdbFile(tmp_path / "r.hea")
    assert [(c.rate_hz, c.n_samples) for c in file.channels()] == [(200, 20), (100, 10)]
    np.testing.assert_array_equal(file.read("RESP").values, samples[2::3] / 10)
    np.testing.assert_array_equal(file.read("ECG").values, np.delete(samples, np.s_[2::3]) / 10)


def test_an_unknown_channel_names_the_known_ones(shared_data):
    with pytest.raises(RecordingError, match="no channel 'III'; the record has: I, II"):
        WfdbFile(shared_data / "cpsc2021-af/data_101_6.hea").read("III")


def test_can_be_pickled(shared_data):
    file = WfdbFile(shared_data / "cpsc2021-af/data_101_6.hea")
    file.channels()
    assert pickle.loads(pickle.dumps(file)).channels() == file.channels()


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(UsageError, match=r"pip install 'hypnos-bench\[wfdb\]'"):
        WfdbFile(tmp_path / "100.hea").channels()


def test_the_clock_and_what_a_header_leaves_open(mitdb, shared_data):
    """Most headers say no time; the length, and a second name, may have to be made up."""
    assert WfdbFile(shared_data / "cinc2017-6/A00001.hea").start_clock() == time(5, 5, 15)
    clean = WfdbFile(mitdb / "100.hea")
    assert (clean.start_clock(), clean.repairs(), clean.unreadable()) == (None, (), {})
    text = (mitdb / "100-no-len.hea").read_text().replace("V5", "MLII")
    (mitdb / "100-no-len.hea").write_text(text)
    file = WfdbFile(mitdb / "100-no-len.hea")
    assert file.repairs() == (
        "the header gives no length: 650000 frames, from the size of 100.dat",
        "the name of signal 2 is 'MLII' again: called 'MLII#2'",
    )


def test_a_truncated_signal_file_is_told_without_reading_it(mitdb):
    path = mitdb / "100.dat"
    path.write_bytes(path.read_bytes()[: 360 * 3 * 10])
    reasons = WfdbFile(mitdb / "100.hea").unreadable()
    assert set(reasons) == {"MLII", "V5"}
    assert reasons["V5"].startswith("100.dat is truncated: 3600 of 650000 samples are there")


@pytest.mark.parametrize(("kept", "listed"), [(2, 0), (3, 1)])
def test_a_header_that_was_cut_off_is_refused(mitdb, kept, listed):
    header = mitdb / "100.hea"
    header.write_text("\n".join(header.read_text().splitlines()[:kept]) + "\n")
    with pytest.raises(RecordingError, match=f"cut off: it says 2 signals and lists {listed}"):
        WfdbFile(header).channels()


def test_a_header_with_an_impossible_length_is_refused(mitdb):
    header = mitdb / "100.hea"
    header.write_text(header.read_text().replace("650000", "999999999999999"))
    with pytest.raises(RecordingError, match="more than a week"):
        WfdbFile(header).channels()
