from __future__ import annotations

import csv
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.card import WideOutcomes
from hypnos_bench.cohorts.outcomes import WideTable, read_wide
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.errors import DataError

REAL = Path(__file__).parents[2] / "../shared/data/survival"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no shared survival tables")
SPEC = WideOutcomes("is_event.csv", "time_to_event.csv", "days", "demo_age_gender.csv")
HAD_IT_BEFORE = Outcome(event=False, time_years=None, prevalent=True)


def read(tmp_path: Path, events: str, times: str, unit: str = "days") -> WideTable:
    (tmp_path / "is_event.csv").write_text(events, encoding="utf-8")
    (tmp_path / "time_to_event.csv").write_text(times, encoding="utf-8")
    return read_wide(WideOutcomes("is_event.csv", "time_to_event.csv", unit), tmp_path)  # type: ignore[arg-type]


@needs_real
def test_the_released_label_files() -> None:
    spec = WideOutcomes(
        *(f"sleepfm_{n}.csv" for n in ("is_event", "time_to_event")), "days", "sleepfm_demo_age_gender.csv"
    )
    table = read_wide(spec, REAL)
    outcomes = table.outcomes("demo_psg")
    with (REAL / spec.is_event).open(newline="") as a, (REAL / spec.time_to_event).open(newline="") as b:
        (events,), (times,) = list(csv.DictReader(a)), list(csv.DictReader(b))
    assert len(outcomes) == len(table.endpoints) == 1065
    assert list(outcomes) == list(events)[1:]
    for name, outcome in outcomes.items():
        assert outcome.event is (float(events[name]) == 1)
        assert outcome.time_years == pytest.approx(float(times[name]) / 365.25)
    assert table.demographics("DEMO_PSG") == {"age_scaled": 3 / 98, "gender": 0.0}
    assert table.remarks == (
        "sleepfm_demo_age_gender.csv: no age is above 1: scaled, so it is kept as age_scaled and not as years",
    )


def test_events_censoring_prevalence_and_blanks_by_hand(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "Study ID,8.5,death,Stroke,x\nrec_a,1,0,1,\nrec_b,0,1,0,1\n",
        "Study ID,death,8.5,x,Stroke\nREC_B,730.5,0,,-3\nrec_a,3652.5,365.25,12,0\n",
    )
    assert dict(table.outcomes("REC_a")) == {
        "8.5": Outcome(True, 1.0),
        "death": Outcome(False, 10.0),
        "Stroke": HAD_IT_BEFORE,
    }
    assert dict(table.outcomes("rec_b")) == {"death": Outcome(True, 2.0)}
    assert dict(table.outcomes("rec_c")) == {}
    assert table.demographics("rec_a") == {}
    assert table.remarks == (
        "is_event.csv: 1 cells: whether it happened is blank",
        "is_event.csv: 1 cells: happened, but its time is blank",
        "is_event.csv: 2 cells: did not happen, but follow-up ended at or before the recording",
    )


def test_an_event_within_seven_days_counts_as_the_table_says(tmp_path: Path) -> None:
    table = read(tmp_path, "Study ID,a\nr,1\ns,0\n", "Study ID,a\nr,3\ns,900\n")
    assert table.outcomes("r")["a"] == Outcome(True, 3 / 365.25)


def test_a_row_is_lazy_small_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    n = 200
    head = ",".join(["Study ID", *map(str, range(50))])
    events = "\n".join([head, *(f"r{i}," + ",".join(["1"] * 50) for i in range(n))])
    times = "\n".join([head, *(f"r{i}," + ",".join(["99"] * 50) for i in range(n))])
    row = read(tmp_path, events, times).outcomes("r7")
    copy = pickle.loads(pickle.dumps(row))
    assert copy == row
    assert len(pickle.dumps(row)) < 3000
    with pytest.raises(KeyError):
        row["50"]


