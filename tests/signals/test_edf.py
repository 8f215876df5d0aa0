import pickle
from datetime import time

import numpy as np
import pyedflib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.edf import EdfFile, read_edf_annotations
from hypnos_bench.signals.edf_writer import write_edf

REAL = [
    "sleepedf-sc4001/short_psg.edf",
    "sleepedf-sc4001/short_psg.bdf",
    "sleepedf-sc4001/SC4001EC-Hypnogram.edf",
    "sleepedf-sc4001/SC4001EC-Hypnogram.bdf",
    "edf-edge-cases/pyedflib_test_subsecond.edf",  # inverted physical range, starts within a second
    "edf-edge-cases/pyedflib_test_generator_datarec_generator_0_5.bdf",  # records of half a second, uneven rates
    "edf-edge-cases/edfize_simulated-01.edf",
    "cinc2017-6/sample.edf",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files_equal_edflib_to_the_last_bit(shared_data, name):
    file = EdfFile(shared_data / name)
    with pyedflib.EdfReader(str(shared_data / name)) as f:
        assert [c.label for c in file.channels()] == f.getSignalLabels()
        assert file.duration_s() == f.file_duration
        assert (file.repairs(), file.unreadable(), file.gaps()) == ((), {}, ())
        for i, channel in enumerate(file.channels()):
            signal = file.read(channel.label)
            assert signal.rate_hz == channel.rate_hz == f.getSampleFrequency(i)
            assert signal.unit == f.getPhysicalDimension(i)
            assert len(signal.values) == channel.n_samples
            np.testing.assert_array_equal(signal.values, f.readSignal(i))
        expected = list(zip(*(column.tolist() for column in f.readAnnotations()), strict=True))
    found = [(start, duration or -1.0, text) for start, duration, text in read_edf_annotations(shared_data / name)]
    assert [text for *_, text in found] == [text for *_, text in expected]
    np.testing.assert_allclose([f[:2] for f in found], [e[:2] for e in expected], atol=1e-6)


def test_real_hypnogram(shared_data):
    annotations = read_edf_annotations(shared_data / "sleepedf-sc4001/SC4001EC-Hypnogram.edf")
    assert annotations[:2] == [(0.0, 30630.0, "Sleep stage W"), (30630.0, 120.0, "Sleep stage 1")]
    assert sum(d for _, d, text in annotations if text.startswith("Sleep stage")) == 24 * 3600  # padded with "?"


def test_start_is_a_time_of_day(shared_data):
    assert EdfFile(shared_data / "sleepedf-sc4001/short_psg.edf").start_clock() == time(16, 13)
    # The fraction is kept in the first annotation, +0.394531 s.
    subsecond = EdfFile(shared_data / "edf-edge-cases/pyedflib_test_subsecond.edf")
    assert subsecond.start_clock() == time(4, 5, 56, 394531)


def test_edge_cases_that_edflib_refuses(shared_data):
    """A date and time that do not exist, and one byte of padding: the signals are sound."""
    file = EdfFile(shared_data / "edf-edge-cases/EDFjl_test_uneven_samp.edf")
    assert [c.rate_hz for c in file.channels()] == [100.0, 12.8]
    sine = file.read("3Hz +5/-5 V")
    spectrum = np.abs(np.fft.rfft(sine.values - sine.values.mean()))
    peak_hz = np.argmax(spectrum) * sine.rate_hz / len(sine.values)
    assert peak_hz == pytest.approx(3, abs=0.1)
    assert np.abs(sine.values).max() == pytest.approx(5, abs=0.1)
    assert file.start_clock() is None
    assert file.repairs() == (
        "1 byte after the last data record, less than another one: left out",
        "the start date is '42.00.00', not a date (dd.mm.yy): left out",
        "the start time is '26.00.99', not a time of day (hh.mm.ss): the clock is unknown",
    )


@pytest.mark.parametrize("name", ["edfize_zero-data-records.edf", "edfize_invalid-date.edf"])
def test_zero_records(shared_data, name):
    with pytest.raises(RecordingError, match=rf"^{name}: the header says zero data records"):
        EdfFile(shared_data / "edf-edge-cases" / name).channels()


@pytest.fixture
def edf(tmp_path):
    """Ten seconds of two channels: C3 at 100 Hz and ECG at 200 Hz, 600 bytes a record."""
    path = tmp_path / "night.edf"
    rng = np.random.default_rng(1)
    write_edf(path, [("C3", 100, "uV", rng.standard_normal(1000)), ("ECG", 200, "mV", rng.standard_normal(2000))])
    return path


def patch(path, at, text, width):
    raw = bytearray(path.read_bytes())
    raw[at : at + width] = text.encode("latin-1").ljust(width)
    path.write_bytes(raw)


# Where things lie in a header of two channels.
N_RECORDS, RECORD_S, RESERVED, DATE = (236, 8), (244, 8), (192, 44), (168, 8)
LABEL_2 = (256 + 16, 16)
UNIT_1 = (256 + 2 * 96, 8)
PHYSICAL_MIN_1 = (256 + 2 * 104, 8)
DIGITAL_MIN_1, DIGITAL_MAX_1 = (256 + 2 * 120, 8), (256 + 2 * 128, 8)
SAMPLES_1 = (256 + 2 * 216, 8)


def test_truncation_is_refused_and_measured(edf):
    edf.write_bytes(edf.read_bytes()[:-700])
    with pytest.raises(RecordingError, match=r"night.edf: truncated: 8 of 10 data records are there, 2 s missing"):
        EdfFile(edf).channels()


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (N_RECORDS, "-2", r"says -2 data records .* room for 10"),
        (N_RECORDS, "0", "zero data records"),
        (N_RECORDS, "11", "truncated: 10 of 11 data records are there, 1 s missing"),
        (N_RECORDS, "9", "says 9 data records, the file holds 10"),
        (N_RECORDS, "ten", "number of data records is 'ten'"),
        (N_RECORDS, "99999999", "truncated"),
        (RECORD_S, "0", "last '0' s"),
        (RECORD_S, "-1", "last '-1' s"),
        (RECORD_S, "nan", "last 'nan' s"),
        (SAMPLES_1, "0", "'C3': 0 samples per data record"),
        (SAMPLES_1, "99999", "truncated: 0 of 10"),
        (SAMPLES_1, "99999999", "'C3': 99999999 samples in 1 s"),
        (RECORD_S, "99999999", "last '99999999' s"),
        ((184, 8), "512", "gives its own length as '512' bytes, its signals need 768"),
        ((252, 4), "0", "lists no signals"),
        ((252, 4), "9999", "truncated: the header alone needs 2560000 bytes"),
        ((0, 8), "RIFF", "not an EDF or BDF file"),
        (RESERVED, "EDF+D", "EDF\\+D without annotation channel"),
    ],
)
def test_headers_that_lie_are_refused(edf, field, text, message):
    patch(edf, field[0], text, field[1])
    with pytest.raises(RecordingError, match=message) as caught:
        EdfFile(edf).channels()
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recording(tmp_path):
    (tmp_path / "empty.edf").touch()
    (tmp_path / "short.edf").write_bytes(b"0       ")
    for name, message in [("empty", "empty"), ("short", "not an EDF"), ("absent", "cannot be opened")]:
        with pytest.raises(RecordingError, match=message):
            EdfFile(tmp_path / f"{name}.edf").channels()


