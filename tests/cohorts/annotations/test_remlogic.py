from __future__ import annotations

import random
from datetime import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.remlogic import read_remlogic
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import MAX_TEXT_BYTES, STAGES_ONLY
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.cohorts.writers.remlogic import write_remlogic

START = time(22, 0, 0)
HEADER = "Sleep Stage\tPosition\tTime [hh:mm:ss]\tEvent\tDuration[s]\tLocation\n"
KINDS = ("cap-a1", "cap-a2", "cap-a3", "obstructive-apnea", "hypopnea", "eye-blink")


FACTS = Facts(36_000.0, START)


def read(text: str | bytes, facts: Facts = FACTS, words: dict[str, str] | None = None) -> Scoring:
    return read_remlogic({"main": text.encode() if isinstance(text, str) else text}, facts, words)


def row(clock: str, event: str, duration: object = 30, position: str = "Left") -> str:
    return f"S2\t{position}\t{clock}\t{event}\t{duration}\tROC-LOC\n"


events_st = st.lists(
    st.builds(
        lambda kind, start, duration: Event(kind, float(start), float(duration)),
        st.sampled_from(KINDS),
        st.integers(0, 1500),
        st.integers(1, 60),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=50),
    events=events_st,
    hour=st.sampled_from((18, 23)),
    first_s=st.integers(0, 29),
    position=st.booleans(),
    separator=st.sampled_from(":."),
    rk=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back_whatever_the_order_of_rows(
    tmp_path: Path,
    stages: list[int],
    events: list[Event],
    hour: int,
    first_s: int,
    position: bool,
    separator: str,
    rk: bool,
    seed: int,
) -> None:
    path, start = tmp_path / "n1.txt", time(hour, 50, 7)  # from 23:50:07 the night crosses midnight
    write_remlogic(path, stages, events, start, first_s=first_s, position=position, separator=separator, rk=rk)
    facts = Facts(first_s + len(stages) * 30.0, start)
    scoring = read(path.read_bytes(), facts)
    found = hypnogram(scoring.stages, facts.duration_s)
    assert found.codes.tolist() == stages
    assert found.start_s.tolist() == [first_s + 30.0 * i for i in range(len(stages))]
    assert scoring.events == (tuple(sorted(events, key=lambda e: (e.start_s, e.duration_s, e.kind))) or None)
    assert dict(scoring.unknown) == ({"eye-blink": n} if (n := sum(e.kind == "eye-blink" for e in events)) else {})
    assert scoring.notes == (() if events else (STAGES_ONLY,))

    head, table = path.read_text("utf-8").split("Location\n")
    rows = table.splitlines(keepends=True)
    random.Random(seed).shuffle(rows)
    shuffled = read(head + "Location\n" + "".join(rows), facts)
    assert shuffled.events == scoring.events
    assert hypnogram(shuffled.stages, facts.duration_s).codes.tolist() == stages


def test_every_stage_word() -> None:
    words = ("SLEEP-S0", "SLEEP-S1", "SLEEP-S2", "SLEEP-S3", "SLEEP-S4", "SLEEP-REM", "SLEEP-MT", "SLEEP-UNSCORED")
    text = HEADER + "".join(row(f"22:{i // 2:02d}:{i % 2 * 30:02d}", word) for i, word in enumerate(words))
    assert [run.code for run in read(text).stages] == [0, 1, 2, 3, 3, 4, -1, -1]


def test_stages_are_those_of_the_event_column() -> None:
    text = HEADER + "R\tLeft\t22:00:00\tSLEEP-S1\t30\tROC-LOC\nW\tLeft\t22:00:10\tMCAP-A2\t5\tC4-A1\n"
    scoring = read(text)
    assert scoring.stages == (StageRun(1, 0.0, 30.0, "line 2"),)
    assert scoring.events == (Event("cap-a2", 10.0, 5.0),)


def test_mcap_phases_are_known_events() -> None:
    scoring = read(HEADER + "".join(row(f"22:00:{i}0", f"MCAP-A{i}", 4.5) for i in (1, 2, 3)))
    assert [event.kind for event in scoring.events] == ["cap-a1", "cap-a2", "cap-a3"]
    assert scoring.unknown == {}


def test_other_events_are_counted_and_kept() -> None:
    scoring = read(HEADER + row("22:00:00", "BRUX A", 3) + row("22:00:09", "Brux  a", 3))
    assert scoring.unknown == {"brux a": 2}
    assert [event.kind for event in scoring.events] == ["brux-a", "brux-a"]


def test_the_free_header_is_skipped() -> None:
    before = "RemLogic Event Export\nPatient:\tn 1\n\nEvents Included:\nSLEEP-S0\nMCAP-A1\n\nScoring Session:\n\n"
    assert read("\ufeff" + before + HEADER + row("22:00:30", "SLEEP-REM")).stages == (
        StageRun(4, 30.0, 30.0, "line 11"),
    )


def test_columns_with_and_without_position() -> None:
    without = "Sleep Stage\tTime [hh:mm:ss]\tEvent\tDuration [s]\tLocation\nW\t22:00:00\tSLEEP-S0\t30\tROC-LOC\n"
    assert read(without).stages == read(HEADER + row("22:00:00", "SLEEP-S0", position="Unknown Position")).stages


def test_times_with_dots_and_past_midnight() -> None:
    text = HEADER + row("23.59.30", "SLEEP-S2") + row("00.00.00", "SLEEP-S3") + row("5.00.00", "SLEEP-S0")
    assert [run.start_s for run in read(text).stages] == [7170.0, 7200.0, 25_200.0]


def test_pages_before_the_signals_stay_before_them() -> None:
    assert read(HEADER + row("21:59:30", "SLEEP-S0")).stages[0].start_s == -30.0


def test_the_scorers_grid_is_kept() -> None:
    scoring = read(HEADER + row("22:00:07", "SLEEP-S0") + row("22:00:37", "SLEEP-S1"), Facts(67.0, START))
    assert hypnogram(scoring.stages, 67.0).start_s.tolist() == [7.0, 37.0]


def test_repeated_stage_rows_count_once_and_are_told() -> None:
    twice = row("22:00:00", "SLEEP-S2")
    scoring = read(HEADER + twice + twice, Facts(60.0, START))
    assert len(scoring.stages) == 1
    assert scoring.notes == ("1 rows repeat a stage row and are left out", STAGES_ONLY)
    conflict = read(HEADER + twice + row("22:00:00", "SLEEP-REM"))
    with pytest.raises(AnnotationError, match="line 3: overlaps line 2"):
        hypnogram(conflict.stages, 60.0)


def test_a_file_of_stages_alone_has_no_scored_events() -> None:
    facts = Facts(60.0, START)
    assert read(HEADER + row("22:00:00", "SLEEP-S0"), facts).events is None
    both = HEADER + row("22:00:00", "SLEEP-S0") + row("22:00:00", "MCAP-A1")
    assert read(both, facts, {"mcap-a1": "ignore"}).events == ()


def test_a_clock_that_was_changed_is_told() -> None:
    """The hour from 2 to 3 is there twice: what is after it lies on what is before, and the end an hour early."""
    text = HEADER + row("22:00:00", "SLEEP-S0") + row("05:59:30", "SLEEP-S0") + row("22:00:00", "MCAP-A1", 4)
    told = "stages span 28800 s of 32400 s of signals: check that the clock was not changed"
    assert read(text, Facts(32_400.0, START)).notes == (told,)
    assert read(text, Facts(28_800.0 + 1800.0, START)).notes == ()


def test_users_words_win() -> None:
    text = HEADER + row("22:00:00", "BRUX") + row("22:00:00", "SLEEP-MT") + row("22:00:00", "MCAP-A1")
    scoring = read(text, words={"brux": "arousal", "sleep-mt": "W", "mcap-a1": "ignore"})
    assert [run.code for run in scoring.stages] == [0]
    assert scoring.events == (Event("arousal", 0.0, 30.0),)
    assert scoring.unknown == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header line that begins with 'Sleep Stage'"),
        ("Sleep Stage\tTime [hh:mm:ss]\tEvent\n", r"line 1: no column Duration\[s\]"),
        (HEADER + row("22:00", "SLEEP-S0"), "line 2: '22:00' is not a time of day"),
        (HEADER + row("24:00:00", "SLEEP-S0"), "line 2: '24:00:00' is not a time of day"),
        (HEADER + row("22:00:00", "SLEEP-S5"), "line 2: unknown sleep stage 'SLEEP-S5'"),
        (HEADER + row("22:00:00", "SLEEP-S0", "soon"), r"line 2: Duration\[s\] is 'soon'"),
        (HEADER + row("22:00:00", "SLEEP-S0", -30), r"line 2: Duration\[s\] is '-30'"),
        (HEADER + row("22:00:00", "MCAP-A1", "nan"), r"line 2: Duration\[s\] is 'nan'"),
        (HEADER + row("22:00:00", " "), "line 2: the column Event is empty"),
        (HEADER + "W\tLeft\t22:00:00\n", "line 2: 3 cells, too few"),
        (HEADER + "\n" + "Total: 3\n", "line 3: 1 cells, too few"),
    ],
)
def test_a_bad_row_is_named(text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(text)


def test_signals_must_say_when_they_began() -> None:
    with pytest.raises(AnnotationError, match="do not say at what time they began"):
        read(HEADER + row("22:00:00", "SLEEP-S0"), Facts(60.0))


def test_size_is_bounded() -> None:
    with pytest.raises(AnnotationError, match="above the limit"):
        read(b"x" * (MAX_TEXT_BYTES + 1))


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=30), at=st.integers(0, 160), drop=st.integers(0, 20))
def test_odd_bytes_are_read_or_refused(noise: bytes, at: int, drop: int) -> None:
    good = (HEADER + row("22:00:00", "SLEEP-S0") + row("22:00:30", "MCAP-A1", 4)).encode()
    for data in (noise, good[:at] + noise + good[at + drop :]):
        try:
            outcome: Scoring | AnnotationError = read(data)
        except AnnotationError as error:
            outcome = error
        assert isinstance(outcome, Scoring) or "\n" not in str(outcome)
