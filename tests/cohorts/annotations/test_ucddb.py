from __future__ import annotations

import random
from datetime import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import MAX_TEXT_BYTES
from hypnos_bench.cohorts.annotations.ucddb import read_ucddb
from hypnos_bench.cohorts.base import Event, Scoring
from hypnos_bench.cohorts.writers.ucddb import write_ucddb

START = time(0, 11, 4)
FACTS = Facts(25_000.0, START)
HEADER = "  Time   Type  PB/CS  Duration  Low %Drop\n      (s)\n\n"


def read(respevt: str | bytes | None, facts: Facts = FACTS, words: dict[str, str] | None = None) -> Scoring:
    files = {"main": b"0\r\n2\r\n"}
    if respevt is not None:
        files["respevt"] = respevt.encode() if isinstance(respevt, str) else respevt
    return read_ucddb(files, facts, words)


def stages(text: str, words: dict[str, str] | None = None) -> list[int]:
    runs = read_ucddb({"main": text.encode()}, FACTS, words).stages
    return [run.code for run in runs for _ in range(round(run.duration_s / 30))]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codes=st.lists(st.integers(-1, 4), min_size=1, max_size=50),
    events=st.lists(
        st.builds(
            lambda kind, start, duration: Event(kind, float(start), float(duration)),
            st.sampled_from(("obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea", "pb", "possible")),
            st.integers(0, 5000),
            st.integers(5, 90),
        ),
        max_size=8,
    ),
    start=st.sampled_from((START, time(23, 20, 59))),
    rk=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back_whatever_the_order_of_rows(
    tmp_path: Path, codes: list[int], events: list[Event], start: time, rk: bool, seed: int
) -> None:
    main, respevt = tmp_path / "ucddb002_stage.txt", tmp_path / "ucddb002_respevt.txt"
    write_ucddb(main, codes, events, start, respevt_path=respevt, rk=rk)
    data = respevt.read_bytes()
    assert data.endswith(b"\x1a")
    facts = Facts(max(len(codes) * 30.0, 6000.0), start)
    scoring = read_ucddb({"main": main.read_bytes(), "respevt": data}, facts)
    assert hypnogram(scoring.stages, len(codes) * 30.0).codes.tolist() == codes
    kept = [event for event in events if event.kind not in ("pb", "possible")]
    assert scoring.events == tuple(sorted(kept, key=lambda e: (e.start_s, e.duration_s, e.kind)))
    assert scoring.unknown == {}
    lines = data.rstrip(b"\x1a").splitlines(keepends=True)
    rows = lines[3:]
    random.Random(seed).shuffle(rows)
    shuffled = read_ucddb({"main": main.read_bytes(), "respevt": b"".join(lines[:3] + rows)}, facts)
    assert shuffled == scoring


def test_1_is_rem_and_2_to_5_are_s1_to_s4() -> None:
    assert stages("0\n1\n2\n3\n4\n5\n") == [0, 4, 1, 2, 3, 3]


def test_artifact_indeterminate_and_undocumented_are_unscored() -> None:
    assert stages("6\n7\n8\n") == [-1, -1, -1]


def test_an_unknown_stage_names_its_line() -> None:
    with pytest.raises(AnnotationError, match="line 2: unknown sleep stage '9'"):
        stages("0\n9\n")
    assert stages("0\n9\n", {"9": "unscored"}) == [0, -1]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("APNEA-O", "obstructive-apnea"),
        ("APNEA-C", "central-apnea"),
        ("APNEA-M", "mixed-apnea"),
        ("HYP-O", "hypopnea"),
        ("HYP-C", "hypopnea"),
        ("HYP-M", "hypopnea"),
    ],
)
def test_types_of_events(word: str, kind: str) -> None:
    assert read(f"{HEADER}00:11:14  {word}   12  88.2  5.1 - +\n").events == (Event(kind, 10.0, 12.0),)


def test_events_outside_the_signals_are_told() -> None:
    rows = "00:11:14  HYP-O  12\n07:30:04  HYP-O  12\n08:00:00  APNEA-O  12\n"
    assert read(HEADER + rows).notes == (
        "events outside the 25000 s of signals: 2, the farthest at 28136 s: check that the clock was not changed",
    )
    assert read(HEADER + rows, Facts(30_000.0, START)).notes == ()


def test_the_first_number_after_the_type_is_the_duration() -> None:
    row = "00:11:14   HYP-O      PB     17.5   91.0   4.0   +  -\n"
    assert read(HEADER + row).events == (Event("hypopnea", 10.0, 17.5),)


def test_periodic_breathing_and_possible_events_are_ignored() -> None:
    rows = "00:20:00  PB  -\n00:21:00  POSSIBLE  10\n00:22:00 POSSIBLE HYP-O 12\n"
    scoring = read(HEADER + rows)
    assert scoring.events == ()
    assert scoring.unknown == {}


def test_desaturations_are_no_events() -> None:
    assert len(read(HEADER + "00:20:00 APNEA-O 20 80.0 9.9 + -\n").events) == 1


def test_other_types_are_counted_and_kept() -> None:
    scoring = read(HEADER + "00:12:04  CS  30\n")
    assert scoring.unknown == {"cs": 1}
    assert scoring.events == (Event("cs", 60.0, 30.0),)
    assert read(HEADER + "00:12:04  CS  30\n", words={"cs": "ignore"}).events == ()


def test_times_past_midnight() -> None:
    facts = Facts(25_000.0, time(23, 59, 0))
    assert read(HEADER + "00:00:30 HYP-C 10\n", facts).events[0].start_s == 90.0


def test_events_are_optional() -> None:
    assert read(None).events is None  # not scored is not the same as none
    assert read(None, Facts(60.0)).stages  # without events no time of day is needed
    assert read(HEADER + "\x1a").events == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\r\n\x1a", "respevt: empty, expected 3 header lines"),
        ("a\n00:20:00 HYP-O 12\nb\n00:21:00 HYP-O 12\n", "respevt line 2: an event where 3 header lines"),
        (HEADER + "20 minutes HYP-O 12\n", "respevt line 4: '20' is not a time of day"),
        (HEADER + "00:20:00\n", "respevt line 4: no type of event after '00:20:00'"),
        (HEADER + "00:20:00 12 88\n", "respevt line 4: no type of event after '00:20:00'"),
        (HEADER + "\n00:20:00 HYP-O - +\n", "respevt line 5: no duration in seconds after 'HYP-O'"),
        (HEADER + "00:20:00 HYP-O -12\n", "respevt line 4: no duration"),
    ],
)
def test_a_bad_row_is_named(text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(text + "00:22:00 HYP-O 10\n" if text.startswith(HEADER) else text)


def test_size_is_bounded() -> None:
    with pytest.raises(AnnotationError, match="above the limit"):
        read(b"x" * (MAX_TEXT_BYTES + 1))


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=30), at=st.integers(0, 120), drop=st.integers(0, 20))
def test_odd_bytes_are_read_or_refused(noise: bytes, at: int, drop: int) -> None:
    good = (HEADER + "00:12:04  HYP-O  30  88.0 5 +\n00:13:04  APNEA-M  12  88.0 5 +\n\x1a").encode()
    mutated = good[:at] + noise + good[at + drop :]
    for files in ({"main": noise}, {"main": b"0\n", "respevt": noise}, {"main": b"0\n", "respevt": mutated}):
        try:
            outcome: Scoring | AnnotationError = read_ucddb(files, FACTS)
        except AnnotationError as error:
            outcome = error
        assert isinstance(outcome, Scoring) or "\n" not in str(outcome)
