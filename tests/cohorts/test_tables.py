from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts import tables as module
from hypnos_bench.cohorts.card import Table
from hypnos_bench.cohorts.rows import filled, row_matches, where
from hypnos_bench.cohorts.tables import absent_columns, columns_of, missing_tables, newest, read_tables, table_path
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.errors import DataError, UsageError

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


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("x_2024-12-20", "x_2025-05-06"),  # the day of the month does not decide
        ("x_2024-12-20", "x_20250506"),
        ("x_20241220", "x_2025-05-06"),
        ("x_2024_12_20", "x_2025_05_06"),
        ("x_2025-05-06", "x_2025-11-01"),
        ("x", "x_2024-12-20"),
        ("x", "x-v0"),
        ("x-v9", "x-v10"),
        ("x-0.9.0", "x-0.10.0"),
        ("x-0.9", "x-0.9.1"),
        ("I0001_psg_metadata_2024-12-31", "I0001_psg_metadata_2025-01-01"),
    ],
)
def test_days_and_versions_in_names_are_ordered(older: str, newer: str) -> None:
    for paths in ([older, newer], [newer, older]):
        assert newest(Path(f"{name}.csv") for name in paths) == Path(f"{newer}.csv")


@given(st.lists(st.dates(date(1950, 1, 1), date(2099, 12, 31)), min_size=1, max_size=5, unique=True), st.data())
@settings(max_examples=40, deadline=None)
def test_the_latest_day_wins_however_it_is_written(days: list[date], data: st.DataObject) -> None:
    forms = ("%Y-%m-%d", "%Y%m%d", "%Y_%m_%d", "%Y.%m.%d")
    names = {day: Path(f"x_{day.strftime(data.draw(st.sampled_from(forms)))}.csv") for day in days}
    assert newest(names.values()) == names[max(days)]


def test_join_is_case_insensitive_and_by_visit(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "NSRRID,Age\nAA0001,70\n,99\n")
    (table,) = read_tables(tmp_path, [TABLE])
    assert table.row("aa0001", "1") == {"nsrrid": "AA0001", "age": "70"}
    assert table.row("aa0001", "2") is None
    assert table.row("aa0002", "1") is None
    assert table.row("", "1") is None
    assert [table.concerns(visit) for visit in ("1", "2", None)] == [True, False, False]
    assert len(table.rows) == 1


def test_whole_numbers_join_without_padding(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "mesaid,a\n1,x\n2.0,y\n.,z\n12345678901234567,long\n12345678901234568,longer\n1_0,no\n")
    (table,) = read_tables(tmp_path, [Table("datasets/x-*.csv", "mesaid", transform="int")])
    assert table.row("0001", None) == {"mesaid": "1", "a": "x"}
    assert table.row("0002", None) == {"mesaid": "2.0", "a": "y"}
    assert table.row("10", None) is None
    row = table.row("12345678901234568", None)
    assert row is not None
    assert row["a"] == "longer"


def test_a_visit_column_picks_the_row(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,visitnumber,a\n5,1,x\n5,2.0,y\n5,Baseline,z\n")
    (table,) = read_tables(tmp_path, [Table("datasets/x-*.csv", "nsrrid", visit_column="visitnumber")])
    cells = [table.row("5", visit) for visit in ("1", "2", "baseline", "3")]
    assert [row["a"] if row is not None else None for row in cells] == ["x", "y", "z", None]


def test_the_first_key_that_the_table_has_joins_it(tmp_path: Path) -> None:
    spec = Table("datasets/x-*.csv", ["nsrrid", "mesaid"], transform="int")
    write(tmp_path, "x-1.csv", "mesaid,a\n7,old\n")
    assert read_tables(tmp_path, [spec])[0].row("0007", None) == {"mesaid": "7", "a": "old"}
    write(tmp_path, "x-2.csv", "mesaid,nsrrid,a\n7,8,new\n")
    assert read_tables(tmp_path, [spec])[0].row("0008", None) == {"mesaid": "7", "nsrrid": "8", "a": "new"}
    write(tmp_path, "x-3.csv", "pptid,a\n1,2\n")
    with pytest.raises(DataError, match="no column 'nsrrid' or 'mesaid' to join by; found pptid, a"):
        read_tables(tmp_path, [spec])


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (b"nsrrid,note\naa1,caf\xe9 \x93x\x94\n", "café “x”"),  # windows-1252
        (b"nsrrid,note\naa1,caf\xe9\x81\n", "café\x81"),  # a byte that windows-1252 lacks
        (b"\xef\xbb\xbfnsrrid,note\naa1,caf\xc3\xa9\n", "café"),
        ("nsrrid,note\naa1,café\n".encode("utf-16"), "café"),
    ],
)
def test_older_encodings_and_byte_order_marks(tmp_path: Path, data: bytes, note: str) -> None:
    write(tmp_path, "x-1.csv", data)
    (table,) = read_tables(tmp_path, [TABLE])
    assert table.row("aa1", "1") == {"nsrrid": "aa1", "note": note}


