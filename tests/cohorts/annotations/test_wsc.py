from __future__ import annotations

import random
from collections.abc import Callable
from datetime import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import STAGES_ONLY
from hypnos_bench.cohorts.annotations.wsc import read_wsc_allscore, read_wsc_stg
from hypnos_bench.cohorts.base import EVENT_SCOPES, Event, Scoring, StageRun
from hypnos_bench.cohorts.writers.wsc import write_wsc_allscore, write_wsc_log, write_wsc_stg

KINDS = [kind for kinds in EVENT_SCOPES.values() for kind in kinds if kind != "apnea"]
EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(KINDS),
        st.integers(0, 100_000).map(lambda cs: cs / 100),
        st.integers(1, 600).map(lambda ds: ds / 10),
    ),
    max_size=8,
    unique_by=lambda event: event.start_s,
)


def stg(text: str, log: str | None = None, facts: Facts | None = None, words: dict[str, str] | None = None) -> Scoring:
    files = {"main": text.encode()} | ({} if log is None else {"log": log.encode()})
    return read_wsc_stg(files, facts or Facts(300.0, time(22, 5)), words)


def allscore(
    *rows: str, facts: Facts | None = None, begin: str = "22:00:00.00", words: dict[str, str] | None = None
) -> Scoring:
    lines = (f"{begin}\tSTART RECORDING", *rows)
    return read_wsc_allscore({"main": "\n".join(lines).encode("latin-1")}, facts or Facts(300.0, time(22)), words)


def codes(scoring: Scoring, duration_s: float = 300.0) -> list[int]:
    return hypnogram(scoring.stages, duration_s).codes.tolist()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    header=st.booleans(),
    gaps=st.booleans(),
    rk=st.booleans(),
    seed=st.integers(0, 99),
)
def test_stg_is_read_back_with_and_without_its_header_and_gaps(
    tmp_path: Path, stages: list[int], header: bool, gaps: bool, rk: bool, seed: int
) -> None:
    write_wsc_stg(tmp_path / "x.stg.txt", stages, header=header, gaps=gaps, rk=rk)
    write_wsc_log(tmp_path / "x.log.txt", ["22:05:00"])
    lines = (tmp_path / "x.stg.txt").read_bytes().splitlines(keepends=True)
    rows = lines[header:]
    random.Random(seed).shuffle(rows)
    files = {"main": b"".join([*lines[:header], *rows]), "log": (tmp_path / "x.log.txt").read_bytes()}
    duration_s = len(stages) * 30.0 + 12
    scoring = read_wsc_stg(files, Facts(duration_s, time(22, 5)))
    if gaps and set(stages) == {-1}:
        assert scoring.stages == ()
    else:
        assert codes(scoring, duration_s) == stages
    assert scoring.notes == ("scored stages are those of 'User-Defined Stage'; events (.sco.txt) are not read",)


def test_stage_4_is_n3_and_5_is_rem_and_6_and_7_are_unscored() -> None:
    text = "".join(f"{epoch}\t{code}\t0\n" for epoch, code in enumerate("01234567", start=1))
    assert codes(stg(text), 240.0) == [0, 1, 2, 3, 3, 4, -1, -1]


def test_epochs_count_from_1_and_gaps_are_unscored() -> None:
    assert stg("3\t2\t2\n4\t2\t2\n").stages == (StageRun(2, 60.0, 60.0, "line 1"),)
    assert codes(stg("3\t2\t2\n")) == [-1, -1, 2, -1, -1, -1, -1, -1, -1, -1]


