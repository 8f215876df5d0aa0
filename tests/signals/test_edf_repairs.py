"""Headers that are written badly are read, and every repair is reported; damaged ones are refused."""

from datetime import time

import numpy as np
import pyedflib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_fields import FieldReader
from hypnos_bench.signals.edf_writer import write_edf

# Where things lie in a header of two channels: first byte and width.
VERSION, PATIENT, DATE, CLOCK = (0, 8), (8, 80), (168, 8), (176, 8)
HEADER_BYTES, RESERVED, N_RECORDS, RECORD_S = (184, 8), (192, 44), (236, 8), (244, 8)
LABEL_1, LABEL_2 = (256, 16), (256 + 16, 16)
TRANSDUCER_2 = (256 + 2 * 16 + 80, 80)
UNIT_1 = (256 + 2 * 96, 8)
PHYSICAL_MIN_1, PHYSICAL_MAX_1 = (256 + 2 * 104, 8), (256 + 2 * 112, 8)
PHYSICAL_MIN_2, PHYSICAL_MAX_2 = (256 + 2 * 104 + 8, 8), (256 + 2 * 112 + 8, 8)
DIGITAL_MIN_1 = (256 + 2 * 120, 8)
SAMPLES_1 = (256 + 2 * 216, 8)


@pytest.fixture
def edf(tmp_path):
    """Ten seconds of two channels: C3 at 100 Hz and ECG at 200 Hz, 600 bytes a record."""
    path = tmp_path / "night.edf"
    rng = np.random.default_rng(1)
    write_edf(path, [("C3", 100, "uV", rng.standard_normal(1000)), ("ECG", 200, "mV", rng.standard_normal(2000))])
    return path


def patch(path, field, raw, fill=b" "):
    at, width = field
    content = bytearray(path.read_bytes())
    content[at : at + width] = raw.ljust(width, fill)
    path.write_bytes(content)


def values(path):
    file = EdfFile(path)
    return [file.read(channel.label).values for channel in file.channels()]


def test_a_clean_file_has_no_repairs(edf):
    file = EdfFile(edf)
    assert (file.repairs(), file.unreadable(), file.start_clock()) == ((), {}, time(22))


@pytest.mark.parametrize(
    ("field", "raw", "line"),
    [
        (DATE, b"00.00.00", "the start date is '00.00.00', not a date (dd.mm.yy): left out"),
        (DATE, b"31.02.99", "the start date is '31.02.99', not a date (dd.mm.yy): left out"),
        (DATE, b"", "the start date is '', not a date (dd.mm.yy): left out"),
        (DATE, b"01/01/85", "the start date is '01/01/85', not a date (dd.mm.yy): left out"),
        (CLOCK, b"22:00:00", "the start time is '22:00:00', with colons instead of dots"),
        (RECORD_S, b"1,0", "the duration of a data record is '1,0': the comma is read as a decimal point"),
        (N_RECORDS, b"10.0", "the number of data records is '10.0': read as 10"),
        (SAMPLES_1, b"100,", "the samples per record of 'C3' is '100,': read as 100"),
        (HEADER_BYTES, b"  768", "the header length is not left-justified: leading blanks are left out"),
        (RESERVED, b"\x00" * 44, "the reserved field is filled with NUL bytes, not blanks: read up to the first NUL"),
        (PATIENT, "Müller".encode(), "not ASCII, and not used: patient"),
        (TRANSDUCER_2, b"\xc4rmel", "not ASCII, and not used: transducer of channel 2"),
        (
            N_RECORDS,
            b"-1",
            "the header says -1 data records (recording never closed): the 10 that the file holds are read",
        ),
    ],
)
def test_cosmetic_faults_are_repaired_and_the_values_stay(edf, field, raw, line):
    sound = values(edf)
    patch(edf, field, raw)
    for before, after in zip(sound, values(edf), strict=True):
        np.testing.assert_array_equal(before, after)
    assert EdfFile(edf).repairs() == (line,)


@pytest.mark.parametrize("field", [DATE, N_RECORDS])
def test_edflib_refuses_such_files(edf, field):
    """Why the reader is its own: the oracle takes no such file."""
    patch(edf, field, b"00.00.00" if field == DATE else b"-1")
    with pytest.raises(OSError):
        pyedflib.EdfReader(str(edf))


def test_a_name_in_the_patient_field_is_never_repeated(edf):
    patch(edf, PATIENT, "Jörg Müller".encode("latin-1"))
    (line,) = EdfFile(edf).repairs()
    assert "rg" not in line


