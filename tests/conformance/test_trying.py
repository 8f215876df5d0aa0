"""How far two embeddings differ, and what stands in the synthetic recordings."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.conformance.card import card_faults, check_card
from hypnos_bench.conformance.recordings import (
    CANONICAL,
    ODD_HZ,
    beginning,
    changed,
    empty,
    synthetic,
    without,
)
from hypnos_bench.conformance.trying import attempt, difference, differences, equality, fault
from hypnos_bench.encoders.base import Embedding, EncoderCard
from hypnos_bench.errors import DataError, RecordingError

CARD = EncoderCard(
    "toy", "Toy", "1", 30.0, None, True, 0, ("C3",), "refused", weights="a" * 64, pretrained_on=None, licence="MIT"
)


def rows(values, dtype=np.float32, name="x", start_s=0.0):
    return Embedding({name: np.asarray(values, dtype)}, start_s, 30.0, {})


def test_differences_are_relative_to_the_largest_value_of_the_column():
    one, other = rows([[1.0, 100.0], [2.0, 50.0]]), rows([[1.0, 100.0], [2.5, 50.0]])
    np.testing.assert_allclose(differences(one, other), [0.0, 0.2])
    np.testing.assert_allclose(differences(one, other, 1), [0.0])
    assert difference(one, other) == pytest.approx(0.2)


def test_a_column_of_rounding_errors_is_no_difference():
    assert difference(rows([[1e-9, 1.0]]), rows([[-1e-9, 1.0]])) < 1e-5


@pytest.mark.parametrize(
    "other",
    [rows([[1.0, np.nan]]), rows([[1.0]]), rows([[1.0, 2.0]] * 2), rows([[1.0, 2.0]], name="y"), rows([[1.0, 2.0]], start_s=1.0)],
)  # fmt: skip
def test_what_cannot_be_compared_is_infinitely_far(other):
    assert difference(other, rows([[1.0, 2.0]])) == np.inf
    assert difference(rows([[1.0, 2.0]]), other) == np.inf


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6), st.floats(0.5, 100), st.integers(0, 5))
def test_equal_is_zero_nan_rows_agree_and_gain_changes_nothing(values, gain, at):
    x = np.array([values, values[::-1]], np.float64)
    x[0] = np.nan
    assert difference(rows(x), rows(x)) == 0
    y = x.copy()
    y[1, at % x.shape[1]] += 1.0
    near, far = (Embedding({"x": z}, 0.0, 30.0, {}) for z in (x, y))
    again = (Embedding({"x": gain * z}, 0.0, 30.0, {}) for z in (x, y))
    if np.nanmax(np.abs(y)) > 0:
        assert difference(near, far) == pytest.approx(difference(*again), rel=1e-6)


def test_a_check_names_the_worst_pair_and_the_limit():
    assert equality("order", {"a": 0.0, "b": 0.0}, 1e-4).words == "bit-equal (a, b)"
    good, bad, odd = (equality("order", {"a": 0.0, "b": worst}, 1e-4) for worst in (1e-5, 1e-3, np.inf))
    assert (good.outcome, bad.outcome, odd.outcome) == ("pass", "fail", "fail")
    assert bad.words == "largest relative difference 1.0e-03 (b; limit 0.0001)"
    assert odd.numbers["largest_relative_difference"] is None  # JSON has no infinity


class Fails:
    card = CARD

    def __init__(self, error):
        self.error = error

    def encode(self, recording):
        raise self.error


@pytest.mark.parametrize(
    ("error", "words", "bad"),
    [
        (RecordingError("r", "flat"), "refused: flat", False),
        (DataError("GPU"), "crashed: DataError: GPU (this would end the run; raise RecordingError for one recording)", True),
        (ValueError("x\ny"), "crashed: ValueError: x y", True),
    ],
)  # fmt: skip
def test_refusals_are_told_from_crashes(error, words, bad):
    tried = attempt(Fails(error), None)
    assert (tried.words, tried.bad, tried.embedding) == (words, bad, None)
    with pytest.raises(MemoryError):
        attempt(Fails(MemoryError()), None)


def test_rows_must_reach_the_end_and_not_beyond():
    ten = rows(np.ones((10, 3)))
    assert fault(ten, CARD, 300.0) is None
    assert fault(ten, CARD, 329.9) is None
    assert "more than a row of 30 s is not covered" in fault(ten, CARD, 330.0)
    assert fault(ten, dataclasses.replace(CARD, window_s=60.0), 330.0) is None
    assert fault(ten, CARD, 270.5) is None  # a last row that is not full
    assert "rows from 0 s to 300 s for a recording of 269 s" in fault(ten, CARD, 269.0)


def test_a_good_card_and_what_it_leaves_open():
    check = check_card(CARD)
    assert check.outcome == "pass"
    assert check.words.endswith("leaves open: dim, pre-training cohorts, name of the weights")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("id", "", "id is empty"), ("missing", " ", "missing is empty"), ("licence", "", "licence is empty"),
        ("step_s", 0, "step_s is 0"), ("window_s", "30", "window_s is '30'"), ("causal", 1, "causal is 1"),
        ("dim", 0, "dim is 0"), ("dim", True, "dim is True"), ("lag_rows", -1, "lag_rows is -1"),
        ("channels", ["C3"], r"channels is \['C3'\], not a tuple"), ("channels", ("Cz",), "channels names Cz"),
        ("marks", "bf16", "marks is 'bf16'"), ("pretrained_on", "shhs", "pretrained_on is 'shhs'"),
        ("weights", "best.pt", "weights is 'best.pt', not a SHA-256"), ("settings", {"x": np.ones(1)}, "settings cannot enter"),
        ("settings", None, "settings is no mapping"), ("note", None, "note is no text"),
    ],
)  # fmt: skip
def test_each_field_of_a_card_is_looked_at(field, value, words):
    (only,) = card_faults(dataclasses.replace(CARD, **{field: value}))
    assert __import__("re").search(words, only)


def test_synthetic_recordings_are_the_same_each_time_and_can_be_sent_to_a_worker():
    one, two, other = (
        synthetic("a", 61.5, 1),
        pickle.loads(pickle.dumps(synthetic("a", 61.5, 1))),
        synthetic("a", 61.5, 2),
    )
    for channel in CANONICAL:
        signal = one.signal(channel)
        assert len(signal.values) == round(61.5 * signal.rate_hz)
        assert np.array_equal(signal.values, two.signal(channel).values)
        assert not np.array_equal(signal.values, other.signal(channel).values)
    assert one.duration_s() == 61.5
    assert synthetic("a", 61.5, 1, ODD_HZ).signal("C3").rate_hz == 199.5
    with pytest.raises(RecordingError, match="no labels"):
        one.stages()


def test_changes_leave_the_original_alone():
    whole = synthetic("a", 40.0, 1)
    before = whole.signal("C3").values.copy()
    less = without(whole, "C3")
    assert less.signal("C3") is None
    assert len(less.signals.channels()) == len(whole.signals.channels()) - 1
    zero = changed(whole, lambda x, rate_hz: x.__imul__(0), ["C3"])
    assert not zero.signal("C3").values.any()
    assert np.array_equal(zero.signal("C4").values, whole.signal("C4").values)
    part = beginning(whole, 25.0)
    assert part.duration_s() == 25.0
    assert np.array_equal(part.signal("ABD").values, whole.signal("ABD").values[: 25 * 32])
    assert (empty(whole).signals.channels(), dict(empty(whole).montage)) == ((), {})
    whole.signal("C3").values[:] = 0
    assert np.array_equal(whole.signal("C3").values, before)
