from __future__ import annotations

from pathlib import Path

import pytest

from hypnos_bench.cohorts.layouts import Covariates, Flag, Table
from hypnos_bench.cohorts.tables import covariates_of, flags_of, newest, read_tables
from hypnos_bench.errors import DataError

TABLE = Table("datasets/x-*.csv", "nsrrid", visit="1")


def write(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / "datasets" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_highest_version_wins_numerically(tmp_path: Path) -> None:
    names = ["x-0.9.0.csv", "x-0.10.0.csv", "x-0.2.csv", "x.csv", "._x-9.9.9.csv"]
    paths = [write(tmp_path, name, "") for name in names]
    assert newest(paths) == paths[1]
    assert newest([]) is None


def test_join_is_case_insensitive_and_by_visit(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "NSRRID,Age\nAA0001,70\n,99\n")
    (table,) = read_tables(tmp_path, [TABLE])
    assert table.row("aa0001", "1") == {"nsrrid": "AA0001", "age": "70"}
    assert table.row("aa0001", "2") is None
    assert table.row("aa0002", "1") is None


def test_whole_numbers_join_without_padding(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "mesaid,a\n1,x\n2.0,y\n.,z\n")
    (table,) = read_tables(tmp_path, [Table("datasets/x-*.csv", "mesaid", "int")])
    assert table.row("0001", None) == {"mesaid": "1", "a": "x"}
    assert table.row("0002", None) == {"mesaid": "2.0", "a": "y"}


def test_a_visit_column_picks_the_row(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,visitnumber,a\n5,1,x\n5,2,y\n")
    (table,) = read_tables(tmp_path, [Table("datasets/x-*.csv", "nsrrid", visit_column="visitnumber")])
    row = table.row("5", "2")
    assert row is not None
    assert row["a"] == "y"


def test_latin_1_is_the_fallback_and_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", b"nsrrid,note\naa1,caf\xe9\x85 x\n")
    (table,) = read_tables(tmp_path, [TABLE])
    assert table.row("aa1", "1") == {"nsrrid": "aa1", "note": "caf\xe9\x85 x"}
    write(tmp_path, "x-2.csv", b"\xef\xbb\xbfnsrrid,note\naa1,new\n")
    (table,) = read_tables(tmp_path, [TABLE])
    assert table.row("aa1", "1") == {"nsrrid": "aa1", "note": "new"}


def test_a_missing_table_is_left_out(tmp_path: Path) -> None:
    assert read_tables(tmp_path, [TABLE]) == ()


def test_a_table_without_its_key_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "pptid,a\n1,2\n")
    with pytest.raises(DataError, match=r"x-1.csv: no column 'nsrrid' to join by; found pptid, a"):
        read_tables(tmp_path, [TABLE])


def test_two_different_rows_for_one_key_are_refused_and_equal_ones_are_not(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,a\naa1,2\nAA2,1\naa1,2\n")
    assert len(read_tables(tmp_path, [TABLE])[0].rows) == 2
    write(tmp_path, "x-2.csv", "nsrrid,a\naa1,2\nAA1,3\n")
    with pytest.raises(DataError, match="line 3: a second, different row for nsrrid 'aa1'"):
        read_tables(tmp_path, [TABLE])


def test_broken_csv_names_the_line(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", 'nsrrid,a\naa1,"2" x\n')
    with pytest.raises(DataError, match=r"x-1.csv: line 2: "):
        read_tables(tmp_path, [TABLE])


def test_short_rows_have_empty_cells(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,a,b\naa1,1\n")
    row = read_tables(tmp_path, [TABLE])[0].row("aa1", "1")
    assert row is not None
    assert row["b"] == ""


def test_covariates_take_the_first_cell_that_says_something() -> None:
    spec = Covariates(
        columns={"age": ["vsage1", "nsrr_age"], "sex": ["gender"], "race": ["race"], "bmi": ["bmi"]},
        values={"sex": {"2": "male"}},
        constants={"site": "here"},
        missing=["", "M"],
    )
    rows = [{"vsage1": "m", "gender": "2", "race": "white", "bmi": ""}, {"nsrr_age": "71.0"}]
    assert covariates_of(rows, spec) == {"site": "here", "age": 71.0, "sex": "male", "race": "white"}
    assert covariates_of([], spec) == {"site": "here"}


def test_flags_compare_numbers_as_numbers() -> None:
    flags = [Flag("poprstag", "1", ["stage", "events"], "sleep/wake only"), Flag("q", "bad", ["stage"], "other")]
    assert flags_of([{"poprstag": "1.0", "q": "BAD"}], flags) == {
        "stage": "sleep/wake only",
        "events": "sleep/wake only",
    }
    assert flags_of([{"poprstag": "0", "q": ""}], flags) == {}
    assert flags_of([{}], flags) == {}