def test_decimal_commas_give_the_values_of_dots(edf):
    raw = edf.read_bytes()
    sound = values(edf)
    for at, width in (PHYSICAL_MIN_1, PHYSICAL_MAX_1):
        patch(edf, (at, width), raw[at : at + width].replace(b".", b","))
    np.testing.assert_array_equal(EdfFile(edf).read("C3").values, sound[0])
    first, second = EdfFile(edf).repairs()
    assert first.startswith("the physical minimum of 'C3' is '-")
    assert first.endswith("': the comma is read as a decimal point")
    assert second.startswith("the physical maximum of 'C3'")


@pytest.mark.parametrize("text", [b"1,000,00", b"1.000,0", b",", b"-,"])
def test_what_is_no_number_with_a_comma_either(edf, text):
    patch(edf, PHYSICAL_MAX_1, text)
    assert "not a number" in EdfFile(edf).unreadable()["C3"]


def test_nul_padding_is_one_line(edf):
    """A writer in C that fills its fields with zero bytes, here in every field."""
    sound = values(edf)
    raw = bytearray(edf.read_bytes())
    raw[:768] = bytes(raw[:768]).replace(b" ", b"\x00")
    raw[88:168] = b"Startdate 01-JAN-1985 X X X".ljust(80)
    edf.write_bytes(raw)
    file = EdfFile(edf)
    for before, after in zip(sound, values(edf), strict=True):
        np.testing.assert_array_equal(before, after)
    assert [c.label for c in file.channels()] == ["C3", "ECG"]
    (line,) = file.repairs()
    assert line.startswith("25 header fields (version, number of signals, header length, ...) are filled with NUL")


def test_what_follows_a_nul_is_left_out(edf):
    patch(edf, LABEL_1, b"C3\x00EG old")
    assert [c.label for c in EdfFile(edf).channels()] == ["C3", "ECG"]


@pytest.mark.parametrize(
    ("raw", "label", "encoding"),
    [
        ("Bauchgürtel".encode(), "Bauchgürtel", "UTF-8"),
        ("Bauchgürtel".encode("latin-1"), "Bauchgürtel", "Latin-1"),
        ("\ufeffC4".encode(), "C4", "UTF-8"),
        (b"\xff\xfe\xb5", "ÿþµ", "Latin-1"),
    ],
)
def test_labels_in_utf_8_and_latin_1(edf, raw, label, encoding):
    patch(edf, LABEL_1, raw)
    file = EdfFile(edf)
    assert file.channels()[0].label == label
    assert len(file.read(label).values) == 1000
    assert file.repairs() == (f"the label of channel 1 is not ASCII: read as {encoding} {label!r}",)


@pytest.mark.parametrize("raw", ["µV".encode(), "µV".encode("latin-1")])
def test_micro_signs_in_either_encoding(edf, raw):
    patch(edf, UNIT_1, raw)
    file = EdfFile(edf)
    assert file.read("C3").unit == "µV"
    assert len(file.repairs()) == 1
    assert "the unit of 'C3' is not ASCII" in file.repairs()[0]


def test_labels_that_cannot_be_printed_stay_on_one_line(edf):
    patch(edf, LABEL_1, b"C3\n\x07-M2")
    file = EdfFile(edf)
    assert file.channels()[0].label == "C3 ?-M2"
    assert file.repairs() == ("the label of channel 1 holds characters that cannot be printed: read as 'C3 ?-M2'",)


def test_repeated_and_blank_labels_are_reported(edf):
    patch(edf, LABEL_2, b"C3")
    assert EdfFile(edf).repairs() == ("the label of channel 2 is 'C3' again: called 'C3#2'",)
    patch(edf, LABEL_2, b"")
    assert EdfFile(edf).repairs() == ("the label of channel 2 is blank: called '#2'",)


def test_a_channel_without_calibration_is_read_as_stored(edf):
    """Physical maximum and minimum both 0, as in several hundred files of the CHAT study; EDFlib refuses the file."""
    with pyedflib.EdfReader(str(edf)) as f:
        stored = f.readSignal(1, digital=True)
    sound = values(edf)[0]
    for field in (PHYSICAL_MIN_2, PHYSICAL_MAX_2):
        patch(edf, field, b"0")
    with pytest.raises(OSError):
        pyedflib.EdfReader(str(edf))
    file = EdfFile(edf)
    signal = file.read("ECG")
    assert signal.unit == file.channels()[1].unit == "uncalibrated"
    np.testing.assert_array_equal(signal.values, stored)
    np.testing.assert_array_equal(file.read("C3").values, sound)
    assert file.unreadable() == {}
    assert file.repairs() == (
        "channel 'ECG' has no calibration, physical minimum and maximum are both 0: "
        "read as stored integers, unit 'uncalibrated'",
    )


