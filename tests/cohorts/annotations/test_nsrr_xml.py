from __future__ import annotations

import random
from datetime import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.nsrr_xml import read_nsrr_xml
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.safe_xml import MAX_XML_BYTES
from hypnos_bench.cohorts.annotations.text import STAGES_ONLY
from hypnos_bench.cohorts.base import Event, Scoring
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml

STAGES = "Stages|Stages"
RESPIRATORY = "Respiratory|Respiratory"
KINDS = ("arousal", "obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea", "rera", "desaturation", "odd-one")


def scored(event_type: str, concept: str, start: object, duration: object, extra: str = "") -> str:
    return (
        f"<ScoredEvent><EventType>{event_type}</EventType><EventConcept>{concept}</EventConcept>"
        f"<Start>{start}</Start><Duration>{duration}</Duration>{extra}</ScoredEvent>"
    )


HYPOPNEA = scored(RESPIRATORY, "Hypopnea|Hypopnea", 10, 12.5)


def xml(*events: str, epoch_length: str = "30", before: str = "") -> bytes:
    return (
        f"{before}<PSGAnnotation><EpochLength>{epoch_length}</EpochLength>"
        f"<ScoredEvents>{''.join(events)}</ScoredEvents></PSGAnnotation>"
    ).encode()


def read(data: bytes, duration_s: float = 600.0, start: time | None = None, **options: object) -> Scoring:
    return read_nsrr_xml({"main": data}, Facts(duration_s, start), **options)  # type: ignore[arg-type]


def codes(data: bytes, duration_s: float) -> list[int]:
    return hypnogram(read(data, duration_s).stages, duration_s).codes.tolist()


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
    scoring = read(path.read_bytes(), duration_s, time(21, 58, 7))
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == stages
    assert scoring.events == (tuple(sorted(events, key=lambda e: (e.start_s, e.duration_s, e.kind))) or None)
    assert sum(scoring.unknown.values()) == sum(e.kind == "odd-one" for e in events)
    assert scoring.notes == (() if events else (STAGES_ONLY,))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_neither_the_order_nor_the_split_of_runs_matters(seed: int) -> None:
    elements = [
        scored(STAGES, "Wake|0", 0, 90),
        scored(STAGES, "Stage 2 sleep|2", 90, 120),
        scored(RESPIRATORY, "Hypopnea|Hypopnea", 100, 10),
        scored(RESPIRATORY, "SpO2 desaturation|SpO2 desaturation", 100, 10),
    ]
    split = [*elements[1:], scored(STAGES, "Wake|0", 0, 30), scored(STAGES, "Wake|0", 30, 60)]
    random.Random(seed).shuffle(split)
    whole, shuffled = read(xml(*elements), 210.0), read(xml(*split), 210.0)
    assert codes(xml(*elements), 210.0) == codes(xml(*split), 210.0) == [0, 0, 0, 2, 2, 2, 2]
    assert whole.events == shuffled.events


def test_stages_are_run_length_coded() -> None:
    assert codes(xml(scored(STAGES, "Stage 2 sleep|2", 0, 450)), 450.0) == [2] * 15


def test_stages_3_and_4_are_n3() -> None:
    data = xml(scored(STAGES, "Stage 3 sleep|3", 0, 30), scored(STAGES, "Stage 4 sleep|4", 30, 60))
    assert codes(data, 90.0) == [3, 3, 3]


def test_writer_uses_stage_4_only_under_rk(tmp_path: Path) -> None:
    for rk in (False, True):
        write_nsrr_xml(tmp_path / "x.xml", [3, 3, 3, 3], (), 120.0, rk=rk)
        assert (b"Stage 4 sleep|4" in (tmp_path / "x.xml").read_bytes()) is rk


@pytest.mark.parametrize("concept", ["Movement|6", "Unscored|9", "Artifact|10"])
def test_movement_unscored_and_artifact_are_minus_one(concept: str) -> None:
    assert codes(xml(scored(STAGES, concept, 0, 30), scored(STAGES, "REM sleep|5", 30, 30)), 60.0) == [-1, 4]


