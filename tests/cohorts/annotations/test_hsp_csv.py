from __future__ import annotations

import random
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.hsp_csv import read_hsp_csv
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import STAGES_ONLY
from hypnos_bench.cohorts.base import EVENT_SCOPES, Event, Scoring, StageRun
from hypnos_bench.cohorts.writers.hsp_csv import write_hsp_csv

KINDS = [kind for kinds in EVENT_SCOPES.values() for kind in kinds if kind != "apnea"]
EVENTS = st.lists(
    st.builds(Event, st.sampled_from(KINDS), st.integers(0, 1000).map(float), st.integers(1, 60).map(float)),
    max_size=8,
    unique_by=lambda event: event.start_s,
)


def table(*rows: str) -> bytes:
    return "\n".join(("epoch,time,duration,event", *rows)).encode()


def read(*rows: str, duration_s: float = 600.0, words: dict[str, str] | None = None) -> Scoring:
    return read_hsp_csv({"main": table(*rows)}, Facts(duration_s, time(22)), words)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    events=EVENTS,
    site=st.sampled_from(["S0001-natus", "S0001-grass", "I0004"]),
    suffix=st.sampled_from(["csv", "tsv"]),
    start=st.sampled_from(["21:30:00", "23:55:10", "00:10:00"]),
    durations=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_sites_orders_and_midnights_give_the_same(
    tmp_path: Path,
    stages: list[int],
    events: list[Event],
    site: Any,
    suffix: str,
    start: str,
    durations: bool,
    seed: int,
) -> None:
    path = tmp_path / f"x.{suffix}"
    remark = [(4.0, 'hypopneas and "REM", cpap to 6')]
    write_hsp_csv(path, stages, events, start, site=site, durations=durations, remarks=remark)
    header, *rows = path.read_bytes().splitlines(keepends=True)
    random.Random(seed).shuffle(rows)
    duration_s = len(stages) * 30.0 + 12
    scoring = read_hsp_csv({"main": header + b"".join(rows)}, Facts(duration_s, time.fromisoformat(start)))
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == stages
    expected = [event if durations else Event(event.kind, event.start_s, 10.0) for event in events]
    assert scoring.events == (tuple(sorted(expected, key=lambda event: event.start_s)) or None)
    assert scoring.unknown == {}
    notes = ["remarks without a duration, passed over: 1"]
    if not durations:
        notes.insert(0, f"stages without a duration, taken as 30 s: {len(stages)}")
        notes[1:1] = [f"events without a duration, taken as 10 s: {len(events)}"] if events else []
    assert scoring.notes == (*notes, *(() if events else (STAGES_ONLY,)))


@pytest.mark.parametrize(
    ("text", "code"),
    [("W", 0), ("N1", 1), ("1", 1), ("N2", 2), ("N3", 3), ("R", 4), ("REM", 4), ("?", -1)],
)
def test_stages_of_s0001(text: str, code: int) -> None:
    assert read(f"2,22:00:30,30,Sleep_stage_{text}").stages == (StageRun(code, 30.0, 30.0, "line 2"),)


@pytest.mark.parametrize(
    ("text", "code"), [("wake", 0), ("stage1", 1), ("stage2", 2), ("stage3", 3), ("rem", 4), ("unknownstage", -1)]
)
def test_stages_of_i0004(text: str, code: int) -> None:
    assert read(f",22:00:30,60,{text}").stages == (StageRun(code, 30.0, 60.0, "line 2"),)


def test_bare_rem_is_a_note_where_stages_have_their_prefix() -> None:
    scoring = read("1,22:00:00,30,Sleep_stage_W", "1,22:00:04,,REM", "1,22:00:05,0.004,Wake", "1,22:00:06,,Stage - N2")
    assert [run.code for run in scoring.stages] == [0]
    assert scoring.notes == ("remarks without a duration, passed over: 3", STAGES_ONLY)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("RespEvent - Hypopnea - 4", "hypopnea"),
        ("RespEvent - ObstructiveApnea - 1", "obstructive-apnea"),
        ("RespEvent - CentralApnea - 2", "central-apnea"),
        ("RespEvent - MixedApnea - 3", "mixed-apnea"),
        ("RespEvent - RERA - 6", "rera"),
        ("* Respiratory Event - Obstructive Apnea - Desat 91.0 %", "obstructive-apnea"),
        ("Respiratory Event - Dur: 20.5 sec. - Hypopnea - Desat 89.0 %", "hypopnea"),
        ("Respiratory Event - RERA - Desat  0.0 %", "rera"),
        ("Obstructive_Apnea", "obstructive-apnea"),
        ("Mixed_Apnea", "mixed-apnea"),
        ("Hypopnea", "hypopnea"),
        ("centralapnea", "central-apnea"),
        ("Oxygen_Desaturation", "desaturation"),
        ("* Desaturation - Min 92.0 % - Drop  4.2 %", "desaturation"),
        ("Desaturation - 1", "desaturation"),
        ("desaturation w/ respiratory", "desaturation"),
        ("* Arousal - Respiratory Event", "arousal"),
        ("Arousal - RespEvent - 1", "arousal"),
        ("arousal w/ respiratory", "arousal"),
        ("Respiratory effort related arousal", "rera"),
    ],
)
def test_events_of_all_sites(text: str, kind: str) -> None:
    scoring = read(f"1,22:00:07,12.5,{text}")
    assert scoring.events == (Event(kind, 7.0, 12.5),)
    assert scoring.unknown == {}


