from __future__ import annotations

from pathlib import Path

import pytest

from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.labels import AnnotationFiles, FileLabels, facts_of, read_bounded
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf


@pytest.fixture
def edf(tmp_path: Path) -> EdfFile:
    write_edf(tmp_path / "night.edf", [("C3", 10.0, "uV", [0.0] * 900)])
    return EdfFile(tmp_path / "night.edf")


def test_files_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(AnnotationError, match="5 bytes, above the limit of 4"):
        read_bounded(path, 4)
    with pytest.raises(AnnotationError, match="cannot be read: No such file"):
        read_bounded(tmp_path / "none", 4)


@pytest.mark.parametrize("kind", ["nsrr-xml", "edf-plus", "csv-hypnogram", "rhythm", "dreem"])
def test_every_error_names_the_recording(tmp_path: Path, edf: EdfFile, kind: str) -> None:
    (tmp_path / "x").write_bytes(b"junk")
    for path in (tmp_path / "x", tmp_path / "none"):
        with pytest.raises(RecordingError, match="^night: "):
            FileLabels("night", edf, AnnotationFiles(kind, path)).read()


def test_a_table_s_codes_need_no_file(edf: EdfFile) -> None:
    assert FileLabels("night", edf, None, record=("A",)).read().record == ("A",)
    with pytest.raises(RecordingError, match="night: no annotation file, expected at x"):
        FileLabels("night", edf, None, ", expected at x").read()


def test_settings_of_a_reader_change_the_fingerprint(tmp_path: Path, edf: EdfFile) -> None:
    one = FileLabels("night", edf, AnnotationFiles("nsrr-xml", tmp_path / "x"))
    two = FileLabels("night", edf, AnnotationFiles("nsrr-xml", tmp_path / "x", options={"unsure": "mixed-apnea"}))
    three = FileLabels("night", edf, AnnotationFiles("nsrr-xml", tmp_path / "x", words={"a": "N1"}))
    assert len({one.rules, two.rules, three.rules}) == 3


def test_readers_are_told_about_the_signals(edf: EdfFile) -> None:
    facts = facts_of(edf)
    assert (facts.duration_s, facts.rate_hz, facts.n_samples) == (90.0, 10.0, 900)
    assert facts.start is not None
    assert facts.start.hour == 22


def test_companions_that_are_missing_are_left_out(tmp_path: Path, edf: EdfFile) -> None:
    write_nsrr_xml(tmp_path / "x.xml", [0, 2, 3], (), 90.0)
    files = AnnotationFiles("nsrr-xml", tmp_path / "x.xml", {"log": tmp_path / "none"})
    assert files.files == (tmp_path / "x.xml",)
    assert len(FileLabels("night", edf, files).read().stages) == 3
