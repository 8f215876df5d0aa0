from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.card import Clock, Endpoint, Table
from hypnos_bench.cohorts.outcomes import Outcomes, check_outcomes, outcomes_of
from hypnos_bench.cohorts.rows import Row
from hypnos_bench.cohorts.tables import JoinedTable, read_tables
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.shhs_tables import ShhsPerson, random_persons, write_shhs_tables
from hypnos_bench.errors import DataError

DATES = (
    "stk_date",
    "chf_date",
    "mi_date",
    "ang_date",
    "revpro_date",
    "cabg_date",
    "ptca_date",
    "cvd_dthdt",
    "chd_dthdt",
)
PREVALENT = ("prev_stk", "prev_chf", "prev_mi", "prev_ang", "prev_revpro")
CLOCK = Clock("days", ["censdate"], {"2": "stdatep"})
DEATH = Endpoint("death", "Death", "vital", ["0"], ["1"], ["censdate"])
STROKE = Endpoint("stroke", "Stroke", "stroke", time=["stk_date"], prevalent=["prev_stk"])
ANY_CVD = Endpoint("any-cvd", "Any CVD", "any_cvd", ["1"], ["0"], DATES, PREVALENT)
AF = Endpoint("af", "AF", "afibincident", ["1"], ["0"], prevalent=["afibprevalent"])
ENDPOINTS = (
    DEATH,
    STROKE,
    ANY_CVD,
    Endpoint("any-chd", "Any CHD", "any_chd", ["1"], ["0"], [*DATES[2:7], "chd_dthdt"], PREVALENT[2:]),
    Endpoint("chf", "CHF", "chf", time=["chf_date"], prevalent=["prev_chf"]),
    Endpoint("mi", "MI", "mi", time=["mi_date"], prevalent=["prev_mi"]),
    Endpoint("angina", "Angina", "angina", time=["ang_date"], prevalent=["prev_ang"]),
    Endpoint(
        "revasc", "Revasc.", "revasc_proc", time=["revpro_date", "cabg_date", "ptca_date"], prevalent=["prev_revpro"]
    ),
    Endpoint("cvd-death", "CVD death", "cvd_death", ["1"], ["0"], ["cvd_dthdt"]),
    Endpoint("chd-death", "CHD death", "chd_death", ["1"], ["0"], ["chd_dthdt"]),
)
SHHS_TABLES = (
    Table("shhs1-dataset-*.csv", "nsrrid", visit="1"),
    Table("shhs2-dataset-*.csv", "nsrrid", visit="2"),
    Table("shhs-cvd-summary-dataset-*.csv", "nsrrid"),
    Table("shhs-harmonized-dataset-*.csv", "nsrrid", visit_column="visitnumber"),
)
HAD_IT_BEFORE = Outcome(event=False, time_years=None, prevalent=True)


def one(row: dict[str, str], endpoint: Endpoint, visit: str = "1", clock: Clock = CLOCK) -> tuple[Outcome | None, str]:
    told = outcomes_of([row], clock, [endpoint], visit)
    assert len(told.remarks) <= 1
    return told.outcomes.get(endpoint.id), "".join(told.remarks)


def rows_of(tables: Sequence[JoinedTable], key: str, visit: str) -> list[Row]:
    return [row for table in tables if (row := table.row(key, visit)) is not None]


def test_death_is_vital_0_and_life_is_vital_1() -> None:
    assert one({"vital": "0", "censdate": "730.5"}, DEATH) == (Outcome(True, 2.0), "")
    assert one({"vital": "1", "censdate": "3652.5"}, DEATH) == (Outcome(False, 10.0), "")


def test_a_year_has_365_25_days() -> None:
    outcome, _ = one({"stroke": "1", "stk_date": "1000"}, STROKE)
    assert outcome is not None
    assert outcome.time_years == pytest.approx(2.7378507871, abs=1e-10)
    assert one({"stroke": "1", "stk_date": "7.25"}, STROKE, clock=Clock("years")) == (Outcome(True, 7.25), "")


