"""What ``card.json`` says of a whole folder, and ``<file stem>.json`` of one file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnos_bench.errors import DataError
from hypnos_bench.registry import did_you_mean

CARD_FILE = "card.json"
TIMES = ("epoch_start_s", "start_s", "step_s")
LAYOUTS = ("generic", "sleepfm-5s", "sleepfm-5min", "osf")
NAN_ROWS = "no-signal"

Kinds = Mapping[str, type | tuple[type, ...]]
_NUMBER = (int, float)
_MAX_BYTES = 2**20
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

SHARED: Kinds = {
    "start_s": _NUMBER, "step_s": _NUMBER, "weights": str, "note": str, "nan_rows": str, "partial": bool,
    "arrays": list, "normalisation": str, "resampler": str, "tail": str,
}  # fmt: skip
CARD: Kinds = {
    **SHARED, "id": str, "title": str, "licence": str, "causal": bool, "lag_rows": int, "pretrained_on": list,
    "layout": str, "dim": int, "combination": str, "crop": str, "part": str, "marks": list, "made_by": str,
}  # fmt: skip
SIDECAR: Kinds = {**SHARED, "recording": str, "channels": dict, "skipped": dict, "zero_filled": list}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "layout": LAYOUTS,
    "combination": ("concat", "concat-presence", "mean"),
    "crop": ("refuse", "shortest"),
    "part": ("cls", "mean-patch", "both"),
    "nan_rows": ("refuse", NAN_ROWS),
    "tail": ("drop", "short"),
}
"""Fields of few values, the default first (a layout's default is to look at the files)."""


def read_statement(path: Path, kinds: Kinds) -> dict[str, Any]:
    """Read ``card.json`` (`CARD`) or a sidecar (`SIDECAR`).

    Raises
    ------
    DataError
        For unknown fields or impossible values, naming them.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: not a regular file")
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES} bytes; it should hold a few lines")
        stated = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(stated, dict):
        raise DataError(f"{path}: not a JSON object")
    for name, value in stated.items():
        if name not in kinds:
            raise DataError(
                f"{path}: unknown field {name!r}.{did_you_mean(name, kinds)} Known: {', '.join(sorted(kinds))}"
            )
        problem = _problem(name, value, kinds[name])
        if problem:
            raise DataError(f"{path}: field {name!r} is {value!r}, {problem}")
    return stated


def _problem(name: str, value: Any, kind: type | tuple[type, ...]) -> str | None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return "which is of the wrong type"
    if name in CHOICES and value not in CHOICES[name]:
        return f"use one of {', '.join(CHOICES[name])}"
    if name == "id" and not _ID.fullmatch(str(value)):
        return "expected lower-case words joined by '-', as in my-model"
    if name == "dim" and isinstance(value, int) and value < 1:
        return "expected the number of columns"
    if name == "lag_rows" and isinstance(value, int) and value < 0:
        return "expected 0 or more"
    if isinstance(value, list) and not all(isinstance(word, str) and word for word in value):
        return "expected a list of words"
    if isinstance(value, dict) and not all(isinstance(word, str) for word in value.values()):
        return "expected texts"
    if name == "arrays" and not value:
        return "expected at least one array name"
    return None