def test_concepts_match_in_any_case() -> None:
    assert codes(xml(scored("STAGES|Stages", "WAKE|0", 0.0, 30.0)), 30.0) == [0]


def test_gaps_and_the_unscored_end_are_minus_one_and_told() -> None:
    data = xml(scored(STAGES, "Wake|0", 30, 30), scored(STAGES, "Stage 1 sleep|1", 90, 30), HYPOPNEA)
    assert codes(data, 180.0) == [-1, 0, -1, 1, -1, -1]
    assert read(data, 180.0).notes == ("4 epochs without a stage, in 3 gaps, the first at 0 s",)
    assert read(data, 120.0 + 29.9).notes == ("2 epochs without a stage, in 2 gaps, the first at 0 s",)


def test_part_of_an_epoch_past_the_signals_is_trimmed() -> None:
    data = xml(scored(STAGES, "Wake|0", 0, 90))
    assert codes(data, 61.0) == [0, 0]
    assert codes(data, 89.99) == [0, 0]


def test_a_whole_epoch_past_the_signals_is_refused_with_both_lengths() -> None:
    with pytest.raises(AnnotationError, match=r"up to 90 s, but the signals last 60 s"):
        codes(xml(scored(STAGES, "Wake|0", 0, 90)), 60.0)


def test_unscored_epochs_past_the_signals_say_nothing() -> None:
    data = xml(scored(STAGES, "Wake|0", 0, 60), scored(STAGES, "Unscored|9", 60, 3000))
    assert codes(data, 60.0) == [0, 0]


def test_overlaps_are_refused_naming_both() -> None:
    data = xml(scored(STAGES, "Wake|0", 0, 60), scored(STAGES, "REM sleep|5", 30, 30))
    with pytest.raises(AnnotationError, match=r"ScoredEvent 2 \('REM sleep'\): overlaps ScoredEvent 1 \('Wake'\)"):
        codes(data, 90.0)


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
    with pytest.raises(AnnotationError, match=r"ScoredEvent 1 \('Wake'\)") as caught:
        codes(xml(scored(STAGES, "Wake|0", start, duration)), 600.0)
    assert words in str(caught.value)


def test_an_unknown_stage_is_named_with_the_nearest() -> None:
    data = xml(scored(STAGES, "Stage 5 sleep|5", 0, 30))
    with pytest.raises(AnnotationError, match=r"'Stage 5 sleep'.* Did you mean 'stage \d sleep'"):
        read(data)
    overridden = read_nsrr_xml({"main": data}, Facts(30.0), {"Stage 5 sleep": "R"})
    assert [run.code for run in overridden.stages] == [4]


def test_no_stage_at_all_is_said() -> None:
    with pytest.raises(AnnotationError, match="no sleep stage is scored"):
        codes(xml(scored(RESPIRATORY, "Hypopnea|Hypopnea", 3, 10)), 30.0)