@pytest.mark.parametrize(
    ("events", "times", "message"),
    [
        ("Study ID,a\nr,1\n", "Study ID,b\nr,1\n", r"time_to_event.csv: no column 'a', which is_event.csv has"),
        ("Study ID,a\nr,1\n", "Study ID,a,b\nr,1,1\n", r"is_event.csv: no column 'b', which time_to_event.csv has"),
        ("Study ID,a\nr,1\ns,0\n", "Study ID,a\nr,1\n", r"time_to_event.csv: no Study ID 's', which is_event.csv has"),
        ("Study ID,a\nr,1\n", "Study ID,a\nr,1\nt,9\n", r"is_event.csv: no Study ID 't', which time_to_event.csv has"),
        ("Study ID,a\nr,1\nR,1\n", "Study ID,a\nr,1\n", r"is_event.csv: line 3: a second row for Study ID 'r'"),
        ("Study ID,a,a\nr,1,1\n", "Study ID,a\nr,1\n", r"is_event.csv: column 'a' stands there twice"),
        ("Study ID,a\nr,2\n", "Study ID,a\nr,1\n", r"is_event.csv: r: column 'a' is 2, expected 0, 1 or a blank cell"),
        ("Study ID,a,b\nr,1,yes\n", "Study ID,a,b\nr,1,1\n", r"is_event.csv: line 2: column 'b' is 'yes', expected a"),
        (
            "Study ID,a,b\nr,1\n",
            "Study ID,a,b\nr,1,1\n",
            r"is_event.csv: line 2: 2 cells, but 3 columns; is the file cut",
        ),
        ("Study ID,a\nr,1\n", "Study ID,a\nr,inf\n", r"time_to_event.csv: line 2: column 'a' is infinite"),
        ("id,a\nr,1\n", "Study ID,a\nr,1\n", r"is_event.csv: no column 'Study ID'; found id, a"),
        ("", "Study ID,a\nr,1\n", r"is_event.csv: no column 'Study ID'; found none"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, events: str, times: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, events, times)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is_event.csv: no such table of outcomes"):
        read_wide(SPEC, tmp_path)


def test_the_unit_guard_works_both_ways(tmp_path: Path) -> None:
    events = "Study ID,a,b\nr,1,0\ns,0,0\n"
    with pytest.raises(DataError, match=r"s: column 'b' is 3845 years, more than the 60 years .* looks like days"):
        read(tmp_path, events, "Study ID,a,b\nr,2,4\ns,9,3845\n", "years")
    with pytest.raises(DataError, match=r"the longest follow-up of all is 10.5 days, which looks like years"):
        read(tmp_path, events, "Study ID,a,b\nr,2,4\ns,9,10.5\n")
    with pytest.raises(DataError, match=r"s: column 'b' is 99999 days, more than the 60 years"):
        read(tmp_path, events, "Study ID,a,b\nr,2,4\ns,9,99999\n")


def test_demographics_in_years_keep_their_names(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "demo_age_gender.csv", [{"Study ID": "r", "age": 63, "gender": 1}, {"Study ID": "q", "age": ""}]
    )
    for name in ("is_event.csv", "time_to_event.csv"):
        write_csv(tmp_path / name, [{"Study ID": "r", "a": 1 if name == "is_event.csv" else 99}])
    table = read_wide(SPEC, tmp_path)
    assert table.demographics("r") == {"age": 63.0, "gender": 1.0}
    assert table.demographics("q") == {}


CELLS = st.tuples(st.sampled_from(["0", "1", "", "NA", "1.0"]), st.sampled_from(["-2", "0", "0.5", "61", "7000", ""]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_table_gives_positive_times_and_no_events_of_those_who_had_it_before(
    rows: list[list[tuple[str, str]]],
) -> None:
    head = "Study ID,a,b,c\nlast,0,0,0\n"  # a long follow-up, so that the unit is believed
    with tempfile.TemporaryDirectory() as folder:
        table = read(
            Path(folder),
            head + "".join(f"r{i}," + ",".join(e for e, _ in row) + "\n" for i, row in enumerate(rows)),
            head.replace("0", "9000")
            + "".join(f"r{i}," + ",".join(t for _, t in row) + "\n" for i, row in enumerate(rows)),
        )
    for i, row in enumerate(rows):
        outcomes = table.outcomes(f"r{i}")
        for name, (event, time) in zip("abc", row):
            outcome = outcomes.get(name)
            happened, years = float(event or "nan") if event != "NA" else np.nan, float(time or "nan") / 365.25
            if np.isnan(happened) or np.isnan(years) or (happened == 0 and years <= 0):
                assert outcome is None
            elif happened == 1 and years <= 0:
                assert outcome == HAD_IT_BEFORE
            else:
                assert outcome == Outcome(happened == 1, years)
