"""What became of each person: events and follow-up times from tables with one row per person.

Times are counted from the recording, in years of 365.25 days. Who had the event before the
recording is prevalent: not at risk, so neither an event nor a time is told. Nothing is guessed: an event
without its time is not censored, and a value that the card does not know stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.card import Clock, Endpoint
from hypnos_bench.cohorts.followup import MISSING, PER_YEAR, check_longest, check_unit
from hypnos_bench.cohorts.rows import Row, filled, number, same, where
from hypnos_bench.cohorts.tables import JoinedTable
from hypnos_bench.cohorts.wide_outcomes import WideTable as WideTable
from hypnos_bench.cohorts.wide_outcomes import read_wide as read_wide
from hypnos_bench.errors import DataError


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one recording.

    Parameters
    ----------
    outcomes : mapping of str to Outcome
        By endpoint. One that cannot be told has no entry.
    remarks : tuple of str
        Why an endpoint has no entry, or no time. The same words for every recording, to be counted.
    """

    outcomes: Mapping[str, Outcome]
    remarks: tuple[str, ...] = ()


def outcomes_of(
    rows: Sequence[Row],
    clock: Clock,
    endpoints: Iterable[Endpoint],
    visit: str | None,
    missing: Sequence[str] = (),
) -> Outcomes:
    """Outcomes of one recording from its joined rows.

    Parameters
    ----------
    rows : sequence of Row
        In order of preference: the first row that has a column filled is used.
    clock : Clock
    endpoints : iterable of Endpoint
    visit : str, optional
        Of the recording. Where `Clock.offset` names it, times are counted from that day.
    missing : sequence of str
        Cells that mean missing beside those of `followup.MISSING`, in any case.

    Raises
    ------
    DataError
        For an event that is neither among the values of yes nor of no, a time that is no number, or one that is
        longer than any follow-up.
    """
    person = _Person(rows, clock, visit, (*MISSING, *missing))
    outcomes, remarks = {}, []
    for endpoint in endpoints:
        outcome, remark = person.outcome(endpoint)
        if outcome is not None:
            outcomes[endpoint.id] = outcome
        if remark is not None:
            remarks.append(f"{endpoint.id}: {remark}")
    return Outcomes(outcomes, tuple(remarks))


Told = tuple[Outcome | None, str | None]
"""An outcome if it can be told, and what to remark."""

_PREVALENT = Outcome(event=False, time_years=None, prevalent=True)


@dataclass(frozen=True)
class _Person:
    """Joined rows of one recording, and the clock they are read by."""

    rows: Sequence[Row]
    clock: Clock
    visit: str | None
    missing: Sequence[str]

    def outcome(self, endpoint: Endpoint) -> Told:
        column = endpoint.event
        if not any(column.casefold() in row for row in self.rows):
            return None, f"no row with column {column}"
        if any((self.number(name) or 0.0) > 0 for name in endpoint.prevalent):
            return _PREVALENT, None
        found = filled(self.rows, column, self.missing)
        if found is None:
            return None, f"{column} is blank"
        happened = _happened(endpoint, found[0], found[2])
        if not endpoint.time:
            return self.fact(happened)
        start = self.start()
        if start is None:
            return None, f"{self.clock.offset[self.visit or '']} is blank: the day of this recording is not known"
        return self.event(endpoint, start) if happened else self.event_free(endpoint, start)

    def fact(self, happened: bool) -> Told:
        """An outcome that has no time anywhere."""
        if self.visit in self.clock.offset:
            return None, f"has no time, so that it cannot be counted from visit {self.visit}"
        return Outcome(happened, None), None

    def event(self, endpoint: Endpoint, start: float) -> Told:
        times = self.times(endpoint.time)
        if times:
            time = min(times) - start
            return (Outcome(True, self.years(time)) if time > 0 else _PREVALENT), None
        columns = ", ".join(endpoint.time)
        if len(endpoint.time) > 1 and self.visit not in self.clock.offset:
            return Outcome(True, None), f"happened, but none of {columns} is filled: known without a time"
        return None, f"happened, but {columns} is blank: when is not known"

    def event_free(self, endpoint: Endpoint, start: float) -> Told:
        own, ends = self.times(endpoint.time), self.times(self.clock.censor)
        if own and (len(endpoint.time) == 1 or not ends):
            end = min(own)
        elif ends:
            end = ends[0]  # columns in order of preference
        else:
            columns = dict.fromkeys([*endpoint.time, *self.clock.censor])
            return None, f"did not happen, but {', '.join(columns)} is blank: the end of follow-up is not known"
        time = end - start
        if time <= 0:
            return None, "did not happen, but follow-up ended at or before this recording"
        return Outcome(False, self.years(time)), None

    def start(self) -> float | None:
        """Day of the recording on the clock of the tables, ``None`` when it is not known.

        An offset may also be a number, for visits that follow each other by a known time.
        """
        offset = self.clock.offset.get(self.visit) if self.visit is not None else None
        if offset is None:
            return 0.0
        fixed = number(offset)
        return fixed if fixed is not None else self.number(offset, time=True)

    def times(self, columns: Iterable[str]) -> list[float]:
        """Times of the columns that are filled."""
        values = (self.number(column, time=True) for column in columns)
        return [value for value in values if value is not None]

    def number(self, column: str, *, time: bool = False) -> float | None:
        found = filled(self.rows, column, self.missing)
        if found is None:
            return None
        cell, _, row = found
        value = number(cell)
        if value is None:
            wanted = f"a number of {self.clock.unit}" if time else "a number"
            raise DataError(
                f"{where(row)}: {column} is {cell!r}, expected {wanted} (missing cells: [covariates] missing)"
            )
        if time:
            check_unit(value, self.clock.unit, self.clock.max_years, f"{where(row)}: {column}")
        return value

    def years(self, time: float) -> float:
        return time / PER_YEAR[self.clock.unit]


