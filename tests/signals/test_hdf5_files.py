import json
import pickle
import sys

import numpy as np
import pytest

from hypnos_bench.cohorts.annotations.dreem import read_dreem_hypnogram
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import hypnogram
from hypnos_bench.cohorts.writers.dreem import CHANNELS, write_dreem_h5
from hypnos_bench.errors import DataError, RecordingError, UsageError, is_transient
from hypnos_bench.signals.hdf5_files import (
    MAX_CHANNEL_BYTES,
    MAX_EPOCHS,
    PLAUSIBLE_UV,
    Hdf5File,
    load_hypnogram,
    typical_deviation,
)

h5py = pytest.importorskip("h5py", reason="the optional h5py package is not installed")

C3, ECG = "signals/eeg/C3_M2", "signals/emg/ECG"
STAGES = [0, 2, 3, 4]
RATE_HZ = 50.0


@pytest.fixture
def path(tmp_path):
    write_dreem_h5(tmp_path / "x.h5", STAGES, rate_hz=RATE_HZ)
    return tmp_path / "x.h5"


def edit(path):
    return h5py.File(path, "r+")


def describe(file, entries):
    file.attrs["description"] = json.dumps(entries)


def test_labels_are_dataset_paths(path):
    file = Hdf5File(path)
    assert {c.label for c in file.channels()} == set(CHANNELS)
    assert {(c.rate_hz, c.unit, c.n_samples) for c in file.channels()} == {(RATE_HZ, "uV", 6000)}
    assert (file.path, file.files, file.duration_s()) == (path, (path,), 120.0)
    assert (file.repairs(), dict(file.unreadable()), file.start_clock()) == ((), {}, None)


@pytest.mark.parametrize("unit", ["uV", "mV", "V"])
def test_samples_equal_h5py_in_the_files_unit(tmp_path, unit):
    write_dreem_h5(tmp_path / "x.h5", STAGES, rate_hz=RATE_HZ, unit=unit)
    file = Hdf5File(tmp_path / "x.h5")
    for label in CHANNELS:
        signal = file.read(label)
        assert (signal.rate_hz, signal.unit, signal.source, signal.values.dtype) == (RATE_HZ, unit, label, np.float64)
        with h5py.File(tmp_path / "x.h5") as oracle:
            np.testing.assert_array_equal(signal.values, oracle[label][:])


def test_opening_is_lazy_and_a_file_can_be_pickled(path):
    missing = Hdf5File(path.with_name("none.h5"))
    with pytest.raises(RecordingError, match=r"none\.h5: no such file; looked in"):
        missing.channels()
    file = Hdf5File(path, unit="uV", rate_hz=RATE_HZ)
    fresh = pickle.loads(pickle.dumps(file))
    file.channels()
    used = pickle.loads(pickle.dumps(file))
    assert fresh.channels() == used.channels() == file.channels()
    with edit(path) as writable:  # nothing keeps it open
        writable.attrs["x"] = 1


def test_the_rate_is_that_of_the_description(path):
    with edit(path) as file:
        for group in ("eeg", "eog", "emg"):
            del file[f"signals/{group}"].attrs["fs"]
        describe(file, [{"path": f"/{label}", "fs": 25 if label == C3 else 50, "x": 1} for label in CHANNELS])
        old = file[C3][:3000]
        del file[C3]
        file[C3] = old
    assert {c.rate_hz for c in Hdf5File(path).channels() if c.label == C3} == {25.0}
    assert Hdf5File(path).duration_s() == 120.0


@pytest.mark.parametrize("on", ["dataset", "group"])
def test_without_a_description_the_rate_is_an_attribute(tmp_path, on):
    path = tmp_path / "x.h5"
    write_dreem_h5(path, STAGES, channels={C3: "eeg"}, rate_hz=RATE_HZ, described=False, attributes=on == "group")
    if on == "dataset":
        with edit(path) as file:
            file[C3].attrs["fs"] = np.array([RATE_HZ])
            file[C3].attrs["unit"] = np.bytes_("µV".encode())
    (channel,) = Hdf5File(path).channels()
    assert (channel.rate_hz, channel.unit) == (RATE_HZ, "uV" if on == "group" else "µV")
    assert Hdf5File(path).read(C3).unit == channel.unit