def test_missing_durations_are_30_s_and_10_s() -> None:
    scoring = read("1,22:00:00,,Sleep_stage_N2", "1,22:00:05,nan,Hypopnea", "2,22:00:30,0.004,Sleep_stage_W")
    assert [(run.code, run.duration_s) for run in scoring.stages] == [(2, 30.0), (0, 30.0)]
    assert scoring.events == (Event("hypopnea", 5.0, 10.0),)
    assert scoring.notes == (
        "stages without a duration, taken as 30 s: 2",
        "events without a duration, taken as 10 s: 1",
    )


def test_a_duration_in_the_text_serves_where_the_column_has_none() -> None:
    scoring = read("1,22:00:05,,Respiratory Event - Dur: 18.3 sec. - Hypopnea - Desat 91.0 %")
    assert scoring.events == (Event("hypopnea", 5.0, 18.3),)
    assert scoring.notes == ()


def test_the_columns_may_lack_epoch_and_duration() -> None:
    data = b"time,event\n22:00:00,Sleep_stage_R\n22:00:05,RERA\n"
    scoring = read_hsp_csv({"main": data}, Facts(60.0, time(22)))
    assert scoring.stages == (StageRun(4, 0.0, 30.0, "line 2"),)
    assert scoring.events == (Event("rera", 5.0, 10.0),)


@pytest.mark.parametrize("text", ["cpap increased for apneas / desats / reras", "pt aroused", "4% desaturation"])
def test_a_note_that_names_an_event_is_none(text: str) -> None:
    scoring = read(f"1,22:00:05,,{text}")
    assert (scoring.events, scoring.unknown) == (None, {})
    assert scoring.notes == ("remarks without a duration, passed over: 1",)


def test_arousals_after_something_are_passed_over() -> None:
    scoring = read("1,22:00:05,4,Post apnea arousal")
    assert scoring.events == ()
    assert scoring.notes == ("texts with 'arousal' and 'post', passed over: 1",)


def test_unknown_texts_with_a_duration_are_counted() -> None:
    scoring = read("1,22:00:05,4,Respiratory Event - Partial Obstructive - Desat 95.0 %", "1,22:00:09,4,Gasp_one")
    assert scoring.unknown == {"respiratory event - partial obstructive": 1, "gasp one": 1}
    assert [event.kind for event in scoring.events] == ["respiratory-event-partial-obstructive", "gasp-one"]


def test_positions_legs_and_machines_say_nothing() -> None:
    scoring = read("1,22:00:05,9,PLM - Periodic - 1", "1,22:00:05,9,Body_Position:_Supine", "1,22:00:05,,CPAP:6_cmH2O")
    assert (scoring.events, scoring.unknown, scoring.notes) == ((), {}, ())


@pytest.mark.parametrize(
    ("row", "scored"),
    [
        *((f"1,22:00:05,4,{text}", True) for text in ("Hypopnea", "Gasp_one", "PLM - Periodic - 1", "Snore")),
        *((f"1,22:00:05,,{text}", True) for text in ("LM", "Arousal - Post", "respiratory events scored by ab")),
        *((f"1,22:00:05,9,{text}", False) for text in ("Body_Position:_Supine", "Lights_Off", "SpO2_Event")),
        *((f"1,22:00:05,,{text}", False) for text in ("cpap up for apneas", "events not scored", "Recording Resumed")),
        ("1,,4,Hypopnea", False),
    ],
)
def test_a_file_of_stages_alone_has_no_scored_events(row: str, scored: bool) -> None:
    scoring = read("1,22:00:00,30,Sleep_stage_W", row)
    assert ((scoring.events is not None), STAGES_ONLY not in scoring.notes) == (scored, scored)


