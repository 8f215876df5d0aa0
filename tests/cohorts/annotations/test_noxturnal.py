from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.noxturnal import read_noxturnal
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import STAGES_ONLY
from hypnos_bench.cohorts.base import EVENT_SCOPES, Event, Scoring, StageRun
from hypnos_bench.cohorts.writers.noxturnal import write_noxturnal

REAL = Path(__file__).parents[3] / "../shared/data/nox-a1-120s/noxturnal_events_example_unicode.csv"
needs_real = pytest.mark.skipif(not REAL.is_file(), reason="no shared nox-a1-120s")

KINDS = [kind for kinds in EVENT_SCOPES.values() for kind in kinds if kind != "apnea"]
EVENTS = st.lists(
    st.builds(
        Event, st.sampled_from(KINDS), st.integers(0, 1000).map(float), st.integers(1, 9999).map(lambda ms: ms / 1e3)
    ),
    max_size=8,
    unique_by=lambda event: event.start_s,
)


def table(*rows: str) -> bytes:
    return "\r\n".join(("Start Time,End Time,Event,Duration,", "[],[],[],[s],", *rows)).encode()


def read(*rows: str, words: dict[str, str] | None = None) -> Scoring:
    return read_noxturnal({"main": table(*rows)}, Facts(600.0, time(23, 59)), words)


@needs_real
def test_a_real_file_agrees_with_a_count_of_its_lines() -> None:
    """Oracle: words counted in the decoded text, and the span of its dates."""
    data = REAL.read_bytes()
    duration_s = 12 * 3600 + 28 * 60 + 30 + 10.0
    scoring = read_noxturnal({"main": data}, Facts(duration_s, time(22, 29, 50)))
    lines = Counter(line.split(",")[2] for line in data.decode("utf-16").splitlines()[2:])
    scored = hypnogram(scoring.stages, duration_s)
    counts = Counter(scored.codes.tolist())
    assert [counts[code] for code in range(5)] == [lines[word] for word in ("Éveil", "N1", "N2", "N3", "REM")]
    assert len(scored.codes) == 1497  # 22:30:00 to 10:58:30
    assert scored.start_s[0] == 10.0
    assert [event.kind for event in scoring.events] == ["arousal"] * lines["Micro-éveil"]
    assert scoring.events[0] == Event("arousal", 1918.0, 4.104)  # 23:01:48
    assert scoring.unknown == {}
    assert scoring.notes == ()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    events=EVENTS,
    start=st.sampled_from(
        [datetime(2016, 1, 15, 22, 30), datetime(2020, 2, 29, 23, 59, 41), datetime(2021, 3, 4, 0, 0, 5)]
    ),
    language=st.sampled_from(["fr", "en"]),
    encoding=st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig", "windows-1252"]),
    date=st.sampled_from(["%d/%m/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p"]),
    seed=st.integers(0, 99),
)
def test_all_languages_encodings_dates_and_orders_give_the_same(
    tmp_path: Path,
    stages: list[int],
    events: list[Event],
    start: datetime,
    language: Any,
    encoding: str,
    date: str,
    seed: int,
) -> None:
    path = tmp_path / "x.csv"
    write_noxturnal(path, stages, events, start, language=language, encoding=encoding, date=date)
    names, units, *rows = path.read_bytes().decode(encoding).splitlines(keepends=True)
    random.Random(seed).shuffle(rows)
    duration_s = len(stages) * 30.0 + 12
    data = (names + units + "".join(rows)).encode(encoding)
    scoring = read_noxturnal({"main": data}, Facts(duration_s, start.time()))
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == stages
    assert scoring.events == (tuple(sorted(events, key=lambda event: event.start_s)) or None)
    assert scoring.unknown == {}


def test_epochs_without_a_row_are_unscored(tmp_path: Path) -> None:
    write_noxturnal(tmp_path / "x.csv", [0, -1, 2], ())
    scoring = read_noxturnal({"main": (tmp_path / "x.csv").read_bytes()}, Facts(90.0, time(22, 30)))
    assert hypnogram(scoring.stages, 90.0).codes.tolist() == [0, -1, 2]


def test_nights_cross_midnight_by_their_dates() -> None:
    scoring = read("15/01/2016 23:59:30,16/01/2016 00:00:30,N1,60,", "16/01/2016 00:00:30,16/01/2016 00:01:00,REM,30,")
    assert scoring.stages == (StageRun(1, 30.0, 60.0, "line 3"), StageRun(4, 90.0, 30.0, "line 4"))


def test_rows_before_the_signals_have_negative_times() -> None:
    scoring = read(
        "15/01/2016 23:58:50,15/01/2016 23:58:55,Arousal,5,", "16/01/2016 00:00:00,16/01/2016 00:00:30,N1,30,"
    )
    assert scoring.events == (Event("arousal", -10.0, 5.0),)
    assert scoring.stages[0].start_s == 60.0


