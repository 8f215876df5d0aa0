from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.rhythm import read_rhythm, seconds_of
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import RhythmSpan

BEATS = [(30, "N", ""), (900, "N", "")]


def test_a_rhythm_holds_until_the_next_change_and_before_and_after_are_unlabelled() -> None:
    annotations = [*BEATS, (200, "+", "(AFIB"), (600, "+", "(N")]
    assert read_rhythm(annotations, 100.0, 1000) == (RhythmSpan("AFIB", 2.0, 6.0), RhythmSpan("N", 6.0, 9.0))


def test_before_first_labels_the_start() -> None:
    spans = read_rhythm([*BEATS, (200, "+", "(AFIB")], 100.0, 1000, before_first="N")
    assert spans == (RhythmSpan("N", 0.0, 2.0), RhythmSpan("AFIB", 2.0, 9.0))


def test_beats_alone_are_one_span_of_before_first() -> None:
    assert read_rhythm(BEATS, 100.0, 1000, before_first="N") == (RhythmSpan("N", 0.0, 9.0),)
    assert read_rhythm(BEATS, 100.0, 1000) == ()


def test_a_short_tail_counts_as_annotated_and_a_long_one_does_not() -> None:
    annotations = [*BEATS, (0, "+", "(N")]
    assert read_rhythm(annotations, 100.0, 1000, tail_s=1.0) == (RhythmSpan("N", 0.0, 10.0),)
    assert read_rhythm(annotations, 100.0, 1000, tail_s=0.9) == (RhythmSpan("N", 0.0, 9.0),)


def test_the_symbol_does_not_matter_and_padding_is_stripped() -> None:
    annotations = [(0, '"', "(AFL\x00"), (500, "N", "")]
    assert read_rhythm(annotations, 100.0, 1000) == (RhythmSpan("AFL", 0.0, 5.0),)


def test_other_texts_open_no_rhythm() -> None:
    assert read_rhythm([(0, "+", "(N"), (100, "~", "\x01 Aux"), (200, "N", "None")], 100.0, 1000) == (
        RhythmSpan("N", 0.0, 2.0),
    )


def test_a_change_on_the_last_sample_leaves_no_empty_span() -> None:
    annotations = [(0, "+", "(AFIB"), (1000, "+", "(N")]
    assert read_rhythm(annotations, 100.0, 1000) == (RhythmSpan("AFIB", 0.0, 10.0),)


@pytest.mark.parametrize("sample", [-1, 1001])
def test_an_annotation_outside_the_record_is_refused(sample: int) -> None:
    with pytest.raises(AnnotationError, match=f"at sample {sample}: the record has 1000 samples"):
        read_rhythm([(sample, "+", "(N"), (5, "N", "")], 100.0, 1000)


def test_a_change_to_nothing_is_refused() -> None:
    with pytest.raises(AnnotationError, match="sample 7 names no rhythm"):
        read_rhythm([(7, "+", "(")], 100.0, 1000)


def test_no_annotations_no_spans() -> None:
    assert read_rhythm([], 100.0, 1000, before_first="N") == ()


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.sampled_from(["+", "N"]), st.sampled_from(["(AFIB", "(N", ""])), min_size=1
    ),
    st.sampled_from([None, "N"]),
)
def test_spans_never_overlap_and_stay_inside(annotations: list[tuple[int, str, str]], before: str | None) -> None:
    spans = read_rhythm(annotations, 100.0, 1000, before_first=before, tail_s=1.0)
    edges = [edge for span in spans for edge in (span.start_s, span.stop_s)]
    assert edges == sorted(edges)
    assert all(span.start_s < span.stop_s <= 10.0 for span in spans)
    if before is not None and spans:
        end_s = spans[-1].stop_s
        assert seconds_of(spans, ["AFIB", "N"]) == pytest.approx(end_s)
