"""What a cohort card can say: the schema of ``cards/<id>.toml`` and of a user's cohort settings.

One dataclass per TOML table; a field's default is what a card that is silent means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hypnos_bench.cohorts.base import CohortCard, Derivation

ALL = "all"
"""Scope of an exclusion that keeps a recording out of everything, embedding included."""

Transform = Literal["fold", "int"]
"""How ids in file names and in tables are made equal: case folded, or read as a whole number."""

Format = Literal["edf", "wfdb", "dreem-h5"]
"""How signals are stored."""


@dataclass(frozen=True)
class Layout:
    """Where files lie below the root.

    Parameters
    ----------
    file : str
        Regex, any case, on a signal file's path below `signals` without its suffix. A pattern without a slash
        fits the name alone, in any folder. Its named groups fill the templates below and those of annotations
        and tables, beside ``stem`` (name without suffix) and ``dir`` (folder below the base, with a closing slash).
    example : str
        A path as the cohort really has it, for messages.
    format : {"edf", "wfdb", "dreem-h5"}
    suffixes : sequence of str
        Of signal files.
    folders : sequence of str
        Top folders that a user may or may not have kept; may hold ``*``.
    rate_hz : float, optional
        Sampling rate of all channels, for ``dreem-h5`` files that do not state it.
    signals : str
        Folder of signals below the root; empty for the root itself.
    id, person : str
        Templates of the recording's and the person's id. Persons are case folded.
    visit : str
        Template of the visit; empty when a person was recorded once.
    """

    file: str
    example: str
    format: Format = "edf"
    suffixes: Sequence[str] = (".edf",)
    folders: Sequence[str] = ()
    rate_hz: float | None = None
    signals: str = ""
    id: str = "{stem}"
    person: str = "{person}"
    visit: str = ""


@dataclass(frozen=True)
class Skip:
    """Files that look like signals but are no recordings; counted under their reason.

    `file` is a regex on the path below `Layout.signals` without suffix, as `Layout.file` is. With a group ``person``,
    a person of whom nothing else is there is listed as left out.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class Annotation:
    """One way in which a recording may be annotated; the first whose files exist is used.

    Parameters
    ----------
    kind : str
        Id of a reader.
    path : str
        Template below the root; may hold ``*``. ``{signals}`` is the signal file itself.
    beside : mapping of str to str
        Name that the reader gives a companion file, to its template. Companions may be missing.
    options : mapping
        Settings of the reader.
    words : mapping of str to str
        Meaning of texts that the reader does not know: W, N1, N2, N3, R, unscored, an event kind, or ignore.
    when : mapping of str to str
        Named groups of `Layout.file` that must have these values.
    needs : sequence of str
        Companions without which the annotation means something else: they must be there.
    optional : bool
        A recording without this file was not annotated by its authors; otherwise something is missing.
    """

    kind: str
    path: str
    beside: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    when: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A table to join.

    Parameters
    ----------
    glob : str
        Below the root; the highest version wins. A user's settings may name a file by its full path.
    key : str or sequence of str
        Column that holds the id; of several, the first that the table has.
    match : str
        Template of what `key` holds for a recording. ``{cell[name]}`` is the column `name` of the tables before.
    transform : {"fold", "int"}
    visit : str, optional
        The table belongs to this visit only.
    visit_column : str, optional
        Column that holds the visit.
    repeated : {"refuse", "first", "last"}
        What to do with a second, different row of one key.
    where : mapping of str to str
        Rows that count: column to the value it must have.
    sheet : str, optional
        Of a workbook (.xls, .xlsx); the first without it.
    delimiter : str
        Of a text table; ``whitespace`` for columns lined up by blanks.
    header : sequence of str
        Names of the columns when the file has no header line.
    optional : bool
        Whether a download without it is complete.
    group : str
        Of tables that share a group every recording must have a row in at least one.
    row_required : bool
        Recordings without a row in the table were withdrawn by the authors: they are left out.
    """

    glob: str
    key: str | Sequence[str]
    match: str = "{person}"
    transform: Transform = "fold"
    visit: str | None = None
    visit_column: str | None = None
    repeated: Literal["refuse", "first", "last"] = "refuse"
    where: Mapping[str, str] = field(default_factory=dict)
    sheet: str | None = None
    delimiter: str = ","
    header: Sequence[str] = ()
    optional: bool = False
    group: str = ""
    row_required: bool = False


@dataclass(frozen=True)
class Persons:
    """Who is who, where file names do not say it.

    Parameters
    ----------
    column : str, optional
        Table column that holds the person.
    alike : sequence of str
        Table columns: recordings that agree in all of them are taken to be of one person.
    same : sequence of sequence of str
        Recording ids known to be of one person.
    family : str, optional
        Table column of the family: families stay on one side of a split.
    unknown : bool
        Nothing says who was recorded: every recording counts as its own person, and every output says so.
    family_name : str
        Template of the family for recordings whose family no table holds; empty for none.
    """

    column: str | None = None
    alike: Sequence[str] = ()
    same: Sequence[Sequence[str]] = ()
    family: str | None = None
    family_name: str = ""
    unknown: bool = False


@dataclass(frozen=True)
class RecordLabel:
    """Where the label of a whole recording stands when a table holds it.

    Parameters
    ----------
    column : str
        Table column.
    form : {"plain", "scp"}
        The cell is one code, or a mapping of SCP statements to likelihoods (PTB-XL).
    codes : sequence of str
        Codes that a plain cell may hold; another one stops.
    totals : mapping of str to int
        Counts of the complete set in the version meant: as many recordings with other counts hold another version.
    """

    column: str
    form: Literal["plain", "scp"] = "plain"
    codes: Sequence[str] = ()
    totals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Covariates:
    """House name to columns in order of preference; cells that mean missing; values that need no table."""

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ("", ".")


@dataclass(frozen=True)
class Flag:
    """A cell value that makes a recording unusable for the labels in `scope` (or for ``all``).

    Without a scope it is remarked upon. With `contains` the value may stand anywhere in the cell, in any case.
    `known` are the other values that the column may hold, where they are known: doctor tells any other. A column that
    no table has is told too, unless it is `optional`.
    """

    column: str
    value: str
    reason: str
    scope: Sequence[str] = ()
    visit: str | None = None
    contains: bool = False
    known: Sequence[str] = ()
    optional: bool = False


@dataclass(frozen=True)
class Exclude:
    """Recordings that must not be used for the labels in `scope` or for ``all``.

    Named by person, by recording id, by groups of the file's name (`where`), or all of them (`every`).
    """

    scope: Sequence[str]
    reason: str
    persons: Sequence[str] = ()
    recordings: Sequence[str] = ()
    visit: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    every: bool = False


@dataclass(frozen=True)
class Clock:
    """How times of outcomes are counted.

    Parameters
    ----------
    unit : {"days", "years"}
    censor : sequence of str
        Columns of the end of follow-up, for endpoints without their own time.
    offset : mapping of str to str
        Visit to the column of the day of that visit on the same clock, or to the day itself as a number: times of
        its recordings start there.
    max_years : float
        Longest follow-up that can be right: a longer one means that the unit is wrong, and stops.
    """

    unit: Literal["days", "years"] = "days"
    censor: Sequence[str] = ()
    offset: Mapping[str, str] = field(default_factory=dict)
    max_years: float = 60.0


@dataclass(frozen=True)
class Endpoint:
    """One outcome.

    Parameters
    ----------
    id, title : str
    event : str
        Column that says whether it happened.
    happened : sequence of str
        Its values that mean yes; ``>0`` for any positive count.
    not_happened : sequence of str
        Its values that mean no. Any other value stops, naming the row.
    time : sequence of str
        Columns of its time, the earliest that is filled is used. Empty for a fact without a time.
    prevalent : sequence of str
        Columns that are positive for those who had it before the clock began.
    note : str
    """

    id: str
    title: str
    event: str
    happened: Sequence[str] = (">0",)
    not_happened: Sequence[str] = ("0",)
    time: Sequence[str] = ()
    prevalent: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True)
class WideOutcomes:
    """Outcomes as SleepFM lays them out: one column per endpoint in two tables with the same rows.

    Parameters
    ----------
    is_event, time_to_event : str
        Paths.
    demographics : str, optional
        Path of the table with age and gender.
    key : str
        Column that holds the recording's id.
    match : str
        Template of what `key` holds.
    unit : {"days", "years"}
    """

    is_event: str
    time_to_event: str
    unit: Literal["days", "years"]
    demographics: str | None = None
    key: str = "Study ID"
    match: str = "{stem}"


@dataclass(frozen=True)
class Expected:
    """What a complete download holds, for ``doctor``: files of signals, persons, and where the numbers are from."""

    recordings: int | None = None
    persons: int | None = None
    note: str = ""


@dataclass(frozen=True)
class CohortLayout:
    """Everything that one card says, a user's settings included."""

    card: CohortCard
    layout: Layout
    channels: Mapping[str, tuple[Derivation, ...]]
    mains_hz: float
    mains_by: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    aliases: bool = False
    full_staging: bool = False
    wake_margin_min: float | None = None
    skip: tuple[Skip, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    tables: tuple[Table, ...] = ()
    persons: Persons = Persons()
    record: RecordLabel | None = None
    covariates: Covariates = Covariates()
    flags: tuple[Flag, ...] = ()
    exclude: tuple[Exclude, ...] = ()
    clock: Clock = Clock()
    outcomes: tuple[Endpoint, ...] = ()
    wide_outcomes: WideOutcomes | None = None
    expected: Expected = Expected()
    unsure: tuple[str, ...] = ()
    settings_file: str = ""