def test_day_and_month_are_exchanged_only_when_the_dates_span_too_much() -> None:
    swapped = read("02/03/2021 23:59:30,02/04/2021 00:00:30,N1,60,", "02/04/2021 00:00:30,02/04/2021 00:01:00,REM,30,")
    assert [run.start_s for run in swapped.stages] == [30.0, 90.0]
    assert swapped.notes == ("the dates are month/day", STAGES_ONLY)
    plain = read("02/04/2021 00:00:30,02/04/2021 00:01:00,REM,30,")
    assert plain.notes == (STAGES_ONLY,)
    with pytest.raises(AnnotationError, match="neither day/month nor month/day spans"):
        read("02/03/2021 23:59:30,,N1,60,", "09/09/2021 00:00:30,,REM,30,")
    with pytest.raises(AnnotationError, match="neither day/month nor month/day"):
        read("32/13/2021 23:59:30,,N1,60,")


def test_other_separators_and_decimal_commas() -> None:
    data = "Début;Fin;Événement;Durée\n[];[];[];[s]\n15.01.2016 23:59:30;15.01.2016 23:59:34;Micro-éveil;4,104\n"
    scoring = read_noxturnal({"main": data.encode()}, Facts(600.0, time(23, 59)))
    assert scoring.events == (Event("arousal", 30.0, 4.104),)


def test_accents_of_two_characters_are_the_same() -> None:
    row = "15/01/2016 23:59:30,15/01/2016 23:59:34,Micro-e\u0301veil,4,"
    assert read(row).events == (Event("arousal", 30.0, 4.0),)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("A. Obstructive", "obstructive-apnea"),
        ("A. Central", "central-apnea"),
        ("A. Mixed", "mixed-apnea"),
        ("H. Obstructive", "hypopnea"),
        ("Hypopnea", "hypopnea"),
        ("Hypopnée", "hypopnea"),
        ("Rera", "rera"),
        ("Desat", "desaturation"),
        ("Spontaneous Arousal", "arousal"),
        ("PLM Arousal", "arousal"),
    ],
)
def test_events_in_english_and_french(text: str, kind: str) -> None:
    scoring = read(f"15/01/2016 23:59:30,15/01/2016 23:59:42,{text},12,")
    assert scoring.events == (Event(kind, 30.0, 12.0),)
    assert scoring.unknown == {}


def test_the_end_serves_where_the_duration_is_empty() -> None:
    assert read("15/01/2016 23:59:30,16/01/2016 00:00:00,N2,,").stages == (StageRun(2, 30.0, 30.0, "line 3"),)
    with pytest.raises(AnnotationError, match="line 3: neither an end nor a duration"):
        read("15/01/2016 23:59:30,,N2,,")
    with pytest.raises(AnnotationError, match="line 3: ends 30 s before"):
        read("15/01/2016 23:59:30,15/01/2016 23:59:00,N2,,")


def test_unknown_words_are_counted_and_the_users_win() -> None:
    rows = (
        "15/01/2016 23:59:30,,Schnarchen,4,",
        "15/01/2016 23:59:40,,Wach,30,",
        "15/01/2016 23:59:50,,Notification,1,",
    )
    assert read(*rows).unknown == {"schnarchen": 1, "wach": 1}
    scoring = read(*rows, words={"Wach": "W", "Schnarchen": "ignore"})
    assert scoring.unknown == {}
    assert scoring.stages == (StageRun(0, 40.0, 30.0, "line 4"),)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "a table without a row"),
        (b"a,b,c,d\n", "a table without a row"),
        (b"15/01/2016 23:59:30,,N2,30,\n", "line 1: a row of data, expected the names"),
        (b"a,b,c,d\n[],[],[],[s]\nsoon,,N2,30\n", "line 3: 'soon' is no date with a time"),
        (b"a,b,c,d\n15/01/2016 23:59:30,,N2\n", "line 2: 3 columns, expected start, end, event and duration"),
        (b"a,b,c,d\n15/01/2016 23:59:30,,N2,x\n", "line 2: duration is 'x'"),
        (b"\xff\xfea", "not a text in utf-16"),
    ],
)
def test_another_file_is_refused_with_the_line(data: bytes, words: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read_noxturnal({"main": data}, Facts(60.0, time(22)))
    assert words in str(caught.value)


def test_the_signals_must_say_when_they_began() -> None:
    with pytest.raises(AnnotationError, match="do not say at what time they began"):
        read_noxturnal({"main": table("15/01/2016 23:59:30,,N2,30,")}, Facts(60.0))


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=80), at=st.integers(0, 250), length=st.integers(0, 20), wide=st.booleans())
def test_any_bytes_give_a_scoring_or_one_clear_error(junk: bytes, at: int, length: int, wide: bool) -> None:
    good = table("15/01/2016 23:59:30,16/01/2016 00:00:30,N1,60,", "16/01/2016 00:00:30,,Arousal,3.5,")
    good = good.decode().encode("utf-16") if wide else good
    for data in (junk, good[:at] + junk + good[at + length :]):
        assert "\n" not in outcome(data)


def outcome(data: bytes) -> str:
    """The one line that refuses a file, or nothing; any other exception fails the test."""
    try:
        hypnogram(read_noxturnal({"main": data}, Facts(600.0, time(23, 59))).stages, 600.0)
    except AnnotationError as error:
        return str(error)
    return ""
