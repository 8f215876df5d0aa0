from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.nsrr_xml import (
    MAX_XML_BYTES,
    RecordingStart,
    read_nsrr_events,
    read_nsrr_stages,
    read_nsrr_start,
)
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml

STAGES = "Stages|Stages"
KINDS = ("arousal", "obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea", "desaturation", "rem-behaviour")


def scored(event_type: str, concept: str, start: object, duration: object) -> str:
    return (
        f"<ScoredEvent><EventType>{event_type}</EventType><EventConcept>{concept}</EventConcept>"
        f"<Start>{start}</Start><Duration>{duration}</Duration></ScoredEvent>"
    )


def xml(*events: str, epoch_length: str = "30", before: str = "") -> bytes:
    return (
        f"{before}<PSGAnnotation><EpochLength>{epoch_length}</EpochLength>"
        f"<ScoredEvents>{''.join(events)}</ScoredEvents></PSGAnnotation>"
    ).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=60),
    events=st.lists(
        st.builds(
            Event,
            st.sampled_from(KINDS),
            st.floats(0, 1e5, allow_nan=False),
            st.floats(0, 1e3, allow_nan=False),
        ),
        max_size=8,
        unique_by=lambda e: e.start_s,
    ),
    rk=st.booleans(),
    extra_s=st.floats(0, 29.9),
)
def test_what_is_written_is_read_back(
    tmp_path: Path, stages: list[int], events: list[Event], rk: bool, extra_s: float
) -> None:
    path = tmp_path / "x-nsrr.xml"
    duration_s = len(stages) * 30.0 + extra_s
    write_nsrr_xml(path, stages, events, duration_s, start="21.58.07", rk=rk)
    data = path.read_bytes()
    assert read_nsrr_stages(data, duration_s).tolist() == stages
    assert read_nsrr_events(data) == tuple(sorted(events, key=lambda e: e.start_s))
    assert read_nsrr_start(data) == RecordingStart(duration_s, (21, 58, 7))


def test_stages_are_run_length_coded() -> None:
    data = xml(scored(STAGES, "Stage 2 sleep|2", 0, 450))
    assert read_nsrr_stages(data, 450.0).tolist() == [2] * 15


def test_stages_3_and_4_are_n3() -> None:
    data = xml(scored(STAGES, "Stage 3 sleep|3", 0, 30), scored(STAGES, "Stage 4 sleep|4", 30, 60))
    assert read_nsrr_stages(data, 90.0).tolist() == [3, 3, 3]


def test_writer_uses_stage_4_only_under_rk(tmp_path: Path) -> None:
    for rk in (False, True):
        write_nsrr_xml(tmp_path / "x.xml", [3, 3, 3, 3], (), 120.0, rk=rk)
        assert (b"Stage 4 sleep|4" in (tmp_path / "x.xml").read_bytes()) is rk


@pytest.mark.parametrize("concept", ["Movement|6", "Unscored|9", "Artifact|10"])
def test_movement_unscored_and_artifact_are_minus_one(concept: str) -> None:
    data = xml(scored(STAGES, concept, 0, 30), scored(STAGES, "REM sleep|5", 30, 30))
    assert read_nsrr_stages(data, 60.0).tolist() == [-1, 4]


def test_concepts_match_in_any_case() -> None:
    assert read_nsrr_stages(xml(scored("STAGES|Stages", "WAKE|0", 0.0, 30.0)), 30.0).tolist() == [0]


def test_gaps_and_the_unscored_end_are_minus_one() -> None:
    data = xml(scored(STAGES, "Wake|0", 30, 30), scored(STAGES, "Stage 1 sleep|1", 90, 30))
    codes = read_nsrr_stages(data, 180.0)
    assert codes.dtype == np.int8
    assert codes.tolist() == [-1, 0, -1, 1, -1, -1]


def test_part_of_an_epoch_past_the_signals_is_trimmed() -> None:
    data = xml(scored(STAGES, "Wake|0", 0, 90))
    assert read_nsrr_stages(data, 61.0).tolist() == [0, 0]
    assert read_nsrr_stages(data, 89.999).tolist() == [0, 0]


def test_a_whole_epoch_past_the_signals_is_refused_with_both_lengths() -> None:
    data = xml(scored(STAGES, "Wake|0", 0, 90))
    with pytest.raises(AnnotationError, match=r"up to 90 s, but the signals last 60 s"):
        read_nsrr_stages(data, 60.0)


def test_unscored_epochs_past_the_signals_say_nothing() -> None:
    data = xml(scored(STAGES, "Wake|0", 0, 60), scored(STAGES, "Unscored|9", 60, 3000))
    assert read_nsrr_stages(data, 60.0).tolist() == [0, 0]


def test_overlaps_are_refused_naming_both() -> None:
    data = xml(scored(STAGES, "Wake|0", 0, 60), scored(STAGES, "REM sleep|5", 30, 30))
    with pytest.raises(AnnotationError, match=r"ScoredEvent 2 \('REM sleep'\): overlaps ScoredEvent 1 \('Wake'\)"):
        read_nsrr_stages(data, 90.0)


@pytest.mark.parametrize(
    ("start", "duration", "words"),
    [
        (0, 45, "duration 45 s is not a positive multiple of 30 s"),
        (0, 0, "duration 0 s is not a positive multiple"),
        (15, 30, "start 15 s is not a multiple of 30 s"),
        (-30, 30, "<Start> is '-30'"),
        ("nan", 30, "<Start> is 'nan'"),
        ("soon", 30, "<Start> is 'soon'"),
        (0, "", "<Duration> is ''"),
        (0, "inf", "<Duration> is 'inf'"),
    ],
)
def test_times_off_the_grid_are_refused(start: object, duration: object, words: str) -> None:
    data = xml(scored(STAGES, "Wake|0", start, duration))
    with pytest.raises(AnnotationError, match=r"ScoredEvent 1 \('Wake'\)") as caught:
        read_nsrr_stages(data, 600.0)
    assert words in str(caught.value)