def test_the_user_defined_stage_is_the_scored_one() -> None:
    text = "Epoch\tCAST-Defined Stage\tUser-Defined Stage\n1\t0\t5\n"
    assert stg(text).stages == (StageRun(4, 0.0, 30.0, "line 2"),)
    with pytest.raises(AnnotationError, match="line 1: no column 'User-Defined Stage'; found: epoch, cast"):
        stg("Epoch\tCAST-Defined Stage\n1\t0\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1\t8\t0\n", "line 1: unknown sleep stage '8'"),
        ("0\t1\t0\n", "line 1: '0\\t1\\t0', expected an epoch counted from 1"),
        ("1\n", "line 1: '1', expected an epoch"),
        ("1\t1\t0\nx\t1\t0\n", "line 2: 'x\\t1\\t0', expected an epoch"),
        ("1\t1\t0\n1\t2\t0\n", "line 2: another stage for epoch 1 than in line 1"),
    ],
)
def test_a_line_that_is_no_epoch_is_refused(text: str, words: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        stg(text)
    assert words in str(caught.value)


def test_a_stg_file_has_no_events_which_is_not_none_scored() -> None:
    assert stg("1\t0\t0\n").events is None
    assert allscore("22:00:00.00\tSTAGE - W").events is None
    assert allscore("22:00:00.00\tSTAGE - W", "22:00:02.00\tLM - DUR: 0.7 SEC. - ISOLATED").events == ()


def test_codes_of_the_user_win() -> None:
    assert stg("1\t8\t0\n", words={"8": "W"}).stages[0].code == 0


def test_a_log_of_another_start_refuses_the_record_with_both_times() -> None:
    assert len(stg("1\t0\t0\n", "22:05:01 1\tRecording Started\t\n").notes) == 1
    near = stg("1\t0\t0\n", "22:05:30 1\tRecording Started\t\n")
    assert near.stages[0].start_s == 0.0
    assert "'Recording Started' at 22:05:30, but the signals begin at 22:05:00; epochs are counted" in near.notes[1]
    with pytest.raises(AnnotationError, match=r"log, line 1: 'Recording Started' at 22:05:31, but .* 22:05:00"):
        stg("1\t0\t0\n", "22:05:31 1\tRecording Started\t\n")


def test_of_several_starts_the_one_nearest_midnight_counts_and_of_equals_the_last() -> None:
    log = "16:30:00 1\tRecording Started\n22:05:00 1\tRecording Started\n--/--/--\t1\tGain : 7\n"
    assert stg("1\t0\t0\n", log).notes[1:] == ("starts in the log: 2; the one at 22:05:00 is compared",)
    after = "21:00:00 1\tRecording Started\n--/--/--\t00:40:00 2\tRecording Started\n"
    assert "the one at 00:40:00" in stg("1\t0\t0\n", after, Facts(300.0, time(0, 40))).notes[1]
    with pytest.raises(AnnotationError, match="log, line 2: 'Recording Started' at 01:55:00"):
        stg("1\t0\t0\n", "22:05:00 1\tRecording Started\n01:55:00 1\tRecording Started\n")


def test_a_log_of_a_12_hour_clock_is_accepted_and_told() -> None:
    scoring = stg("1\t0\t0\n", "10:05:20 1\tRecording Started\n")
    assert scoring.stages[0].start_s == 0.0
    assert scoring.notes[1] == (
        "log, line 1: 'Recording Started' at 10:05:20, but the signals begin at 22:05:00: 12 hours off, taken as a "
        "12-hour clock without AM and PM; epochs are counted from the start of the signals"
    )
    past = stg("1\t0\t0\n", "12:10:00 1\tRecording Started\n", Facts(300.0, time(0, 10)))
    assert "12 hours off" in past.notes[1]


@pytest.mark.parametrize(
    ("clock", "start"),
    [
        ("10:05:31", time(22, 5)),  # 12 hours and more than an epoch
        ("22:05:00", time(10, 5)),  # no 12-hour clock shows 22
        ("10:05:00 am", time(22, 5)),
        ("09:05:00", time(22, 5)),
    ],
)
def test_other_clocks_12_hours_off_are_refused(clock: str, start: time) -> None:
    with pytest.raises(AnnotationError, match="the stages are those of another start"):
        stg("1\t0\t0\n", f"{clock} 1\tRecording Started\n", Facts(300.0, start))


def test_of_several_starts_of_a_12_hour_clock_the_one_nearest_midnight_counts() -> None:
    log = "04:30:00 1\tRecording Started\n10:05:00 1\tRecording Started\n"
    notes = stg("1\t0\t0\n", log).notes
    assert "line 2: 'Recording Started' at 10:05:00" in notes[1]
    assert notes[2] == "starts in the log: 2; the one at 10:05:00 is compared"
    with pytest.raises(AnnotationError, match="another start"):  # 16:30 shows that the clock has 24 hours
        stg("1\t0\t0\n", log.replace("04:30", "16:30"))


def test_without_a_log_or_a_start_in_it_a_note_says_so() -> None:
    assert stg("1\t0\t0\n").notes[1] == "without a log, epochs are counted from the start of the signals"
    without = stg("1\t0\t0\n", "22:05:00\tLights Out\n")
    assert without.notes[1].startswith("the log does not say when the recording began: epochs are counted")
    unknown = stg("1\t0\t0\n", "22:05:00\tRecording Started\n", Facts(300.0))
    assert unknown.notes[1].startswith("the signals do not say")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    events=EVENTS,
    start=st.sampled_from(["21:30:00", "23:55:10.34", "00:10:00"]),
    seed=st.integers(0, 99),
)
def test_allscore_is_read_back_in_any_order_and_across_midnight(
    tmp_path: Path, stages: list[int], events: list[Event], start: str, seed: int
) -> None:
    path = tmp_path / "x.allscore.txt"
    write_wsc_allscore(path, stages, events, start, remarks=[(4.0, "patient awake \xe9")])
    rows = path.read_bytes().splitlines(keepends=True)
    random.Random(seed).shuffle(rows)
    duration_s = len(stages) * 30.0 + 12
    header = time.fromisoformat(start).replace(microsecond=0)  # an EDF header has whole seconds
    scoring = read_wsc_allscore({"main": b"".join(rows)}, Facts(duration_s, header))
    assert codes(scoring, duration_s) == stages
    ordered = sorted(events, key=lambda event: event.start_s)
    assert (scoring.events is None) == (STAGES_ONLY in scoring.notes) == (not events)
    found = scoring.events or ()
    assert [event.kind for event in found] == [event.kind for event in ordered]
    np.testing.assert_allclose([e.start_s for e in found], [e.start_s for e in ordered], atol=1e-6)
    assert [event.duration_s for event in found] == [event.duration_s for event in ordered]
    assert scoring.unknown == {}
    assert "remarks without a duration, passed over: 1" in scoring.notes