def test_no_calibration_and_no_digital_range_stays_unusable(edf):
    for field in (PHYSICAL_MIN_1, PHYSICAL_MAX_1, DIGITAL_MIN_1, (DIGITAL_MIN_1[0] + 16, 8)):
        patch(edf, field, b"0")
    file = EdfFile(edf)
    assert file.unreadable() == {"C3": "its digital range is 0 to 0"}
    with pytest.raises(DataError, match="'C3' cannot be used: its digital range is 0 to 0"):
        file.read("C3")


def test_a_file_that_was_never_closed_must_hold_whole_records(edf):
    patch(edf, N_RECORDS, b"-1")
    edf.write_bytes(edf.read_bytes()[:-601])
    with pytest.raises(RecordingError, match=r"never closed\); the file holds 8 and a part of another: it was cut off"):
        EdfFile(edf).channels()
    edf.write_bytes(edf.read_bytes()[:768])
    with pytest.raises(RecordingError, match=r"never closed\); the file has room for 0"):
        EdfFile(edf).channels()


def test_bytes_after_the_last_record_are_reported(edf):
    edf.write_bytes(edf.read_bytes() + b"\x00" * 599)
    assert EdfFile(edf).repairs() == ("599 bytes after the last data record, less than another one: left out",)
    edf.write_bytes(edf.read_bytes() + b"\x00")
    with pytest.raises(RecordingError, match="says 10 data records, the file holds 11"):
        EdfFile(edf).channels()


@pytest.mark.parametrize("text", ["0", "-12.5", "+3", ".5", "7.", "32767", "-1e3", "2.50E-2"])
def test_numbers_equal_pythons(text):
    reader = FieldReader()
    assert reader.number(text.encode().ljust(8), "x") == float(text)
    assert reader.repairs == ()


FIELDS = [
    *(VERSION, DATE, CLOCK, HEADER_BYTES, RESERVED, N_RECORDS, RECORD_S, (252, 4), LABEL_1, UNIT_1),
    *(PHYSICAL_MIN_1, PHYSICAL_MAX_1, PHYSICAL_MAX_2, DIGITAL_MIN_1, SAMPLES_1),
]
TEXTS = [
    *(b"-1      ", b"0       ", b"1,5     ", b"\x00" * 8, b"1e308   ", b"-1e308  ", b"1e-308  ", b"99999999"),
    *(b"EDF+D   ", b"EDF+C   ", b"00.00.00", b"\xb5V      ", "µV".encode(), b"\n\r\t\x85    "),
]
DAMAGE = st.one_of(
    st.tuples(st.integers(0, 767), st.binary(min_size=1, max_size=9)),
    st.tuples(st.sampled_from([at for at, _ in FIELDS]), st.sampled_from(TEXTS)),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DAMAGE, min_size=1, max_size=4))
def test_any_damage_to_the_header_is_a_refusal_or_a_reading(edf, damage):
    """Never another exception; what is read has the samples it announces, and every message is one line."""
    sound = edf.read_bytes()
    raw = bytearray(sound)
    for at, text in damage:
        raw[at : at + len(text)] = text
    edf.write_bytes(raw[: max(len(sound), 768)])
    try:
        messages = list(reading(EdfFile(edf)))
    except RecordingError as error:
        messages = [str(error)]
    finally:
        edf.write_bytes(sound)
    assert all(message.isprintable() for message in messages)


def reading(file):
    """Everything the file gives, checked; what it says in words."""
    yield from (*file.repairs(), *file.unreadable().values())
    file.start_clock()
    assert isinstance(file.is_synthetic, bool)
    for channel in file.channels():
        yield channel.label
        if channel.label in file.unreadable():
            with pytest.raises(DataError, match=r"night\.edf: channel .* cannot be used"):
                file.read(channel.label)
            continue
        signal = file.read(channel.label)
        assert len(signal.values) == channel.n_samples
        assert channel.n_samples / channel.rate_hz == pytest.approx(file.duration_s())
        assert np.isfinite(signal.values).all()
