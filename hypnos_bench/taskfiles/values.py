"""Single values of a task file: their types, and the words that they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypnos_bench.registry import did_you_mean
from hypnos_bench.taskfiles.check import MisfitError

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "label": ("stage", "events", "rhythm", "minutes", "record", "covariate", "outcome"),
    "unit": ("epoch", "window", "recording", "person"),
    "kind": ("classification", "regression", "survival"),
    "split": ("cohort", "holdout", "cv5"),
    "alignment": ("reference", "covered"),
    "mixed": ("drop", "majority"),
}
_TEXTS = ("id", "title", "citation", "note", "positive", *_CHOICES)
_WORDS = ("metrics", "cohorts", "heads")
_WORDS_OR_NONE = ("classes", "ignore", "events", "columns", "demographics")
_NUMBERS = ("cuts", "horizons")
_SECONDS = ("unit_s", "overlap_s")


def read_value(key: str, value: Any) -> Any:
    """The value of a key as ``TaskSpec`` has it.

    Raises
    ------
    MisfitError
        For another type, or a word that the key does not know.
    """
    if key in _TEXTS:
        return _text(key, value)
    if key in _WORDS or key in _WORDS_OR_NONE:
        return _words(key, value)
    if key in _NUMBERS:
        if not isinstance(value, list) or not all(_is_number(v) for v in value):
            raise MisfitError(key, f"{key} must be a list of numbers")
        return tuple(float(v) for v in value)
    if key in _SECONDS:
        if not _is_number(value) or value < 0:
            raise MisfitError(key, f"{key} must be a number of seconds, 0 or more")
        return float(value)
    if key == "overlap_share":
        if not _is_number(value) or not 0 <= value <= 1:
            raise MisfitError(key, "overlap_share must be a number from 0 to 1")
        return float(value)
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise MisfitError(key, f"{key} must be a table of strings")
    return dict(value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise MisfitError(key, f"{key} must be a string")
    if key in _CHOICES and value not in _CHOICES[key]:
        hint = did_you_mean(value, _CHOICES[key])
        raise MisfitError(key, f"{key} = {value!r} must be one of {', '.join(_CHOICES[key])}.{hint}")
    return value.strip()


def _words(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value) or (key in _WORDS and not value):
        raise MisfitError(key, f"{key} must be a list of strings")
    twice = next((v for v in value if value.count(v) > 1), None)
    if twice is not None:
        raise MisfitError(key, f"{key} has {twice!r} twice")
    return tuple(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