def test_a_missing_table_is_left_out_and_named_unless_optional(tmp_path: Path) -> None:
    wanted = [TABLE, Table("datasets/y-*.csv", "nsrrid", optional=True), Table("z.xls", "n")]
    assert read_tables(tmp_path, wanted) == ()
    assert missing_tables(tmp_path, wanted) == ("datasets/x-*.csv", "z.xls")
    write(tmp_path, "x-1.csv", "nsrrid\n")
    assert missing_tables(tmp_path, wanted) == ("z.xls",)


def test_a_full_path_is_a_glob_too_and_may_hold_brackets(tmp_path: Path) -> None:
    folder = tmp_path / "my [own] tables"
    path = write_csv(folder / "o-2.csv", [{"id": "a", "x": 1}])
    write_csv(folder / "o-1.csv", [{"id": "a", "x": 0}])
    elsewhere = tmp_path / "cohort"
    assert table_path(elsewhere, Table(str(path), "id")) == path
    plain = write_csv(tmp_path / "own" / "o-2.csv", [{"id": "a", "x": 1}])
    write_csv(tmp_path / "own" / "o-1.csv", [{"id": "a", "x": 0}])
    assert table_path(elsewhere, Table(str(tmp_path / "own" / "o-*.csv"), "id")) == plain


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
    path = write_csv(tmp_path / "o.csv", [{"id": "a"}])
    assert table_path(tmp_path / "cohort", Table("~/o.csv", "id")) == path


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "pptid,a\n1,2\n")
    with pytest.raises(DataError, match=r"x-1.csv: no column 'nsrrid' to join by; found pptid, a; set key in a "):
        read_tables(tmp_path, [TABLE])
    for spec in (
        Table("datasets/x-*.csv", "pptid", visit_column="visit"),
        Table("datasets/x-*.csv", "pptid", where={"visit": "1"}),
    ):
        with pytest.raises(DataError, match="no column 'visit' to choose rows by; found pptid, a"):
            read_tables(tmp_path, [spec])
    write(tmp_path, "x-2.csv", "nsrrid;a\n1;2\n")
    with pytest.raises(DataError, match="found nsrrid;a; are its columns separated by ';'. Set delimiter = ';' in a "):
        read_tables(tmp_path, [TABLE])
    write(tmp_path, "x-3.csv", "")
    with pytest.raises(DataError, match="found none"):
        read_tables(tmp_path, [TABLE])


def test_a_missing_column_says_which_setting_to_change_and_where(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "pptid,a\n1,2\n")
    where = "in a [[<cohort>.tables]] of the cohort settings with glob = 'datasets/x-*.csv'"
    cases = {
        "key": (TABLE, f"{where} and visit = '1'"),  # an entry stands for the card's when glob and visit agree
        "visit_column": (Table("datasets/x-*.csv", "pptid", visit_column="visit"), where),
        "where": (Table("datasets/x-*.csv", "pptid", where={"visit": "1"}), where),
    }
    for setting, (spec, place) in cases.items():
        with pytest.raises(DataError) as caught:
            read_tables(tmp_path, [spec])
        assert str(caught.value).endswith(f"found pptid, a; set {setting} {place}")


