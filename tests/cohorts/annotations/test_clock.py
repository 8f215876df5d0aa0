from __future__ import annotations

from datetime import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.clock import DAY_S, Clock, clock_seconds, seconds_of_day
from hypnos_bench.cohorts.annotations.runs import AnnotationError

HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("text", "day_s"),
    [
        ("00:00:00", 0.0),
        ("7:05:09", 25509.0),
        ("23:59:59", 86399.0),
        ("22.30.00", 81000.0),
        (" 22:30:00 ", 81000.0),
        ("01:00:00.25", 3600.25),
        ("01:00:00,5", 3600.5),
        ("01:00:00.123456789", 3600.123456789),
        ("12:00:00 AM", 0.0),
        ("12:00:00 pm", 43200.0),
        ("1:00:00 p.m.", 46800.0),
        ("11:59:59.5PM", 86399.5),
    ],
)
def test_times_of_day(text: str, day_s: float) -> None:
    assert clock_seconds(text, "line 1") == pytest.approx(day_s, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "24:00:00",
        "12:60:00",
        "12:00:60",
        "13:00:00 PM",
        "0:00:00 AM",
        "22:30",
        "-1:00:00",
        "22:30:00.",
        "2230",
        "22:30:00 X",
        "1e3:00:00",
    ],
)
def test_what_is_no_time_of_day_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(AnnotationError, match=r"^line 3: .* is not a time of day \(hh:mm:ss\)$"):
        clock_seconds(text, "line 3")


def test_seconds_of_day() -> None:
    assert seconds_of_day(time(22, 30, 1, 500_000)) == 81001.5


def test_midnight_lies_within_a_night() -> None:
    clock = Clock(time(22, 30), 8 * HOUR_S)
    assert clock.seconds("22:30:00", "") == 0.0
    assert clock.seconds("23:59:59", "") == 5399.0
    assert clock.seconds("00:00:00", "") == 5400.0
    assert clock.seconds("06:30:00", "") == 8 * HOUR_S


def test_events_before_the_start_are_negative_and_after_the_end_are_not() -> None:
    clock = Clock(time(22, 30), 8 * HOUR_S)
    assert clock.seconds("22:29:30", "") == -30.0
    assert clock.seconds("20:00:00", "") == -2.5 * HOUR_S
    assert clock.seconds("08:00:00", "") == 9.5 * HOUR_S


def test_a_time_is_put_where_it_lies_nearest_to_the_recording() -> None:
    clock = Clock(time(22, 0), 8 * HOUR_S)  # 16 h are left: 8 before the start and 8 after the end
    assert clock.seconds("14:00:00", "") == 16 * HOUR_S
    assert clock.seconds("14:00:01", "") == -8 * HOUR_S + 1
    assert clock.place(14 * HOUR_S - 1) == 16 * HOUR_S - 1


def test_the_order_of_lines_does_not_matter() -> None:
    clock = Clock(time(23, 0), 6 * HOUR_S)
    texts = ["04:59:30", "22:59:00", "23:00:30", "00:00:00"]
    assert [clock.seconds(t, "") for t in texts] == [21570.0, -60.0, 30.0, 3600.0]
    assert [clock.seconds(t, "") for t in reversed(texts)] == [3600.0, 30.0, -60.0, 21570.0]


def test_signals_without_a_start_or_of_more_than_a_day_are_refused() -> None:
    with pytest.raises(AnnotationError, match="the signals do not say at what time they began"):
        Clock(None, 60)
    Clock(time(0), DAY_S)
    with pytest.raises(AnnotationError, match=r"ambiguous in 24\.5 hours"):
        Clock(time(0), 24.5 * HOUR_S)


def spelled(day_us: int, style: str) -> str:
    """A time of day in microseconds after midnight, as a file may spell it."""
    second, us = divmod(day_us, 1_000_000)
    hour, minute, second = second // 3600, second // 60 % 60, second % 60
    if style == "12 h":
        return f"{(hour + 11) % 12 + 1}:{minute:02d}:{second:02d}.{us:06d} {'AM' if hour < 12 else 'PM'}"
    mark = {"dots": ".", "colons": ":"}[style]
    return f"{hour:02d}{mark}{minute:02d}{mark}{second:02d},{us:06d}"


@settings(max_examples=150, deadline=None)
@given(
    start_us=st.integers(0, 86_400_000_000 - 1),
    duration_s=st.integers(1, 86_399),
    share=st.floats(0, 1),
    style=st.sampled_from(["12 h", "dots", "colons"]),
)
def test_any_moment_of_any_recording_comes_back(start_us: int, duration_s: int, share: float, style: str) -> None:
    seconds, us = divmod(start_us, 1_000_000)
    start = time(seconds // 3600, seconds // 60 % 60, seconds % 60, us)
    offset_us = round(share * duration_s * 1_000_000)
    text = spelled((start_us + offset_us) % 86_400_000_000, style)
    assert Clock(start, duration_s).seconds(text, "") == pytest.approx(offset_us / 1e6, abs=1e-6)
