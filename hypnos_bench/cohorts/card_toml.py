"""Reading cohort cards: ``cards/<id>.toml``, with a user's settings on top.

Every key is known: an unknown one is refused with the nearest known one, so that a typing error
cannot switch a rule off.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

from hypnos_bench.cohorts.annotations.kinds import check_annotation
from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, EVENT_SCOPES, LABEL_KINDS, CohortCard, Derivation
from hypnos_bench.cohorts.card import (
    ALL,
    Annotation,
    Clock,
    CohortLayout,
    Covariates,
    Endpoint,
    Exclude,
    Expected,
    Flag,
    Layout,
    Persons,
    RecordLabel,
    Skip,
    Table,
    WideOutcomes,
)
from hypnos_bench.cohorts.registry import CARD_IDS
from hypnos_bench.cohorts.toml_build import build, refuse_unknown
from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import SplitSpec

SCOPES = (*LABEL_KINDS, *EVENT_SCOPES)
"""What an exclusion or a flag can rule out, beside everything."""

UNITS = ("V", "mV", "uV", "nV")
"""What a card may say that a channel is stored in."""

BUILT_IN_GROUPS = ("stem", "dir", "name")
"""Names that templates may use beside the groups of `Layout.file`."""


@dataclass(frozen=True)
class _CardFile:
    """Keys of a card, as TOML has them."""

    id: str
    title: str
    labels: Sequence[str]
    mains_hz: float
    layout: Layout
    channels: Mapping[str, Any]
    licence: str = ""
    access: str = ""
    citation: str = ""
    source: str = ""
    note: str = ""
    encoders: Sequence[str] = CohortCard.encoders
    split: SplitSpec = SplitSpec()
    mains_by: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    aliases: bool = False
    full_staging: bool = False
    wake_margin_min: float | None = None
    skip: Sequence[Skip] = ()
    annotations: Sequence[Annotation] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    persons: Persons = Persons()
    record: RecordLabel | None = None
    covariates: Covariates = Covariates()
    flags: Sequence[Flag] = ()
    exclude: Sequence[Exclude] = ()
    clock: Clock = Clock()
    outcomes: Sequence[Endpoint] = ()
    wide_outcomes: WideOutcomes | None = None
    expected: Expected = Expected()
    unsure: Sequence[str] = ()


_APPENDED = ("skip", "annotations", "tables", "flags", "exclude", "outcomes", "unsure")
"""Lists that a user's settings add to, their entries first; ``replace`` names those that they take over."""


def load_layout(cohort_id: str, settings: Path | None = None) -> CohortLayout:
    """Read the packaged card of a cohort, and the settings for it in a user's file.

    Raises
    ------
    UsageError
        When there is no card, or it does not hold together.
    DataError
        When the settings cannot be read.
    """
    data = _toml(card_text(cohort_id), f"{cohort_id}.toml")
    if settings is None:
        return _layout(data, f"{cohort_id}.toml")
    own = read_settings(settings).get(cohort_id)
    if own is None:
        return _layout(data, f"{cohort_id}.toml")
    layout = _layout(merged(data, own, settings), f"{cohort_id}.toml with [{cohort_id}] of {settings}")
    return replace(layout, settings_file=str(settings))


def card_text(cohort_id: str) -> str:
    """Text of a packaged card. Raises ``UsageError`` when there is none."""
    path = files("hypnos_bench.cohorts") / "cards" / f"{cohort_id}.toml"
    if not path.is_file():
        raise UsageError(f"no cohort card {cohort_id}.toml in the package")
    return path.read_text(encoding="utf-8")


def parse_layout(text: str, name: str) -> CohortLayout:
    """Read a card from TOML text; `name` is used in messages.

    Raises
    ------
    UsageError
        Naming the table and key for anything unknown, missing or of the wrong kind.
    """
    return _layout(_toml(text, name), name)