def test_a_blanked_date_does_not_matter(edf):
    before = EdfFile(edf).read("C3").values
    patch(edf, DATE[0], "00.00.00", DATE[1])
    with pytest.raises(OSError, match="startdate"):
        pyedflib.EdfReader(str(edf))
    np.testing.assert_array_equal(EdfFile(edf).read("C3").values, before)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (DIGITAL_MAX_1, "-32767", "digital range is -32767 to -32767"),
        (DIGITAL_MIN_1, "low", "digital minimum is 'low'"),
        (DIGITAL_MAX_1, "32,767", "digital maximum is '32,767', not a whole number"),  # a comma between thousands
        (PHYSICAL_MIN_1, "1e400", "physical minimum is '1e400', not a number"),
    ],
)
def test_channel_faults(edf, field, text, message):
    patch(edf, field[0], text, field[1])
    file = EdfFile(edf)
    with pytest.raises(DataError, match=message) as error:
        file.read("C3")
    assert not isinstance(error.value, RecordingError)  # the recording stays usable
    assert list(file.unreadable()) == ["C3"]
    assert len(file.read("ECG").values) == 2000


def test_a_range_that_no_number_can_hold_is_a_channel_fault(edf):
    patch(edf, PHYSICAL_MIN_1[0], "-1e308", 8)
    patch(edf, PHYSICAL_MIN_1[0] + 16, "1e308", 8)
    assert "range -1e+308 to 1e+308 cannot be computed with" in EdfFile(edf).unreadable()["C3"]