def test_documented_lines() -> None:
    """The example that NSRR shows of this file, in a recording that begins with an epoch of its grid."""
    scoring = allscore(
        "22:04:41.13\tLIGHTS OUT",
        "22:13:11.29\tPOSITION - LEFT",
        "22:30:59.00\tSTAGE - N1",
        "22:31:42.64\tLM - DUR: 0.7 SEC. - ISOLATED",
        "22:31:59.00\tSTAGE - N2",
        "22:32:59.00\tSTAGE - W",
        "22:33:10.93\tAROUSAL - DUR: 3.0 SEC. - SPONTANEOUS",
        "22:33:59.00\tSTAGE - N2",
        "22:34:00.47\tRESPIRATORY EVENT - DUR: 44.9 SEC. - HYPOPNEA - DESAT 91.6 %",
        "22:34:01.69\tDESATURATION - DUR: 55.8 SEC. - MIN 91.6 % - DROP 3.1 %",
        facts=Facts(2100.0, time(21, 59, 59)),
        begin="21:59:59.00",
    )
    assert [(run.code, run.start_s, run.duration_s) for run in scoring.stages] == [
        (1, 1860.0, 60.0),
        (2, 1920.0, 60.0),
        (0, 1980.0, 60.0),
        (2, 2040.0, 60.0),
    ]
    kinds = [(event.kind, round(event.start_s, 2), event.duration_s) for event in scoring.events]
    assert kinds == [("arousal", 1991.93, 3.0), ("hypopnea", 2041.47, 44.9), ("desaturation", 2042.69, 55.8)]
    assert scoring.notes == ("the time of an event is taken as its start",)


def test_a_stage_holds_to_the_next_change_and_the_last_to_the_end() -> None:
    scoring = allscore("22:00:30.00\tSTAGE - N2", "22:02:00.00\tSTAGE - R")
    assert codes(scoring) == [-1, 2, 2, 2, 4, 4, 4, 4, 4, 4]
    assert scoring.stages[1] == StageRun(4, 120.0, 180.0, "line 3")