def _happened(endpoint: Endpoint, cell: str, row: Row) -> bool:
    yes = any(_is(cell, value) for value in endpoint.happened)
    no = any(_is(cell, value) for value in endpoint.not_happened)
    if yes == no:
        which = "both under" if yes else "neither under"
        raise DataError(
            f"{where(row)}: {endpoint.event} is {cell!r}, which [[outcomes]] {endpoint.id} lists {which} "
            f"happened ({', '.join(endpoint.happened)}) {'and' if yes else 'nor'} under "
            f"not_happened ({', '.join(endpoint.not_happened)})"
        )
    return yes


def _is(cell: str, value: str) -> bool:
    if value.replace(" ", "") != ">0":
        return same(cell, value)
    count = number(cell)
    return count is not None and count > 0


def check_outcomes(
    tables: Sequence[JoinedTable],
    clock: Clock,
    endpoints: Sequence[Endpoint],
    used: Iterable[tuple[str | None, Sequence[Row]]],
) -> tuple[str, ...]:
    """What only all rows together show: a wrong unit, and visits that share a clock. Returns remarks.

    Parameters
    ----------
    tables : sequence of JoinedTable
    clock : Clock
    endpoints : sequence of Endpoint
    used : iterable of (str or None, sequence of Row)
        Visit and joined rows of every recording.

    Raises
    ------
    DataError
        When all times are so short that they are years called days, or when recordings of two visits take
        their times from one row, none of them restarting the clock.
    """
    columns = {name.casefold() for endpoint in endpoints for name in endpoint.time}
    if not columns:
        return ()
    columns |= {name.casefold() for name in clock.censor}
    _check_visits(columns, clock, used)
    cells = (row.get(column, "") for table in tables for row in table.rows.values() for column in columns)
    longest = max((value for cell in cells if (value := number(cell)) is not None), default=0.0)
    return check_longest(longest, clock.unit, clock.max_years)


def _check_visits(columns: set[str], clock: Clock, used: Iterable[tuple[str | None, Sequence[Row]]]) -> None:
    visits: dict[int, tuple[str | None, Row]] = {}
    for visit, rows in used:
        if visit in clock.offset:
            continue
        for row in rows:
            if columns.isdisjoint(row):
                continue
            first, _ = visits.setdefault(id(row), (visit, row))
            if first != visit:
                raise DataError(
                    f"{where(row)}: one row of times for visits {first} and {visit}, which were not on one day: "
                    f'set [clock] offset = {{"{visit}" = "column of its day"}}, or the number of {clock.unit} itself'
                )