def test_two_different_rows_for_one_key_are_refused_and_equal_ones_are_not(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,a\naa1,2\nAA2,1\naa1,2\n")
    (table,) = read_tables(tmp_path, [TABLE])
    assert len(table.rows) == 2
    assert table.notes == ()
    write(tmp_path, "x-2.csv", "nsrrid,a\naa1,2\nAA1,3\n")
    with pytest.raises(DataError, match="line 3: a second, different row for nsrrid 'aa1'"):
        read_tables(tmp_path, [TABLE])


@pytest.mark.parametrize(("repeated", "kept"), [("first", "2"), ("last", "4")])
def test_stages_keeps_the_last_of_repeated_codes_and_says_so(tmp_path: Path, repeated: str, kept: str) -> None:
    write(tmp_path, "x-1.csv", "code,a\nb1,2\nb2,1\nb1,3\nb1,4\nb2,1\n")
    (table,) = read_tables(tmp_path, [Table("datasets/x-*.csv", "code", repeated=repeated)])  # type: ignore[arg-type]
    row = table.row("B1", None)
    assert row is not None
    assert row["a"] == kept
    assert table.notes == (f"x-1.csv: 2 repeated code; the {repeated} row of each is used",)


def test_only_rows_that_count_are_joined(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "id,visit,n,a\n1,BL,1,x\n1,DX,3.0,y\n1,dx,4,z\n")
    (table,) = read_tables(tmp_path, [Table("datasets/x-*.csv", "id", where={"Visit": "DX", "n": "3"})])
    row = table.row("1", None)
    assert row is not None
    assert row["a"] == "y"


def test_broken_csv_names_the_line(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", 'nsrrid,a\naa1,"2" x\n')
    with pytest.raises(DataError, match=r"x-1.csv: line 2: "):
        read_tables(tmp_path, [TABLE])


def test_short_rows_have_empty_cells_and_long_ones_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,a,b\naa1,1\naa2,1,2,,\n\n,,\n")
    (table,) = read_tables(tmp_path, [TABLE])
    assert [table.row(key, "1") for key in ("aa1", "aa2")] == [
        {"nsrrid": "aa1", "a": "1", "b": ""},
        {"nsrrid": "aa2", "a": "1", "b": "2"},
    ]
    write(tmp_path, "x-2.csv", "nsrrid,a\naa1,Smith, J.\n")
    with pytest.raises(DataError, match=r"line 2: 3 cells, but 2 columns"):
        read_tables(tmp_path, [TABLE])


def test_a_table_without_a_header_line(tmp_path: Path) -> None:
    write(tmp_path, "REFERENCE.csv", "A00001,N\nA00002,~\n")
    (table,) = read_tables(tmp_path, [Table("datasets/REFERENCE.csv", "Record", header=["Record", "Label"])])
    assert table.row("a00002", None) == {"record": "A00002", "label": "~"}


def test_columns_lined_up_by_blanks_amid_prose(tmp_path: Path) -> None:
    text = (
        "Additional information about the recordings\n\n# made up\n"
        "Record\tLength\tAHI\tAge\tSex\n\tminutes\t\t\t\n\n"
        "a01\t489   69.6\t51 M\n  a02 528 69.5 38 M\r\nc05 1 0\nb01\t487\t0.24\t44\tF\n"
    )
    write(tmp_path, "info.txt", text)
    columns = ["record", "length", "ahi", "age", "sex"]
    spec = Table("datasets/info.txt", "record", delimiter="whitespace", header=columns, where={"sex": "M"})
    (table,) = read_tables(tmp_path, [spec])
    assert set(table.rows) == {("a01", None), ("a02", None)}
    assert table.row("a02", None) == dict(zip(columns, ["a02", "528", "69.5", "38", "M"]))
    # The title and the header have five words too: rows of no recording, here without the sex M.
    assert table.notes == ("info.txt: 2 lines without 5 columns were skipped",)
    write(tmp_path, "info.txt", "\n# x\nrecord age\na01 51\n")
    (table,) = read_tables(tmp_path, [Table("datasets/info.txt", "record", delimiter="whitespace")])
    assert table.row("a01", None) == {"record": "a01", "age": "51"}


def test_other_delimiters(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid;a\naa1;2,5\n")
    (table,) = read_tables(tmp_path, [Table("datasets/x-*.csv", "nsrrid", delimiter=";")])
    assert table.row("aa1", None) == {"nsrrid": "aa1", "a": "2,5"}
    with pytest.raises(UsageError, match="delimiter is ', ', expected one character or 'whitespace'"):
        read_tables(tmp_path, [Table("datasets/x-*.csv", "nsrrid", delimiter=", ")])


def test_a_repeated_column_is_noted_and_its_first_is_used(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,Age,age,,\naa1,1,2,,\n")
    (table,) = read_tables(tmp_path, [TABLE])
    assert table.row("aa1", "1") == {"nsrrid": "aa1", "age": "1"}
    assert table.notes == ("x-1.csv: column 'age' stands there twice; the first is used",)


def test_columns_of_all_tables(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,Sex (F=1),nsrr_bmi\n")
    write(tmp_path, "y-1.csv", "nsrrid,  b   c\n")
    tables = read_tables(tmp_path, [TABLE, Table("datasets/y-*.csv", "nsrrid")])
    assert columns_of(tables) == {"nsrrid", "sex (f=1)", "nsrr_bmi", "b c"}
    assert absent_columns(tables, ["hwbmi", "NSRR_bmi", "sex (F=1)"]) == ("hwbmi",)


def test_a_row_says_where_it_stands(tmp_path: Path) -> None:
    write(tmp_path, "x-1.csv", 'nsrrid,a\naa0,"two\nlines"\nAA1,2\n')
    (table,) = read_tables(tmp_path, [TABLE])
    row = table.row("aa1", "1")
    assert row is not None
    assert where(row) == "x-1.csv, line 4 (nsrrid AA1)"


def test_a_table_beyond_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "x-1.csv", "nsrrid,a\naa1,1\n")
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"x-1.csv: 0 MB, more than the 0 MB of a table"):
        read_tables(tmp_path, [TABLE])


def test_filled_cells_pass_over_what_means_missing() -> None:
    rows = [{"a": "."}, {"a": "-9.0"}, {"a": "m"}, {"b": "1"}, {"a": "5"}]
    assert filled(rows, "A", ["", ".", "M", "-9"]) == ("5", "A", rows[4])
    assert filled(rows[:3], "a", ["", ".", "M", "-9"]) is None


def test_rows_match_where_every_column_has_its_value() -> None:
    rows = [{"cpap": "1"}, {"site": "GS"}]
    assert row_matches(rows, {"CPAP": "1.0", "site": "gs"})
    assert not row_matches(rows, {"cpap": "1", "site": "st"})
    assert not row_matches(rows, {"other": ""})
    assert not row_matches(rows, {})
