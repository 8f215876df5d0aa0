from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.profusion_xml import read_profusion_xml
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import STAGES_ONLY
from hypnos_bench.cohorts.base import Event, Scoring
from hypnos_bench.cohorts.writers.profusion_xml import write_profusion_xml

KINDS = ("arousal", "obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea", "rera", "desaturation", "odd-one")


def event(name: str, start: object = 1, duration: object = 10) -> str:
    return f"<ScoredEvent><Name>{name}</Name><Start>{start}</Start><Duration>{duration}</Duration></ScoredEvent>"


def xml(*events: str, stages: str = "", legend: str = "", epoch_length: str = "30") -> bytes:
    codes = "".join(f"<SleepStage>{code}</SleepStage>" for code in stages.split())
    return (
        f"<CMPStudyConfig><EpochLength>{epoch_length}</EpochLength><ScoredEventSettings>{legend}</ScoredEventSettings>"
        f"<ScoredEvents>{''.join(events)}</ScoredEvents><SleepStages>{codes}</SleepStages></CMPStudyConfig>"
    ).encode()


def read(data: bytes, duration_s: float = 600.0, **options: object) -> Scoring:
    return read_profusion_xml({"main": data}, Facts(duration_s), **options)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=60),
    events=st.lists(
        st.builds(Event, st.sampled_from(KINDS), st.floats(0, 1e5, allow_nan=False), st.floats(0, 1e3)), max_size=8
    ),
    rk=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_what_is_written_is_read_back_in_any_order(
    tmp_path: Path, stages: list[int], events: list[Event], rk: bool, random: object
) -> None:
    path, duration_s = tmp_path / "x-profusion.xml", len(stages) * 30.0
    random.shuffle(events)  # type: ignore[attr-defined]
    write_profusion_xml(path, stages, events, rk=rk)
    scoring = read(path.read_bytes(), duration_s)
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == stages
    assert scoring.events == (tuple(sorted(events, key=lambda e: (e.start_s, e.duration_s, e.kind))) or None)
    assert sum(scoring.unknown.values()) == sum(e.kind == "odd-one" for e in events)


def test_stage_codes_and_runs() -> None:
    scoring = read(xml(stages="0 0 1 2 3 4 5 6 9 10"), 300.0)
    assert hypnogram(scoring.stages, 300.0).codes.tolist() == [0, 0, 1, 2, 3, 3, 4, -1, -1, -1]
    assert len(scoring.stages) == 6  # 3 and 4 are one stage, 6, 9 and 10 another


@pytest.mark.parametrize("code", ["7", "8", "W", "-1", "2.0"])
def test_an_unknown_stage_code_is_named(code: str) -> None:
    with pytest.raises(AnnotationError, match=rf"SleepStage 3: unknown sleep stage '{code}'"):
        read(xml(stages=f"0 0 {code}"))


def test_the_legend_holds_no_events() -> None:
    legend = event("Hypopnea").replace("ScoredEvent>", "ScoredEventSetting>")
    nested = f"<ScoredEventSetting>{event('Central Apnea')}</ScoredEventSetting>"
    assert read(xml(stages="0", legend=legend + nested)).events is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Hypopnea", "hypopnea"),
        ("Obstructive Hypopnea", "hypopnea"),
        ("Obstructive Apnea", "obstructive-apnea"),
        ("Central Apnea", "central-apnea"),
        ("Mixed Apnea", "mixed-apnea"),
        ("RERA", "rera"),
        ("Unsure", "hypopnea"),
        ("SpO2 desaturation", "desaturation"),
        ("Arousal ()", "arousal"),
        ("Arousal (ASDA)", "arousal"),
        ("Arousal (CHESHIRE)", "arousal"),
        ("Arousal (ARO RES)", "arousal"),
        ("Arousal (Standard)", "arousal"),
        ("Arousal (Asda)", "arousal"),
        ("Arousal (ARO SPONT)", "arousal"),
        ("Arousal (ARO Limb)", "arousal"),
        ("Arousal", "arousal"),
        ("ASDA arousal", "arousal"),
        ("External arousal", "arousal"),
        ("External Arousal (Noise)", "arousal"),
        ("Spontaneous arousal", "arousal"),
        ("Arousal resulting from Chin EMG", "arousal"),
        ("Arousal resulting from respiratory effort", "arousal"),
        ("Respiratory effort related arousal", "rera"),
    ],
)
def test_words_of_events(name: str, kind: str) -> None:
    scoring = read(xml(event(name, 1.5, 10)))
    assert (scoring.events, scoring.unknown) == ((Event(kind, 1.5, 10.0),), {})


