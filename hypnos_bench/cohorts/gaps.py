"""What a cohort's tables should hold and do not: counts under lines that ``doctor`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from hypnos_bench.cohorts.card import CohortLayout
from hypnos_bench.cohorts.rows import Row, same
from hypnos_bench.cohorts.tables import JoinedTable, absent_columns


class HasRecord(Protocol):
    """Something with codes of a whole recording."""

    @property
    def record(self) -> tuple[str, ...]:
        """Codes."""
        ...


def rows_missing(without: Iterable[tuple[JoinedTable, int]]) -> Counter[str]:
    """Recordings for which a table that should have a row has none."""
    gaps: Counter[str] = Counter()
    for table, count in without:
        if count and not table.table.optional and not table.table.row_required:
            gaps[f"recordings without a row in {table.path.name}"] += count
    return gaps


def groups_missing(
    layout: CohortLayout, tables: Sequence[JoinedTable], n_recordings: int, found: Iterable[Collection[str]]
) -> Counter[str]:
    """Recordings that have a row in none of the tables of a group.

    Parameters
    ----------
    layout : CohortLayout
    tables : sequence of JoinedTable
        Those that were found.
    n_recordings : int
    found : iterable of collection of str
        Per recording the groups in which it has a row.
    """
    gaps: Counter[str] = Counter()
    having = Counter(group for groups in found for group in groups)
    for group in dict.fromkeys(table.group for table in layout.tables if table.group):
        names = [table.path.name for table in tables if table.table.group == group]
        missing = n_recordings - having[group]
        if missing:
            where = f"in {' or '.join(dict.fromkeys(names))}" if names else f"of {group}: no such table was found"
            gaps[f"recordings without a row {where}"] += missing
    return gaps


def columns_missing(
    layout: CohortLayout, tables: Sequence[JoinedTable], visits: Collection[str | None]
) -> Counter[str]:
    """Columns that the card asks for and no table has: covariates, flags of these visits, outcomes, record labels."""
    wanted: list[tuple[str, Sequence[str]]] = []
    if tables:
        wanted += [(f"covariate {name}", columns) for name, columns in layout.covariates.columns.items()]
    wanted += [
        (f"flag ({flag.reason})", [flag.column])
        for flag in layout.flags
        if not flag.optional and flag.visit in {None, *visits}
    ]
    wanted += [(f"outcome {endpoint.id}", [endpoint.event]) for endpoint in layout.outcomes]
    wanted += [(f"time of {e.id}", e.time) for e in layout.outcomes if e.time]
    if layout.record is not None:
        wanted.append(("label of the recording", [layout.record.column]))
    return Counter(
        f"{what}: no table has a column {' or '.join(columns)}"
        for what, columns in wanted
        if len(absent_columns(tables, columns)) == len(columns)
    )


def unknown_values(layout: CohortLayout, rows: Iterable[Sequence[Row]]) -> Counter[str]:
    """Cells of flag columns whose value the card does not know, so that the flag might have been meant."""
    known: dict[str, list[str]] = {}
    for flag in layout.flags:
        if flag.known:
            known.setdefault(flag.column.casefold(), ["", *layout.covariates.missing]).extend([flag.value, *flag.known])
    for flag in layout.flags:
        known.get(flag.column.casefold(), []).append(flag.value)
    gaps: Counter[str] = Counter()
    for recording in rows:
        for row in recording:
            for column, values in known.items():
                if column in row and not any(same(row[column], value) for value in values):
                    told = f"flag column {column} holds {row[column]!r}, which the card does not know"
                    gaps[f"{told} (say what it means: [[{layout.card.id}.flags]] in the cohort settings)"] += 1
    return gaps


def other_version(layout: CohortLayout, known: Iterable[HasRecord]) -> Counter[str]:
    """Labels of a complete set that are not as many as the version meant has."""
    totals = layout.record.totals if layout.record is not None else {}
    counts = Counter(code for recording in known for code in recording.record)
    if not totals or sum(counts.values()) != sum(totals.values()) or counts == Counter(totals):
        return Counter()
    seen, meant = (", ".join(f"{code} {n:,}" for code, n in c.items()) for c in (counts, Counter(totals)))
    return Counter([f"labels are of another version: {seen}; meant is {meant}"])
