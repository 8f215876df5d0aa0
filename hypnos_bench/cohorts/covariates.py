"""Age, sex, BMI and the like from the joined rows of a recording, and the flags that rule it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypnos_bench.cohorts.card import Covariates, Flag
from hypnos_bench.cohorts.rows import Row, filled, number, same

AHI_DEFINITIONS: Mapping[str, str] = {
    "ahi_a0h3": "apneas, and hypopneas with at least 3 % desaturation",
    "ahi_a0h3a": "apneas, and hypopneas with at least 3 % desaturation or an arousal (AASM 2012 recommended)",
    "ahi_a0h4": "apneas, and hypopneas with at least 4 % desaturation (AASM 2012 alternative, CMS)",
    "ahi_a0h4a": "apneas, and hypopneas with at least 4 % desaturation or an arousal",
    "ahi_chicago1999": "by the Chicago criteria of 1999",
    "ahi_as_reported": "the source does not say which hypopneas count",
}
"""Apnea-hypopnea indices by house name, events per hour of sleep; never counted from events in a file."""

SEXES = ("male", "female")

_LIMITS = {"age": (0.0, 120.0), "bmi": (5.0, 120.0)}
_AHI_LIMITS = (0.0, 250.0)
"""Outside of these a number is a code for missing, or another unit."""


def covariates_of(rows: Sequence[Row], spec: Covariates) -> tuple[dict[str, Any], tuple[str, ...]]:
    """House-named covariates of one recording, and remarks on cells that cannot be right.

    Numbers are float, other cells text, missing ones left out. ``sex`` is ``male`` or ``female``; ``age`` (years),
    ``bmi`` (kg/m2) and ``ahi…`` (events per hour) lie within what occurs.
    """
    result = dict(spec.constants)
    remarks = []
    for name, columns in spec.columns.items():
        found = next((told for column in columns if (told := filled(rows, column, spec.missing))), None)
        if found is None:
            continue
        cell, column, _ = found
        value = _value(cell, spec.values.get(name, {}))
        fault = _fault(name, value)
        if fault is None:
            result[name] = value.casefold() if name == "sex" else value
        else:
            remarks.append(f"{name}: {cell!r} in column {column} {fault}; left out")
    return result, tuple(remarks)


def _value(cell: str, values: Mapping[str, Any]) -> Any:
    """What the card makes of a cell, else its number, else its text."""
    for known, value in values.items():
        if same(cell, known):
            return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    value = number(cell)
    return cell if value is None else value


def _fault(name: str, value: Any) -> str | None:
    """What is wrong with a covariate, or ``None``."""
    if name == "sex":
        known = isinstance(value, str) and value.casefold() in SEXES
        return None if known else f"is neither {SEXES[0]} nor {SEXES[1]}"
    limits = _AHI_LIMITS if name.startswith("ahi") else _LIMITS.get(name)
    if limits is None:
        return None
    if not isinstance(value, float):
        return "is not a number"
    return None if limits[0] <= value <= limits[1] else f"is outside {limits[0]:g} to {limits[1]:g}"


def flags_of(
    rows: Sequence[Row], flags: Iterable[Flag], visit: str | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Label kind to the reason why a flagged cell rules it out, and the reasons of flags that only remark.

    The first flag's reason is kept.
    """
    unusable: dict[str, str] = {}
    remarks: dict[str, None] = {}
    for flag in flags:
        if flag.visit not in (None, visit):
            continue
        cells = [row[flag.column.casefold()] for row in rows if flag.column.casefold() in row]
        if not any(flag.value.casefold() in c.casefold() if flag.contains else same(c, flag.value) for c in cells):
            continue
        for kind in flag.scope:
            unusable.setdefault(kind, flag.reason)
        if not flag.scope:
            remarks[flag.reason] = None
    return unusable, tuple(remarks)