def test_events_that_the_user_ignores_were_scored_all_the_same() -> None:
    rows = ("1,22:00:00,30,Sleep_stage_W", "1,22:00:05,9,Hypopnea", "1,22:00:06,,Arousal - Snore")
    assert read(*rows, words={"hypopnea": "ignore", "arousal - snore": "ignore"}).events == ()
    assert read(rows[0], "1,22:00:05,9,Fan", words={"fan": "ignore"}).events is None


def test_recording_resumed_is_told() -> None:
    (note,) = read("1,22:00:05,,Recording Resumed").notes
    assert note == "'Recording Resumed', after which the times may be shifted against the signals: 1"


def test_epoch_numbers_are_compared() -> None:
    fits = read("1,22:00:13,30,Sleep_stage_W", "2,22:00:43,30,Sleep_stage_W")
    assert fits.notes == (STAGES_ONLY,)
    off = read("3,22:00:13,30,Sleep_stage_W", "4.0,22:00:43,30,Sleep_stage_W", "3,22:01:13,30,Sleep_stage_W")
    assert off.notes == ("stages more than an epoch from where their epoch number puts them: 2", STAGES_ONLY)
    assert [run.start_s for run in off.stages] == [13.0]


def test_rows_without_a_time_are_told_and_dates_are_not_needed() -> None:
    scoring = read("1,,30,Sleep_stage_W", "2,2019-03-02 22:00:30.000,30,Sleep_stage_R")
    assert scoring.stages == (StageRun(4, 30.0, 30.0, "line 3"),)
    assert scoring.notes == ("rows without a time, passed over: 1", STAGES_ONLY)


def test_stages_far_shorter_than_the_signals_are_told() -> None:
    assert "stages span 30 s of 1900 s" in read("1,22:00:00,30,Sleep_stage_W", duration_s=1900.0).notes[-1]


@pytest.mark.parametrize("text", ["Sleep_stage_N4", "stage4", "Stage - N2", "no stage"])
def test_an_unknown_stage_is_refused_with_the_setting_that_helps(text: str) -> None:
    with pytest.raises(AnnotationError, match=r"line 2: unknown sleep stage .*words = "):
        read(f"1,22:00:00,30,{text}")
    assert read(f"1,22:00:00,30,{text}", words={text: "N3"}).stages[0].code == 3


def test_words_of_the_user_win() -> None:
    rows = (
        "1,22:00:00,30,Sleep_stage_W",
        "1,22:00:01,5,Arousal - Snore",
        "1,22:00:02,,Gasp_one",
        "1,22:00:03,6,Hypopnea",
    )
    words = {"Sleep_stage_W": "N1", "arousal - snore": "ignore", "Gasp_one": "rera", "hypopnea": "ignore"}
    scoring = read(*rows, words=words)
    assert scoring.stages[0].code == 1
    assert scoring.events == (Event("rera", 2.0, 10.0),)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,10 pm,30,Sleep_stage_W", "line 2: '10 pm' is not a time of day"),
        ("1,22:00:00,-30,Sleep_stage_W", "line 2: duration is '-30'"),
        ("1,22:00:00,30", "line 2: 3 columns, expected 4"),
        ('1,22:00:00,30,"' + "x\n" * 1001, "columns, expected 4 of ordinary length"),
    ],
)
def test_a_row_out_of_form_is_refused_with_its_line(row: str, words: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(row)
    assert words in str(caught.value)


def test_another_table_is_refused() -> None:
    with pytest.raises(AnnotationError, match="line 1: no column event or time; found: onset"):
        read_hsp_csv({"main": b"onset\tduration\tdescription\n"}, Facts(60.0, time(22)))


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=80), at=st.integers(0, 150), length=st.integers(0, 20))
def test_any_bytes_give_a_scoring_or_one_clear_error(junk: bytes, at: int, length: int) -> None:
    good = table("1,22:00:00,30,Sleep_stage_W", "1,22:00:04,,Hypopnea", '2,22:00:30,,"Sleep_stage_?"', "2,,,REM")
    for data in (junk, good[:at] + junk + good[at + length :]):
        assert "\n" not in outcome(data)


def outcome(data: bytes) -> str:
    """The one line that refuses a file, or nothing; any other exception fails the test."""
    try:
        hypnogram(read_hsp_csv({"main": data}, Facts(600.0, time(22))).stages, 600.0)
    except AnnotationError as error:
        return str(error)
    return ""
