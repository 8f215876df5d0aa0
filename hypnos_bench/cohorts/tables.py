"""Tables of a cohort: the newest version of each, joined to recordings by id."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypnos_bench.cohorts.card import Table
from hypnos_bench.cohorts.rows import Row, TableRow, number, same
from hypnos_bench.cohorts.workbooks import MAX_BYTES, SUFFIXES, read_workbook
from hypnos_bench.errors import DataError, UsageError

MAX_KEY_CHARACTERS = 200
"""A longer cell is no id."""

WHITESPACE = "whitespace"
"""`Table.delimiter` of columns lined up by blanks."""

_VERSION = re.compile(r"(?:(?<!\d)(?P<date>(?:19|20)\d\d([-_.]?)[01]\d\2[0-3]\d)|(?P<number>\d+(?:\.\d+)*))$")
"""End of a file's name: a day (2025-05-06, 20231101) or a version (0.10.0)."""


@dataclass(frozen=True)
class JoinedTable:
    """Rows of one table by key (and visit, where the table has a visit column).

    Parameters
    ----------
    table : Table
    path : Path
        File that was read.
    columns : tuple of str
        Case folded, in the order of the file.
    rows : mapping of (str, str or None) to Row
    notes : tuple of str
        What was left out or chosen in reading, with counts.
    """

    table: Table
    path: Path
    columns: tuple[str, ...]
    rows: Mapping[tuple[str, str | None], Row]
    notes: tuple[str, ...] = ()

    def concerns(self, visit: str | None) -> bool:
        """Whether the table can have a row for a recording of this visit."""
        return self.table.visit is None or self.table.visit == visit

    def row(self, key: str, visit: str | None) -> Row | None:
        """Row of a recording, or ``None``; `key` is what `Table.match` makes of it."""
        if not self.concerns(visit):
            return None
        joined = join_key(key, self.table)
        return self.rows.get((joined, _visit(visit) if self.table.visit_column else None)) if joined else None


def read_tables(base: Path, tables: Iterable[Table]) -> tuple[JoinedTable, ...]:
    """Read the tables that are there, newest version of each; a missing one is left out.

    Raises
    ------
    DataError
        When a table is too large or damaged, lacks a column to join by, or has two different rows for one key.
    UsageError
        When a workbook needs a library that is not installed.
    """
    found = ((table, table_path(base, table)) for table in tables)
    return tuple(_read_table(table, path) for table, path in found if path is not None)


def missing_tables(base: Path, tables: Iterable[Table]) -> tuple[str, ...]:
    """Patterns of the tables that a complete download has and this one lacks."""
    return tuple(table.glob for table in tables if not table.optional and table_path(base, table) is None)


def columns_of(tables: Iterable[JoinedTable]) -> frozenset[str]:
    """Columns, case folded, of all tables together."""
    return frozenset(column for table in tables for column in table.columns)


def absent_columns(tables: Iterable[JoinedTable], names: Iterable[str]) -> tuple[str, ...]:
    """Those of some columns that no table has."""
    known = columns_of(tables)
    return tuple(name for name in names if name.casefold() not in known)


def table_path(base: Path, table: Table) -> Path | None:
    """File of a table, newest version first, or ``None``. A CSV of the same stem stands for a workbook."""
    pattern = Path(table.glob).expanduser()
    if pattern.is_absolute():
        base, pattern = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
    patterns = [pattern]
    if pattern.suffix.casefold() in SUFFIXES:
        patterns.append(pattern.with_suffix(".csv"))
    named = [path for p in patterns if (path := base / p).is_file()]  # a name may hold brackets
    return newest(named or [path for p in patterns for path in base.glob(str(p)) if path.is_file()])


def newest(paths: Iterable[Path]) -> Path | None:
    """Path with the highest version or latest day at the end of its stem (0.10.0 above 0.9.0), or ``None``.

    Days are told from versions, however they are written. Of equal stems a CSV comes before a workbook.
    """
    return max((p for p in paths if not p.name.startswith(".")), key=_version, default=None)


def _version(path: Path) -> tuple[tuple[int, ...], str, bool, str]:
    return (_version_number(path.stem), path.stem, path.suffix.casefold() not in SUFFIXES, str(path))


def _version_number(stem: str) -> tuple[int, ...]:
    """Version at the end of a name, a day as year, month and day; empty without one."""
    match = _VERSION.search(stem)
    if match is None:
        return ()
    if match["number"]:
        return tuple(int(part) for part in match["number"].split("."))
    digits = re.sub(r"\D", "", match["date"])
    return int(digits[:4]), int(digits[4:6]), int(digits[6:])


def join_key(cell: str, table: Table) -> str | None:
    """Form in which ids are compared, or ``None`` for a cell that holds no id."""
    cell = cell.strip()
    if len(cell) > MAX_KEY_CHARACTERS:
        return None
    if table.transform == "fold":
        return cell.casefold() or None
    if cell.isdecimal():
        return str(int(cell))
    value = number(cell)
    return str(int(value)) if value is not None and value == int(value) else None


def _visit(cell: str | None) -> str:
    """Form in which visits are compared."""
    value = number(cell or "")
    return f"{value:g}" if value is not None else (cell or "").strip().casefold()