@pytest.mark.parametrize(
    ("event_type", "concept", "kind"),
    [
        (RESPIRATORY, "Obstructive apnea|Obstructive Apnea", "obstructive-apnea"),
        (RESPIRATORY, "Central Apnea|Central Apnea", "central-apnea"),
        (RESPIRATORY, "Mixed apnea|APNEA-MIXED", "mixed-apnea"),
        (RESPIRATORY, "Hypopnea|Hypopnea", "hypopnea"),
        (RESPIRATORY, "Obstructive hypopnea|Obstructive Hypopnea", "hypopnea"),
        (RESPIRATORY, "Central hypopnea|Central Hypopnea", "hypopnea"),
        (RESPIRATORY, "Mixed hypopnea|Mixed Hypopnea", "hypopnea"),
        (RESPIRATORY, "Unsure|Unsure", "hypopnea"),
        (RESPIRATORY, "SpO2 desaturation|SpO2 desaturation", "desaturation"),
        (RESPIRATORY, "Respiratory effort related arousal|RERA", "rera"),
        ("Arousals|Arousals", "Arousal|Arousal ()", "arousal"),
        ("Arousals|Arousals", "Arousal|Arousal (ARO Limb)", "arousal"),
        ("Arousals|Arousals", "ASDA arousal|Arousal (ASDA)", "arousal"),
        ("Arousals|Arousals", "Arousal resulting from Chin EMG|Arousal (CHESHIRE)", "arousal"),
        ("Arousals|Arousals", "Arousal resulting from respiratory effort|Arousal (ARO RES)", "arousal"),
        ("Arousals|Arousals", "External arousal|Arousal (External Arousal)", "arousal"),
    ],
)
def test_words_of_events(event_type: str, concept: str, kind: str) -> None:
    scoring = read(xml(scored(event_type, concept, 1.5, 10)))
    assert scoring.events == (Event(kind, 1.5, 10.0),)
    assert scoring.unknown == {}


@pytest.mark.parametrize(
    ("event_type", "concept"),
    [
        (RESPIRATORY, "SpO2 artifact|SpO2 artifact"),
        (RESPIRATORY, "Respiratory artifact|Respiratory artifact"),
        (RESPIRATORY, "Periodic breathing|Periodic Breathing"),
        ("Limb Movement|Limb Movement", "Limb movement - left|Limb Movement (Left)"),
        ("Limb Movement|Limb Movement", "Periodic leg movement - right|PLM (Right)"),
        ("Limb Movement|Limb Movement", "Some new leg|X"),
        ("Electrocardiogram|Electrocardiogram", "Narrow complex tachycardia|Narrow Complex Tachycardia"),
        ("Body Position|Body Position", "Body position change to supine|POSITION-SUPINE"),
        (STAGES, "Beginning of time in bed|"),
    ],
)
def test_what_is_no_event_of_interest_is_known_and_left_out_unread(event_type: str, concept: str) -> None:
    scoring = read(xml(scored(event_type, concept, "", "")))
    assert (scoring.stages, scoring.events or (), scoring.unknown) == ((), (), {})


@pytest.mark.parametrize(
    ("event_type", "concept", "shown"),
    [
        ("Limb Movement|Limb Movement", "Limb movement - left|Limb Movement (Left)", True),
        ("Limb Movement|Limb Movement", "Some new leg|X", True),
        (RESPIRATORY, "Respiratory artifact|Respiratory artifact", True),
        (RESPIRATORY, "SpO2 artifact|SpO2 artifact", True),
        ("Electrocardiogram|Electrocardiogram", "Bradycardia|Bradycardia", True),
        ("", "Recording Start Time", False),
        (STAGES, "Beginning of time in bed|", False),
        ("Body Position|Body Position", "Body position change to supine|POSITION-SUPINE", False),
        ("Technician Notes|Technician Notes", "Technician Notes|x", False),
        ("Lights|Lights", "Lights Off|Lights Off", False),
    ],
)
def test_a_file_of_stages_alone_has_no_scored_events(event_type: str, concept: str, shown: bool) -> None:
    scoring = read(xml(scored(event_type, concept, 0, 600), scored(STAGES, "Wake|0", 0, 600)))
    assert (scoring.events, scoring.notes) == (((), ()) if shown else (None, (STAGES_ONLY,)))


def test_dropped_and_ignored_events_were_scored_all_the_same() -> None:
    wake = scored(STAGES, "Wake|0", 0, 600)
    copies = xml(wake, scored(RESPIRATORY, "SpO2 desaturation|SpO2 desaturation", 40, 12.5))
    assert read(copies, desaturations="drop").events == ()
    assert read_nsrr_xml({"main": xml(wake, HYPOPNEA)}, Facts(600.0), {"hypopnea": "ignore"}).events == ()