@pytest.mark.parametrize(("cell", "event"), [("0", False), ("1", True), ("3", True), ("2.0", True), ("0.0", False)])
def test_a_count_above_0_is_an_event(cell: str, event: bool) -> None:
    outcome, _ = one({"stroke": cell, "stk_date": "365.25" if event else "", "censdate": "1461"}, STROKE)
    assert outcome == Outcome(event, 1.0 if event else 4.0)


def test_no_event_and_a_blank_date_is_followed_to_the_end() -> None:
    row = {"stroke": "0", "stk_date": ".", "censdate": "1461"}
    assert one(row, STROKE) == (Outcome(False, 4.0), "")
    assert one({**row, "stk_date": "365.25"}, STROKE) == (Outcome(False, 1.0), "")  # its own time comes first
    told = "stroke: did not happen, but stk_date, censdate is blank: the end of follow-up is not known"
    assert one({**row, "censdate": ""}, STROKE) == (None, told)


def test_an_event_with_a_blank_date_is_refused_not_censored() -> None:
    row = {"stroke": "1", "stk_date": "", "censdate": "1461"}
    assert one(row, STROKE) == (None, "stroke: happened, but stk_date is blank: when is not known")


def test_any_cvd_takes_the_earliest_date() -> None:
    row = {"any_cvd": "1", "stk_date": "730.5", "mi_date": "365.25", "chf_date": "", "censdate": "1461"}
    assert one(row, ANY_CVD) == (Outcome(True, 1.0), "")


def test_any_cvd_without_any_date_is_a_fact_without_a_time() -> None:
    outcome, remark = one({"any_cvd": "1", "stk_date": "", "censdate": "1461", "stdatep": "9"}, ANY_CVD)
    assert outcome == Outcome(True, None)
    assert remark.startswith("any-cvd: happened, but none of stk_date, chf_date, ")
    outcome, remark = one({"any_cvd": "1", "stk_date": "", "censdate": "1461", "stdatep": "9"}, ANY_CVD, "2")
    assert outcome is None  # before or after the second recording: nobody knows
    assert remark.endswith("is blank: when is not known")


def test_nothing_of_a_composite_is_followed_to_the_end_not_to_another_date() -> None:
    row = {"any_cvd": "0", "cabg_date": "100", "censdate": "1461"}
    assert one(row, ANY_CVD) == (Outcome(False, 4.0), "")
    assert one({**row, "censdate": "", "mi_date": "365.25"}, ANY_CVD) == (Outcome(False, 100 / 365.25), "")


@pytest.mark.parametrize("visit", ["1", "2"])
def test_who_had_it_before_is_not_at_risk_whatever_came_later(visit: str) -> None:
    row = {"stroke": "1", "stk_date": "900", "prev_stk": "2", "censdate": "1461", "stdatep": "500"}
    assert one(row, STROKE, visit) == (HAD_IT_BEFORE, "")
    assert one({**row, "stroke": "", "stk_date": ""}, STROKE, visit) == (HAD_IT_BEFORE, "")
    assert one({**row, "prev_stk": ""}, STROKE, visit)[0] != HAD_IT_BEFORE
    assert one({"any_cvd": "0", "censdate": "9", "prev_ang": "1", "stdatep": "5"}, ANY_CVD, visit) == (
        HAD_IT_BEFORE,
        "",
    )


@pytest.mark.parametrize("day", ["0", "-12"])
def test_an_event_at_or_before_the_recording_is_prevalent(day: str) -> None:
    assert one({"stroke": "1", "stk_date": day, "censdate": "1461"}, STROKE) == (HAD_IT_BEFORE, "")
    outcome, remark = one({"stroke": "0", "stk_date": "", "censdate": day}, STROKE)
    assert outcome is None
    assert remark == "stroke: did not happen, but follow-up ended at or before this recording"


def test_the_clock_restarts_at_the_second_recording() -> None:
    row = {"stroke": "1", "stk_date": "1826.25", "censdate": "3652.5", "stdatep": "1461", "vital": "1"}
    assert one(row, STROKE) == (Outcome(True, 5.0), "")
    assert one(row, STROKE, "2") == (Outcome(True, 1.0), "")
    assert one(row, DEATH, "2") == (Outcome(False, 6.0), "")
    for day in ("1460", "1461"):
        assert one({**row, "stk_date": day}, STROKE, "2") == (HAD_IT_BEFORE, "")


