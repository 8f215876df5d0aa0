"""What a run *is*: frozen dataclasses, canonical JSON, and the only place that hashes.

A cell's key is the SHA-256 of its canonical spec: every setting that can change a number, and
nothing else (not device, batch size, workers or file locations).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hypnos_bench.errors import UsageError

EPOCH_S = 30.0
"""Length of one epoch of sleep scoring in seconds; an *epoch* is never a training pass here."""

CELL_SCHEMA = 1
"""Version of the cell file."""


@dataclass(frozen=True)
class TaskSpec:
    """One question asked of embeddings, as read from ``tasks/*.toml``.

    Parameters
    ----------
    id, title : str
        Stable kebab id and a human title. A changed definition gets a new id.
    label : {"stage", "rhythm"}
        Which labels of a recording answer it.
    unit : {"epoch", "window"}
        What one row is: an epoch of sleep scoring, or a window of `unit_s` seconds.
    unit_s : float
        Length of one unit in seconds.
    classes : tuple of str
        Names of classes 0..C-1.
    class_map : mapping of str to str
        Label as the cohort gives it (``"W"``, ``"AFIB"``) to class name. Labels not listed are unlabelled.
    positive : str or None
        For binary tasks, the class whose score is ranked.
    alignment : {"reference", "covered"}
        Which embedding rows stand for a unit: ``reference`` takes the rows with the unit's own
        indices; ``covered`` shifts by the encoder's stated lag so that the rows have seen the unit.
    mixed : {"drop", "majority"}
        What happens to a window that holds more than one rhythm.
    metrics : tuple of str
        Main metric first.
    cohorts, heads : tuple of str
        Where and with what the question is meant to be asked.
    """

    id: str
    title: str
    label: Literal["stage", "rhythm"]
    unit: Literal["epoch", "window"]
    classes: tuple[str, ...]
    class_map: Mapping[str, str]
    metrics: tuple[str, ...]
    cohorts: tuple[str, ...]
    heads: tuple[str, ...] = ("linear",)
    unit_s: float = EPOCH_S
    positive: str | None = None
    alignment: Literal["reference", "covered"] = "reference"
    mixed: Literal["drop", "majority"] = "drop"
    citation: str = ""
    note: str = ""

    PROSE = ("title", "citation", "note", "cohorts", "heads")

    def definition(self) -> dict[str, Any]:
        """Everything that can change a number: the task without its prose."""
        return {k: v for k, v in plain(self).items() if k not in self.PROSE}


@dataclass(frozen=True)
class Shots:
    """A label budget in training persons: a share (``1%``) or a count (``10p``)."""

    kind: Literal["percent", "persons"]
    value: float

    @classmethod
    def parse(cls, text: str) -> Shots:
        """Read ``"1%"``, ``"0.5%"`` or ``"10p"``. A bare number is ambiguous and refused.

        Raises
        ------
        UsageError
            For anything else, saying what would be understood.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(%|p)", text.strip())
        if match is None:
            hint = (
                f" {text.strip()!r} is ambiguous: write '{text.strip()}%' or '{text.strip()}p'."
                if re.fullmatch(r"[\d.]+", text.strip())
                else ""
            )
            raise UsageError(f"--shots takes a share of training persons ('1%') or a count of persons ('10p').{hint}")
        value = float(match[1])
        if match[2] == "%":
            if not 0 < value <= 100:
                raise UsageError(f"--shots {text}: a share must lie above 0% and at most 100%")
            return cls("percent", value)
        if value < 1 or value != int(value):
            raise UsageError(f"--shots {text}: a count of persons must be a whole number of at least 1")
        return cls("persons", value)

    @property
    def label(self) -> str:
        """The way it is typed: ``"1%"`` or ``"10p"``."""
        return f"{self.value:g}{'%' if self.kind == 'percent' else 'p'}"

    def count(self, n_persons: int) -> int:
        """Number of training persons out of `n_persons`; a share is rounded up and is at least one.

        Raises
        ------
        UsageError
            When a count asks for more persons than there are.
        """
        if self.kind == "percent":
            # The tiny slack keeps 7% of 100 at 7, not at 8 through 7.000000000000001.
            return max(1, math.ceil(self.value / 100 * n_persons - 1e-9))
        if self.value > n_persons:
            raise UsageError(
                f"--shots {self.label} needs {int(self.value)} training persons, but there are {n_persons}"
            )
        return int(self.value)

    @property
    def default_seeds(self) -> int:
        """Draws that a budget deserves: the smaller the budget, the more the draw matters."""
        if self.kind == "persons":
            return 10
        return 10 if self.value < 5 else 5 if self.value < 100 else 1


@dataclass(frozen=True)
class SplitSpec:
    """How persons are divided: one fixed hold-out, or grouped 5-fold cross-validation."""

    kind: Literal["holdout", "cv5"] = "holdout"
    test_fraction: float = 0.2
    folds: int = 5
    salt: str = "hypnos-bench-1"


@dataclass(frozen=True)
class HeadSpec:
    """A head and every setting of it that can change a number."""

    id: str = "linear"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellSpec:
    """The unit of work and of storage: encoder x task x cohort x head x shots x seed."""

    task: Mapping[str, Any]  # TaskSpec.definition()
    cohort: Mapping[str, Any]  # id, fingerprint, simulated
    encoder: Mapping[str, Any]  # EncoderCard.definition()
    head: HeadSpec
    split: SplitSpec
    shots: Shots
    seed: int
    bootstrap: int = 1000

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of the spec, hexadecimal."""
        return digest({"schema": CELL_SCHEMA, **plain(self)})


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as plain dicts and lists, recursively."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        raise TypeError(f"a file location must not enter a spec: {value}")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} cannot enter a spec")


def canonical_json(value: Any) -> str:
    """Sorted keys, no blanks, no NaN: equal values give equal text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a whole file, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files_sha256(paths: Sequence[Path]) -> str:
    """SHA-256 over the whole content of files; names and times are left out."""
    return digest([file_sha256(path) for path in paths])


def files_fingerprint(paths: Sequence[Path], whole: int = 32 * 2**20, block: int = 4096, blocks: int = 16) -> str:
    """Content fingerprint of signals: files up to `whole` bytes in full, larger ones by samples.

    Of a larger file it takes the size, the first and last 64 KiB, and `blocks` pieces between: terabytes
    are not read twice for this, but a small edit in the middle goes unseen. Labels, which people do edit,
    are always hashed whole (:func:`files_sha256`). Names and times are left out, so that a copy elsewhere
    has the same fingerprint.
    """
    total = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        total.update(f"{size};".encode())
        with path.open("rb") as handle:
            if size <= whole:
                total.update(hashlib.file_digest(handle, "sha256").digest())
                continue
            total.update(handle.read(65536))
            for i in range(1, blocks + 1):
                handle.seek(size * i // (blocks + 1))
                total.update(handle.read(block))
            handle.seek(max(0, size - 65536))
            total.update(handle.read(65536))
    return total.hexdigest()