def test_an_unknown_concept_is_counted_and_kept() -> None:
    data = xml(*[scored(RESPIRATORY, "Odd  Breathing|X", 10 * i, 5) for i in (1, 2)])
    scoring = read(data)
    assert scoring.unknown == {"odd breathing": 2}
    assert [event.kind for event in scoring.events] == ["odd-breathing"] * 2
    known = read_nsrr_xml({"main": data}, Facts(600.0), {"odd breathing": "hypopnea"})
    assert ([e.kind for e in known.events], known.unknown) == (["hypopnea"] * 2, {})


def test_a_users_word_wins_over_the_type() -> None:
    data = xml(
        scored("Arousals|Arousals", "External arousal|X", 1, 3),
        scored("Limb Movement|Limb Movement", "Leg and waking|X", 5, 3),
    )
    scoring = read_nsrr_xml({"main": data}, Facts(60.0), {"External arousal": "ignore", "leg and waking": "arousal"})
    assert scoring.events == (Event("arousal", 5.0, 3.0),)


def test_unsure_is_a_hypopnea_in_mros_and_a_mixed_apnea_in_chat() -> None:
    data = xml(scored(RESPIRATORY, "Unsure|Unsure", 1, 10))
    assert read(data).events[0].kind == "hypopnea"
    assert read(data, unsure="mixed-apnea").events[0].kind == "mixed-apnea"


def test_copied_desaturations_are_dropped_on_request_and_told() -> None:
    data = xml(HYPOPNEA, scored(RESPIRATORY, "SpO2 desaturation|SpO2 desaturation", 40, 12.5))
    assert [e.kind for e in read(data).events] == ["hypopnea", "desaturation"]
    dropped = read(data, desaturations="drop")
    assert [e.kind for e in dropped.events] == ["hypopnea"]
    assert dropped.notes == (
        "1 desaturations left out: in this cohort they are copies of respiratory events, not measured times",
    )
    assert read(xml(scored(STAGES, "Wake|0", 0, 600), HYPOPNEA), desaturations="drop").notes == ()


def test_events_come_in_time_order_without_stages_and_start() -> None:
    data = xml(
        scored("", "Recording Start Time", 0, 600),
        scored("Arousals|Arousals", "Arousal|Arousal ()", 50, 3),
        scored(STAGES, "Wake|0", 0, 30),
        scored(RESPIRATORY, "Hypopnea|Hypopnea", 20, 10),
    )
    assert [e.kind for e in read(data).events] == ["hypopnea", "arousal"]


def test_an_event_without_any_word_is_refused() -> None:
    with pytest.raises(AnnotationError, match="ScoredEvent 1"):
        read(xml(scored("", "", 0, 1)))


@pytest.mark.parametrize("start", ["x", "-1", ""])
def test_an_event_without_a_time_is_refused(start: str) -> None:
    with pytest.raises(AnnotationError, match=rf"ScoredEvent 1 \('Hypopnea'\): <Start> is '{start}'"):
        read(xml(scored(RESPIRATORY, "Hypopnea|Hypopnea", start, 10), scored(STAGES, "Wake|0", 0, 30)))


@pytest.mark.parametrize(("stated", "told"), [(600, False), (2400, False), (2401, True), ("", False)])
def test_a_stated_length_half_an_hour_off_is_told(stated: object, told: bool) -> None:
    data = xml(scored("", "Recording Start Time", 0, stated), scored(STAGES, "Wake|0", 0, 600), HYPOPNEA)
    assert read(data, 600.0).notes == (
        ("the annotation states a recording of 2401 s, but the signals last 600 s: a clock change, or another file",)
        if told
        else ()
    )