def test_annotations_of_a_file_that_does_not_call_itself_edf_plus(shared_data):
    """EDFlib takes that channel for a signal; text read as numbers is none."""
    path = shared_data / "edf-edge-cases/pyedflib_test_legacy.edf"
    file = EdfFile(path)
    with pyedflib.EdfReader(str(path)) as f:
        *labels, last = f.getSignalLabels()
        assert last == "EDF Annotations"
        assert [c.label for c in file.channels()] == labels
        for i, label in enumerate(labels):
            np.testing.assert_array_equal(file.read(label).values, f.readSignal(i))
    assert read_edf_annotations(path) == []
    assert file.repairs() == ("the reserved field does not say EDF+: the channel 'EDF Annotations' is left out",)


def test_repeated_labels(edf):
    second = EdfFile(edf).read("ECG").values
    patch(edf, LABEL_2[0], "C3", LABEL_2[1])
    file = EdfFile(edf)
    assert [c.label for c in file.channels()] == ["C3", "C3#2"]
    np.testing.assert_array_equal(file.read("C3#2").values, second)


def test_units_keep_their_micro_sign(edf):
    patch(edf, UNIT_1[0], "µV", UNIT_1[1])
    assert EdfFile(edf).read("C3").unit == "µV"


def test_an_unknown_channel_names_the_known_ones(edf):
    with pytest.raises(RecordingError, match=r"no channel 'C4'; the file has: C3, ECG"):
        EdfFile(edf).read("C4")


def test_padding_shorter_than_a_record_is_ignored(edf):
    before = EdfFile(edf).read("ECG").values
    edf.write_bytes(edf.read_bytes() + b"\x00" * 599)
    np.testing.assert_array_equal(EdfFile(edf).read("ECG").values, before)


def test_can_be_pickled_and_keeps_nothing_open(edf):
    file = EdfFile(edf)
    file.channels()
    copy = pickle.loads(pickle.dumps(file))
    assert copy.files == (edf,)
    edf.unlink()
    with pytest.raises(RecordingError, match="cannot be read"):
        copy.read("C3")


def test_a_file_that_shrinks_while_it_is_read(edf):
    file = EdfFile(edf)
    file.channels()
    edf.write_bytes(edf.read_bytes()[:-1])
    with pytest.raises(RecordingError, match="became shorter"):
        file.read("C3")


@pytest.fixture
def edf_plus(tmp_path):
    path = tmp_path / "plus.edf"
    annotations = [(0, 30, "Sleep stage W"), (2.5, 0, "Lichter gelöscht")]
    write_edf(path, [("C3", 10, "uV", np.ones(50))], annotations=annotations)
    return path


def test_annotations(edf_plus):
    assert [c.label for c in EdfFile(edf_plus).channels()] == ["C3"]
    assert read_edf_annotations(edf_plus) == [(0.0, 30.0, "Sleep stage W"), (2.5, 0.0, "Lichter gelöscht")]


def test_plain_edf_has_no_annotations(edf):
    assert read_edf_annotations(edf) == []


def test_latin_1_annotations_are_read(edf_plus):
    raw = edf_plus.read_bytes()
    edf_plus.write_bytes(raw.replace("gelöscht".encode(), "gelöscht".encode("latin-1") + b"\x14"))
    assert read_edf_annotations(edf_plus)[1][2] == "Lichter gelöscht"


