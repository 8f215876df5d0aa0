from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.clock import clock_seconds
from hypnos_bench.cohorts.writers.text import clock_text, stretches, write_lines


def test_clock_text_rounds_and_goes_over_midnight() -> None:
    assert clock_text("23:59:50", 12.34, 2) == "00:00:02.34"
    assert clock_text("23:59:59.996", 0.0, 2) == "00:00:00.00"
    assert clock_text(time(22, 15, 42), 86_400.0, separator=".") == "22.15.42"


@settings(max_examples=60, deadline=None)
@given(start=st.times(), after_ms=st.integers(0, 200_000_000))
def test_clock_text_is_datetime_arithmetic(start: time, after_ms: int) -> None:
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)
    text = clock_text(start, after_ms / 1000, 3)
    expected = datetime.combine(datetime(2000, 1, 1), start) + timedelta(milliseconds=after_ms)
    assert text == expected.strftime("%H:%M:%S.%f")[:-3]
    assert clock_text(start.isoformat(), after_ms / 1000, 3) == text
    assert clock_seconds(text, "") == pytest.approx((expected - datetime(2000, 1, 1)).total_seconds() % 86_400)


@given(st.lists(st.integers(-1, 4), max_size=30))
def test_stretches_spell_out_the_stages(stages: list[int]) -> None:
    runs = list(stretches(stages))
    assert [code for code, _, count in runs for _ in range(count)] == stages
    assert [code for code, _, _ in runs] == [code for code, _ in groupby(stages)]
    assert all(stages[first] == code for code, first, _ in runs)


def test_lines_have_the_ends_and_the_closing_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new/x.txt"
    write_lines(path, ["é", "b"], "latin-1", closing="\x1a")
    assert path.read_bytes() == b"\xe9\r\nb\r\n\x1a"
    write_lines(path, iter(["a"]), end="\n")
    assert path.read_bytes() == b"a\n"