@pytest.mark.parametrize(
    ("text", "code"), [("W", 0), ("N1", 1), ("N2", 2), ("N3", 3), ("R", 4), ("MVT", -1), ("NO STAGE", -1)]
)
def test_stages_of_allscore(text: str, code: int) -> None:
    assert allscore(f"22:00:00.00\tSTAGE - {text}").stages == (StageRun(code, 0.0, 300.0, "line 2"),)


def test_an_unknown_stage_is_refused_with_the_setting_that_helps() -> None:
    with pytest.raises(AnnotationError, match=r"line 2: unknown sleep stage 'stage - n4'.*words = "):
        allscore("22:00:00.00\tSTAGE - N4")
    assert allscore("22:00:00.00\tSTAGE - N4", words={"STAGE - N4": "N3"}).stages[0].code == 3


def test_changes_within_a_second_of_the_grid_are_moved_onto_it() -> None:
    scoring = allscore("22:00:00.90\tSTAGE - N2", "22:00:59.00\tSTAGE - R")
    assert codes(scoring)[:3] == [2, 2, 4]
    assert scoring.notes == (STAGES_ONLY,)


def test_an_epoch_within_which_the_stage_changes_is_unscored_and_counted() -> None:
    scoring = allscore("22:00:00.00\tSTAGE - N2", "22:01:10.00\tSTAGE - R", "22:01:20.00\tSTAGE - W")
    assert codes(scoring)[:4] == [2, 2, -1, 0]
    assert scoring.notes == ("changes of stage within an epoch, which is unscored: 2 of 3", STAGES_ONLY)


def test_pauses_are_unscored_and_told() -> None:
    scoring = allscore(
        "22:00:00.00\tSTAGE - N2", "22:01:10.00\tPAUSED", "22:01:50.00\tRECORDING RESUMED", "22:04:40.00\tPAUSED"
    )
    assert codes(scoring) == [2, 2, -1, -1, 2, 2, 2, 2, 2, -1]
    assert scoring.notes == ("pauses of the recording, unscored: 2, 60 s", STAGES_ONLY)


def test_the_writers_pauses_are_read(tmp_path: Path) -> None:
    write_wsc_allscore(tmp_path / "x.txt", [2] * 6, (), "22:00:00", pauses=[(60.0, 90.0)])
    scoring = read_wsc_allscore({"main": (tmp_path / "x.txt").read_bytes()}, Facts(180.0, time(22)))
    assert codes(scoring, 180.0) == [2, 2, -1, 2, 2, 2]


def test_no_or_several_starts_and_power_failures_drop_the_record() -> None:
    with pytest.raises(AnnotationError, match=r"'START RECORDING' occurs 2 times \(line 1, line 2\), expected once"):
        allscore("22:30:00.00\tSTART RECORDING")
    with pytest.raises(AnnotationError, match="'START RECORDING' occurs 0 times, expected once"):
        read_wsc_allscore({"main": b"22:00:00.00\tSTAGE - W\n"}, Facts(300.0, time(22)))
    with pytest.raises(AnnotationError, match="line 2: 'POWER FAILURE RECOVERY'"):
        allscore("23:00:00.00\tPOWER FAILURE RECOVERY")


def test_a_start_more_than_an_epoch_off_is_refused_with_both_times() -> None:
    assert allscore("22:00:30.40\tSTAGE - W", begin="22:00:00.40").stages[0].start_s == 30.0
    near = allscore("22:00:35.00\tSTAGE - W", begin="22:00:05.00")
    assert near.stages[0].start_s == 35.0
    assert "line 1: 'START RECORDING' at 22:00:05.00, but the signals begin at 22:00:00; times count" in near.notes[0]
    with pytest.raises(AnnotationError, match=r"line 1: 'START RECORDING' at 22:00:31.00, but .* 22:00:00"):
        allscore(begin="22:00:31.00")


def test_start_recording_serves_when_the_signals_have_no_start() -> None:
    scoring = allscore("23:00:00.00\tSTAGE - W", begin="22:59:00.00", facts=Facts(300.0))
    assert scoring.stages[0].start_s == 60.0
    assert scoring.notes == ("the signals do not say when they began: 'START RECORDING' is taken", STAGES_ONLY)


