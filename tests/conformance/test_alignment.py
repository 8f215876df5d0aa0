"""Where rows change, in numbers that are known."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.conformance.alignment import change_by_row, judge
from hypnos_bench.encoders.base import Embedding, EncoderCard

CARD = EncoderCard("toy", "Toy", "1", 30.0, 30.0, False, 0, ("C3",), "refused", licence="MIT")


def embedding(values, step_s=30.0, start_s=0.0):
    return Embedding({"x": np.asarray(values, np.float32)}, start_s, step_s, {})


def pulse(n, rows, size=1.0):
    by_row = np.full(n, 0.1)
    by_row[rows] += size
    return by_row


def verdict(by_row, step_s=30.0, start_s=0.0, **card):
    card = dataclasses.replace(CARD, step_s=step_s, **card)
    return judge(by_row, embedding(np.zeros((len(by_row), 2)), step_s, start_s), card)


@given(st.integers(-2, 7), st.integers(0, 2))
def test_the_place_must_be_that_of_the_card_to_the_row(shift, lag):
    check = verdict(pulse(12, np.arange(2, 5) + shift), lag_rows=lag)
    assert check.outcome == ("pass" if shift == lag else "fail"), check.words
    assert check.numbers["shift_rows"] == shift - lag


@pytest.mark.parametrize(
    ("card", "passing"),
    [
        ({"window_s": 1.0}, range(-5, 6)),  # within the margin of 90 s
        ({"window_s": None, "causal": True}, range(-5, 35)),
        ({"window_s": 60.0, "causal": True}, range(-5, 65)),
        ({"window_s": 300.0, "causal": False}, range(-34, 35)),
    ],
)
def test_rows_of_a_second_may_trail_as_far_as_window_and_causality_say(card, passing):
    outcomes = {s: verdict(pulse(400, np.arange(60, 150) + s), 1.0, **card).outcome for s in range(-50, 90, 1)}
    passed = [shift for shift, outcome in outcomes.items() if outcome == "pass"]
    assert passed == list(range(passed[0], passed[-1] + 1))
    assert abs(passed[0] - passing[0]) <= 5
    assert abs(passed[-1] - passing[-1]) <= 5


def test_a_start_moves_the_rows():
    assert verdict(pulse(11, [1, 2, 3]), start_s=30.0).outcome == "pass"
    assert verdict(pulse(11, [2, 3, 4]), start_s=30.0).outcome == "fail"


@pytest.mark.parametrize("by_row", [np.zeros(12), np.ones(12)])
def test_rows_that_change_alike_tell_no_time(by_row):
    check = verdict(by_row)
    assert check.outcome == "fail"
    assert "they tell no time" in check.words


def test_too_few_rows_are_not_judged():
    assert verdict(np.ones(1), 300.0).outcome == "note"
    assert verdict(np.ones(5)).outcome == "note"


def test_change_is_relative_to_the_spread_of_a_column():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(10, 3)) * [1.0, 100.0, 1e-6]
    other = one.copy()
    other[4] += [1.0, 100.0, 1.0e-6]
    change = change_by_row(embedding(one), embedding(other))
    assert np.flatnonzero(change).tolist() == [4]
    spread = np.concatenate([one, other]).astype(np.float32).std(axis=0)[:2]  # the third hardly varies
    assert change[4] == pytest.approx(np.mean([1.0, 100.0] / spread), rel=1e-4)
    scaled = change_by_row(embedding(one * [7, 0.1, 1]), embedding(other * [7, 0.1, 1]))
    assert scaled == pytest.approx(change, rel=1e-4)


def test_a_row_that_is_lost_changes_as_much_as_any():
    one = np.random.default_rng(0).normal(size=(6, 2))
    other = one.copy()
    other[1] += 3
    other[2] = np.nan
    one[5] = other[5] = np.nan
    change = change_by_row(embedding(one), embedding(other))
    assert change[2] == change[1] > 0
    assert change[[0, 3, 4, 5]].tolist() == [0, 0, 0, 0]
    assert change_by_row(embedding(one), embedding(one[:5])) is None
    assert change_by_row(embedding(one), embedding(one, start_s=1.0)) is None
