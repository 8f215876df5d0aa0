"""Markers of recordings that an encoder refused: reruns and other machines know who is lost, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnos_bench.errors import DataError
from hypnos_bench.spec import canonical_json, digest
from hypnos_bench.store.atomic import atomic_write

_MAX_BYTES = 2**20


def write_marker(path: Path, facts: Mapping[str, Any], reason: str) -> None:
    """Leave a marker with what it rests on and the reason, atomically.

    Raises
    ------
    DataError
        When the disk refuses.
    """
    body = {**facts, "reason": reason}
    atomic_write(path, (canonical_json({**body, "sha256": digest(body)}) + "\n").encode())


def read_marker(path: Path, facts: Mapping[str, Any]) -> str | None:
    """Reason in a marker that rests on these facts; ``None`` without one, or where it rests on others or is damaged.

    Raises
    ------
    DataError
        When there is one that cannot be read.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); delete it and rerun") from error
    try:
        body: Any = json.loads(raw) if len(raw) <= _MAX_BYTES else None
        stated = body.pop("sha256")
        reason = body.pop("reason")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    whole = isinstance(reason, str) and body == dict(facts) and digest({**body, "reason": reason}) == stated
    return reason if whole else None
