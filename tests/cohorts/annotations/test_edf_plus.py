from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.edf_plus import EdfAnnotation, read_edf_plus
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.base import Event, Hypnogram, Scoring
from hypnos_bench.cohorts.writers.edf_plus import edf_plus_rows, write_edf_plus
from hypnos_bench.signals.edf import read_edf_annotations

KINDS = ("arousal", "obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea", "rera", "desaturation", "odd-one")


def read(rows: list[EdfAnnotation], duration_s: float, **options: float) -> Scoring:
    return read_edf_plus({"main": rows}, Facts(duration_s), **options)


def epochs(rows: list[EdfAnnotation], duration_s: float, **options: float) -> Hypnogram:
    scoring = read(rows, duration_s, **options)
    return hypnogram(scoring.stages, duration_s, page_s=scoring.page_s, pad_s=scoring.pad_s)


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
        ("Sleep stage N2@@EEG F4-A1", 2),
    ],
)
def test_stage_texts(text: str, code: int) -> None:
    # A second run keeps the hypnogram from being unscored throughout.
    assert epochs([(0.0, 30.0, text), (30.0, 30.0, "Sleep stage W")], 60.0).codes.tolist() == [code, 0]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    events=st.lists(st.builds(Event, st.sampled_from(KINDS), st.integers(0, 1200), st.integers(0, 60)), max_size=6),
    rk=st.booleans(),
    run_length=st.booleans(),
    closing_s=st.sampled_from([0.0, 6900.0, 45.5]),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back_in_any_order(
    tmp_path: Path, stages: list[int], events: list[Event], rk: bool, run_length: bool, closing_s: float, seed: int
) -> None:
    rows = edf_plus_rows(stages, events, rk=rk, run_length=run_length, closing_s=closing_s)
    random.Random(seed).shuffle(rows)
    write_edf_plus(tmp_path / "x.edf", rows)
    duration_s = len(stages) * 30.0
    scoring = read(read_edf_annotations(tmp_path / "x.edf"), duration_s)
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == stages
    in_order = tuple(sorted(events, key=lambda e: (e.start_s, e.duration_s, e.kind)))
    assert scoring.events == (in_order or None)  # stages alone do not say that there were no events
    assert sum(scoring.unknown.values()) == sum(e.kind == "odd-one" for e in events)
    assert scoring.notes == ()


def test_the_real_hypnogram_of_sc4001(shared_data: Path) -> None:
    rows = read_edf_annotations(shared_data / "sleepedf-sc4001/SC4001EC-Hypnogram.edf")
    scoring = read(rows, 79_500.0)  # the night is as long as what is scored of it
    codes = hypnogram(scoring.stages, 79_500.0).codes
    assert (len(codes), int((codes >= 0).sum())) == (2650, 2650)
    # Counted by hand from the run lengths: W 59910 s, 1 1740 s, 2 7500 s, 3 and 4 6600 s, R 3750 s.
    assert np.bincount(codes).tolist() == [1997, 58, 250, 220, 125]
    assert (scoring.events, scoring.unknown, scoring.notes) == (None, {}, ())


