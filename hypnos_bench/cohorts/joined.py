"""What the tables of a cohort say about each recording: who, covariates, outcomes, and what must not be used."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.card import ALL, CohortLayout
from hypnos_bench.cohorts.covariates import covariates_of, flags_of
from hypnos_bench.cohorts.finder import FoundFile
from hypnos_bench.cohorts.gaps import columns_missing, groups_missing, other_version, rows_missing, unknown_values
from hypnos_bench.cohorts.outcomes import WideTable, check_outcomes, outcomes_of, read_wide
from hypnos_bench.cohorts.rows import Row, filled
from hypnos_bench.cohorts.tables import JoinedTable, missing_tables, read_tables, table_path
from hypnos_bench.errors import DataError


@dataclass(frozen=True)
class Known:
    """What the tables say about one recording; see the fields of `Recording`."""

    person: str
    family: str | None = None
    covariates: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    quality: tuple[str, ...] = ()
    record: tuple[str, ...] = ()


@dataclass(frozen=True)
class Joined:
    """Tables joined to all recordings; what was odd in them, and what was not found, with counts.

    `persons_assumed` says that some recording counts as its own person for want of a better answer.
    """

    by_id: Mapping[str, Known]
    remarks: Mapping[str, int]
    gaps: Mapping[str, int]
    persons_assumed: bool = False

    def of(self, file: FoundFile) -> Known:
        """What is known about one recording."""
        return self.by_id[file.id]


def join_tables(base: Path, layout: CohortLayout, files: Sequence[FoundFile]) -> Joined:
    """Join every table to every recording.

    Raises
    ------
    DataError
        When a table cannot be joined, or holds a value that the card does not know.
    """
    _refuse_missing_settings_tables(base, layout)
    tables = read_tables(base, layout.tables)
    wide = read_wide(layout.wide_outcomes, base) if layout.wide_outcomes is not None else None
    remarks = Counter(note for table in tables for note in table.notes)
    gaps = Counter(f"table not found: {name}" for name in missing_tables(base, layout.tables))
    rows = {file.id: _rows(tables, file) for file in files}
    without = [(table, {f.id for f in files if _lacks_row(table, f, rows[f.id])}) for table in tables]
    gaps.update(rows_missing((table, len(lacking)) for table, lacking in without))
    gaps.update(groups_missing(layout, tables, len(files), [_groups_of(without, file.id) for file in files]))
    gaps.update(columns_missing(layout, tables, {file.visit for file in files}))
    gaps.update(unknown_values(layout, rows.values()))
    remarks.update(check_outcomes(tables, layout.clock, layout.outcomes, ((f.visit, rows[f.id]) for f in files)))
    if wide is not None:
        remarks.update(wide.remarks)
        gaps.update(_not_in_wide(wide, files))
    persons, assumed = _persons(layout, files, rows, gaps)
    known = {}
    for file in files:
        known[file.id] = _known(layout, file, rows[file.id], persons[file.id], wide, remarks)
    if layout.persons.family is not None and (alone := sum(k.family is None for k in known.values())):
        gaps[f"no family ({layout.persons.family}) in any table or name: relatives may lie on both sides"] += alone
    gaps.update(other_version(layout, known.values()))
    for table, lacking in without:
        if table.table.row_required:
            reason = f"withdrawn: no row in {table.path.name}"
            known |= {key: replace(known[key], unusable={ALL: reason, **known[key].unusable}) for key in lacking}
    return Joined(known, remarks, gaps, assumed)


def _refuse_missing_settings_tables(base: Path, layout: CohortLayout) -> None:
    """A table that the user named by its path must be there: without it there would be no outcomes, and no word."""
    for table in layout.tables:
        if Path(table.glob).is_absolute() and not table.optional and table_path(base, table) is None:
            raise DataError(f"{layout.settings_file}: [[{layout.card.id}.tables]] glob = {table.glob!r} fits no file")


def _row(table: JoinedTable, file: FoundFile, before: Sequence[Row] = ()) -> Row | None:
    try:
        key = _formatted(table.table.match, file, before)
    except KeyError:  # {cell[...]}: no table before has that column for this recording
        return None
    return table.row(key, file.visit)


def _lacks_row(table: JoinedTable, file: FoundFile, rows: Sequence[Row]) -> bool:
    """Whether a table that is meant to have a row for a recording has none: it is of its visit, the key not empty."""
    if not table.concerns(file.visit):
        return False
    asked = "{cell" in table.table.match or bool(_formatted(table.table.match, file))
    return asked and _row(table, file, rows) is None


def _groups_of(without: Iterable[tuple[JoinedTable, set[str]]], recording: str) -> set[str]:
    """Groups of tables in one of which a recording has a row."""
    return {table.table.group for table, lacking in without if table.table.group and recording not in lacking}


def _formatted(template: str, file: FoundFile, before: Sequence[Row] = ()) -> str:
    """A ``match`` template filled in. Raises ``KeyError`` for a cell that the rows before do not have."""
    values: dict[str, Any] = {**file.groups, "id": file.id, "person": file.person, "visit": file.visit or ""}
    return template.format_map({**values, "cell": _Cells(before)})


class _Cells:
    """Columns of the rows before, in any case, for ``{cell[name]}``. ``KeyError`` when none of them is filled."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __getitem__(self, column: str) -> str:
        cell = _cell(self._rows, column)
        if cell is None:
            raise KeyError(column)
        return cell