@pytest.mark.parametrize(
    ("stated", "start", "told"),
    [
        ("00.00.00 22.15.00", time(22, 15), False),
        ("00.00.00 22.15.00", time(22, 15, 59), False),
        ("00.00.00 23.59.50", time(0, 0, 10), False),
        ("00.00.00 22.15.00", time(21, 15), True),
        ("00.00.00 22.15.00", None, False),
        ("", time(21, 15), False),
    ],
)
def test_another_stated_time_of_day_is_told(stated: str, start: time | None, told: bool) -> None:
    first = scored("", "Recording Start Time", 0, 600, f"<ClockTime>{stated}</ClockTime>")
    notes = read(xml(first, scored(STAGES, "Wake|0", 0, 600), HYPOPNEA), 600.0, start).notes
    expected = "the annotation states that the recording began at 22.15.00, but the signals began at 21:15:00"
    assert notes == ((expected,) if told else ())


def test_an_unreadable_stated_time_of_day_is_told() -> None:
    first = scored("", "Recording Start Time", 0, 600, "<ClockTime>00.00.00 25.00.00</ClockTime>")
    notes = read(xml(first, scored(STAGES, "Wake|0", 0, 600), HYPOPNEA), 600.0, time(22)).notes
    assert notes == ("ClockTime: '25.00.00' is not a time of day (hh:mm:ss)",)


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("before", [LAUGHS, EXTERNAL, "<!DOCTYPE x>"])
def test_entities_are_refused(before: str) -> None:
    with pytest.raises(AnnotationError, match="refused XML"):
        read(xml(scored(STAGES, "&i;", 0, 30), before=before))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x01",
        b"<PSGAnnotation><ScoredEvents>",
        b"not xml",
        b"<?xml version='1.0' encoding='utf-99'?><a/>",
        b"<PSGAnnotation>&i;</PSGAnnotation>",
        b"<PSGAnnotation/><PSGAnnotation/>",
    ],
)
def test_malformed_xml_gives_one_line(data: bytes) -> None:
    with pytest.raises(AnnotationError, match="malformed XML") as caught:
        read(data)
    assert "\n" not in str(caught.value)


def test_attributes_comments_and_other_elements_are_passed_over() -> None:
    event = scored(STAGES, "Wake|0", 0, 30, "<SignalLocation unit='x'>EEG<!-- c --></SignalLocation><?pi x?>")
    assert codes(xml(event, "<!-- none -->").replace(b"<ScoredEvents>", b"<ScoredEvents version='1'>"), 30.0) == [0]


def test_utf_16_is_read() -> None:
    text = '<?xml version="1.0" encoding="utf-16"?>' + xml(scored(STAGES, "Wake|0", 0, 30)).decode()
    assert codes(text.encode("utf-16"), 30.0) == [0]


def test_another_root_element_is_named() -> None:
    with pytest.raises(AnnotationError, match="<CMPStudyConfig>, a Profusion export, expected <PSGAnnotation>"):
        read(b"<CMPStudyConfig/>")


def test_other_epoch_lengths_are_refused() -> None:
    with pytest.raises(AnnotationError, match="'20': only 30-s epochs"):
        read(xml(scored(STAGES, "Wake|0", 0, 30), epoch_length="20"))


def test_size_is_bounded_before_parsing() -> None:
    with pytest.raises(AnnotationError, match="above the limit"):
        read(b" " * (MAX_XML_BYTES + 1))


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 400), at=st.integers(0, 400), noise=st.binary(max_size=6))
def test_mutated_files_are_read_or_refused(cut: int, at: int, noise: bytes) -> None:
    good = xml(
        scored("", "Recording Start Time", 0, 600, "<ClockTime>00.00.00 22.15.00</ClockTime>"),
        scored(STAGES, "Wake|0", 0, 30),
        scored(RESPIRATORY, "Hypopnea|Hypopnea", 3, 10),
    )
    try:
        read_as = repr(read(good[:at] + noise + good[at + cut % 9 :], start=time(22)))
    except AnnotationError as error:
        read_as = str(error)
    assert "\n" not in read_as


def test_writer_refuses_other_codes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage code 5 at epoch 1"):
        write_nsrr_xml(tmp_path / "x.xml", [0, 5], (), 60.0)