def test_a_second_recording_without_its_day_has_no_times() -> None:
    row = {"stroke": "1", "stk_date": "1826.25", "censdate": "3652.5", "vital": "0", "afibincident": "0"}
    for rows in ([row], [row, {"stdatep": ""}]):
        told = outcomes_of(rows, CLOCK, [DEATH, STROKE], "2")
        assert told.outcomes == {}
        assert told.remarks == (
            "death: stdatep is blank: the day of this recording is not known",
            "stroke: stdatep is blank: the day of this recording is not known",
        )


def test_an_offset_may_be_a_number() -> None:
    clock = replace(CLOCK, offset={"2": "1"})
    assert one({"stroke": "1", "stk_date": "366.25"}, STROKE, "2", clock) == (Outcome(True, 1.0), "")


def test_af_is_a_fact_of_the_first_recording() -> None:
    assert one({"afibincident": "1", "afibprevalent": "0"}, AF) == (Outcome(True, None), "")
    assert one({"afibincident": "0"}, AF) == (Outcome(False, None), "")
    assert one({"afibincident": "0", "afibprevalent": "1"}, AF) == (HAD_IT_BEFORE, "")
    outcome, remark = one({"afibincident": "1", "stdatep": "900"}, AF, "2")
    assert outcome is None
    assert remark == "af: has no time, so that it cannot be counted from visit 2"


def test_an_endpoint_that_no_row_knows_is_absent_and_counted() -> None:
    assert outcomes_of([{"vital": "1"}], CLOCK, [STROKE], "1") == Outcomes({}, ("stroke: no row with column stroke",))
    assert outcomes_of([], CLOCK, [STROKE], "1").remarks == ("stroke: no row with column stroke",)
    assert one({"stroke": "NA"}, STROKE) == (None, "stroke: stroke is blank")


def test_cells_that_mean_missing_may_be_named() -> None:
    row = {"stroke": "0", "stk_date": "M", "censdate": "1461"}
    told = outcomes_of([row], CLOCK, [STROKE], "1", missing=["m"])
    assert told.outcomes == {"stroke": Outcome(False, 4.0)}


def test_the_first_row_that_has_a_column_filled_is_used() -> None:
    rows = [{"stroke": "", "stk_date": ""}, {"stroke": "1", "stk_date": "365.25"}, {"stroke": "0", "stk_date": "9"}]
    assert outcomes_of(rows, CLOCK, [STROKE], "1").outcomes == {"stroke": Outcome(True, 1.0)}


def table(tmp_path: Path, rows: list[dict[str, object]], **spec: object) -> JoinedTable:
    write_csv(tmp_path / "own-1.csv", rows)
    (joined,) = read_tables(tmp_path, [Table("own-*.csv", "id", **spec)])  # type: ignore[arg-type]
    return joined


@pytest.mark.parametrize("cell", ["8", "-1", "yes"])
def test_a_value_that_the_card_does_not_know_stops_and_names_the_row(tmp_path: Path, cell: str) -> None:
    row = table(tmp_path, [{"id": "x", "vital": 1}, {"id": "AA01", "vital": cell, "censdate": 9}]).row("aa01", None)
    assert row is not None
    with pytest.raises(DataError) as caught:
        outcomes_of([row], CLOCK, [DEATH], "1")
    assert str(caught.value) == (
        f"own-1.csv, line 3 (id AA01): vital is {cell!r}, which [[outcomes]] death lists neither under happened (0) "
        "nor under not_happened (1)"
    )


def test_a_value_that_means_both_stops() -> None:
    with pytest.raises(DataError, match=r"lists both under happened \(>0\) and under not_happened \(0, 1\)"):
        one({"stroke": "1"}, replace(STROKE, not_happened=["0", "1"]))


@pytest.mark.parametrize("column", ["stk_date", "prev_stk"])
def test_a_date_or_history_that_is_no_number_stops(column: str) -> None:
    with pytest.raises(DataError, match=rf"{column} is '2004-05-01', expected a number"):
        one({"stroke": "1", "stk_date": "9", column: "2004-05-01"}, STROKE)


