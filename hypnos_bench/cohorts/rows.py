"""One row of a table, and how cells are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

Row = Mapping[str, str]
"""Cells of one row by case-folded column; an empty cell is ``""``."""


class TableRow(Row):
    """A row that shares its columns with the others of its table: SHHS has 7 million cells.

    Parameters
    ----------
    place : mapping of str to int
        Column to its place in `cells`.
    cells : tuple of str
    where : str
        File, line and id, for messages.
    """

    __slots__ = ("_place", "cells", "where")

    def __init__(self, place: Mapping[str, int], cells: tuple[str, ...], where: str) -> None:
        self._place = place
        self.cells = cells
        self.where = where

    def __getitem__(self, column: str) -> str:
        return self.cells[self._place[column]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)


def where(row: Row) -> str:
    """File, line and id of a row, for messages."""
    return row.where if isinstance(row, TableRow) else "a table"


def number(cell: str) -> float | None:
    """Finite number in a cell, or ``None``."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in cell else None


def same(cell: str, value: str) -> bool:
    """Whether a cell holds a value: numbers compared as numbers, text in any case."""
    if cell.casefold() == value.casefold():
        return True
    a, b = number(cell), number(value)
    return a is not None and a == b


def filled(rows: Iterable[Row], column: str, missing: Sequence[str]) -> tuple[str, str, Row] | None:
    """First cell of a column that says something, with the column and its row; ``None`` without one."""
    words, numbers = _missing(tuple(missing))
    for row in rows:
        cell = row.get(column.casefold())
        if cell is not None and cell.casefold() not in words and not (numbers and number(cell) in numbers):
            return cell, column, row
    return None


@lru_cache(maxsize=64)
def _missing(words: tuple[str, ...]) -> tuple[frozenset[str], frozenset[float]]:
    numbers = frozenset(value for word in words if (value := number(word)) is not None)
    return frozenset(word.casefold() for word in words), numbers


def row_matches(rows: Sequence[Row], wanted: Mapping[str, str]) -> bool:
    """Whether each of some columns has its value in one of the rows; false for no columns."""
    return bool(wanted) and all(
        any(same(row[column.casefold()], value) for row in rows if column.casefold() in row)
        for column, value in wanted.items()
    )
