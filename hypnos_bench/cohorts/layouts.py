"""Cohort cards as data: ``cards/<id>.toml`` says layout, channels, tables, exclusions and prose of one cohort.

Every key is known: an unknown one is refused with the nearest known one, so that a typing error
cannot switch a rule off.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib.resources import files
from typing import Any, Literal, TypeVar, get_args

from hypnos_bench.cohorts.annotations.nsrr_xml import Unsure
from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, CohortCard, Derivation
from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import SplitSpec

LABEL_KINDS = ("stage", "events", "rhythm")
ALL = "all"
"""Scope of an exclusion that keeps a recording out of everything, embedding included."""

Transform = Literal["fold", "int"]
"""How ids in file names and in tables are made equal: case folded, or read as a whole number."""

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """Where files lie below the root.

    Parameters
    ----------
    file : str
        Regex on the file stem, any case; named groups ``person`` (required), ``stem``, ``visit``.
    example : str
        A path as the cohort really has it, for messages.
    folder : str, optional
        Top folder that a user may or may not have kept.
    edf_folder, annotation : str, optional
        Folder of signals; path of the annotation with the groups of `file` in braces.
    """

    file: str
    example: str
    folder: str = ""
    edf_folder: str = ""
    annotation: str = ""


@dataclass(frozen=True)
class Table:
    """A CSV to join: `glob` below the root (highest version wins), `key` column, `visit` it belongs to."""

    glob: str
    key: str
    transform: Transform = "fold"
    visit: str | None = None
    visit_column: str | None = None


@dataclass(frozen=True)
class Covariates:
    """House name to columns in order of preference; cells that mean missing; values that need no table."""

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ("", ".")


@dataclass(frozen=True)
class Flag:
    """A cell value that makes a recording unusable for the labels in `scope`."""

    column: str
    value: str
    scope: Sequence[str]
    reason: str


@dataclass(frozen=True)
class Exclude:
    """Recordings that must not be used, by person, for the labels in `scope` or for ``all``."""

    persons: Sequence[str]
    scope: Sequence[str]
    reason: str
    visit: str | None = None


@dataclass(frozen=True)
class CohortLayout:
    """Everything that one TOML card says."""

    card: CohortCard
    layout: Layout
    channels: Mapping[str, tuple[Derivation, ...]]
    mains_hz: float
    unsure: Unsure = "hypopnea"
    aliases: bool = False
    tables: tuple[Table, ...] = ()
    covariates: Covariates = Covariates()
    flags: tuple[Flag, ...] = ()
    exclude: tuple[Exclude, ...] = ()


# How the annotation of a field begins, to what TOML must hold for it.
_TOML_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "Literal": (str,),
    "Transform": (str,),
    "Sequence": (list,),
    "Mapping": (dict,),
    "float": (int, float),
    "int": (int,),
}
_KEYS = (
    *("id", "title", "labels", "licence", "source", "note", "encoders", "split"),
    *("layout", "channels", "mains_hz", "unsure", "aliases", "tables", "covariates", "flags", "exclude"),
)


def load_layout(cohort_id: str) -> CohortLayout:
    """Read the packaged card of a cohort.

    Raises
    ------
    UsageError
        When there is none, or it does not hold together.
    """
    path = files("hypnos_bench.cohorts") / "cards" / f"{cohort_id}.toml"
    if not path.is_file():
        raise UsageError(f"no cohort card {cohort_id}.toml in the package")
    return parse_layout(path.read_text(encoding="utf-8"), f"{cohort_id}.toml")


def parse_layout(text: str, name: str) -> CohortLayout:
    """Read a card from TOML text; `name` is used in messages.

    Raises
    ------
    UsageError
        Naming the table and key for anything unknown, missing or of the wrong kind.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: {error}") from error
    _refuse_unknown(data, _KEYS, name)
    for key in ("id", "title", "labels", "layout", "channels", "mains_hz"):
        if key not in data:
            raise UsageError(f"{name}: {key!r} is missing")
    _one_of(data["labels"], LABEL_KINDS, f"{name} labels")
    unsure = data.get("unsure", "hypopnea")
    _one_of([unsure], get_args(Unsure), f"{name} unsure")
    layout = _build(Layout, data["layout"], f"{name} [layout]")
    _check_pattern(layout, name)
    tables = _build_all(Table, data, "tables", name)
    for table in tables:
        _one_of([table.transform], get_args(Transform), f"{name} [[tables]] transform")
    flags = _build_all(Flag, data, "flags", name)
    exclude = _build_all(Exclude, data, "exclude", name)
    for flag in flags:
        _one_of(flag.scope, LABEL_KINDS, f"{name} [[flags]] scope")
    for rule in exclude:
        _one_of(rule.scope, (*LABEL_KINDS, ALL), f"{name} [[exclude]] scope")
    covariates = _build(Covariates, data.get("covariates", {}), f"{name} [covariates]")
    for covariate, columns in covariates.columns.items():
        if not isinstance(columns, list):
            raise UsageError(f"{name} [covariates.columns] {covariate}: expected a list of columns")

    def prose(key: str) -> str:
        return " ".join(str(data.get(key, "")).split())

    split = _build(SplitSpec, data.get("split", {}), f"{name} [split]")
    return CohortLayout(
        card=CohortCard(
            id=data["id"],
            title=prose("title"),
            labels=tuple(data["labels"]),
            split=split,
            encoders=tuple(data.get("encoders", CohortCard.encoders)),
            licence=prose("licence"),
            source=prose("source"),
            note=prose("note"),
        ),
        layout=layout,
        channels=_channel_rules(data["channels"], name),
        mains_hz=float(data["mains_hz"]),
        unsure=unsure,
        aliases=bool(data.get("aliases", False)),
        tables=tables,
        covariates=covariates,
        flags=flags,
        exclude=exclude,
    )


