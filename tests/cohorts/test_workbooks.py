from __future__ import annotations

import builtins
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hypnos_bench.cohorts import workbooks
from hypnos_bench.cohorts.card import Table
from hypnos_bench.cohorts.tables import read_tables
from hypnos_bench.cohorts.workbooks import read_workbook
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.errors import DataError, UsageError

SUBJECTS = [["subject", "night", "age", "sex (F=1)"], [0, 1, 33, 1], [0, 2, 33.5, 1], [7, 1, "?", 2]]
AS_TEXT = [
    ["subject", "night", "age", "sex (F=1)"],
    ["0", "1", "33", "1"],
    ["0", "2", "33.5", "1"],
    ["7", "1", "?", "2"],
]
TABLE = Table("SC-subjects.xls", "subject", transform="int", visit_column="night")


def write_xls(path: Path, rows: list[list[Any]]) -> Path:
    """A BIFF2 sheet, the plainest form that Excel ever wrote: NUMBER and LABEL records between BOF and EOF."""

    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    stream = record(0x0009, struct.pack("<HH", 7, 0x10))
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            place = struct.pack("<HHBBB", i, j, 0, 0, 0)
            if isinstance(cell, str):
                text = cell.encode("latin-1")
                stream += record(0x0004, place + bytes([len(text)]) + text)
            else:
                stream += record(0x0003, place + struct.pack("<d", cell))
    path.write_bytes(stream + record(0x000A, b""))
    return path


def write_xlsx(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra 'excel' is not installed")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_an_old_workbook_reads_as_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xlrd", reason="the extra 'excel' is not installed")
    assert read_workbook(write_xls(tmp_path / "a.xls", SUBJECTS)) == AS_TEXT
    assert capfd.readouterr() == ("", "")


def test_a_new_workbook_reads_as_text(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", {"first": SUBJECTS, "second": [["NA", None, "  x "], [True, 0.1, 1e6]]})
    assert read_workbook(path) == AS_TEXT
    assert read_workbook(path, "second") == [["NA", "", "x"], ["True", "0.1", "1000000"]]
    with pytest.raises(DataError, match=r"a.xlsx: no sheet 'third'; found 'first', 'second'"):
        read_workbook(path, "third")


def test_sleep_edf_subjects_join_by_subject_and_night(tmp_path: Path) -> None:
    pytest.importorskip("xlrd", reason="the extra 'excel' is not installed")
    write_xls(tmp_path / "SC-subjects.xls", SUBJECTS)
    (table,) = read_tables(tmp_path, [TABLE])
    assert table.row("00", "2") == {"subject": "0", "night": "2", "age": "33.5", "sex (f=1)": "1"}
    assert table.row("00", "3") is None


def test_a_header_of_two_lines_is_named_by_the_card(tmp_path: Path) -> None:
    pytest.importorskip("xlrd", reason="the extra 'excel' is not installed")
    rows = [
        ["Subject - age - sex", "", "", "Placebo"],
        ["Nr", "Age", "M1/F2", "night nr"],
        [1, 60, 1, 1],
        [2, 35, 2, 2],
    ]
    write_xls(tmp_path / "ST-subjects.xls", rows)
    spec = Table("ST-subjects.xls", "nr", transform="int", header=["nr", "age", "sex"])
    (table,) = read_tables(tmp_path, [spec])
    assert {key: dict(row) for (key, _), row in table.rows.items()} == {
        "1": {"nr": "1", "age": "60", "sex": "1"},
        "2": {"nr": "2", "age": "35", "sex": "2"},
    }


def test_a_csv_twin_wins_over_the_workbook_and_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "SC-subjects.xls").write_bytes(b"never opened")
    write_csv(tmp_path / "SC-subjects.csv", [{"subject": 3, "night": 1, "age": 40}])
    for _ in range(2):
        (table,) = read_tables(tmp_path, [TABLE])
        assert table.row("03", "1") == {"subject": "3", "night": "1", "age": "40"}
        (tmp_path / "SC-subjects.xls").unlink(missing_ok=True)


def test_the_twin_of_an_older_version_does_not_win(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "d-2.xlsx", {"s": [["id", "a"], [1, "new"]]})
    write_csv(tmp_path / "d-1.csv", [{"id": 1, "a": "old"}])
    (table,) = read_tables(tmp_path, [Table("d-*.xlsx", "id")])
    assert table.path == path


@pytest.mark.parametrize("name", ["SC-subjects.xls", "SC-subjects.xlsx"])
def test_a_missing_library_names_the_extra_and_the_way_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    true_import = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.split(".")[0] in ("openpyxl", "xlrd"):
            raise ImportError(module)
        return true_import(module, *args, **kwargs)

    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("x", "y")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError) as caught:
        read_workbook(tmp_path / name)
    assert str(caught.value) == (
        f"table {name} needs: pip install 'hypnos-bench[excel]', or save it as SC-subjects.csv beside it"
    )


@pytest.mark.parametrize(("name", "library"), [("a.xls", "xlrd"), ("a.xlsx", "openpyxl")])
def test_what_is_no_workbook_is_refused(tmp_path: Path, name: str, library: str) -> None:
    pytest.importorskip(library, reason="the extra 'excel' is not installed")
    (tmp_path / name).write_bytes(b"subject,age\n1,2\n")
    with pytest.raises(DataError, match=f"{name}: not a workbook that can be read"):
        read_workbook(tmp_path / name)


def test_a_zip_that_unpacks_to_more_than_a_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbooks, "MAX_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 2**21)
    assert (tmp_path / "a.xlsx").stat().st_size < 2**14
    with pytest.raises(DataError, match=r"a.xlsx: 2 MB unpacked, more than the 1 MB of a table"):
        read_workbook(tmp_path / "a.xlsx")
