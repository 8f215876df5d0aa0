from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.nchsdb_tsv import read_nchsdb_tsv
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import STAGES_ONLY
from hypnos_bench.cohorts.base import EVENT_SCOPES, Event, Scoring, StageRun
from hypnos_bench.cohorts.writers.nchsdb_tsv import write_nchsdb_tsv
from hypnos_bench.errors import UsageError

KINDS = [kind for kinds in EVENT_SCOPES.values() for kind in kinds if kind != "apnea"]


def table(*rows: str) -> bytes:
    return "\n".join(("onset\tduration\tdescription", *rows)).encode()


def read(*rows: str, words: dict[str, str] | None = None, **options: str) -> Scoring:
    return read_nchsdb_tsv({"main": table(*rows)}, Facts(600.0), words, **options)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    events=st.lists(
        st.builds(Event, st.sampled_from(KINDS), st.floats(0, 1000), st.floats(0.5, 60)),
        max_size=8,
        unique_by=lambda event: event.start_s,
    ),
    first_s=st.sampled_from([0.0, 10.76171875]),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back_in_any_order(
    tmp_path: Path, stages: list[int], events: list[Event], first_s: float, seed: int
) -> None:
    write_nchsdb_tsv(tmp_path / "x.tsv", stages, events, first_s=first_s, remarks=[(3.0, "moving")])
    header, *rows = (tmp_path / "x.tsv").read_bytes().splitlines(keepends=True)
    random.Random(seed).shuffle(rows)
    duration_s = len(stages) * 30.0 + 15
    scoring = read_nchsdb_tsv({"main": header + b"".join(rows)}, Facts(duration_s))
    scored = hypnogram(scoring.stages, duration_s)
    assert scored.codes.tolist() == stages
    np.testing.assert_array_equal(scored.start_s, first_s + 30.0 * np.arange(len(stages)))
    assert scoring.events == (tuple(sorted(events, key=lambda event: event.start_s)) or None)
    assert scoring.unknown == {}
    assert scoring.notes == ("remarks without a duration, passed over: 1", *(() if events else (STAGES_ONLY,)))


def test_documented_lines() -> None:
    """The example that NSRR shows of this file, shifted to the start of the signals."""
    scoring = read(
        "2.9765625\t0.0\tLights Off",
        "7.8359375\t0.0\tStarted Analyzer - Sleep Events",
        *(f"{20.76171875 + 30 * i}\t30.0\tSleep stage W" for i in range(5)),
        "164.75\t10.0\tOxygen Desaturation",
        "192.8828125\t0.0\tmoving",
    )
    assert scoring.stages == (StageRun(0, 20.76171875, 150.0, "line 4"),)
    assert scoring.events == (Event("desaturation", 164.75, 10.0),)
    assert scoring.notes == ("remarks without a duration, passed over: 3",)


@pytest.mark.parametrize(
    ("text", "code"),
    [("W", 0), ("N1", 1), ("1", 1), ("N2", 2), ("2", 2), ("N3", 3), ("3", 3), ("R", 4), ("?", -1)],
)
def test_stages_by_letter_or_number(text: str, code: int) -> None:
    assert read(f"0\t30\tSleep stage {text}").stages == (StageRun(code, 0.0, 30.0, "line 2"),)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Obstructive Apnea", "obstructive-apnea"),
        ("obstructive apnea", "obstructive-apnea"),
        ("Central Apnea", "central-apnea"),
        ("Mixed Apnea", "mixed-apnea"),
        ("Hypopnea", "hypopnea"),
        ("Obstructive Hypopnea", "hypopnea"),
        ("mixed hypopnea", "hypopnea"),
        ("Unclassified Hypopnea", "hypopnea"),
        ("Unclassified Apnea", "apnea"),
        ("Oxygen Desaturation", "desaturation"),
        ("EEG arousal", "arousal"),
    ],
)
def test_events_by_suffix_in_any_case(text: str, kind: str) -> None:
    scoring = read(f"5.5\t12\t{text}")
    assert scoring.events == (Event(kind, 5.5, 12.0),)
    assert scoring.unknown == {}


def test_an_unknown_text_is_a_remark_without_a_duration_and_unknown_with_one() -> None:
    scoring = read("5\t0\tpossible central apnea", "9\t4\tLimb Movement", "12\t5\tlimb movement")
    assert scoring.unknown == {"limb movement": 2}
    assert scoring.events == (Event("limb-movement", 9.0, 4.0), Event("limb-movement", 12.0, 5.0))
    assert scoring.notes == ("remarks without a duration, passed over: 1",)


