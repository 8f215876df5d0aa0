from __future__ import annotations

import random
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.stages_csv import read_stages_csv
from hypnos_bench.cohorts.annotations.text import STAGES_ONLY
from hypnos_bench.cohorts.base import EVENT_SCOPES, Event, Scoring, StageRun
from hypnos_bench.cohorts.writers.stages_csv import write_stages_csv

HEADER = "Start Time,Duration (seconds),Event"
KINDS = [kind for kinds in EVENT_SCOPES.values() for kind in kinds if kind != "apnea"]
EVENTS = st.lists(
    st.builds(Event, st.sampled_from(KINDS), st.integers(0, 1000).map(float), st.integers(1, 60).map(float)),
    max_size=8,
    unique_by=lambda event: event.start_s,
)


def read(
    *rows: str,
    duration_s: float = 300.0,
    start: time | None = time(22),
    words: dict[str, str] | None = None,
    **options: Any,
) -> Scoring:
    return read_stages_csv({"main": "\n".join((HEADER, *rows)).encode()}, Facts(duration_s, start), words, **options)


def codes(scoring: Scoring, duration_s: float = 300.0) -> list[int]:
    return hypnogram(scoring.stages, duration_s).codes.tolist()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    events=EVENTS,
    layout=st.sampled_from(["points", "epochs", "stretches"]),
    start=st.sampled_from(["21:30:00", "23:55:10", "00:10:00"]),
    beginning=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_layouts_orders_and_midnights_give_the_same(
    tmp_path: Path, stages: list[int], events: list[Event], layout: Any, start: str, beginning: bool, seed: int
) -> None:
    path = tmp_path / "x.csv"
    write_stages_csv(path, stages, events, start, layout=layout, beginning=beginning, remarks=[(4.0, "REM, and Wake")])
    header, *rows = path.read_bytes().splitlines(keepends=True)
    random.Random(seed).shuffle(rows)
    duration_s = len(stages) * 30.0 + 12
    scoring = read_stages_csv({"main": header + b"".join(rows)}, Facts(duration_s, time.fromisoformat(start)))
    assert codes(scoring, duration_s) == stages
    assert scoring.events == (tuple(sorted(events, key=lambda event: event.start_s)) or None)
    assert scoring.unknown == {}
    assert scoring.notes == ("remarks without a duration, passed over: 1", *(() if events else (STAGES_ONLY,)))


def test_commas_inside_event_are_kept() -> None:
    scoring = read("22:00:10,5.000,desat, then awake, then REM")
    assert scoring.unknown == {"desat, then awake, then rem": 1}
    assert scoring.stages == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Wake", 0),
        ("Stage1", 1),
        ("Stage2", 2),
        ("Stage3", 3),
        ("Stage4", 3),
        ("REM", 4),
        ("UnknownStage", -1),
        ("No Stage", -1),
        ("MT", -1),
    ],
)
def test_stages_by_exact_name(text: str, code: int) -> None:
    assert read(f"22:00:30, 60.000 ,{text} ").stages == (StageRun(code, 30.0, 60.0, "line 2"),)


@pytest.mark.parametrize("text", ["Awake", "REM supine", "Wake up call", "rem", "Stage2 now"])
def test_a_note_that_names_a_stage_is_none(text: str) -> None:
    scoring = read(f"22:00:10,0.000,{text}", "22:00:20,4.000,Awake")
    assert scoring.stages == ()
    assert scoring.notes == ("remarks without a duration, passed over: 1",)
    assert scoring.unknown == {"awake": 1}


@pytest.mark.parametrize("text", ["rem", "WAKE", "Stage5", "N2", "stage 2"])
def test_a_long_row_spelled_almost_like_a_stage_is_refused(text: str) -> None:
    with pytest.raises(AnnotationError, match=r"line 2: '.*' lasts 30 s and looks like a sleep stage.*words = "):
        read(f"22:00:00,30.000,{text}")
    assert read(f"22:00:00,30.000,{text}", words={text: "N2"}).stages[0].code == 2


def test_a_stage_of_no_length_runs_to_the_next() -> None:
    """BOGN; the last one lasts an epoch."""
    scoring = read("22:00:00,0,Wake", "22:01:30,0,Stage1", "22:02:00,0,REM")
    assert codes(scoring) == [0, 0, 0, 1, 4, -1, -1, -1, -1, -1]
    assert scoring.notes == (STAGES_ONLY,)