@pytest.mark.parametrize(
    ("unit", "cell", "looks"),
    [
        ("years", "3845", 'looks like days: set unit = "days"'),
        ("years", "60.1", "looks like days"),
        ("days", "21916", "looks like another unit, a code or a date"),
        ("days", "-99999", "looks like another unit"),
    ],
)
def test_a_follow_up_longer_than_any_stops(unit: str, cell: str, looks: str) -> None:
    clock = Clock(unit, ["censdate"])  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=rf"censdate is {cell} {unit}, more than the 60 years of \[clock\] max_years; {looks}"
    ):
        one({"stroke": "0", "censdate": cell}, STROKE, clock=clock)
    one({"stroke": "0", "censdate": "60" if unit == "years" else "21915"}, STROKE, clock=clock)


# MrOS Online: DADEAD 0/1 and FUCYTIME, in years in one code base and in days in another.
MROS_DEATH = Endpoint("death", "Death", "DADEAD", ["1"], ["0"], ["FUCYTIME"])
MROS_STATUS = Endpoint("status", "Death by status", "EFSTATUS", ["1"], ["0", "2"], ["FUCYTIME"])
YEARS = [{"id": f"AA{i:04}", "DADEAD": i % 2, "EFSTATUS": i % 3, "FUCYTIME": 0.5 + 5 * i} for i in range(4)]
DAYS = [{**row, "FUCYTIME": 365.25 * float(str(row["FUCYTIME"]))} for row in YEARS]


@pytest.mark.parametrize(("rows", "unit"), [(YEARS, "years"), (DAYS, "days")])
def test_a_users_table_of_deaths(tmp_path: Path, rows: list[dict[str, object]], unit: str) -> None:
    joined = table(tmp_path, rows)
    clock = Clock(unit)  # type: ignore[arg-type]
    used = [("1", [row]) for row in joined.rows.values()]
    assert check_outcomes([joined], clock, [MROS_DEATH, MROS_STATUS], used) == ()
    row = joined.row("aa0001", "1")
    assert row is not None
    told = outcomes_of([row], clock, [MROS_DEATH, MROS_STATUS], "1").outcomes
    assert told == {"death": Outcome(True, 5.5), "status": Outcome(True, 5.5)}


def test_days_called_years_stop_at_the_row(tmp_path: Path) -> None:
    joined = table(tmp_path, DAYS)
    row = joined.row("aa0002", None)
    assert row is not None
    with pytest.raises(DataError, match=r"FUCYTIME is 3835.12 years, .* looks like days"):
        outcomes_of([row], Clock("years"), [MROS_DEATH], None)


def test_years_called_days_stop_over_the_whole_table(tmp_path: Path) -> None:
    joined = table(tmp_path, YEARS)
    with pytest.raises(DataError, match=r"the longest follow-up of all is 15.5 days, which looks like years"):
        check_outcomes([joined], Clock("days"), [MROS_DEATH], [])
    assert check_outcomes([joined], Clock("days", max_years=1), [MROS_DEATH], []) == (
        "the longest follow-up of all is 15.5 days: is the unit right?",
    )
    assert check_outcomes([joined], Clock("days"), [AF], []) == ()


def test_a_short_follow_up_is_remarked_and_a_year_is_not(tmp_path: Path) -> None:
    short = table(tmp_path, [{"id": "a", "DADEAD": 1, "FUCYTIME": 61}, {"id": "b", "DADEAD": 0, "FUCYTIME": ""}])
    assert check_outcomes([short], Clock(), [MROS_DEATH], []) == (
        "the longest follow-up of all is 61 days: is the unit right?",
    )
    long = table(tmp_path, [{"id": "a", "DADEAD": 1, "FUCYTIME": 366}])
    assert check_outcomes([long], Clock(), [MROS_DEATH], []) == ()
    assert check_outcomes([], Clock(), [MROS_DEATH], []) == ()