def test_malformed_annotations_are_refused(edf_plus):
    edf_plus.write_bytes(edf_plus.read_bytes().replace(b"+2.5\x14", b"x2.5\x14"))
    with pytest.raises(RecordingError, match=r"malformed annotation in data record 3: b'x2.5"):
        read_edf_annotations(edf_plus)


def test_onsets_count_from_the_first_sample(edf_plus):
    """EDF+ lets the first record begin after the header's start; onsets are shifted with it."""
    raw = edf_plus.read_bytes()
    edf_plus.write_bytes(raw.replace(b"+0\x14\x14", b"+1\x14\x14", 1))
    assert [start for start, *_ in read_edf_annotations(edf_plus)] == [-1.0, 1.5]
    assert EdfFile(edf_plus).start_clock() == time(22, 0, 1)


def test_a_clock_that_cannot_be_told_is_none(edf_plus):
    raw = edf_plus.read_bytes()
    edf_plus.write_bytes(raw.replace(b"+0\x14\x14", b"-1\x14\x14", 1))
    assert EdfFile(edf_plus).start_clock() == time(21, 59, 59)
    edf_plus.write_bytes(raw.replace(b"+0\x14\x14", b"x0\x14\x14", 1))
    file = EdfFile(edf_plus)
    assert file.start_clock() is None
    edf_plus.unlink()
    with pytest.raises(RecordingError, match="cannot be read"):
        file.start_clock()


def test_onsets_beyond_reason_are_malformed(edf_plus):
    raw = edf_plus.read_bytes()
    edf_plus.write_bytes(raw.replace(b"+2.5\x14", b"+9e9\x14"))
    with pytest.raises(RecordingError, match="malformed annotation"):
        read_edf_annotations(edf_plus)
    write_edf(edf_plus, [("C3", 10, "uV", np.ones(50))], annotations=[(2e9, 0, "late")])
    with pytest.raises(RecordingError, match="malformed annotation"):
        read_edf_annotations(edf_plus)


@pytest.mark.parametrize(
    ("recording", "synthetic"),
    [
        ("synthetic X hypnos-bench", True),
        ("synthetic_untrained X hypnos-bench", True),
        ("X X hypnos-bench", False),
        ("synthetic X X", False),
        ("X X X", False),
    ],
)
def test_generated_signals_are_told_from_recordings(tmp_path, recording, synthetic):
    write_edf(tmp_path / "a.edf", [("C3", 10, "z", np.ones(50))], recording=recording)
    assert EdfFile(tmp_path / "a.edf").is_synthetic is synthetic


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1023), st.sampled_from(b"\x00 -.059eX\x14\x15\xff")), min_size=1, max_size=4))
def test_damaged_bytes_give_one_line_or_whole_channels(edf_plus, damage):
    """Whatever is overwritten: a clear refusal, or every channel with as many finite samples as announced."""
    sound = edf_plus.read_bytes()
    raw = bytearray(sound)
    for at, byte in damage:
        raw[at % len(raw)] = byte
    edf_plus.write_bytes(raw)
    refusal = "plus.edf: "
    try:
        file = EdfFile(edf_plus)
        read_edf_annotations(edf_plus)
        for channel in file.channels():
            if channel.label in file.unreadable():
                continue
            values = file.read(channel.label).values
            assert len(values) == channel.n_samples
            assert np.isfinite(values).all()  # an EDF+C file has no pauses
        assert all("\n" not in line for line in file.repairs())
        file.start_clock()
    except DataError as error:
        refusal = str(error)
    finally:
        edf_plus.write_bytes(sound)
    assert refusal.startswith("plus.edf: ")
    assert "\n" not in refusal


def test_annotations_are_bounded_while_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / "x.edf"
    texts = [(30.0 * i, 30.0, "Sleep stage W") for i in range(4)]
    write_edf(path, [], annotations=texts)
    assert read_edf_annotations(path) == texts
    monkeypatch.setattr("hypnos_bench.signals.edf.MAX_ANNOTATIONS", 3)
    with pytest.raises(RecordingError, match="x.edf: more than 3 annotations"):
        read_edf_annotations(path)
