from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.runs import (
    GRID_SLACK_S,
    AnnotationError,
    hypnogram,
    merged,
    runs_of,
    span_notes,
)
from hypnos_bench.cohorts.base import StageRun


def test_runs_are_named_after_their_first_page() -> None:
    assert runs_of([0, 0, 2], where="row") == (StageRun(0, 0.0, 60.0, "row 1"), StageRun(2, 60.0, 30.0, "row 3"))
    assert runs_of([2, 4], page_s=20.0, first_s=1.5, where=lambda i: f"line {7 * i}") == (
        StageRun(2, 1.5, 20.0, "line 0"),
        StageRun(4, 21.5, 20.0, "line 7"),
    )
    assert runs_of([]) == ()


@settings(max_examples=60, deadline=None)
@given(codes=st.lists(st.integers(-1, 4), max_size=40), seed=st.integers(0, 9))
def test_pages_in_any_order_merge_to_the_runs_of_their_codes(codes: list[int], seed: int) -> None:
    pages = [StageRun(code, i * 30.0, 30.0, f"page {i + 1}") for i, code in enumerate(codes)]
    np.random.default_rng(seed).shuffle(pages)  # type: ignore[arg-type]
    assert merged(pages) == runs_of(codes)


def test_runs_of_one_stage_are_joined_only_without_a_gap() -> None:
    runs = [StageRun(2, 60.0, 30.0, "c"), StageRun(2, 0.0, 30.0, "a"), StageRun(2, 30.0, 30.0, "b")]
    assert merged(runs) == (StageRun(2, 0.0, 90.0, "a"),)
    runs[0] = StageRun(2, 61.0, 30.0, "c")
    assert merged(runs) == (StageRun(2, 0.0, 60.0, "a"), StageRun(2, 61.0, 30.0, "c"))
    assert len(merged([StageRun(2, 0.0, 60.0, "a"), StageRun(2, 30.0, 30.0, "b")])) == 2


def test_a_span_far_from_the_signals_is_told() -> None:
    runs = [StageRun(0, 0.0, 3600.0, "a")]
    assert span_notes(runs, 5400.0) == ()
    assert "check that the clock" in span_notes(runs, 5401.0)[0]
    assert span_notes((), 5401.0) == ()


EARLY_S = -45.0


def run(code: int, start_s: float, duration_s: float, where: str = "x") -> StageRun:
    return StageRun(code, start_s, duration_s, where)


def read(
    runs: Sequence[StageRun], duration_s: float, page_s: float = 30.0, pad_s: float = 0.0
) -> list[tuple[float, int]]:
    found = hypnogram(runs, duration_s, page_s=page_s, pad_s=pad_s)
    assert found.start_s.dtype == np.float64
    assert found.codes.dtype == np.int8
    assert len(found.start_s) == len(found.codes)
    return [(round(float(s), 6), int(c)) for s, c in zip(found.start_s, found.codes)]


def test_epochs_stand_where_the_scorer_put_them() -> None:
    assert read([run(2, 0, 60), run(3, 60, 30)], 90) == [(0, 2), (30, 2), (60, 3)]


def test_a_grid_off_the_start_of_the_signals_is_kept() -> None:
    assert read([run(2, 12.5, 60)], 100) == [(12.5, 2), (42.5, 2)]
    assert read([run(2, 72.5, 30)], 105) == [(12.5, -1), (42.5, -1), (72.5, 2)]  # its first point is within the signals


def test_a_start_that_rounding_moved_is_on_the_grid_of_the_signals() -> None:
    for start_s in (29.9995, 30.0005, -0.0005, 0.0005):
        assert [round(s) for s, _ in read([run(2, start_s, 30)], 90)] == [0, 30, 60]


def test_drifting_pages_give_their_own_starts_and_no_gaps_are_filled() -> None:
    starts_s = [0, 30.01, 60.02, 300.5]
    assert read([run(1, s, 30) for s in starts_s], 900) == [(s, 1) for s in starts_s]


def test_gaps_and_the_time_after_the_last_run_are_unscored_on_a_common_grid() -> None:
    assert read([run(4, 30, 30), run(0, 90, 30)], 170) == [(0, -1), (30, 4), (60, -1), (90, 0), (120, -1)]


@pytest.mark.parametrize(
    "second", [run(3, 59.9, 30, "b"), run(3, 0, 30, "b"), run(3, 0, 300, "b"), run(-1, 30, 30, "b")]
)
def test_overlaps_are_refused_and_both_are_named(second: StageRun) -> None:
    for runs in ([run(2, 0, 60, "a"), second], [second, run(2, 0, 60, "a")]):
        with pytest.raises(AnnotationError, match=r"(b: overlaps a|a: overlaps b)$"):
            hypnogram(runs, 400)


def test_overlap_by_rounding_is_none() -> None:
    assert [c for _, c in read([run(2, 0, 30), run(3, 29.9995, 30)], 60)] == [2, 3]


def test_pages_before_the_signals_are_dropped() -> None:
    assert read([run(2, EARLY_S, 120)], 90) == [(15, 2), (45, 2)]
    assert read([run(0, -60, 60), run(3, 0, 30)], 30) == [(0, 3)]


def test_a_last_page_that_the_signals_end_within_is_trimmed() -> None:
    assert read([run(2, 0, 90)], 60.5) == [(0, 2), (30, 2)]
    assert len(read([run(2, 0, 90)], 89.9995)) == 3  # rounding of decimal seconds
    with pytest.raises(AnnotationError, match="scored up to 90 s, but the signals last 60 s"):
        hypnogram([run(2, 0, 90)], 60)


