from __future__ import annotations

import pytest

from hypnos_bench.cohorts.card import Covariates, Flag
from hypnos_bench.cohorts.covariates import covariates_of, flags_of


def test_covariates_take_the_first_cell_that_says_something() -> None:
    spec = Covariates(
        columns={"age": ["vsage1", "nsrr_age"], "sex": ["gender"], "race": ["race"], "bmi": ["bmi"]},
        values={"sex": {"2": "male"}},
        constants={"site": "here"},
        missing=["", "M"],
    )
    rows = [{"vsage1": "m", "gender": "2.0", "race": "white", "bmi": ""}, {"nsrr_age": "71.0"}]
    assert covariates_of(rows, spec) == ({"site": "here", "age": 71.0, "sex": "male", "race": "white"}, ())
    assert covariates_of([], spec) == ({"site": "here"}, ())


@pytest.mark.parametrize(
    ("name", "cell", "remark"),
    [
        ("age", "300", "age: '300' in column c is outside 0 to 120; left out"),
        ("age", "-9", "age: '-9' in column c is outside 0 to 120; left out"),
        ("age", "90+", "age: '90+' in column c is not a number; left out"),
        ("bmi", "4.9", "bmi: '4.9' in column c is outside 5 to 120; left out"),
        ("bmi", "0.27", "bmi: '0.27' in column c is outside 5 to 120; left out"),
        ("ahi_a0h3", "250.1", "ahi_a0h3: '250.1' in column c is outside 0 to 250; left out"),
        ("ahi", "nan", "ahi: 'nan' in column c is not a number; left out"),
        ("sex", "3", "sex: '3' in column c is neither male nor female; left out"),
        ("sex", "not reported", "sex: 'not reported' in column c is neither male nor female; left out"),
    ],
)
def test_what_cannot_be_right_is_left_out_and_reported(name: str, cell: str, remark: str) -> None:
    spec = Covariates(columns={name: ["c"]}, values={"sex": {"1": "male", "2": "female"}})
    assert covariates_of([{"c": cell}], spec) == ({}, (remark,))


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [("age", "0", 0.0), ("age", "120", 120.0), ("bmi", "5", 5.0), ("ahi_a0h3", "250", 250.0), ("tst_min", "-1", -1.0)],
)
def test_limits_themselves_are_right(name: str, cell: str, value: float) -> None:
    assert covariates_of([{"c": cell}], Covariates(columns={name: ["c"]})) == ({name: value}, ())


def test_coded_ages_are_what_the_card_says() -> None:
    spec = Covariates(columns={"age": ["age"]}, values={"age": {"300": 90}})
    assert covariates_of([{"age": "300.0"}], spec) == ({"age": 90.0}, ())


@pytest.mark.parametrize(("cell", "sex"), [("M", "male"), ("f", "female"), ("Male", "male"), ("FEMALE", "female")])
def test_sex_is_male_or_female(cell: str, sex: str) -> None:
    spec = Covariates(columns={"sex": ["sex"]}, values={"sex": {"M": "male", "F": "female"}})
    assert covariates_of([{"sex": cell}], spec) == ({"sex": sex}, ())


def test_flags_compare_numbers_as_numbers() -> None:
    flags = [
        Flag("poprstag", "1", "sleep/wake only", ["stage", "events"]),
        Flag("q", "bad", "other", ["stage"]),
    ]
    assert flags_of([{"poprstag": "1.0", "q": "BAD"}], flags) == (
        {"stage": "sleep/wake only", "events": "sleep/wake only"},
        (),
    )
    assert flags_of([{"poprstag": "0", "q": ""}], flags) == ({}, ())
    assert flags_of([{}], flags) == ({}, ())


def test_a_flag_without_a_scope_is_a_remark_and_may_be_of_one_visit() -> None:
    flags = [
        Flag("slewake", "1", "sleep or wake only", ["stage"], visit="2"),
        Flag("rec", "1", "ended before wake"),
        Flag("rec5", "1", "ended before wake"),
    ]
    rows = [{"slewake": "1", "rec": "1", "rec5": "1"}]
    assert flags_of(rows, flags, "2") == ({"stage": "sleep or wake only"}, ("ended before wake",))
    assert flags_of(rows, flags, "1") == ({}, ("ended before wake",))
    assert flags_of(rows, flags) == ({}, ("ended before wake",))
