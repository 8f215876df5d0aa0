"""Where an encoder's lists are kept: ``<results>/exposure/<encoder id>/<name>.json``, each proving its own content."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from hypnos_bench.errors import DataError, IntegrityError, UsageError
from hypnos_bench.exposure.entries import Entry, ExposureList, Level, SourceFile
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import digest, plain
from hypnos_bench.store.atomic import atomic_write, remove, safe_name

SCHEMA = 1
"""Version of the file."""

MAX_BYTES = 512 * 2**20

_FIELDS = {
    "schema": int, "name": str, "encoder": str, "date": type(None), "source": dict, "levels": dict, "repeated": int,
    "counts": dict, "entries": list, "sha256": str,
}  # fmt: skip
_ENTRY: tuple[type | tuple[type, ...], ...] = (str, str, (str, type(None)), (str, type(None)), (str, type(None)))


def list_path(results: Path, encoder_id: str, name: str) -> Path:
    """File of one list."""
    return results / "exposure" / safe_name(encoder_id) / f"{safe_name(name)}.json"


def save_list(results: Path, one: ExposureList) -> Path:
    """Store a list; the same list again is the same file.

    Raises
    ------
    UsageError
        When another list has its name.
    DataError, IntegrityError
        When the disk refuses, or the list in its place is damaged.
    """
    path = list_path(results, one.encoder, one.name)
    if path.exists() and _read(path).source.sha256 != one.source.sha256:
        raise UsageError(
            f"{path}: a list named {one.name!r} of another file is there; choose another --name, or remove it first: "
            f"hypnos-bench exposure remove {one.name} --encoder {one.encoder}"
        )
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "name": one.name,
        "encoder": one.encoder,
        "date": None,  # equal lists are equal files
        "source": plain(one.source),
        "levels": dict(sorted(one.levels.items())),
        "repeated": one.repeated,
        "counts": counts(one),
        "entries": [[e.text, e.role, e.cohort, e.recording, e.person] for e in one.entries],
    }
    content["sha256"] = digest(content)
    atomic_write(path, (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
    return path


def counts(one: ExposureList) -> dict[str, dict[str, int]]:
    """Recordings by role and cohort; ``?`` for ids that name none."""
    found: dict[str, Counter[str]] = {}
    for entry in one.entries:
        found.setdefault(entry.role, Counter())[entry.cohort or "?"] += 1
    return {role: dict(sorted(by_cohort.items())) for role, by_cohort in sorted(found.items())}


def load_lists(results: Path, *encoder_ids: str) -> tuple[ExposureList, ...]:
    """Lists of one encoder, by name; none when nothing was added.

    Parameters
    ----------
    results : Path
        The results folder.
    *encoder_ids : str
        ``EncoderCard.id``, and ``EncoderCard.made_by`` of exported embeddings. A masked encoder has the id of the one
        it wraps; an untrained one has its own.

    Raises
    ------
    IntegrityError
        When a list was altered: without it, seen persons would pass as unseen.
    DataError
        When it cannot be read.
    """
    return tuple(one for one in all_lists(results) if one.encoder in encoder_ids)


def all_lists(results: Path) -> tuple[ExposureList, ...]:
    """Lists of all encoders, by encoder and name. Raises as `load_lists`."""
    folder = results / "exposure"
    return tuple(_read(path) for path in sorted(folder.glob("*/*.json")) if not path.name.startswith("."))


def remove_list(results: Path, name: str, encoder_id: str | None = None) -> Path:
    """Delete a list by name, damaged or not, and return where it was.

    Raises
    ------
    UsageError
        When there is none, or several encoders have one and none is named.
    """
    encoder = "*" if encoder_id is None else safe_name(encoder_id)
    found = sorted((results / "exposure").glob(f"{encoder}/{safe_name(name)}.json"))
    if not found:
        there = [path.stem for path in (results / "exposure").glob(f"{encoder}/*.json")]
        listed = f" There: {', '.join(sorted(there))}" if there else " There is none."
        raise UsageError(f"{results}: no list named {name!r}.{did_you_mean(name, there)}{listed}")
    if len(found) > 1:
        raise UsageError(
            f"{name!r} is a list of {', '.join(path.parent.name for path in found)}: say which with --encoder"
        )
    remove(found[0])
    return found[0]


def _read(path: Path) -> ExposureList:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: too large for a list of ids")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "not a whole JSON file") from error
    if not isinstance(content, dict) or set(content) != set(_FIELDS):
        raise _damaged(path, "not a list of this suite")
    if content["schema"] != SCHEMA:
        raise IntegrityError(f"{path}: list schema {content['schema']!r}, this version reads {SCHEMA}; add it again")
    problem = _problem(content)
    if problem is not None:
        raise _damaged(path, problem)
    return ExposureList(
        name=content["name"],
        encoder=content["encoder"],
        entries=tuple(Entry(*entry) for entry in content["entries"]),
        levels=content["levels"],
        source=SourceFile(**content["source"]),
        repeated=content["repeated"],
    )


def _problem(content: Mapping[str, Any]) -> str | None:
    if any(not isinstance(content[name], kind) for name, kind in _FIELDS.items()):
        return "a field has the wrong type"
    if digest({k: v for k, v in content.items() if k != "sha256"}) != content["sha256"]:
        return "its content does not match its own SHA-256"
    # Its own digest proves that nothing changed since; the rest that the writer wrote what is read here.
    whole = all(
        isinstance(e, list)
        and len(e) == len(_ENTRY)
        and all(isinstance(word, kind) for word, kind in zip(e, _ENTRY, strict=True))
        for e in content["entries"]
    )
    if not whole or set(content["source"]) != {"name", "sha256", "size"}:
        return "its entries are not as they are written here"
    if not {e[1] for e in content["entries"]} <= set(content["levels"]):
        return "a role has no meaning"
    if not set(content["levels"].values()) <= set(get_args(Level)):
        return "a role has an unknown meaning"
    return None


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(f"{path}: {why}; remove it (hypnos-bench exposure remove {path.stem}) and add the list again")
