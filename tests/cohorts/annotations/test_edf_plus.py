from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.edf_plus import read_edf_events, read_edf_stages
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.edf_folder import edf_plus_texts


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Sleep stage W", 0),
        ("Sleep stage 1", 1),
        ("Sleep stage 2", 2),
        ("Sleep stage 3", 3),
        ("Sleep stage 4", 3),
        ("Sleep stage R", 4),
        ("Sleep stage ?", -1),
        ("Movement time", -1),
        ("Sleep stage N1", 1),
        ("Sleep stage N2", 2),
        ("Sleep stage N3", 3),
        ("Sleep stage REM", 4),
        ("  sleep  stage w ", 0),
    ],
)
def test_stage_texts(text: str, code: int) -> None:
    # A second run keeps the hypnogram from being unscored throughout.
    assert read_edf_stages([(0.0, 30.0, text), (30.0, 30.0, "Sleep stage W")], 60.0).tolist() == [code, 0]


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=80))
def test_what_is_written_is_read_back(stages: list[int]) -> None:
    assert read_edf_stages(edf_plus_texts(stages), len(stages) * 30.0).tolist() == stages


def test_the_closing_question_mark_may_outlast_the_signals() -> None:
    assert read_edf_stages([(0, 60, "Sleep stage 2"), (60, 6900, "Sleep stage ?")], 60.0).tolist() == [2, 2]


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(AnnotationError, match=r"annotation 1 \('Sleep stage X'\): unknown sleep stage"):
        read_edf_stages([(0, 30, "Sleep stage X")], 30.0)


@pytest.mark.parametrize("length_s", [0.0, -1.0])
def test_a_stage_needs_a_duration(length_s: float) -> None:
    with pytest.raises(AnnotationError, match="not a positive multiple of 30 s"):
        read_edf_stages([(0, length_s, "Sleep stage W")], 30.0)


def test_a_stage_before_the_start_is_refused() -> None:
    with pytest.raises(AnnotationError, match="starts at -30 s"):
        read_edf_stages([(-30.0, 30, "Sleep stage W")], 30.0)


def test_everything_else_is_an_event() -> None:
    annotations = [(40.0, 0.0, "Lights on"), (0.0, 30.0, "Sleep stage W"), (5.0, 12.0, "Hypopnea"), (6.0, -1.0, "A")]
    assert read_edf_events(annotations) == (
        Event("hypopnea", 5.0, 12.0),
        Event("a", 6.0, 0.0),
        Event("lights-on", 40.0, 0.0),
    )
    assert [e.kind for e in read_edf_events([(0.0, 0.0, "Sleep stages follow")])] == ["sleep-stages-follow"]