def test_lines_before_the_start_are_passed_over() -> None:
    scoring = allscore("16:10:00.00\tAROUSAL - SPONTANEOUS", "21:59:00.00\tSTAGE - N2", "22:00:00.00\tSTAGE - W")
    assert codes(scoring) == [0] * 10
    assert scoring.events is None
    assert scoring.notes == ("lines before 'START RECORDING', passed over: 2", STAGES_ONLY)


def test_two_stages_at_one_time_are_refused() -> None:
    with pytest.raises(AnnotationError, match="line 3: another stage at the same time as in line 2"):
        allscore("22:00:00.00\tSTAGE - W", "22:00:00.00\tSTAGE - R")
    assert codes(allscore("22:00:00.00\tSTAGE - W", "22:00:00.00\tSTAGE - W")) == [0] * 10


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("RESPIRATORY EVENT - DUR: 19.3 SEC. - HYPOPNEA - DESAT 4.0 %", Event("hypopnea", 5.5, 19.3)),
        ("RESPIRATORY EVENT - DUR: 19.3 SEC. - OBSTRUCTIVE APNEA", Event("obstructive-apnea", 5.5, 19.3)),
        ("RESPIRATORY EVENT - DUR: 9.0 SEC. - CENTRAL APNEA - DESAT <N/A>", Event("central-apnea", 5.5, 9.0)),
        ("* RESPIRATORY EVENT - DUR: 12.0 SEC. - MIXED APNEA - DESAT 90.0 %", Event("mixed-apnea", 5.5, 12.0)),
        ("DESATURATION FROM 95 TO 91", Event("desaturation", 5.5, 0.0)),
        ("AROUSAL - LM", Event("arousal", 5.5, 0.0)),
        ("AROUSAL - DUR: 3.0 SEC. - RESPIRATORY EVENT", Event("arousal", 5.5, 3.0)),
    ],
)
def test_events_of_allscore(text: str, event: Event) -> None:
    scoring = allscore(f"22:00:05.50\t{text}")
    assert scoring.events == (event,)
    assert scoring.unknown == {}
    point = f"events without a duration, taken as 0 s: 1 ({event.kind} 1)"
    without = (point,) if event.duration_s == 0 else ()
    assert scoring.notes == ("the time of an event is taken as its start", *without)


def test_events_without_a_duration_stay_points_and_are_counted_by_kind() -> None:
    scoring = allscore(
        "22:00:05.00\tAROUSAL - LM",
        "22:00:06.00\tDESATURATION FROM 95 TO 91",
        "22:00:07.00\tAROUSAL - SPONTANEOUS",
        "22:00:08.00\tAROUSAL - DUR: 3.0 SEC. - LM",
    )
    assert [event.duration_s for event in scoring.events] == [0.0, 0.0, 0.0, 3.0]
    assert scoring.notes[1] == "events without a duration, taken as 0 s: 3 (arousal 2, desaturation 1)"


@pytest.mark.parametrize(
    ("text", "scored"),
    [
        ("LM - DUR: 0.7 SEC. - ISOLATED", True),
        ("SNORE", True),
        ("CHEYNE STOKES - DUR: 90.0 SEC.", True),
        ("RESPIRATORY EVENT - PARTIAL OBSTRUCTIVE", True),
        ("ALL RESPIRATORY EVENTS SCORED", True),
        ("RESPIRATORY EVENTS NOT SCORED", False),
        ("POSITION - SUPINE", False),
        ("LIGHTS OUT", False),
        ("PAUSED", False),
        ("LOOK LEFT", False),
    ],
)
def test_a_file_of_stages_alone_has_no_scored_events(text: str, scored: bool) -> None:
    scoring = allscore("22:00:00.00\tSTAGE - W", f"22:04:40.00\t{text}")
    assert (scoring.events is not None, STAGES_ONLY not in scoring.notes) == (scored, scored)