def test_part_of_an_epoch_before_the_next_stage_is_unscored_and_told() -> None:
    scoring = read("22:00:00,0,Wake", "22:00:50,0,Stage1")
    assert [(run.code, run.start_s, run.duration_s) for run in scoring.stages] == [(0, 0.0, 30.0), (1, 50.0, 30.0)]
    assert scoring.notes == ("stages cut within an epoch, which is left unscored there: 1", STAGES_ONLY)


def test_movement_at_the_time_of_a_stage_gives_way() -> None:
    scoring = read("22:00:00,0,Stage2", "22:00:30,0,Stage2", "22:00:30,0,MT", "22:01:00,0,Stage2")
    assert codes(scoring)[:3] == [2, 2, 2]
    assert scoring.notes == ("rows without a stage that begin together with a stage, passed over: 1", STAGES_ONLY)


def test_two_stages_at_one_time_are_refused() -> None:
    with pytest.raises(AnnotationError, match="line 3: overlaps line 2"):
        codes(read("22:00:00,30,Stage2", "22:00:00,30,REM"))


def test_the_row_of_a_month_ends_with_the_next_stage_or_the_signals() -> None:
    scoring = read("22:00:00,2592000.000,Wake", "22:01:00,30.000,Stage1")
    assert codes(scoring)[:4] == [0, 0, 1, -1]
    assert scoring.notes == ("line 2: 2.592e+06 s of one stage, cut at 60 s", STAGES_ONLY)
    assert codes(read("22:00:00,30.000,Wake", "22:00:30,2592000.000,Stage2")) == [0] + [2] * 9


def test_the_grid_of_the_scorer_is_kept() -> None:
    scored = hypnogram(read("22:00:13,60,Wake", "22:01:13,30,REM").stages, 300.0)
    assert scored.start_s[:4].tolist() == [13.0, 43.0, 73.0, 103.0]
    assert scored.codes[:4].tolist() == [0, 0, 4, -1]


def test_times_count_from_the_signals_and_not_from_the_first_stage() -> None:
    assert read("22:01:00,30.000,Wake").stages[0].start_s == 60.0


def test_beginning_of_recording_is_second_0() -> None:
    rows = ("22:05:00,0.000,Beginning of Recording", "22:05:30,30.000,Wake", "22:05:40,10.000,Hypopnea")
    scoring = read(*rows)
    assert (scoring.stages[0].start_s, scoring.events[0].start_s) == (30.0, 40.0)
    assert scoring.notes == (
        "line 2: 'Beginning of Recording' at 22:05:00, but the signals begin at 22:00:00; "
        "times count from the former (align)",
    )
    trusted = read(*rows, duration_s=600.0, align="signals")
    assert trusted.stages[0].start_s == 330.0
    assert "count from the latter" in trusted.notes[0]
    assert read("22:00:20,0,Beginning of Recording", "22:00:50,30,Wake").notes == (STAGES_ONLY,)


def test_a_beginning_half_an_hour_off_is_refused_with_both_times() -> None:
    assert read("22:30:00,0,Beginning of Recording").notes != ()
    with pytest.raises(AnnotationError, match=r"line 2: .* at 22:30:01, but the signals begin at 22:00:00"):
        read("22:30:01,0,Beginning of Recording")


def test_beginning_of_recording_serves_when_the_signals_have_no_start() -> None:
    scoring = read("23:59:30,0,Beginning of Recording", "00:00:00,30,REM", start=None)
    assert scoring.stages[0].start_s == 30.0
    assert "23:59:30 is taken" in scoring.notes[0]
    with pytest.raises(AnnotationError, match="do not say at what time they began"):
        read("22:00:00,30,Wake", start=None)
    with pytest.raises(AnnotationError, match="'Beginning of Recording' again"):
        read("22:00:00,0,Beginning of Recording", "23:00:00,0,Beginning of Recording", start=None)


def test_of_several_beginnings_the_nearest_counts() -> None:
    scoring = read("22:00:02,0,Beginning of Recording", "22:20:00,0,Beginning of Recording", "22:00:32,30,Wake")
    assert scoring.stages[0].start_s == 30.0


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hypopnea", "hypopnea"),
        ("ObstructiveApnea", "obstructive-apnea"),
        ("CentralApnea", "central-apnea"),
        ("MixedApnea", "mixed-apnea"),
        ("RERA", "rera"),
        ("Desaturation", "desaturation"),
        ("Desaturation w/ Respiratory", "desaturation"),
        ("Arousal", "arousal"),
        ("Arousal w/ Respiratory", "arousal"),
        ("Spontaneous Arousal", "arousal"),
    ],
)
def test_events_of_the_cohort(text: str, kind: str) -> None:
    scoring = read(f"22:00:07,12.500,{text}")
    assert scoring.events == (Event(kind, 7.0, 12.5),)
    assert scoring.unknown == {}