def test_start_recording_is_told_and_shifts_only_when_asked() -> None:
    rows = ("8.5\t0\tStart Recording", "38.5\t30\tSleep stage N2", "40\t10\tHypopnea")
    kept, moved = read(*rows), read(*rows, start_offset="subtract")
    assert (kept.stages[0].start_s, kept.events[0].start_s) == (38.5, 40.0)
    assert (moved.stages[0].start_s, moved.events[0].start_s) == (30.0, 31.5)
    assert "line 2: 'Start Recording' at 8.5 s; onsets are taken from the start of the EDF" in kept.notes[0]
    assert "subtracted" in moved.notes[0]
    assert read("0\t0\tStart Recording", "0\t30\tSleep stage W").notes == (STAGES_ONLY,)


@pytest.mark.parametrize(
    ("row", "scored"),
    [
        ("5\t9\tHypopnea", True),
        ("5\t0\tHypopnea", True),
        ("5\t9\tLimb Movement", True),
        ("5\t0\tScoring of respiratory events done", True),
        ("5\t0\tLights Off", False),
        ("5\t0\tpossible central apnea", False),
        ("5\t0\tevents not scored", False),
        ("0\t0\tStart Recording", False),
        ("30\t30\tSleep stage R", False),
    ],
)
def test_a_file_of_stages_alone_has_no_scored_events(row: str, scored: bool) -> None:
    scoring = read("0\t30\tSleep stage W", row)
    assert ((scoring.events is not None), STAGES_ONLY not in scoring.notes) == (scored, scored)


def test_events_that_the_user_ignores_were_scored_all_the_same() -> None:
    rows = ("0\t30\tSleep stage W", "5\t9\tHypopnea", "7\t9\tFan")
    assert read(*rows, words={"hypopnea": "ignore", "fan": "ignore"}).events == ()
    assert read(rows[0], rows[2], words={"fan": "ignore"}).events is None


def test_an_unknown_stage_is_refused_with_the_setting_that_helps() -> None:
    with pytest.raises(AnnotationError, match=r"line 3: unknown sleep stage 'Sleep stage N'.*words = "):
        read("0\t30\tSleep stage W", "30\t30\tSleep stage N")
    assert read("0\t30\tSleep stage N", words={"sleep stage n": "unscored"}).stages[0].code == -1


def test_words_of_the_user_win() -> None:
    rows = ("0\t30\tSleep stage R", "1\t9\tHypopnea", "2\t8\tGasp", "3\t0\tApnea of note")
    words = {"sleep stage r": "ignore", "hypopnea": "ignore", "gasp": "rera", "apnea of note": "central-apnea"}
    scoring = read(*rows, words=words)
    assert scoring.stages == ()
    assert scoring.events == (Event("rera", 2.0, 8.0), Event("central-apnea", 3.0, 0.0))
    with pytest.raises(UsageError, match="no meaning"):
        read(*rows, words={"gasp": "apnoea"})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("x\t30\tSleep stage W", "line 2: onset is 'x'"),
        ("nan\t30\tSleep stage W", "line 2: onset is 'nan'"),
        ("0\t-1\tHypopnea", "line 2: duration is '-1'"),
        ("0\t1e300\tSleep stage ?", "line 2: duration is '1e300'"),
        ("0\t30", "line 2: 2 columns, expected 3"),
    ],
)
def test_a_row_out_of_form_is_refused_with_its_line(row: str, words: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(row)
    assert words in str(caught.value)


def test_another_table_is_refused() -> None:
    with pytest.raises(AnnotationError, match="line 1: expected the columns onset, duration, description"):
        read_nchsdb_tsv({"main": b"epoch,time,duration,event\n"}, Facts(60.0))


def test_columns_are_known_by_name() -> None:
    data = b"description\tonset\tduration\nSleep stage N2\t30\t30\n"
    assert read_nchsdb_tsv({"main": data}, Facts(60.0)).stages == (StageRun(2, 30.0, 30.0, "line 2"),)


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=80), at=st.integers(0, 120), length=st.integers(0, 20))
def test_any_bytes_give_a_scoring_or_one_clear_error(junk: bytes, at: int, length: int) -> None:
    good = table("0\t30\tSleep stage W", "30\t30\tSleep stage ?", "40\t10\tHypopnea", "50\t0\tmoving")
    for data in (junk, good[:at] + junk + good[at + length :]):
        assert "\n" not in outcome(data)


def outcome(data: bytes) -> str:
    """The one line that refuses a file, or nothing; any other exception fails the test."""
    try:
        hypnogram(read_nchsdb_tsv({"main": data}, Facts(600.0)).stages, 600.0)
    except AnnotationError as error:
        return str(error)
    return ""