@dataclass(frozen=True)
class _Columns:
    """Where the columns of a table are, and which of them rows are joined by."""

    names: tuple[str, ...]
    place: Mapping[str, int]
    key: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, table: Table, path: Path, header: Sequence[str]) -> _Columns:
        names = tuple(" ".join(name.split()).casefold() for name in header)
        counts = Counter(name for name in names if name)
        twice = sorted(name for name, count in counts.items() if count > 1)
        notes = tuple(f"{path.name}: column {name!r} stands there twice; the first is used" for name in twice)
        place = {name: i for i, name in reversed(list(enumerate(names))) if name}
        keys = [table.key] if isinstance(table.key, str) else list(table.key)
        key = next((name for name in keys if name.casefold() in place), None)
        if key is None:
            raise _no_column(table, path, (" or ".join(map(repr, keys)), "to join by", "key"), names)
        needed = [*([(table.visit_column, "visit_column")] if table.visit_column else [])]
        for name, setting in (*needed, *((column, "where") for column in table.where)):
            if name.casefold() not in place:
                raise _no_column(table, path, (repr(name), "to choose rows by", setting), names)
        return cls(tuple(name for name in dict.fromkeys(names) if name), place, key, notes)

    def row(self, path: Path, line: int, cells: Sequence[str]) -> TableRow:
        key = cells[self.place[self.key.casefold()]]
        return TableRow(self.place, tuple(cells), f"{path.name}, line {line} ({self.key} {key})")


def _no_column(table: Table, path: Path, wanted: tuple[str, str, str], names: Sequence[str]) -> DataError:
    """Error for a column that is not there; `wanted` is the column, what for, and the setting that names it."""
    column, purpose, setting = wanted
    shown = [name for name in names if name]
    other = next((mark for mark in (";", "\t", "|") if len(shown) == 1 and mark in shown[0]), None)
    hint = f"are its columns separated by {other!r}? Set delimiter = {other!r}" if other else f"set {setting}"
    same = f"glob = {table.glob!r}" + (f" and visit = {table.visit!r}" if table.visit is not None else "")
    return DataError(
        f"{path}: no column {column} {purpose}; found {', '.join(shown[:8]) or 'none'}; {hint} "
        f"in a [[<cohort>.tables]] of the cohort settings with {same}"
    )


def _read_table(table: Table, path: Path) -> JoinedTable:
    lines = _lines(table, path)
    header: Sequence[str] = table.header or next((cells for _, cells in lines if any(cells)), [])
    columns = _Columns.of(table, path, header)
    rows: dict[tuple[str, str | None], TableRow] = {}
    shared: dict[str, str] = {}  # most cells are codes: one copy of each keeps wide tables small
    repeated = skipped = 0
    for line, cells in lines:
        if not any(cells):
            continue
        fitted = _fit(table, path, line, cells, len(header))
        if fitted is None:
            skipped += 1
            continue
        row = columns.row(path, line, list(map(shared.setdefault, fitted, fitted)))
        key = join_key(row[columns.key.casefold()], table)
        if key is None or not all(same(row[name.casefold()], value) for name, value in table.where.items()):
            continue
        visit = _visit(row[table.visit_column.casefold()]) if table.visit_column else None
        known = rows.setdefault((key, visit), row)
        if known.cells != row.cells:
            if table.repeated == "refuse":
                raise DataError(f"{path}: line {line}: a second, different row for {columns.key} {key!r}")
            repeated += 1
            if table.repeated == "last":
                rows[key, visit] = row
    notes = list(columns.notes)
    if repeated:
        notes.append(f"{path.name}: {repeated} repeated {columns.key}; the {table.repeated} row of each is used")
    if skipped:
        notes.append(f"{path.name}: {skipped} lines without {len(header)} columns were skipped")
    return JoinedTable(table, path, columns.names, rows, tuple(notes))


def _fit(table: Table, path: Path, line: int, cells: list[str], width: int) -> list[str] | None:
    """As many cells as there are columns; ``None`` for prose around columns lined up by blanks."""
    if len(cells) == width:
        return cells
    if table.delimiter == WHITESPACE:
        return None
    if path.suffix.casefold() not in SUFFIXES and any(cells[width:]):
        raise DataError(
            f"{path}: line {line}: {len(cells)} cells, but {width} columns; is a text with a comma unquoted?"
        )
    return (cells + [""] * (width - len(cells)))[:width]


def _lines(table: Table, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells."""
    if path.suffix.casefold() in SUFFIXES:
        yield from enumerate(read_workbook(path, table.sheet), start=1)
    elif table.delimiter == WHITESPACE:
        for line, text in enumerate(io.StringIO(read_text(path)), start=1):
            if not text.lstrip().startswith("#"):
                yield line, text.split()
    else:
        yield from ((line, [cell.strip() for cell in cells]) for line, cells in read_csv_lines(path, table.delimiter))


def read_csv_lines(path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of a text table, blank lines left out.

    Raises
    ------
    DataError
        For a file that is too large, or quoted wrongly.
    """
    if len(delimiter) != 1:
        raise UsageError(f"table {path.name}: delimiter is {delimiter!r}, expected one character or {WHITESPACE!r}")
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, delimiter=delimiter)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from error


def read_text(path: Path) -> str:
    """Text of a table in UTF-8, in UTF-16 with its mark, or in the windows-1252 of older exports.

    Raises
    ------
    DataError
        For a file that is too large.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{path}: {size / 2**20:.0f} MB, more than the {MAX_BYTES // 2**20} MB of a table")
    data = path.read_bytes()
    encodings = ["utf-16"] if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "windows-1252"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")  # cannot fail; only free-text cells differ
