from __future__ import annotations

import io
from datetime import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.annotations.text import (
    MAX_SECONDS,
    MAX_TEXT_BYTES,
    STAGES_ONLY,
    csv_rows,
    decoded,
    events_or_none,
    filled_lines,
    in_time_order,
    point_notes,
    seconds,
    tells_of_scored_events,
    text_lines,
    time_of_day,
)
from hypnos_bench.cohorts.annotations.words import Words
from hypnos_bench.cohorts.base import Event


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"\xef\xbb\xbf0\r\n2", ["0", "2"]),
        (b"a\rb\n", ["a", "b"]),
        (b"Dur\xe9e\n", ["Dur\xe9e"]),
        (b"\x93W\x94", ["\u201cW\u201d"]),
        (b"\x80", ["€"]),
        (b"\x81\x0b", ["\x81\x0b"]),
        (b"", []),
        (b"\r\n \n", []),
    ],
)
def test_utf_8_then_windows_1252_then_latin_1(data: bytes, lines: list[str]) -> None:
    assert text_lines(decoded(data)) == lines


def test_named_encodings_are_the_only_ones_and_size_is_bounded() -> None:
    assert decoded("é".encode("utf-16"), "utf-16") == "é"
    with pytest.raises(AnnotationError, match="not a text in utf-16"):
        decoded(b"\xff\xfe\x00", "utf-16")
    assert len(decoded(b"x" * MAX_TEXT_BYTES)) == MAX_TEXT_BYTES
    with pytest.raises(AnnotationError, match=f"{MAX_TEXT_BYTES + 1} bytes of text, above the limit"):
        decoded(b"x" * (MAX_TEXT_BYTES + 1))


def test_only_cr_and_lf_end_a_line() -> None:
    assert text_lines("a\x85b\r\n\r\nc\x0bd\re\n") == ["a\x85b", "", "c\x0bd", "e"]
    assert list(filled_lines("a\x85b\r\n\r\nc\x0bd\re\n")) == [(1, "a\x85b"), (3, "c\x0bd"), (4, "e")]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab\r\n\t\x0b\x85\u2028", max_size=12))
def test_lines_are_those_of_universal_newlines(text: str) -> None:
    expected = [line.removesuffix("\n") for line in io.StringIO(text + "|", newline=None)]
    assert text_lines(text + "|") == expected


def test_an_end_of_file_mark_of_dos_is_no_line_but_empty_cells_are_cells() -> None:
    assert text_lines("0\r\n2\r\n\x1a") == ["0", "2"]
    assert text_lines("0\n\n2 \x1a\n") == ["0", "", "2"]
    assert text_lines("30\t0\t\n") == ["30\t0\t"]


def test_csv_rows_keep_rows_of_empty_cells_and_pass_over_blank_lines() -> None:
    rows = [("line 2", ["a", "b"]), ("line 3", ["", ""]), ("line 5", ["x", "1\n2"])]
    assert list(csv_rows('\na;b\n;\nx;"1\n2"\n', ";")) == rows
    with pytest.raises(AnnotationError, match=r"^line \d+: "):
        list(csv_rows("x" * 200_000))


def test_seconds_are_bounded_and_named() -> None:
    assert seconds(" 1.5 ", "line 1", "onset") == 1.5
    assert seconds("-2", "line 1", "onset", least=-3.0) == -2.0
    for text in ("", "1,5", "nan", "inf", "-1", str(MAX_SECONDS * 1.001)):
        with pytest.raises(AnnotationError, match="line 7: onset is '.*', expected seconds of at least 0"):
            seconds(text, "line 7", "onset")


def test_time_of_day_of_seconds_after_midnight() -> None:
    assert time_of_day(86_399.5) == time(23, 59, 59, 500_000)
    assert time_of_day(0.0) == time(0)


def test_events_are_sorted_by_start_then_duration_then_kind() -> None:
    ordered = (Event("b", 1.0, 2.0), Event("a", 1.0, 3.0), Event("b", 1.0, 3.0), Event("a", 2.0, 1.0))
    assert in_time_order(reversed(ordered)) == ordered


def test_an_unknown_stage_is_quoted_with_at_most_60_characters() -> None:
    for text in ("N2" * 50_000, "\t" + "x" * 61):
        with pytest.raises(AnnotationError, match="line 3: unknown sleep stage '") as caught:
            Words().stage(text, "line 3")
        quoted = text.strip()[:57] + "..."
        assert len(quoted) == 60
        assert f"'{quoted}'" in str(caught.value)
        assert len(str(caught.value)) < 300
    with pytest.raises(AnnotationError, match=f"unknown sleep stage '{'y' * 60}'"):
        Words().stage("y" * 60, "line 3")


@pytest.mark.parametrize(
    ("remark", "told"),
    [
        ("Respiratory events scored by AB", True),
        ("scoring of apneas and hypopnoeas done", True),
        ("AROUSALS SCORED", True),
        ("events not scored", False),
        ("no events scored", False),
        ("didn't score; events are to be scored", False),
        ("unscored events", False),
        ("un-scored events", False),
        ("cpap increased for apneas", False),
        ("REM scored", False),
        ("", False),
    ],
)
def test_a_remark_tells_of_scored_events_when_it_says_so(remark: str, told: bool) -> None:
    assert tells_of_scored_events(remark) is told


def test_events_count_as_not_scored_without_any_sign_of_them() -> None:
    late, early = Event("hypopnea", 9.0, 3.0), Event("rera", 1.0, 3.0)
    assert events_or_none([late, early], 0, [1]) == ((early, late), ())
    assert events_or_none([], 1, [1]) == ((), ())
    assert events_or_none([], 0, [1]) == (None, (STAGES_ONLY,))
    assert events_or_none([], 0, []) == (None, ())


def test_events_without_a_duration_are_counted_by_kind() -> None:
    events = [Event("rera", 1.0, 0.0), Event("arousal", 1.0, 0.0), Event("rera", 2.0, 0.0), Event("apnea", 1.0, 5.0)]
    assert point_notes(events) == ("events without a duration, taken as 0 s: 3 (arousal 1, rera 2)",)
    assert point_notes(events[3:]) == ()
