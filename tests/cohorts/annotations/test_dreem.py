from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.dreem import MAX_EPOCHS, read_dreem_hypnogram
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import MAX_TEXT_BYTES
from hypnos_bench.cohorts.base import Scoring, StageRun
from hypnos_bench.cohorts.writers.dreem import write_dreem_scorer
from hypnos_bench.errors import UsageError

FACTS = Facts(300.0)


def codes(scoring: Scoring) -> list[int]:
    return [run.code for run in scoring.stages for _ in range(round(run.duration_s / 30))]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stages=st.lists(st.integers(-1, 4), min_size=1, max_size=60))
def test_a_dataset_and_a_scorers_file_are_read_alike(tmp_path: Path, stages: list[int]) -> None:
    write_dreem_scorer(tmp_path / "x.json", stages)
    facts = Facts(len(stages) * 30.0 + 12.0)
    from_file = read_dreem_hypnogram({"main": (tmp_path / "x.json").read_bytes()}, facts)
    assert from_file == read_dreem_hypnogram({"main": stages}, facts)
    assert hypnogram(from_file.stages, facts.duration_s).codes.tolist() == stages
    assert from_file.notes == ()


def test_real_scorers_of_55_records(shared_data: Path) -> None:
    root = shared_data / "dod-hypnograms/scorers/dodo"
    if not root.is_dir():
        pytest.skip("no dod-hypnograms beside the checkout")
    lengths: dict[str, list[int]] = {}
    for path in root.glob("scorer_*/*.json"):
        data = path.read_bytes()
        numbers = json.loads(data)
        scoring = read_dreem_hypnogram({"main": data}, Facts(len(numbers) * 30.0))
        assert codes(scoring) == numbers
        lengths.setdefault(path.stem, []).append(len(numbers))
    assert len(lengths) == 55
    assert all(len(each) == 5 and len(set(each)) == 1 for each in lengths.values())


def test_equal_epochs_are_one_run() -> None:
    assert read_dreem_hypnogram({"main": [0, 0, 4]}, Facts(90.0)).stages == (
        StageRun(0, 0.0, 60.0, "epoch 0 (counted from 0)"),
        StageRun(4, 60.0, 30.0, "epoch 2 (counted from 0)"),
    )


def test_epochs_with_lights_on_are_unscored_and_told() -> None:
    numbers = [-1, 0, 1, 2, 3, 4, 4, 2, 0, 0]
    scoring = read_dreem_hypnogram({"main": numbers}, FACTS, unscored_before=2, unscored_after=8)
    assert codes(scoring) == [-1, -1, 1, 2, 3, 4, 4, 2, -1, -1]
    assert scoring.notes == ("3 scored epochs outside [2, 8) count as unscored: lights were on",)
    assert codes(read_dreem_hypnogram({"main": numbers}, FACTS, unscored_before=60)) == [-1] * 10
    assert read_dreem_hypnogram({"main": numbers}, FACTS, unscored_after=620).notes == ()


@pytest.mark.parametrize(("before", "after"), [(-1, None), (5, 5), (5, 2), (0, -3)])
def test_settings_that_leave_nothing_are_refused(before: int, after: int | None) -> None:
    with pytest.raises(UsageError, match="leave no epoch"):
        read_dreem_hypnogram({"main": [0] * 9}, FACTS, unscored_before=before, unscored_after=after)


def test_a_short_hypnogram_is_told() -> None:
    scoring = read_dreem_hypnogram({"main": [2] * 8}, FACTS)
    assert scoring.notes == ("the hypnogram ends 2 epochs before the signals; it is taken to begin with them",)


def test_a_long_hypnogram_is_refused_when_epochs_are_made() -> None:
    scoring = read_dreem_hypnogram({"main": [2] * 12}, FACTS)
    with pytest.raises(AnnotationError, match="up to 360 s, but the signals last 300 s"):
        hypnogram(scoring.stages, 300.0)


@pytest.mark.parametrize("number", [5, -2, 9])
def test_other_numbers_are_refused_unless_the_user_says_what_they_mean(number: int) -> None:
    with pytest.raises(AnnotationError, match=rf"epoch 1 \(counted from 0\): unknown sleep stage '{number}'"):
        read_dreem_hypnogram({"main": [0, number]}, FACTS)
    assert codes(read_dreem_hypnogram({"main": [0, number]}, FACTS, {str(number): "unscored"})) == [0, -1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "a JSON dict, expected a list"),
        (b"[0, 1.5]", r"epoch 1 \(counted from 0\): '1.5' is no whole number"),
        (b"[true]", "'True' is no whole number"),
        (b'["0"]', "'0' is no whole number"),
        (b"[0, null]", "'None' is no whole number"),
        (b"[0,", "malformed JSON"),
        (b"\xff\xfe\x00", "malformed JSON"),
        (b"[" * 100_000, "malformed JSON"),
        (b"[" + b"0," * MAX_EPOCHS + b"0]", "100001 epochs, above the limit"),
        (b" " * (MAX_TEXT_BYTES + 1), "bytes of JSON, above the limit"),
    ],
)
def test_what_is_no_list_of_whole_numbers_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as caught:
        read_dreem_hypnogram({"main": data}, FACTS)
    assert "\n" not in str(caught.value)


def test_numbers_of_an_array_are_whole_numbers_too() -> None:
    assert codes(read_dreem_hypnogram({"main": list(np.array([0, 4], dtype=np.int8))}, FACTS)) == [0, 4]


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=20), at=st.integers(0, 30), drop=st.integers(0, 10))
def test_odd_bytes_are_read_or_refused(noise: bytes, at: int, drop: int) -> None:
    good = b"[-1, 0, 1, 2, 3, 4, 4, 2]"
    for data in (noise, good[:at] + noise + good[at + drop :]):
        try:
            outcome: Scoring | AnnotationError = read_dreem_hypnogram({"main": data}, FACTS)
        except AnnotationError as error:
            outcome = error
        assert isinstance(outcome, Scoring) or "\n" not in str(outcome)
