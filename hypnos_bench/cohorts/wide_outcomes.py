"""Outcomes in two wide tables, one column per endpoint, as SleepFM lays them out.

Who had the event at or before the recording (a time of zero or below) is prevalent. SleepFM itself
calls positive only what came more than 7 days after the recording, and its tables say nothing about
who had it before; whether they were made so cannot be seen, and no rule of days is added here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.card import Clock, WideOutcomes
from hypnos_bench.cohorts.followup import MISSING, PER_YEAR, check_longest, check_unit
from hypnos_bench.cohorts.tables import read_csv_lines
from hypnos_bench.errors import DataError
from hypnos_bench.spec import digest

_BLANK = frozenset(word.casefold() for word in MISSING)
UNTOLD, EVENT_FREE, EVENT, PREVALENT = -1, 0, 1, 2
"""What a cell says: nothing, followed without the event, the event, had it before the recording."""


class WideRow(Mapping[str, Outcome]):
    """Outcomes of one recording, made when they are asked for: SleepFM has 1,065 for each.

    Parameters
    ----------
    place : mapping of str to int
        Endpoint to its place; one mapping for all rows of a table.
    codes : ndarray of int8, shape (n_endpoints,)
        `UNTOLD`, `EVENT_FREE`, `EVENT` or `PREVALENT`.
    years : ndarray of float64, shape (n_endpoints,)
        Means something where the code is `EVENT_FREE` or `EVENT`.
    names : str
        Digest of the endpoints, made once per table.
    """

    __slots__ = ("_names", "codes", "place", "years")

    def __init__(
        self, place: Mapping[str, int], codes: NDArray[np.int8], years: NDArray[np.float64], names: str
    ) -> None:
        self.place, self.codes, self.years, self._names = place, codes, years, names

    def digest(self) -> str:
        """Of everything the row says; cheap, unlike its outcomes one by one."""
        told = np.where((self.codes == EVENT_FREE) | (self.codes == EVENT), self.years, 0.0)
        return hashlib.sha256(self._names.encode() + self.codes.tobytes() + told.tobytes()).hexdigest()

    def __getitem__(self, endpoint: str) -> Outcome:
        i = self.place[endpoint]
        code = int(self.codes[i])
        if code == UNTOLD:
            raise KeyError(endpoint)
        if code == PREVALENT:
            return Outcome(event=False, time_years=None, prevalent=True)
        return Outcome(event=code == EVENT, time_years=float(self.years[i]))

    def __iter__(self) -> Iterator[str]:
        return (name for name, i in self.place.items() if self.codes[i] != UNTOLD)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.codes != UNTOLD))


_NOBODY = WideRow({}, np.empty(0, dtype=np.int8), np.empty(0), "")


@dataclass(frozen=True)
class WideTable:
    """Wide outcomes by recording.

    Parameters
    ----------
    spec : WideOutcomes
    endpoints : mapping of str to int
        Column names (phecodes such as ``"8.5"``, and words such as ``"death"``) to their places.
    place : mapping of str to int
        Recording, case folded, to its row.
    codes : ndarray of int8, shape (n_recordings, n_endpoints)
    years : ndarray of float64, shape (n_recordings, n_endpoints)
    persons : mapping of str to mapping of str to float
        Recording, case folded, to demographics.
    remarks : tuple of str
        What could not be told, with counts.
    """

    spec: WideOutcomes
    endpoints: Mapping[str, int]
    place: Mapping[str, int]
    codes: NDArray[np.int8]
    years: NDArray[np.float64]
    persons: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def outcomes(self, key: str) -> Mapping[str, Outcome]:
        """Outcomes of a recording, none when the tables lack it; `key` is what `WideOutcomes.match` makes of it."""
        row = self.place.get(key.strip().casefold())
        return _NOBODY if row is None else WideRow(self.endpoints, self.codes[row], self.years[row], self._names)

    @cached_property
    def _names(self) -> str:
        return digest(list(self.endpoints))

    def demographics(self, key: str) -> dict[str, float]:
        """Age, gender and what else the table of persons holds, as it stands there.

        Ages scaled to at most 1, as SleepFM has them, are called ``age_scaled``.
        """
        return dict(self.persons.get(key.strip().casefold(), {}))


def read_wide(spec: WideOutcomes, base: Path) -> WideTable:
    """Read both tables, and the demographics where they are given.

    Raises
    ------
    DataError
        When a table is missing or damaged, the two differ in recordings or columns, an event is not 0, 1 or
        blank, or times do not fit the unit.
    """
    events = _read(base / Path(spec.is_event).expanduser(), spec.key)
    times = _read(base / Path(spec.time_to_event).expanduser(), spec.key)
    for kind, a, b in (("column", events.columns, times.columns), (spec.key, events.place, times.place)):
        _refuse_difference(kind, events.path, a, times.path, b)
    _check_events(events)
    order = np.array([times.place[key] for key in events.place], dtype=np.intp)
    columns = np.array([times.columns[name] for name in events.columns], dtype=np.intp)
    time = times.values[order][:, columns] if order.size else times.values
    remarks = _check_times(events, times, time, spec.unit)
    happened, known = events.values == 1, ~(np.isnan(events.values) | np.isnan(time))
    codes = np.full(time.shape, UNTOLD, dtype=np.int8)
    codes[known & happened] = EVENT
    codes[known & ~happened & (time > 0)] = EVENT_FREE
    codes[known & happened & (time <= 0)] = PREVALENT
    counts = {
        "whether it happened is blank": np.isnan(events.values),
        "happened, but its time is blank": happened & np.isnan(time),
        "did not happen, but the end of follow-up is blank": (events.values == 0) & np.isnan(time),
        "did not happen, but follow-up ended at or before the recording": (events.values == 0) & (time <= 0),
    }
    remarks += [f"{events.path.name}: {n} cells: {why}" for why, which in counts.items() if (n := int(which.sum()))]
    persons, note = _demographics(spec, base)
    return WideTable(spec, events.columns, events.place, codes, time / PER_YEAR[spec.unit], persons, (*remarks, *note))


class _Numbers(NamedTuple):
    """A table of numbers: columns and rows by name; blank cells are NaN."""

    path: Path
    columns: dict[str, int]
    place: dict[str, int]
    values: NDArray[np.float64]


def _read(path: Path, key: str) -> _Numbers:
    if not path.is_file():
        raise DataError(f"{path}: no such table of outcomes")
    lines = read_csv_lines(path)
    header = [name.strip() for name in next((cells for _, cells in lines), [])]
    at = next((i for i, name in enumerate(header) if name.casefold() == key.casefold()), None)
    if at is None:
        raise DataError(f"{path}: no column {key!r}; found {', '.join(header[:8]) or 'none'}")
    names = [*header[:at], *header[at + 1 :]]
    columns = {name: i for i, name in enumerate(names)}
    if len(columns) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: column {twice!r} stands there twice")
    place: dict[str, int] = {}
    values: list[NDArray[np.float64]] = []
    for line, cells in lines:
        if len(cells) != len(header):
            raise DataError(f"{path}: line {line}: {len(cells)} cells, but {len(header)} columns; is the file cut off?")
        recording = cells.pop(at).strip().casefold()
        if place.setdefault(recording, len(place)) != len(values):
            raise DataError(f"{path}: line {line}: a second row for {key} {recording!r}")
        values.append(_numbers(cells, names, f"{path}: line {line}"))
    array = np.stack(values) if values else np.empty((0, len(names)))
    return _Numbers(path, columns, place, array)


def _numbers(cells: Sequence[str], names: Sequence[str], where: str) -> NDArray[np.float64]:
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        values = np.array([_one(cell, name, where) for cell, name in zip(cells, names, strict=True)])
    if np.isinf(values).any():
        raise DataError(f"{where}: column {names[int(np.isinf(values).argmax())]!r} is infinite")
    return values


def _one(cell: str, name: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        if cell.strip().casefold() in _BLANK:
            return float("nan")
        raise DataError(f"{where}: column {name!r} is {cell!r}, expected a number or a blank cell") from None


def _refuse_difference(kind: str, path: Path, a: Mapping[str, int], other: Path, b: Mapping[str, int]) -> None:
    for names, lacking, having in ((a, other, path), (b, path, other)):
        known = b if names is a else a
        name = next((name for name in names if name not in known), None)
        if name is not None:
            raise DataError(
                f"{lacking}: no {kind} {name!r}, which {having.name} has; both need the same rows and columns"
            )


def _check_events(events: _Numbers) -> None:
    strange = ~(np.isnan(events.values) | (events.values == 0) | (events.values == 1))
    if strange.any():
        raise DataError(f"{_cell(events, strange)} is {events.values[strange][0]:g}, expected 0, 1 or a blank cell")


def _check_times(events: _Numbers, times: _Numbers, time: NDArray[np.float64], unit: str) -> list[str]:
    """Stop where times do not fit their unit."""
    largest = np.nanmax(np.abs(time), initial=0.0)
    aligned = _Numbers(times.path, events.columns, events.place, time)
    check_unit(float(largest), unit, Clock.max_years, _cell(aligned, np.abs(time) == largest))
    return list(check_longest(float(np.nanmax(time, initial=0.0)), unit, Clock.max_years))


def _cell(table: _Numbers, which: NDArray[np.bool_]) -> str:
    """Where the first of some cells stands."""
    if not which.any():
        return str(table.path)
    row, column = np.unravel_index(int(which.argmax()), which.shape)
    return f"{table.path}: {list(table.place)[row]}: column {list(table.columns)[column]!r}"


def _demographics(spec: WideOutcomes, base: Path) -> tuple[dict[str, dict[str, float]], tuple[str, ...]]:
    if spec.demographics is None:
        return {}, ()
    table = _read(base / Path(spec.demographics).expanduser(), spec.key)
    names = [name.casefold() for name in table.columns]
    note: tuple[str, ...] = ()
    if "age" in names and np.nanmax(table.values[:, names.index("age")], initial=0.0) <= 1:
        names[names.index("age")] = "age_scaled"
        note = (f"{table.path.name}: no age is above 1: scaled, so it is kept as age_scaled and not as years",)
    rows = {
        key: {name: float(value) for name, value in zip(names, table.values[row], strict=True) if not np.isnan(value)}
        for key, row in table.place.items()
    }
    return rows, note