def test_events_that_the_user_ignores_were_scored_all_the_same() -> None:
    rows = ("22:00:00.00\tSTAGE - W", "22:00:06.00\tAROUSAL - LM", "22:00:07.00\tFAN - DUR: 3.0 SEC.")
    assert allscore(*rows, words={"arousal - lm": "ignore", "fan": "ignore"}).events == ()
    assert allscore(rows[0], rows[2], words={"fan": "ignore"}).events is None


def test_a_clock_that_was_changed_is_told() -> None:
    """Stages hold to the end of the signals, so the lines are compared: here the last one is an hour late."""
    rows = ("22:00:00.00\tSTAGE - W", "03:30:00.00\tAROUSAL - DUR: 3.0 SEC. - LM")
    told = "lines span 19800 s of 16200 s of signals: check that the clock was not changed"
    assert told in allscore(*rows, facts=Facts(16_200.0, time(22))).notes
    assert "lines span 19800 s of 23400 s" in allscore(*rows, facts=Facts(23_400.0, time(22))).notes[-1]
    assert not any("clock" in note for note in allscore(*rows, facts=Facts(19_800.0 + 1800.0, time(22))).notes)


def test_known_words_say_nothing_and_unknown_ones_are_counted_when_they_have_a_duration() -> None:
    scoring = allscore(
        "22:00:05.50\tLM - DUR: 0.7 SEC. - ISOLATED",
        "22:00:06.50\tPOSITION - SUPINE",
        "22:00:07.50\tCHEYNE STOKES - DUR: 90.0 SEC.",
        "22:00:08.50\tRESPIRATORY EVENT - DUR: 8.0 SEC. - PARTIAL OBSTRUCTIVE",
        "22:00:09.50\tLOOK LEFT",
        "22:00:10.50\t",
    )
    assert scoring.unknown == {"cheyne stokes": 1, "partial obstructive": 1}
    assert [event.kind for event in scoring.events] == ["cheyne-stokes", "partial-obstructive"]
    assert scoring.notes[-1] == "remarks without a duration, passed over: 1"


def test_words_of_the_user_win() -> None:
    rows = (
        "22:00:05.00\tAROUSAL - LM",
        "22:00:06.00\tAROUSAL - SPONTANEOUS",
        "22:00:07.00\tGASP",
        "22:00:00.00\tSTAGE - MVT",
    )
    scoring = allscore(*rows, words={"arousal - lm": "ignore", "gasp": "rera", "stage - mvt": "W"})
    assert [event.kind for event in scoring.events] == ["arousal", "rera"]
    assert codes(scoring) == [0] * 10


def test_a_line_without_a_time_is_refused() -> None:
    with pytest.raises(AnnotationError, match="line 2: 'STAGE - W' is not a time of day"):
        allscore("STAGE - W")


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=80), at=st.integers(0, 150), length=st.integers(0, 20))
def test_any_bytes_give_a_scoring_or_one_clear_error(junk: bytes, at: int, length: int) -> None:
    stages = b"Epoch\tUser-Defined Stage\tCAST-Defined Stage\n1\t0\t0\n2\t5\t0\n7\t4\t0\n"
    log = b"16:00:00 1\tRecording Started\n22:00:00 1\tRecording Started\n"
    score = b"22:00:00.10\tSTART RECORDING\n22:00:30.10\tSTAGE - N2\n22:01:00.00\tPAUSED\n22:01:10.00\tAROUSAL - DUR: 3.0 SEC. - LM\n"
    facts = Facts(600.0, time(22))

    def spoilt(good: bytes) -> bytes:
        return good[:at] + junk + good[at + length :]

    for files in ({"main": junk}, {"main": spoilt(stages)}, {"main": stages, "log": spoilt(log)}):
        assert "\n" not in outcome(read_wsc_stg, files, facts)
    for data in (junk, spoilt(score)):
        assert "\n" not in outcome(read_wsc_allscore, {"main": data}, facts)


def outcome(read: Callable[..., Scoring], files: dict[str, bytes], facts: Facts) -> str:
    """The one line that refuses the files, or nothing; any other exception fails the test."""
    try:
        hypnogram(read(files, facts).stages, facts.duration_s)
    except AnnotationError as error:
        return str(error)
    return ""