def test_no_rate_is_never_guessed(tmp_path):
    path = tmp_path / "x.h5"
    write_dreem_h5(path, STAGES, rate_hz=RATE_HZ, described=False, attributes=False)
    with pytest.raises(RecordingError, match="'signals/eeg/C3_M2' states no sampling rate; .*rate_hz"):
        Hdf5File(path, unit="uV").channels()
    assert Hdf5File(path, unit="uV", rate_hz=RATE_HZ).duration_s() == 120.0


def test_two_rates_are_not_chosen_between(path):
    with edit(path) as file:
        describe(file, [{"path": C3, "fs": 60}])
    with pytest.raises(RecordingError, match="states 60 Hz and 50 Hz; .*rate_hz"):
        Hdf5File(path).channels()
    assert {c.rate_hz for c in Hdf5File(path, rate_hz=50).channels()} == {50}


@pytest.mark.parametrize("rate", [0, -250, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(path, rate):
    with edit(path) as file:
        file["signals/eeg"].attrs["fs"] = rate
        describe(file, [])
    with pytest.raises(RecordingError, match=r"states .* Hz; give the right one"):
        Hdf5File(path).channels()
    with pytest.raises(UsageError, match="expected a sampling rate above 0"):
        Hdf5File(path, rate_hz=rate)


@pytest.mark.parametrize("text", ["[", '{"a": 1}', "[1]", '[{"path": "x", "fs": "fast"}]', '[{"fs": 1}]', "[" * 10_000])
def test_a_malformed_description_is_refused(path, text):
    with edit(path) as file:
        file.attrs["description"] = text
    with pytest.raises(RecordingError, match="'description' is no JSON list of path and fs"):
        Hdf5File(path).channels()


def test_no_unit_is_never_guessed(tmp_path):
    path = tmp_path / "x.h5"
    write_dreem_h5(path, STAGES, rate_hz=RATE_HZ, unit="V", attributes=False)
    with pytest.raises(RecordingError, match=r"has no unit; .*\[units\]"):
        Hdf5File(path).channels()
    assert Hdf5File(path, unit="V").read(C3).unit == "V"
    with pytest.raises(UsageError, match="unit 'volt' .* known: V, mV, uV"):
        Hdf5File(path, unit="volt")


def test_a_given_unit_wins_and_is_told(path):
    with edit(path) as file:
        for group in ("eeg", "eog", "emg"):
            file[f"signals/{group}"].attrs["unit"] = "V"
    file = Hdf5File(path, unit="uV")
    assert file.read(C3).unit == "uV"
    assert file.repairs()[0] == "signals/eeg/C3_M2: taken as uV, though the file says V"
    assert len(file.repairs()) == len(CHANNELS)


@pytest.mark.parametrize("label", [C3, ECG, "signals/emg/EMG", "signals/eog/EOG1"])
@pytest.mark.parametrize(("written", "claimed"), [("uV", "V"), ("V", "uV")])
def test_a_unit_that_makes_no_sense_is_refused_with_one_that_does(tmp_path, label, written, claimed):
    path = tmp_path / "x.h5"
    write_dreem_h5(path, STAGES, channels={label: CHANNELS[label]}, rate_hz=RATE_HZ, unit=written)
    assert Hdf5File(path, unit=written).read(label).unit == written
    pattern = (
        rf"{label}.* deviates from its median by .* {claimed} = .* uV, biosignals by 0\.1 to 5000 uV; in .*{written}"
    )
    with pytest.raises(RecordingError, match=pattern + r".*\[units\]"):
        Hdf5File(path, unit=claimed).read(label)


@pytest.mark.parametrize("deviation_uv", [0.09, 0.11, 4900, 5100])
def test_bounds_of_plausible_amplitudes(path, deviation_uv):
    with edit(path) as file:
        file[C3][:] = np.where(np.arange(6000) % 2, 1.0, -1.0) * deviation_uv
    assert (PLAUSIBLE_UV[0] < deviation_uv < PLAUSIBLE_UV[1]) is (deviation_uv in (0.11, 4900))
    if deviation_uv in (0.11, 4900):
        np.testing.assert_allclose(np.abs(Hdf5File(path).read(C3).values), deviation_uv, rtol=1e-6)
    else:
        with pytest.raises(RecordingError, match="deviates"):
            Hdf5File(path).read(C3)


def test_a_constant_channel_says_nothing_about_its_unit(path):
    with edit(path) as file:
        file[C3][:] = 7.0
    assert Hdf5File(path, unit="V").read(C3).values.tolist() == [7.0] * 6000


def test_typical_deviation():
    assert typical_deviation(np.array([1.0, 2.0, 3.0, 9.0, np.nan, np.inf])) == 1.0  # median 2.5: 1.5, .5, .5, 6.5
    assert typical_deviation(np.array([0.0] * 90 + [5.0, -5.0, 5.0])) == 5.0  # off for most of the night
    assert typical_deviation(np.array([-1.7e308, 1.7e308, 1.7e308])) == np.inf
    assert typical_deviation(np.array([4.0, 4.0])) == typical_deviation(np.array([np.nan])) == 0.0


def test_links_are_never_followed(path, tmp_path):
    write_dreem_h5(tmp_path / "other.h5", STAGES, rate_hz=RATE_HZ)
    with edit(path) as file:
        file["signals/eeg/OUT"] = h5py.ExternalLink("other.h5", C3)
        file["signals/eeg/SOFT"] = h5py.SoftLink(f"/{C3}")
        file["signals/far"] = h5py.ExternalLink("other.h5", "signals")
    file = Hdf5File(path)
    assert set(file.unreadable()) == {"signals/eeg/OUT", "signals/eeg/SOFT", "signals/far"}
    assert {c.label for c in file.channels()} == set(CHANNELS)
    with pytest.raises(DataError, match=r"'signals/eeg/OUT' is a link \(ExternalLink\) that is not followed") as caught:
        file.read("signals/eeg/OUT")
    assert not isinstance(caught.value, RecordingError)  # the other channels can be used
    with edit(path) as file:
        del file["signals"]
        file["signals"] = h5py.ExternalLink("other.h5", "signals")
        del file["hypnogram"]
        file["hypnogram"] = h5py.ExternalLink("other.h5", "hypnogram")
    with pytest.raises(RecordingError, match="group 'signals' is a link"):
        Hdf5File(path).channels()
    with pytest.raises(RecordingError, match="'hypnogram' is a link"):
        load_hypnogram(path)


def test_samples_outside_the_file_are_never_read(path, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(8 * 6000))
    layout = h5py.VirtualLayout(shape=(6000,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), C3, shape=(6000,))
    with edit(path) as file:
        file.create_dataset("signals/eeg/RAW", (6000,), "f8", external=[(str(tmp_path / "secret.bin"), 0, 8 * 6000)])
        file.create_virtual_dataset("signals/eeg/VIRTUAL", layout)
    unreadable = Hdf5File(path).unreadable()
    assert set(unreadable) == {"signals/eeg/RAW", "signals/eeg/VIRTUAL"}
    assert all("outside the file" in reason for reason in unreadable.values())


def test_what_is_no_row_of_numbers_is_no_channel(path):
    with edit(path) as file:
        group = file["signals/eeg"]
        group["TWO"] = np.zeros((6000, 2))
        group["TEXT"] = np.array([b"a"] * 6000)
        group["COMPLEX"] = np.zeros(6000, complex)
        group["EMPTY"] = np.zeros(0)
        group["NULL"] = h5py.Empty("f4")
        group["TYPE"] = np.dtype("f4")
        group["SCALAR"] = 3.0
        group["SHORT"] = np.ones(5000)
        group.create_dataset("HUGE", (MAX_CHANNEL_BYTES // 8 + 1,), "i1", chunks=True)
        group.create_dataset("HOLES", (6000,), "f4", chunks=(1000,))[:3000] = 1.0
        group.create_dataset("BLANK", (6000,), "f4")
    reasons = {label.rpartition("/")[2]: reason for label, reason in Hdf5File(path).unreadable().items()}
    for name, part in {
        "TWO": "of shape (6000, 2)",
        "TEXT": "not of numbers",
        "COMPLEX": "not of numbers",
        "EMPTY": "of shape (0,)",
        "NULL": "of shape None",
        "TYPE": "no dataset",
        "SCALAR": "of shape ()",
        "SHORT": "100 s long, but the recording lasts 120 s",
        "HUGE": "above the limit",
        "HOLES": "not written to its end",
        "BLANK": "not written to its end",
    }.items():
        assert part in reasons.pop(name)
    assert reasons == {}


def test_groups_that_contain_themselves_end(path):
    with edit(path) as file:
        file["signals/eeg/again"] = file["signals"]
    with pytest.raises(RecordingError, match="groups deeper than"):
        Hdf5File(path).channels()


def test_other_layouts_say_what_they_hold(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["eeg"] = np.zeros(3)
    with pytest.raises(RecordingError, match="group 'signals' is missing; the file holds: eeg"):
        Hdf5File(tmp_path / "x.h5").channels()
    with edit(tmp_path / "x.h5") as file:
        file["signals"] = np.zeros(3)
    with pytest.raises(RecordingError, match="group 'signals' is no group"):
        Hdf5File(tmp_path / "x.h5").channels()
    with edit(tmp_path / "x.h5") as file:
        del file["signals"]
        file.create_group("signals/eeg")
    with pytest.raises(RecordingError, match="no channel can be read below 'signals'; it is empty"):
        Hdf5File(tmp_path / "x.h5").duration_s()


def test_an_unknown_label_lists_the_channels(path):
    with pytest.raises(RecordingError, match="no channel 'C3'; the file has: signals/eeg/C3_M2, "):
        Hdf5File(path).read("C3")


def test_damaged_files_are_refused_for_good(path):
    data = path.read_bytes()
    for cut in (0, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(RecordingError, match="cannot be read as HDF5") as caught:
            Hdf5File(path).channels()
        assert "\n" not in str(caught.value)
        assert not is_transient(caught.value)


def test_a_damaged_chunk_stops_the_recording(path):
    with h5py.File(path) as file:
        chunk = file[C3].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 20 : chunk.byte_offset + 60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="cannot be read as HDF5"):
        Hdf5File(path).read(C3)
    assert len(Hdf5File(path).read(ECG).values) == 6000


def test_the_hypnogram_is_read_whole(path):
    assert load_hypnogram(path) == STAGES
    scoring = read_dreem_hypnogram({"main": load_hypnogram(path)}, Facts(Hdf5File(path).duration_s()))
    assert hypnogram(scoring.stages, 120.0).codes.tolist() == STAGES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "is missing"),
        (np.array([0.0, 1.5]), "no whole numbers"),
        (np.array([0.0, np.nan]), "no whole numbers"),
        (np.array([0.0, np.inf]), "no whole numbers"),
        (np.zeros((2, 2), int), r"of shape \(2, 2\)"),
        (np.array([b"W"]), "not of numbers"),
        (np.zeros(MAX_EPOCHS + 1, np.int8), "above the limit"),
    ],
)
def test_a_hypnogram_that_is_none(path, values, message):
    with edit(path) as file:
        del file["hypnogram"]
        if values is not None:
            file["hypnogram"] = values
    with pytest.raises(RecordingError, match=f"dataset 'hypnogram' .*{message}"):
        load_hypnogram(path)


@pytest.mark.parametrize("dtype", ["i1", "u2", "i8", "f4"])
def test_a_hypnogram_of_any_number_type(path, dtype):
    with edit(path) as file:
        del file["hypnogram"]
        file["hypnogram"] = np.array(STAGES, dtype)
    assert load_hypnogram(path) == STAGES


def test_without_the_package_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (Hdf5File(path).channels, lambda: load_hypnogram(path)):
        with pytest.raises(UsageError, match=r"pip install 'hypnos-bench\[hdf5\]'"):
            call()