def _channel_rules(table: Mapping[str, Any], name: str) -> dict[str, tuple[Derivation, ...]]:
    """Canonical channel to its candidates, in order: a label, or ``{diff = [a, b]}``."""
    _refuse_unknown(table, CANONICAL_CHANNELS, f"{name} [channels]")
    rules = {}
    for channel, candidates in table.items():
        where = f"{name} [channels] {channel}"
        if not isinstance(candidates, list):
            raise UsageError(f"{where}: expected a list of labels or {{diff = [a, b]}}")
        rules[channel] = tuple(_derivation(candidate, where) for candidate in candidates)
    return rules


def _derivation(candidate: Any, where: str) -> Derivation:
    if isinstance(candidate, str):
        return Derivation(candidate)
    if isinstance(candidate, dict):
        _refuse_unknown(candidate, ("diff",), where)
        pair = candidate.get("diff")
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(label, str) for label in pair):
            return Derivation(pair[0], pair[1])
    raise UsageError(f"{where}: {candidate!r} is neither a label nor {{diff = [a, b]}}")


def _check_pattern(layout: Layout, name: str) -> None:
    try:
        groups = re.compile(layout.file).groupindex
    except re.error as error:
        raise UsageError(f"{name} [layout] file: {error}") from error
    if "person" not in groups:
        raise UsageError(f"{name} [layout] file: no group named 'person'")


def _build_all(kind: type[T], data: Mapping[str, Any], key: str, name: str) -> tuple[T, ...]:
    entries = data.get(key, [])
    if not isinstance(entries, list):
        raise UsageError(f"{name}: {key} must be a list of tables: [[{key}]]")
    return tuple(_build(kind, entry, f"{name} [[{key}]] {i}") for i, entry in enumerate(entries, start=1))


def _build(kind: type[T], table: Any, where: str) -> T:
    """Make a dataclass from a TOML table, refusing unknown, missing and mistyped keys."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: expected a table")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    _refuse_unknown(table, known, where)
    for key, f in known.items():
        if key not in table:
            if f.default is MISSING and f.default_factory is MISSING:
                raise UsageError(f"{where}: {key!r} is missing")
            continue
        value, wanted = table[key], str(f.type)
        if not isinstance(value, _TOML_TYPES[re.split(r"\W", wanted)[0]]):
            raise UsageError(f"{where}: {key} is {value!r}, expected {wanted}")
    return kind(**table)


def _one_of(words: Sequence[str], allowed: Sequence[str], where: str) -> None:
    for word in words:
        if word not in allowed:
            near = did_you_mean(str(word), allowed)
            raise UsageError(f"{where}: unknown {word!r}.{near} Known: {', '.join(allowed)}")


def _refuse_unknown(table: Mapping[str, Any], known: Any, where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}.{did_you_mean(key, known)} Known: {', '.join(known)}")
