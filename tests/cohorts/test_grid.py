from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Event, Span
from hypnos_bench.cohorts.grid import OverlapRule, event_labels, event_overlap_s, span_shares
from hypnos_bench.errors import UsageError

EPOCHS = np.arange(4) * 30.0
APNEA = ("obstructive-apnea",)


def test_an_event_over_an_edge_belongs_to_both_epochs():
    events = [Event("obstructive-apnea", 25.0, 12.0)]
    assert event_overlap_s(events, EPOCHS, 30.0, APNEA).tolist() == [5.0, 7.0, 0.0, 0.0]
    assert event_labels(events, EPOCHS, 30.0, APNEA, OverlapRule()).tolist() == [True, True, False, False]


def test_a_touch_by_rounding_is_no_overlap_by_default():
    events = [Event("obstructive-apnea", 20.0, 10.2)]
    assert event_labels(events, EPOCHS, 30.0, APNEA, OverlapRule()).tolist() == [True, False, False, False]
    assert event_labels(events, EPOCHS, 30.0, APNEA, OverlapRule(min_s=0)).tolist() == [True, True, False, False]


def test_a_share_of_the_epoch_can_be_asked_for():
    events = [Event("obstructive-apnea", 10.0, 36.0)]
    half = OverlapRule(min_s=0, min_share=0.5)
    assert event_labels(events, EPOCHS, 30.0, APNEA, half).tolist() == [True, True, False, False]
    most = OverlapRule(min_s=0, min_share=0.6)
    assert event_labels(events, EPOCHS, 30.0, APNEA, most).tolist() == [True, False, False, False]
    assert str(most) == "any overlap and at least 60% of the epoch"


def test_time_under_two_events_counts_once_and_other_kinds_do_not_count():
    events = [Event("obstructive-apnea", 0.0, 10.0), Event("obstructive-apnea", 5.0, 10.0), Event("arousal", 31.0, 9.0)]
    assert event_overlap_s(events, EPOCHS, 30.0, APNEA).tolist() == [15.0, 0.0, 0.0, 0.0]


def test_an_event_without_duration_labels_the_epoch_it_stands_in():
    events = [Event("arousal", 30.0, 0.0), Event("arousal", 119.9, 0.0), Event("arousal", 120.0, 0.0)]
    for rule in (OverlapRule(), OverlapRule(min_share=0.5)):
        found = event_labels(events, EPOCHS, 30.0, ("arousal",), rule)
        assert found.tolist() == [False, True, False, True]
    assert event_overlap_s(events, EPOCHS, 30.0, ("arousal",)).tolist() == [0.0] * 4


def test_the_af_fraction_is_kept_and_unlabelled_time_is_told_apart():
    spans = [Span("N", 0.0, 15.0), Span("AFIB", 15.0, 60.0)]
    shares, labelled = span_shares(spans, EPOCHS, 30.0, ("AFIB",))
    assert shares.tolist() == [0.5, 1.0, 0.0, 0.0]
    assert labelled.tolist() == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("wrong", [{"min_s": -1}, {"min_share": 1.1}, {"min_s": float("nan")}])
def test_a_rule_that_cannot_hold_is_refused(wrong):
    with pytest.raises(UsageError, match="overlap rule"):
        OverlapRule(**wrong)


@settings(max_examples=60, deadline=None)
@given(
    intervals=st.lists(st.tuples(st.integers(-40, 200), st.integers(0, 80)), max_size=8),
    unit=st.sampled_from([1, 7, 30]),
)
def test_overlap_is_what_counting_seconds_gives(intervals, unit):
    events = [Event("arousal", float(a), float(n)) for a, n in intervals]
    starts = np.arange(0, 120, 5, dtype=float)
    found = event_overlap_s(events, starts, float(unit), ("arousal",))
    covered = {s for a, n in intervals for s in range(a, a + n)}
    by_hand = [sum(1 for s in range(int(b), int(b) + unit) if s in covered) for b in starts]
    assert found == pytest.approx(by_hand)


SPANS = (Span("AFIB", 2.5, 5.0), Span("N", 5.0, 6.0), Span("AFL", 8.0, 10.0))


def test_shares_of_windows_by_hand():
    starts = 2.0 * np.arange(5)
    assert span_shares(SPANS, starts, 2.0, ("AFIB",))[0].tolist() == [0, 0.75, 0.5, 0, 0]
    assert span_shares(SPANS, starts, 2.0, ("AFIB", "AFL"))[0].tolist() == [0, 0.75, 0.5, 0, 1]
    assert span_shares(SPANS, starts, 2.0, ())[1].tolist() == [0, 0.75, 1, 0, 1]
    assert span_shares((), starts, 2.0, ("AFIB",))[0].tolist() == [0] * 5
    assert span_shares(SPANS, [], 2.0, ("AFIB",))[0].shape == (0,)


def test_a_window_that_is_covered_whole_has_a_share_of_exactly_1():
    """Edges of 1/360 s do not sum exactly: after a late start some windows would come out just below 1."""
    spans = tuple(Span("AFIB" if i % 2 else "AFL", (18 + i * 77) / 360, (95 + i * 77) / 360) for i in range(1000))
    assert (span_shares(spans, 3.0 * np.arange(1, 71), 3.0, ("AFIB", "AFL"))[0] == 1).all()