def _not_in_wide(wide: WideTable, files: Sequence[FoundFile]) -> Counter[str]:
    without = sum(1 for file in files if not wide.outcomes(_formatted(wide.spec.match, file)))
    return Counter({f"recordings without a row in {Path(wide.spec.is_event).name}": without} if without else {})


def _rows(tables: Iterable[JoinedTable], file: FoundFile) -> list[Row]:
    rows: list[Row] = []
    for table in tables:
        row = _row(table, file, rows)
        if row is not None:
            rows.append(row)
    return rows


def _known(
    layout: CohortLayout,
    file: FoundFile,
    rows: Sequence[Row],
    person: str,
    wide: WideTable | None,
    remarks: Counter[str],
) -> Known:
    covariates, odd = covariates_of(rows, layout.covariates)
    label = layout.record.column.casefold() if layout.record is not None else None
    unusable, quality = flags_of(rows, [f for f in layout.flags if f.column.casefold() != label], file.visit)
    unusable |= _label_flags(layout, rows)
    told = outcomes_of(rows, layout.clock, layout.outcomes, file.visit, layout.covariates.missing)
    remarks.update(odd)
    remarks.update(told.remarks)
    outcomes: Mapping[str, Outcome] = told.outcomes
    if wide is not None:
        key = _formatted(wide.spec.match, file)
        outcomes = ChainMap(dict(told.outcomes), wide.outcomes(key))  # type: ignore[arg-type]  # it is only read
        covariates = {**wide.demographics(key), **covariates}
    family = _cell(rows, layout.persons.family, layout.covariates.missing) or layout.persons.family_name.format_map(
        file.groups
    )
    return Known(
        person=person,
        family=f"family {family}" if family else None,
        covariates=covariates,
        outcomes=outcomes,
        unusable=unusable,
        quality=quality,
        record=_record_codes(layout, rows, file.id),
    )


def _label_flags(layout: CohortLayout, rows: Sequence[Row]) -> dict[str, str]:
    """What flags on the label of the recording rule out: only the cell that counts is asked, not older versions."""
    if layout.record is None:
        return {}
    column = layout.record.column.casefold()
    cell = _cell(rows, column)
    own = [flag for flag in layout.flags if flag.column.casefold() == column]
    return flags_of([{column: cell}], own)[0] if cell is not None else {}


def _cell(rows: Sequence[Row], column: str | None, missing: Sequence[str] = ()) -> str | None:
    """First cell of a column that is neither blank nor one of those that mean missing."""
    found = filled(rows, column, ("", *missing)) if column is not None else None
    return found[0] if found is not None else None


def _persons(
    layout: CohortLayout, files: Sequence[FoundFile], rows: Mapping[str, Sequence[Row]], gaps: Counter[str]
) -> tuple[dict[str, str], bool]:
    """Recording id to person: by table column, by agreement in columns, by the card's own pairs, or by file name.

    Also whether some were taken by file name although a table should have said it.
    """
    spec, missing = layout.persons, layout.covariates.missing
    persons, assumed = {}, spec.unknown
    for file in files:
        person = file.person
        if spec.column is not None:
            cell = _cell(rows[file.id], spec.column, missing)
            if cell is None:
                gaps[f"no {spec.column} in any table: the recording counts as its own person"] += 1
                assumed = True
            person = f"{spec.column} {cell}".casefold() if cell else person
        if spec.alike:
            cells = [_cell(rows[file.id], column, missing) for column in spec.alike]
            if all(cells):
                person = "alike " + " ".join(str(cell) for cell in cells).casefold()
            else:
                gaps[f"no {' and '.join(spec.alike)} in any table: the recording counts as its own person"] += 1
                assumed = True
        persons[file.id] = person
    return _merged(persons, spec.same), assumed


def _merged(persons: dict[str, str], same: Sequence[Sequence[str]]) -> dict[str, str]:
    """The same with all persons made one who share a group of recordings known to be of one person."""
    by_id = {recording.casefold(): person for recording, person in persons.items()}
    for group in same:
        names = {by_id[r.casefold()] for r in group if r.casefold() in by_id}
        if len(names) > 1:
            first = min(names)
            by_id = {r: first if person in names else person for r, person in by_id.items()}
    return {recording: by_id[recording.casefold()] for recording in persons}


def _record_codes(layout: CohortLayout, rows: Sequence[Row], recording: str) -> tuple[str, ...]:
    if layout.record is None:
        return ()
    cell = _cell(rows, layout.record.column)
    if cell is None:
        return ()
    if layout.record.form == "scp":
        from hypnos_bench.cohorts.annotations.record_labels import parse_scp_codes

        try:
            return tuple(sorted(parse_scp_codes(cell)))
        except DataError as error:
            raise DataError(f"{layout.card.id}: {recording}: {error}") from error
    if layout.record.codes and cell not in layout.record.codes:
        raise DataError(
            f"{layout.card.id}: {recording}: {layout.record.column} is {cell!r}, expected one of "
            f"{', '.join(layout.record.codes)}; if it is right, add it to [{layout.card.id}.record] codes "
            "in the cohort settings"
        )
    return (cell,)
