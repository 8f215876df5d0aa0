"""One JSON per cell, and beside it the per-recording results that paired tests need (``store/side.py``).

The side file is written first and its SHA-256 goes into the JSON, so a cell never points to nothing.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.spec import CELL_SCHEMA, CellSpec, digest, plain
from hypnos_bench.store.atomic import atomic_write, remove, safe_name
from hypnos_bench.store.side import SIDES, ClassificationSide, RegressionSide, Side, SurvivalSide
from hypnos_bench.store.tensorfile import damaged, read_header, read_tensors, write_tensors

SIDE_SCHEMA = 2
"""Version of the side file."""

Status = Literal["ok", "failed"]

_BLOCKS: dict[str, type | tuple[type, ...]] = {
    "schema": int, "key": str, "spec": dict, "status": str, "message": (str, type(None)), "n": dict, "selected": list,
    "scores": dict, "outcomes": list, "timing": dict, "provenance": dict, "side": (dict, type(None)), "sha256": str,
}  # fmt: skip
_SCORE = {"value", "low", "high", "higher_is_better"}


@dataclass(frozen=True)
class Cell:
    """A result: what was asked, what came out, and where it came from.

    Parameters
    ----------
    spec : mapping
        The plain :class:`~hypnos_bench.spec.CellSpec`; `key` is its SHA-256.
    key : str
    status : {"ok", "failed"}
    message : str or None
        Why it failed, one line.
    n : mapping
        Persons, recordings, units, events, and excluded recordings with reasons.
    selected : sequence of mapping
        Per fold: hyper-parameters, at-edge flag, convergence certificate.
    scores : mapping of str to mapping
        Metric to ``value``, ``low``, ``high`` (numbers, ``None`` where undefined) and ``higher_is_better``.
    outcomes : sequence of mapping
        Survival tasks: per outcome its name, counts, status and scores.
    timing : mapping
        Seconds per phase.
    provenance : mapping
        Versions, commit, device, weights and cohort fingerprints, split hash, command, UTC.
    """

    spec: Mapping[str, Any]
    key: str
    status: Status = "ok"
    message: str | None = None
    n: Mapping[str, Any] = field(default_factory=dict)
    selected: Sequence[Mapping[str, Any]] = ()
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outcomes: Sequence[Mapping[str, Any]] = ()
    timing: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: CellSpec, **blocks: Any) -> Cell:
        """Build the cell of `spec`: fills in the plain spec and its key."""
        return cls(spec=plain(spec), key=spec.key, **blocks)


class CellStore:
    """Cell files under ``root/cells/<cohort>/<task>/<encoder>/<head>-<shots>-s<seed>-<key12>.json``.

    Parameters
    ----------
    root : Path
        The results folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def folder(self) -> Path:
        """Where all cells lie."""
        return self.root / "cells"

    def path(self, spec: CellSpec | Mapping[str, Any], key: str | None = None) -> Path:
        """Where the cell of a spec lies; `key` spares hashing the spec again."""
        words = plain(spec)
        shots = f"{words['shots']['value']:g}{'pct' if words['shots']['kind'] == 'percent' else 'p'}"
        short = (key or _key(words))[:12]
        folders = [safe_name(str(words[part]["id"])) for part in ("cohort", "task", "encoder")]
        return self.folder.joinpath(
            *folders, f"{safe_name(str(words['head']['id']))}-{shots}-s{int(words['seed'])}-{short}.json"
        )

    def save(self, cell: Cell, side: Side | None = None) -> Path:
        """Store a cell, and before it its side file, and return the cell's path.

        Numbers that JSON lacks (NaN, infinity) are stored as null.

        Raises
        ------
        ValueError
            When the blocks contradict each other: a key that is not the spec's, a finished cell without
            side file, a failed one without message, confusion matrices that do not count the units.
        DataError
            When the disk refuses.
        """
        path, side_path = self.path(cell.spec, cell.key), self.side_path(cell)
        content: dict[str, Any] = {"schema": CELL_SCHEMA, **_blocks(cell), "side": None}
        problem = _problem({**content, "sha256": ""})
        if problem is None and (side is None) != (cell.status == "failed"):
            problem = "a finished cell has a side file, a failed one has none"
        if problem is None and side is not None:
            problem = side.problem()
        if problem:
            raise ValueError(f"cell {cell.key[:12]}: {problem}")
        if side is not None:
            # An older cell must not be found pointing at the newer side file if the process dies between the two.
            remove(path)
            header = {"schema": SIDE_SCHEMA, "kind": side.KIND, "key": cell.key, **side.words()}
            write_tensors(side_path, side.arrays(), header)
            content["side"] = {"file": side_path.name, "sha256": read_header(side_path)["arrays_sha256"]}
        content["sha256"] = digest(content)
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        atomic_write(path, text.encode())
        if side is None:
            remove(side_path)
        return path

    def amend(self, cell: Cell, n: Mapping[str, Any]) -> None:
        """Rewrite the counts of a stored cell, and nothing else of it. Raises ``DataError`` as :meth:`save`."""
        path = self.path(cell.spec, cell.key)
        content = {**_read_json(path), "n": _json(n)}
        content["sha256"] = digest({name: value for name, value in content.items() if name != "sha256"})
        atomic_write(path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def side_path(self, cell: Cell) -> Path:
        """Where a cell's side file lies."""
        return self.path(cell.spec, cell.key).with_suffix(".units.safetensors")

    def load(self, path: Path) -> Cell:
        """Read and verify one cell file.

        Raises
        ------
        DataError
            When it cannot be opened.
        IntegrityError
            When it is not a cell, was altered, has another schema, or its key is not its spec's.
        """
        content = _read_json(path)
        if content.get("schema") != CELL_SCHEMA:
            raise IntegrityError(
                f"{path}: cell schema {content.get('schema')!r}, this version reads {CELL_SCHEMA}; "
                "use the hypnos-bench version that wrote it, or delete it and rerun"
            )
        problem = _problem(content)
        if problem is None and digest({k: v for k, v in content.items() if k != "sha256"}) != content["sha256"]:
            problem = "its content does not match its own SHA-256"
        if problem:
            raise damaged(path, problem)
        blocks = {f.name: content[f.name] for f in dataclasses.fields(Cell)}
        return Cell(**{**blocks, "selected": tuple(blocks["selected"]), "outcomes": tuple(blocks["outcomes"])})

    def load_side(self, path: Path) -> ClassificationSide | RegressionSide | SurvivalSide:
        """Read and verify the side file of the cell stored at `path`. Raises as :meth:`load`."""
        cell = self.load(path)
        stated = _read_json(path)["side"]
        if stated is None:
            raise DataError(f"{path}: a failed cell has no side file ({cell.message})")
        side_path = path.parent / Path(str(stated["file"])).name
        header, arrays = read_tensors(side_path)
        if header.get("key") != cell.key or header.get("arrays_sha256") != stated["sha256"]:
            raise damaged(side_path, "not the side file its cell was saved with")
        try:
            kind = SIDES[header["kind"]]
            fields: dict[str, Any] = {**{name: header[name] for name in kind.TEXTS}, **arrays}
            side = kind(**fields)
            problem = side.problem()
        except (KeyError, TypeError, IndexError) as error:
            raise damaged(side_path, f"not a side file ({error})") from error
        if problem:
            raise damaged(side_path, problem)
        return side

    def get(self, spec: CellSpec) -> Cell | None:
        """Return the stored cell of `spec`, finished or failed, or ``None``. Raises as :meth:`load`."""
        key = spec.key
        path = self.path(spec, key)
        return self._load_as(path, key) if path.exists() else None

    def paths(self, cohort: str = "*", task: str = "*") -> list[Path]:
        """Every cell file, sorted; of one cohort or task when given."""
        return sorted(p for p in self.folder.glob(f"{cohort}/{task}/*/*.json") if not p.name.startswith("."))

    def readable(self, cohort: str = "*", task: str = "*") -> tuple[list[Cell], list[str]]:
        """Every cell that can be read, and a line about each that cannot: one bad file must not hide the others."""
        cells, problems = [], []
        for path in self.paths(cohort, task):
            try:
                cells.append(self.load(path))
            except (DataError, IntegrityError) as error:
                problems.append(str(error))
        return cells, problems

    def _load_as(self, path: Path, key: str) -> Cell:
        cell = self.load(path)
        if cell.key != key:
            raise damaged(path, f"holds the cell {cell.key[:12]} under another cell's name")
        return cell


def _blocks(cell: Cell) -> dict[str, Any]:
    return {f.name: _json(getattr(cell, f.name)) for f in dataclasses.fields(cell)}


def _key(spec: Mapping[str, Any]) -> str:
    return digest({"schema": CELL_SCHEMA, **spec})


def _problem(content: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a cell's JSON object, or ``None``."""
    for name, kind in _BLOCKS.items():
        if name not in content or not isinstance(content[name], kind):
            return f"its block {name!r} is missing or of the wrong type"
    if set(content) != set(_BLOCKS):
        return f"it has unknown blocks {sorted(set(content) - set(_BLOCKS))}"
    if content["key"] != _key(content["spec"]):
        return "its key is not the SHA-256 of its spec"
    if content["status"] not in get_args(Status) or (content["status"] == "failed" and not content["message"]):
        return "its status is neither ok nor failed with a message"
    for name, score in content["scores"].items():
        if not isinstance(score, dict) or not set(score) >= _SCORE or not isinstance(score["higher_is_better"], bool):
            return f"its score {name!r} lacks one of {sorted(_SCORE)}"
        if any(not isinstance(score[k], (int, float, type(None))) for k in ("value", "low", "high")):
            return f"its score {name!r} is not a number"
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); rerun the cell") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, "not a whole JSON file") from error
    if not isinstance(content, dict):
        raise damaged(path, "not a cell")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _json(value: Any) -> Any:
    """Plain JSON values: numpy scalars and arrays unpacked, tuples as lists, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"{type(value).__name__} cannot be stored in a cell")