def test_real_stages_agree_with_pyedflib(shared_data: Path) -> None:
    pyedflib = pytest.importorskip("pyedflib")
    path = shared_data / "sleepedf-sc4001/SC4001EC-Hypnogram.edf"
    with pyedflib.EdfReader(str(path)) as reader:
        _, lengths, texts = reader.readAnnotations()
    expected: list[int] = []
    for length, text in zip(lengths[:-1], texts[:-1], strict=True):
        expected += [{"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4}[text[-1]]] * round(length / 30)
    assert epochs(read_edf_annotations(path), 79_500.0).codes.tolist() == expected


@pytest.mark.parametrize("length_s", [6900.0, 6912.5])
def test_the_closing_question_mark_may_outlast_the_signals(length_s: float) -> None:
    rows = [(0.0, 60.0, "Sleep stage 2"), (60.0, length_s, "Sleep stage ?")]
    assert epochs(rows, 90.0).codes.tolist() == [2, 2, -1]


def test_a_question_mark_within_the_night_stays() -> None:
    rows = [(0.0, 30.0, "Sleep stage 2"), (30.0, 30.0, "Sleep stage ?"), (60.0, 30.0, "Sleep stage 1")]
    assert [run.code for run in read(rows, 90.0).stages] == [2, -1, 1]


def test_lights_off_with_a_channel_is_known_and_ignored() -> None:
    scoring = read([(0.0, 0.0, "Lights off@@EEG F4-A1"), (30.0, 30.0, "Sleep stage N1")], 60.0)
    assert (scoring.events, scoring.unknown) == (None, {})
    assert hypnogram(scoring.stages, 60.0).codes.tolist() == [-1, 1]


def test_the_first_onset_need_not_be_zero() -> None:
    # MASS: a page begins where its onset says, and the grid with it.
    rows = edf_plus_rows([0, 2, 2, 4], run_length=False, first_s=7.4453125)
    found = epochs(rows, 140.0)
    assert found.codes.tolist() == [0, 2, 2, 4]
    np.testing.assert_allclose(found.start_s, 7.4453125 + 30 * np.arange(4))
    with pytest.raises(AnnotationError, match="not a positive multiple of 30 s"):
        epochs([(0.0, 45.0, "Sleep stage W")], 90.0)


def test_pages_of_20_s_are_padded_to_30() -> None:
    rows = edf_plus_rows([0, 1, 2], rk=True, run_length=False, page_s=20.0, first_s=3.0)
    found = epochs(rows, 70.0, page_s=20.0, pad_s=5.0)
    assert found.codes.tolist() == [0, 1, 2]
    assert found.start_s.tolist() == [-2.0, 18.0, 38.0]


@pytest.mark.parametrize("page_s", [29.98, 29.9, 30.02])
def test_pages_a_little_off_30_s_begin_at_their_onsets(page_s: float) -> None:
    rows = edf_plus_rows([0, 2, 2, 4] * 5, run_length=False, page_s=page_s, first_s=1.5)
    duration_s = 1.5 + 20 * page_s + 5
    scoring = read(rows, duration_s)
    found = hypnogram(scoring.stages, duration_s, page_s=scoring.page_s, pad_s=scoring.pad_s)
    assert found.codes.tolist() == [0, 2, 2, 4] * 5
    np.testing.assert_allclose(found.start_s, 1.5 + page_s * np.arange(20), atol=1e-9)
    assert scoring.notes[0] == "20 stages are off whole pages of 30 s by less than 1 s: made whole"
    assert len(scoring.notes) == (1 if page_s > 30 else 2)


def test_a_long_run_a_little_off_whole_pages_is_spread_over_them() -> None:
    rows = [(0.0, 299.4, "Sleep stage 2"), (299.4, 30.0, "Sleep stage R")]
    found = epochs(rows, 335.0)
    assert found.codes.tolist() == [2] * 10 + [4]
    np.testing.assert_allclose(found.start_s, [*(29.94 * np.arange(10)), 299.4], atol=1e-9)


def test_pages_of_full_length_whose_onsets_drift_are_taken_from_their_onsets() -> None:
    rows = [(29.99 * i, 30.0, "Sleep stage 2") for i in range(10)]
    scoring = read(rows, 310.0)
    found = hypnogram(scoring.stages, 310.0, page_s=scoring.page_s, pad_s=scoring.pad_s)
    np.testing.assert_allclose(found.start_s[:10], 29.99 * np.arange(10), atol=1e-9)
    assert scoring.notes == ("pages of 30 s overlap by up to 0.01 s: taken from their onsets",)


@pytest.mark.parametrize("length_s", [29.0, 31.0, 45.0, 0.0, -1.0])
def test_a_stage_off_by_a_second_or_without_a_duration_is_refused(length_s: float) -> None:
    with pytest.raises(AnnotationError, match="not a positive multiple of 30 s"):
        epochs([(0.0, length_s, "Sleep stage W")], 60.0)


def test_stages_that_overlap_by_a_second_or_more_are_refused() -> None:
    with pytest.raises(AnnotationError, match="annotation 2 .* overlaps annotation 1"):
        epochs([(0.0, 30.0, "Sleep stage W"), (29.0, 30.0, "Sleep stage R")], 90.0)


def test_an_unknown_stage_is_named() -> None:
    rows = [(0.0, 30.0, "Sleep stage X")]
    with pytest.raises(AnnotationError, match=r"annotation 1 \('Sleep stage X'\): unknown sleep stage"):
        read(rows, 30.0)
    assert [r.code for r in read_edf_plus({"main": rows}, Facts(30.0), {"sleep stage x": "N2"}).stages] == [2]


def test_a_users_word_may_be_a_stage_or_silence_an_event() -> None:
    rows = [(0.0, 30.0, "Stade 2"), (3.0, 1.0, "Toux"), (4.0, 1.0, "Hypopnea")]
    words = {"stade 2": "N2", "toux": "ignore", "hypopnea": "apnea"}
    scoring = read_edf_plus({"main": rows}, Facts(30.0), words)
    assert [run.code for run in scoring.stages] == [2]
    assert scoring.events == (Event("apnea", 4.0, 1.0),)
    assert scoring.unknown == {}


def test_a_stage_before_the_start_is_refused() -> None:
    with pytest.raises(AnnotationError, match="starts at -30 s"):
        read([(-30.0, 30, "Sleep stage W")], 30.0)


@pytest.mark.parametrize("text", ["Sleep stage W", "Hypopnea"])
def test_times_that_are_none_are_refused(text: str) -> None:
    for row in ((float("nan"), 30.0, text), (0.0, float("inf"), text)):
        with pytest.raises(AnnotationError, match="annotation 1"):
            read([row], 30.0)


def test_everything_else_is_an_event_and_unknown_texts_are_counted() -> None:
    rows = [(40.0, 0.0, "Cough"), (0.0, 30.0, "Sleep stage W"), (5.0, 12.0, "Hypopnea"), (6.0, -1.0, "A")]
    scoring = read(rows, 60.0)
    assert scoring.events == (Event("hypopnea", 5.0, 12.0), Event("a", 6.0, 0.0), Event("cough", 40.0, 0.0))
    assert scoring.unknown == {"a": 1, "cough": 1}
    assert [e.kind for e in read([(0.0, 0.0, "Sleep stages follow")], 60.0).events] == ["sleep-stages-follow"]


def test_an_event_written_as_xml_is_read_by_its_name() -> None:
    rows = [
        (1.0, 3.0, '<Event channel="EEG C3-CLE" groupName="MicroArousal" name="MicroArousal"/>'),
        (2.0, 1.0, "<Event groupName='Spindle' name='Spindle E1' amplitude='3'/>"),
    ]
    scoring = read(rows, 60.0)
    assert scoring.events == (Event("arousal", 1.0, 3.0), Event("spindle-e1", 2.0, 1.0))
    assert scoring.unknown == {"spindle e1": 1}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-1e4, 1e4) | st.sampled_from([float("nan"), float("inf"), 1e300]),
            st.floats(-100, 1e4) | st.sampled_from([float("nan"), 1e300]),
            st.sampled_from(["Sleep stage W", "Sleep stage ?", "Sleep stage X", "Hypopnea", "", "<a name=''/>", "@@"])
            | st.text(max_size=12),
        ),
        max_size=6,
    )
)
def test_any_rows_are_read_or_refused(rows: list[EdfAnnotation]) -> None:
    try:
        scoring = read(rows, 600.0)
    except AnnotationError as error:
        assert "annotation" in str(error)  # noqa: PT017
    else:
        assert len(scoring.stages) < 1000