def test_an_unknown_stage_is_named_with_the_nearest() -> None:
    with pytest.raises(AnnotationError, match=r"'Stage 5 sleep'.*unknown sleep stage. Did you mean 'stage \d sleep'"):
        read_nsrr_stages(xml(scored(STAGES, "Stage 5 sleep|5", 0, 30)), 30.0)


def test_no_stage_at_all_is_said() -> None:
    data = xml(scored("Respiratory|Respiratory", "Hypopnea|Hypopnea", 3, 10))
    with pytest.raises(AnnotationError, match="no sleep stage is scored"):
        read_nsrr_stages(data, 30.0)


@pytest.mark.parametrize(
    ("event_type", "concept", "kind"),
    [
        ("Respiratory|Respiratory", "Obstructive apnea|Obstructive Apnea", "obstructive-apnea"),
        ("Respiratory|Respiratory", "Central Apnea|Central Apnea", "central-apnea"),
        ("Respiratory|Respiratory", "Mixed apnea|Mixed Apnea", "mixed-apnea"),
        ("Respiratory|Respiratory", "Hypopnea|Hypopnea", "hypopnea"),
        ("Respiratory|Respiratory", "Central hypopnea|Central Hypopnea", "hypopnea"),
        ("Respiratory|Respiratory", "Unsure|Unsure", "hypopnea"),
        ("Respiratory|Respiratory", "SpO2 desaturation|SpO2 desaturation", "desaturation"),
        ("Respiratory|Respiratory", "SpO2 artifact|SpO2 artifact", "spo2-artifact"),
        ("Respiratory|Respiratory", "Respiratory effort related arousal|RERA", "respiratory-effort-related-arousal"),
        ("Arousals|Arousals", "Arousal|Arousal ()", "arousal"),
        ("Arousals|Arousals", "ASDA arousal|Arousal (ASDA)", "arousal"),
        ("Arousals|Arousals", "Arousal resulting from Chin EMG|Arousal (CHESHIRE)", "arousal"),
        ("Limb Movement|Limb Movement", "Limb movement - left|Limb Movement (Left)", "limb-movement-left"),
    ],
)
def test_words_of_events(event_type: str, concept: str, kind: str) -> None:
    assert read_nsrr_events(xml(scored(event_type, concept, 1.5, 10))) == (Event(kind, 1.5, 10.0),)


def test_unsure_is_a_switch_of_the_cohort() -> None:
    data = xml(scored("Respiratory|Respiratory", "Unsure|Unsure", 1, 10))
    assert read_nsrr_events(data, unsure="mixed-apnea")[0].kind == "mixed-apnea"


def test_events_come_in_time_order_without_stages_and_start() -> None:
    data = xml(
        scored("", "Recording Start Time", 0, 600),
        scored("Arousals|Arousals", "Arousal|Arousal ()", 50, 3),
        scored(STAGES, "Wake|0", 0, 30),
        scored("Respiratory|Respiratory", "Hypopnea|Hypopnea", 20, 10),
    )
    assert [e.kind for e in read_nsrr_events(data)] == ["hypopnea", "arousal"]


def test_an_event_without_any_word_is_refused() -> None:
    with pytest.raises(AnnotationError, match="ScoredEvent 1"):
        read_nsrr_events(xml(scored("", "", 0, 1)))


def test_a_broken_event_does_not_take_the_stages_with_it() -> None:
    data = xml(scored("Respiratory|Respiratory", "Hypopnea|Hypopnea", "x", 10), scored(STAGES, "Wake|0", 0, 30))
    assert read_nsrr_stages(data, 30.0).tolist() == [0]
    with pytest.raises(AnnotationError, match="<Start> is 'x'"):
        read_nsrr_events(data)


def test_start_without_a_clock_or_at_all() -> None:
    assert read_nsrr_start(xml(scored("", "Recording Start Time", 0, 600))) == RecordingStart(600.0, None)
    assert read_nsrr_start(xml()) is None


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("before", [LAUGHS, EXTERNAL, "<!DOCTYPE x>"])
def test_entities_are_refused(before: str) -> None:
    with pytest.raises(AnnotationError, match="refused XML"):
        read_nsrr_stages(xml(scored(STAGES, "&i;", 0, 30), before=before), 30.0)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x01", b"<PSGAnnotation><ScoredEvents>", b"not xml", b"<?xml version='1.0' encoding='utf-99'?><a/>"],
)
def test_malformed_xml_gives_one_line(data: bytes) -> None:
    with pytest.raises(AnnotationError, match="malformed XML") as caught:
        read_nsrr_stages(data, 30.0)
    assert "\n" not in str(caught.value)


def test_another_root_element_is_named() -> None:
    with pytest.raises(AnnotationError, match="<CMPStudyConfig>, a Profusion export"):
        read_nsrr_stages(b"<CMPStudyConfig/>", 30.0)


def test_other_epoch_lengths_are_refused() -> None:
    with pytest.raises(AnnotationError, match="'20': only 30-s epochs"):
        read_nsrr_stages(xml(scored(STAGES, "Wake|0", 0, 30), epoch_length="20"), 30.0)


def test_size_is_bounded_before_parsing() -> None:
    with pytest.raises(AnnotationError, match="above the limit"):
        read_nsrr_stages(b" " * (MAX_XML_BYTES + 1), 30.0)


def test_writer_refuses_other_codes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage code 5 at epoch 1"):
        write_nsrr_xml(tmp_path / "x.xml", [0, 5], (), 60.0)
