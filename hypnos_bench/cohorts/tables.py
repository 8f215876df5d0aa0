"""Tables of a cohort: the newest version of each CSV, joined to recordings by id."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.layouts import Covariates, Flag, Table
from hypnos_bench.errors import DataError

Row = Mapping[str, str]

_VERSION = re.compile(r"(\d+(?:\.\d+)*)$")


@dataclass(frozen=True)
class JoinedTable:
    """Rows of one CSV by key (and visit, where the table has a visit column)."""

    table: Table
    path: Path
    rows: Mapping[tuple[str, str | None], Row]

    def row(self, person: str, visit: str | None) -> Row | None:
        """Row of a person at a visit, or ``None``."""
        if self.table.visit is not None and self.table.visit != visit:
            return None
        key = _key(person, self.table)
        return self.rows.get((key, visit if self.table.visit_column else None)) if key is not None else None


def read_tables(base: Path, tables: Iterable[Table]) -> tuple[JoinedTable, ...]:
    """Read the tables that are there, newest version of each; a missing one is left out.

    Raises
    ------
    DataError
        When a table lacks its key column, or has two different rows for one key.
    """
    found = ((table, newest(base.glob(table.glob))) for table in tables)
    return tuple(_read_table(table, path) for table, path in found if path is not None)


def newest(paths: Iterable[Path]) -> Path | None:
    """Path with the highest version number at the end of its stem (0.10.0 above 0.9.0), or ``None``."""
    return max((p for p in paths if not p.name.startswith(".")), key=_version, default=None)


def _version(path: Path) -> tuple[tuple[int, ...], str]:
    match = _VERSION.search(path.stem)
    return (tuple(int(part) for part in match[1].split(".")) if match else (), path.name)


def _read_table(table: Table, path: Path) -> JoinedTable:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # older exports; only free-text cells differ
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: dict[tuple[str, str | None], Row] = {}
    try:
        columns = {name.strip().casefold(): name for name in reader.fieldnames or ()}
        for name in (table.key, table.visit_column):
            if name is not None and name.casefold() not in columns:
                seen = ", ".join(list(columns)[:8]) or "none"
                raise DataError(f"{path}: no column {name!r} to join by; found {seen}")
        for raw in reader:
            row = {name: (raw[original] or "").strip() for name, original in columns.items()}
            key = _key(row[table.key.casefold()], table)
            if key is None:
                continue
            visit = row[table.visit_column.casefold()] if table.visit_column else None
            if rows.setdefault((key, visit), row) != row:
                raise DataError(f"{path}: line {reader.line_num}: a second, different row for {table.key} {key!r}")
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.reader.line_num}: {error}") from error
    return JoinedTable(table, path, rows)


def _key(cell: str, table: Table) -> str | None:
    """Form in which ids are compared, or ``None`` for a cell that holds no id."""
    if table.transform == "fold":
        return cell.strip().casefold() or None
    number = _number(cell)
    return str(int(number)) if number is not None and number == int(number) else None


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def covariates_of(rows: Sequence[Row], spec: Covariates) -> dict[str, Any]:
    """House-named covariates of one recording: numbers as float, other cells as text, missing ones left out."""
    result = dict(spec.constants)
    missing = {word.casefold() for word in spec.missing}
    for name, columns in spec.columns.items():
        cells = (row[column.casefold()] for column in columns for row in rows if column.casefold() in row)
        cell = next((c for c in cells if c.casefold() not in missing), None)
        if cell is not None:
            number = _number(cell)
            result[name] = spec.values.get(name, {}).get(cell, cell if number is None else number)
    return result


def flags_of(rows: Sequence[Row], flags: Iterable[Flag]) -> dict[str, str]:
    """Label kind to the reason why flagged cells rule it out; the first flag's reason is kept."""
    unusable: dict[str, str] = {}
    for flag in flags:
        cells = [row[flag.column.casefold()] for row in rows if flag.column.casefold() in row]
        if any(_same(cell, flag.value) for cell in cells):
            for kind in flag.scope:
                unusable.setdefault(kind, flag.reason)
    return unusable


def _same(cell: str, value: str) -> bool:
    a, b = _number(cell), _number(value)
    return a == b if a is not None and b is not None else cell.casefold() == value.casefold()
