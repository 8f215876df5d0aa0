from __future__ import annotations

from pathlib import Path

import pytest

from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.labels import CsvLabels, EdfPlusLabels, NsrrLabels, read_bounded
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
from hypnos_bench.errors import RecordingError


def test_files_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(AnnotationError, match="5 bytes, above the limit of 4"):
        read_bounded(path, 4)
    with pytest.raises(AnnotationError, match="cannot be read: No such file"):
        read_bounded(tmp_path / "none", 4)


def test_every_error_names_the_recording(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"junk")
    for labels in (
        NsrrLabels("night", tmp_path / "x", "x"),
        NsrrLabels("night", tmp_path / "none", "none"),
        EdfPlusLabels("night", tmp_path / "x"),
        CsvLabels("night", tmp_path / "x"),
        CsvLabels("night", tmp_path / "none"),
    ):
        for read in (lambda labels=labels: labels.stages(30.0), labels.events, labels.rhythm):
            with pytest.raises(RecordingError, match="^night: "):
                read()


@pytest.mark.parametrize(
    ("stages", "refused"),
    [([0, 2, 2], True), ([2, -1], True), ([0, 2, 1], False), ([2, 3], False), ([0, 4], False), ([0, 0], False)],
)
def test_sleep_wake_scoring_is_told_by_its_stages(tmp_path: Path, stages: list[int], refused: bool) -> None:
    path = tmp_path / "x.xml"
    write_nsrr_xml(path, stages, (), len(stages) * 30.0)
    labels = NsrrLabels("night", path, "x.xml", full_staging=True)
    if refused:
        with pytest.raises(RecordingError, match="sleep or wake only"):
            labels.stages(len(stages) * 30.0)
    else:
        assert labels.stages(len(stages) * 30.0).tolist() == stages
    assert NsrrLabels("night", path, "x.xml").stages(len(stages) * 30.0).tolist() == stages