@pytest.mark.parametrize(
    "name",
    [
        *("PLM (Left)", "Limb Movement (Right)", "SpO2 artifact", "Respiratory artifact", "Periodic Breathing"),
        *("Respiratory Paradox", "Bradycardia", "Narrow Complex Tachycardia", "Distal pH artifact", "TcCO2 artifact"),
    ],
)
def test_what_is_no_event_of_interest_is_known_and_left_out(name: str) -> None:
    scoring = read(xml(event(name)))
    assert (scoring.events, scoring.unknown) == ((), {})


def test_options_are_those_of_the_repositorys_xml() -> None:
    data = xml(event("Unsure"), event("SpO2 desaturation", 31))
    scoring = read(data, unsure="mixed-apnea", desaturations="drop")
    assert scoring.events == (Event("mixed-apnea", 1.0, 10.0),)
    assert scoring.notes[0].startswith("1 desaturations left out")


def test_a_users_word_wins() -> None:
    data = xml(event("Arousal (Other)"), event("Whistle", 20), stages="7")
    scoring = read_profusion_xml(
        {"main": data}, Facts(30.0), {"Arousal (Other)": "ignore", "whistle": "hypopnea", "7": "unscored"}
    )
    assert scoring.events == (Event("hypopnea", 20.0, 10.0),)
    assert [run.code for run in scoring.stages] == [-1]


def test_labels_may_be_an_epoch_short_and_more_is_told() -> None:
    data = xml(stages="0 2 2")
    assert hypnogram(read(data, 120.0).stages, 120.0).codes.tolist() == [0, 2, 2, -1]
    assert read(data, 120.0).notes == (STAGES_ONLY,)
    assert read(data, 150.0).notes == ("no stage codes for the last 2 epochs of the signals", STAGES_ONLY)


@pytest.mark.parametrize("name", ["PLM (Left)", "SpO2 artifact", "Whistle", "Bradycardia"])
def test_any_scored_event_shows_that_events_were_scored(name: str) -> None:
    scoring = read(xml(event(name), stages="0 " * 20))
    assert (scoring.events is not None, scoring.notes) == (True, ())


@pytest.mark.parametrize("events", [(), (event("Lights Off"),), (event("Body position change to left"),)])
def test_a_file_of_stages_alone_has_no_scored_events(events: tuple[str, ...]) -> None:
    scoring = read(xml(*events, stages="0 " * 20))
    assert (scoring.events, scoring.notes) == (None, (STAGES_ONLY,))


def test_labels_past_the_signals_are_refused() -> None:
    with pytest.raises(AnnotationError, match="up to 90 s, but the signals last 60 s"):
        hypnogram(read(xml(stages="0 2 2"), 60.0).stages, 60.0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (xml(event("Hypopnea", "x")), r"ScoredEvent 1 \('Hypopnea'\): <Start> is 'x'"),
        (xml(event("")), "ScoredEvent 1"),
        (xml(epoch_length="20"), "only 30-s epochs"),
        (b"<PSGAnnotation/>", "<PSGAnnotation>, an NSRR annotation, expected <CMPStudyConfig>"),
        (b"<!DOCTYPE x><CMPStudyConfig/>", "refused XML"),
        (b"<CMPStudyConfig>", "malformed XML"),
    ],
)
def test_bad_files_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        read(data)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 300), cut=st.integers(0, 8), noise=st.binary(max_size=6))
def test_mutated_files_are_read_or_refused(at: int, cut: int, noise: bytes) -> None:
    good = xml(event("Hypopnea"), event("Arousal ()", 3.5, 4), stages="0 2 5")
    try:
        read_as = repr(read(good[:at] + noise + good[at + cut :]))
    except AnnotationError as error:
        read_as = str(error)
    assert "\n" not in read_as


def test_writer_refuses_other_codes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage code 5 at epoch 1"):
        write_profusion_xml(tmp_path / "x.xml", [0, 5], ())