def test_two_visits_may_not_share_a_row_of_times_without_an_offset(tmp_path: Path) -> None:
    joined = table(tmp_path, DAYS)
    row = joined.row("aa0001", "1")
    assert row is not None
    used = [("1", [row]), ("2", [row])]
    with pytest.raises(
        DataError, match=r"own-1.csv, line 3 \(id AA0001\): one row of times for visits 1 and 2, .*set \[clock\] offset"
    ):
        check_outcomes([joined], Clock(), [MROS_DEATH], used)
    assert check_outcomes([joined], Clock(offset={"2": "FUVSYT"}), [MROS_DEATH], used) == ()
    assert check_outcomes([joined], Clock(offset={"2": "0"}), [MROS_DEATH], used) == ()
    assert check_outcomes([joined], Clock(), [MROS_DEATH], [("1", [row]), ("2", [{"age": "5"}])]) == ()


@pytest.mark.parametrize("events", [True, False])
def test_shhs_tables_tell_what_is_true_with_and_without_single_events(tmp_path: Path, events: bool) -> None:
    persons = random_persons(range(200001, 200041), seed=3, visit_2=range(200001, 200041, 2))
    paths = write_shhs_tables(tmp_path, persons, events=events)
    assert ("events" in paths) is events
    with pytest.raises(UnicodeDecodeError):
        paths["shhs1"].read_text(encoding="utf-8")
    joined = read_tables(tmp_path, SHHS_TABLES)
    seen = []
    for person in persons:
        for visit in ("1", "2") if person.day_2 is not None else ("1",):
            rows = rows_of(joined, str(person.nsrrid), visit)
            assert len(rows) == 3
            told = outcomes_of(rows, CLOCK, ENDPOINTS, visit).outcomes
            for endpoint in ENDPOINTS:
                expected = person.outcome(endpoint.event, visit)
                assert told.get(endpoint.id) == expected, (person, visit, endpoint.id)
                seen.append((visit, None if expected is None else (expected.event, expected.prevalent)))
    assert {(v, kind) for v in "12" for kind in ((True, False), (False, False), (False, True))} <= set(seen)
    used = [(v, rows_of(joined, str(p.nsrrid), v)) for p in persons for v in ("1", "2")]
    assert check_outcomes(joined, CLOCK, ENDPOINTS, used) == ()


@st.composite
def shhs_persons(draw: st.DrawFn) -> ShhsPerson:
    days = {e: draw(st.integers(-400, 5000)) for e in ("stroke", "chf", "mi", "angina") if draw(st.booleans())}
    before = tuple(e for e in ("stroke", "mi") if draw(st.booleans()))
    return ShhsPerson(
        200001, 60, "male", draw(st.integers(-50, 5500)), draw(st.booleans()), days, before, draw(st.integers(1, 4000))
    )


@settings(max_examples=40, deadline=None)
@given(shhs_persons())
def test_any_person_has_times_above_0_and_the_second_clock_runs_stdatep_behind(person: ShhsPerson) -> None:
    row = {"censdate": str(person.end_day), "vital": str(int(not person.died)), "stdatep": str(person.day_2)}
    row["any_cvd"] = str(int(bool(person.days)))
    dates = {"stroke": "stk_date", "chf": "chf_date", "mi": "mi_date", "angina": "ang_date"}
    for event, date in dates.items():
        row[event] = str(int(event in person.days))
        row[date] = str(person.days.get(event, ""))
    row["prev_stk"], row["prev_mi"] = str(int("stroke" in person.before)), str(int("mi" in person.before))
    endpoints = [e for e in ENDPOINTS if e.event in row]
    first, second = (outcomes_of([row], CLOCK, endpoints, visit) for visit in ("1", "2"))
    assert person.day_2 is not None
    for endpoint in endpoints:
        told = [first.outcomes.get(endpoint.id), second.outcomes.get(endpoint.id)]
        assert told == [person.outcome(endpoint.event, "1"), person.outcome(endpoint.event, "2")]
        for outcome in told:
            if outcome is not None:
                assert outcome.prevalent == (outcome.time_years is None)
                assert not (outcome.prevalent and outcome.event)
                assert outcome.time_years is None or outcome.time_years > 0
        if told[1] is not None and not told[1].prevalent:
            assert told[0] is not None
            assert told[0].event == told[1].event
            assert told[0].time_years is not None
            assert told[1].time_years is not None
            assert told[1].time_years == pytest.approx(told[0].time_years - person.day_2 / 365.25)