def test_a_page_that_was_rounded_to_the_left_ends_within_the_signals() -> None:
    # On a grid that starts at 0.9 ms, 30 s is the second place although only 59.9995 s of signals are there.
    assert [c for _, c in read([run(2, 0.0009, 30), run(3, 30, 30)], 59.9995)] == [2, 3]


@pytest.mark.parametrize("duration_s", [0, -30, 29, 45, 1e-4, float("nan")])
@pytest.mark.parametrize("code", [2, -1])
def test_a_run_is_a_positive_number_of_pages(duration_s: float, code: int) -> None:
    with pytest.raises(
        AnnotationError, match=r"^(x: duration .* is not a positive multiple of 30 s|sleep is scored up)"
    ):
        hypnogram([run(0, 60, 30), run(code, 0, duration_s)], 90)


@pytest.mark.parametrize("end_s", [1e300, float("inf")])
def test_what_is_longer_than_the_signals_is_settled_before_anything_of_its_length_is_made(end_s: float) -> None:
    with pytest.raises(AnnotationError, match="the annotation belongs to another file, or the signals are cut"):
        hypnogram([run(2, 0, end_s)], 60)
    with pytest.raises(AnnotationError, match="belongs to another file"):
        hypnogram([run(2, end_s, 30)], 60)
    assert read([run(2, 0, 30), run(-1, 30, end_s)], 60) == [(0, 2), (30, -1)]
    assert read([run(2, 0, 30), run(-1, end_s, 30)], 60) == [(0, 2), (30, -1)]
    for early in (run(-1, -end_s, end_s), run(2, -end_s, end_s), run(2, -end_s, 30), run(2, -end_s, end_s + 1e290)):
        with pytest.raises(AnnotationError, match="which is no time of these signals"):
            hypnogram([run(2, 0, 30), early], 60)


def test_nothing_scored_is_refused() -> None:
    with pytest.raises(AnnotationError, match="^no sleep stage is scored$"):
        hypnogram([], 60)
    for runs in ([run(-1, 60, 30)], [run(2, -60, 60)], [run(2, 0, 30)]):
        with pytest.raises(AnnotationError, match="^no sleep stage is scored within the signals$"):
            hypnogram(runs, 20)


def test_pages_of_20_s_become_epochs_that_overlap() -> None:
    assert read([run(2, 0, 40), run(4, 40, 20)], 65, 20, 5) == [(-5, 2), (15, 2), (35, 4)]
    with pytest.raises(AnnotationError, match="pages of 20 s with 0 s on both sides are no epochs of 30 s"):
        hypnogram([run(2, 0, 40)], 65, page_s=20)


def by_hand(runs: Sequence[StageRun], duration_s: float, page_s: float, pad_s: float) -> list[tuple[float, int]]:
    """Page by page on a grid in whole seconds, without an array."""
    pages = [(r.start_s + k * page_s, r.code) for r in runs for k in range(round(r.duration_s / page_s))]
    inside = {start_s: code for start_s, code in pages if start_s >= 0 and start_s + page_s <= duration_s}
    if not inside:
        return []
    start_s, epochs = min(inside) % page_s, []
    while start_s + page_s <= duration_s:
        epochs.append((start_s - pad_s, inside.get(start_s, -1)))
        start_s += page_s
    return epochs


@st.composite
def nights(draw: st.DrawFn) -> tuple[list[StageRun], float, float]:
    """Runs on one grid in whole seconds, some before the signals, and a length of signals that they fit."""
    page_s = draw(st.sampled_from([30.0, 20.0]))
    at_s = float(draw(st.integers(-100, 100)))
    runs = []
    for i, (gap, count, code) in enumerate(
        draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(-1, 4)), min_size=1, max_size=12))
    ):
        at_s += gap * page_s
        runs.append(run(code, at_s, count * page_s, f"run {i}"))
        at_s += count * page_s
    end_s = max((r.start_s + r.duration_s for r in runs if r.code >= 0), default=0.0)
    duration_s = max(end_s + draw(st.integers(1 - int(page_s), 120)), 1.0)
    return runs, duration_s, page_s


@settings(max_examples=150, deadline=None)
@given(night=nights(), seed=st.integers(0, 99))
def test_any_night_equals_pages_one_by_one_however_its_runs_are_cut_and_ordered(
    night: tuple[list[StageRun], float, float], seed: int
) -> None:
    runs, duration_s, page_s = night
    pad_s = (30 - page_s) / 2
    expected = by_hand(runs, duration_s, page_s, pad_s)
    pieces = [run(r.code, r.start_s + k * page_s, page_s) for r in runs for k in range(round(r.duration_s / page_s))]
    np.random.default_rng(seed).shuffle(pieces)  # type: ignore[arg-type]
    for given_runs in (runs, pieces, merged(pieces)):
        if expected:
            assert read(given_runs, duration_s, page_s, pad_s) == expected
        else:
            with pytest.raises(AnnotationError, match="within the signals"):
                hypnogram(given_runs, duration_s, page_s=page_s, pad_s=pad_s)


@settings(max_examples=100, deadline=None)
@given(
    runs=st.lists(
        st.builds(run, st.integers(-1, 4), st.floats(), st.one_of(st.floats(), st.sampled_from([30.0, 60.0]))),
        max_size=4,
    ),
    duration_s=st.floats(0, 3600),
)
def test_any_numbers_give_epochs_within_the_signals_or_one_clear_refusal(
    runs: list[StageRun], duration_s: float
) -> None:
    try:
        found = hypnogram(runs, duration_s)
    except AnnotationError:
        return
    assert found.start_s[0] >= -GRID_SLACK_S
    assert found.start_s[-1] + 30 <= duration_s + 2 * GRID_SLACK_S
    assert (np.diff(found.start_s) > 29.99).all()