def test_leg_movements_and_positions_say_nothing() -> None:
    scoring = read("22:00:07,1,Left Leg", "22:00:07,0,Supine")
    assert (scoring.events, scoring.unknown, scoring.notes) == ((), {}, ())


@pytest.mark.parametrize(
    ("row", "scored"),
    [
        *((f"22:00:07,1,{text}", True) for text in ("RERA", "Left Leg", "PLM", "Snore", "Odd one")),
        *((f"22:00:07,0,{text}", True) for text in ("Arousal", "Both Leg", "Events scored, all of them")),
        *((f"22:00:07,0,{text}", False) for text in ("Supine", "hypopneas, many", "respiratory events not scored")),
        *((f"22:00:07,0,{text}", False) for text in ("Beginning of Recording", "Nap 1", "No Stage")),
    ],
)
def test_a_file_of_stages_alone_has_no_scored_events(row: str, scored: bool) -> None:
    scoring = read("22:01:00,30,Wake", row)
    assert ((scoring.events is not None), STAGES_ONLY not in scoring.notes) == (scored, scored)


def test_events_that_the_user_ignores_were_scored_all_the_same() -> None:
    rows = ("22:00:00,30,Wake", "22:00:07,9,RERA", "22:00:07,9,Fan")
    assert read(*rows, words={"rera": "ignore", "fan": "ignore"}).events == ()
    assert read(rows[0], rows[2], words={"fan": "ignore"}).events is None


def test_events_without_a_duration_stay_points_and_are_counted_by_kind() -> None:
    scoring = read(
        "22:00:07,0,Spontaneous Arousal", "22:00:05,0.000,Hypopnea", "22:00:09,0,Arousal", "22:00:11,4,Arousal"
    )
    assert [event.duration_s for event in scoring.events] == [0.0, 0.0, 0.0, 4.0]
    assert scoring.notes == ("events without a duration, taken as 0 s: 3 (arousal 2, hypopnea 1)",)


def test_naps_are_told() -> None:
    scoring = read("22:00:00,0,Nap 1", "22:02:00,0.000,Nap 2 start")
    assert "naps are marked: 2; this is a multiple sleep latency test" in " ".join(scoring.notes)


def test_words_of_the_user_win() -> None:
    scoring = read(
        "22:00:00,30,MT", "22:00:30,30,REM", "22:00:40,3,Gasp", words={"mt": "W", "rem": "ignore", "gasp": "rera"}
    )
    assert [run.code for run in scoring.stages] == [0]
    assert scoring.events == (Event("rera", 40.0, 3.0),)


def test_stages_far_shorter_than_the_signals_are_told() -> None:
    assert "stages span 30 s of 1900 s" in read("22:00:00,30,Wake", duration_s=1900.0).notes[-1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("22:00:00,30", "line 2: 2 columns, expected 3"),
        ("24:00:00,30,Wake", "line 2: '24:00:00' is not a time of day"),
        ("22:00:00,-30,Wake", "line 2: duration is '-30'"),
        ("22:00:00,inf,Wake", "line 2: duration is 'inf'"),
    ],
)
def test_a_row_out_of_form_is_refused_with_its_line(row: str, words: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(row)
    assert words in str(caught.value)


def test_another_table_is_refused() -> None:
    with pytest.raises(AnnotationError, match="line 1: expected 'Start Time,Duration"):
        read_stages_csv({"main": b"onset\tduration\tdescription\n"}, Facts(60.0, time(22)))


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=80), at=st.integers(0, 150), length=st.integers(0, 20))
def test_any_bytes_give_a_scoring_or_one_clear_error(junk: bytes, at: int, length: int) -> None:
    rows = (
        HEADER,
        "22:00:00,0,Beginning of Recording",
        "22:00:00,0,Wake",
        "22:00:30,2592000,REM",
        "22:00:40,3,Arousal",
    )
    good = "\n".join(rows).encode()
    for data in (junk, good[:at] + junk + good[at + length :]):
        assert "\n" not in outcome(data)


def outcome(data: bytes) -> str:
    """The one line that refuses a file, or nothing; any other exception fails the test."""
    try:
        hypnogram(read_stages_csv({"main": data}, Facts(600.0, time(22))).stages, 600.0)
    except AnnotationError as error:
        return str(error)
    return ""