def read_settings(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Tables of a settings file by cohort id.

    Raises
    ------
    DataError
        When it cannot be read.
    UsageError
        When it is not TOML, or names a cohort that has no card.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cohort settings {path} cannot be read: {error}") from error
    data = _toml(text, str(path))
    for cohort_id, table in data.items():
        if cohort_id not in CARD_IDS or not isinstance(table, dict):
            raise UsageError(
                f"{path}: {cohort_id!r} is not a table of a cohort.{did_you_mean(cohort_id, CARD_IDS)} "
                f"Write [mros] and the keys of its card below it; `hypnos-bench show cohort mros` prints them"
            )
    return data


def merged(card: Mapping[str, Any], own: Mapping[str, Any], settings: Path) -> dict[str, Any]:
    """A card with a user's settings on top: tables key by key, lists of tables in front of the card's own.

    An outcome with the id of one of the card's stands for it, and so does a table with the glob and visit of one of
    them. Other paths in the settings are taken from the folder of the settings file.
    """
    taken = own.get("replace", [])
    if not isinstance(taken, list) or any(name not in _APPENDED for name in taken):
        raise UsageError(f"{settings}: replace = {taken!r} must name some of {', '.join(_APPENDED)}")
    result = {key: value for key, value in card.items() if key not in taken}
    for key, value in own.items():
        if key == "replace":
            continue
        if key in ("id", "title", "labels"):
            raise UsageError(f"{settings}: {key} cannot be changed: that would be another cohort")
        if key in _APPENDED and not isinstance(value, list):
            form = f"{key} = [...]" if key == "unsure" else f"[[{card['id']}.{key}]]"
            raise UsageError(f"{settings}: {key} is {value!r}, expected a list: {form}")
        if key == "tables":
            known = {table["glob"] for table in card.get("tables", [])}  # the card's own stay where they are
            value = [t if _of(t, "glob") in known else _from_settings(t, ("glob",), settings) for t in value]
        if key == "wide_outcomes":
            value = _from_settings(value, ("is_event", "time_to_event", "demographics"), settings)
        before = result.get(key)
        if key in _APPENDED and key not in taken:
            result[key] = [*value, *(entry for entry in before or [] if not _replaced(key, entry, value))]
        elif isinstance(value, dict) and isinstance(before, dict):
            result[key] = {**before, **{k: _inner(before.get(k), v) for k, v in value.items()}}
        else:
            result[key] = value
    return result


_IDENTITY = {"tables": ("glob", "visit"), "outcomes": ("id",)}
"""Keys by which an entry of the settings is meant to stand for one of the card."""


def _replaced(key: str, entry: Any, own: Sequence[Any]) -> bool:
    names = _IDENTITY.get(key, ())
    return bool(names) and any(all(_of(o, name) == _of(entry, name) for name in names) for o in own)


def _of(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else None


def _inner(before: Any, value: Any) -> Any:
    return {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value


def _from_settings(table: Any, keys: Sequence[str], settings: Path) -> Any:
    if not isinstance(table, dict):
        return table
    base = settings.resolve().parent
    return {k: str(base / Path(v).expanduser()) if k in keys and isinstance(v, str) else v for k, v in table.items()}


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError; so is a number of 10,000 digits
        raise UsageError(f"{name}: not readable as TOML: {error}") from error


def _layout(data: Mapping[str, Any], name: str) -> CohortLayout:
    card = build(_CardFile, data, name)
    _one_of(card.labels, LABEL_KINDS, f"{name} labels")
    groups = _check_pattern(card.layout, name)
    _check_rules(card, groups, name)
    for skip in card.skip:
        compiled(skip.file, f"{name} [[skip]] file")
    annotations = tuple(replace(a, words={**a.words, **card.words}) for a in card.annotations)
    for annotation in annotations:
        where = f"{name} [[annotations]] {annotation.kind}"
        _one_of(annotation.needs, tuple(annotation.beside), f"{where} needs")
        check_annotation(annotation, where)
        for template in (annotation.path, *annotation.beside.values()):
            _check_template(template, (*groups, "signals"), where)
        _one_of(annotation.when, groups, f"{where} when")
    names = (*groups, "person", "visit", "id")
    for table in card.tables:
        _check_template(table.match, (*names, "cell"), f"{name} [[tables]] {table.glob} match")
    if card.wide_outcomes is not None:
        _check_template(card.wide_outcomes.match, names, f"{name} [wide_outcomes] match")
    _check_template(card.persons.family_name, groups, f"{name} [persons] family_name")
    for template in (card.layout.id, card.layout.person, card.layout.visit):
        _check_template(template, groups, f"{name} [layout]")
    _check_mains(card, groups, name)
    _one_of(card.units, CANONICAL_CHANNELS, f"{name} [units]")
    _one_of(card.units.values(), UNITS, f"{name} [units]")
    return CohortLayout(
        card=CohortCard(
            id=card.id,
            title=_prose(card.title),
            labels=tuple(card.labels),
            split=card.split,
            encoders=tuple(card.encoders),
            licence=_prose(card.licence),
            access=_prose(card.access),
            citation=_prose(card.citation),
            source=_prose(card.source),
            note=_prose(card.note),
        ),
        layout=card.layout,
        channels=_channel_rules(card.channels, name),
        mains_hz=float(card.mains_hz),
        mains_by=card.mains_by,
        units=card.units,
        aliases=card.aliases,
        full_staging=card.full_staging,
        wake_margin_min=card.wake_margin_min,
        skip=tuple(card.skip),
        annotations=annotations,
        tables=tuple(card.tables),
        persons=card.persons,
        record=card.record,
        covariates=card.covariates,
        flags=tuple(card.flags),
        exclude=tuple(card.exclude),
        clock=card.clock,
        outcomes=tuple(card.outcomes),
        wide_outcomes=card.wide_outcomes,
        expected=card.expected,
        unsure=tuple(card.unsure),
    )


def _check_rules(card: _CardFile, groups: Sequence[str], name: str) -> None:
    """Refuse flags and exclusions that could never do anything."""
    for flag in card.flags:
        _one_of(flag.scope, (*SCOPES, ALL), f"{name} [[flags]] scope")
    for rule in card.exclude:
        _one_of(rule.scope, (*SCOPES, ALL), f"{name} [[exclude]] scope")
        if bool(rule.persons or rule.recordings or rule.where) == rule.every:
            raise UsageError(f"{name} [[exclude]]: name persons, recordings, a condition (where), or every = true")
        _one_of(rule.where, groups, f"{name} [[exclude]] where")


def _check_mains(card: _CardFile, groups: Sequence[str], name: str) -> None:
    _one_of(card.mains_by, groups, f"{name} [mains_by]")
    for mains_hz in (card.mains_hz, *(hz for table in card.mains_by.values() for hz in table.values())):
        if not 0 < mains_hz < math.inf:
            raise UsageError(f"{name}: mains of {mains_hz:g} Hz, expected 50 or 60")


def _prose(text: str) -> str:
    return " ".join(text.split())


def _channel_rules(table: Mapping[str, Any], name: str) -> dict[str, tuple[Derivation, ...]]:
    """Canonical channel to its candidates, in order: a label, or ``{diff = [a, b]}``."""
    refuse_unknown(table, CANONICAL_CHANNELS, f"{name} [channels]")
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
        refuse_unknown(candidate, ("diff",), where)
        pair = candidate.get("diff")
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(label, str) for label in pair):
            return Derivation(pair[0], pair[1])
    raise UsageError(f"{where}: {candidate!r} is neither a label nor {{diff = [a, b]}}")


def compiled(pattern: str, where: str) -> re.Pattern[str]:
    """A card's file pattern: without a slash it fits the name in any folder.

    Raises
    ------
    UsageError
        When it is no regular expression.
    """
    try:
        any_folder = r"(?:.*/)?(?=[^/]*\Z)"
        return re.compile(pattern if "/" in pattern else f"{any_folder}(?:{pattern})", re.IGNORECASE | re.ASCII)
    except re.error as error:
        raise UsageError(f"{where}: {error}") from error


def _check_pattern(layout: Layout, name: str) -> tuple[str, ...]:
    """Names that templates may use."""
    groups = compiled(layout.file, f"{name} [layout] file").groupindex
    if layout.person == Layout.person and "person" not in groups:
        raise UsageError(f"{name} [layout] file: no group named 'person'")
    return (*groups, *BUILT_IN_GROUPS)


def _check_template(template: str, names: Sequence[str], where: str) -> None:
    try:
        used = [name.partition("[")[0] for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UsageError(f"{where}: {template!r}: {error}") from error
    for used_name in used:
        if used_name not in names:
            raise UsageError(
                f"{where}: {template!r} uses {{{used_name}}}.{did_you_mean(used_name, names)} Known: {', '.join(names)}"
            )
    try:
        template.format_map({**dict.fromkeys(names, "1"), "cell": defaultdict(lambda: "1")})
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # "{person:06d}": they are texts
        raise UsageError(f"{where}: {template!r}: {error}") from error


def _one_of(words: Any, allowed: Sequence[str], where: str) -> None:
    for word in words:
        if word not in allowed:
            near = did_you_mean(str(word), allowed)
            raise UsageError(f"{where}: unknown {word!r}.{near} Known: {', '.join(allowed)}")
